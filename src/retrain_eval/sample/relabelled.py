"""The same match with other identifiers, to see how much ties settled by identifier matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from retrain_eval.common.arrays import Ints
from retrain_eval.common.errors import DesignError
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.pairs import Pairs
from retrain_eval.sample.units import Units


def relabelled(sample: MatchedSample, seed: int = 20260101) -> Iterator[MatchedSample]:
    """Yield the samples that the same call would draw if identifiers were in another, random order.

    Scores, strata and the caliper are unchanged; ties, and an order of choices by identifier, follow the new order. The
    tables of the yielded samples have the true identifiers.

    Parameters
    ----------
    sample : MatchedSample
        From ``match(method="nearest")`` or ``match(method="riskset")``.
    seed : int
        Of the random orders.

    Raises
    ------
    DesignError
        If the sample is of another method, or its weights or roles have been changed since.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.sample.match import match
    >>> people = pd.DataFrame({"id": range(4), "treat": [1, 0, 0, 0], "age": [30, 31, 31, 40]})
    >>> others = relabelled(match(people, "treat ~ age", "id", distance="age"))
    >>> sorted({next(others).pairs.fetchall()[0][2] for _ in range(25)})
    [1, 2]
    """
    again = sample._again
    if again is None:
        raise DesignError(
            f"a sample of the method {sample.audit['method']!r} cannot be drawn under other identifiers; those that "
            '`match` returns for method="nearest" and method="riskset" can'
        )
    random = np.random.default_rng(seed)
    while True:
        yield again(random.permutation(len(sample._drawn.units.treated)))


def in_order(units: Units, choose: Callable[[Units], Pairs], order: Ints) -> Pairs:
    """Return the pairs that ``choose`` forms with the units in another order, by their original numbers."""
    more = {name: column[order] for name, column in units.more.items()}
    pairs = choose(replace(units, treated=units.treated[order], cell=units.cell[order], more=more, apart=False))
    return replace(pairs, treated=order[pairs.treated], control=order[pairs.control])
