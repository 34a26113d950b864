"""Matched pairs, as numbers of units."""

from __future__ import annotations

from dataclasses import dataclass

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.shown import summarised


@summarised
@dataclass(frozen=True)
class Pairs:
    """Matched pairs, ordered by the id of the treated unit and then by the order of matching.

    Attributes
    ----------
    treated, control : int ndarray, shape (P,)
        Numbers of the units.
    distance : ndarray, shape (P,)
        Absolute difference of the scores.
    choices : int
        How often a control was chosen: once for each pair or, with replacement, once for each treated unit.
    ties_broken : int
        Choices in which another free control was exactly as near. None if all ties are kept.
    """

    treated: Ints
    control: Ints
    distance: Floats
    choices: int
    ties_broken: int
