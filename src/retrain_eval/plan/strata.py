"""``[strata.NAME]``: a subgroup of people, from cut points of a number, from labels of categories, or as it stands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import msgspec

from retrain_eval.common.errors import InputError
from retrain_eval.common.sources import sql_name, sql_text

# attributes of programmes by which effects may be asked, with their levels in order, as data_schemas/ has them
PROGRAMME: Mapping[str, tuple[str, ...]] = {
    "tier": ("foundation", "transition", "substitution"),
    "delivery": ("public", "employer", "mixed"),
}


class Stratum(msgspec.Struct, frozen=True, kw_only=True):
    """``[strata.NAME]``: a subgroup, from cut points of a number or from labels of categories.

    Without labels, levels are named after the cuts; without cuts as well, they are the column's values.
    """

    column: str
    title: str = ""
    cuts: tuple[float, ...] = ()
    labels: tuple[str, ...] | dict[str, str] = ()

    def levels(self) -> tuple[str, ...]:
        """Return the labels in their order; none where the levels are the column's own values.

        Examples
        --------
        >>> Stratum(column="age", cuts=(25, 40.5)).levels()
        ('under 25', '25 to under 40.5', '40.5 and over')
        """
        if isinstance(self.labels, dict):
            return tuple(dict.fromkeys(self.labels.values()))
        return self.labels or self._named_by_cuts()

    def _named_by_cuts(self) -> tuple[str, ...]:
        """Return the names of the intervals between the cuts, such as ``25 to under 40``; none without cuts."""
        ends = [f"{cut:.15g}" for cut in self.cuts]
        if not ends:
            return ()
        between = [f"{low} to under {high}" for low, high in pairwise(ends)]
        return (f"under {ends[0]}", *between, f"{ends[-1]} and over")

    def bounds(self) -> tuple[float, ...]:
        """Return the values at which a level of a number begins: its cuts, or each label's number and what follows."""
        if not isinstance(self.labels, dict):
            return self.cuts
        numbers = [float(raw) for raw in self.labels if raw.replace(".", "", 1).lstrip("-").isdigit()]
        return tuple(sorted({*numbers, *(math.nextafter(number, math.inf) for number in numbers)}))

    def sql(self) -> str:
        """Return the SQL expression of the level, an ENUM so that levels keep their order; NULL where there is none.

        A column's own values, where the study gives neither cuts nor labels, are text.
        """
        column, labels = sql_name(self.column), self.levels()
        if not labels:
            return f"CAST({column} AS VARCHAR)"
        if isinstance(self.labels, dict):
            cases = [f"WHEN {sql_text(raw)} THEN {sql_text(label)}" for raw, label in self.labels.items()]
            level = f"CASE CAST({column} AS VARCHAR) {' '.join(cases)} END"
        else:
            bounds = zip(self.cuts, labels, strict=False)  # the last label has no upper bound
            cases = [f"WHEN {column} < {cut!r} THEN {sql_text(label)}" for cut, label in bounds]
            level = f"CASE WHEN {column} IS NULL THEN NULL {' '.join(cases)} ELSE {sql_text(labels[-1])} END"
        return f"CAST({level} AS ENUM({', '.join(map(sql_text, labels))}))"


def check_stratum(name: str, stratum: Stratum, path: Path) -> None:
    """Refuse what would lose a level: no label, two of one name, a bound that is no number."""
    labels = list(stratum.labels.values() if isinstance(stratum.labels, dict) else stratum.labels)
    if stratum.labels == {} or not all(label.strip() for label in labels):
        raise InputError(f"stratum {name!r} has an empty label", file=path, rule="every level has a name")
    if isinstance(stratum.labels, dict) and stratum.cuts:
        raise InputError(f"stratum {name!r} has both cuts and labels by category", file=path, fix="drop one of them")
    if not isinstance(stratum.labels, dict) and len(set(labels)) < len(labels):
        raise InputError(f"stratum {name!r} repeats a label", file=path, value=labels, rule="one name per interval")
    if not all(map(math.isfinite, stratum.cuts)):
        raise InputError(f"stratum {name!r} has a cut that is no finite number", file=path, value=list(stratum.cuts))
    if not isinstance(stratum.labels, dict) and len(stratum.labels) not in (0, len(stratum.cuts) + 1):
        raise InputError(
            f"stratum {name!r} has {len(stratum.cuts)} cut(s) and {len(stratum.labels)} label(s)",
            file=path,
            rule="one label more than cuts, from low to high, or none; or a table of labels by category",
        )
    if list(stratum.cuts) != sorted(set(stratum.cuts)):
        raise InputError(f"the cuts of stratum {name!r} do not ascend", file=path, value=list(stratum.cuts))
