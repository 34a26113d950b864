"""Groups that a plan names: whether training has an effect there that matters, adjusted for the number of groups.

The groups overlap (a person can be over 55 and long-term unemployed), and each has an estimate from a table of its own,
so that p-values are adjusted by Holm, which holds whatever their dependence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.numerics.joint import holm, t_quantile, t_upper
from retrain_eval.estimators.effects.cells import INCONCLUSIVE, NONE, SOME, WORTHWHILE, equivalence_p
from retrain_eval.estimators.effects.estimates import EstimateTable
from retrain_eval.estimators.effects.heterogeneity import levels_to_judge
from retrain_eval.tables.recipe import recorded

P_VALUES = ("p_effect", "p_worthwhile", "p_equivalence")
ALPHA = 0.05


@recorded
def judged_groups(
    effects: EstimateTable, levels: Sequence[str], smallest_worthwhile: float, family: int
) -> pd.DataFrame:
    """Test whether the effect in groups is equivalent to none, with p-values not yet adjusted for their number.

    Parameters
    ----------
    effects : EffectTable
        One row per level.
    levels : sequence of str
        The levels that are groups of the plan.
    smallest_worthwhile : float
        The smallest effect, in the outcome's unit, that would matter to anyone.
    family : int
        The number of groups that the plan names, these among them.

    Returns
    -------
    DataFrame
        One row per group: ``subgroup, level, smallest_worthwhile, family, estimate, std_error``; ``ci_low, ci_high`` at
        90%, which lie within ± the smallest worthwhile effect where two one-sided tests at 5% say so;
        ``p_effect`` of no effect, ``p_worthwhile`` of one no larger than the smallest worthwhile one, ``p_equivalence``
        of one at least as large in size; ``p_holm, verdict`` as `adjust_groups` fills them, here with each p-value
        times the number of groups; ``n_treated, n_control, n_needed``, as in
        `retrain_eval.estimators.effects.cells.cell_verdicts`.

    Raises
    ------
    InputError
        If the smallest worthwhile effect is not above zero.
    DesignError
        If no group has an effect with a standard error.

    Notes
    -----
    Two one-sided tests (Schuirmann 1987), and their equivalence with a 90% interval (Westlake 1981).

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> rows = [{"subgroup": "age", "level": "55+", "estimate": 10.0, "n_treated": 400, "n_control": 400}]
    >>> found = judged_groups(EffectTable.build(rows, np.array([[900.0]])), ["55+"], 100.0, family=3)
    >>> found[["p_equivalence", "verdict"]].round(4).values.tolist()
    [[0.0014, 'equivalent to none']]
    """
    if not np.isfinite(smallest_worthwhile) or smallest_worthwhile <= 0:
        raise InputError("the smallest worthwhile effect is above zero", value=smallest_worthwhile)
    of, worth = levels_to_judge(effects, 1), float(smallest_worthwhile)
    wanted = of.frame["level"].isin(list(levels)).to_numpy(dtype=bool)
    if not wanted.any():
        raise DesignError(
            f"there are too few people for an effect in {' or '.join(levels)}",
            public=f"there are too few people for an effect in {' or '.join(levels)}",
        )
    frame, df, error = of.frame[wanted].reset_index(drop=True), of.df[wanted], np.sqrt(np.diag(of.vcov))[wanted]
    estimate, half = frame["estimate"].to_numpy(), t_quantile(df, 1 - ALPHA) * error
    needed = np.ceil(frame["n_treated"].to_numpy(dtype=float) * (t_quantile(df, 1 - ALPHA / 2) * error / worth) ** 2)
    rows = pd.DataFrame(
        {
            "subgroup": frame["subgroup"],
            "level": frame["level"],
            "smallest_worthwhile": worth,
            "family": family,
            "estimate": estimate,
            "std_error": error,
            "ci_low": estimate - half,
            "ci_high": estimate + half,
            "p_effect": 2 * t_upper(df, np.abs(estimate) / error),
            "p_worthwhile": np.minimum(2 * t_upper(df, (estimate - worth) / error), 1.0),
            "p_equivalence": equivalence_p(estimate, error, df, worth),
            "n_treated": frame["n_treated"],
            "n_control": frame["n_control"],
            "n_needed": pd.array([int(n) if np.isfinite(n) else None for n in needed], dtype="Int64"),
        }
    )
    return _judged(rows, {name: np.minimum(rows[name].to_numpy() * family, 1.0) for name in P_VALUES})


def adjust_groups(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the groups with ``p_holm`` of equivalence and verdicts by Holm (1979) over the family of the plan.

    A group of the plan that has no row, because it is withheld, counts as one with the largest p-value.

    Parameters
    ----------
    rows : DataFrame
        As `judged_groups` returns them, of all groups.

    Examples
    --------
    >>> rows = pd.DataFrame({"family": 3, "p_effect": [.5, .001], "p_worthwhile": [1.0, .9], "p_equivalence": [.02, .4],
    ...                      "n_treated": 100, "n_needed": 50})
    >>> adjust_groups(rows)[["p_holm", "verdict"]].values.tolist()
    [[0.06, 'inconclusive'], [0.8, 'some effect']]
    """
    if rows.empty:
        return rows
    absent = np.ones(max(int(rows["family"].max()) - len(rows), 0))
    together = {name: holm(np.concatenate([rows[name].to_numpy(float), absent]))[: len(rows)] for name in P_VALUES}
    return _judged(rows, together)


def _judged(rows: pd.DataFrame, adjusted: dict[str, np.ndarray]) -> pd.DataFrame:
    effect, above, within = (adjusted[name] < ALPHA for name in P_VALUES)
    verdict = np.select([above, within, effect], [WORTHWHILE, NONE, SOME], INCONCLUSIVE)
    n, needed = (rows[name].to_numpy(dtype=float, na_value=np.nan) for name in ("n_treated", "n_needed"))
    more = (verdict == INCONCLUSIVE) & (needed > n)
    found = rows.assign(p_holm=adjusted["p_equivalence"], verdict=verdict)
    found["n_needed"] = pd.array([int(k) if keep else None for k, keep in zip(needed, more, strict=True)], "Int64")
    return found
