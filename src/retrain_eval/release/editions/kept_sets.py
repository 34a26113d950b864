"""The sets of people behind each edition, kept inside the agency, so that editions can be compared with each other.

``store/released_sets.json`` has, for each edition that was ever written, a draft or not, the name, the size, the key
and the sketch of every set of people behind sums of amounts or a count, and digests of these sums and of who has which
value. It names no one, but with the release key it tells who was in a set, so it never leaves the store's folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from retrain_eval.common.errors import DisclosureError, ReleaseError
from retrain_eval.common.files import write_text
from retrain_eval.release.editions.editions import edition_names
from retrain_eval.tables.noise.released_sets import ReleasedSet

FILE = "released_sets.json"
MOST_EDITIONS = 5  # beside a new one, whose counts are compared: benchmarks/disclosure_design/note.md, decision 3
_WITHDRAW = (
    "take it back from where it was published, tell those who have it, and record that: "
    'retrain-eval release STUDY --edition NAME --withdrawn-by "A. Name" --reason "…"'
)


def earlier_sets(store: Path, releases: Path, edition: str, fingerprint: str) -> list[ReleasedSet]:
    """Return the sets of all editions that were written, which a new one has to be kept apart from.

    Parameters
    ----------
    store : Path
        Folder of the store.
    releases : Path
        Folder of the editions.
    edition : str
        The new edition.
    fingerprint : str
        Of the release key.

    Raises
    ------
    ReleaseError
        If an edition lies in ``releases`` whose sets are not known, because it was made without noise, or the record
        was lost; or if sets were recorded under another release key.
    DisclosureError
        If there are five other editions of the study already.
    """
    recorded = _read(store)
    known = {str(entry["edition"]) for entry in recorded["editions"]}
    if unknown := [name for name in edition_names(releases) if name not in known]:
        raise ReleaseError(
            f"it is not known which people are behind the edition(s) {', '.join(unknown)}\n"
            "  rule:   a new edition is compared with all earlier ones, because two that differ by few people tell of "
            "them; an edition without noise, next to one with noise, tells the noise of everyone in both\n"
            f"  fix:    bring back {store / FILE} if it was lost. If they were made without noise, withdraw them: "
            f"{_WITHDRAW}"
        )
    if any(not entry["withdrawn"] for entry in recorded["editions"]) and recorded["release_key"] != fingerprint:
        raise ReleaseError(
            "earlier editions were made with another release key\n"
            "  rule:   the same people carry the same noise in every edition\n"
            f"  fix:    bring back that key; or withdraw all editions: {_WITHDRAW}"
        )
    # a draft of this name is overwritten, and an approved edition of this name stays as it is
    standing = [one for one in recorded["editions"] if not one["withdrawn"] and one["edition"] != edition]
    others = {str(entry["edition"]) for entry in standing}
    if len(others) >= MOST_EDITIONS:
        raise DisclosureError(
            f"{len(others)} other editions of this study were written\n"
            f"  rule:   at most {MOST_EDITIONS + 1} of overlapping people: with each, counts of people who came since "
            "are known better\n"
            "  fix:    publish less often, start a study of people who are in none of them, or withdraw editions: "
            f"{_WITHDRAW}",
            public=f"there are {MOST_EDITIONS + 1} editions of this study",
        )
    return [_set(one, str(entry["edition"])) for entry in standing for one in entry["sets"]]


def earlier_counts(store: Path, edition: str) -> dict[int, int]:
    """Return the counts that other editions published, by cell key: the same people keep theirs."""
    standing = [one for one in _read(store)["editions"] if not one["withdrawn"] and one["edition"] != edition]
    return {int(key): int(count) for one in standing for key, count in one.get("published", {}).items()}


def standing(store: Path) -> list[str]:
    """Return the names of the editions, drafts too, that new ones are compared with."""
    return sorted({str(entry["edition"]) for entry in _read(store)["editions"] if not entry["withdrawn"]})


def keep_sets(
    store: Path,
    edition: str,
    sets: Sequence[ReleasedSet],
    fingerprint: str,
    published: Mapping[int, int] = MappingProxyType({}),
) -> None:
    """Record the sets behind an edition, before it becomes visible; the same sets are recorded once."""
    recorded = _read(store)
    rows = [asdict(one) for one in sets]
    content = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    entries = [entry for entry in recorded["editions"] if (entry["edition"], entry["content"]) != (edition, content)]
    counts = {str(key): count for key, count in published.items()}
    entries.append({"edition": edition, "content": content, "withdrawn": {}, "sets": rows, "published": counts})
    _write(store, {"release_key": fingerprint, "editions": entries})


def settle(store: Path, edition: str) -> None:
    """Forget the sets of drafts that an edition of this name has overwritten; see `keep_sets`.

    A draft must not leave the agency: whoever has one can compare it with what overwrote it.
    """
    recorded = _read(store)
    own = [entry for entry in recorded["editions"] if entry["edition"] == edition]
    others = [entry for entry in recorded["editions"] if entry["edition"] != edition]
    if len(own) > 1:
        _write(store, {**recorded, "editions": [*others, own[-1]]})


def withdraw(store: Path, edition: str, *, by: str, reason: str) -> None:
    """Record that an edition was withdrawn, or that a draft was returned: later ones are not compared with it.

    An edition of which no sets are recorded, because it was made without noise, is left as it is.
    """
    recorded = _read(store)
    for entry in recorded["editions"]:
        if entry["edition"] == edition:
            entry["withdrawn"] = {"by": by, "reason": reason}
    _write(store, recorded)


def _set(row: Mapping[str, Any], edition: str) -> ReleasedSet:
    return ReleasedSet(
        name=f"{edition}, {row['name']}",
        n=int(row["n"]),
        key=int(row["key"]),
        sketch=tuple(map(int, row["sketch"])),
        weights=tuple(map(int, row["weights"])),
        sums={str(name): str(digest) for name, digest in row["sums"].items()},
        rows=tuple(map(int, row.get("rows", ()))),
        most=int(row.get("most", 1)),
        divided={str(name): str(digest) for name, digest in row.get("divided", {}).items()},
    )


def _read(store: Path) -> dict[str, Any]:
    path = store / FILE
    if not path.exists():
        return {"release_key": "", "editions": []}
    recorded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return recorded


def _write(store: Path, recorded: Mapping[str, Any]) -> None:
    write_text(store / FILE, json.dumps(recorded), access="private")
