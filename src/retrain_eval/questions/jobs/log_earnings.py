"""Log earnings of the employed, before the start and at the end of follow-up, and their distribution by bands.

Someone is employed in a window of periods if they earn something in one of them; their log earnings there are the mean
over the periods in which they do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from retrain_eval.common.errors import DesignError
from retrain_eval.common.shown import summarised
from retrain_eval.common.sources import query, sql_name
from retrain_eval.estimators.inference.lee_bounds import UNIT
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.outcome_moments import outcome_moments
from retrain_eval.plan.questions import WagePath
from retrain_eval.questions.cohort import START, Cohort
from retrain_eval.tables.moments.edges import MARK
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys

NO_ONE = "in one of the groups no one is employed both before the start and at the end"
EARNINGS, CHANGE = "earnings", "log_earnings"
AFTER = START  # the time of the table of changes


@summarised
@dataclass(frozen=True)
class LogEarnings:
    """The people compared, with their log earnings in two windows: all periods before the start, and the last ones.

    Attributes
    ----------
    people : DuckDBPyRelation
        ``match_id, weight, subclass, cohort``, keys, ``log_before`` and ``log_after``, which are missing of those who
        are not employed. People whose earnings are unknown in some period are left out, as in an event study.
    cluster : str or None
    """

    people: duckdb.DuckDBPyRelation
    cluster: str | None

    def changes(self) -> OutcomeMoments:
        """Return moments of the change in log earnings of people employed in both windows, at the time `AFTER`.

        Noise that is a factor of each amount cancels in a change of logs, so that the change itself is the amount which
        carries the noise.
        """
        working = "log_before IS NOT NULL AND log_after IS NOT NULL"
        if not query(self.people, f"FROM source WHERE {working} LIMIT 1").fetchall():
            raise DesignError(NO_ONE)
        rows = query(
            self.people,
            f"""
            SELECT * EXCLUDE (log_before, log_after), {AFTER} AS clock, log_after - log_before AS {CHANGE}
            FROM source WHERE {working}
            """,
        )
        return self._moments(rows, "clock", CHANGE, "amount")

    def bands(self, options: WagePath) -> OutcomeMoments:
        """Return moments of whether people are employed and earn at most each edge of the bands, as 0 or 1.

        A release leaves out edges between which are few people.
        """
        edges = band_edges(options)
        listed = ", ".join(str(edge / UNIT) for edge in edges)
        rows = query(
            self.people,
            f"""
            SELECT * EXCLUDE (log_before, log_after),
              CAST(list_transform([{listed}], lambda edge: CASE WHEN log_after IS NOT NULL AND
                least(log_after, {edges[-1] / UNIT}) <= edge THEN 1.0 ELSE 0.0 END) AS DOUBLE[{len(edges)}])
              AS employed_to
            FROM source
            """,
        )
        moments = self._moments(rows, edges, "employed_to", "binary")
        moments.mark(MARK)
        return moments

    def _moments(
        self, rows: duckdb.DuckDBPyRelation, time: str | Sequence[int], outcome: str, kind: str
    ) -> OutcomeMoments:
        return outcome_moments(
            rows,
            unit="match_id",
            time=time,
            cohort="cohort",
            outcome=outcome,
            weights="weight",
            cluster=self.cluster,
            kind=kind,
        )


def band_edges(options: WagePath) -> tuple[int, ...]:
    """Return the edges of the bands of log earnings in thousandths: multiples of the width, whoever is in the study.

    Examples
    --------
    >>> edges = band_edges(WagePath(lowest=100.0, highest=50_000.0))
    >>> edges[:2], edges[-2:], len(edges)
    ((4600, 4700), (10800, 10900), 64)
    """
    step = round(options.width * UNIT)
    first, last = (math.log(amount) * UNIT / step for amount in (options.lowest, options.highest))
    return tuple(step * k for k in range(math.floor(first), math.ceil(last) + 1))


def log_earnings(cohort: Cohort, options: WagePath) -> LogEarnings:
    """Return the people compared with their log earnings.

    Raises
    ------
    DesignError
        If the records give no earnings, or no one is compared.
    """
    group = cohort.group(cohort.spec())
    if EARNINGS not in group.rows.columns:
        raise DesignError("the records give no earnings")
    rows = cohort.keyed(group.rows)
    periods = cohort.design.before + 1 + cohort.design.after
    after = START + cohort.design.after - options.compared(cohort.study.study.frequency, cohort.design.after)
    key = f", any_value({PERSON_KEY}) AS {PERSON_KEY}" if has_keys(rows) else ""
    cluster = f", any_value({sql_name(group.cluster)}) AS {sql_name(group.cluster)}" if group.cluster else ""

    def mean(when: str) -> str:  # a list in order, so that sums are the same in any number of threads
        log = f"ln({cohort.capped(EARNINGS)}) ORDER BY clock"
        return f"list_avg(list({log}) FILTER ({EARNINGS} > 0 AND {when}))"

    people = query(
        rows,
        f"""
        SELECT match_id, any_value(weight) AS weight, any_value(cohort) AS cohort{cluster}{key},
          {mean(f"clock < {START}")} AS log_before, {mean(f"clock > {after}")} AS log_after
        FROM source WHERE weight > 0 GROUP BY match_id HAVING count({EARNINGS}) = {periods}
        """,
    )
    name = cohort.kept("log_earnings", people)
    return LogEarnings(cohort.con.sql(f"FROM {name}"), group.cluster)
