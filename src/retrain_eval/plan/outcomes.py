"""Outcomes that questions may ask about: columns of the panel and of employment quality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.plan.questions import Questions

OF_PANEL = ("earnings", "employed", "full_quarter", "hours", "tenure", "n_employers")
OF_QUALITY = ("m0", "deprived", "deprivations")
DIMENSIONS = ("earnings", "tenure", "stability", "occupation")
OUTCOMES = (*OF_PANEL, *OF_QUALITY, *(f"{kind}_{name}" for kind in ("d", "quality") for name in DIMENSIONS))


def check_outcomes(questions: Questions, plan: Mapping[str, Iterable[str]], kinds: Mapping[str, str | None]) -> None:
    """Refuse outcomes of questions that do not exist, and worth that is counted in anything but amounts.

    Parameters
    ----------
    questions : Questions
    plan : mapping of str → iterable of str
        Outcomes that other sections name for all questions, by the place: ``"[plan] outcomes"``.
    kinds : mapping of str → str or None
        The kind of each outcome that has a section ``[outcomes.NAME]``.

    Raises
    ------
    InputError

    Examples
    --------
    >>> from retrain_eval.plan.questions import EffectOverTime
    >>> asked = Questions(effect_over_time=EffectOverTime(outcomes=("earnigs",)))
    >>> try:
    ...     check_outcomes(asked, {}, {})
    ... except InputError as error:
    ...     print(str(error).splitlines()[0])
    unknown outcome in [questions.effect_over_time] outcomes 'earnigs'
    """
    named = {place: tuple(names) for place, names in plan.items()} if any(questions.asked()) else {}
    if questions.effect_over_time is not None:
        named["[questions.effect_over_time] outcomes"] = questions.effect_over_time.outcomes
    if questions.money is not None:
        named["[questions.money] outcome"] = (questions.money.outcome,)
    for place, names in named.items():
        for name in names:
            if name not in OUTCOMES:
                raise unknown(f"outcome in {place}", name, OUTCOMES)
    if questions.money is None:
        return
    outcome = questions.money.outcome
    kind = kinds.get(outcome) or ("amount" if outcome == "earnings" else None)
    if kind != "amount":
        raise InputError(
            f"outcome of [questions.money] is no amount of money: {outcome}",
            column="outcome",
            value=outcome,
            rule='taxes and costs are amounts, so the outcome is one: kind = "amount" in its section of [outcomes]',
            fix='outcome = "earnings"',
        )
