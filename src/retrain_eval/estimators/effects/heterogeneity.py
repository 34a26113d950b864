"""For whom it works: subgroup effects with joint inference, and a verdict on each.

Reads any EffectTable with one effect per level, whatever the estimator, and its covariance.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats, Index
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.levels import missing
from retrain_eval.common.numerics.joint import (
    arms_df,
    critical_values,
    holm,
    joint_test,
    romano_wolf,
    row_of_test,
    t_quantile,
    t_upper,
)
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.estimates import EstimateTable
from retrain_eval.tables.recipe import recorded

EQUAL = "equal effects"  # the name of the joint test
EFFECT, NONE, INCONCLUSIVE = "effect", "equivalent to none", "inconclusive"


@summarised
@dataclass(frozen=True)
class Heterogeneity:
    """Effects by subgroup, judged together; made by `heterogeneity`.

    Attributes
    ----------
    levels : DataFrame
        One row per level: ``subgroup, level, estimate, std_error, ci_low, ci_high, p_value``, then ``p_holm`` and
        ``p_romano_wolf`` (adjusted for the number of levels), ``p_equivalence`` (TOST, adjusted by Holm), ``mde``
        (minimum detectable effect), ``n_treated, n_control, verdict, n_needed`` (treated people with whom an
        inconclusive effect would be found with probability ``power`` if it is as large as the smallest worthwhile
        one; NA else).
    differences : EffectTable
        All pairs of levels, later minus earlier, by the joint covariance.
    equality : DataFrame
        One row: the test that all levels have one effect; ``statistic, df, df_denominator, p_value``. No row where
        there are too few clusters, or people, for so many levels.
    smallest_worthwhile, level, power : float
        What the verdicts were made with.
    notes : tuple of str
        Levels that could not be judged, and why.
    """

    levels: pd.DataFrame
    differences: EstimateTable
    equality: pd.DataFrame
    smallest_worthwhile: float
    level: float
    power: float
    notes: tuple[str, ...]


def heterogeneity(
    effects: EstimateTable,
    smallest_worthwhile: float,
    *,
    level: float = 0.95,
    power: float = 0.8,
    seed: int = 20260101,
) -> Heterogeneity:
    """Judge effects by subgroup together.

    Parameters
    ----------
    effects : EffectTable
        One row per level of one subgroup, or an overall row (no cohort, time or event time) for each.
    smallest_worthwhile : float
        The smallest effect, in the outcome's unit, that would matter to anyone; its negative bounds harm.
    level : float
        Confidence level. The probability that any level is wrongly called "effect" is at most ``1 − level``, and so is
        that of a wrong "equivalent to none"; the probability of either is at most twice that.
    power : float
        With which the minimum detectable effect would be found.
    seed : int
        Seed of the draws behind the adjusted p-values.

    Returns
    -------
    Heterogeneity
        The verdict is "equivalent to none" if the effect is significantly within ± the smallest worthwhile one,
        "effect" if it is significantly not zero, both by adjusted p-values, and else "inconclusive".

    Raises
    ------
    InputError
        If the smallest worthwhile effect is not above zero, or the table has no subgroup, or several rows per level.
    DesignError
        If fewer than two levels have a standard error.

    Notes
    -----
    Step-down adjustment, drawn from the joint distribution of the estimates (Romano and Wolf 2005, Algorithm 4.1; Holm
    1979); two one-sided tests (Schuirmann 1987); the minimum detectable effect is ``(c_{1−α/2} + c_power) · se`` (Bloom
    1995). ``n_needed`` is ``n_treated`` times the square of ``(c + c_power) se`` over the smallest worthwhile effect,
    c being the critical value for all levels at once: with so many, treated and controls growing alike, an effect as
    large as the smallest worthwhile one would be found with probability ``power``.

    Quantiles are those of Student's t. Its degrees of freedom are the table's where the table has any, else those of
    the people (`retrain_eval.common.numerics.joint.arms_df`), by which adjusted p-values, equivalence and the joint
    test keep their size in small cells; intervals and ``p_value`` are those of the table.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> rows = [{"subgroup": "age", "level": "<55", "estimate": 3.0, "n_treated": 100},
    ...         {"subgroup": "age", "level": "55+", "estimate": 0.5, "n_treated": 100}]
    >>> found = heterogeneity(EffectTable.build(rows, np.diag([0.25, 0.25])), smallest_worthwhile=1.0)
    >>> found.levels["verdict"].tolist(), found.levels["n_needed"].tolist()
    (['effect', 'inconclusive'], [<NA>, 238])
    """
    if not np.isfinite(smallest_worthwhile) or smallest_worthwhile <= 0:
        raise InputError("the smallest worthwhile effect is above zero", value=smallest_worthwhile)
    for name, value in (("level", level), ("power", power)):
        if not 0 < value < 1:
            raise InputError(f"{name} lies between 0 and 1", column=name, value=value)
    place, notes = _one_per_level(effects)
    frame = effects.frame.loc[place].reset_index(drop=True)
    vcov = effects.vcov[np.ix_(place, place)]
    df, shown = degrees_of(effects, place), effects.df[place]
    estimate, error = frame["estimate"].to_numpy(), np.sqrt(np.diag(vcov))
    p_value = 2 * t_upper(shown, np.abs(estimate) / error)
    together = estimated_together(effects)
    small = small_sample_factor(frame, effects, place)
    wide, spread = error * small, vcov * np.outer(small, small)
    single = np.maximum(2 * t_upper(df, np.abs(estimate) / wide), p_value)
    # two one-sided tests: the larger p-value decides
    tost = np.maximum(
        t_upper(df, (estimate + smallest_worthwhile) / wide), t_upper(df, (smallest_worthwhile - estimate) / wide)
    )
    alpha = 1 - level
    adjusted = np.maximum(romano_wolf(estimate, spread, df, together=together, seed=seed), p_value)
    equivalence = holm(tost)
    verdict = np.where(equivalence < alpha, NONE, np.where(adjusted < alpha, EFFECT, INCONCLUSIVE))
    half = t_quantile(shown, 0.5 + level / 2)
    to_find = t_quantile(df, power)
    critical = critical_values(spread, df, together=together, level=level, seed=seed)
    n_treated = frame["n_treated"].to_numpy(dtype=float, na_value=np.nan)
    needed = np.ceil(n_treated * ((critical + to_find) * wide / smallest_worthwhile) ** 2)
    needed = np.where(verdict == INCONCLUSIVE, np.maximum(needed, n_treated + 1), np.nan)
    levels = pd.DataFrame(
        {
            **{name: frame[name] for name in ("subgroup", "level", "estimate")},
            "std_error": error,
            "ci_low": estimate - half * error,
            "ci_high": estimate + half * error,
            "p_value": p_value,
            "p_holm": holm(single),
            "p_romano_wolf": adjusted,
            "p_equivalence": equivalence,
            "mde": (t_quantile(df, 0.5 + level / 2) + to_find) * wide,
            "n_treated": frame["n_treated"],
            "n_control": frame["n_control"],
            "verdict": verdict,
            "n_needed": pd.array([None if np.isnan(n) else int(n) for n in needed], dtype="Int64"),
        }
    )
    test = equality(estimate, spread, df, together=together)
    if test.empty:
        notes.append("whether all levels have one effect is not tested: there are too few clusters for so many levels")
    differences = _differences(effects, place, level)
    return Heterogeneity(levels, differences, test, float(smallest_worthwhile), level, power, tuple(notes))


def _one_per_level(effects: EstimateTable, fewest: int = 2) -> tuple[Index, list[str]]:
    """Return the rows to judge, one per level, and what is left out."""
    frame = effects.frame
    grouped = frame["level"].notna()
    if not grouped.any() or len(set(frame.loc[grouped, "subgroup"])) != 1:
        raise InputError(
            "judging subgroups needs the levels of one subgroup", fix='make the table with .by("age_band")'
        )
    candidates = grouped
    if frame.loc[grouped, "level"].duplicated().any():
        candidates = grouped & frame[["cohort", "time", "event_time"]].isna().all(axis=1)
    names = frame.loc[candidates, "level"]
    if candidates.sum() == 0 or names.duplicated().any():
        fix = 'aggregate to one effect per level: .aggregate("simple")'
        raise InputError(
            "there are several effects for one level", value=str(names.iloc[0]) if len(names) else None, fix=fix
        )
    apart = missing(frame["level"])
    usable = candidates & ~apart & frame["std_error"].notna()
    notes = [f"{name} is shown separately and is not judged" for name in frame.loc[candidates & apart, "level"]]
    without = candidates & ~apart & ~usable
    notes += [f"{name} has no standard error and is not judged" for name in frame.loc[without, "level"]]
    if usable.sum() < fewest:
        number = {1: "no level has", 2: "fewer than two levels have"}[fewest]
        raise DesignError(f"{number} an effect with a standard error" + "".join(f"\n  {n}" for n in notes))
    return np.flatnonzero(usable.to_numpy()), notes


@recorded
def verdicts(
    effects: EstimateTable,
    smallest_worthwhile: float,
    *,
    level: float = 0.95,
    power: float = 0.8,
    seed: int = 20260101,
) -> pd.DataFrame:
    """Return the ``levels`` of `heterogeneity`, with a column ``smallest_worthwhile``."""
    judged = heterogeneity(effects, smallest_worthwhile, level=level, power=power, seed=seed)
    return judged.levels.assign(smallest_worthwhile=judged.smallest_worthwhile)


@summarised
@dataclass(frozen=True)
class Levels:
    """The effects of the levels of a subgroup that can be judged together; made by `levels_to_judge`.

    Attributes
    ----------
    frame : DataFrame, k rows
        Of the effects.
    vcov : ndarray, shape (k, k)
        Their covariance, as if variances had been divided by n − 1 in each arm.
    df : ndarray, shape (k,)
        Degrees of freedom of Student's t.
    together : bool
        As in `retrain_eval.common.numerics.joint.draws_of_t`.
    """

    frame: pd.DataFrame
    vcov: Floats
    df: Floats
    together: bool


def levels_to_judge(effects: EstimateTable, fewest: int = 2) -> Levels:
    """Return the effects that can be judged: those of levels that are not missing and have a standard error.

    Parameters
    ----------
    effects : EffectTable
    fewest : int
        The number of levels without which there is nothing to judge.

    Raises
    ------
    InputError
        If the table has no subgroup, or several rows per level.
    DesignError
        If fewer levels have a standard error.
    """
    place, _ = _one_per_level(effects, fewest)
    frame = effects.frame.loc[place].reset_index(drop=True)
    small = small_sample_factor(frame, effects, place)
    vcov = effects.vcov[np.ix_(place, place)] * np.outer(small, small)
    return Levels(frame, vcov, degrees_of(effects, place), estimated_together(effects))


@recorded
def equal_effects(effects: EstimateTable) -> pd.DataFrame:
    """Return the Wald test that all levels have one effect, as `heterogeneity` does.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> rows = [{"subgroup": "age", "level": level, "estimate": b} for level, b in (("<55", 3.0), ("55+", 1.0))]
    >>> equal_effects(EffectTable.build(rows, np.diag([0.5, 0.5])))["statistic"].round(6).item()
    4.0
    """
    of = levels_to_judge(effects)
    return equality(of.frame["estimate"].to_numpy(), of.vcov, of.df, together=of.together)


def equality(estimate: Floats, vcov: Floats, df: Floats, *, together: bool = True) -> pd.DataFrame:
    """Return the test that all estimates are one, by `retrain_eval.common.numerics.joint.joint_test`, or no row."""
    k = len(estimate)
    contrast = np.hstack([-np.ones((k - 1, 1)), np.eye(k - 1)])
    return row_of_test(EQUAL, *joint_test(estimate, vcov, df, contrast, together=together))


def estimated_together(effects: EstimateTable) -> bool:
    """Whether degrees of freedom were given for the whole table, not counted in each level's clusters or people."""
    return effects.n_clusters is None and bool(np.isfinite(effects.df).any())


def _arms(frame: pd.DataFrame) -> tuple[Floats, Floats]:
    n_treated, n_control = (frame[name].to_numpy(dtype=float, na_value=np.nan) for name in ("n_treated", "n_control"))
    return n_treated, n_control


def degrees_of(effects: EstimateTable, place: Index) -> Floats:
    """Return the degrees of freedom of each level: the table's, else those of its people."""
    given = effects.df[place]
    return np.where(np.isfinite(given), given, arms_df(*_arms(effects.frame.loc[place])))


def small_sample_factor(frame: pd.DataFrame, effects: EstimateTable, place: Index) -> Floats:
    """Return what errors are multiplied by where variances were divided by n, and not by n − 1, in each arm."""
    return np.where(np.isinf(effects.df[place]), arms_factor(frame), 1.0)


def arms_factor(frame: pd.DataFrame) -> Floats:
    """Return what the error of a difference between arms is multiplied by, so that n − 1 is used; 1 if not counted."""
    n_treated, n_control = _arms(frame)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = (1 / n_treated + 1 / n_control) / ((1 - 1 / n_treated) / n_treated + (1 - 1 / n_control) / n_control)
    return np.sqrt(np.where(np.isfinite(factor), factor, 1.0))


def _differences(effects: EstimateTable, place: Index, level: float) -> EstimateTable:
    frame = effects.frame
    pairs = list(itertools.combinations(place, 2))
    matrix = np.zeros((len(pairs), len(frame)))
    records = frame.to_dict("records")
    rows: list[dict[str, object]] = []
    for i, (one, other) in enumerate(pairs):
        matrix[i, one], matrix[i, other] = -1.0, 1.0
        later, earlier = records[other], records[one]
        fewer = frame.loc[[one, other], ["n_treated", "n_control"]].min(skipna=False)
        rows.append(
            {
                **{name: later[name] for name in ("outcome", "estimator", "estimand", "subgroup")},
                "level": f"{later['level']} minus {earlier['level']}",
                "estimate": later["estimate"] - earlier["estimate"],
                "n_treated": fewer["n_treated"],
                "n_control": fewer["n_control"],
            }
        )
    used = np.ix_(place, place)
    vcov = matrix[:, place] @ effects.vcov[used] @ matrix[:, place].T
    meta = {**effects.meta, "contrast": "all pairs of levels"}
    return effects.build(rows, vcov, level=level, **effects.inference_of(matrix), meta=meta)
