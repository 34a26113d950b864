"""What a run leaves inside the agency and a release takes out: named results, one layout for both.

The layout is the contract between ``run``, ``release``, the book and any outside reader: a table that does not
have these columns is refused here, before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from retrain_eval.effects import COLUMNS, EffectTable
from retrain_eval.errors import InputError, unknown
from retrain_eval.lifetable import LifeTable
from retrain_eval.moments import OutcomeMoments
from retrain_eval.sample.balance import COLUMNS as BALANCE
from retrain_eval.sample.composition import BASELINE_PATHS, MATCHING
from retrain_eval.sample.hidden_bias import E_VALUES, OSTER, ROSENBAUM

EFFECTS = ("result", *COLUMNS, "note")
TABLES: Mapping[str, tuple[str, ...]] = {
    "effects": EFFECTS,
    "balance": BALANCE,
    "overlap": ("bin_low", "bin_high", "group", "n"),
    "matching": MATCHING,
    "baseline_paths": BASELINE_PATHS,
    "flow": ("step", "group", "n", "reason"),
    "linkage": ("subgroup", "level", "n", "n_linked", "rate"),
    "means": ("outcome", "group", "time", "mean", "n"),
    "tests": ("result", "test", "statistic", "df", "p_value"),
    "verdicts": (
        "result",
        "subgroup",
        "level",
        "smallest_worthwhile",
        "p_holm",
        "p_romano_wolf",
        "p_equivalence",
        "mde",
        "n_treated",
        "n_control",
        "verdict",
        "n_needed",
    ),
    "bounds": ("result", "restriction", "m", "low", "high", "ci_low", "ci_high", "includes_zero"),
    "pretest_power": ("result", "power", "slope", "bias", "bias_if_passed"),
    "rosenbaum": ROSENBAUM,
    "e_values": E_VALUES,
    "oster": OSTER,
    "dictionary": ("resource", "column", "title", "type", "unit", "required", "constraints", "description"),
}
SIGNIFICANT_DIGITS = 10
_LONGEST = 200  # bytes of a name; with its suffix it has to fit a file system
_WORDS = (
    "result", "note", "outcome", "estimator", "estimand", "subgroup", "level", "covariate", "group", "step", "reason",
    "test", "restriction", "verdict", "wwc", "resource", "column", "title", "type", "unit", "constraints",
    "description",
)  # fmt: skip


@dataclass
class Results:
    """Everything a study found, by name.

    Attributes
    ----------
    tables : dict of DataFrame
        Keys and columns as in ``TABLES``.
    moments : dict of OutcomeMoments
    life_tables : dict of LifeTable

    Examples
    --------
    >>> results = Results()
    >>> flow = pd.DataFrame({"step": ["enrolled"], "group": ["treated"], "n": [185], "reason": [""]})
    >>> results.add_table("flow", flow)
    >>> list(results.tables)
    ['flow']
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    moments: dict[str, OutcomeMoments] = field(default_factory=dict)
    life_tables: dict[str, LifeTable] = field(default_factory=dict)

    def add_effects(self, name: str, effects: EffectTable) -> None:
        """Keep an EffectTable under a name of its own; several calls with one name append."""
        _check_name(name)
        frame = effects.to_frame().assign(result=name, note="")[list(EFFECTS)]
        known = [self.tables["effects"]] if "effects" in self.tables else []
        self.tables["effects"] = pd.concat([*known, frame], ignore_index=True)

    def add_table(self, name: str, frame: pd.DataFrame) -> None:
        """Keep a table; several calls with one name append.

        Raises
        ------
        InputError
            If the name is not one of ``TABLES``, or the columns are not its columns.
        """
        _check_table(name, frame)
        known = [self.tables[name]] if name in self.tables else []
        self.tables[name] = pd.concat([*known, frame[list(TABLES[name])]], ignore_index=True)

    def write(self, folder: Path) -> None:
        """Write the layout into an existing, empty folder.

        Raises
        ------
        InputError
            If a table is not one of ``TABLES`` or lacks a column, or a name cannot be that of a file.
        """
        for name, frame in self.tables.items():
            _check_table(name, frame)
            # ten digits are beyond any data's precision and the same on every processor
            frame.to_csv(
                folder / f"{name}.csv", index=False, float_format=f"%.{SIGNIFICANT_DIGITS}g", lineterminator="\n"
            )
        for kind, objects in (("moments", self.moments), ("life_tables", self.life_tables)):
            if objects:
                (folder / kind).mkdir()
            for name, item in objects.items():
                _check_name(name)
                item.to_parquet(folder / kind / f"{name}.parquet")

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Read what `write` wrote."""
        return cls(
            tables={name: read_table(folder / f"{name}.csv") for name in TABLES if (folder / f"{name}.csv").exists()},
            moments={file.stem: OutcomeMoments.read_parquet(file) for file in sorted(folder.glob("moments/*.parquet"))},
            life_tables={
                file.stem: LifeTable.read_parquet(file) for file in sorted(folder.glob("life_tables/*.parquet"))
            },
        )


def read_table(path: Path) -> pd.DataFrame:
    """Read one CSV of the layout: only an empty field is missing, so that a level called "NA" or "01" stays one."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(_WORDS, "str"))


def _check_table(name: str, frame: pd.DataFrame) -> None:
    if name not in TABLES:
        raise unknown("result table", name, TABLES)
    for column in TABLES[name]:
        if column not in frame.columns:
            raise InputError(f"the table {name!r} lacks the column {column!r}", fix=", ".join(TABLES[name]))


def _check_name(name: str) -> None:
    """Refuse a name that would be no file of its own folder."""
    plain = name == Path(name).name and "\\" not in name and not name.startswith(".") and name.isprintable()
    if not name or not plain or len(name.encode()) > _LONGEST:
        raise InputError(f"{name!r} cannot name a result", rule="a plain file name", fix="use letters, digits and _")
