"""Differences of differences without each cluster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.estimators.did.comparisons import Comparison
from retrain_eval.estimators.did.few_clusters import sums_without
from retrain_eval.tables.moments.moments import MomentTable


def differences_without(moments: MomentTable, used: Sequence[Comparison]) -> tuple[Floats, Floats]:
    """Return differences of differences without each cluster, and Σw of the treated; NaN where none is left."""
    first, n = sums_without(moments)
    att, weight = np.full((2, len(first), len(used)), np.nan)
    known: dict[bytes, tuple[Floats, Ints]] = {}
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
