"""Newton's method for the maximum of a concave likelihood.

The loop is one; how a step is computed, how long it may be and when it is the last one differs between likelihoods, and
is a function of each.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.common.shown import summarised

_MAX_HALVED = 34  # a step of 1e-10 of its length


@summarised
@dataclass(frozen=True)
class Step:
    """A step of Newton's method.

    Attributes
    ----------
    move : ndarray
        What is added to the coefficients; zero where they are those of the maximum already.
    size : float
        Its length, in the unit of the rule that computed it.
    last : bool
        Whether the coefficients after it are those of the maximum.
    """

    move: Floats
    size: float
    last: bool = False


class NoHigher(DesignError):
    """Raised where a step can be halved forever without a higher likelihood, though the score is not zero."""


Rule = Callable[[Floats, Floats], Step]
Derivatives = Callable[[Floats], tuple[float | None, Floats, Floats]]


class Newton:
    """A search for one maximum, for likelihoods whose derivatives are computed many at a time.

    Parameters
    ----------
    rule : callable
        The `Step` from score and information.
    rounding : float
        A likelihood that decreases by no more than this has not decreased.
    """

    def __init__(self, rule: Rule, rounding: float = 0.0) -> None:
        self._rule, self._rounding = rule, rounding
        self._value = -np.inf
        self._step: Step | None = None
        self._halved, self.n_steps = 0, 0

    @property
    def size(self) -> float:
        """Length of the last step; infinite before the first."""
        return np.inf if self._step is None else self._step.size

    @property
    def done(self) -> bool:
        """Whether the maximum has been reached."""
        return self._step is not None and self._step.last

    def move(self, at: Floats, value: float | None, score: Floats, information: Floats) -> Floats:
        """Return the next coefficients, given the derivatives at these.

        If the likelihood has decreased, half of the last step is taken back. Without a ``value`` it is not judged.
        """
        if value is not None:
            decreased = not np.isfinite(value) or value < self._value - self._rounding
            if decreased and self._step is not None:
                self._step, self._halved = Step(self._step.move / 2, self._step.size / 2), self._halved + 1
                if self._halved > _MAX_HALVED:
                    raise NoHigher("the likelihood cannot be raised although its score is not zero")
                halfway: Floats = at - self._step.move
                return halfway
            self._value = value
        self._halved, self.n_steps = 0, self.n_steps + 1
        self._step = self._rule(score, information)
        return at + self._step.move


def maximise(
    derivatives: Derivatives, start: Floats, rule: Rule, *, rounding: float = 0.0, limit: int
) -> tuple[Floats, int] | None:
    """Return the coefficients at the maximum, and after how many steps; None if it is not reached.

    Parameters
    ----------
    derivatives : callable
        Likelihood, or None where steps cannot overshoot, score and information at some coefficients.
    start : ndarray
    rule : callable
        The `Step` from score and information.
    rounding : float
        A likelihood that decreases by no more than this has not decreased.
    limit : int
        Steps at most; halves of one count as one.

    Examples
    --------
    The mean of 1, 2 and 6, as the maximum of a normal likelihood:

    >>> def normal(mean):
    ...     gaps = np.array([1.0, 2.0, 6.0]) - mean
    ...     return -float(gaps @ gaps) / 2, np.array([gaps.sum()]), np.array([[3.0]])
    >>> def rule(score, information):
    ...     move = np.linalg.solve(information, score)
    ...     return Step(move, float(np.abs(move).max()), last=bool(np.abs(score).max() < 1e-12))
    >>> maximise(normal, np.zeros(1), rule, limit=10)
    (array([3.]), 1)
    """
    search, at = Newton(rule, rounding), start
    with suppress(NoHigher):
        while search.n_steps < limit:
            at = search.move(at, *derivatives(at))
            if search.done:
                return at, search.n_steps - 1
    return None


def shortened(move: Floats, size: float, longest: float) -> Floats:
    """Return a step in the same direction that is not longer than ``longest``: far from the maximum it overshoots."""
    shorter: Floats = move * min(1.0, longest / size) if size > 0 else move
    return shorter
