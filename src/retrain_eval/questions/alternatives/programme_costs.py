"""What one kind of programme cost, as an additive table."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sources import query
from retrain_eval.common.sql import loaded
from retrain_eval.common.sql_steps import step
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.effects.costs import PRICED, SUM, CostSteps, Keyed, base_of, check_priced
from retrain_eval.tables.noise.person_keys import has_keys
from retrain_eval.tables.noise.sums import key_sum_sql
from retrain_eval.tables.statistics import Costs


@dataclass(frozen=True)
class ProgrammeCostSteps(CostSteps):
    """The sum of the costs of some programmes in prices of the base period.

    Attributes
    ----------
    kind : str
        Condition on the table of programmes.
    """

    kind: str

    @step
    def of_kind(self) -> str:
        """The sum of costs of programmes of this kind, and how many records have no price index."""
        return f"""
            SELECT {SUM} FROM {PRICED}
            SEMI JOIN (FROM programme WHERE {self.kind}) p ON p.programme_id = cost.programme_id"""


def cost_of_kind(con: duckdb.DuckDBPyConnection, study: StudyFile, keyed: Keyed, name: str, kind: str) -> Costs:
    """Return the sum of costs of programmes of a kind, and the people who entered one of them.

    Parameters
    ----------
    con : DuckDBPyConnection
    study : StudyFile
    keyed : callable
        Gives rows the keys of their people, or returns them as they are.
    name : str
        Of the kind, for errors.
    kind : str
        Condition on the table of programmes.

    Raises
    ------
    DesignError
        If there are no records of cost, the price index of a period is not known, or no one entered.
    """
    if not loaded(con, "cost", "programme") or "tier" not in con.table("programme").columns:
        raise DesignError("no records of cost, and of programmes with their tier, say what a kind of programme cost")
    [(amount, unpriced)] = ProgrammeCostSteps(base_of(con, study), kind).relation("of_kind", con).fetchall()
    check_priced(unpriced)
    entered = keyed(
        con.sql(
            f"SELECT DISTINCT person_id FROM enrolment SEMI JOIN (FROM programme WHERE {kind}) USING (programme_id)"
        )
    )
    key = key_sum_sql() if has_keys(entered) else "0"
    [(people, total)] = query(entered, f"SELECT count(*), {key} FROM source").fetchall()
    if amount is None or not people:
        raise DesignError(f"no cost of {name} is recorded" if people else f"no one entered the {name}")
    return Costs(float(amount), people, np.array([total], dtype=np.uint64) if has_keys(entered) else None)
