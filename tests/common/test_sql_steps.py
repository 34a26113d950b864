"""SQL in named steps: what is printed is what runs, and each step can be run alone."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import pytest

from retrain_eval.common.errors import InputError
from retrain_eval.common.sql import no_rows, optional, select
from retrain_eval.common.sql_steps import Pipeline, intermediate, recursive, step, table, temporary


@dataclass(frozen=True)
class Chains(Pipeline):
    """Numbers up to a limit, each with its double."""

    limit: int

    @recursive
    def numbers(self) -> str:
        """A number."""
        return f"SELECT 1 AS i UNION ALL SELECT i + 1 FROM numbers WHERE i < {self.limit}"

    @intermediate
    def _doubled(self) -> str:
        """
        A number and its double.

        No number is left out.
        """
        return "SELECT i, 2 * i AS double FROM numbers"

    @step
    def large(self) -> str:
        """A number whose double is above 3."""
        return "FROM _doubled WHERE double > 3"

    @temporary
    def _kept(self) -> str:
        """The same, for others to read."""
        return "FROM large"

    @table
    def chains(self) -> str:
        """The same, in order."""
        return "FROM _kept ORDER BY i"


PRINTED = """\
CREATE OR REPLACE TEMP TABLE _doubled AS
WITH RECURSIVE
-- A number.
numbers AS (
  SELECT 1 AS i UNION ALL SELECT i + 1 FROM numbers WHERE i < 3
)
-- A number and its double.
--
-- No number is left out.
SELECT i, 2 * i AS double FROM numbers;

CREATE OR REPLACE TEMP TABLE _kept AS
WITH
-- A number whose double is above 3.
large AS (
  FROM _doubled WHERE double > 3
)
-- The same, for others to read.
FROM large;

CREATE OR REPLACE TABLE chains AS
-- The same, in order.
FROM _kept ORDER BY i"""


def test_a_pipeline_prints_the_statements_that_it_runs_with_the_rule_of_each_step() -> None:
    assert str(Chains(3)) == PRINTED
    con = duckdb.connect()
    con.execute(str(Chains(3)))
    assert con.table("chains").fetchall() == [(2, 4), (3, 6)]


def test_build_makes_the_tables_and_drops_the_scratch() -> None:
    con = duckdb.connect()
    Chains(3).build(con)
    Chains(3).build(con)  # again, over what is there
    assert con.table("chains").fetchall() == [(2, 4), (3, 6)]
    tables = con.execute("SELECT table_name, temporary FROM duckdb_tables() ORDER BY ALL").fetchall()
    assert tables == [("_kept", True), ("chains", False)]


def test_a_step_is_one_select_with_every_step_before_it() -> None:
    con = duckdb.connect()
    assert Chains(2).relation("_doubled", con).fetchall() == [(1, 2), (2, 4)]
    assert Chains(3).relation("large", con).fetchall() == [(2, 4), (3, 6)]
    assert con.sql(Chains(3).sql()).fetchall() == [(2, 4), (3, 6)]
    assert con.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]


def test_a_step_can_be_run_on_given_rows_of_the_steps_before_it() -> None:
    con = duckdb.connect()
    con.execute("CREATE TABLE numbers AS SELECT 40 AS i")
    assert Chains(3).relation("_doubled", con, given=["numbers"]).fetchall() == [(40, 80)]


def test_a_step_that_does_not_exist_is_named() -> None:
    with pytest.raises(InputError, match="tenure"):
        Chains(3).sql("tenure")
    with pytest.raises(InputError, match="tenure"):
        Chains(3).sql("large", given=["tenure"])


def test_a_table_may_be_absent_or_lack_a_column() -> None:
    con = duckdb.connect()
    con.execute("CREATE TABLE person AS SELECT 'a' AS person_id, 3 AS region")
    assert con.sql(select(con, "person", "person_id", "region VARCHAR", "age DOUBLE")).fetchall() == [("a", 3, None)]
    assert con.sql(optional(con, "person", "region VARCHAR")).fetchall() == [(3,)]
    absent = con.sql(optional(con, "price", "period", "cpi DOUBLE"))
    assert (absent.columns, str(absent.types[1]), absent.fetchall()) == (["period", "cpi"], "DOUBLE", [])
    assert optional(con, "price", "period") == no_rows("period")
    with pytest.raises(duckdb.CatalogException, match="price"):
        select(con, "price", "period")
