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
# what was paid, with the price index of its period and of the base period: no record may be lost for want of one
PRICED = "cost LEFT JOIN prices USING (period) LEFT JOIN base_price ON true"
UNPRICED = "count(*) FILTER (cpi IS NULL OR base IS NULL)"
SUM = f"sum(CAST(amount AS DOUBLE) / cpi * base) AS amount, {UNPRICED} AS unpriced"


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
        """The sum of costs, and how many records have no price index."""
        return f"SELECT {SUM} FROM {PRICED}"


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
        If the price index of a period is not known, no cost is recorded, or no one entered.
    """
    [(amount, unpriced)] = CostSteps(base_of(con, study)).relation("total", con).fetchall()
    check_priced(unpriced)
    people, keys = people_entered(con, keyed)
    if amount is None or not people:
        raise DesignError("no records of cost say what training cost" if people else "no one entered a programme")
    return Costs(float(amount), people, keys)


def check_priced(unpriced: int) -> None:
    """Refuse costs of which some cannot be put into prices of the base period.

    Parameters
    ----------
    unpriced : int
        How many records.

    Raises
    ------
    DesignError
    """
    if unpriced:
        raise DesignError(
            f"{unpriced} records of cost are of periods without a price index, or the base period has none",
            public="records of cost are of periods without a price index",
        )


def base_of(con: duckdb.DuckDBPyConnection, study: StudyFile) -> int | None:
    """Return the period in whose prices costs are, as earnings are; None if they are as they were paid."""
    if not loaded(con, "price"):
        return None
    given: int | None = study.panel_options()["base_period"]
    if given is None:  # the last one, as in `build_panel`
        [(given,)] = con.sql("SELECT max(period) FROM price").fetchall()
    return given


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
