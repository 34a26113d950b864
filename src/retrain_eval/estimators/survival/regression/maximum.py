"""The maximum of a partial likelihood, or the terms because of which there is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.linear_algebra import dependent_columns, solve
from retrain_eval.common.numerics.newton import Step, maximise
from retrain_eval.estimators.survival.regression.partial import Likelihood

_MAX_STEPS = 60
_DECREMENT = 1e-12  # twice the gain in log-likelihood that a step can bring: the square of its length in SEs
_RUNAWAY = 1e-3  # a step of the linear predictor that does not shrink although nothing is gained


def require_independent_terms(null: Likelihood, names: Sequence[str]) -> None:
    """Refuse terms whose effects the risk sets cannot tell apart."""
    dependent = dependent_columns(null.information(), names)
    if not dependent:
        return
    reasons = [
        f"{name!r} is a combination of {', '.join(map(repr, others))}"
        if others
        else f"{name!r} never differs between spells at risk when something happens"
        for name, others in dependent
    ]
    raise DesignError(f"the data cannot tell these terms apart: {'; '.join(reasons)}. Leave one out")


def maximum(null: Likelihood, names: Sequence[str]) -> tuple[Likelihood, Floats]:
    """Return the likelihood at its maximum and where that is, by Newton's method with halved steps.

    Raises
    ------
    DesignError
        If it has none: some coefficients grow without bound while nothing more is gained.
    """

    def derivatives(beta: Floats) -> tuple[float, Floats, Floats]:
        likelihood = null.cells.at(beta)
        return likelihood.log, likelihood.score, likelihood.information()

    def rule(score: Floats, information: Floats) -> Step:
        move = solve(information, score)
        decrement = float(score @ move)
        spread = np.ptp(null.cells.x * move, axis=0)
        # nothing to gain: either the maximum, or a slope that flattens for ever
        if decrement < 1e-8 and spread.max(initial=0.0) > _RUNAWAY:
            infinite = ", ".join(repr(name) for name, width in zip(names, spread, strict=True) if width > _RUNAWAY)
            raise DesignError(
                f"the log hazard ratio of {infinite} is infinite: these terms separate the events perfectly. "
                "Merge levels, or leave the terms out"
            )
        # Newton's error squares with each step: this one is the last
        return Step(move, decrement, last=decrement < _DECREMENT)

    # a difference below rounding is no decrease
    rounding = 1e-12 * abs(null.log)
    reached = maximise(derivatives, np.zeros(len(names)), rule, rounding=rounding, limit=_MAX_STEPS)
    if reached is None:
        raise DesignError(f"the partial likelihood did not converge in {_MAX_STEPS} steps; simplify the formula")
    return null.cells.at(reached[0]), reached[0]
