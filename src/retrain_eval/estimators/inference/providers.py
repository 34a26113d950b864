"""Which providers do better than expected: effects relative to the mean of all, shrunken, with their ranks.

Reads any EffectTable with one effect per provider and its joint covariance. The pool of small providers, and people
whose provider is not known, are no provider: they have a row among the effects, and no part in anything here.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special

from retrain_eval.common.arrays import Floats, Index
from retrain_eval.common.errors import DesignError
from retrain_eval.common.levels import OTHERS, missing
from retrain_eval.common.numerics.joint import t_quantile
from retrain_eval.estimators.did.few_clusters import CV3
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import COUNTS, KEYS
from retrain_eval.estimators.effects.heterogeneity import (
    arms_factor,
    degrees_of,
    equality,
    estimated_together,
    small_sample_factor,
)
from retrain_eval.estimators.inference.ranks import ranks_with_sets
from retrain_eval.estimators.inference.shrinkage import FEWEST, shrink
from retrain_eval.tables.life_table.event_codes import CENSORED
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.recipe import recorded

# limits of a funnel plot: two and three standard errors of the normal distribution (Spiegelhalter 2005)
FEWEST_PEOPLE = 10  # in each arm of a provider that is compared: of fewer, a variance is hardly known
LIMITS = {"95%": 0.95, "99.8%": 0.998}
STANDARDISED = "standardised"  # what the levels of a standardised table are called as a fact about it
_BETWEEN = " × "


def providers_of(effects: EffectTable) -> tuple[Index, Floats, Floats]:
    """Return the rows that are providers, their covariance, and the degrees of freedom of each.

    Those of fewer than `FEWEST_PEOPLE` people in either arm are left out. The covariance is that of small samples:
    variances are divided by n − 1 in each arm, of people or of matched sets.

    Raises
    ------
    DesignError
        If fewer than two providers have an effect with a standard error.
    """
    frame = effects.frame
    place = np.flatnonzero((_named(frame) & ~_too_small(frame, FEWEST_PEOPLE) & frame["std_error"].notna()).to_numpy())
    if len(place) < 2:
        raise DesignError("fewer than two providers have an effect with a standard error")
    small = _small_sample_factor(effects, place)
    return place, effects.vcov[np.ix_(place, place)] * np.outer(small, small), degrees_of(effects, place)


def _named(frame: pd.DataFrame) -> pd.Series:
    """Return which rows are of a provider: not of the pool, and not of people whose provider is not known."""
    return frame["level"].notna() & ~missing(frame["level"]) & (frame["level"] != OTHERS)


def _too_small(frame: pd.DataFrame, fewest: int) -> pd.Series:
    """Return which rows are of fewer people in either arm; rows without a count are not."""
    return (frame[list(COUNTS)] < fewest).fillna(value=False).any(axis=1)


def _small_sample_factor(effects: EffectTable, place: Index) -> Floats:
    """Return what errors are multiplied by where variances were divided by n, and not by n − 1.

    Of matched sets it is n of the sets; where some have lost their controls, it is at least that of people.
    """
    frame, n = effects.frame.loc[place], effects.n_clusters
    if n is None:
        return small_sample_factor(frame, effects, place)
    if effects.meta.get("variance") == CV3:  # the jackknife needs no factor
        return np.ones(len(place))
    sets = n[place].astype(float)
    factor: Floats = np.maximum(np.sqrt(sets / np.maximum(sets - 1, 1)), arms_factor(frame))
    return factor


@recorded
def large_providers(effects: EffectTable, /, fewest: int = FEWEST_PEOPLE) -> EffectTable:
    """Return the effects without those of providers of few people in either arm.

    Parameters
    ----------
    effects : EffectTable
        One effect per provider.
    fewest : int
        Of the trained, and of their controls. The pool of small providers, and people whose provider is not known,
        stay.

    Returns
    -------
    EffectTable
        How many are left out is in ``notes``. With ten trained and four controls, a standard error is as uncertain as
        the effect.

    Raises
    ------
    DesignError
        If no provider is left.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> rows = [{"level": name, "estimate": 1.0, "n_treated": 15, "n_control": n} for name, n in (("A", 15), ("B", 4))]
    >>> large_providers(EffectTable.build(rows, np.eye(2))).frame["level"].tolist()
    ['A']
    """
    frame = effects.frame
    named = _named(frame)
    small = named & _too_small(frame, fewest)
    if not (named & ~small).any():
        raise DesignError("no provider has enough trainees, and enough controls, to be shown")
    if not small.any():
        return effects
    kept = np.flatnonzero(~small.to_numpy())
    contrast = np.eye(len(frame))[kept]
    n = int(small.sum())
    notes = (*effects.notes, f"{n} provider(s) with few trainees, or few controls, are not shown apart")
    return effects.build(
        frame.loc[kept, [*KEYS, "estimate", *COUNTS]].reset_index(drop=True),
        effects.vcov[np.ix_(kept, kept)],
        level=effects.confidence_level,
        **effects.inference_of(contrast),
        meta={**effects.meta, "notes": notes},
    )


@recorded
def provider_table(effects: EffectTable, *, level: float = 0.95, seed: int = 20260101) -> pd.DataFrame:
    """Return each provider's effect relative to the mean of all, shrunken, and its rank.

    Parameters
    ----------
    effects : EffectTable
        One effect per provider.
    level : float
        Of intervals, and of the sets of ranks, which hold for all providers at once.
    seed : int
        Seed of the draws behind the sets of ranks.

    Returns
    -------
    DataFrame
        One row per provider, the largest shrunken effect first: ``level, estimate, deviation`` (from the mean of all
        providers, each counted once) ``, std_error`` (of the deviation) ``, limit`` (of the funnel plot that it is
        beyond: "95%", "99.8%" or nothing) ``, shrunken, shrunken_low, shrunken_high, rank, rank_low, rank_high,
        n_treated, n_control``.

    Raises
    ------
    DesignError
        If fewer than four providers have an effect with a standard error.

    Notes
    -----
    See `retrain_eval.estimators.inference.shrinkage.shrink` and
    `retrain_eval.estimators.inference.ranks.ranks_with_sets`. Control limits are 1.96 and 3.09 standard errors
    from the mean of all (Spiegelhalter 2005): of providers that do not differ, one of 20 is beyond the first limit, and
    one of 500 beyond the second.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> rows = [{"subgroup": "provider", "level": name, "estimate": value} for name, value in
    ...         (("A", 1.0), ("B", 1.0), ("C", 7.0), ("D", 7.0))]
    >>> found = provider_table(EffectTable.build(rows, 4 * np.eye(4))).round(9)
    >>> found[["level", "deviation", "shrunken", "rank"]].values.tolist()
    [['C', 3.0, 2.0, 1], ['D', 3.0, 2.0, 1], ['A', -3.0, -2.0, 3], ['B', -3.0, -2.0, 3]]
    """
    place, vcov, df = providers_of(effects)
    frame = effects.frame.loc[place].reset_index(drop=True)
    estimate = frame["estimate"].to_numpy()
    found = shrink(estimate, vcov, level, df)
    rank, low, high = ranks_with_sets(estimate, vcov, df, level=level, seed=seed)
    size, limit = np.abs(found.deviation), np.full(len(place), "", dtype=object)
    for name, inside in LIMITS.items():
        limit[size > special.ndtri(0.5 + inside / 2) * found.std_error] = name
    rows = pd.DataFrame(
        {
            "level": frame["level"],
            "estimate": estimate,
            "deviation": found.deviation,
            "std_error": found.std_error,
            "limit": pd.array(limit, dtype="str"),
            "shrunken": found.shrunken,
            "shrunken_low": found.low,
            "shrunken_high": found.high,
            "rank": rank,
            "rank_low": low,
            "rank_high": high,
            **{name: frame[name] for name in COUNTS},
        }
    )
    # to nine digits: what differs by rounding alone is in the order of names
    by = {name: -np.round(rows[name].to_numpy() / found.std_error.max(), 9) for name in ("shrunken", "deviation")}
    order = np.lexsort((rows["level"].to_numpy(dtype=object), by["deviation"], by["shrunken"]))
    return rows.iloc[order].reset_index(drop=True)


@recorded
def provider_spread(effects: EffectTable, *, level: float = 0.95) -> pd.DataFrame:
    """Return how far the true effects of providers are apart, as one row.

    Returns
    -------
    DataFrame
        ``providers`` (their number) ``, mean, mean_low, mean_high`` (of the effects, each provider counted once)
        ``, spread, spread_low, spread_high`` (standard deviation of the true effects; zero: none is found).

    Raises
    ------
    DesignError
        As `provider_table`.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> rows = [{"level": name, "estimate": value} for name, value in zip("ABCD", (1.0, 1.0, 7.0, 7.0))]
    >>> found = provider_spread(EffectTable.build(rows, 4 * np.eye(4)))
    >>> found[["providers", "mean", "spread"]].round(3).values.tolist()
    [[4.0, 4.0, 2.828]]
    """
    place, vcov, df = providers_of(effects)
    found = shrink(effects.frame["estimate"].to_numpy()[place], vcov, level, df)
    half = float(t_quantile(np.array([df.sum()]), 0.5 + level / 2)[0]) * found.mean_error
    return pd.DataFrame(
        {
            "providers": [len(place)],
            "mean": [found.mean],
            "mean_low": [found.mean - half],
            "mean_high": [found.mean + half],
            "spread": [found.spread],
            "spread_low": [found.spread_low],
            "spread_high": [found.spread_high],
        }
    )


@recorded
def equal_providers(effects: EffectTable) -> pd.DataFrame:
    """Return the test that all providers have one effect: Cochran's Q with the joint covariance.

    Raises
    ------
    DesignError
        If fewer than two providers have an effect with a standard error.

    Notes
    -----
    ``(Cθ̂)' (CVC')⁻¹ Cθ̂`` with C the differences from the first provider, which for independent estimates is Cochran's
    (1954) ``Q = Σ (θ̂_j − θ̄)²/s_j²`` about their weighted mean. Degrees of freedom as in `equal_effects`.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> rows = [{"level": name, "estimate": value} for name, value in zip("ABC", (1.0, 2.0, 3.0))]
    >>> equal_providers(EffectTable.build(rows, np.eye(3)))["statistic"].round(9).item()
    2.0
    """
    place, vcov, df = providers_of(effects)
    return equality(effects.frame["estimate"].to_numpy()[place], vcov, df, together=estimated_together(effects))


@recorded
def standardised(effects: EffectTable) -> EffectTable:
    """Return the effect that each provider would have if all trained the same mix of people.

    Parameters
    ----------
    effects : EffectTable
        One effect per provider and level of a stratum: of ``.by("provider", stratum)``.

    Returns
    -------
    EffectTable
        One effect per provider that has all levels. Providers that train no one of a level, or too few, are left out;
        how many is in ``notes``.

    Raises
    ------
    DesignError
        If fewer than two providers have people of every level.

    Notes
    -----
    Direct standardisation: the mean over levels, weighted by the share of each level among all trainees.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> rows = [{"subgroup": "provider × sex", "level": level, "estimate": value, "n_treated": n} for level, value, n in
    ...         (("A × m", 1.0, 10), ("A × f", 3.0, 30), ("B × m", 2.0, 30), ("B × f", 4.0, 10))]
    >>> standardised(EffectTable.build(rows, np.eye(4))).frame[["level", "estimate"]].values.tolist()
    [['A', 2.0], ['B', 3.0]]
    """
    frame = effects.frame
    parts = frame["level"].astype("str").str.rpartition(_BETWEEN)
    provider, group = parts[0], parts[2]
    usable = ~missing(group) & frame["std_error"].notna() & frame["level"].notna()
    people = frame["n_treated"].astype("float64")[usable].groupby(group[usable], sort=False).sum()
    share = people / people.sum()
    records = frame.to_dict("records")
    rows: list[dict[str, object]] = []
    contrasts: list[Floats] = []
    names = [name for name in dict.fromkeys(provider[usable]) if name]
    for name in names:
        own = np.flatnonzero((usable & (provider == name)).to_numpy())
        if set(group.iloc[own]) != set(share.index):
            continue
        contrast = np.zeros(len(frame))
        contrast[own] = share[group.iloc[own]].to_numpy()
        first = records[own[0]]
        rows.append(
            {
                **{key: first[key] for key in ("outcome", "estimator", "estimand")},
                "subgroup": "provider",
                "level": name,
                "estimate": float(contrast @ frame["estimate"].fillna(0.0).to_numpy()),
                **{count: frame[count].iloc[own].sum(min_count=1) for count in COUNTS},
            }
        )
        contrasts.append(contrast)
    if len(rows) < 2:
        raise DesignError("fewer than two providers have enough people of every level of the stratum")
    matrix, left = np.vstack(contrasts), len(names) - len(rows)
    notes = (
        (*effects.notes, f"{left} provider(s) without people of every level are left out") if left else effects.notes
    )
    return effects.build(
        rows,
        effects.vcov_of(matrix),
        level=effects.confidence_level,
        **effects.inference_of(matrix),
        meta={**effects.meta, "contrast": STANDARDISED, "notes": notes},
    )


@recorded
def shares_by_level(table: LifeTable, *, outcome: str) -> pd.DataFrame:
    """Return the share of people of each level who ended by a cause: of those of whom it is known.

    Parameters
    ----------
    table : LifeTable
        By one stratum; each person has one spell, whose cause is ``outcome``, another one, or not known (censored).
    outcome : str
        The cause, such as "completed".

    Returns
    -------
    DataFrame
        ``outcome, level, mean`` (the share) ``, n`` (people of whom it is known).

    Examples
    --------
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> ends = ["done", "gone", "done", "done", None]
    >>> people = pd.DataFrame({"id": range(5), "one": 1, "end": ends, "provider": list("AABBB")})
    >>> found = shares_by_level(life_table(people, "id", "one", "end", None, "provider", censored=()), outcome="done")
    >>> found[["level", "mean", "n"]].values.tolist()
    [['A', 0.5, 2], ['B', 1.0, 2]]
    """
    if not table.by:
        raise DesignError("no group is large enough to be shown")
    known = table.cells[table.cells["cause"] != CENSORED]
    column = known[table.by[-1]].astype("str")
    n = known["n"].groupby(column, sort=False).sum()
    hits = known["n"].where(known["cause"] == outcome, 0).groupby(column, sort=False).sum()
    share = (hits / n).astype("float64").to_numpy()
    return pd.DataFrame({"outcome": outcome, "level": n.index.astype("str"), "mean": share, "n": n.to_numpy()})


__all__ = [
    "FEWEST",
    "FEWEST_PEOPLE",
    "equal_providers",
    "large_providers",
    "provider_spread",
    "provider_table",
    "shares_by_level",
    "standardised",
]
