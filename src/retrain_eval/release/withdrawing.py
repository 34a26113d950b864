"""Take an edition back: a draft that is returned, or an edition that was published and is withdrawn."""

from __future__ import annotations

import shutil
from pathlib import Path

from retrain_eval.common.errors import InputError, ReleaseError
from retrain_eval.common.locks import locked
from retrain_eval.release import kept_sets, officer
from retrain_eval.release.bundle import Bundle

WITHDRAWN = "withdrawn"


def take_back(path: Path, store: Path, *, by: str, reason: str, published: bool) -> Path:
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
    Path
        Where the edition is kept.

    Raises
    ------
    InputError
        If no name or no reason is given.
    ReleaseError
        If an approved edition is to be returned as a draft, or a draft to be withdrawn.
    """
    if not by.strip() or not reason.strip():
        raise InputError("an edition is taken back by someone, for a reason", fix="give a name and --reason")
    with locked(path.parent):
        bundle = Bundle.open(path)
        if bundle.approved_by and not published:
            raise ReleaseError(
                f"the edition {path.name} was approved by {bundle.approved_by}: correct it in a new one, or withdraw it"
            )
        if published and not bundle.approved_by:
            raise ReleaseError(f"the edition {path.name} is a draft: return it with --returned-by")
        officer.decide(store, bundle, WITHDRAWN if published else "returned", by.strip(), reason.strip())
        kept = store / WITHDRAWN / f"{path.name}-{bundle.sha256[:12]}"
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(path, kept)  # while it is in release/, later editions are compared with it
        kept_sets.withdraw(store, path.name, by=by.strip(), reason=reason.strip())
    return kept
