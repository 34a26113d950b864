"""Effects in many small cells, such as age × education: a verdict on each, and tests of how strata act together.

`retrain_eval.estimators.effects.heterogeneity` judges the levels of one stratum. With many cells the question is
whether an effect is worthwhile, and how many people would be needed for an answer.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.linalg import null_space

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import InputError
from retrain_eval.common.numerics.joint import TEST_COLUMNS, holm, joint_test, row_of_test, t_quantile, t_upper
from retrain_eval.estimators.effects.estimates import EstimateTable
from retrain_eval.estimators.effects.heterogeneity import Levels, levels_to_judge
from retrain_eval.tables.recipe import recorded

WORTHWHILE, SOME, NONE, INCONCLUSIVE = "worthwhile", "some effect", "equivalent to none", "inconclusive"
BETWEEN = " × "
NO_INTERACTION, NO_DIFFERENCE = "no interaction", "no difference by "


@recorded
def cell_verdicts(effects: EstimateTable, smallest_worthwhile: float, *, level: float = 0.95) -> pd.DataFrame:
    """Judge the effect in each cell, adjusted for the number of cells.

    Parameters
    ----------
    effects : EffectTable
        One row per cell.
    smallest_worthwhile : float
        The smallest effect, in the outcome's unit, that would matter to anyone.
    level : float
        Confidence level.

    Returns
    -------
    DataFrame
        One row per cell: ``subgroup, level, smallest_worthwhile``; ``p_holm`` of no effect, ``p_worthwhile`` of an
        effect that is no larger than the smallest worthwhile one, and ``p_equivalence`` of one that is at least as
        large in size, each adjusted by Holm over the cells; ``n_treated, n_control, verdict, n_needed``. The verdict is
        "worthwhile" if the effect is significantly above the smallest worthwhile one; "equivalent to none" if it is
        significantly within ± that; "some effect" if it is significantly not zero, in either direction; and else
        "inconclusive". ``n_needed``, of an inconclusive cell, is the number of treated at which the half-width of its
        interval would reach the smallest worthwhile effect, treated and controls growing alike; NA where it does
        already.

    Raises
    ------
    InputError
        If the smallest worthwhile effect is not above zero, or the table has no subgroup, or several rows per cell.
    DesignError
        If fewer than two cells have a standard error.

    Notes
    -----
    Holm (1979); two one-sided tests (Schuirmann 1987). ``p_worthwhile`` is twice the one-sided p-value, so that a cell
    is worthwhile where the lower end of its adjusted two-sided interval is. With half-width ``h = c · se``, the number
    needed is ``n · (h / smallest_worthwhile)²``. Degrees of freedom are those of `heterogeneity`.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> rows = [{"subgroup": "age × sex", "level": f"{age} × {sex}", "estimate": b, "n_treated": 100}
    ...         for age, sex, b in (("<55", "f", 5.0), ("<55", "m", 1.5), ("55+", "f", 0.0), ("55+", "m", 0.5))]
    >>> found = cell_verdicts(EffectTable.build(rows, np.diag([0.25, 0.25, 0.04, 0.64])), smallest_worthwhile=1.0)
    >>> found["verdict"].tolist(), found["n_needed"].tolist()
    (['worthwhile', 'some effect', 'equivalent to none', 'inconclusive'], [<NA>, <NA>, <NA>, 246])
    """
    if not np.isfinite(smallest_worthwhile) or smallest_worthwhile <= 0:
        raise InputError("the smallest worthwhile effect is above zero", value=smallest_worthwhile)
    if not 0 < level < 1:
        raise InputError("level lies between 0 and 1", column="level", value=level)
    of = levels_to_judge(effects)
    estimate, error, worth = of.frame["estimate"].to_numpy(), np.sqrt(np.diag(of.vcov)), float(smallest_worthwhile)
    none = holm(2 * t_upper(of.df, np.abs(estimate) / error))
    above = holm(np.minimum(2 * t_upper(of.df, (estimate - worth) / error), 1.0))
    within = holm(equivalence_p(estimate, error, of.df, worth))
    alpha = 1 - level
    verdict = np.select([above < alpha, within < alpha, none < alpha], [WORTHWHILE, NONE, SOME], INCONCLUSIVE)
    n_treated = of.frame["n_treated"].to_numpy(dtype=float, na_value=np.nan)
    needed = np.ceil(n_treated * (t_quantile(of.df, 0.5 + level / 2) * error / worth) ** 2)
    needed = np.where((verdict == INCONCLUSIVE) & (needed > n_treated), needed, np.nan)
    return pd.DataFrame(
        {
            **{name: of.frame[name] for name in ("subgroup", "level")},
            "smallest_worthwhile": worth,
            "p_holm": none,
            "p_worthwhile": above,
            "p_equivalence": within,
            "n_treated": of.frame["n_treated"],
            "n_control": of.frame["n_control"],
            "verdict": verdict,
            "n_needed": pd.array([None if np.isnan(n) else int(n) for n in needed], dtype="Int64"),
        }
    )


def equivalence_p(estimate: Floats, error: Floats, df: Floats, smallest_worthwhile: float) -> Floats:
    """Return the p-values of two one-sided tests: the larger one decides.

    Examples
    --------
    >>> equivalence_p(np.array([0.0]), np.array([0.5]), np.array([np.inf]), 1.0).round(4).tolist()
    [0.0228]
    """
    low, high = (estimate + smallest_worthwhile) / error, (smallest_worthwhile - estimate) / error
    return np.maximum(t_upper(df, low), t_upper(df, high))


@recorded
def interactions(effects: EstimateTable) -> pd.DataFrame:
    """Test how the strata of cells act together.

    Parameters
    ----------
    effects : EffectTable
        One row per cell of two or more strata.

    Returns
    -------
    DataFrame
        ``test, statistic, df, df_denominator, p_value``: that strata do not interact, so that the effect in a cell is a
        sum of a term for each of its levels; and for each stratum, that the effect does not differ by it where the
        levels of the others are the same. A test for which cells are too few has no row.

    Raises
    ------
    InputError
        If levels are not combinations of as many parts as there are strata.
    DesignError
        If fewer than two cells have a standard error.

    Notes
    -----
    Wald tests by `retrain_eval.common.numerics.joint.joint_test`. With X the 0/1 columns of a hypothesis over the cells
    that are there, the contrasts are an orthonormal basis of the vectors orthogonal to X.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> rows = [{"subgroup": "age × sex", "level": f"{age} × {sex}", "estimate": b}
    ...         for age, sex, b in (("<55", "f", 3.0), ("<55", "m", 1.0), ("55+", "f", 1.0), ("55+", "m", 1.0))]
    >>> found = interactions(EffectTable.build(rows, np.diag([0.25] * 4)))
    >>> found[["test", "statistic", "df"]].round(6).values.tolist()
    [['no interaction', 4.0, 1], ['no difference by age', 8.0, 2], ['no difference by sex', 8.0, 2]]
    """
    of = levels_to_judge(effects)
    names, parts = str(of.frame["subgroup"].iloc[0]).split(BETWEEN), parts_of(of.frame)
    terms = [[f"{place} {level}" for level in column] for place, column in enumerate(zip(*parts, strict=True))]
    found = [_test(NO_INTERACTION, of, _columns(*terms))]
    for place, name in enumerate(names):
        others = [tuple(part[:place] + part[place + 1 :]) for part in parts]
        found.append(_test(NO_DIFFERENCE + name, of, _columns(list(map(str, others)))))
    rows = [row for row in found if len(row)]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=list(TEST_COLUMNS))


def parts_of(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return the levels of each cell, one for each stratum.

    Raises
    ------
    InputError
        If there are not as many in each cell as there are strata, at least two.
    """
    names = str(frame["subgroup"].iloc[0]).split(BETWEEN)
    parts = [tuple(str(level).split(BETWEEN)) for level in frame["level"]]
    if len(names) < 2 or any(len(part) != len(names) for part in parts):
        raise InputError(
            "these are no cells of several strata",
            column="level",
            value=str(frame["level"].iloc[0]),
            rule=f"names of levels do not contain {BETWEEN.strip()!r}",
            fix='estimate with .by("age_band", "education_level")',
        )
    return parts


def _columns(*terms: list[str]) -> Floats:
    """Return a 0/1 column for each value of each term, shape (cells, values)."""
    return np.hstack([(np.array(term)[:, None] == np.unique(term)[None, :]).astype(float) for term in terms])


def _test(test: str, of: Levels, columns: Floats) -> pd.DataFrame:
    """Test that effects are a combination of columns."""
    contrast = null_space(columns.T).T
    if not len(contrast):
        return pd.DataFrame(columns=list(TEST_COLUMNS))
    estimate = of.frame["estimate"].to_numpy()
    return row_of_test(test, *joint_test(estimate, of.vcov, of.df, contrast, together=of.together))
