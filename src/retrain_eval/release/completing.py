"""Columns that follow from other published numbers: made from what is printed, so that anybody makes them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.confounding import Regressions, e_value, oster_bounds
from retrain_eval.effects import COUNTS, KEYS, EffectTable
from retrain_eval.errors import InputError
from retrain_eval.estimates import same_rows
from retrain_eval.results import Part, round_significant, standing_effects
from retrain_eval.survival.followup import with_logit_interval

# by table: columns that follow from the others, from a row of the effects, or from both
FOLLOWING: Mapping[str, tuple[str, ...]] = {
    "e_values": ("estimate", "std_error", "risk_ratio", "e_value", "e_value_limit"),
    "oster": ("r2_uncontrolled", "r2_max", "delta", "beta_star"),
}


def complete(tables: Mapping[str, pd.DataFrame], digits: int) -> dict[str, pd.DataFrame]:
    """Return the tables with the columns of ``FOLLOWING`` made from the others as they are printed.

    Parameters
    ----------
    tables : mapping of str → DataFrame
        Protected, their counts rounded.
    digits : int
        Significant figures of what is printed.
    """
    effects = tables.get("effects")
    return {name: _MAKE[name](frame, effects, digits) if name in _MAKE else frame for name, frame in tables.items()}


def _e_values(frame: pd.DataFrame, effects: pd.DataFrame | None, digits: int) -> pd.DataFrame:
    """Take the estimate from the effects, and standardise it by the printed deviation."""
    rows = []
    for row in _records(frame, digits):
        of = effects[effects["result"] == row["result"]] if effects is not None else pd.DataFrame()
        if len(of):
            shown = round_significant(of.iloc[[0]][["estimate", "std_error"]], digits).iloc[0]
            row |= {"estimate": float(shown["estimate"]), "std_error": float(shown["std_error"])}
            row |= asdict(e_value(row["estimate"], row["std_error"], row["sd"]))
        rows.append(row)
    return pd.DataFrame(rows, columns=list(frame.columns))


def _oster(frame: pd.DataFrame, effects: pd.DataFrame | None, digits: int) -> pd.DataFrame:
    """Bound with the printed regressions: at the usual R² max, or at 1."""
    rows = []
    for row in _records(frame, digits):
        known: dict[str, Any] = {name: float(row[name]) for name in Regressions.__dataclass_fields__}
        known["r2_uncontrolled"] = known["beta_uncontrolled"] ** 2 * known["var_treatment"] / known["var_outcome"]
        regressions = Regressions(**{**known, "n": int(row["n"])})
        found = oster_bounds(regressions, 1.0 if row["r2_max"] == 1 else None)
        rows.append({**row, "r2_uncontrolled": known["r2_uncontrolled"], **asdict(found)})
    return pd.DataFrame(rows, columns=list(frame.columns))


def _records(frame: pd.DataFrame, digits: int) -> list[dict[str, Any]]:
    """Return rows as they are printed."""
    printed = round_significant(frame, digits).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in printed]


_MAKE: Mapping[str, Callable[[pd.DataFrame, pd.DataFrame | None, int], pd.DataFrame]] = {
    "e_values": _e_values,
    "oster": _oster,
}


def with_estimates(standing: pd.DataFrame, derived: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the estimates and counts that the released tables give.

    Raises
    ------
    InputError
        If the tables give no such rows.
    """
    again = same_rows(standing, derived)
    return standing.assign(**{name: again[name].to_numpy() for name in ("estimate", *COUNTS)})


def with_inference(part: Part, printed: pd.DataFrame) -> pd.DataFrame:
    """Return rows of effects whose errors, intervals, bands and p-values are those of the covariance beside them.

    Parameters
    ----------
    part : Part
        With a covariance, and the facts of its inference: level, degrees of freedom, kind of interval, seed.
    printed : DataFrame
        Its rows, as they are printed.
    """
    table = standing_effects(part, printed)
    meta = dict(part.meta or {})
    level, df, kind = float(meta.get("level", 0.95)), meta.get("df"), meta.get("conf_type", "plain")
    band = table.frame["band_low"].notna().to_numpy()
    seed: dict[str, Any] = {"seed": int(meta["seed"])} if "seed" in meta else {}
    made = EffectTable.build(
        table.frame[[*KEYS, "estimate", *COUNTS]],
        np.nan_to_num(table.vcov),
        level=level,
        df=None if df is None else float(df),
        band=band if band.any() else None,
        **seed,
    )
    if kind == "logit":
        made = with_logit_interval(made, level)
    elif kind != "plain":
        raise InputError(f"an interval of the kind {kind!r} cannot be made from a covariance", column="conf_type")
    inference = [name for name in made.frame.columns if name not in (*KEYS, "estimate", *COUNTS)]
    withheld = printed["estimate"].isna().to_numpy()
    values = {name: made.frame[name].mask(withheld).to_numpy() for name in inference}
    return printed.assign(**values)
