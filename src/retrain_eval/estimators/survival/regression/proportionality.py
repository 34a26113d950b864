r"""Test of proportional hazards: whether a log hazard ratio changes with duration.

The alternative is ``β_j(t) = β_j + γ_j g(t)``. The test is the score test of γ = 0 in that larger model (Therneau and
Grambsch 2000, section 6.2, in the exact form of R's ``cox.zph`` since survival 3.0). It uses the information and the
ties at each event time, unlike the older approximation by scaled Schoenfeld residuals.

With ``U_γ = Σ_t g(t) U(t)``, ``I_βγ = Σ g I(t)``, ``I_γγ = Σ g² I(t)`` at β̂, model-based:
``χ² = U_γᵀ (I_γγ − I_γβ I_ββ⁻¹ I_βγ)⁻¹ U_γ``. With probability weights or a cluster, the
variance of ``U_γ`` is instead the sandwich of its influence ``U_γ,c − I_γβ I_ββ⁻¹ U_β,c``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError, unknown
from retrain_eval.common.levels import missing_terms
from retrain_eval.common.numerics.joint import TEST_COLUMNS
from retrain_eval.estimators.survival.clustering import robust_test
from retrain_eval.estimators.survival.regression.cox import CoxFit, fit_cox
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.recipe import recorded


def proportional_hazards(
    table: LifeTable,
    formula: str,
    transform: str = "km",
    ties: str = "efron",
    strata: str | Sequence[str] = (),
    cause: object = None,
    robust: bool | None = None,
    reference: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Test each coefficient of a Cox model, and all together, for a trend over duration.

    Parameters
    ----------
    table, formula, ties, strata, cause, robust, reference
        See `retrain_eval.estimators.survival.regression.cox.cox`.
    transform : {"km", "identity", "log"}
        g(t): one minus the Kaplan–Meier curve of all spells just before t, which gives less weight to late, sparse
        durations; the duration; or its logarithm.

    Returns
    -------
    DataFrame
        ``term``, ``chi2``, ``df``, ``p_value``; the last row, ``"(all)"``, is the joint test of all coefficients except
        those for missing levels.

    Raises
    ------
    InputError, DesignError
        See `retrain_eval.estimators.survival.regression.cox.cox`; an unknown ``transform``; events at one duration
        only.

    Examples
    --------
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> rows = pd.DataFrame({"id": range(8), "weeks": [1, 3, 4, 6, 1, 2, 2, 5], "cause": [1, 1, 0, 1, 1, 1, 1, 1],
    ...                      "arm": ["control"] * 4 + ["trained"] * 4})
    >>> table = life_table(rows, id="id", duration="weeks", cause="cause", by="arm")
    >>> proportional_hazards(table, "arm", transform="identity").round(3).iloc[0].to_dict()
    {'term': 'arm[T.trained]', 'chi2': 0.286, 'df': 1, 'p_value': 0.593}
    """
    if transform not in _TRANSFORMS:
        raise unknown("transform", transform, _TRANSFORMS)
    fit = fit_cox(table, formula, ties, strata, cause, robust, reference)
    g = _TRANSFORMS[transform](fit)
    if np.ptp(g) == 0:
        raise DesignError("all events happen at one duration: a trend over duration cannot be seen")
    g = g - np.average(g, weights=fit.fitted.cells.deaths)  # only improves numerical accuracy
    score, variance = fit.fitted.score_over(g), _variance(fit, g)
    clusters = None if table.clusters is None else table.clusters.count(table.groups())
    rows = [_test(name, float(score[j] ** 2 / variance[j, j]), 1, clusters) for j, name in enumerate(fit.names)]
    known = ~missing_terms(fit.names)
    score, variance = score[known], variance[np.ix_(known, known)]
    if not known.any():
        return pd.DataFrame(rows)
    together = float(score @ np.linalg.lstsq(variance, score, rcond=None)[0])
    return pd.DataFrame([*rows, _test("(all)", together, int(np.linalg.matrix_rank(variance)), clusters)])


def _test(term: str, chi2: float, df: int, clusters: int | None) -> dict[str, object]:
    p_value = robust_test(chi2, df, clusters, at_null=True)[1]
    if np.isnan(p_value):
        raise DesignError(
            f"{clusters} cluster(s) are too few to test {df} coefficient(s) for a trend",
            public="there are too few clusters to test for a trend",
        )
    return {"term": term, "chi2": chi2, "df": df, "p_value": p_value}


@recorded
def trend_test(table: LifeTable, formula: str, reference: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return `proportional_hazards` as rows ``test, statistic, df, p_value``; a test is called "trend of" its term."""
    found = proportional_hazards(table, formula, reference=reference)
    named = found.assign(test="trend of " + found["term"], statistic=found["chi2"], df_denominator=np.nan)
    return named[list(TEST_COLUMNS)]


def _variance(fit: CoxFit, g: Floats) -> Floats:
    """Return the covariance of the score of γ, accounting for the estimation of β."""
    likelihood = fit.fitted
    between = likelihood.information(g)
    slope = np.linalg.solve(likelihood.information(), between)
    if not fit.robust:
        return likelihood.information(g * g) - between @ slope
    return fit.sandwich(likelihood.influence(g) - likelihood.influence() @ slope)


def _kaplan_meier(fit: CoxFit) -> Floats:
    """Return 1 − S(t−) over all spells, unweighted, for each event time."""
    cells = fit.table.cells
    times, place = np.unique(cells["duration"].to_numpy(), return_inverse=True)
    first = np.searchsorted(times, cells["entry"].to_numpy(), side="right")
    n, size = cells["n"].to_numpy().astype(float), len(times)
    event = fit.fitted.cells.event
    leaving, ended = np.bincount(place, n, size), np.bincount(place[event], n[event], size)
    late = np.bincount(first, n, size + 1)[1:]
    at_risk = leaving[::-1].cumsum()[::-1] - late[::-1].cumsum()[::-1]
    survival = np.cumprod(1 - ended / at_risk)
    before = np.append(1.0, survival)[np.searchsorted(times, fit.fitted.cells.time)]
    found: Floats = 1 - before
    return found


_TRANSFORMS: dict[str, Callable[[CoxFit], Floats]] = {
    "km": _kaplan_meier,
    "identity": lambda fit: fit.fitted.cells.time,
    "log": lambda fit: np.log(fit.fitted.cells.time),
}
