"""The layout of results: which tables there are, their columns, and how they are written and read.

It is the contract between ``run``, ``release``, the book and any outside reader: a table that does not have these
columns is refused before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.numerics.jackknife import REPORTED
from retrain_eval.common.numerics.joint import TEST_COLUMNS
from retrain_eval.common.text.csv_cells import csv_text, unguard
from retrain_eval.common.untrusted import in_a_line
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import COLUMNS
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.money.ratios import RATIOS
from retrain_eval.sample.composition import BASELINE_PATHS
from retrain_eval.sample.hidden_bias.hidden_bias import E_VALUES, OSTER, ROSENBAUM
from retrain_eval.sample.ties import TIES
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.counts import MATCHING, SampleCounts
from retrain_eval.tables.covariates.balance_rows import COLUMNS as BALANCE
from retrain_eval.tables.covariates.covariates import CovariateMoments
from retrain_eval.tables.ledger import LEDGER
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.statistics import Statistic

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
    "tests": ("result", *TEST_COLUMNS),
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
    "cells": (
        "result",
        "subgroup",
        "level",
        "smallest_worthwhile",
        "p_holm",
        "p_worthwhile",
        "p_equivalence",
        "n_treated",
        "n_control",
        "verdict",
        "n_needed",
    ),
    "groups": (
        "result",
        "subgroup",
        "level",
        "smallest_worthwhile",
        "family",
        "estimate",
        "std_error",
        "ci_low",
        "ci_high",
        "p_effect",
        "p_worthwhile",
        "p_equivalence",
        "p_holm",
        "n_treated",
        "n_control",
        "verdict",
        "n_needed",
    ),
    "allocation": (
        "result",
        "half",
        "rule",
        "action",
        "n",
        "gain_retraining",
        "se_retraining",
        "gain_alternative",
        "se_alternative",
    ),
    "providers": (
        "result",
        "level",
        "estimate",
        "deviation",
        "std_error",
        "limit",
        "shrunken",
        "shrunken_low",
        "shrunken_high",
        "rank",
        "rank_low",
        "rank_high",
        "n_treated",
        "n_control",
    ),
    "provider_spread": (
        "result",
        "providers",
        "mean",
        "mean_low",
        "mean_high",
        "spread",
        "spread_low",
        "spread_high",
    ),
    "shares": ("outcome", "level", "mean", "n"),
    "bounds": ("result", "restriction", "m", "low", "high", "ci_low", "ci_high", "includes_zero"),
    "pretest_power": ("result", "power", "slope", "bias", "bias_if_passed"),
    "rosenbaum": ROSENBAUM,
    "e_values": E_VALUES,
    "oster": OSTER,
    "ties": TIES,
    "ledger": LEDGER,
    "ratios": ("result", *RATIOS),
    "withheld": ("result", "table", "reason"),
    "dictionary": ("resource", "column", "title", "type", "unit", "required", "constraints", "description"),
}


def _reading(read: Callable[[Path], Additive]) -> Callable[[Path], Additive]:
    """Return a reader of untrusted files: what it cannot read is refused with an error that names the file."""

    def call(path: Path) -> Additive:
        try:
            return read(path)
        except InputError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, MemoryError, RecursionError,
                pa.ArrowException) as error:  # fmt: skip
            raise InputError("the file holds something else", file=path, rule=in_a_line(error)) from None

    return call


# kind → how a file of it is read
ADDITIVE: Mapping[str, Callable[[Path], Additive]] = {
    "moments": _reading(OutcomeMoments.read_parquet),
    "life_tables": _reading(LifeTable.read_parquet),
    "covariates": _reading(CovariateMoments.read_parquet),
    "counts": _reading(SampleCounts.read_parquet),
    "statistics": _reading(Statistic.read_parquet),
}
SIGNIFICANT_DIGITS = 10
# columns with options of a row, as opposed to its results
OPTIONS = ("bin_low", "bin_high", "gamma", "m", "power", "smallest_worthwhile", "family")
_KEYS = (
    "cohort",
    "time",
    "event_time",
    "bin_low",
    "bin_high",
    "gamma",
    "m",
    "power",
    "smallest_worthwhile",
    "family",
    "df",
    "df_denominator",
)
_LONGEST = 200  # bytes of a name; with its suffix it has to fit a file system
_WORDS = (
    "result", "table", "note", "outcome", "estimator", "estimand", "subgroup", "level", "covariate", "group", "step",
    "reason", "test", "restriction", "verdict", "limit", "wwc", "resource", "column", "title", "type", "unit",
    "constraints", "description", "funder", "component", "payer", "ratio", "interval",
    "half", "rule", "action",
)  # fmt: skip


def round_significant(frame: pd.DataFrame, digits: int) -> pd.DataFrame:
    """Round the numbers that are neither keys nor counts.

    Examples
    --------
    >>> round_significant(pd.DataFrame({"time": [123456.0], "mean": [123456.0]}), 4).iloc[0].tolist()
    [123456.0, 123500.0]
    """
    measured = [name for name in frame.select_dtypes("float").columns if name not in _KEYS and not name.startswith("n")]
    return frame.assign(**{name: [float(f"{x:.{digits}g}") for x in frame[name].astype(float)] for name in measured})


def effects_frame(name: str, effects: EffectTable) -> pd.DataFrame:
    """Return the rows of an EffectTable in the layout; ``note`` states the number of clusters if it is small."""
    n = effects.n_clusters
    note = [""] * len(effects) if n is None else [f"{k} clusters" if k < REPORTED else "" for k in n.tolist()]
    return effects.to_frame().assign(result=name, note=note)[list(EFFECTS)]


def read_table(path: Path) -> pd.DataFrame:
    """Read one CSV of the layout: only an empty field is missing, so that a level called "NA" or "01" stays one."""
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(_WORDS, "str"))
    except (ValueError, OverflowError, MemoryError) as error:  # pandas' parser errors are ValueErrors
        raise InputError("the table cannot be read", file=path, rule=str(error).splitlines()[0][:200]) from None
    return unguard(table)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write one CSV of the layout: ten digits, and no text that a spreadsheet would run as a formula."""
    # ten digits are beyond any data's precision and the same on every processor
    path.write_bytes(csv_text(frame, f"%.{SIGNIFICANT_DIGITS}g").encode())


def check_table(name: str, frame: pd.DataFrame) -> None:
    """Refuse a table that is not one of `TABLES`, or lacks one of its columns."""
    if name not in TABLES:
        raise unknown("result table", name, TABLES)
    for column in TABLES[name]:
        if column not in frame.columns:
            raise InputError(f"the table {name!r} lacks the column {column!r}", fix=", ".join(TABLES[name]))


def check_name(name: str) -> None:
    """Refuse a name that is not a plain file name."""
    plain = name == Path(name).name and "\\" not in name and not name.startswith(".") and name.isprintable()
    if not name or not plain or len(name.encode()) > _LONGEST:
        raise InputError(f"{name!r} cannot name a result", rule="a plain file name", fix="use letters, digits and _")
