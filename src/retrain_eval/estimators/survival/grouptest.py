"""What a test of equality between groups reports, whichever test it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.joint import row_of_test
from retrain_eval.common.numerics.linear_algebra import inverse_and_rank
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.survival.clustering import robust_test
from retrain_eval.estimators.survival.risk import group_name
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.recipe import recorded
from retrain_eval.tables.statistics import Scores


@summarised
@dataclass(frozen=True)
class GroupTest:
    """A test that all groups are alike.

    Attributes
    ----------
    test : str
        Its name, with the weights of durations and the strata.
    chi2, df, p_value : float, int, float
        The statistic, its degrees of freedom and the upper tail probability.
    df_denominator : float
        Of the F distribution, where clusters are few; infinite: χ².
    groups : DataFrame
        ``level``, ``n`` (spells), ``observed`` and ``expected`` (ends, under equality, in the test's weights).
    variance : str
        What the test takes spells to be.
    """

    test: str
    chi2: float
    df: int
    p_value: float
    groups: pd.DataFrame
    variance: str
    df_denominator: float = np.inf

    @classmethod
    def build(
        cls,
        test: str,
        groups: pd.DataFrame,
        kept: Ints,
        spread: Floats,
        variance: str,
        *,
        clusters: int | None = None,
    ) -> GroupTest:
        """Return the test from the deviations, observed minus expected, and their covariance.

        Parameters
        ----------
        kept : int ndarray
            Rows of ``groups`` that take part. Their deviations add up to zero, so the last says nothing new.
        spread : ndarray, shape (G, G)
            Covariance of the deviations.
        clusters : int, optional
            Clusters behind it. Of fewer than 50 the test is Hotelling's F:
            `retrain_eval.estimators.survival.clustering`.

        Raises
        ------
        DesignError
            If they cannot deviate, or there are too few clusters for so many groups.
        """
        deviation = (groups["observed"] - groups["expected"]).to_numpy()[kept]
        chi2, df = _wald(deviation, spread[np.ix_(kept, kept)])
        if df == 0:
            raise DesignError(
                f"nothing to compare: {groups['observed'].sum():g} event(s) in {len(groups)} group(s), and never two "
                "groups at risk when some but not all end",
                public="nothing to compare: never are two groups at risk when some people end, but not all",
            )
        denominator, p_value = _robust(chi2, df, clusters)
        return cls(test, chi2, df, p_value, groups, variance, denominator)

    def to_frame(self) -> pd.DataFrame:
        """Return one row: ``test, statistic, df, df_denominator`` (NaN: χ²), ``p_value``."""
        return row_of_test(self.test, self.chi2, self.df, self.df_denominator, self.p_value)


@recorded
def score_test(scores: Scores) -> pd.DataFrame:
    """Return the test that scores give, as one row, columns as `GroupTest.to_frame`.

    Raises
    ------
    DesignError
        If they cannot deviate.

    Examples
    --------
    >>> from retrain_eval.tables.statistics import Scores
    >>> d = np.array([3.0, -3.0])
    >>> scores = Scores("log-rank", ("a", "b"), np.array([20, 20]), d, np.array([[2.25, -2.25], [-2.25, 2.25]]))
    >>> score_test(scores).loc[0, ["statistic", "df"]].tolist()
    [4.0, 1.0]
    """
    chi2, df = _wald(scores.deviation, scores.covariance)
    if df == 0:
        raise DesignError("nothing to compare: the groups cannot deviate")
    return row_of_test(scores.test, chi2, df, *_robust(chi2, df, scores.clusters or None))


def _robust(chi2: float, df: int, clusters: int | None) -> tuple[float, float]:
    denominator, p_value = robust_test(chi2, df, clusters, at_null=True)
    if np.isnan(p_value):
        raise DesignError(
            f"{clusters} cluster(s) are too few to compare {df + 1} groups",
            public="there are too few clusters to compare the groups",
        )
    return denominator, p_value


def _wald(deviation: Floats, covariance: Floats) -> tuple[float, int]:
    """Return the statistic of deviations that add up to zero, so that the last says nothing new, and its rank."""
    inverse, rank = inverse_and_rank(covariance[:-1, :-1], 1e-10)
    return float(deviation[:-1] @ inverse @ deviation[:-1]), rank


def group_frame(
    table: LifeTable, levels: Sequence[tuple[str, ...]], group: Ints, observed: Floats, expected: Floats
) -> pd.DataFrame:
    """Return the frame of a `GroupTest`; ``group`` is each cell's place in ``levels``."""
    n = np.bincount(group, weights=table.cells["n"].to_numpy(), minlength=len(levels)).astype(np.int64)
    whole = bool((observed == np.round(observed)).all())
    return pd.DataFrame(
        {
            "level": pd.Series([group_name(level) for level in levels], dtype="str"),
            "n": n,
            "observed": observed.astype(np.int64) if whole else observed,
            "expected": expected,
        }
    )
