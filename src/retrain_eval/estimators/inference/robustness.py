"""How far an event study can be trusted, in one call: bounds, power of the pre-test, other base periods, placebos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.errors import DesignError
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.honest import EventStudy, relative_magnitude, smoothness
from retrain_eval.estimators.inference.pretest_power import pretest_power
from retrain_eval.estimators.inference.timing import base_moved_back, placebo_starts
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.tables.recipe import recorded

MAGNITUDES = (0.0, 0.5, 1.0, 2.0)
PERIODS = (1, 2, 4)


@recorded
def bounds(effects: EffectTable) -> pd.DataFrame:
    """Bound the mean effect of an event study when trends are not parallel.

    Parameters
    ----------
    effects : EffectTable
        ``aggregate("dynamic")`` with a universal base period.

    Returns
    -------
    DataFrame
        `retrain_eval.estimators.effects.honest.relative_magnitude` and ``smoothness``: slopes may change by nothing,
        and by the most they did before treatment.

    Examples
    --------
    >>> table = EffectTable.build(
    ...     [{"event_time": e, "estimate": b} for e, b in ((-2, 0.0), (-1, 0.0), (0, 1.0))], np.diag([0.01, 0, 0.01]))
    >>> bounds(table)["restriction"].unique().tolist()
    ['relative magnitude', 'smoothness']
    """
    study = EventStudy.read(effects)
    path = np.append(study.estimate[study.before], 0.0)
    gaps = -np.diff(np.append(study.ago, 0.0))
    bend = float(np.abs(np.diff(np.diff(path) / gaps)).max()) if len(path) > 2 else 0.0
    parts = [relative_magnitude(effects, MAGNITUDES), smoothness(effects, sorted({0.0, bend}))]
    return pd.concat(parts, ignore_index=True)


@summarised
@dataclass
class Robustness:
    """What `robustness` finds; a part that the design cannot answer is empty, and ``notes`` says why.

    Attributes
    ----------
    event_study : EffectTable
        What is asked.
    bounds : DataFrame
        `bounds` of it.
    power : DataFrame
        `retrain_eval.estimators.inference.pretest_power.pretest_power`.
    effects : dict of EffectTable
        ``base_moved_back`` and ``placebo_starts``.
    notes : list of str
    """

    event_study: EffectTable
    bounds: pd.DataFrame = field(default_factory=pd.DataFrame)
    power: pd.DataFrame = field(default_factory=pd.DataFrame)
    effects: dict[str, EffectTable] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def robustness(
    moments: OutcomeMoments,
    *,
    control: str = "never_treated",
    method: str = "dr",
    covariates: Sequence[str] = (),
    seed: int = 20260101,
    anticipation: int = 0,
) -> Robustness:
    """Ask an event study how much it owes to parallel trends and to the choice of the base period.

    Parameters
    ----------
    moments : OutcomeMoments
    control, method, covariates, seed, anticipation
        As in `OutcomeMoments.att_gt`; the base period is universal, which the bounds need.

    Returns
    -------
    Robustness
        The base moves back, and placebo
        starts lie, 1, 2 and 4 periods before, as far as there are periods.

    Examples
    --------
    >>> long = pd.DataFrame({"id": [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], "t": [1, 2, 3] * 4,
    ...                      "g": [3] * 6 + [0] * 6, "y": [3.0, 2.9, 4.0, 3.2, 3.0, 4.4, 3.0, 3.1, 3.0, 3.1, 3.2, 3.1]})
    >>> from retrain_eval import outcome_moments
    >>> found = robustness(outcome_moments(long, unit="id", time="t", cohort="g", outcome="y"))
    >>> len(found.bounds), found.effects["placebo_starts"].to_frame()["level"].tolist()
    (5, ['1 before'])
    """
    options: dict[str, Any] = {"control": control, "method": method, "covariates": tuple(covariates), "seed": seed}
    effects = moments.att_gt(anticipation=anticipation, **options).aggregate("dynamic")
    out = Robustness(effects)
    try:
        out.bounds = bounds(effects)
        out.power = pretest_power(effects, seed=seed)
    except DesignError as error:
        out.notes.append(f"no bounds: {error}")
    for name, call, periods in (
        ("base_moved_back", base_moved_back, (0, *PERIODS)),
        ("placebo_starts", placebo_starts, PERIODS),
    ):
        # as far back as every move leaves some cohort with a period before it
        why = "there are too few periods before treatment"
        for used in (periods[:n] for n in range(len(periods), 0, -1)):
            try:
                found = call(moments, used, **options)
            except DesignError as error:
                why = str(error)
                continue
            if len(used) > (name == "base_moved_back"):
                out.effects[name] = found
            break
        if name not in out.effects:
            out.notes.append(f"no {name.replace('_', ' ')}: {why}")
    return out
