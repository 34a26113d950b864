"""The file of recipes, ``recipes.json``: a release may be anybody's, so that nothing in it is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from retrain_eval.errors import ReleaseError
from retrain_eval.recipe import Derivation
from retrain_eval.untrusted import read_json, shown

RECIPES = "recipes.json"
MAX_PARTS, MAX_STEPS = 5_000, 20


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How rows follow from a table."""

    of: str
    steps: Annotated[tuple[tuple[str, dict[str, Any]], ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)]

    def derivation(self) -> Derivation:
        """Return it as the package repeats it."""
        return Derivation(self.of, self.steps)


class RowsMade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of one table, and what they were made by: see `retrain_eval.results.Part`."""

    table: str
    rows: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    result: str | None = None
    derivation: Steps | None = None
    covariance: list[list[float]] | None = None
    estimates: Steps | None = None
    meta: dict[str, Any] | None = None


def read_recipes(folder: Path) -> list[RowsMade]:
    """Return what ``recipes.json`` of a folder says; nothing where there is none.

    Raises
    ------
    ReleaseError
        If it is no list of parts, or a covariance is not that of its rows.
    """
    path = folder / RECIPES
    if not path.exists() and not path.is_symlink():
        return []
    try:
        made = msgspec.convert(read_json(folder, RECIPES, missing_numbers=True), list[RowsMade], strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ReleaseError(f"{path} does not hold: {shown(error)}") from None
    if len(made) > MAX_PARTS:
        raise ReleaseError(f"{path} has {len(made):,} parts; the limit is {MAX_PARTS:,}")
    for number, item in enumerate(made):
        if item.covariance is not None and [len(row) for row in item.covariance] != [item.rows] * item.rows:
            raise ReleaseError(f"{path}, part {number + 1}: its covariance is not that of {item.rows} rows")
    return made
