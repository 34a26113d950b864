"""What training cost, as an additive table: so that payback follows from the bundle alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import numpy as np

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sources import query
from retrain_eval.common.sql import loaded
from retrain_eval.common.sql_steps import Pipeline, step
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.sample.record_flow import people_left_out
from retrain_eval.tables.noise.cell_keys import Keys
from retrain_eval.tables.noise.person_keys import has_keys
from retrain_eval.tables.noise.sums import key_sum_sql
from retrain_eval.tables.statistics import Costs

Keyed = Callable[[duckdb.DuckDBPyRelation], duckdb.DuckDBPyRelation]
COST = "statistics/cost"


@dataclass(frozen=True)
class CostSteps(Pipeline):
    """The sum of all costs in prices of the base period, over all programmes.

    Attributes
    ----------
    base : int or None
        The base period; None leaves amounts as they are.
    """

    base: int | None

    @step
    def prices(self) -> str:
        """A period: its price index, the mean over regions; none where amounts are not deflated."""
        if self.base is None:
            return "SELECT DISTINCT period, 1.0 AS cpi FROM cost"
        return "SELECT period, avg(cpi) AS cpi FROM price GROUP BY period"

    @step
    def base_price(self) -> str:
        """The price index of the base period."""
        return (
            f"SELECT cpi AS base FROM prices WHERE period = {self.base}"
            if self.base is not None
            else "SELECT 1.0 AS base"
        )

    @step
    def total(self) -> str:
        """The sum of costs."""
        return """
            SELECT sum(CAST(amount AS DOUBLE) / cpi * base) AS amount
            FROM cost JOIN prices USING (period) CROSS JOIN base_price"""


def cost_of_training(con: duckdb.DuckDBPyConnection, study: StudyFile, keyed: Keyed) -> Costs:
    """Return the sum of costs and the people who entered, also those whose rows were refused: theirs was paid as well.

    Parameters
    ----------
    con : DuckDBPyConnection
    study : StudyFile
    keyed : callable
        Gives rows the keys of their people, or returns them as they are.

    Raises
    ------
    DesignError
        If no cost can be put into prices of the base period, or no one entered.
    """
    [(amount,)] = CostSteps(base_of(con, study)).relation("total", con).fetchall()
    people, keys = people_entered(con, keyed)
    if amount is None or not people:
        raise DesignError("no cost of training is known in prices of the base period")
    return Costs(float(amount), people, keys)


def base_of(con: duckdb.DuckDBPyConnection, study: StudyFile) -> int | None:
    """Return the period in whose prices costs are; None if they are as they were paid."""
    return study.panel_options()["base_period"] if loaded(con, "price") else None


def people_entered(con: duckdb.DuckDBPyConnection, keyed: Keyed) -> tuple[int, Keys | None]:
    """Return how many people entered, those whose rows were refused included, and their cell key if they have keys."""
    entered = [con.sql("SELECT DISTINCT person_id FROM enrolment")]
    if len(people_left_out(con)):
        entered.append(con.table("left_out").filter("enrolled").project("person_id"))
    people, keys = 0, np.zeros(1, dtype=np.uint64)
    for rows in map(keyed, entered):
        key = key_sum_sql() if has_keys(rows) else "0"
        [(n, total)] = query(rows, f"SELECT count(*), {key} FROM source").fetchall()
        people, keys = people + n, keys + np.array([total], dtype=np.uint64)
    return people, keys if has_keys(keyed(entered[0])) else None
