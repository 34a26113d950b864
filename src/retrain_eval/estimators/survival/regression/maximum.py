"""Maximise a partial likelihood, or name the terms that prevent a maximum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.linear_algebra import dependent_columns, solve
from retrain_eval.common.numerics.newton import Step, maximise
from retrain_eval.estimators.survival.regression.partial import Likelihood

_MAX_STEPS = 60
_DECREMENT = 1e-12  # twice the possible gain in log-likelihood of a step: the square of its length in standard errors
_RUNAWAY = 1e-3  # size of a step in the linear predictor that means divergence if the likelihood gains nothing


def require_independent_terms(null: Likelihood, names: Sequence[str]) -> None:
    """Refuse terms that are collinear within the risk sets."""
    dependent = dependent_columns(null.information(), names)
    if not dependent:
        return
    reasons = [
        f"{name!r} is a combination of {', '.join(map(repr, others))}"
        if others
        else f"{name!r} never differs between spells at risk at an event time"
        for name, others in dependent
    ]
    raise DesignError(
        f"these terms are collinear: {'; '.join(reasons)}. Leave one out",
        public="the groups and periods compared cannot be told apart",
    )


def maximum(null: Likelihood, names: Sequence[str]) -> tuple[Likelihood, Floats]:
    """Return the likelihood at its maximum and the coefficients there, by Newton's method with step halving.

    Raises
    ------
    DesignError
        If there is no maximum, because some coefficients grow without bound while the likelihood gains nothing.
    """

    def derivatives(beta: Floats) -> tuple[float, Floats, Floats]:
        likelihood = null.cells.at(beta)
        return likelihood.log, likelihood.score, likelihood.information()

    def rule(score: Floats, information: Floats) -> Step:
        move = solve(information, score)
        decrement = float(score @ move)
        spread = np.ptp(null.cells.x * move, axis=0)
        # no gain left: either this is the maximum, or the likelihood flattens out at infinity
        if decrement < 1e-8 and spread.max(initial=0.0) > _RUNAWAY:
            infinite = ", ".join(repr(name) for name, width in zip(names, spread, strict=True) if width > _RUNAWAY)
            raise DesignError(
                f"the log hazard ratio of {infinite} is infinite: these terms separate the events perfectly. "
                "Merge levels, or leave the terms out",
                public="of one group compared all end, or none, so that there is no finite estimate",
            )
        # Newton's method converges quadratically: this step is the last
        return Step(move, decrement, last=decrement < _DECREMENT)

    # a difference within rounding error does not count as a decrease
    rounding = 1e-12 * abs(null.log)
    reached = maximise(derivatives, np.zeros(len(names)), rule, rounding=rounding, limit=_MAX_STEPS)
    if reached is None:
        raise DesignError("the partial likelihood did not converge; simplify the formula")
    return null.cells.at(reached[0]), reached[0]
