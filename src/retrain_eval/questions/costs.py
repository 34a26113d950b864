"""What training cost, as an additive table: so that payback follows from the bundle alone."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sql import loaded
from retrain_eval.common.sql_steps import Pipeline, step
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.sample.record_flow import people_left_out
from retrain_eval.tables.statistics import Costs

COST = "statistics/cost"


@dataclass(frozen=True)
class CostSteps(Pipeline):
    """The sum of all costs in prices of the base period, and the people who entered.

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
        return f"SELECT cpi AS base FROM prices WHERE period = {self.base}" if self.base is not None else "SELECT 1.0 AS base"

    @step
    def total(self) -> str:
        """The sum of costs, and the number of people who entered any programme."""
        return """
            SELECT sum(CAST(amount AS DOUBLE) / cpi * base) AS amount,
              (SELECT count(DISTINCT person_id) FROM enrolment) AS people
            FROM cost JOIN prices USING (period) CROSS JOIN base_price"""


def cost_of_training(con: duckdb.DuckDBPyConnection, study: StudyFile) -> Costs:
    """Return the sum of costs and the people who entered, also those whose rows were refused: theirs was paid as well.

    Raises
    ------
    DesignError
        If no cost can be put into prices of the base period, or no one entered.
    """
    base = study.panel_options()["base_period"] if loaded(con, "price") else None
    [(amount, people)] = CostSteps(base).relation("total", con).fetchall()
    left = people_left_out(con)
    people += int(left.loc[left["group"] == "treated", "n"].sum())
    if amount is None or not people:
        raise DesignError("no cost of training is known in prices of the base period")
    return Costs(float(amount), people)
