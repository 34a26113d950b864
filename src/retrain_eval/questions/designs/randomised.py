"""People to whom a place was offered at random, against people to whom none was: no one is matched.

With ``treated = "offered"`` the effect is that of the offer. What people made of the offer was not randomised: with
``"entered"`` or ``"completed"`` the groups differ as they do in an observational study.
"""

from __future__ import annotations

from retrain_eval.common.errors import unknown_columns
from retrain_eval.common.periods import parse_period
from retrain_eval.common.sources import sql_name
from retrain_eval.plan.designs import Design
from retrain_eval.plan.designs import Randomised as Settings
from retrain_eval.questions.designs.fixed_start import FixedStartCohort
from retrain_eval.questions.needs import Needs


class RandomisedCohort(FixedStartCohort):
    """People of an experiment; see the module."""

    @classmethod
    def needs(cls, design: Design) -> Needs:
        """Return the records that the design needs: also who was offered a place."""
        assert isinstance(design, Settings)
        return Needs({"person": (design.offered,), "enrolment": ("entry",)})

    @property
    def settings(self) -> Settings:
        """The design's section."""
        assert isinstance(self.design, Settings)
        return self.design

    def starts(self) -> str:
        """Return a SELECT of the one start; people whose offer is not recorded are outside the design."""
        given = self.settings
        columns = self.con.table("person").columns
        if given.offered not in columns:
            raise unknown_columns([given.offered], columns, kind="column of person")
        start = parse_period(given.start, self.study.study.frequency)
        offered = f"TRY_CAST({sql_name(given.offered)} AS BOOLEAN)"
        treat = {"offered": offered, "entered": "entry IS NOT NULL", "completed": "coalesce(completed, false)"}
        return f"""
            WITH entries AS (
              SELECT person_id, min(entry) AS entry, bool_or({self._completed()}) AS completed
              FROM enrolment GROUP BY person_id)
            SELECT person_id, {start} AS "start", CAST(coalesce({treat[given.treated]}, false) AS INTEGER) AS treat,
              {offered} IS NULL AS outside
            FROM person LEFT JOIN entries USING (person_id)"""

    @property
    def population(self) -> tuple[str, str]:
        """People of the experiment."""
        return "Randomised", "not known whether a place was offered"

    def _completed(self) -> str:
        return "completed" if "completed" in self.con.table("enrolment").columns else "NULL::BOOLEAN"
