"""Group-time average treatment effects from outcome moments (Callaway and Sant'Anna 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Index
from retrain_eval.common.errors import DesignError
from retrain_eval.estimators.did.comparisons import (
    AttGtOptions,
    Coefficients,
    Comparison,
    comparisons,
)
from retrain_eval.estimators.did.conditional import TRIM, Contrast, contrast, design
from retrain_eval.estimators.did.few_clusters import touched
from retrain_eval.estimators.did.group_time import GroupTimeEffects
from retrain_eval.estimators.did.leave_out import differences_without
from retrain_eval.tables.moments.leave_out import without_cluster
from retrain_eval.tables.moments.moments import MomentTable


def att_gt(
    moments: MomentTable,
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
    moments : MomentTable
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
    options = AttGtOptions(control, method, tuple(covariates), anticipation, base_period, seed)
    moments.require_strata(covariates, "covariate")
    return _estimate(moments, (), options)


def _estimate(moments: MomentTable, names: tuple[str, ...], options: AttGtOptions) -> GroupTimeEffects:
    groups: list[tuple[object, object, Bools]] = [(pd.NA, pd.NA, np.ones(len(moments.cells), dtype=bool))]
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
        raise DesignError(
            "no group-time effect can be estimated:\n  " + "\n  ".join(dict.fromkeys(notes)),
            public="those who start cannot be compared with others who are observed over the same periods",
        )
    frame = pd.DataFrame(rows)

    def redo(number: int) -> GroupTimeEffects | None:
        part = without_cluster(moments, number, touched(moments, names, number), products=False)
        with suppress(DesignError):
            return None if part is None else _estimate(part, names, options)
        return None

    return GroupTimeEffects(
        moments,
        options.facts,
        frame,
        influence.matrix(len(rows)),
        cohort_influence.matrix(len(rows)),
        tuple(dict.fromkeys(notes)),
        names=names,
        within=lambda names: _estimate(moments, names, options),
        redo=redo,
        seed=options.seed,
        at_once=None if options.covariates or not moments.leaves_out else lambda: differences_without(moments, used),
    )


class _Contrasts:
    """The weights of each pair of treated and control cells, computed once for all the periods they serve."""

    def __init__(self, moments: MomentTable, options: AttGtOptions) -> None:
        # without covariates the three methods are one, and the regression on a constant is the shortest way to it
        self.method = options.method if options.covariates else "reg"
        self.design, self.names = design(moments.cells, options.covariates, moments.numbers)
        self.weight = moments.first[:, 0]
        self.known: dict[bytes, Contrast | DesignError] = {}

    def of(self, item: Comparison, members: Index) -> Contrast:
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
