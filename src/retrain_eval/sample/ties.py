"""How much a matched sample depends on the order of identifiers: tied choices, and the effect under other orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.common.sources import Source, as_relation, query, sql_name
from retrain_eval.sample.drawn import Drawn
from retrain_eval.sample.effect.read_outcomes import read_outcomes
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.relabelled import relabelled
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys
from retrain_eval.tables.recipe import recorded
from retrain_eval.tables.statistics import Ties

MANY = 0.1  # share of choices beyond which the effect is computed under other orders
RELABELLINGS = 25
Effects = Callable[[], Sequence[float] | Floats]
DIGITS = 2  # significant digits of the change in an effect; more could reveal the few people who change places
TIES = ("result", "n_choices", "n_tied", "share", "relabellings", "sd", "spread")


def count_ties(sample: MatchedSample) -> Ties | None:
    """Return the number of choices in which another control was equally near; None for methods without choices.

    Examples
    --------
    >>> from retrain_eval.sample.match import match
    >>> people = pd.DataFrame({"id": range(4), "treat": [1, 0, 0, 0], "age": [30, 31, 31, 40]})
    >>> found = count_ties(match(people, "treat ~ age", "id", distance="age"))
    >>> found.choices, found.tied
    (1, 1)
    """
    if "ties_broken" not in sample.audit:
        return None
    return Ties(sample.count("n_choices"), sample.count("ties_broken"), 0, np.nan, np.nan)


def effects_relabelled(
    people: Source, sample: MatchedSample, outcome: str, *, times: int = RELABELLINGS, seed: int = 20260101
) -> Floats:
    """Return the effect on an outcome under other orders of identifiers; where people have keys, on noisy amounts.

    Parameters
    ----------
    people : DuckDB relation, DataFrame, Arrow table or path
        The people the sample was drawn from, one row each, with the outcome as a column.
    sample : MatchedSample
        From ``match(method="nearest")``.
    outcome : str
        Column whose weighted difference in means is the effect.
    times : int
    seed : int
        Of the random orders of identifiers.

    Returns
    -------
    ndarray, shape (times,)

    Raises
    ------
    InputError
        If a person matched under some order has no outcome.
    DesignError
        If the sample is from risk sets, where outcomes depend on the period from which a person is followed, or cannot
        be drawn again: `retrain_eval.sample.relabelled.relabelled`.

    Examples
    --------
    Which of two controls of the same age is taken depends on the order of identifiers.

    >>> from retrain_eval.sample.match import match
    >>> people = pd.DataFrame({"id": range(4), "treat": [1, 0, 0, 0], "age": [30, 31, 31, 40], "pay": [9.0, 5, 7, 8]})
    >>> sample = match(people, "treat ~ age", "id", distance="age")
    >>> sorted({float(effect) for effect in effects_relabelled(people, sample, "pay")})
    [2.0, 4.0]
    """
    if sample.audit["method"] == "riskset":
        raise DesignError(
            "with risk sets an outcome depends on the period from which a person is followed, so the effect has to be "
            "computed for each sample; run.publish_ties does"
        )
    drawn = [other._drawn for other in islice(relabelled(sample, seed), times)]
    units = np.unique(np.concatenate([other.rows for other in drawn]))
    ids = sample._drawn.units.ids.take(pa.array(units))
    unit = str(sample.audit["unit"])
    relation = as_relation(people, numbers=outcome, keys=unit)
    if has_keys(relation):
        noisy = f"CAST({sql_name(outcome)} AS DOUBLE) * {PERSON_KEY}.factor"
        relation = query(relation, f"SELECT * REPLACE ({noisy} AS {sql_name(outcome)}) FROM source")
    y = read_outcomes(relation, unit, ids, [outcome])[:, 0]
    return np.array([_difference(other, y[np.searchsorted(units, other.rows)]) for other in drawn])


def _difference(drawn: Drawn, y: Floats) -> float:
    treated, weight = drawn.treated, drawn.weight
    arms = [np.average(y[arm], weights=weight[arm]) for arm in (treated, ~treated)]
    return float(arms[0] - arms[1])


def moved(ties: Ties, effects: Floats, *, noisy: bool = False) -> Ties:
    """Return the counts with the spread of the effect over relabellings, to `DIGITS` significant digits.

    Parameters
    ----------
    ties : Ties
    effects : ndarray
    noisy : bool
        Whether the effects were computed from noisy amounts; else a release with noise withholds their spread.
    """
    sd, spread = (float(f"{value:.{DIGITS}g}") for value in (effects.std(ddof=1), np.ptp(effects)))
    return Ties(ties.choices, ties.tied, len(effects), sd, spread, noisy=noisy)


def ties_moved(sample: MatchedSample, effects: Effects, *, noisy: bool) -> Ties | None:
    """Return how far an effect moves with the order of identifiers; None if few choices are ties.

    Parameters
    ----------
    sample : MatchedSample
    effects : callable
        Returns the effect under each of several orders; called only if more than a tenth of choices are ties.
    noisy : bool
        As in `moved`.
    """
    ties = count_ties(sample)
    if ties is None or ties.share <= MANY:
        return None
    return moved(ties, np.array(effects()), noisy=noisy)


@recorded
def ties_table(ties: Ties) -> pd.DataFrame:
    """Return the published row: counts, share of ties, and standard deviation and range of the relabelled effects.

    Where a release left only the share, the counts are missing.

    Examples
    --------
    >>> ties_table(Ties(200, 50, 25, 120.0, 480.0)).iloc[0, 1:].tolist()
    [200.0, 50.0, 0.25, 25.0, 120.0, 480.0]
    """
    row = {
        "result": pd.Series([None], dtype="str"),
        "n_choices": [np.nan if ties.per_cent else ties.choices],
        "n_tied": [np.nan if ties.per_cent else ties.tied],
        "share": [ties.share],
        "relabellings": [ties.relabellings],
        "sd": [ties.sd],
        "spread": [ties.spread],
    }
    return pd.DataFrame(row)[list(TIES)]
