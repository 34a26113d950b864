"""The maximum of a partial likelihood, or the terms because of which there is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import linalg

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.estimators.survival.regression.model import dependent_columns
from retrain_eval.estimators.survival.regression.partial import Likelihood

_MAX_STEPS = 60
_DECREMENT = 1e-12  # twice the gain in log-likelihood that a step can bring: the square of its length in SEs
_RUNAWAY = 1e-3  # a step of the linear predictor that does not shrink although nothing is gained


def require_independent_terms(null: Likelihood, names: Sequence[str]) -> None:
    """Refuse terms whose effects the risk sets cannot tell apart."""
    found = dependent_columns(null.information(), names)
    if not found:
        return
    said = [
        f"{name!r} is a combination of {', '.join(map(repr, others))}"
        if others
        else f"{name!r} never differs between spells at risk when something happens"
        for name, others in found
    ]
    raise DesignError(f"the data cannot tell these terms apart: {'; '.join(said)}. Leave one out")


def maximum(null: Likelihood, names: Sequence[str]) -> tuple[Likelihood, Floats]:
    """Return the likelihood at its maximum and where that is, by Newton's method with halved steps.

    Raises
    ------
    DesignError
        If it has none: some coefficients grow without bound while nothing more is gained.
    """
    now, beta = null, np.zeros(len(names))
    for _ in range(_MAX_STEPS):
        step = solve(now.information(), now.score)
        decrement = float(now.score @ step)
        moved = np.ptp(now.cells.x * step, axis=0)
        # nothing to gain: either the maximum, or a slope that flattens for ever
        if decrement < 1e-8 and moved.max(initial=0.0) > _RUNAWAY:
            grow = ", ".join(repr(name) for name, move in zip(names, moved, strict=True) if move > _RUNAWAY)
            raise DesignError(
                f"the log hazard ratio of {grow} is infinite: by these terms the order of events is parted. "
                "Merge levels, or leave the terms out"
            )
        if decrement < _DECREMENT:  # Newton's error squares with each step: this one is the last
            return now.cells.at(beta + step), beta + step
        share = 1.0
        while True:
            trial = now.cells.at(beta + share * step)
            # a difference below rounding is no loss
            if np.isfinite(trial.log) and trial.log >= now.log - 1e-12 * abs(now.log):
                break
            share /= 2
            if share < 1e-10:
                raise DesignError("the partial likelihood cannot be raised although its score is not zero")
        now, beta = trial, beta + share * step
    raise DesignError(f"the partial likelihood did not converge in {_MAX_STEPS} steps; simplify the formula")


def solve(information: Floats, score: Floats) -> Floats:
    """Return ``information⁻¹ score``."""
    try:
        found: Floats = linalg.cho_solve(linalg.cho_factor(information), score)
    except linalg.LinAlgError:  # flat in some direction, as where a coefficient runs away
        found = np.asarray(np.linalg.lstsq(information, score, rcond=None)[0], dtype=float)
    return found


def inverse(information: Floats) -> Floats:
    """Return the inverse of an information matrix."""
    return solve(information, np.eye(len(information)))
