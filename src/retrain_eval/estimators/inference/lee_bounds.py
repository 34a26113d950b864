"""Bounds on an effect that is observed of selected people only: Lee (2009), from distribution functions by arm.

Pay is known of the employed, and the arms may differ in who is employed. The bounds are on the effect on log earnings
of those who would be employed in either arm. They need the outcome's distribution near one quantile of one arm, so that
the table holds, for each edge of bands that the plan registers, the share of *everyone* who is employed and earns at
most that much; the last edge counts all the employed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, sparse, special

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.did.few_clusters import infer, sums_without
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import COLUMNS, plain_or_list
from retrain_eval.tables.moments.edges import has_edges
from retrain_eval.tables.moments.moments import MomentTable
from retrain_eval.tables.recipe import recorded

UNIT = 1_000  # times of the table are edges in thousandths of a log
OUTSIDE = 0.01  # largest share of the employed below the lowest band, or in the highest one
FEWEST = 3  # employed people in an arm
FEWEST_EDGES = 5
_SAME = 1e-9  # shares that differ by less are of the same people
EMPLOYED, EMPLOYED_CONTROL, GAP = "share employed, trained", "share employed, controls", "effect on employment"
TRIMMED, AMONG = "trimmed share", "difference among the employed"
LOWER, UPPER = "lower bound", "upper bound"
INTERVAL, COARSER = "effect between the bounds", "change with bands twice as wide"
ESTIMANDS = (EMPLOYED, EMPLOYED_CONTROL, GAP, TRIMMED, AMONG, LOWER, UPPER)


@summarised
@dataclass(frozen=True)
class _Arm:
    """Shares of an arm at or below each edge, shape (K,), and the edges; the last share is that of the employed."""

    share: Floats
    edges: Floats

    @property
    def employed(self) -> float:
        return float(self.share[-1])

    def area(self, cell: int, part: float) -> Floats:
        """Return weights g of shares in ∫G from the lowest edge to ``part`` of the way through band ``cell``."""
        width, g = np.diff(self.edges), np.zeros(len(self.edges))
        g[:cell] += width[:cell] / 2
        g[1 : cell + 1] += width[:cell] / 2
        g[cell] += width[cell] * (part - part**2 / 2)
        g[cell + 1] += width[cell] * part**2 / 2
        return g

    def quantile(self, mass: float) -> tuple[int, float, float]:
        """Return the band in which the share reaches ``mass``, how far through it, and the log earnings there."""
        above = np.flatnonzero(self.share[1:] >= mass - 1e-12)
        cell = int(above[0]) if len(above) else len(self.share) - 2
        low, high = self.share[cell], self.share[cell + 1]
        part = float(np.clip((mass - low) / (high - low), 0, 1)) if high > low else 0.0
        return cell, part, float(self.edges[cell] + part * (self.edges[cell + 1] - self.edges[cell]))

    def lowest(self, mass: float) -> tuple[float, Floats, float]:
        """Return the mean of the lowest ``mass``, its derivatives by shares, and that by ``mass``."""
        cell, part, y = self.quantile(mass)
        g = self.area(cell, part)
        mean = y - float(g @ self.share) / mass
        return mean, -g / mass, (y - mean) / mass

    def highest(self, mass: float) -> tuple[float, Floats, float]:
        """Return the mean of the highest ``mass``, its derivatives by shares, and that by ``mass``."""
        cell, part, y = self.quantile(self.employed - mass)
        g = self.area(len(self.edges) - 2, 1.0) - self.area(cell, part)
        top = self.edges[-1]
        mean = (top * self.employed - y * (self.employed - mass) - float(g @ self.share)) / mass
        slope = -g / mass
        slope[-1] += (top - y) / mass
        return mean, slope, (y - mean) / mass


@recorded
def lee_bounds(moments: MomentTable, *, level: float = 0.95) -> EffectTable:
    r"""Bound the effect on log earnings of people who would be employed with and without treatment.

    Parameters
    ----------
    moments : MomentTable
        Outcome 0 or 1 at each "time": whether a person is employed and has log earnings of at most time / 1000; the
        last time counts all the employed. Cohorts are pooled as treated; strata are summed over.
    level : float
        Confidence level.

    Returns
    -------
    EffectTable
        Rows by ``estimand``: the shares employed and their difference; the trimmed share; the difference in mean log
        earnings of those employed; the two bounds, each with its own interval. ``effect between the bounds`` has no
        estimate: its interval covers the effect, wherever it lies between the bounds (Imbens and Manski 2004, eq. 7).
        ``change with bands twice as wide`` is how far the bounds move then, the error of interpolation.

    Raises
    ------
    InputError
        If the times are no edges of bands.
    DesignError
        If an arm has fewer than three employed, or more than 1% of the employed of an arm lie outside the bands.

    Notes
    -----
    Lee (2009), Review of Economic Studies 76, 1071-1102, Proposition 1a. With shares employed p₁ ≥ p₀ and
    G(y) = P(S = 1, Y ≤ y) of the treated, where G(y₋) = p₀ and G(y₊) = p₁ − p₀, those who are employed either way
    average between

        μ₋ = y₋ − (1/p₀) ∫_{−∞}^{y₋} G    and    μ₊ = (1/p₀) ( ȳ p₁ − y₊ (p₁ − p₀) − ∫_{y₊}^{ȳ} G ),

    less the mean of the employed controls; with p₁ < p₀ the controls are trimmed. Between edges, G is taken to be
    linear; a release leaves out edges between which are few people, and the bounds are those of the edges that are
    left. The derivatives by y vanish, so that with independent people and equal weights the errors are those of his
    Proposition 3, the estimation of the trimmed share included. Errors follow from the table's own second moments:
    people are independent, or clusters such as matched sets are; weights are taken as given. Assumptions: treatment
    moves no one out of employment if it moves anyone in, and the arms are alike but for treatment, which matching has
    to achieve. Where p₁ = p₀ the bounds have a kink: estimates lie too far apart there, so that the interval of the
    effect is too wide, and each bound's own interval covers that bound in less than 95% of samples.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from retrain_eval import outcome_moments
    >>> rng = np.random.default_rng(1)
    >>> trained = np.arange(4000) % 2
    >>> log = rng.normal(8 + 0.1 * trained, 0.5)
    >>> works, edges = rng.random(4000) < 0.6 + 0.1 * trained, np.arange(5000, 11001, 100)
    >>> rows = pd.DataFrame({"id": np.repeat(np.arange(4000), len(edges)), "edge": np.tile(edges, 4000)})
    >>> rows["y"] = (works & (log <= edges[:, None] / 1000)).T.ravel().astype(float)
    >>> rows["cohort"] = np.where(np.repeat(trained, len(edges)) == 1, 5000, 0)
    >>> m = outcome_moments(rows, unit="id", time="edge", cohort="cohort", outcome="y")
    >>> found = lee_bounds(m).to_frame().set_index("estimand")["estimate"].round(2)
    >>> found[["trimmed share", "lower bound", "upper bound"]].tolist()
    [0.17, -0.03, 0.27]
    """
    edges = _edges(moments)
    treated = moments.cells["cohort"].notna().to_numpy(dtype=bool)
    totals = moments.first[:, 1:] + moments.first[:, :1] * moments.reference
    arms = []
    for members, name in ((treated, "treated"), (~treated, "controls")):
        weight = moments.first[members, 0].sum()
        if not members.any() or weight <= 0:
            raise DesignError(f"there are no {name} to compare")
        arm = _Arm(totals[members].sum(axis=0) / weight, edges)
        _check(arm, int(moments.cells["n"].to_numpy()[members].sum()), name)
        arms.append(arm)
    edges = edges[: _highest_needed(arms)]
    arms = [_Arm(arm.share[: len(edges)], edges) for arm in arms]
    values, slopes = _bounds(*arms)
    influence = _influence(moments, treated, arms, slopes)
    n = [int(moments.cells["n"].to_numpy()[members].sum()) for members in (treated, ~treated)]
    keys = {"outcome": "log_earnings", "estimator": "lee_bounds", "n_treated": n[0], "n_control": n[1]}
    rows = pd.DataFrame([{**keys, "estimand": name, "estimate": v} for name, v in zip(ESTIMANDS, values, strict=True)])
    size, clusters = float(sum(n)), moments.clusters
    factor = size / (size - 2)
    if moments.cluster is not None and clusters is not None:  # CR1, as differences in means have it
        factor = clusters.total / max(clusters.total - 1, 1) * (size - 1) / (size - 2)
    inference = infer(moments, influence, rows, lambda: _without(moments, treated, edges), scale=factor)
    df = inference.df if inference.n_clusters is not None else size - 2.0
    table = EffectTable.build(
        rows, inference.vcov, level=level, df=df, n_clusters=inference.n_clusters, meta=inference.meta({})
    )
    return _with_interval(table, keys, _coarser(arms, values), level)


def _edges(moments: MomentTable) -> Floats:
    """Return the edges of the bands; refuse times that are none."""
    edges = np.array(moments.times, dtype=float) / UNIT
    if has_edges(moments) and len(edges) < FEWEST_EDGES:
        why = f"fewer than {FEWEST_EDGES} bands have enough people"
        raise DesignError(f"{why}: {len(edges)} edges are left", public=why)
    # those of a release are as far apart as people are
    apart = np.diff(edges)
    if len(edges) < FEWEST_EDGES or not (has_edges(moments) or np.allclose(apart, apart[0])):
        raise InputError(
            "the times of these moments are no edges of bands",
            column="time",
            rule="log earnings in thousandths, five or more, equally far apart",
        )
    return edges


def _check(arm: _Arm, n: int, name: str) -> None:
    """Refuse an arm in which too few are employed, or too many of these earn less or more than the bands cover."""
    if arm.employed * n < FEWEST - 0.5:
        raise DesignError(
            f"fewer than {FEWEST} {name} are employed, so that there is no pay to compare",
            public="too few people of one group are employed to compare their pay",
        )
    if arm.share[0] > OUTSIDE * arm.employed or arm.employed - arm.share[-2] > OUTSIDE * arm.employed:
        ends = f"{np.exp(arm.edges[0]):,.0f} and {np.exp(arm.edges[-2]):,.0f}"
        raise DesignError(
            f"more than {OUTSIDE:.0%} of the employed {name} do not earn between {ends}, the ends of the bands; set "
            "`lowest` and `highest` of [questions.wage_path] to amounts that hardly anyone falls below or exceeds",
            public="more than one in a hundred of the employed earn less or more than the bands of "
            "[questions.wage_path] cover",
        )


def _highest_needed(arms: Sequence[_Arm]) -> int:
    """Return how many edges there are up to the first that no one who is employed earns more than.

    All later shares are that of the employed. Without them, errors do not count its changes once for each.
    """
    first = max(int(np.argmax(arm.share >= arm.employed - _SAME)) for arm in arms)
    return max(first + 1, FEWEST_EDGES)


def _bounds(treated: _Arm, control: _Arm) -> tuple[Floats, Floats]:
    """Return the values of `ESTIMANDS`, and their derivatives by the shares of both arms, shape (7, 2, K)."""
    arms = (treated, control)
    values, slopes = np.zeros(len(ESTIMANDS)), np.zeros((len(ESTIMANDS), 2, len(treated.edges)))
    whole = [arm.lowest(arm.employed) for arm in arms]
    for a, arm in enumerate(arms):
        values[a], slopes[a, a, -1] = arm.employed, 1.0
        mean, slope, by_mass = whole[a]
        whole[a] = mean, slope + by_mass * np.eye(len(slope))[-1], 0.0
    values[2], slopes[2] = values[0] - values[1], slopes[0] - slopes[1]
    cut = 0 if treated.employed >= control.employed else 1  # the arm that is trimmed
    other, sign = 1 - cut, 1.0 if cut == 0 else -1.0
    p, mass = arms[cut].employed, arms[other].employed
    values[3], slopes[3, other, -1], slopes[3, cut, -1] = 1 - mass / p, -1 / p, mass / p**2
    values[4], slopes[4, 0], slopes[4, 1] = whole[0][0] - whole[1][0], whole[0][1], -whole[1][1]
    kept = [arms[cut].lowest(mass), arms[cut].highest(mass)]
    for row, (mean, slope, by_mass) in zip((5, 6), kept if cut == 0 else kept[::-1], strict=True):
        values[row] = sign * (mean - whole[other][0])
        slopes[row, cut], slopes[row, other] = sign * slope, -sign * whole[other][1]
        slopes[row, other, -1] += sign * by_mass
    return values, slopes


def _influence(moments: MomentTable, treated: Bools, arms: Sequence[_Arm], slopes: Floats) -> sparse.csr_array:
    """Return the influence coefficients of the estimates on the coordinates (1, Y − reference) of each cell."""
    phi = np.zeros((len(slopes), len(moments.cells), 1 + len(moments.times)))
    for a, (members, arm) in enumerate(zip((treated, ~treated), arms, strict=True)):
        weight = moments.first[members, 0].sum()
        used = len(arm.edges)
        phi[:, members, 1 : 1 + used] = slopes[:, a, None, :] / weight
        phi[:, members, 0] = -(slopes[:, a] @ (arm.share - moments.reference[:used]))[:, None] / weight
    return sparse.csr_array(phi.reshape(len(slopes), -1))


def _without(moments: MomentTable, treated: Bools, edges: Floats) -> Floats:
    """Return the estimates without each cluster, shape (G, 7)."""
    first, _ = sums_without(moments)
    found = np.full((len(first), len(ESTIMANDS)), np.nan)
    for g, sums in enumerate(first):
        weights = [sums[members, 0].sum() for members in (treated, ~treated)]
        if min(weights) <= 0:
            continue
        shares = [
            (sums[members, 1:].sum(axis=0) / weight + moments.reference)[: len(edges)]
            for members, weight in zip((treated, ~treated), weights, strict=True)
        ]
        if min(share[-1] for share in shares) > 0:
            found[g], _ = _bounds(*(_Arm(share, edges) for share in shares))
    return found


def _coarser(arms: Sequence[_Arm], values: Floats) -> float:
    """Return how far the bounds move with bands twice as wide."""
    wide, _ = _bounds(*(_Arm(arm.share[::-2][::-1], arm.edges[::-2][::-1]) for arm in arms))
    return float(np.abs(wide - values)[5:].max())


def _with_interval(table: EffectTable, keys: dict[str, object], coarser: float, level: float) -> EffectTable:
    """Add the interval of the effect, and the error of interpolation."""
    rows, df = table.frame.set_index("estimand"), table.df
    (low, low_error), (high, high_error) = rows.loc[[LOWER, UPPER], ["estimate", "std_error"]].to_numpy(float)
    c = _critical(high - low, low_error, high_error, float(df[-1]), level)
    ends = {"ci_low": low - c * low_error, "ci_high": high + c * high_error}
    marks = [{**keys, "estimand": INTERVAL, **ends}, {**keys, "estimand": COARSER, "estimate": coarser}]
    added = pd.DataFrame(marks).reindex(columns=list(COLUMNS))
    shown = pd.concat([table.frame, added.astype(table.frame.dtypes.to_dict())], ignore_index=True)
    vcov = np.zeros((len(shown),) * 2)
    vcov[: len(table), : len(table)] = table.vcov
    n = table.n_clusters
    more = {"df": df, **({} if n is None else {"n_clusters": n})}
    facts = {name: plain_or_list(np.append(value, np.repeat(value[-1:], len(added)))) for name, value in more.items()}
    return EffectTable(shown, vcov, {**table.meta, **facts})


def _critical(width: float, one: float, other: float, df: float, level: float) -> float:
    """Return c with F(c + width / the larger standard error) − F(−c) = level (Imbens and Manski 2004, eq. 7)."""
    largest = np.fmax(one, other)
    if not largest > 0:
        return np.nan

    def cdf(value: float) -> float:
        return float(special.ndtr(value) if np.isinf(df) else special.stdtr(df, value))

    gap = max(width, 0.0) / largest
    return float(optimize.brentq(lambda c: cdf(c + gap) - cdf(-c) - level, 0.0, 1e3))
