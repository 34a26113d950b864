"""Group-time effects without each cluster, in the order of the effects of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from retrain_eval.estimators.did.few_clusters import sums_without
from retrain_eval.tables.moments.moments import OutcomeMoments

if TYPE_CHECKING:
    from retrain_eval.estimators.did.att_gt import Comparison, GroupTimeEffects

Array = npt.NDArray[np.float64]


def differences_without(moments: OutcomeMoments, used: Sequence[Comparison]) -> tuple[Array, Array]:
    """Return differences of differences without each cluster, and Σw of the treated; see `aligned`."""
    first, n = sums_without(moments)
    att, weight = np.full((2, len(first), len(used)), np.nan)
    known: dict[bytes, tuple[Array, npt.NDArray[np.int64]]] = {}
    for k, item in enumerate(used):
        arms = []
        for mask in (item.treated, item.control):
            key = mask.tobytes()
            if key not in known:
                known[key] = first[:, mask].sum(axis=1), n[:, mask].sum(axis=1)
            arms.append(known[key])
        (treated, n_treated), (control, n_control) = arms
        enough = (n_treated >= 2) & (n_control >= 2)
        t, c = treated[enough], control[enough]
        time, base = 1 + item.time, 1 + item.base
        att[enough, k] = (t[:, time] - t[:, base]) / t[:, 0] - (c[:, time] - c[:, base]) / c[:, 0]
        weight[:, k] = np.where(enough, treated[:, 0], np.where(n_treated == 0, 0.0, np.nan))
    return att, weight


def aligned(whole: GroupTimeEffects, part: GroupTimeEffects | None) -> tuple[Array, Array]:
    """Return effects and Σw of the rows of ``whole`` as they are in ``part``, without some cluster.

    A cohort that lies in that cluster alone has a Σw of zero. If it still has people and an effect cannot be estimated,
    both are NaN, because an average of the effects that are left would be one of something else. The rows of a level
    that the cluster does not lie in are as they were.
    """
    if part is None:
        return np.full(len(whole.rows), np.nan), np.full(len(whole.rows), np.nan)
    rows = zip(*(part.rows[name] for name in ("level", "cohort", "time", "estimate", "weight")), strict=True)
    found = {(str(level), cohort, time): (estimate, weight) for level, cohort, time, estimate, weight in rows}
    cells = part.moments.cells
    level = [" × ".join(map(str, of)) if of else str(pd.NA) for of in cells[list(whole.names)].to_numpy().tolist()]
    present = set(zip(level, cells["cohort"].to_numpy(dtype=float, na_value=np.inf).tolist(), strict=True))
    att, weight = (whole.rows[name].to_numpy(dtype=float).copy() for name in ("estimate", "weight"))
    keys = zip(*(whole.rows[name] for name in ("level", "cohort", "time")), strict=True)
    inside = set(level)
    for k, (of, cohort, time) in enumerate(keys):
        if str(of) not in inside and whole.names:
            continue
        missing = (np.nan, np.nan if (str(of), cohort) in present else 0.0)
        att[k], weight[k] = found.get((str(of), cohort, time), missing)
    return att, weight
