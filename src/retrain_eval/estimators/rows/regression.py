"""The same estimates from regression packages, on rows: a second engine to check the moments against.

pyfixest and linearmodels are imported where used: each costs seconds that no other command should pay.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.errors import DesignError, InputError, unknown, unknown_columns
from retrain_eval.common.numerics.jackknife import FEW, cv3
from retrain_eval.common.periods import stored_period
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import FEWEST_CLUSTERS

ENGINES = ("pyfixest", "linearmodels")


def _feols(formula: str, **options: Any) -> Any:
    """Call pyfixest without its own pandas deprecations and collinearity warnings: we check for dropped names."""
    import pyfixest as pf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pf.feols(formula, **options)


def fixed_effects(
    data: pd.DataFrame,
    outcome: str,
    regressors: Sequence[str],
    *,
    unit: str,
    time: str,
    engine: str = "pyfixest",
) -> EffectTable:
    """Estimate a unit fixed-effects regression with homoskedastic standard errors.

    Parameters
    ----------
    data : DataFrame
        One row per unit × time; rows that miss the outcome or a regressor are left out, as both packages do.
    outcome : str
        Dependent variable.
    regressors : sequence of str
        Right-hand side, period dummies included.
    unit, time : str
        Columns that identify a row.
    engine : {"pyfixest", "linearmodels"}
        Package that estimates.

    Returns
    -------
    EffectTable
        One row per regressor, its name in ``estimand``; Student's t with n − units − k degrees of freedom.

    Notes
    -----
    The within estimator, Wooldridge (2020, ch. 14, eq. 14.5).

    Examples
    --------
    >>> import pandas as pd
    >>> d = pd.DataFrame({"i": [1, 1, 2, 2, 3, 3], "t": [0, 1] * 3, "d": [0, 1, 0, 1, 0, 0],
    ...                   "y": [1.0, 3.0, 2.0, 4.5, 1.0, 1.5]})
    >>> fit = fixed_effects(d, "y", ["t", "d"], unit="i", time="t", engine="linearmodels")
    >>> fit.to_frame()["estimate"].round(2).tolist()
    [0.5, 1.75]
    """
    if engine not in ENGINES:
        raise InputError(f"unknown engine={engine!r}", fix=f"use one of {', '.join(ENGINES)}")
    own = {f"_x{i}": name for i, name in enumerate(regressors)}
    rows = _own_names(data, {"_y": outcome, **own, "_unit": unit, "_time": time}).dropna(subset=["_y", *own])
    rows["_unit"] = rows["_unit"].astype("category").cat.codes
    formula = f"_y ~ {' + '.join(own)}"
    if engine == "pyfixest":
        fit = _feols(f"{formula} | _unit", data=rows, vcov="iid", fixef_rm="none")
        found, estimates, vcov = list(fit._coefnames), np.asarray(fit._beta_hat), np.asarray(fit._vcov)
    else:
        from linearmodels.panel import PanelOLS
        from linearmodels.panel.utility import AbsorbingEffectError

        try:
            fit = PanelOLS.from_formula(f"{formula} + EntityEffects", rows.set_index(["_unit", "_time"])).fit()
        except AbsorbingEffectError as error:
            absorbed = ", ".join(own[name] for name in own if re.search(rf"\b{name}\b", str(error)))
            raise DesignError(f"collinear with the fixed effects or other regressors: {absorbed}") from None
        found, estimates, vcov = list(fit.params.index), fit.params.to_numpy(), fit.cov.to_numpy()
    names = [own.get(name, name) for name in found]
    missing = [name for name in regressors if name not in names]
    if missing:
        raise DesignError(f"collinear with the fixed effects or other regressors: {', '.join(missing)}")
    df = len(rows) - rows["_unit"].nunique() - len(names)
    table = pd.DataFrame(
        {
            "outcome": outcome,
            "estimator": engine,
            "estimand": names,
            "estimate": estimates,
            "n_treated": rows["_unit"].nunique(),
        }
    )
    return EffectTable.build(table, vcov, df=float(df), meta={"engine": engine, "vce": "iid", "n": len(rows)})


def mean_difference_rows(
    data: pd.DataFrame, outcome: str, treated: str, *, cluster: str | None = None, weights: str | None = None
) -> EffectTable:
    """Regress the outcome on treatment with pyfixest: the row-level twin of `mean_difference`.

    Parameters
    ----------
    data : DataFrame
        One row per unit. A row in which one of the columns is missing is left out.
    outcome, treated : str
        Columns; ``treated`` is 0 or 1.
    cluster, weights : str, optional
        CR1 by this column (with fewer than 50 clusters the jackknife, CV3), HC1 without it; analytic weights.

    Examples
    --------
    >>> import pandas as pd
    >>> d = pd.DataFrame({"y": [3.0, 5.0, 1.0, 2.0], "d": [1, 1, 0, 0]})
    >>> float(mean_difference_rows(d, "y", "d").to_frame()["estimate"].round(6).item())
    2.5
    """
    rows = _own_names(data, {"_y": outcome, "_d": treated, "_cluster": cluster, "_w": weights}).dropna()
    vcov = "HC1" if cluster is None else {"CRV1": "_cluster"}
    options = {"weights": None if weights is None else "_w"}
    if cluster is not None:
        refuse_few(rows["_cluster"].nunique())
    fit = _feols("_y ~ _d", data=rows, vcov=vcov, **options)
    position = list(fit._coefnames).index("_d")
    variance, n_clusters, meta = np.array([[fit._vcov[position, position]]]), None, {"engine": "pyfixest"}
    if cluster is not None:
        n_clusters = rows["_cluster"].nunique()
        if n_clusters < FEW:
            estimate = np.array([fit._beta_hat[position]])
            variance = _jackknife(rows, cluster, estimate, ["_d"], "_y ~ _d", vcov="iid", **options)
            meta["variance"] = "CV3"
    n_treated = int(rows["_d"].sum())
    row = {
        "outcome": outcome,
        "estimator": "pyfixest",
        "estimand": "difference in means",
        "estimate": float(fit._beta_hat[position]),
        "n_treated": n_treated,
        "n_control": len(rows) - n_treated,
    }
    df = len(rows) - 2.0 if cluster is None else None
    return EffectTable.build([row], variance, df=df, n_clusters=n_clusters, meta=meta)


def _own_names(data: pd.DataFrame, named: Mapping[str, str | None]) -> pd.DataFrame:
    """Return columns under neutral names: estimation packages evaluate column names as part of a formula."""
    used = {own: name for own, name in named.items() if name is not None}
    if absent := [name for name in used.values() if name not in data.columns]:
        raise unknown_columns(absent, data.columns)
    return pd.DataFrame({own: data[name] for own, name in used.items()})


def refuse_few(n_clusters: int) -> None:
    """Refuse to give a standard error from one or two clusters."""
    if n_clusters < FEWEST_CLUSTERS:
        raise DesignError(
            f"the standard errors rest on {n_clusters} cluster(s); at least {FEWEST_CLUSTERS} are needed for a "
            "standard error",
            public="there are too few clusters for a standard error",
        )


def _jackknife(
    rows: pd.DataFrame, cluster: str, estimate: np.ndarray[Any, Any], names: list[str], formula: str, **options: Any
) -> np.ndarray[Any, Any]:
    """Return the covariance of coefficients from the regressions without each ``_cluster``; ``cluster`` is its name."""
    groups = sorted(rows["_cluster"].unique())
    without = np.full((len(groups), len(names)), np.nan)
    for g, value in enumerate(groups):
        fit = _feols(formula, data=rows[rows["_cluster"] != value], **options)
        found = dict(zip(fit._coefnames, fit._beta_hat, strict=True))
        without[g] = [found.get(name, np.nan) for name in names]
    if np.isnan(without).any():
        left = int(np.isnan(without).any(axis=1).sum())
        raise DesignError(
            f"without {left} of the {len(groups)} clusters of {cluster!r} some coefficients cannot be estimated, so "
            "there is no standard error",
            public="there are too few clusters for a standard error",
        )
    return cv3(estimate, without, np.ones(without.shape, dtype=bool))


def event_study_rows(
    data: pd.DataFrame,
    outcome: str,
    *,
    unit: str,
    time: str,
    treated: str,
    cohort: float | str,
    reference: int | str,
    cluster: str | None = None,
    weights: str | None = None,
) -> EffectTable:
    """Two-way fixed-effects event study of one cohort with pyfixest, on rows.

    Parameters
    ----------
    data : DataFrame
        Balanced panel, one row per unit × time.
    outcome, unit, time, treated : str
        Columns; ``treated`` is 1 in all periods of a treated unit.
    cohort : float or str
        First treated period, to express periods as event time.
    reference : int or str
        Period that the others are compared with.
    cluster, weights : str, optional
        Cluster (default: the unit) and analytic weights.

    Returns
    -------
    EffectTable
        One row per event time, the reference as zero.

    Raises
    ------
    InputError
        If the reference is not a period of the data.
    DesignError
        If effects are collinear with unit and period effects, because all units or none are treated.

    Notes
    -----
    No small-sample factor; with fewer than 50 clusters the jackknife, CV3, which needs none. Period effects are
    regressors: pyfixest keeps several fixed effects in a set, and both its count of nested ones and the last bit of a
    coefficient depend on the set's order. The sandwich equals that of the moments.

    Examples
    --------
    >>> import pandas as pd
    >>> d = pd.DataFrame({"i": [1, 1, 2, 2, 3, 3, 4, 4], "t": [1, 2] * 4, "d": [1, 1, 1, 1, 0, 0, 0, 0],
    ...                   "y": [1.0, 4.0, 2.0, 5.5, 1.0, 2.0, 2.0, 3.5]})
    >>> es = event_study_rows(d, "y", unit="i", time="t", treated="d", cohort=2, reference=1)
    >>> es.to_frame()["estimate"].round(6).tolist()
    [0.0, 2.0]
    """
    import pyfixest as pf

    reference, cohort = stored_period(reference), stored_period(cohort)
    times = sorted(int(t) for t in data[time].unique())
    if reference not in times:
        raise unknown("period", reference, times)
    own = {"_y": outcome, "_unit": unit, "_time": time, "_d": treated, "_cluster": cluster or unit, "_w": weights}
    rows = _own_names(data, own)
    names = {t: f"_d{i}" for i, t in enumerate(times) if t != reference}
    periods = {t: f"_t{i}" for i, t in enumerate(times) if t != reference}
    for t, name in names.items():
        rows[periods[t]] = (rows["_time"] == t).astype(float)
        rows[name] = rows["_d"] * rows[periods[t]]
    clustered = cluster not in (None, unit)
    formula = f"_y ~ {' + '.join([*periods.values(), *names.values()])} | _unit"
    ssc = pf.ssc(k_adj=False, G_adj=False, k_fixef="none")
    options: dict[str, Any] = {"weights": None if weights is None else "_w", "ssc": ssc}
    fit = _feols(formula, data=rows, vcov={"CRV1": "_cluster" if clustered else "_unit"}, **options)
    order = list(fit._coefnames)
    missing = [f"{treated} × {t}" for t, name in names.items() if name not in order]
    if missing:
        raise DesignError(f"collinear with the unit and period effects: {', '.join(missing)}")
    estimates, vcov = np.zeros(len(times)), np.zeros((len(times), len(times)))
    place = [times.index(t) for t in names]
    position = [order.index(name) for name in names.values()]
    estimates[place] = np.asarray(fit._beta_hat)[position]
    vcov[np.ix_(place, place)] = np.asarray(fit._vcov)[np.ix_(position, position)]
    n_clusters, meta = None, {"engine": "pyfixest"}
    if clustered:
        n_clusters = rows["_cluster"].nunique()
        refuse_few(n_clusters)
        if n_clusters < FEW:
            wanted = list(names.values())
            without = _jackknife(rows, str(cluster), estimates[place], wanted, formula, vcov="iid", **options)
            vcov[np.ix_(place, place)] = without
            meta["variance"] = "CV3"
    units = rows.drop_duplicates("_unit")
    n_treated = int(units["_d"].sum())
    table = pd.DataFrame(
        {
            "outcome": outcome,
            "estimator": "pyfixest",
            "estimand": "ATT(e)",
            "event_time": [t - cohort for t in times],
            "estimate": estimates,
            "n_treated": n_treated,
            "n_control": len(units) - n_treated,
        }
    )
    return EffectTable.build(table, vcov, band=np.ones(len(table), dtype=bool), n_clusters=n_clusters, meta=meta)
