"""Differences between arms in what life tables give: restricted means, survival, cumulative incidence.

Each is a difference of two rows of an EffectTable, with the covariance of both: curves of two arms are independent
unless a cluster, such as the matched pair, reaches over both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrain_eval.common.errors import DesignError, InputError, too_small, unknown
from retrain_eval.common.levels import is_missing
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.survival.curves import kaplan_meier
from retrain_eval.estimators.survival.incidence import cumulative_incidence
from retrain_eval.estimators.survival.risk import group_name, require_groups, risk_sets
from retrain_eval.estimators.survival.summaries import rmst
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.life_table.rare_levels import JOIN


def rmst_difference(
    table: LifeTable, tau: float, between: str | None = None, reference: str | None = None, level: float = 0.95
) -> EffectTable:
    """Return the difference in restricted mean survival time between arms, within the levels of the other columns.

    Parameters
    ----------
    table : LifeTable
    tau : float
        Duration up to which means are taken.
    between : str, optional
        Column whose levels are compared; the first of ``table.by`` if not given.
    reference : str, optional
        Level that is subtracted from each other one; the first in the table's order if not given.
    level : float
        Confidence level.

    Returns
    -------
    EffectTable
        One row per level but the reference × combination of the other columns, which is in ``subgroup`` and
        ``level``. ``estimand`` reads "difference in restricted mean: trained minus control". ``n_treated`` and
        ``n_control`` count the spells of the two. A combination without one of the two is left out and named in
        ``meta["notes"]``. ``difference()`` of the result compares combinations.

    Raises
    ------
    InputError
        If there is no column to compare by, an unknown column or level, or τ is beyond what a curve identifies.
    DesignError
        If no combination has two levels to compare, or people have several spells and the table has no cluster.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> spells = pd.DataFrame({"id": range(6), "weeks": [1, 2, 3, 2, 3, 4], "cause": 1, "arm": list("aaabbb")})
    >>> table = life_table(spells, id="id", duration="weeks", cause="cause", censored=(), by="arm")
    >>> found = rmst_difference(table, tau=4).to_frame()
    >>> found["estimand"].item(), round(found["estimate"].item(), 10)
    ('difference in restricted mean: b minus a', 1.0)
    """
    return _between(table, rmst(table, tau, level), between, reference)


def survival_difference(
    table: LifeTable,
    times: Sequence[float] = (2, 4, 8),
    between: str | None = None,
    reference: str | None = None,
    level: float = 0.95,
) -> EffectTable:
    """Return differences in survival between arms at the given durations.

    Parameters, rows and errors are those of `rmst_difference`, with one row per duration, in ``time``;
    ``n_treated`` and ``n_control`` are at risk just before it. The intervals are symmetric; ``vcov`` covers all rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> spells = pd.DataFrame({"id": range(6), "weeks": [1, 2, 3, 2, 3, 4], "cause": 1, "arm": list("aaabbb")})
    >>> table = life_table(spells, id="id", duration="weeks", cause="cause", censored=(), by="arm")
    >>> survival_difference(table, times=(1, 2)).to_frame()["estimate"].round(3).tolist()
    [0.333, 0.333]
    """
    _require_observed(table, times)
    return _between(table, kaplan_meier(table, times=times, level=level), between, reference)


def incidence_difference(
    table: LifeTable,
    times: Sequence[float] = (2, 4, 8),
    between: str | None = None,
    reference: str | None = None,
    level: float = 0.95,
) -> EffectTable:
    """Return differences in cumulative incidence between arms, by cause, at the given durations.

    Parameters, rows and errors are those of `survival_difference`, with one row per cause and duration.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> spells = pd.DataFrame({"id": range(4), "weeks": [1, 2, 2, 2], "cause": ["job", "recall", "job", "job"],
    ...                        "arm": list("aabb")})
    >>> table = life_table(spells, id="id", duration="weeks", cause="cause", censored=(), by="arm")
    >>> incidence_difference(table, times=(2,)).to_frame()[["estimand", "estimate"]].to_numpy().tolist()
    [['difference in CIF(job): b minus a', 0.5], ['difference in CIF(recall): b minus a', -0.5]]
    """
    _require_observed(table, times)
    return _between(table, cumulative_incidence(table, times=times, level=level), between, reference)


def _require_observed(table: LifeTable, times: Sequence[float]) -> None:
    """Refuse durations at which some group is no longer observed."""
    for risk in risk_sets(table):
        if len(times) and max(times) > risk.times[-1] and not is_missing(group_name(risk.level)):
            raise InputError(
                f"the curve of {group_name(risk.level) or 'all'} ends at {risk.times[-1]:g}",
                column="times",
                value=list(times),
                fix=f"use durations up to {risk.times[-1]:g}",
            )


def _between(table: LifeTable, effects: EffectTable, between: str | None, reference: str | None) -> EffectTable:
    """Subtract the reference level's row from that of each other level, other keys being equal."""
    summed = [name for name in table.merged if name != "causes" and JOIN not in name]
    if summed and (not table.by or between in summed):
        raise too_small(between or summed[-1])
    if not table.by:
        raise InputError("there is no column to compare by", column="by", fix='build the table with by=("arm",)')
    column = table.by[0] if between is None else between
    require_groups(table, [column])
    place = table.by.index(column)
    groups = table.groups()
    levels = [name for name in dict.fromkeys(group[place] for group in groups) if not is_missing(name)]
    if not levels:
        raise DesignError(
            f"nothing to compare: {column} is missing for every spell",
            public=f"nothing to compare: {column} is missing for every spell",
        )
    base = levels[0] if reference is None else str(reference)
    if base not in levels:
        raise unknown(f"level of {column}", reference, levels)
    names = {group_name(group): group for group in groups}
    if len(names) < len(groups):
        raise InputError("two groups have the same name", column="by", fix="rename the levels that contain ' × '")
    others = table.by[:place] + table.by[place + 1 :]
    records = effects.frame.to_dict("records")
    found: dict[tuple[str, ...], dict[tuple[str, float], dict[str, int]]] = {}
    for row, record in enumerate(records):
        group = names[str(record["level"])]
        own = found.setdefault(group[:place] + group[place + 1 :], {})
        own.setdefault((str(record["estimand"]), float(record["time"])), {})[group[place]] = row
    rows: list[dict[str, object]] = []
    contrasts, notes = [], []
    for level, own in found.items():
        for (estimand, time), by_level in own.items():
            compared = [name for name in levels if name in by_level and name != base] if base in by_level else []
            for name in compared:
                one, other = by_level[name], by_level[base]
                contrast = np.zeros(len(records))
                contrast[one], contrast[other] = 1.0, -1.0
                contrasts.append(contrast)
                rows.append(
                    {
                        **{key: records[one][key] for key in ("outcome", "estimator")},
                        "estimand": f"difference in {estimand}: {name} minus {base}",
                        "time": time,
                        "subgroup": group_name(others) or None,
                        "level": group_name(level) or None,
                        "estimate": records[one]["estimate"] - records[other]["estimate"],
                        "n_treated": records[one]["n_treated"],
                        "n_control": records[other]["n_treated"],
                    }
                )
        present = {name for by_level in own.values() for name in by_level}
        missing = [name for name in levels if name not in present]
        if missing:
            notes.append(f"{group_name(level) or 'all'} has no spell of {', '.join(missing)}")
    if not rows:
        raise DesignError(
            f"nothing to compare: no group has spells of {base} and of another level of {column}",
            public=f"nothing to compare: no group has spells of {base} and of another level of {column}",
        )
    matrix = np.vstack(contrasts)
    vcov = effects.vcov_of(matrix)
    # where no spell, or every one, has ended so, the spread of a share cannot be estimated, nor that of a difference
    unknown_spread = (matrix[:, effects.frame["std_error"].isna().to_numpy()] != 0).any(axis=1)
    vcov[unknown_spread] = vcov[:, unknown_spread] = np.nan
    meta = {key: value for key, value in effects.meta.items() if key != "conf_type"}
    return EffectTable.build(
        rows,
        vcov,
        level=effects.confidence_level,
        **effects.inference_of(matrix),
        meta=meta | {"contrast": f"levels of {column} minus {base}", "notes": [*effects.notes, *notes]},
    )
