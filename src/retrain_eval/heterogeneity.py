"""For whom it works: subgroup effects with joint inference, and a verdict on each.

Reads any EffectTable with one effect per level, whatever the estimator, and its covariance.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from retrain_eval.effects import EffectTable, simultaneous_critical_value, symmetric_root
from retrain_eval.errors import DesignError, InputError

Array = npt.NDArray[np.float64]

EFFECT, NONE, INCONCLUSIVE = "effect", "equivalent to none", "inconclusive"
_SINGULAR = 1e-10
_DRAWS = 100_000


@dataclass(frozen=True)
class Heterogeneity:
    """Effects by subgroup, judged together; made by `heterogeneity`.

    Attributes
    ----------
    levels : DataFrame
        One row per level: ``subgroup, level, estimate, std_error, ci_low, ci_high, p_value``, then ``p_holm`` and
        ``p_romano_wolf`` (adjusted for the number of levels), ``p_equivalence`` (TOST, adjusted by Holm), ``mde``
        (minimum detectable effect), ``n_treated, n_control, verdict, n_needed`` (treated people that would settle an
        inconclusive one; NA else).
    differences : EffectTable
        All pairs of levels, later minus earlier, by the joint covariance.
    equality : DataFrame
        One row: the Wald test that all levels have one effect; ``statistic, df, p_value``.
    smallest_worthwhile, level, power : float
        What the verdicts were made with.
    notes : tuple of str
        Levels that could not be judged, and why.
    """

    levels: pd.DataFrame
    differences: EffectTable
    equality: pd.DataFrame
    smallest_worthwhile: float
    level: float
    power: float
    notes: tuple[str, ...]


def heterogeneity(
    effects: EffectTable,
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
        Confidence level; verdicts err with probability ``1 − level`` over all levels together.
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
    Step-down adjustment of the largest t, drawn from the joint normal distribution of the estimates (Romano and Wolf
    2005, Algorithm 4.1; Holm 1979); two one-sided tests (Schuirmann 1987); the minimum detectable effect is
    ``(z_{1−α/2} + z_power) · se`` (Bloom 1995). ``n_needed`` is ``n_treated`` times the square of
    ``(c + z_power) se`` over the smallest worthwhile effect, c being the critical value for all levels at once: treated
    and controls would grow alike.

    Examples
    --------
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
    df = effects.meta.get("df")
    law = stats.norm() if df is None else stats.t(float(str(df)))
    estimate, error = frame["estimate"].to_numpy(), np.sqrt(np.diag(vcov))
    p_value = 2 * law.sf(np.abs(estimate) / error)
    # two one-sided tests: the larger p-value decides
    tost = np.maximum(
        law.sf((estimate + smallest_worthwhile) / error), law.cdf((estimate - smallest_worthwhile) / error)
    )
    alpha = 1 - level
    adjusted = romano_wolf(estimate, vcov, seed=seed)
    equivalence = holm(tost)
    verdict = np.where(equivalence < alpha, NONE, np.where(adjusted < alpha, EFFECT, INCONCLUSIVE))
    half = float(law.ppf(0.5 + level / 2))
    z_power = float(stats.norm.ppf(power))
    critical = simultaneous_critical_value(vcov, level=level, seed=seed)
    n_treated = frame["n_treated"].to_numpy(dtype=float, na_value=np.nan)
    needed = np.ceil(n_treated * ((critical + z_power) * error / smallest_worthwhile) ** 2)
    needed = np.where(verdict == INCONCLUSIVE, np.maximum(needed, n_treated + 1), np.nan)
    levels = pd.DataFrame(
        {
            **{name: frame[name] for name in ("subgroup", "level", "estimate")},
            "std_error": error,
            "ci_low": estimate - half * error,
            "ci_high": estimate + half * error,
            "p_value": p_value,
            "p_holm": holm(p_value),
            "p_romano_wolf": adjusted,
            "p_equivalence": equivalence,
            "mde": (half + z_power) * error,
            "n_treated": frame["n_treated"],
            "n_control": frame["n_control"],
            "verdict": verdict,
            "n_needed": pd.array([None if np.isnan(n) else int(n) for n in needed], dtype="Int64"),
        }
    )
    differences = _differences(frame, vcov, level, None if df is None else float(str(df)), effects)
    return Heterogeneity(
        levels, differences, equality(frame, vcov), float(smallest_worthwhile), level, power, tuple(notes)
    )


def _one_per_level(effects: EffectTable) -> tuple[npt.NDArray[np.intp], list[str]]:
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
    usable = candidates & frame["std_error"].notna()
    notes = [f"{name} has no standard error and is not judged" for name in frame.loc[candidates & ~usable, "level"]]
    if usable.sum() < 2:
        raise DesignError(
            "fewer than two levels have an effect with a standard error" + "".join(f"\n  {n}" for n in notes)
        )
    return np.flatnonzero(usable.to_numpy()), notes


def verdicts(
    effects: EffectTable,
    smallest_worthwhile: float,
    *,
    level: float = 0.95,
    power: float = 0.8,
    seed: int = 20260101,
) -> pd.DataFrame:
    """Return the ``levels`` of `heterogeneity`, with ``smallest_worthwhile`` beside them."""
    judged = heterogeneity(effects, smallest_worthwhile, level=level, power=power, seed=seed)
    return judged.levels.assign(smallest_worthwhile=judged.smallest_worthwhile)


def equal_effects(effects: EffectTable) -> pd.DataFrame:
    """Return the Wald test that all levels have one effect, as `heterogeneity` does.

    Examples
    --------
    >>> rows = [{"subgroup": "age", "level": level, "estimate": b} for level, b in (("<55", 3.0), ("55+", 1.0))]
    >>> equal_effects(EffectTable.build(rows, np.diag([0.5, 0.5])))["statistic"].round(6).item()
    4.0
    """
    place, _ = _one_per_level(effects)
    return equality(effects.frame.loc[place].reset_index(drop=True), effects.vcov[np.ix_(place, place)])


def holm(p_values: Array) -> Array:
    """Return p-values adjusted for their number by Holm's (1979) step-down method.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    out = np.empty(len(p_values))
    out[order] = np.minimum(steps, 1)
    return out


def romano_wolf(estimate: Array, vcov: Array, *, draws: int = _DRAWS, seed: int = 20260101) -> Array:
    """Return step-down adjusted p-values of max |t|, drawn from N(0, vcov) (Romano and Wolf 2005, Algorithm 4.1).

    Parameters
    ----------
    estimate : ndarray, shape (k,)
    vcov : ndarray, shape (k, k)
    draws, seed : int
        Size and seed of the sample; the standard error of a p-value near .05 is .0007.

    Examples
    --------
    >>> bool((romano_wolf(np.array([3.0, 0.1]), np.eye(2)) >= 2 * stats.norm.sf([3.0, 0.1])).all())
    True
    """
    error = np.sqrt(np.diag(vcov))
    t = np.abs(estimate) / error
    order = np.argsort(-t, kind="stable")
    root = symmetric_root(vcov / np.outer(error, error))
    generator = np.random.default_rng(seed)
    exceed = np.zeros(len(t))
    for part in np.array_split(np.arange(draws), -(-draws // 10_000)):
        drawn = np.abs(generator.standard_normal((len(part), len(t))) @ root.T)[:, order]
        # the largest of the hypotheses not yet rejected, for each step
        largest = np.maximum.accumulate(drawn[:, ::-1], axis=1)[:, ::-1]
        exceed += (largest >= t[order]).sum(axis=0)
    out = np.empty(len(t))
    out[order] = np.maximum.accumulate((1 + exceed) / (1 + draws))
    # never below the p-value of the single test, which the draws may miss in the far tail
    return np.maximum(out, 2 * stats.norm.sf(t))


def equality(frame: pd.DataFrame, vcov: Array) -> pd.DataFrame:
    """Return the Wald test that all rows have one effect."""
    k = len(frame)
    contrast = np.hstack([-np.ones((k - 1, 1)), np.eye(k - 1)])
    gap, spread = contrast @ frame["estimate"].to_numpy(), contrast @ vcov @ contrast.T
    df = int(np.linalg.matrix_rank(spread, rtol=_SINGULAR, hermitian=True))
    statistic = float(gap @ np.linalg.pinv(spread, rcond=_SINGULAR, hermitian=True) @ gap)
    row = {"test": "equal effects", "statistic": statistic, "df": df, "p_value": float(stats.chi2.sf(statistic, df))}
    return pd.DataFrame([row])


def _differences(frame: pd.DataFrame, vcov: Array, level: float, df: float | None, effects: EffectTable) -> EffectTable:
    pairs = list(itertools.combinations(range(len(frame)), 2))
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
    meta = {**effects.meta, "contrast": "all pairs of levels"}
    return EffectTable.build(rows, matrix @ vcov @ matrix.T, level=level, df=df, meta=meta)
