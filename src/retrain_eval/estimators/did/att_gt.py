"""Group-time average treatment effects from outcome moments (Callaway and Sant'Anna 2021)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.did.conditional import TRIM, Contrast, contrast, design
from retrain_eval.estimators.did.few_clusters import infer, touched
from retrain_eval.estimators.did.group_time import aggregate
from retrain_eval.estimators.did.leave_out import aligned, differences_without
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.tables.moments.cell_sums import without_cluster
from retrain_eval.tables.moments.moments import OutcomeMoments
from retrain_eval.tables.recipe import Recipe, recorded

if TYPE_CHECKING:
    from retrain_eval.estimators.rows.att_gt import UnitInfluence

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

CONTROLS = ("never_treated", "not_yet_treated")
METHODS = ("reg", "ipw", "dr")
BASE_PERIODS = ("universal", "varying")


@summarised
@dataclass(frozen=True)
class GroupTimeEffects:
    """ATT(g, t) with influence coefficients; made by `att_gt`.

    Attributes
    ----------
    moments : OutcomeMoments or UnitInfluence
        The table that everything is read from; products of influence functions where people were read.
    options : dict
        Keywords of `att_gt`, so that `by` can repeat it for subgroups.
    rows : DataFrame, K rows
        ``subgroup, level, cohort, time, event_time, estimate, n_treated, n_control, weight``; ``weight`` is
        the Σw of the cohort, which aggregations use as its share.
    influence : sparse array, shape (K, C · (1 + T))
        φ of each row; see `OutcomeMoments.covariance`.
    cohort_influence : sparse array, shape (K, C · (1 + T))
        φ of each row's ``weight``: aggregations carry the sampling error of the shares too.
    notes : tuple of str
        What could not be estimated, and why.
    estimator : str
        Name that results carry.
    df : float, optional
        Degrees of freedom of Student's t; None uses the normal distribution.
    common : (sparse array (K, R), ndarray (R, C · (1 + T))), optional
        A part of ``influence`` that many rows share, as a product that is never multiplied out.
    names : tuple of str
        Strata within whose levels effects are estimated.
    redo, at_once : callable, optional
        What estimates again without a cluster, by its number; and without each at once, where sums of cells do.
    leads : (DataFrame, sparse array), optional
        Rows of leads of treatment and their influence, where a regression of their own was asked for.
    """

    moments: OutcomeMoments | UnitInfluence
    options: dict[str, object]
    rows: pd.DataFrame
    influence: sparse.csr_array
    cohort_influence: sparse.csr_array
    notes: tuple[str, ...]
    estimator: str = "att_gt"
    df: float | None = None
    common: tuple[sparse.csr_array, Array] | None = None
    names: tuple[str, ...] = ()
    redo: Callable[[int], GroupTimeEffects | None] | None = field(default=None, compare=False, repr=False)
    at_once: Callable[[], tuple[Array, Array]] | None = field(default=None, compare=False, repr=False)
    leads: tuple[pd.DataFrame, sparse.csr_array] | None = None
    recipe: Recipe | None = field(default=None, init=False, compare=False, repr=False)

    def reads_people(self, _: Mapping[str, object]) -> bool:
        """Whether people were read, because cells did not do."""
        return not isinstance(self.moments, OutcomeMoments)

    def combine(self, effects: sparse.csr_array, shares: sparse.csr_array | None = None) -> sparse.csr_array:
        """Return the influence coefficients of linear combinations of effects and of cohort weights, (J, K) each."""
        out = effects @ self.influence
        if shares is not None:
            out = out + shares @ self.cohort_influence
        if self.common is not None:
            out = out + sparse.csr_array((effects @ self.common[0]) @ self.common[1])
        return sparse.csr_array(out)

    @recorded
    def to_effects(self) -> EffectTable:
        """Return the group-time effects as an EffectTable, with a simultaneous band over all rows."""
        frame = self.rows.drop(columns="weight").assign(
            outcome=self.moments.outcome, estimator=self.estimator, estimand="ATT(g,t)"
        )
        influence = self.combine(sparse.csr_array(sparse.eye_array(len(frame))))
        found = infer(self.moments, influence, frame, lambda: self.without[0])
        meta = found.meta({**self.options, "notes": self.notes})
        seed = int(str(self.options["seed"]))
        band = np.ones(len(frame), dtype=bool)
        df = self.df if found.df is None else found.df
        return EffectTable.build(frame, found.vcov, band=band, df=df, n_clusters=found.n_clusters, seed=seed, meta=meta)

    @cached_property
    def without(self) -> tuple[Array, Array]:
        """Effects and Σw of the rows without each cluster, shape (G, K) both; NaN where there is no effect."""
        if self.at_once is not None:
            return self.at_once()
        pairs = [aligned(self, effects) for effects in self.redone]
        return np.array([att for att, _ in pairs]), np.array([weight for _, weight in pairs])

    @cached_property
    def redone(self) -> list[GroupTimeEffects | None]:
        """What is estimated without each cluster."""
        clusters = self.moments.clusters
        return [self.redo(number) for number in range(len(clusters.count))] if clusters and self.redo else []

    def to_frame(self) -> pd.DataFrame:
        """Return the tidy frame of `to_effects`."""
        return self.to_effects().to_frame()

    @recorded
    def by(self, *names: str) -> GroupTimeEffects:
        """Estimate within each level of the named strata; several names give their combinations.

        The levels keep their joint covariance, so differences between them are exact.
        """
        if not isinstance(self.moments, OutcomeMoments):
            return self.moments.by(names)
        return _estimate(self.moments, names, self.options)

    @recorded
    def aggregate(
        self, kind: str = "dynamic", min_event: int | None = None, max_event: int | None = None
    ) -> EffectTable:
        """Average the group-time effects; see `retrain_eval.estimators.did.group_time.aggregate`."""
        return aggregate(self, kind, min_event=min_event, max_event=max_event)


def att_gt(
    moments: OutcomeMoments,
    control: str = "never_treated",
    method: str = "dr",
    covariates: Sequence[str] = (),
    anticipation: int = 0,
    base_period: str = "universal",
    seed: int = 20260101,
) -> GroupTimeEffects:
    """Estimate ATT(g, t), the effect on cohort g in period t, from outcome moments.

    Parameters
    ----------
    moments : OutcomeMoments
        Moments of a balanced panel.
    control : {"never_treated", "not_yet_treated"}
        Units compared with: never treated, or not treated by the later of the two periods compared. A cohort that
        starts after the last period counts as never treated.
    method : {"dr", "reg", "ipw"}
        Doubly robust, outcome regression, inverse probability weights (Hajek). Without covariates the three coincide:
        each is the difference of differences of cell means.
    covariates : sequence of str
        Strata of the moments to condition on, main effects: texts as categories, numbers linearly.
    anticipation : int
        Periods before treatment in which effects may already show; the base period moves back by as many.
    base_period : {"universal", "varying"}
        Compare every period with the last one before treatment, or pre-treatment periods with the one before.
        "Last" and "before" go by the periods that exist.
    seed : int
        Seed of the draws behind the critical values of simultaneous bands; nothing else is random.

    Returns
    -------
    GroupTimeEffects

    Raises
    ------
    InputError
        For a keyword or a covariate that does not exist.
    DesignError
        If no group-time effect can be estimated: no treated cohort, no controls, no pre-period.

    Notes
    -----
    With b the base period and C the controls (Callaway and Sant'Anna 2021, Theorem 1 without covariates)::

        ATT(g, t) = (Ȳ_gt − Ȳ_gb) − (Ȳ_Ct − Ȳ_Cb)

    The influence function of a weighted mean Ȳ over cells of total weight W is w (Y − Ȳ) / W. With covariates, see
    `retrain_eval.estimators.did.conditional.contrast` (Sant'Anna and Zhao 2020). A comparison whose treated have no
    counterpart among the controls is left out, and ``notes`` says so. Variances are divided by n, without a
    small-sample factor, as in the reference implementations.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 1, 2, 2, 3, 3, 4, 4], "t": [1, 2] * 4, "g": [2, 2, 2, 2, 0, 0, 0, 0],
    ...                      "y": [1.0, 4.0, 2.0, 5.5, 1.0, 2.0, 2.0, 3.5]})
    >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    >>> att_gt(m).to_frame()[["cohort", "time", "estimate"]].to_dict("list")
    {'cohort': [2.0, 2.0], 'time': [1.0, 2.0], 'estimate': [0.0, 2.0]}
    """
    for name, value, known in (
        ("control", control, CONTROLS),
        ("method", method, METHODS),
        ("base_period", base_period, BASE_PERIODS),
    ):
        if value not in known:
            raise InputError(f"unknown {name}={value!r}", fix=f"use one of {', '.join(known)}")
    for name in covariates:
        if name not in moments.strata:
            raise unknown("covariate", name, moments.strata)
    if anticipation < 0:
        raise InputError("anticipation is a number of periods, zero or more", value=anticipation)
    options: dict[str, object] = {
        "control": control,
        "method": method,
        "covariates": tuple(covariates),
        "anticipation": anticipation,
        "base_period": base_period,
        "seed": seed,
    }
    return _estimate(moments, (), options)


@summarised
@dataclass(frozen=True)
class Comparison:
    """One ATT(g, t) to estimate: periods as positions in ``times``, cells as masks."""

    cohort: float
    time: int
    base: int
    treated: Mask
    control: Mask


def _estimate(moments: OutcomeMoments, names: tuple[str, ...], options: dict[str, object]) -> GroupTimeEffects:
    groups: list[tuple[object, object, Mask]] = [(pd.NA, pd.NA, np.ones(len(moments.cells), dtype=bool))]
    if names:
        groups = [(" × ".join(names), " × ".join(levels), mask) for levels, mask in moments.levels(names)]
    size, n_cells = 1 + len(moments.times), len(moments.cells)
    means, n = moments.first[:, 1:] / moments.first[:, :1], moments.cells["n"].to_numpy()
    rows: list[dict[str, object]] = []
    notes: list[str] = []
    influence = Coefficients(size, n_cells)
    cohort_influence = Coefficients(size, n_cells)
    contrasts = _Contrasts(moments, options)
    used: list[Comparison] = []
    for subgroup, level, mask in groups:
        where = "" if subgroup is pd.NA else f" in {subgroup} = {level}"
        for item in comparisons(moments.times, moments.cells, mask, options, notes, where):
            members = np.flatnonzero(item.treated | item.control)
            try:
                found = contrasts.of(item, members)
            except DesignError as error:
                notes.append(f"cohort {item.cohort:g}, period {moments.times[item.time]}{where} is left out: {error}")
                continue
            if found.n_trimmed:
                notes.append(f"cohort {item.cohort:g}{where}: controls with a propensity above {TRIM} are left out")
            change = means[members, item.time] - means[members, item.base]
            estimate = 0.0
            if item.time != item.base:
                estimate = float((moments.first[members, 0] * found.slope) @ change)
                influence.add(len(rows), members, 0, found.intercept(change))
                influence.add(len(rows), members, 1 + item.time, found.slope)
                influence.add(len(rows), members, 1 + item.base, -found.slope)
            treated = np.flatnonzero(item.treated)
            cohort_influence.add(len(rows), treated, 0, np.ones(len(treated)))
            used.append(item)
            rows.append(
                {
                    "subgroup": subgroup,
                    "level": level,
                    "cohort": item.cohort,
                    "time": moments.times[item.time],
                    "event_time": moments.times[item.time] - item.cohort,
                    "estimate": estimate,
                    "n_treated": int(n[item.treated].sum()),
                    "n_control": int(n[item.control].sum()),
                    "weight": float(moments.first[treated, 0].sum()),
                }
            )
    if not rows:
        raise DesignError("no group-time effect can be estimated:\n  " + "\n  ".join(dict.fromkeys(notes)))
    frame = pd.DataFrame(rows)

    def redo(number: int) -> GroupTimeEffects | None:
        part = without_cluster(moments, number, touched(moments, names, number), products=False)
        with suppress(DesignError):
            return None if part is None else _estimate(part, names, options)
        return None

    return GroupTimeEffects(
        moments,
        options,
        frame,
        influence.matrix(len(rows)),
        cohort_influence.matrix(len(rows)),
        tuple(dict.fromkeys(notes)),
        names=names,
        redo=redo,
        at_once=None if options["covariates"] or not moments.leaves_out else lambda: differences_without(moments, used),
    )


class _Contrasts:
    """The weights of each pair of treated and control cells, computed once for all the periods they serve."""

    def __init__(self, moments: OutcomeMoments, options: dict[str, object]) -> None:
        covariates = tuple(str(name) for name in cast(tuple[str, ...], options["covariates"]))
        # without covariates the three methods are one, and the regression on a constant is the shortest way to it
        self.method = str(options["method"]) if covariates else "reg"
        self.design, self.names = design(moments.cells, covariates, moments.numbers)
        self.weight = moments.first[:, 0]
        self.known: dict[bytes, Contrast | DesignError] = {}

    def of(self, item: Comparison, members: npt.NDArray[np.intp]) -> Contrast:
        key = item.treated.tobytes() + item.control.tobytes()
        if key not in self.known:
            try:
                self.known[key] = contrast(
                    self.method, self.design[members], self.weight[members], item.treated[members], self.names
                )
            except DesignError as error:
                self.known[key] = error
        found = self.known[key]
        if isinstance(found, DesignError):
            raise found
        return found


def comparisons(
    periods: Sequence[int], cells: pd.DataFrame, mask: Mask, options: dict[str, object], notes: list[str], where: str
) -> Iterator[Comparison]:
    """Yield every (cohort, period) that can be estimated; append to ``notes`` what cannot."""
    times, n = np.array(periods), cells["n"].to_numpy()
    anticipation = int(str(options["anticipation"]))
    cohort = cells["cohort"].to_numpy(dtype=float, na_value=np.inf)
    # a cohort that starts after the last period is untreated throughout
    never = mask & (cohort > times[-1] + anticipation)
    treated_cohorts = sorted({float(g) for g in cohort[mask & ~never]})
    if not treated_cohorts:
        notes.append(f"nobody is treated{where}")
    if options["control"] == "never_treated" and not never.any():
        notes.append(f'there are no never-treated controls{where}; control="not_yet_treated" may do')
        return
    for g in treated_cohorts:
        before = np.flatnonzero(times < g - anticipation)
        if len(before) == 0:
            notes.append(f"cohort {g:g}{where} has no period before treatment and is left out")
            continue
        treated = mask & (cohort == g)
        n_units = int(n[treated].sum())
        if n_units < 2:
            notes.append(f"cohort {g:g}{where} has {n_units} unit, which gives no standard error, and is left out")
            continue
        for t in range(len(times)):
            base = int(before[-1])
            if options["base_period"] == "varying" and times[t] < g - anticipation:
                if t == 0:
                    continue
                base = t - 1
            control = never
            if options["control"] == "not_yet_treated":
                control = mask & (cohort > max(times[t], times[base]) + anticipation) & (cohort != g)
            n_control = int(n[control].sum())
            if n_control < 2:
                left = "nobody is" if n_control == 0 else "one unit is"
                notes.append(f"cohort {g:g}, period {times[t]}{where}: {left} left untreated to compare with")
                continue
            yield Comparison(g, t, base, treated, control)


class Coefficients:
    """Collects influence coefficients φ by (row, cell, coordinate)."""

    def __init__(self, size: int, n_cells: int) -> None:
        self.size, self.n_cells = size, n_cells
        self.index: list[tuple[int, npt.NDArray[np.intp], Array]] = []

    def add(self, row: int, cells: npt.NDArray[np.intp], coordinate: int, values: Array) -> None:
        """Add values at one coordinate of some cells."""
        self.index.append((row, cells * self.size + coordinate, values))

    def matrix(self, n_rows: int) -> sparse.csr_array:
        """Return what was added, shape (n_rows, C · (1 + T))."""
        rows = np.concatenate([np.full(len(columns), row) for row, columns, _ in self.index])
        columns, values = (np.concatenate([part[i] for part in self.index]) for i in (1, 2))
        return sparse.csr_array((values, (rows, columns)), shape=(n_rows, self.n_cells * self.size))
