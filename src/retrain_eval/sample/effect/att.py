"""The effect on an outcome in a matched or weighted sample, with the standard error its design asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.numerics.jackknife import FEW, cv3
from retrain_eval.common.sources import Source, as_relation
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import FEWEST_CLUSTERS
from retrain_eval.sample.drawn import Drawn
from retrain_eval.sample.effect.abadie_imbens import NEIGHBOURS, local_residuals, matching_variance, nearest_controls
from retrain_eval.sample.effect.influence import Standardised, by_cell, known_weights_influence
from retrain_eval.sample.effect.read_outcomes import read_outcomes
from retrain_eval.sample.models.design import Design
from retrain_eval.sample.support import rows_of

VCES = {
    "CR1": "needs matched sets, each unit in one of them",
    "HC1": "needs independent units, and a person may be in several roles",
    "AI": "needs pairs",
    "AI-robust": "needs pairs made on a score",
    "M": "needs estimated weights",
}


class Weighted(Protocol):
    """The parts of a matched or weighted sample from which an effect is estimated."""

    @property
    def audit(self) -> Mapping[str, object]:
        """How it was made."""
        ...

    @property
    def cluster(self) -> str | None:
        """The column that identifies independent clusters."""
        ...

    @property
    def _drawn(self) -> Drawn: ...


def att(
    sample: Weighted,
    outcome: str | Sequence[str],
    source: Source | None = None,
    *,
    vce: str | None = None,
    bias_adjust: bool = False,
    level: float = 0.95,
) -> EffectTable:
    r"""Return the weighted difference in an outcome between treated units and controls.

    Parameters
    ----------
    sample : MatchedSample
        From `retrain_eval.match`; ``sample.att(...)`` is the same.
    outcome : str or sequence of str
        Numeric columns; several keep their joint covariance.
    source : DuckDB relation, DataFrame, Arrow table or path, optional
        One row per unit with the sample's id and the outcome: the people matched (if left out), or one period of a
        panel. For a sample from risk sets one row per ``match_id``, as
        `retrain_eval.sample.followup.censoring.follow_outcomes` gives for one ``event_time``. Only rows of the sample
        are read.
    vce : {"CR1", "HC1", "AI", "AI-robust", "M"}, optional
        ``CR1``: clustered by matched set (matching without replacement, ``cem``), or by person (risk sets). ``HC1``:
        robust, weights treated as known. ``AI``: Abadie and Imbens (2006), with one conditional variance for all units;
        ``AI-robust``: with one for each control, from its nearest controls in score. ``M``: M-estimation, which takes
        the estimation of the weights into account. By default, CR1 if `MatchedSample.cluster` names a column, AI after
        matching with replacement, and M for ``ipw`` and ``ebal``: treating their estimated weights as known (HC1) makes
        standard errors some 40% too large.
    bias_adjust : bool
        For matched samples: compare residuals of a weighted regression of the outcome on the formula's terms among
        matched controls (Abadie and Imbens 2011). As in that paper, the standard error ignores its estimation.
    level : float
        Confidence level.

    Returns
    -------
    EffectTable
        One row per outcome, ``estimator`` is the method, ``estimand`` that of the sample. Intervals use Student's t
        with n − 2 (HC1) or G − 1 (CR1) degrees of freedom, else the normal distribution. With fewer than 50 clusters,
        the covariance is the jackknife's (CV3; see `retrain_eval.common.numerics.jackknife.cv3`).

    Raises
    ------
    InputError
        For an unknown vce, one that does not fit the sample, or an outcome that is missing (the unit is named).
    DesignError
        With fewer than two treated units or controls, or three clusters.

    Notes
    -----
    The difference is that of Hajek means, ``Σ w Y / Σ w`` in each arm, so the scale of weights does not matter. CR1 and
    HC1 equal `retrain_eval.estimators.did.means.mean_difference` on the outcome moments of the sample.

    References
    ----------
    Abadie, A. and Imbens, G. (2006), Econometrica 74, 235-267; (2011), Journal of Business & Economic Statistics 29,
    1-11. Abadie, A. and Spiess, J. (2022), Journal of the American Statistical Association 117, 983-995 (clusters by
    matched set). Lunceford, J. and Davidian, M. (2004), Statistics in Medicine 23, 2937-2960.

    Examples
    --------
    >>> import pandas as pd, retrain_eval as rte
    >>> people = pd.DataFrame({
    ...     "person": range(8), "trained": [1, 1, 1, 0, 0, 0, 0, 0], "age": [25, 33, 41, 24, 32, 40, 58, 60],
    ...     "wage": [12.0, 15.0, 17.0, 10.0, 14.0, 15.0, 11.0, 12.0],
    ... })
    >>> sample = rte.match(people, "trained ~ age", unit="person", distance="age")
    >>> sample.att("wage").to_frame()[["estimand", "estimate", "n_treated", "n_control"]].round(3).values.tolist()
    [['ATT', 1.667, 3, 3]]
    """
    drawn, audit = sample._drawn, sample.audit
    names = (outcome,) if isinstance(outcome, str) else tuple(outcome)
    vce = _vce(vce, drawn, str(audit["method"]), sample.cluster)
    if bias_adjust and drawn.influence is not None:
        raise InputError(
            f"bias_adjust is for matched samples, and {audit['method']} weights people", column="bias_adjust"
        )
    n_treated, n_control = int(drawn.treated.sum()), int((~drawn.treated).sum())
    if min(n_treated, n_control) < 2:
        raise DesignError(
            f"{n_treated} treated and {n_control} controls are too few for a standard error",
            public="there are too few people for a standard error",
        )
    numbers, beside = drawn.rows, None
    if vce == "AI-robust":
        numbers, beside = _with_neighbours(drawn)
    y = _outcomes(sample, names, source, numbers)
    if bias_adjust:
        y = _residuals(drawn, numbers, y)
    own = y[: len(drawn.rows)]
    psi = known_weights_influence(drawn.treated, drawn.weight, own)
    df: float | None = None
    n_clusters: int | None = None
    facts: dict[str, object] = {"vce": vce, "bias_adjusted": bias_adjust, "normalised": "Hajek"}
    if vce in ("AI", "AI-robust") and drawn.pairs is not None:
        treated, control = (np.searchsorted(drawn.rows, who) for who in (drawn.pairs.treated, drawn.pairs.control))
        vcov = matching_variance(treated, control, own, None if beside is None else _scatter(drawn, own, y[beside]))
    elif vce == "M" and drawn.influence is not None:
        psi = drawn.influence(own)
        vcov = np.einsum("ij,ik->jk", psi, psi)
    elif vce == "CR1":
        sets, place = np.unique(drawn.rows if drawn.subclass is None else drawn.subclass, return_inverse=True)
        n_clusters, n = len(sets), len(psi)
        if n_clusters < FEWEST_CLUSTERS:
            raise DesignError(
                f"the standard errors rest on {n_clusters} cluster(s); at least {FEWEST_CLUSTERS} are needed for a "
                "standard error",
                public="there are too few clusters for a standard error",
            )
        psi = by_cell(psi, place, n_clusters)
        vcov = n_clusters / (n_clusters - 1) * (n - 1) / (n - 2) * np.einsum("ij,ik->jk", psi, psi)
        if n_clusters < FEW:
            vcov = _jackknife(drawn, own, place, n_clusters)
            facts["variance"] = "CV3"
    else:
        n = len(psi)
        vcov, df = n / (n - 2) * np.einsum("ij,ik->jk", psi, psi), float(n - 2)
    means = [_mean(own[arm], drawn.weight[arm]) for arm in (drawn.treated, ~drawn.treated)]
    rows = [
        {
            "outcome": name,
            "estimator": str(audit["method"]),
            "estimand": str(audit["estimand"]),
            "estimate": float(means[0][k] - means[1][k]),
            "n_treated": n_treated,
            "n_control": n_control,
        }
        for k, name in enumerate(names)
    ]
    return EffectTable.build(rows, vcov, level=level, df=df, n_clusters=n_clusters, meta=facts)


def _jackknife(drawn: Drawn, y: Floats, place: Ints, n_clusters: int) -> Floats:
    """Return the jackknife covariance of the differences, leaving out one matched set at a time."""
    without = np.zeros((n_clusters, y.shape[1]))
    for sign, arm in ((1.0, drawn.treated), (-1.0, ~drawn.treated)):
        weight = np.where(arm, drawn.weight, 0.0)
        of_set, total = by_cell(weight[:, None] * y, place, n_clusters), np.bincount(place, weight, n_clusters)
        left, weights = of_set.sum(axis=0) - of_set, (total.sum() - total)[:, None]
        alone = np.bincount(place, arm, n_clusters) == arm.sum()  # all units of an arm are in one set
        without += sign * np.divide(left, weights, out=np.full_like(left, np.nan), where=~alone[:, None])
    if np.isnan(without).any():
        raise DesignError("one matched set holds all treated units or all controls: no standard error can be given")
    estimate = np.array([_mean(y[arm], drawn.weight[arm]) for arm in (drawn.treated, ~drawn.treated)])
    return cv3(estimate[0] - estimate[1], without, np.ones(without.shape, dtype=bool))


def _mean(y: Floats, weight: Floats) -> Floats:
    return np.asarray((weight[:, None] * y).sum(axis=0) / weight.sum())


def _vce(vce: str | None, drawn: Drawn, method: str, cluster: str | None) -> str:
    """Return the kind of standard error: the requested one, if it fits the sample, or the default of the design."""
    fits = {
        "CR1": cluster is not None,
        "HC1": method != "riskset",
        "AI": drawn.pairs is not None,
        "AI-robust": drawn.pairs is not None and drawn.score is not None,
        "M": drawn.influence is not None,
    }
    if vce is None:
        if method in ("ipw", "ebal"):
            return "M"
        return "CR1" if fits["CR1"] else "AI" if fits["AI"] else "HC1"
    if vce not in VCES:
        raise unknown("vce", vce, VCES)
    if not fits[vce]:
        raise InputError(
            f"vce={vce!r} does not fit this sample: it {VCES[vce]}",
            column="vce",
            fix=f"use one of {', '.join(name for name, fit in fits.items() if fit)}",
        )
    return vce


def _outcomes(sample: Weighted, names: Sequence[str], source: Source | None, numbers: Ints) -> Floats:
    drawn = sample._drawn
    if sample.audit["method"] != "riskset":
        relation = drawn.relation if source is None else as_relation(source, numbers=names, keys=drawn.unit)
        return read_outcomes(relation, drawn.unit, drawn.units.ids.take(pa.array(numbers)), names)
    followed = None if source is None else as_relation(source, numbers=("match_id", *names))
    if followed is None or "match_id" not in followed.columns:
        raise InputError(
            "outcomes after entry are read by match_id",
            column="source",
            fix="follow_outcomes(sample, panel, ...).filter('event_time = 4'), from "
            "retrain_eval.sample.followup.censoring",
        )
    return read_outcomes(followed, "match_id", pa.chunked_array([np.arange(1, len(numbers) + 1)]), names)


def _with_neighbours(drawn: Drawn) -> tuple[Ints, Ints]:
    """Return the units whose outcomes are needed, the sample's first, and the position of each control's neighbours."""
    assert drawn.score is not None
    controls = drawn.rows[~drawn.treated]
    beside = nearest_controls(drawn.score()[drawn.units.cell], ~drawn.units.treated, controls, NEIGHBOURS)
    numbers = np.concatenate([drawn.rows, np.setdiff1d(beside, drawn.rows)])
    order = np.argsort(numbers)
    return numbers, order[np.searchsorted(numbers, beside, sorter=order)]


def _scatter(drawn: Drawn, own: Floats, beside: Floats) -> Floats:
    scatter = np.zeros_like(own)
    scatter[~drawn.treated] = local_residuals(own[~drawn.treated], beside)
    return scatter


def _residuals(drawn: Drawn, numbers: Ints, y: Floats) -> Floats:
    """Subtract the untreated outcome predicted by the formula's terms, fitted on the weighted matched controls."""
    cells, place = np.unique(drawn.units.cell[numbers], return_inverse=True)
    weight = np.zeros(len(numbers))
    weight[: len(drawn.rows)] = np.where(drawn.treated, 0.0, drawn.weight)
    on_cell = np.bincount(place, weights=weight, minlength=len(cells)).astype(float)
    full = Design.build(drawn.formula, rows_of(drawn.units.cells, cells))
    design = full.keep(full.independent(on_cell))
    z = Standardised(design, *design.standardise(on_cell))
    product = by_cell(weight[:, None] * y, place, len(cells))
    fitted = z.projected(on_cell, product)
    return np.asarray(y - fitted[place])
