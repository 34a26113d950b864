"""Strata by which questions ask: which of them people are matched within, and what their cells are called."""

from __future__ import annotations

from collections.abc import Sequence

from retrain_eval.common.errors import DesignError
from retrain_eval.estimators.effects.cells import BETWEEN
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.questions.protocol import Inquiry

OF_TRAINEE = ("periods_without_work",)  # columns that are known of trainees alone, where people wait for a start


def matched_within(inquiry: Inquiry, names: Sequence[str]) -> tuple[str, ...]:
    """Return the strata within whose levels people are matched; none in a design that matches no one.

    Where people are compared after as long a time without work, that time is known of the trainee alone: the pair
    belongs to the level of its trainee, and is alike in it as it stands.

    Parameters
    ----------
    inquiry : Inquiry
    names : sequence of str
        Strata by which effects are asked.
    """
    design = inquiry.study.designs[inquiry.design]
    if not design.matched:
        return ()
    waiting = design.kind == "waiting"
    return tuple(name for name in names if not (waiting and inquiry.study.strata[name].column in OF_TRAINEE))


def cells_of(names: Sequence[str]) -> str:
    """Return the name of the result, and of the table, of the cells of several strata.

    Examples
    --------
    >>> cells_of(("age_band", "education_level"))
    'cells_by_age_band_and_education_level'
    """
    return f"cells_by_{'_and_'.join(names)}"


def check_levels(moments: OutcomeMoments) -> None:
    """Refuse levels that cannot be told apart once those of several strata are joined to the name of a cell.

    Raises
    ------
    DesignError
    """
    for name in moments.strata:
        if moments.cells[name].astype("str").str.contains(BETWEEN, regex=False).any():
            raise DesignError(f"a level of {name} contains {BETWEEN.strip()!r}, which joins levels: rename it")
