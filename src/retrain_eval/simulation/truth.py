"""What training changed for synthetic people, as effects without error."""

from __future__ import annotations

import numpy as np

from retrain_eval.common.errors import DesignError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.tables.recipe import recorded


@recorded
def known_effects(moments: OutcomeMoments, *, mean_from: int | None = None) -> EffectTable:
    """Return mean effects that are known, person by person, as an EffectTable: their variance is zero.

    Parameters
    ----------
    moments : OutcomeMoments
        Of what training changed for each of the trained, in one cohort.
    mean_from : int, optional
        First event time of a mean over periods, which is then the only row.

    Raises
    ------
    DesignError
        If the moments are not of one cohort of the trained, or no period is left.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.estimators.outcome_moments import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 1, 2, 2], "t": [1, 2] * 2, "g": 2, "gain": [0.0, 3.0, 0.0, 1.0]})
    >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="gain")
    >>> known_effects(m).to_frame()[["event_time", "estimate"]].values.tolist()
    [[-1.0, 0.0], [0.0, 2.0]]
    >>> float(known_effects(m, mean_from=0).to_frame()["estimate"].item())
    2.0
    """
    cohorts = moments.cells["cohort"].unique()
    if len(cohorts) != 1 or moments.cells["cohort"].isna().any():
        raise DesignError("known effects are of the trained, in one cohort")
    path = moments.first.sum(axis=0)
    estimates = path[1:] / path[0] + moments.reference
    event = np.array(moments.times, dtype=float) - float(cohorts[0])
    known = {"outcome": moments.outcome, "estimator": "truth", "estimand": "ATT"}
    n = int(moments.cells["n"].sum())
    if mean_from is None:
        rows: list[dict[str, object]] = [
            known | {"event_time": e, "estimate": estimate, "n_treated": n}
            for e, estimate in zip(event, estimates, strict=True)
        ]
    elif (event >= mean_from).any():
        rows = [known | {"estimate": estimates[event >= mean_from].mean(), "n_treated": n}]
    else:
        raise DesignError(f"no period from event time {mean_from} on")
    return EffectTable.build(rows, np.zeros((len(rows), len(rows))))
