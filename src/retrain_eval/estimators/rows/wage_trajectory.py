"""Panel models of wage trajectories: how wages grow with time since exit, for trained and not, with linearmodels.

They read person-period rows: unit effects of unbalanced wages are not a function of the moments. linearmodels is
imported where it is used: it costs a second and a half that no other command should pay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.numerics.jackknife import FEW, cv3
from retrain_eval.common.shown import summarised
from retrain_eval.common.sources import Source, as_relation, query, require_columns, sql_name
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.rows.regression import ENGINES
from retrain_eval.estimators.rows.trajectory_peers import PEER_MODELS, fit_pyfixest

MODELS = ("fixed", "random", "correlated_random", "first_differences")
VCES = ("cluster", "unadjusted")
LEVELS = ("random", "correlated_random")  # models in which what is constant in a unit has a coefficient


@summarised
@dataclass(frozen=True)
class _Rows:
    """Rows in the order (unit, time), as arrays; ``unit`` is numbered from 0."""

    unit: Ints
    time: Ints
    outcome: Floats
    columns: dict[str, Floats]
    cluster: Ints
    treated: Floats


_Fit = Callable[[_Rows, dict[str, Floats], str, str], tuple[Floats, Floats, float, int]]


def wage_trajectory(
    source: Source,
    *,
    outcome: str,
    unit: str,
    time: str,
    exit: str,
    treated: str | None = None,
    covariates: Sequence[str] = (),
    degree: int = 2,
    model: str = "fixed",
    cluster: str | None = None,
    vce: str = "cluster",
    horizons: Sequence[int] = (),
    engine: str = "linearmodels",
    memory_limit: str | None = None,
) -> EffectTable:
    """Estimate growth in time since exit, and how it differs for the treated.

    Parameters
    ----------
    source : DuckDB relation, DataFrame, Arrow table or path
        One row per unit × period. Rows without an outcome (no wage while out of work), before exit, or without an exit
        are left out; the panel may be unbalanced.
    outcome : str
        Log wages, say; coefficients are in its unit per period.
    unit, time : str
        Columns that identify a row.
    exit : str
        Column of the period of exit from the programme, or the matched control's; time since exit is ``time − exit``.
    treated : str, optional
        Column of 0 and 1, constant within a unit.
    covariates : sequence of str
        Columns of numbers.
    degree : {1, 2, 3}
        Of the polynomial in time since exit.
    model : {"fixed", "random", "correlated_random", "first_differences"}
        Unit effects: absorbed; drawn independently of the regressors; drawn with a mean linear in the unit's means of
        the regressors (Mundlak); differenced out between adjacent periods (none across a gap).
    cluster : str, optional
        Column to cluster by; default the unit.
    vce : {"cluster", "unadjusted"}
        "cluster": CR1, G/(G−1) · (N−1)/(N−K) without unit effects in K, and Student's t with G − 1 degrees of freedom;
        with fewer than 50 clusters of a named column the jackknife, CV3.
        "unadjusted": one variance for all, no correlation over time beyond the model's; Student's t with the
        regression's degrees of freedom.
    horizons : sequence of int
        Times since exit at which to report how far the treated are ahead.
    engine : {"linearmodels", "pyfixest"}
        Package that estimates; pyfixest has the models "fixed" and "first_differences". ``estimator`` is then its name.
    memory_limit : str, optional
        DuckDB's limit where the source is not a relation with its own connection. The rows kept are held in memory.

    Returns
    -------
    EffectTable
        One row per coefficient, its name in ``estimand``: ``since_exit``, ``since_exit^2``, ``treated``,
        ``treated:since_exit`` …, covariates. Then ``gap`` with the horizon in ``time``: with "fixed" and
        "first_differences" it counts from exit, since the level at exit is absorbed.

    Raises
    ------
    InputError
        For columns, keywords or values that cannot be; for a covariate that is constant in all units where the model
        absorbs it.
    DesignError
        If coefficients are collinear or too few units or clusters are left.

    Notes
    -----
    Wooldridge (2010, sections 10.4 to 10.6), with the correlated random effects of Mundlak (1978). Where exit is at
    the same date for all, time since exit and calendar time are one: the difference between treated and untreated
    growth is then what the model tells.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"id": [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], "t": [1, 2, 3] * 4, "out": 1,
    ...     "trained": [1] * 6 + [0] * 6, "w": [1.0, 1.3, 1.5, 2.0, 2.2, 2.5, 1.0, 1.1, 1.2, 2.0, 2.1, 2.3]})
    >>> fit = wage_trajectory(rows, outcome="w", unit="id", time="t", exit="out", treated="trained", degree=1)
    >>> fit.to_frame().set_index("estimand")["estimate"].round(3).to_dict()
    {'since_exit': 0.125, 'treated:since_exit': 0.125}
    """
    choices: list[tuple[str, object, tuple[object, ...]]] = [
        ("model", model, MODELS),
        ("vce", vce, VCES),
        ("degree", degree, (1, 2, 3)),
        ("engine", engine, ENGINES),
    ]
    for name, value, known in choices:
        if value not in known:
            raise InputError(f"unknown {name}={value!r}", fix=f"use one of {', '.join(map(str, known))}")
    if engine == "pyfixest" and model not in PEER_MODELS:
        raise InputError(f"pyfixest has no model {model!r}", fix=f"use one of {', '.join(PEER_MODELS)}")
    if horizons and treated is None:
        raise InputError("horizons compare the treated with the others", column="treated", fix="name the column")
    used = as_relation(source, memory_limit, numbers=(outcome, time, exit, treated, *covariates), keys=(unit, cluster))
    rows = _read(used, outcome, unit, time, exit, treated, tuple(covariates), cluster)
    if treated is not None and len(np.unique(rows.treated)) < 2:
        arm = "treated" if rows.treated[0] else "untreated"
        raise DesignError(f"everyone with an outcome after exit is {arm}; there is no one to compare with")
    for value, arm in ((1.0, "treated"), (0.0, "untreated")) if treated is not None else ():
        if len(np.unique(rows.unit[rows.treated == value])) < 2:
            raise DesignError(f"one unit with an outcome after exit is {arm}, which gives no standard error")
    design, gaps = _design(rows, degree, horizons, treated=treated is not None)
    if model not in LEVELS:
        design.pop("treated", None)
        _refuse_constants(rows, design, model)
    if model == "correlated_random":
        design |= _unit_means(rows, design)
    fit = _fit if engine == "linearmodels" else _fit_peer
    estimates, vcov, df, n_used = fit(rows, design, model, vce)
    n_clusters = len(np.unique(rows.cluster)) if cluster is not None and vce == "cluster" else None
    jackknife = n_clusters is not None and n_clusters < FEW
    if jackknife:
        vcov = _jackknife(rows, design, model, estimates, fit)

    shown = [name for name in design if not name.startswith("mean of ")]
    names = list(design)
    select = np.zeros((len(shown) + len(gaps), len(names)))
    for i, name in enumerate(shown):
        select[i, names.index(name)] = 1.0
    for i, terms in enumerate(gaps.values(), start=len(shown)):
        for name, value in terms.items():
            if name in design:
                select[i, names.index(name)] = value
    table = pd.DataFrame(
        {
            "outcome": outcome,
            "estimator": f"wage_trajectory_{model}" if engine == "linearmodels" else engine,
            "estimand": [*shown, *("gap" for _ in gaps)],
            "time": [*(np.nan for _ in shown), *gaps],
            "estimate": select @ estimates,
            "n_treated": len(np.unique(rows.unit[rows.treated == 1])),
            "n_control": len(np.unique(rows.unit[rows.treated == 0])),
        }
    )
    meta = {"model": model, "vce": vce, "cluster": cluster or unit, "degree": degree, "n_rows": n_used}
    meta |= {"variance": "CV3"} if jackknife else {}
    return EffectTable.build(table, select @ vcov @ select.T, df=df, n_clusters=n_clusters, meta=meta)


def _jackknife(rows: _Rows, design: dict[str, Floats], model: str, estimates: Floats, fit: _Fit) -> Floats:
    """Return the covariance of coefficients from the fits without each cluster."""
    clusters = np.unique(rows.cluster)
    without = np.zeros((len(clusters), len(design)))
    for g, cluster in enumerate(clusters):
        kept = rows.cluster != cluster
        part = _Rows(rows.unit[kept], rows.time[kept], rows.outcome[kept], {}, rows.cluster[kept], rows.treated[kept])
        try:
            without[g] = fit(part, {name: values[kept] for name, values in design.items()}, model, "unadjusted")[0]
        except DesignError as error:
            raise DesignError(
                f"one of {len(clusters)} clusters cannot be left out, so that there is no standard error: {error}",
                public="there are too few clusters for a standard error",
            ) from error
    return cv3(estimates, without, np.ones(without.shape, dtype=bool))


def _read(
    relation: Any,
    outcome: str,
    unit: str,
    time: str,
    exit: str,
    treated: str | None,
    covariates: tuple[str, ...],
    cluster: str | None,
) -> _Rows:
    """Fetch the rows after exit that have an outcome, sorted; refuse duplicates and values that are not finite."""
    named = [outcome, unit, time, exit, *covariates, *(c for c in (treated, cluster) if c is not None)]
    require_columns(relation, named)
    numbers = {"_y": outcome, "_exit": exit, **{f"_x{i}": name for i, name in enumerate(covariates)}}
    if treated is not None:
        numbers["_treated"] = treated
    selected = ", ".join(f"CAST({sql_name(name)} AS DOUBLE) AS {alias}" for alias, name in numbers.items())
    found = query(
        relation,
        f"SELECT dense_rank() OVER (ORDER BY {sql_name(unit)}) - 1 AS _unit, "
        f"CAST({sql_name(time)} AS BIGINT) AS _time, "
        f"dense_rank() OVER (ORDER BY {sql_name(cluster or unit)}) - 1 AS _cluster, {selected} FROM source "
        f"WHERE {sql_name(outcome)} IS NOT NULL AND {sql_name(time)} >= {sql_name(exit)} ORDER BY _unit, _time",
    ).fetchnumpy()
    if len(found["_unit"]) == 0:
        raise DesignError(f"no row has an outcome after exit (columns {outcome!r}, {time!r}, {exit!r})")
    values: dict[str, Floats] = {}
    for alias, name in numbers.items():
        values[alias] = np.ma.filled(np.ma.asarray(found[alias], dtype=float), np.nan)
        bad = int((~np.isfinite(values[alias])).sum())
        if bad:
            raise InputError(
                f"{bad} row(s) have no finite value", column=name, rule="numbers", fix="leave these rows out"
            )
    units, times = np.asarray(found["_unit"]), np.asarray(found["_time"])
    same = (units[1:] == units[:-1]) & (times[1:] == times[:-1])
    if same.any():
        raise InputError(
            f"{int(same.sum())} row(s) have the unit and period of another one",
            column=f"{unit}, {time}",
            rule="one row per unit and period",
            fix="remove the duplicates",
        )
    arm = values.get("_treated", np.zeros(len(units)))
    if not np.isin(arm, (0.0, 1.0)).all():
        raise InputError("treatment is 0 or 1", column=treated)
    for column, fixed in ((exit, values["_exit"]), (treated, arm)):
        changes = (units[1:] == units[:-1]) & (fixed[1:] != fixed[:-1])
        if changes.any():
            raise InputError(
                f"changes within {len(np.unique(units[1:][changes]))} unit(s)",
                column=column,
                rule="exit and treatment are constant within a unit",
                fix="use the first exit, and the treatment that it ended",
            )
    kept = {"since_exit": times - values["_exit"], **{name: values[f"_x{i}"] for i, name in enumerate(covariates)}}
    return _Rows(units, times, values["_y"], kept, np.asarray(found["_cluster"]), arm)


def _design(
    rows: _Rows, degree: int, horizons: Sequence[int], *, treated: bool
) -> tuple[dict[str, Floats], dict[int, dict[str, float]]]:
    """Return the regressors by name, and the terms whose sum is the gap at each horizon."""
    since, covariates = rows.columns["since_exit"], {k: v for k, v in rows.columns.items() if k != "since_exit"}
    powers = {"since_exit" if k == 1 else f"since_exit^{k}": since**k for k in range(1, degree + 1)}
    if not treated:
        return powers | covariates, {}
    interactions = {f"treated:{name}": rows.treated * power for name, power in powers.items()}
    gaps = {
        int(h): {"treated": 1.0, **{name: float(h) ** k for k, name in enumerate(interactions, start=1)}}
        for h in horizons
    }
    return {**powers, "treated": rows.treated, **interactions, **covariates}, gaps


def _unit_means(rows: _Rows, design: dict[str, Floats]) -> dict[str, Floats]:
    """Return the unit means of what varies within units (Mundlak 1978)."""
    means = {}
    for name, values in design.items():
        mean = np.bincount(rows.unit, values) / np.bincount(rows.unit)
        varies = np.abs(values - mean[rows.unit]).max() > 1e-12 * max(np.abs(values).max(), 1.0)
        apart = len(np.unique(np.round(mean, 12))) > 1
        if varies and apart:
            means[f"mean of {name}"] = mean[rows.unit]
    return _drop_dependent({"const": np.ones(len(rows.unit)), **design}, means)


def _drop_dependent(kept: dict[str, Floats], more: dict[str, Floats]) -> dict[str, Floats]:
    """Return the columns of ``more`` that earlier ones do not span: in a balanced panel many means coincide."""
    out: dict[str, Floats] = {}
    for name, values in more.items():
        basis = np.column_stack([*kept.values(), *out.values()])
        rest = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
        if np.linalg.norm(rest) > 1e-8 * np.linalg.norm(values):
            out[name] = values
    return out


def _refuse_constants(rows: _Rows, design: dict[str, Floats], model: str) -> None:
    for name, values in design.items():
        mean = np.bincount(rows.unit, values) / np.bincount(rows.unit)
        if np.abs(values - mean[rows.unit]).max() <= 1e-12 * max(np.abs(values).max(), 1.0):
            raise InputError(
                f"is constant within every unit, so model={model!r} cannot tell its effect",
                column=name,
                fix='leave it out, or use model="correlated_random"',
            )


def _fit(rows: _Rows, design: dict[str, Floats], model: str, vce: str) -> tuple[Floats, Floats, float, int]:
    """Return coefficients, covariance, degrees of freedom and the number of rows that the regression used."""
    from linearmodels.panel import FirstDifferenceOLS, PanelOLS, RandomEffects
    from linearmodels.panel.utility import AbsorbingEffectError

    index = pd.MultiIndex.from_arrays([rows.unit, rows.time], names=["unit", "time"])
    x = pd.DataFrame(design, index=index)
    y = pd.Series(rows.outcome, index=index, name="outcome")
    options: dict[str, Any] = {"cov_type": "unadjusted"}
    if vce == "cluster":
        clusters = pd.Series(rows.cluster, index=index, name="cluster")
        options = {"cov_type": "clustered", "clusters": clusters, "debiased": True, "group_debias": True}
        if clusters.nunique() < 3:
            raise DesignError(
                f"{clusters.nunique()} clusters are too few for a standard error",
                public="there are too few clusters for a standard error",
            )
    try:
        fit: Any
        if model == "fixed":
            fit = PanelOLS(y, x, entity_effects=True).fit(**options)
        elif model == "first_differences":
            fit = FirstDifferenceOLS(y, x).fit(**options)
        else:
            fit = RandomEffects(y, x.assign(const=1.0)).fit(**options)
    except (AbsorbingEffectError, ValueError, np.linalg.LinAlgError, ZeroDivisionError) as error:
        raise DesignError(
            f"the {model} model cannot be estimated: {error}", public="the model cannot be estimated from these records"
        ) from error
    names = list(design)
    vcov = fit.cov.loc[names, names].to_numpy()
    if not np.isfinite(vcov).all():
        raise DesignError(
            f"the {model} model has no finite covariance: too few units or no variation is left",
            public="the model cannot be estimated: too few units or no variation is left",
        )
    df = len(np.unique(rows.cluster)) - 1 if vce == "cluster" else int(fit.df_resid)
    return fit.params[names].to_numpy(), vcov, float(df), int(fit.nobs)


def _fit_peer(rows: _Rows, design: dict[str, Floats], model: str, vce: str) -> tuple[Floats, Floats, float, int]:
    return fit_pyfixest(rows.unit, rows.time, rows.outcome, rows.cluster, design, model, vce)
