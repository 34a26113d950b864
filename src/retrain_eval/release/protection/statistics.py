"""Protect the sums behind tests and bounds: changed counts, noisy amounts, redrawn squares, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DisclosureError, InputError
from retrain_eval.estimators.survival.logrank import logrank_scores
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.rules import noise_stamp
from retrain_eval.release.protection.standing import round_clusters
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.moments.dominance import dominated
from retrain_eval.tables.noise.mean_weights import loosened
from retrain_eval.tables.noise.register import Register
from retrain_eval.tables.noise.scatter import redrawn
from retrain_eval.tables.statistics import (
    Costs,
    CrossProducts,
    Ledger,
    Scores,
    Shares,
    SignedRanks,
    Spread,
    Statistic,
    Ties,
)

Recounted = Mapping[str, tuple[LifeTable, LifeTable]]
WITHOUT_KEYS = "they were summed without keys of people"


def protect_statistic(
    name: str, statistic: Statistic, rules: Release, register: Register, recounted: Recounted
) -> tuple[Statistic, list[str]]:
    """Return a statistic as it may be published, and a record of what was done.

    Parameters
    ----------
    name : str
        Name of the statistic, for the record.
    statistic : Statistic
        The unprotected statistic, with its keyed sums.
    rules : Release
    register : Register
        Of the edition.
    recounted : mapping of str → (LifeTable, LifeTable)
        Signature of each life table of the run → the table and what of it is published.

    Returns
    -------
    Statistic, list of str
        The protected statistic, and a record of what was done.

    Raises
    ------
    DisclosureError
        If it may not be published.

    Notes
    -----
    Without noise it is exact. With noise, each group must have the minimum number of people, few people must not
    dominate an amount, and

    * shares are of changed counts: people counted, those with the property and those without it, of each the minimum or
      more; the sums of weights of the two sides are scaled by changed over exact count;
    * scores are computed again from the protected life table; their covariance is redrawn, plus that of the changes;
    * ranks are of noisy differences. Their sums are those of 1, …, ñ for the changed number of pairs, and the sum of
      positive ranks is the same share of them, rounded: from an exact sum of ranks the number of pairs would follow;
    * sums within arms are of noisy amounts, centred with the changed count, and the sum of squares is redrawn;
    * of ties only the share is kept, in per cent: choices are not people, and have no keys;
    * costs are of a changed count of people, and the amount is the cost per person, to two digits, times that count;
      so are the lines of a ledger, which are multiples of the last of these digits;
    * cross products are withheld: each column is an amount or a count of its own.
    """
    if not rules.noisy:
        return statistic.released(), []
    few = int(statistic.parts[1].min(initial=rules.min_contributors))
    if few < rules.min_contributors:
        raise _withheld(name, f"they are of fewer than {rules.min_contributors} people or pairs")
    try:
        if isinstance(statistic, Scores):
            safe = _scores(statistic, recounted)
        else:
            safe = _PROTECT[statistic.kind](statistic, rules, register)
    except DisclosureError as error:
        raise _withheld(name, error.public) from None
    return replace(safe, stamp={**safe.stamp, "noise": noise_stamp(rules)}), []


def _withheld(name: str, reason: str) -> DisclosureError:
    return DisclosureError(f"the statistics {name!r} are withheld, because {reason}", public=reason)


def _because(reason: str) -> DisclosureError:
    return DisclosureError(reason, public=reason)


def _count(register: Register, n: Ints, keys: Any, rules: Release) -> Ints:
    """Return published counts, none below the minimum."""
    counts = np.array([register.count(int(one), int(key)) for one, key in zip(n, keys, strict=True)], dtype=np.int64)
    if min(counts.min(initial=rules.min_contributors), n.min(initial=rules.min_contributors)) < rules.min_contributors:
        raise _because(f"a count is below {rules.min_contributors}")
    return counts


def _sides(
    n: Ints, hits: Ints, keys: Any, hit_keys: Any, sum_w: Floats, sum_wx: Floats, rules: Release, register: Register
) -> tuple[Ints, Floats, Floats]:
    """Return the published count, its weight and the weight with the property, both sides scaled."""
    if min(hits.min(), (n - hits).min()) < rules.min_contributors:
        raise _because(f"fewer than {rules.min_contributors} people have a property, or lack it")
    people, those = _count(register, n, keys, rules), _count(register, hits, hit_keys, rules)
    if (people - those).min() < rules.min_contributors:
        raise _because(f"fewer than {rules.min_contributors} people have a property, or lack it")
    mean, rest = sum_wx / hits, (sum_w - sum_wx) / (n - hits)
    ones = np.isclose(mean, 1.0, rtol=1e-12) & np.isclose(rest, 1.0, rtol=1e-12)  # everyone has the weight 1
    with_it = loosened(mean, hits, hit_keys, "weights", ones) * those
    without = loosened(rest, n - hits, keys, "weights without", ones) * (people - those)
    return people, with_it + without, with_it


def _of_shares(found: Shares, rules: Release, register: Register) -> Statistic:
    if found.hits is None or found.keys is None or found.hit_keys is None:
        raise _because(WITHOUT_KEYS)
    n, weight, with_it = _sides(
        found.n, found.hits, found.keys, found.hit_keys, found.sum_w, found.sum_wx, rules, register
    )
    return replace(found.released(), n=n, sum_w=weight, sum_wx=with_it)


def _scores(found: Scores, recounted: Recounted) -> Statistic:
    """Compute scores again from the protected life table, and redraw their covariance about that of the clusters."""
    known = recounted.get(found.life_table or "")
    if known is None or found.rho is None or found.gamma is None or found.strata is None:
        raise _because("the life table that they follow from is not published without its clusters")
    exact, table = known
    options: dict[str, Any] = {"rho": found.rho, "gamma": found.gamma, "strata": found.strata}
    try:
        again, alone = (logrank_scores(of, **options) for of in (table, replace(table, noise=None)))
    except InputError as error:
        raise _because(f"the protected life table does not give them: {str(error).splitlines()[0]}") from None
    if again.levels != found.levels:
        raise _because("groups of the life table are merged")
    assert exact.keys is not None
    spread = redrawn(found.covariance, float(exact.n_spells), exact.keys.key.tolist(), f"scores/{found.test}")
    return replace(
        found.released(),
        n=again.n,
        deviation=again.deviation,
        covariance=spread + again.covariance - alone.covariance,
        clusters=round_clusters(found.clusters),
    )


def _of_ranks(found: SignedRanks, rules: Release, register: Register) -> Statistic:
    if found.keys is None:
        raise _because(WITHOUT_KEYS)
    if found.noisy_n is None or found.noisy_positive is None:
        raise _because("ranks of a 0/1 outcome are counts of pairs without keys of their own")
    exact = np.array([found.noisy_n])
    [n] = _count(register, exact, found.keys, rules).tolist()
    total = n * (n + 1) / 2
    share = found.noisy_positive / (found.noisy_n * (found.noisy_n + 1) / 2)
    return replace(
        found.released(), n=n, positive=float(round(total * share)), total=total, squares=total * (2 * n + 1) / 3
    )


def _of_ties(found: Ties, rules: Release, register: Register) -> Statistic:
    if any(0 < n < rules.min_contributors for n in (found.tied, found.choices - found.tied)):
        raise _because(f"fewer than {rules.min_contributors} choices were tied, or were not")
    shown = replace(found.released(), choices=100, tied=round(100 * found.share), per_cent=True)
    return shown if found.noisy else replace(shown, relabellings=0, sd=np.nan, spread=np.nan)


def _of_spread(found: Spread, rules: Release, register: Register) -> Statistic:
    if found.keys is None:
        raise _because(WITHOUT_KEYS)
    if _dominated(found.largest, found.absolute, rules):
        raise _because("few people dominate a sum of amounts")
    # about 0: the run's reference is a mean of exact amounts
    shown = replace(found.released(), reference=0.0)
    if found.hits is not None:
        ones = found.sum_wy + found.reference * found.sum_w
        n, weight, sums = _sides(found.n, found.hits, found.keys, found.hit_keys, found.sum_w, ones, rules, register)
        squares = sums
    elif found.noisy_wy is not None and found.noisy_wy2 is not None:
        n = _count(register, found.n, found.keys, rules)
        mean = found.sum_w / found.n
        weight = loosened(mean, found.n, found.keys.tolist(), "weights", np.isclose(mean, 1.0, rtol=1e-12)) * n
        # the spread alone: sums of amounts would have to be compared with those of all other tables and editions
        sums = np.zeros(len(n))
        scatter = (found.noisy_wy2 - found.noisy_wy**2 / found.sum_w) * n / found.n
        again = [
            redrawn(np.array([[max(value, 0.0)]]), float(k), [int(key)], f"spread/{found.outcome}/{arm}")[0, 0]
            for value, k, key, arm in zip(scatter, found.n, found.keys, found.arms, strict=True)
        ]
        squares = np.array(again)
    else:
        raise _because(WITHOUT_KEYS)
    alike: Bools = np.isclose(found.sum_w, found.n, rtol=1e-12) & np.isclose(found.sum_w2, found.n, rtol=1e-12)
    sum_w2 = loosened(found.sum_w2 / found.n, found.n, found.keys.tolist(), "squares", alike) * n
    return replace(shown, n=n, sum_w=weight, sum_w2=sum_w2, sum_wy=sums, sum_wy2=squares)


def _of_products(found: CrossProducts, rules: Release, register: Register) -> Statistic:
    raise _because("products of covariates over all candidates cannot be protected column by column")


def _dominated(largest: Any, total: Any, rules: Release) -> bool:
    if largest is None or total is None or not largest.size:
        return False
    rule = {"n": rules.dominance_n, "share": rules.dominance_share, "p_percent": rules.p_percent}
    return bool((dominated(largest, total, **rule) & (largest.sum(axis=(1, 2)) > 0)).any())


def _of_costs(found: Costs, rules: Release, register: Register) -> Statistic:
    """Change the count, and scale the amount, so that they give the published cost per person and no more."""
    if found.keys is None:
        raise _because(WITHOUT_KEYS)
    [people] = _count(register, found.parts[1], found.keys, rules).tolist()
    return replace(found.released(), people=people, amount=found.per_person * people)


def _of_ledger(found: Ledger, rules: Release, register: Register) -> Statistic:
    """Change the count, and make each line its amount per person, to the last of two digits of the total, times it."""
    if found.keys is None:
        raise _because(WITHOUT_KEYS)
    [people] = _count(register, found.parts[1], found.keys, rules).tolist()
    return replace(found.released(), people=people, cents=found.per_person(digits=2) * people)


_PROTECT: Mapping[str, Callable[[Any, Release, Register], Statistic]] = {
    SignedRanks.kind: _of_ranks,
    Ties.kind: _of_ties,
    Spread.kind: _of_spread,
    Shares.kind: _of_shares,
    CrossProducts.kind: _of_products,
    Costs.kind: _of_costs,
    Ledger.kind: _of_ledger,
}
