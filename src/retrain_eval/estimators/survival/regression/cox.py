r"""Cox regression from a life table, with categorical covariates or numbers that take few values.

All spells of a cell have the same covariates, risk sets and outcome, hence the same score. The partial likelihood, its
derivatives and the sandwich variance are therefore sums over cells
(`retrain_eval.estimators.survival.regression.partial`). The influence of a unit of weight in cell c is ``I(β̂)⁻¹ U_c``,
R's ``dfbeta``, and the robust covariance is ``Σ ψ_c M_cd ψ_dᵀ`` with the table's products ``M`` (Lin and Wei 1989;
Binder 1992 for weights).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.formulas.tree import Call, Column
from retrain_eval.common.levels import missing_terms
from retrain_eval.common.numerics.linear_algebra import inverse_and_rank, solve
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.survival.clustering import Clustering, clustering, robust_test, sides_of
from retrain_eval.estimators.survival.regression.maximum import maximum, require_independent_terms
from retrain_eval.estimators.survival.regression.model import Model, event_of, read_model, require_events_by_level
from retrain_eval.estimators.survival.regression.partial import TIES, Likelihood, RiskCells
from retrain_eval.estimators.survival.risk import censoring, require_groups, require_independent_spells
from retrain_eval.tables.life_table.life_table import LifeTable


@summarised
@dataclass(frozen=True)
class CoxFit:
    """A fitted model, for callers that need more than its coefficients.

    Attributes
    ----------
    table : LifeTable
    model : Model
    names : list of str
        Of the coefficients.
    x : ndarray, shape (G, p)
        The design, one row per group of the table.
    null, fitted : Likelihood
        At zero and at the estimate, for covariates that are centred and scaled.
    beta : ndarray, shape (p,)
        Coefficients of the centred and scaled covariates.
    scale : ndarray, shape (p,)
        Standard deviations of the covariates.
    robust : bool
        Whether the variance is the sandwich.
    """

    table: LifeTable
    model: Model
    names: list[str]
    x: Floats
    null: Likelihood
    fitted: Likelihood
    beta: Floats
    scale: Floats
    robust: bool

    def sandwich(self, influence: Floats) -> Floats:
        """Return the covariance of sums over spells from the influence of a unit of weight in each cell, (C, k)."""
        return self.table.covariance(sparse.csr_array(influence.T))

    def vcov(self) -> Floats:
        """Return the covariance of ``beta``."""
        bread = solve(self.fitted.information(), np.eye(len(self.beta)))
        if self.robust:
            return self.sandwich(self.fitted.influence() @ bread)
        if self.table.noise is None:
            return bread
        return bread + self.table.noise_covariance(sparse.csr_array((self.fitted.influence() @ bread).T))


def cox(
    table: LifeTable,
    formula: str,
    ties: str = "efron",
    strata: str | Sequence[str] = (),
    cause: object = None,
    robust: bool | None = None,
    reference: Mapping[str, str] | None = None,
    level: float = 0.95,
) -> EffectTable:
    """Fit Cox's proportional hazards model by partial likelihood.

    Parameters
    ----------
    table : LifeTable
        Its ``by`` must hold every column of the formula and of ``strata``.
    formula : str
        In terms of the columns of levels: ``"arm + age_band + arm:education"``. A column whose levels are all numbers
        enters linearly; ``C(year)`` makes it a factor.
    ties : {"efron", "breslow"}
    strata : str or sequence of str
        Columns whose combinations each have their own baseline hazard.
    cause : optional
        The cause whose hazard is modelled, other causes being censored (cause-specific hazard). None: any cause.
    robust : bool, optional
        Sandwich variance, clustered if the table is. None: with probability weights or a cluster.
    reference : mapping, optional
        Factor → reference level; by default the first level in the column's own order. ``meta["reference"]`` has the
        levels used.
    level : float
        Confidence level.

    Returns
    -------
    EffectTable
        One row per coefficient: ``estimand`` is its name, ``estimate`` the log hazard ratio, ``n_treated`` the number
        of spells for which the term is not zero and ``n_control`` the number for which it is. ``meta`` has the
        log-likelihood, events, reference levels and ``tests``: likelihood ratio, score and Wald, and with a robust
        variance the robust score test (χ², degrees of freedom, p).

    Raises
    ------
    InputError
        For an unknown column, level, cause or keyword, or an invalid formula.
    DesignError
        If there are no events, terms are collinear (named), a coefficient is infinite because a level has no event or
        terms separate the events (named), the maximum is not reached, or people have several spells and there is no
        cluster.

    Notes
    -----
    Risk sets are ``(entry, duration]``. With weights, ties are Efron's with the mean weight of the events (Therneau and
    Grambsch 2000, section 3.3), as in R's ``coxph``. The likelihood ratio and the score test treat spells as
    independent and weights as counts; with probability weights or clusters, use the Wald or the robust score test.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> rows = pd.DataFrame({"id": range(8), "weeks": [1, 3, 4, 6, 1, 2, 2, 5], "cause": [1, 1, 0, 1, 1, 1, 1, 1],
    ...                      "arm": ["control"] * 4 + ["trained"] * 4})
    >>> model = cox(life_table(rows, id="id", duration="weeks", cause="cause", by="arm"), "arm")
    >>> model.to_frame()[["estimand", "estimate", "std_error"]].round(3).to_dict("list")
    {'estimand': ['arm[T.trained]'], 'estimate': [0.965], 'std_error': [0.884]}
    """
    fit = fit_cox(table, formula, ties, strata, cause, robust, reference)
    estimate = fit.beta / fit.scale
    by_cluster = clustering(
        table,
        estimate,
        [table.groups()] * len(fit.names),
        lambda part: _again(part, fit, formula, ties, strata, cause),
        sides_of(table.groups(), fit.x),
    )
    covariance = fit.vcov() / np.outer(fit.scale, fit.scale) if by_cluster.vcov is None else by_cluster.vcov
    n = np.bincount(table.group_numbers(), weights=table.cells["n"].to_numpy(), minlength=len(fit.x))
    rows = [
        {
            "outcome": table.duration,
            "estimator": "cox",
            "estimand": name,
            "estimate": value,
            "n_treated": int(n[column != 0].sum()),
            "n_control": int(n[column == 0].sum()),
        }
        for name, value, column in zip(fit.names, estimate, fit.x.T, strict=True)
    ]
    meta = {
        "formula": formula,
        "ties": ties,
        "strata": _names(strata),
        "cause": None if cause is None else str(cause),
        "reference": fit.model.reference,
        "linear": fit.model.linear,
        "variance": by_cluster.name or _variance_name(fit),
        "events": int(fit.fitted.cells.deaths.sum()),
        "spells": table.n_spells,
        "people": table.n_people,
        "weighted": table.weighted,
        "cluster": table.cluster,
        "grid": table.grid,
        "stopped": table.stopped,
        "censoring": censoring(table),
        "log_likelihood": fit.fitted.log,
        "log_likelihood_null": fit.null.log,
        "tests": _tests(fit, estimate, covariance, by_cluster),
        "notes": _notes(fit),
    }
    return EffectTable.build(rows, covariance, level=level, df=by_cluster.df, n_clusters=by_cluster.n, meta=meta)


def _again(part: LifeTable, fit: CoxFit, formula: str, ties: str, strata: str | Sequence[str], cause: object) -> Floats:
    """Return the log hazard ratios from a subset of the spells, in the order of the fit; NaN if not estimable."""
    model = fit_cox(part, formula, ties, strata, cause, False, fit.model.reference)
    found = dict(zip(model.names, model.beta / model.scale, strict=True))
    return np.array([found.get(name, np.nan) for name in fit.names])


def fit_cox(
    table: LifeTable,
    formula: str,
    ties: str = "efron",
    strata: str | Sequence[str] = (),
    cause: object = None,
    robust: bool | None = None,
    reference: Mapping[str, str] | None = None,
) -> CoxFit:
    """Return the fitted model behind `cox`; arguments and errors are the same."""
    if ties not in TIES:
        raise unknown("ties", ties, TIES)
    require_independent_spells(table, "Give cluster= the person's id; or a spell's own id as id= if they are.")
    if robust is False and table.cluster is not None:
        raise InputError("a clustered variance is robust", column="robust", value=robust, fix="leave out one of them")
    model = read_model(table, formula, reference)
    event = event_of(table, cause)
    stratum = _strata(table, model, strata)
    names, x = model.matrix(model.frame)
    group = table.group_numbers()
    require_events_by_level(table, model, event)
    weight = table.cells["sum_w"].to_numpy()
    # centring and scaling do not change the fit and preserve precision
    centre = np.average(x[group], axis=0, weights=weight)
    spread = np.sqrt(np.average((x[group] - centre) ** 2, axis=0, weights=weight))
    scale = np.where(spread > 1e-12 * (1 + np.abs(centre)), spread, 1.0)
    cells = RiskCells.place(
        ((x - centre) / scale)[group],
        table.cells["n"].to_numpy().astype(float),
        weight,
        event,
        table.cells["entry"].to_numpy(),
        table.cells["duration"].to_numpy(),
        stratum,
        efron=ties == "efron",
    )
    null = cells.at(np.zeros(len(names)))
    require_independent_terms(null, names)
    fitted, beta = maximum(null, names)
    wanted = table.weighted or table.cluster is not None
    return CoxFit(table, model, names, x, null, fitted, beta, scale, wanted if robust is None else robust)


def _strata(table: LifeTable, model: Model, strata: str | Sequence[str]) -> Ints:
    """Return the stratum of each cell."""
    names = _names(strata)
    for name in names:
        require_groups(table, [name])
        if name in model.columns and _alone(model, name):
            raise InputError(
                f"{name!r} is both a stratum and a term",
                column="strata",
                rule="a stratum's own baseline hazard holds its effect",
                fix=f"take it out of one; an interaction such as arm:{name} may stay",
            )
    if not names:
        return np.zeros(len(table.cells), dtype=np.int64)
    return table.cells.groupby(list(names), sort=False).ngroup().to_numpy().astype(np.int64)


def _alone(model: Model, name: str) -> bool:
    """Return whether a term of the formula involves this column only."""
    alone = Column(name)
    return any(term in ((alone,), (Call("C", alone),)) for term in model.formula.terms)


def _names(strata: str | Sequence[str]) -> tuple[str, ...]:
    return (strata,) if isinstance(strata, str) else tuple(strata)


# ---- description of a fit ------------------------------------------------------------------------------------------


def chi2_test(chi2: float, df: int) -> dict[str, float]:
    """Return a test as χ², degrees of freedom and p-value."""
    return {"chi2": chi2, "df": df, "p_value": float(stats.chi2.sf(chi2, df))}


def wald_test(estimate: Floats, covariance: Floats, clusters: int | None) -> dict[str, float]:
    """Return the test that all coefficients are zero; NaN if a coefficient has no variance."""
    df = len(estimate)
    if np.isnan(covariance).any():
        return {"chi2": np.nan, "df": df, "p_value": np.nan}
    statistic = float(estimate @ np.linalg.lstsq(covariance, estimate, rcond=None)[0])
    return {"chi2": statistic, "df": df, "p_value": robust_test(statistic, df, clusters)[1]}


def _tests(fit: CoxFit, estimate: Floats, covariance: Floats, by_cluster: Clustering) -> dict[str, dict[str, float]]:
    df = len(fit.beta)
    clusters = None if by_cluster.df is None else int(by_cluster.df.min()) + 1
    known = ~missing_terms(fit.names)
    if not known.all():  # a model without these terms was not fitted
        return {"wald": wald_test(estimate[known], covariance[np.ix_(known, known)], clusters)} if known.any() else {}
    score = fit.null.score
    found = {
        "likelihood ratio": chi2_test(2 * (fit.fitted.log - fit.null.log), df),
        "score": chi2_test(float(score @ solve(fit.null.information(), score)), df),
        "wald": wald_test(estimate, covariance, clusters),
    }
    if fit.robust:
        spread = fit.sandwich(fit.null.influence())
        inverted, rank = inverse_and_rank(spread)
        statistic = float(score @ inverted @ score)
        p_value = robust_test(statistic, rank, clusters, at_null=True)[1]
        found["robust score"] = {"chi2": statistic, "df": rank, "p_value": p_value}
    return found


def _variance_name(fit: CoxFit) -> str:
    if not fit.robust:
        return "inverse information"
    cluster = fit.table.cluster
    return "sandwich, by spell" if cluster is None else f"sandwich, clustered by {cluster}"


def _notes(fit: CoxFit) -> list[str]:
    notes = []
    if fit.table.weighted and not fit.robust:
        notes.append("probability weights are taken as numbers of spells: the standard errors do not hold for a sample")
    if missing_terms(fit.names).any():
        notes.append("terms of people whose level is missing are in no test, and only the Wald test is given")
    return notes
