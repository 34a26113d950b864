"""The ledger of the cost records: who paid for what, in whole cents of the base period."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sql import loaded
from retrain_eval.common.sql_steps import step
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.effects.costs import (
    PRICED,
    UNPRICED,
    CostSteps,
    Keyed,
    base_of,
    check_priced,
    people_entered,
)
from retrain_eval.tables.ledger import Ledger

LEDGER = "statistics/ledger"
_COLUMNS = ("funder", "component", "period", "amount")


@dataclass(frozen=True)
class LedgerSteps(CostSteps):
    """Costs by funder and component, in whole cents of the base period, over all programmes."""

    @step
    def lines(self) -> str:
        """A funder and a component: what was paid in cents, each record rounded, and records without a price index."""
        return f"""
            SELECT funder, component,
              CAST(coalesce(sum(CAST(round(CAST(amount AS DOUBLE) / cpi * base * 100) AS HUGEINT)), 0) AS BIGINT)
                AS cents,
              {UNPRICED} AS unpriced
            FROM {PRICED}
            GROUP BY funder, component ORDER BY funder, component"""


def budget(con: duckdb.DuckDBPyConnection, study: StudyFile, keyed: Keyed) -> Ledger:
    """Return the ledger of all programmes, and the people who entered them.

    Parameters
    ----------
    con : DuckDBPyConnection
    study : StudyFile
    keyed : callable
        Gives rows the keys of their people, or returns them as they are.

    Raises
    ------
    DesignError
        If no cost is recorded, or not by funder and component; if the price index of a period is not known, or no one
        entered.
    """
    if not loaded(con, "cost"):
        raise DesignError("no records of cost say what training cost")
    lacking = [name for name in _COLUMNS if name not in con.table("cost").columns]
    if lacking:
        raise DesignError(f"the records of cost have no column {lacking[0]}")
    rows = LedgerSteps(base_of(con, study)).relation("lines", con).fetchall()
    people, keys = people_entered(con, keyed)
    if not rows or not people:
        raise DesignError("no records of cost say what training cost" if people else "no one entered a programme")
    check_priced(sum(row[3] for row in rows))
    funders, components, cents, _ = zip(*rows, strict=True)
    return Ledger(tuple(map(str, funders)), tuple(map(str, components)), np.array(cents, dtype=np.int64), people, keys)
