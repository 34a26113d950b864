"""Two-way fixed effects from outcome moments: least squares on cell means is least squares on people.

Regressors depend on the cell and the period only, weights are constant in a unit, so unit effects are absorbed within
cells and the normal equations need no more than Σw and Σw·Y. The score of a unit is linear in its path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import linalg, sparse

from retrain_eval.common.arrays import Bools, Floats, Index, Ints
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.numerics.linear_algebra import independent_columns
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.did.few_clusters import infer, leave_each_out
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.tables.moments.moments import INCOMPLETE, MomentTable


@summarised
@dataclass(frozen=True)
class Panel:
    """The paths that a regression uses: one per cohort, or one per cohort and covariates.

    Attributes
    ----------
    member : int ndarray, shape (cells of the moments,)
        Row of each cell; −1 where it is left out.
    cohort : ndarray, shape (C,)
        First treated period; +inf where untreated throughout.
    weight, mean : ndarray, shape (C,) and (C, T)
        Σw, and the mean path measured from the moments' reference.
    n : int ndarray, shape (C,)
        Units.
    notes : tuple of str
        What was left out, and why.
    """

    moments: MomentTable
    member: Index
    cohort: Floats
    weight: Floats
    mean: Floats
    n: Ints
    notes: tuple[str, ...]

    @property
    def times(self) -> Floats:
        """Periods, shape (T,)."""
        return np.array(self.moments.times, dtype=float)

    @property
    def treated(self) -> Bools:
        """Whether a row is treated in a period, shape (C, T)."""
        out: Bools = self.times >= self.cohort[:, None]
        return out

    @property
    def cohorts(self) -> list[float]:
        """First treated periods that occur, ascending."""
        return sorted({float(g) for g in self.cohort[np.isfinite(self.cohort)]})

    def cells_of(self, rows: Bools) -> Index:
        """Return the cells of the moments that lie in some rows."""
        return np.flatnonzero((self.member >= 0) & rows[self.member])

    def spread(self, coefficients: Floats) -> sparse.csr_array:
        """Give each cell of the moments the coefficients of its row; in (K, C, 1 + T)."""
        used = np.flatnonzero(self.member >= 0)
        out = np.zeros((len(coefficients), len(self.member), coefficients.shape[2]))
        out[:, used] = coefficients[:, self.member[used]]
        return sparse.csr_array(out.reshape(len(coefficients), -1))


@summarised
@dataclass(frozen=True)
class Fit:
    """Coefficients of a two-way fixed-effects regression.

    Attributes
    ----------
    estimate : ndarray, shape (K,)
    influence : ndarray, shape (K, C, 1 + T)
        Coefficients of (1, Y − reference) in each estimate's influence function.
    period_effects : ndarray, shape (T,)
        NaN where no observation tells.
    period_influence : ndarray, shape (T, C, 1 + T)
        The same coefficients of the period effects.
    n_parameters : int
        Regressors and period effects: unit effects are nested in clusters and not counted.
    n_observations : int
    """

    estimate: Floats
    influence: Floats
    period_effects: Floats
    period_influence: Floats
    n_parameters: int
    n_observations: int


def panel(moments: MomentTable, mask: Bools | None = None, *, pooled: bool = True) -> Panel:
    """Return the paths to regress on, cohorts already treated in the first period left out.

    Parameters
    ----------
    mask : bool ndarray, shape (C,), optional
        Cells to use; all by default.
    pooled : bool
        Sum the cells of a cohort: enough where regressors depend on the cohort only.

    Raises
    ------
    DesignError
        If no unit is first treated after the first period.
    """
    if INCOMPLETE in moments.by_person:
        raise DesignError('this estimator needs complete paths: make the moments with unbalanced="drop"')
    chosen = np.ones(len(moments.cells), dtype=bool) if mask is None else mask
    cohort = moments.cells["cohort"].to_numpy(dtype=float, na_value=np.inf)
    cohort = np.where(cohort > moments.times[-1], np.inf, cohort)
    early = chosen & (cohort <= moments.times[0])
    notes = [f"cohort {g:g} is treated from the first period on and is left out" for g in sorted(set(cohort[early]))]
    used = np.flatnonzero(chosen & ~early)
    if not np.isfinite(cohort[used]).any():
        raise DesignError("no unit is first treated after the first period" + "".join(f"\n  {note}" for note in notes))
    if pooled:
        kept, place = np.unique(cohort[used], return_inverse=True)
    else:
        kept, place = cohort[used], np.arange(len(used))
    member = np.full(len(cohort), -1, dtype=np.intp)
    member[used] = place
    total = np.zeros((len(kept), moments.first.shape[1]))
    np.add.at(total, place, moments.first[used])
    n = np.bincount(place, weights=moments.cells["n"].to_numpy()[used]).astype(np.int64)
    return Panel(moments, member, kept, total[:, 0], total[:, 1:] / total[:, :1], n, tuple(notes))


def least_squares(data: Panel, regressors: Floats, names: Sequence[str], observed: Bools | None = None) -> Fit:
    """Regress paths on unit effects, period effects and regressors.

    Parameters
    ----------
    data : Panel
    regressors : ndarray, shape (C, T, K)
    names : sequence of str, length K
        For messages.
    observed : bool ndarray, shape (C, T), optional
        Periods of each cell that the regression uses; all by default.

    Raises
    ------
    DesignError
        If a regressor is collinear with the effects or with earlier regressors.

    Notes
    -----
    With X̃ the regressors less their mean over a cell's observed periods and G = Σ_c W_c Σ_t X̃ X̃ᵀ, a unit's score is
    w G⁻¹ Σ_t X̃_ct (Y_t − X_ct β): the sandwich clustered by unit (Arellano 1987, eq. 2.2).
    """
    n_cells, n_times = data.mean.shape
    seen = np.ones((n_cells, n_times), dtype=bool) if observed is None else observed
    periods = np.flatnonzero(seen.any(axis=0))
    dummies = np.zeros((n_cells, n_times, len(periods) - 1))
    for j, t in enumerate(periods[1:]):
        dummies[:, t, j] = 1.0
    x = np.concatenate([dummies, regressors], axis=2)
    count = np.maximum(seen.sum(axis=1), 1)
    centred = np.where(seen[..., None], x - (x * seen[..., None]).sum(axis=1)[:, None] / count[:, None, None], 0.0)
    root = np.sqrt(data.weight)
    stacked = (centred * root[:, None, None]).reshape(n_cells * n_times, -1)
    q, r = linalg.qr(stacked, mode="economic")
    independent, _ = independent_columns(r)
    if len(independent) < stacked.shape[1]:
        dependent = np.setdiff1d(np.arange(stacked.shape[1]), independent)
        n_dummies = dummies.shape[2]
        labels = [f"period {data.moments.times[t]}" for t in periods[1:]] + list(names)
        which = ", ".join(labels[j] for j in dependent[:5])
        kind = "period effects are" if dependent[0] < n_dummies else "regressors are"
        raise DesignError(f"{kind} collinear with the other effects: {which}")
    # per unit of weight, so that β = Σ_c W_c Σ_t map Ȳ
    linear = linalg.solve_triangular(r, q.T).reshape(-1, n_cells, n_times) / root[:, None]
    beta = np.einsum("kct,c,ct->k", linear, data.weight, data.mean)
    fitted = np.einsum("ctk,k->ct", centred, beta)
    constant = -np.einsum("kct,ct->kc", linear, fitted)
    k = dummies.shape[2]
    influence = np.concatenate([constant[:, :, None], linear], axis=2)
    effects, of_periods = np.full(n_times, np.nan), np.zeros((n_times, n_cells, 1 + n_times))
    effects[periods[0]], effects[periods[1:]] = 0.0, beta[:k]
    of_periods[periods[1:]] = influence[:k]
    return Fit(
        estimate=beta[k:],
        influence=influence[k:],
        period_effects=effects,
        period_influence=of_periods,
        n_parameters=len(names) + len(periods),
        n_observations=int((data.n[:, None] * seen).sum()),
    )


def small_sample_factor(moments: MomentTable, fit: Fit, data: Panel) -> tuple[float, float]:
    """Return G/(G−1) · (N−1)/(N−K) and the degrees of freedom G − 1 (Cameron and Miller 2015, eq. 12)."""
    clusters = int(data.n.sum())
    if moments.clusters is not None:
        clusters = int(moments.clusters.count_in(data.member[None] >= 0)[0])
    if clusters < 3:
        what = "unit" if moments.clusters is None else "cluster"
        raise DesignError(
            f"the standard errors rest on {clusters} {what}(s); at least 3 are needed for a standard error",
            public="there are too few clusters for a standard error",
        )
    n, k = fit.n_observations, fit.n_parameters
    return clusters / (clusters - 1) * (n - 1) / (n - k), float(clusters - 1)


def twfe(
    moments: MomentTable,
    event_window: tuple[int, int] | None = None,
    *,
    anticipation: int = 0,
    small_sample: bool = True,
    seed: int = 20260101,
) -> EffectTable:
    """Estimate a two-way fixed-effects regression: one treatment dummy, or one per event time.

    Parameters
    ----------
    moments : MomentTable
        Strata are pooled: unit effects absorb them. Take `OutcomeMoments.subset` for a group.
    event_window : (int, int), optional
        First and last event time with a dummy of their own; earlier and later ones are put into these two. None: the
        static regression on "treated by now".
    anticipation : int
        Periods before treatment in which effects may show already: the reference is the last period before them.
    small_sample : bool
        Multiply the variance by G/(G−1) · (N−1)/(N−K), as regression packages do, and use Student's t with G − 1
        degrees of freedom. K counts regressors and period effects; unit effects are nested in clusters.
    seed : int
        Seed of the draws behind the simultaneous band.

    Returns
    -------
    EffectTable
        Static: one row, and ``meta["negative_weight"]``, the sum of its negative weights. Event study: one row per
        event time, the reference as zero, and a last one, the plain mean over event times ≥ 0.

    Raises
    ------
    InputError
        If the window does not hold the reference period.
    DesignError
        If event times are collinear with periods, as without never-treated units, or if one unit alone is treated, or
        seen at an event time.

    Notes
    -----
    With effects that differ between cohorts these coefficients are averages with weights that may be negative
    (de Chaisemartin and D'Haultfœuille 2020; Sun and Abraham 2021): see `OutcomeMoments.bacon` and `twfe_weights`. The
    reference is each cohort's last existing period before treatment, so a missing wave shifts nothing.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 1, 2, 2, 3, 3, 4, 4], "t": [1, 2] * 4, "g": [2, 2, 2, 2, 0, 0, 0, 0],
    ...                      "y": [1.0, 4.0, 2.0, 5.5, 1.0, 2.0, 2.0, 3.5]})
    >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    >>> round(m.twfe().to_frame()["estimate"].item(), 6)
    2.0
    """
    data, fit, rows, select, facts = _regress(moments, event_window, anticipation)
    factor, df = small_sample_factor(moments, fit, data) if small_sample else (1.0, None)
    influence = data.spread(np.einsum("jk,kcs->jcs", select, fit.influence))

    def again(part: MomentTable) -> pd.DataFrame:
        rows_again = _regress(part, event_window, anticipation)[2]
        # a mean over other event times is one of something else
        return rows_again if len(rows_again) == len(rows) else rows_again.iloc[:-1]

    found = infer(moments, influence, rows, leave_each_out(moments, rows, again), scale=factor)
    return EffectTable.build(
        rows,
        found.vcov,
        band=None if event_window is None else rows["event_time"].notna().to_numpy(),
        df=df if found.df is None else found.df,
        n_clusters=found.n_clusters,
        seed=seed,
        meta=found.meta({**facts, "notes": data.notes, "small_sample_factor": factor, "cluster": moments.cluster}),
    )


def _regress(
    moments: MomentTable, event_window: tuple[int, int] | None, anticipation: int
) -> tuple[Panel, Fit, pd.DataFrame, Floats, dict[str, Any]]:
    """Return the panel, the fit, rows without inference, which combinations of coefficients these are, and facts."""
    data = panel(moments)
    _refuse_one(int(data.n[np.isfinite(data.cohort)].sum()), "treated")
    if event_window is None:
        static = data.treated[:, :, None].astype(float)
        fit = least_squares(data, static, ["treated"])
        weight = (fit.influence[0, :, 1:] * data.weight[:, None])[data.treated]
        negative = float(np.clip(weight, None, 0).sum() / weight.sum())
        rows = _rows(data, [{"estimand": "ATT", "estimate": fit.estimate[0]}])
        return data, fit, rows, np.eye(1), {"negative_weight": negative}
    low, high = event_window
    event, reference = _event_times(data, low, high, anticipation)
    used = sorted({float(e) for e in event[np.isfinite(event) & ~reference]})
    x = np.stack([(event == e) & ~reference for e in used], axis=2).astype(float)
    for j, e in enumerate(used):
        _refuse_one(int(data.n[x[:, :, j].any(axis=1)].sum()), f"seen at event time {e:g}")
    try:
        fit = least_squares(data, x, [f"event time {e:g}" for e in used])
    except DesignError as error:
        hint = "" if np.isinf(data.cohort).any() else "; no unit is never treated, so use a narrower event_window"
        raise DesignError(f"{error}{hint}") from None
    base = max({float(e) for e in event[reference]}, default=np.nan)
    keys = sorted({*used, base})
    select = np.zeros((len(keys) + 1, len(used)))
    for i, e in enumerate(keys):
        if e in used:
            select[i, used.index(e)] = 1.0
    post = [i for i, e in enumerate(keys) if e >= 0]
    if not post:
        raise InputError("the event window ends before treatment", column="event_window", value=event_window)
    select[-1] = select[post].mean(axis=0)
    found: list[dict[str, object]] = [
        {"estimand": "ATT(e)", "event_time": e, "estimate": select[i] @ fit.estimate} for i, e in enumerate(keys)
    ]
    found.append({"estimand": "ATT(e)", "estimate": select[-1] @ fit.estimate})
    return data, fit, _rows(data, found), select, {}


def _refuse_one(n: int, what: str) -> None:
    """Refuse a coefficient of a single unit: it fits that unit's mean, and the sandwich would take it for certain."""
    if n < 2:
        raise DesignError(
            f"{n} unit is {what}, which gives no standard error; put more into one event time or cohort",
            public="there are too few people for a standard error",
        )


def _event_times(data: Panel, low: int, high: int, anticipation: int) -> tuple[Floats, Bools]:
    """Return the binned event time of each cell and period (NaN: never treated), and which are the reference."""
    if anticipation < 0:
        raise InputError("anticipation is a number of periods, zero or more", value=anticipation)
    event = np.where(np.isfinite(data.cohort)[:, None], data.times - data.cohort[:, None], np.nan)
    reference = np.zeros(event.shape, dtype=bool)
    for c in np.flatnonzero(np.isfinite(data.cohort)):
        before = np.flatnonzero(event[c] < -anticipation)
        if len(before):
            reference[c, before[-1]] = True
    if not reference.any():
        raise DesignError("no cohort has a period before treatment")
    latest = float(event[reference].min())
    if not low < high or low > latest or high < 0:
        raise InputError(
            "the event window must hold the reference period and treatment",
            column="event_window",
            value=(low, high),
            fix=f"begin at {latest:g} or before, and end at 0 or later",
        )
    return np.clip(event, low, high), reference


def _rows(data: Panel, rows: list[dict[str, object]]) -> pd.DataFrame:
    treated = np.isfinite(data.cohort)
    return pd.DataFrame(rows).assign(
        outcome=data.moments.outcome,
        estimator="twfe",
        n_treated=int(data.n[treated].sum()),
        n_control=int(data.n[~treated].sum()),
    )
