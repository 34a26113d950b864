"""The recipe file, ``recipes.json``: a release may come from anyone, so nothing in it is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from retrain_eval.common.errors import ReleaseError
from retrain_eval.common.untrusted import read_json, shown
from retrain_eval.tables.recipe import Derivation

RECIPES = "recipes.json"
MAX_PARTS, MAX_STEPS = 5_000, 20


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How rows follow from a table."""

    of: str
    steps: Annotated[tuple[tuple[str, dict[str, Any]], ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)]

    def derivation(self) -> Derivation:
        """Return the derivation that the package repeats."""
        return Derivation(self.of, self.steps)


class RowsMade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of one table, and how they were made: see `retrain_eval.release.results.Part`."""

    table: str
    rows: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    result: str | None = None
    derivation: Steps | None = None
    covariance: list[list[float]] | None = None
    estimates: Steps | None = None
    meta: dict[str, Any] | None = None


def read_recipes(folder: Path) -> list[RowsMade]:
    """Return the parts in a folder's ``recipes.json``; none if there is no such file.

    Raises
    ------
    ReleaseError
        If it is not a list of parts, or a covariance does not fit its rows.
    """
    path = folder / RECIPES
    if not path.exists() and not path.is_symlink():
        return []
    try:
        parts = msgspec.convert(read_json(folder, RECIPES, missing_numbers=True), list[RowsMade], strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ReleaseError(f"{path} is not valid: {shown(error)}") from None
    if len(parts) > MAX_PARTS:
        raise ReleaseError(f"{path} has {len(parts):,} parts; the limit is {MAX_PARTS:,}")
    for number, item in enumerate(parts):
        if item.covariance is not None and [len(row) for row in item.covariance] != [item.rows] * item.rows:
            raise ReleaseError(f"{path}, part {number + 1}: its covariance does not fit its {item.rows} rows")
    return parts
