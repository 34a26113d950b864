"""Matched pairs, as numbers of units."""

from __future__ import annotations

from dataclasses import dataclass

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.shown import summarised


@summarised
@dataclass(frozen=True)
class Pairs:
    """Who is matched to whom, by treated unit in id order and then in the order matched.

    Attributes
    ----------
    treated, control : int ndarray, shape (P,)
        Numbers of the units.
    distance : ndarray, shape (P,)
        Absolute difference of the scores.
    choices : int
        How often a control was chosen: once for each pair or, with replacement, once for each treated unit.
    ties_broken : int
        Choices in which another control, free as well, was exactly as near. None where all of them are kept.
    """

    treated: Ints
    control: Ints
    distance: Floats
    choices: int
    ties_broken: int
