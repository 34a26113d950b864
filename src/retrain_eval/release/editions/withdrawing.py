"""Take an edition back: a draft that is returned, or an edition that was published and is withdrawn."""

from __future__ import annotations

import shutil
from pathlib import Path

from retrain_eval.common.errors import InputError, ReleaseError
from retrain_eval.common.locks import locked
from retrain_eval.common.text.file_names import check_plain_name
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.editions import kept_sets, officer

WITHDRAWN = "withdrawn"


def take_back(path: Path, store: Path, *, by: str, reason: str, published: bool) -> Path | None:
    """Move an edition out of ``release/``, note who decided so and why, and leave it out of later comparisons.

    Only do this if no one outside has a copy: whoever has one can compare it with what is published later.

    Parameters
    ----------
    path : Path
        Folder of the edition.
    store : Path
        Folder of the store, which keeps the edition under ``withdrawn/``.
    by, reason : str
        Who decided it, and why.
    published : bool
        Whether an approved edition is withdrawn; otherwise a draft is returned.

    Returns
    -------
    Path or None
        Where the edition is kept; None if its folder is gone, so that only the decision is recorded.

    Raises
    ------
    InputError
        If no name or no reason is given.
    ReleaseError
        If an approved edition is to be returned as a draft, or a draft to be withdrawn; if the folder is gone and no
        sets of people are recorded under this name, or all were withdrawn already.
    """
    if not by.strip() or not reason.strip():
        raise InputError("an edition is taken back by someone, for a reason", fix="give a name and --reason")
    check_plain_name(path.name, "an edition")
    by, reason = by.strip(), reason.strip()
    decision = WITHDRAWN if published else "returned"
    with locked(path.parent):
        if not path.exists():
            _check_recorded(store, path.name, published=published)
            officer.decide(store, path.name, decision, by, reason)
            kept_sets.withdraw(store, path.name, by=by, reason=reason)
            return None
        bundle = Bundle.open(path)
        if bundle.approved_by and not published:
            raise ReleaseError(
                f"the edition {path.name} was approved by {bundle.approved_by}: correct it in a new one, or withdraw it"
            )
        if published and not bundle.approved_by:
            raise ReleaseError(f"the edition {path.name} is a draft: return it with --returned-by")
        officer.decide(store, bundle, decision, by, reason)
        kept = store / WITHDRAWN / f"{path.name}-{bundle.sha256[:12]}"
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(path, kept)  # while it is in release/, later editions are compared with it
        kept_sets.withdraw(store, path.name, by=by, reason=reason)
    return kept


def _check_recorded(store: Path, edition: str, *, published: bool) -> None:
    """Refuse a name under which no edition is compared with later ones, and to return one that was approved."""
    names = kept_sets.standing(store)
    if edition not in names:
        raise ReleaseError(
            f"no edition {edition} is in the folder of editions, and none of this name is compared with later ones\n"
            f"  fix:    give the name of one that is: {', '.join(names) or 'there is none'}"
        )
    last = [one for one in officer.decisions(store) if one["edition"] == edition][-1:]
    if not published and last and last[0]["decision"] == "approved":
        raise ReleaseError(f"the edition {edition} was approved by {last[0]['by']}: withdraw it with --withdrawn-by")
