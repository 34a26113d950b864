"""Protect the sums behind tests and bounds: withhold those of few people, and scale the others to rounded counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from retrain_eval.common.errors import DisclosureError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.merging import round_counts
from retrain_eval.tables.moments.dominance import dominated
from retrain_eval.tables.statistics import CrossProducts, Scores, Shares, SignedRanks, Spread, Statistic, Ties


def protect_statistic(name: str, statistic: Statistic, rules: Release) -> tuple[Statistic, list[str]]:
    """Return a statistic as it may be published, and a record of what was done.

    Parameters
    ----------
    name : str
        Name of the statistic, for the record.
    statistic : Statistic
        The unprotected statistic.
    rules : Release

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
    Each group must have the minimum number of people. For cross products, so must each cell of two columns with few
    values, unless it is empty; for shares, the people with the property and those without it. A few people must not
    dominate an amount. If counts are rounded, sums are rescaled to the rounded number of people:

    * sums of weights, amounts and products are multiplied by rounded count over exact count, which leaves means,
      variances and regressions unchanged;
    * deviations are multiplied by the same factor and their covariance by its square, which leaves tests unchanged;
    * sums of ranks are multiplied by the ratio of the sums of 1, …, n for the two counts, because a sum of ranks
      reveals the exact number of pairs. Bounds on the p-value change slightly.
    """
    few = int(statistic.parts[1].min(initial=rules.min_cell))
    reason = (
        f"they are of fewer than {rules.min_cell} people or pairs"
        if few < rules.min_cell
        else _REASONS[statistic.kind](statistic, rules)
    )
    if reason:
        raise DisclosureError(f"the statistics {name!r} are withheld, because {reason}", public=reason)
    return _ROUNDED[statistic.kind](statistic.released(), rules.round_counts), []


def _dominance(largest: Any, total: Any, rules: Release) -> str:
    if largest is None or total is None or not largest.size:
        return ""
    rule = {"n": rules.dominance_n, "share": rules.dominance_share, "p_percent": rules.p_percent}
    found = dominated(largest, total, **rule) & (largest.sum(axis=(1, 2)) > 0)
    return "few people dominate a sum of amounts" if found.any() else ""


def _of_spread(found: Spread, rules: Release) -> str:
    return _dominance(found.largest, found.absolute, rules)


def _of_shares(found: Shares, rules: Release) -> str:
    if found.hits is None:
        return ""
    sides = np.concatenate([found.hits, found.n - found.hits])
    small = (sides > 0) & (sides < rules.min_cell)
    return f"fewer than {rules.min_cell} people have a property, or lack it" if small.any() else ""


def _of_products(found: CrossProducts, rules: Release) -> str:
    if found.smallest is not None and found.smallest < rules.min_cell:
        return f"fewer than {rules.min_cell} people share the values of two columns"
    if found.missing is not None and 0 < found.missing < rules.min_cell:
        return f"fewer than {rules.min_cell} people are left out, who follow by subtraction from all candidates"
    return _dominance(found.largest, found.amounts, rules)


def _of_ties(found: Ties, rules: Release) -> str:
    sides = (found.tied, found.choices - found.tied)
    small = any(0 < n < rules.min_cell for n in sides)
    return f"fewer than {rules.min_cell} choices were tied, or were not" if small else ""


def _ranks(found: SignedRanks, base: int) -> SignedRanks:
    n = int(round_counts(np.array([found.n]), base)[0])
    factor = n * (n + 1) / (found.n * (found.n + 1))
    squares = found.squares * factor * (2 * n + 1) / (2 * found.n + 1)
    return SignedRanks(n, found.positive * factor, found.total * factor, squares)


def _ties(found: Ties, base: int) -> Ties:
    choices, tied = round_counts(np.array([found.choices, found.tied]), base).tolist()
    return replace(found, choices=choices, tied=tied)


def _spread(found: Spread, base: int) -> Spread:
    n = round_counts(found.n, base)
    sums = {name: getattr(found, name) * (n / found.n) for name in ("sum_w", "sum_w2", "sum_wy", "sum_wy2")}
    return replace(found, n=n, **sums)


def _scores(found: Scores, base: int) -> Scores:
    n = round_counts(found.n, base)
    factor = n.sum() / found.n.sum()
    return replace(found, n=n, deviation=found.deviation * factor, covariance=found.covariance * factor**2)


def _shares(found: Shares, base: int) -> Shares:
    n = round_counts(found.n, base)
    return replace(found, n=n, sum_w=found.sum_w * (n / found.n), sum_wx=found.sum_wx * (n / found.n))


def _products(found: CrossProducts, base: int) -> CrossProducts:
    n = int(round_counts(np.array([found.n]), base)[0])
    return replace(found, n=n, products=found.products * (n / found.n))


_REASONS: Mapping[str, Callable[[Any, Release], str]] = {
    SignedRanks.kind: lambda found, rules: "",
    Ties.kind: _of_ties,
    Spread.kind: _of_spread,
    Scores.kind: lambda found, rules: "",
    Shares.kind: _of_shares,
    CrossProducts.kind: _of_products,
}
_ROUNDED: Mapping[str, Callable[[Any, int], Statistic]] = {
    SignedRanks.kind: _ranks,
    Ties.kind: _ties,
    Spread.kind: _spread,
    Scores.kind: _scores,
    Shares.kind: _shares,
    CrossProducts.kind: _products,
}
