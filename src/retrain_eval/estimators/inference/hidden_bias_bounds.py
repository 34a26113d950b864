"""How much hidden bias would overturn a conclusion: Rosenbaum bounds, E-values, and selection as Oster measures it.

Pure functions of numbers; `retrain_eval.sample.hidden_bias.hidden_bias` reads the numbers from a matched sample, as
sums that a release keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.shown import summarised
from retrain_eval.tables.statistics import SignedRanks

GAMMAS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2.0, 2.5, 3.0)
ALPHA = 0.05
OBSERVED_SHARE = 1.3  # R² max over the R² with controls, Oster's bound
_RR_PER_SD, _RR_LIMIT = 0.91, 1.78  # of a standardised mean difference
_MOST = 1e6  # largest Γ that is searched


@summarised
@dataclass(frozen=True)
class RosenbaumBounds:
    """Upper bounds of the p-value of Wilcoxon's signed-rank test when matching leaves hidden bias.

    Attributes
    ----------
    table : DataFrame
        ``gamma, p_value, n_pairs``.
    critical : float
        Γ at which the bound reaches .05; NaN where it is beyond .05 without hidden bias. Infinite where no bias reaches
        it.
    """

    table: pd.DataFrame
    critical: float


def rosenbaum_bounds(
    differences: Sequence[float] | Floats, gammas: Sequence[float] = GAMMAS, *, alternative: str = "greater"
) -> RosenbaumBounds:
    r"""Bound the p-value of matched pairs whose odds of treatment differ by a factor of at most Γ.

    Parameters
    ----------
    differences : sequence of float
        Outcome of the treated unit less that of its control, one per pair. Pairs without a difference are left out.
    gammas : sequence of float
        Odds ratios Γ ≥ 1 by which two people of a pair may differ in their odds of training for reasons unseen.
    alternative : {"greater", "less"}
        The one-sided alternative: training raises, or lowers, the outcome.

    Returns
    -------
    RosenbaumBounds

    Raises
    ------
    InputError
        For a Γ below 1, a difference that is not finite, or an unknown alternative.
    DesignError
        If no pair differs.

    Notes
    -----
    With ranks :math:`r_i` of absolute differences (ties get their mean) and :math:`p = Γ/(1 + Γ)`, the sum of positive
    ranks is at most normal with mean :math:`p \sum r_i` and variance :math:`p(1 - p) \sum r_i^2`, in large samples.

    References
    ----------
    Rosenbaum, P. (2002), Observational Studies, 2nd edition, section 4.3.

    Examples
    --------
    >>> bounds = rosenbaum_bounds([5.0, 4, -1, 3, 6, 2, 7, 8], gammas=[1, 2])
    >>> bounds.table.round(4).values.tolist(), round(bounds.critical, 2)
    ([[1.0, 0.0086, 8.0], [2.0, 0.0512, 8.0]], 1.98)
    """
    return rank_bounds(signed_ranks(differences), gammas, alternative=alternative)


def signed_ranks(differences: Sequence[float] | Floats) -> SignedRanks:
    """Return the sums of the signed ranks of pairs, which add up over strata and agencies.

    Raises
    ------
    InputError
        For a difference that is not finite.

    Examples
    --------
    >>> ranks = signed_ranks([5.0, 4, -1, 3])
    >>> ranks.n, ranks.positive, ranks.total, ranks.squares
    (4, 9.0, 10.0, 30.0)
    """
    given = np.asarray(differences, dtype=float)
    if not np.isfinite(given).all():
        raise InputError("a pair has no difference", column="differences", rule="a finite number for each pair")
    d = given[given != 0]
    rank = stats.rankdata(np.abs(d))
    return SignedRanks(len(d), float(rank[d > 0].sum()), float(rank.sum()), float((rank**2).sum()))


def rank_bounds(
    ranks: SignedRanks, gammas: Sequence[float] = GAMMAS, *, alternative: str = "greater"
) -> RosenbaumBounds:
    """Return `rosenbaum_bounds` from the sums of ranks that they need.

    Examples
    --------
    >>> float(rank_bounds(signed_ranks([5.0, 4, -1, 3, 6, 2, 7, 8]), [1]).table["p_value"].item().__round__(4))
    0.0086
    """
    if alternative not in ("greater", "less"):
        raise InputError("unknown alternative", column="alternative", value=alternative, rule="greater or less")
    for gamma in gammas:
        if not (np.isfinite(gamma) and gamma >= 1):
            raise InputError("Γ is an odds ratio, at least 1", column="gammas", value=gamma)
    if ranks.n == 0:
        raise DesignError("no pair differs in the outcome: there is nothing to test")
    positive = ranks.positive if alternative == "greater" else ranks.total - ranks.positive

    def p_value(gamma: float) -> float:
        p = gamma / (1 + gamma)
        return float(stats.norm.sf((positive - p * ranks.total) / np.sqrt(p * (1 - p) * ranks.squares)))

    if p_value(1.0) > ALPHA:
        critical = float("nan")
    elif p_value(_MOST) <= ALPHA:
        critical = float("inf")
    else:
        critical = float(optimize.brentq(lambda gamma: p_value(gamma) - ALPHA, 1.0, _MOST, xtol=1e-10))
    rows = [(float(gamma), p_value(gamma), ranks.n) for gamma in gammas]
    return RosenbaumBounds(pd.DataFrame(rows, columns=["gamma", "p_value", "n_pairs"]), critical)


@dataclass(frozen=True)
class EValue:
    """How strongly something unseen must go with both training and outcome to explain an effect away.

    Attributes
    ----------
    risk_ratio : float
        The effect on the scale of a risk ratio, 1 or more.
    e_value : float
        Smallest risk ratio that a confounder needs with training and with the outcome, to explain the estimate.
    e_value_limit : float
        The same for the limit of the 95% interval nearer to no effect; 1 where the interval holds no effect.
    """

    risk_ratio: float
    e_value: float
    e_value_limit: float


def e_value(estimate: float, std_error: float, sd: float) -> EValue:
    """Return the E-value of a difference in means.

    Parameters
    ----------
    estimate, std_error : float
        The difference in means and its standard error.
    sd : float
        Standard deviation of the outcome within the groups.

    Raises
    ------
    InputError
        If a number is not finite, the standard error is negative, or the deviation is not positive.

    Notes
    -----
    The difference is standardised, d = estimate / sd, and taken as the risk ratio exp(.91 d), with limits
    exp(.91 d ∓ 1.78 s), s = std_error / sd. It is inverted below 1; E = RR + √(RR (RR − 1)).

    References
    ----------
    VanderWeele, T. and Ding, P. (2017), Annals of Internal Medicine 167, 268-274, table 2.

    Examples
    --------
    >>> found = e_value(0.5, 0.25, 1.0)
    >>> round(found.risk_ratio, 3), round(found.e_value, 3), round(found.e_value_limit, 3)
    (1.576, 2.529, 1.111)
    """
    for name, value in (("estimate", estimate), ("std_error", std_error), ("sd", sd)):
        if not np.isfinite(value):
            raise InputError("an E-value needs finite numbers", column=name, value=value)
    if std_error < 0 or sd <= 0:
        name, value = ("sd", sd) if sd <= 0 else ("std_error", std_error)
        raise InputError("a deviation must be positive", column=name, value=value)
    d, s = abs(estimate) / sd, std_error / sd
    ratio, limit = float(np.exp(_RR_PER_SD * d)), float(np.exp(max(0.0, _RR_PER_SD * d - _RR_LIMIT * s)))
    return EValue(ratio, _e(ratio), _e(limit))


def _e(ratio: float) -> float:
    return float(ratio + np.sqrt(ratio * (ratio - 1)))


@dataclass(frozen=True)
class Regressions:
    """What Oster's bounds are computed from: the outcome on the treatment without and with controls.

    Attributes
    ----------
    beta_uncontrolled, r2_uncontrolled : float
        Coefficient of the treatment, and R², of the regression on the treatment alone.
    beta_controlled, r2_controlled : float
        The same with the controls.
    var_outcome, var_treatment : float
        Variances, over the same rows and with the same divisor.
    var_residual : float
        Variance of what the controls leave of the treatment.
    n : int
        Rows.
    """

    beta_uncontrolled: float
    r2_uncontrolled: float
    beta_controlled: float
    r2_controlled: float
    var_outcome: float
    var_treatment: float
    var_residual: float
    n: int


@dataclass(frozen=True)
class OsterBounds:
    """Selection on what is not seen, relative to selection on what is.

    Attributes
    ----------
    r2_max : float
        R² if everything that matters were controlled for.
    delta : float
        How strong selection on the unseen must be, relative to that on the controls, for an effect of zero. Negative:
        only selection in the other direction would do; infinite: none would.
    beta_star : float
        The effect if selection on the unseen is as strong as that on the controls (δ = 1).
    """

    r2_max: float
    delta: float
    beta_star: float


def oster_bounds(regressions: Regressions, r2_max: float | None = None) -> OsterBounds:
    r"""Return Oster's δ for an effect of zero, and the effect β* at δ = 1.

    Parameters
    ----------
    regressions : Regressions
        See `retrain_eval.sample.hidden_bias.cross_products.regressions`.
    r2_max : float, optional
        1.3 times the R² with controls, at most 1, if left out.

    Raises
    ------
    InputError
        If r2_max is not above the R² with controls, or beyond 1.
    DesignError
        If the controls leave nothing of the treatment.

    Notes
    -----
    Let :math:`W_1` be the part of the outcome owed to the controls and :math:`W_2 \perp W_1` that owed to the unseen;
    :math:`\delta = \frac{Cov(W_2, X)/Var(W_2)}{Cov(W_1, X)/Var(W_1)}`. With bias :math:`\nu = \tilde\beta - \beta`,
    :math:`D = \mathring\beta - \tilde\beta` and :math:`\tau` what the controls leave of the treatment's variance
    :math:`\sigma_{xx}`,

    .. math:: \delta = \frac{\nu\tau\,[(\tilde R - \mathring R)\sigma_{yy} + (D + \nu)^2 \sigma_{xx} - \nu^2\tau]}
              {[(D + \nu)\sigma_{xx} - \nu\tau]\,[(R_{max} - \tilde R)\sigma_{yy} + \nu^2\tau]},

    which is the expression of Stata's ``psacalc``. At :math:`\delta = 1` it is a quadratic in :math:`\nu` with one
    root of either sign; the one nearer to zero is taken, as ``psacalc`` does.

    References
    ----------
    Oster, E. (2019), Journal of Business & Economic Statistics 37, 187-204, propositions 2 and 3.

    Examples
    --------
    >>> found = oster_bounds(Regressions(2.0, 0.2, 1.5, 0.4, 10.0, 0.5, 0.4, 1000))
    >>> round(found.r2_max, 2), round(found.delta, 3), round(found.beta_star, 3)
    (0.52, 2.214, 1.11)
    """
    r = regressions
    most = min(1.0, OBSERVED_SHARE * r.r2_controlled) if r2_max is None else r2_max
    if not r.r2_controlled < most <= 1:
        raise InputError(
            f"R² max must lie above the R² with controls, {r.r2_controlled:.4g}, and not beyond 1",
            column="r2_max",
            value=most,
        )
    if r.var_residual <= 1e-12 * r.var_treatment:
        raise DesignError("the controls determine the treatment: there is nothing left to compare")
    d, tau, s = r.beta_uncontrolled - r.beta_controlled, r.var_residual, r.var_treatment
    seen, unseen = (r.r2_controlled - r.r2_uncontrolled) * r.var_outcome, (most - r.r2_controlled) * r.var_outcome

    bias = r.beta_controlled  # all of the estimate
    var_seen, var_unseen = seen + (d + bias) ** 2 * s - bias**2 * tau, unseen + bias**2 * tau
    selected = (d + bias) * s - bias * tau  # Cov(W₁, X)
    size = bias * tau * var_seen
    delta = size / (selected * var_unseen) if selected != 0 else float("inf") if size != 0 else float("nan")

    middle = tau * (seen + d**2 * s) - unseen * (s - tau)
    if d == 0:
        nearer = 0.0
    else:
        roots = np.roots([d * tau * s, middle, -unseen * d * s])
        nearer = float(min(roots.real, key=abs))
    return OsterBounds(most, float(delta), r.beta_controlled - nearer)
