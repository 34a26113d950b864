"""Effects by a stratum: the differences between levels and, if it is known what matters, verdicts."""

from __future__ import annotations

from collections.abc import Callable

from retrain_eval.common.errors import DesignError
from retrain_eval.common.levels import missing
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.heterogeneity import equal_effects, verdicts
from retrain_eval.questions.answers import Answers


def level_names(stratum: str, of: str | None = None) -> tuple[str, str]:
    """Return the names of the results by a stratum, and of the differences between its levels.

    Examples
    --------
    >>> level_names("age_band"), level_names("age_band", "first_job")
    (('att_by_age_band', 'difference_by_age_band'), ('first_job_by_age_band', 'first_job_by_age_band_difference'))
    """
    result = f"{of or 'att'}_by_{stratum}"
    return result, f"{result}_difference" if of else f"difference_by_{stratum}"


def answer_levels(
    answers: Answers,
    stratum: str,
    levels: Callable[[], EffectTable],
    *,
    seed: int,
    of: str | None = None,
    smallest_worthwhile: float | None = None,
) -> None:
    """Add the effects by a stratum, differences between levels and verdicts.

    Parameters
    ----------
    answers : Answers
    stratum : str
    levels : function of nothing that returns an EffectTable
        One effect per level. With fewer than two of them, there is nothing to compare, and both results are withheld.
    seed : int
    of : str, optional
        The result that these are levels of; see `level_names`.
    smallest_worthwhile : float, optional
        The least effect that would matter; without it there are no verdicts.
    """
    result, difference = level_names(stratum, of)
    with answers.attempt(result, difference):
        found = levels()
        apart = missing(found.frame["level"])
        few = found.frame.loc[~apart, "level"].nunique() < 2
        if apart.any() or not few:
            answers.effects(result, found)
        if few:
            raise DesignError(
                f"fewer than two levels of {stratum} are left to compare",
                public=f"fewer than two levels of {stratum.replace('_', ' ')} are left to compare",
            )
        answers.effects(difference, found.difference())
        if smallest_worthwhile is None:
            return
        try:
            judged = verdicts(found, smallest_worthwhile=smallest_worthwhile, seed=seed)
            answers.table("verdicts", judged, of=result)
            answers.table("tests", equal_effects(found), of=result)
        except DesignError as error:
            answers.say(f"no verdicts by {stratum}: {error}")
