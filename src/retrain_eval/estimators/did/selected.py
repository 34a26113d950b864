"""The effect on all of the treated, and the same comparison among those selected by what happened after the start.

Completers are selected: people who find a job early, or cannot keep up, do not complete, and no one knows which of the
controls would have completed. So a comparison of completers with controls is no effect of training, on them or anyone.
`selected_effects` puts it next to the effect on all, with the difference and the covariance of all three, from one
table of moments whose cells are separated by what happened: how misleading it is can then be seen.

The influence of a unit on a mean over merged cells is the same linear function of its path in each of the cells that
were merged, so that influence coefficients of both effects can be written on the cells of the one table, and
``Cov(θ_k, θ_l) = Σ φ_k' second φ_l`` (`retrain_eval.tables.moments.moments`) holds for the pair.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Bools
from retrain_eval.common.errors import DesignError
from retrain_eval.estimators.did.att_gt import att_gt
from retrain_eval.estimators.did.few_clusters import infer, leave_each_out
from retrain_eval.estimators.did.group_time import averages
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.tables.moments.moments import MomentTable
from retrain_eval.tables.recipe import recorded

ALL, SELECTED, DIFFERENCE = "ATT", "among the selected", "among the selected minus ATT"
_KEYS = ["subgroup", "level"]


@recorded
def selected_effects(
    moments: MomentTable,
    among: str,
    selected: str,
    by: str = "",
    shared: str = "",
    control: str = "never_treated",
    method: str = "dr",
    covariates: Sequence[str] = (),
    anticipation: int = 0,
    base_period: str = "universal",
    seed: int = 20260101,
) -> EffectTable:
    """Return the mean effect on all treated, the same comparison among the selected alone, and the difference.

    Parameters
    ----------
    moments : MomentTable
        By ``among`` and, if given, ``by``. In matched pairs the level of ``among`` is that of the treated of the pair,
        so that the selected are compared with their own controls.
    among, selected : str
        The stratum that says who is selected, and its level: ``"finished", "completed"``.
    by : str
        A stratum within whose levels effects are estimated; empty for all.
    shared : str
        The level of ``among`` of controls who belong to no treated unit: they are compared with the selected as well.
    control, method, covariates, anticipation, base_period, seed
        As in `retrain_eval.estimators.did.att_gt.att_gt`.

    Returns
    -------
    EffectTable
        Per level up to three rows, simple averages, in the outcome's unit: ``estimand`` "ATT", "among the selected"
        and "among the selected minus ATT". ``vcov`` covers all of them.

    Raises
    ------
    InputError
        If a stratum does not exist.
    DesignError
        If no treated unit is selected, all are, or an effect cannot be estimated.

    Notes
    -----
    The second row is an effect only if the selected would have fared like their controls without the treatment, which
    nothing supports: they were selected by what happened after the start, and the controls were not. With π the share
    of the selected, the difference is (1 − π) times that between the selected and the others, where pairs stay
    together.

    Examples
    --------
    >>> from retrain_eval.estimators.outcome_moments import outcome_moments
    >>> rows = [(f"{kind}{n}", t, 2 if kind[0] == "t" else 0, n + gain * (t == 2), end)
    ...         for kind, gain, end in (("ta", 4.0, "completed"), ("tb", 1.0, "left"), ("ca", 0.0, "completed"),
    ...                                 ("cb", 0.0, "left")) for n in range(3) for t in (1, 2)]
    >>> long = pd.DataFrame(rows, columns=["id", "t", "g", "y", "end"])
    >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", by="end")
    >>> found = selected_effects(m, "end", "completed").to_frame()
    >>> dict(zip(found["estimand"], found["estimate"].round(6)))
    {'ATT': 2.5, 'among the selected': 4.0, 'among the selected minus ATT': 1.5}
    """
    moments.require_strata((among, *([by] if by else [])))
    level, treated = moments.cells[among].astype(str), moments.cells["cohort"].notna()
    if not ((level == selected) & treated).any():
        raise DesignError(f"no treated unit has the level {selected!r} of {among}")
    if (level[treated] == selected).all():
        raise DesignError(f"every treated unit has the level {selected!r} of {among}: there is nothing to compare")
    options = {"control": control, "method": method, "covariates": covariates, "anticipation": anticipation}
    options |= {"base_period": base_period, "seed": seed}
    frame, influence = _rows(moments, among, selected, by, shared, options)

    def estimate(part: MomentTable) -> pd.DataFrame:
        return _rows(part, among, selected, by, shared, options)[0]

    without = leave_each_out(moments, frame, estimate, (by,) if by else ())
    found = infer(moments, influence, frame, without)
    meta = found.meta({**options, "aggregation": "simple", "among": among, "selected": selected})
    return EffectTable.build(
        frame, found.vcov, df=found.df, n_clusters=found.n_clusters, scale=found.scale, seed=seed, meta=meta
    )


def _rows(
    moments: MomentTable, among: str, selected: str, by: str, shared: str, options: dict[str, object]
) -> tuple[pd.DataFrame, sparse.csr_array]:
    """Return the rows without inference, and their influence on the cells of the moments, shape (K, C · (1 + T))."""
    level = moments.cells[among].astype(str).to_numpy()
    whole, of_all = _effects(moments, np.ones(len(level), dtype=bool), among, by, options)
    try:
        chosen, of_selected = _effects(moments, np.isin(level, [selected, shared]), among, by, options)
    except DesignError:  # of no level the selected can be compared
        return whole.assign(estimand=ALL), of_all
    keys = [*map(tuple, whole[_KEYS].astype(str).to_numpy())]
    place = {key: number for number, key in enumerate(map(tuple, chosen[_KEYS].astype(str).to_numpy()))}
    order: list[tuple[float, int, float, int]] = []
    rows: list[pd.Series] = []
    whole, chosen = whole.assign(estimand=ALL), chosen.assign(estimand=SELECTED)
    for number, key in enumerate(keys):
        order.append((1.0, number, 0.0, 0))
        rows.append(whole.iloc[number])
        if key in place:
            other = place[key]
            one, all_of = chosen.iloc[other], whole.iloc[number]
            apart = one.copy()
            apart["estimand"], apart["estimate"] = DIFFERENCE, one["estimate"] - all_of["estimate"]
            rows += [one, apart]
            order += [(0.0, number, 1.0, other), (-1.0, number, 1.0, other)]
    frame = pd.DataFrame(rows).reset_index(drop=True).astype(whole.dtypes.to_dict())
    steps = np.array(order)
    on_all, on_selected = np.zeros((len(order), len(whole))), np.zeros((len(order), len(chosen)))
    on_all[np.arange(len(order)), steps[:, 1].astype(int)] = steps[:, 0]
    on_selected[np.arange(len(order)), steps[:, 3].astype(int)] = steps[:, 2]
    return frame, sparse.csr_array(sparse.csr_array(on_all) @ of_all + sparse.csr_array(on_selected) @ of_selected)


def _effects(
    moments: MomentTable, keep: Bools, among: str, by: str, options: dict[str, object]
) -> tuple[pd.DataFrame, sparse.csr_array]:
    """Return mean effects in the cells that are kept, with their influence on all cells."""
    levels = list(dict.fromkeys(moments.cells.loc[keep, among].astype(str)))
    if not levels:
        raise DesignError("no one is left to compare")
    part = moments.subset(**{among: levels}).collapse(among)
    effects = att_gt(part, **options)  # type: ignore[arg-type]
    frame, influence, _ = averages(effects.by(by) if by else effects, "simple")
    return frame, _on_cells(influence, moments, part, keep)


def _on_cells(influence: sparse.csr_array, moments: MomentTable, part: MomentTable, keep: Bools) -> sparse.csr_array:
    """Return influence coefficients on merged cells as coefficients on the cells that were merged."""
    columns = ["cohort", *part.strata]
    place = {key: number for number, key in enumerate(_keys(part.cells, columns))}
    cells = [place[key] if kept else -1 for key, kept in zip(_keys(moments.cells, columns), keep, strict=True)]
    own = np.flatnonzero(np.array(cells) >= 0)
    rows = np.array(cells)[own]
    spread = sparse.csr_array((np.ones(len(own)), (rows, own)), shape=(len(part.cells), len(cells)))
    size = 1 + len(moments.times)
    return sparse.csr_array(influence @ sparse.csr_array(sparse.kron(spread, sparse.eye_array(size))))


def _keys(cells: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(cells[name].astype(str) for name in columns), strict=True))
