"""Effects that need rows of people, made from noisy amounts so that a release may state them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from retrain_eval.common.errors import InputError
from retrain_eval.estimators.effects.estimates import EstimateTable

KEYS_OF_PEOPLE = "keys_of_people"  # in ``meta``; never leaves the agency

Table = TypeVar("Table", bound=EstimateTable)


def on_noisy_amounts(effects: Table, treated: Sequence[int], control: Sequence[int] | None = None) -> Table:
    """Return effects that are marked as made from noisy amounts, with the keys of the people that they count.

    A release states them: it changes their counts, redraws their covariance, and `verify` lists them as stated.

    Parameters
    ----------
    effects : EffectTable
        Made from amounts times ``person_key.factor``, after capping; not from 0/1 outcomes.
    treated, control : sequence of int
        Of each row, the sum of ``person_key.record`` modulo 2⁶⁴ over the people that ``n_treated`` and ``n_control``
        count.

    Raises
    ------
    InputError
        If there is not one key for each row.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> effects = EffectTable.build([{"estimate": 5.0, "n_treated": 80, "n_control": 90}], [[1.0]])
    >>> on_noisy_amounts(effects, [17], [5]).meta["keys_of_people"]
    [[17, 5]]
    """
    others: Sequence[int | None] = [None] * len(effects) if control is None else control
    if not len(treated) == len(others) == len(effects):
        raise InputError(
            f"{len(treated)} and {len(others)} keys for {len(effects)} rows", rule="one key for each row and arm"
        )
    keys = [[int(one), None if other is None else int(other)] for one, other in zip(treated, others, strict=True)]
    return replace(effects, meta={**effects.meta, KEYS_OF_PEOPLE: keys})
