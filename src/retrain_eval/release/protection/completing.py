"""Columns that follow from other published numbers, computed from the printed values so that anyone can repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import COUNTS, KEYS
from retrain_eval.estimators.effects.groups import adjust_groups
from retrain_eval.estimators.effects.same_estimates import same_rows
from retrain_eval.estimators.inference.hidden_bias_bounds import e_value
from retrain_eval.estimators.rows.follow_up import with_logit_interval
from retrain_eval.release.layout import round_significant
from retrain_eval.release.results import Part, standing_effects

# by table: columns computed from a row of the effects and from other columns of the same printed row
FOLLOWING: Mapping[str, tuple[str, ...]] = {
    "e_values": ("estimate", "std_error", "risk_ratio", "e_value", "e_value_limit"),
}


def complete(tables: Mapping[str, pd.DataFrame], digits: int) -> dict[str, pd.DataFrame]:
    """Return the tables with what follows from several printed rows.

    E-values follow from the printed effects and the printed standard deviation, verdicts on groups from the printed
    p-values of all of them.

    Parameters
    ----------
    tables : mapping of str → DataFrame
        Protected tables with rounded counts.
    digits : int
        Significant figures of printed numbers.
    """
    if "groups" in tables:  # adjusted over all groups, each of which follows from a table of its own
        again = adjust_groups(round_significant(tables["groups"], digits))
        columns = {name: again[name].to_numpy() for name in ("p_holm", "verdict")}
        tables = {**tables, "groups": tables["groups"].assign(**columns, n_needed=again["n_needed"])}
    effects = tables.get("effects")
    if effects is None or "e_values" not in tables:
        return dict(tables)
    frame, rows = tables["e_values"], []
    for printed in round_significant(frame, digits).to_dict("records"):
        row = {str(name): value for name, value in printed.items()}
        of = effects[effects["result"] == row["result"]]
        if len(of):
            shown = round_significant(of.iloc[[0]][["estimate", "std_error"]], digits).iloc[0]
            estimate, std_error = float(shown["estimate"]), float(shown["std_error"])
            row |= {"estimate": estimate, "std_error": std_error, **asdict(e_value(estimate, std_error, row["sd"]))}
        rows.append(row)
    return {**tables, "e_values": pd.DataFrame(rows, columns=list(frame.columns))}


def with_estimates(standing: pd.DataFrame, derived: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with estimates and counts re-derived from the released tables.

    Raises
    ------
    InputError
        If the tables do not yield these rows.
    """
    again = same_rows(standing, derived)
    return standing.assign(**{name: again[name].to_numpy() for name in ("estimate", *COUNTS)})


def with_inference(part: Part, printed: pd.DataFrame) -> pd.DataFrame:
    """Return rows of effects with errors, intervals, bands and p-values computed from the part's covariance.

    Parameters
    ----------
    part : Part
        A part with a covariance and the settings of its inference: level, degrees of freedom, kind of interval, seed.
    printed : DataFrame
        Its rows as printed.
    """
    table = standing_effects(part, printed)
    meta = dict(part.meta or {})
    level, kind = float(meta.get("level", 0.95)), meta.get("conf_type", "plain")
    band = table.frame["band_low"].notna().to_numpy()
    seed: dict[str, Any] = {"seed": int(meta["seed"])} if "seed" in meta else {}
    made = EffectTable.build(
        table.frame[[*KEYS, "estimate", *COUNTS]],
        np.nan_to_num(table.vcov),
        level=level,
        df=table.df,
        n_clusters=table.n_clusters,
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
