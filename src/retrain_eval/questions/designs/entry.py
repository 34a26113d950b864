"""Registrants who enter programmes at different times, against registrants of the same period who never do.

Each person has one index period: of entry, or of registration for people who never enter. Put ``start`` into
``[match] exact`` to compare people of the same period.
"""

from __future__ import annotations

from retrain_eval.common.errors import InputError
from retrain_eval.common.sources import sql_name
from retrain_eval.common.sql import loaded, select
from retrain_eval.plan.designs import Design
from retrain_eval.plan.designs import Entry as Settings
from retrain_eval.questions.designs.fixed_start import FixedStartCohort
from retrain_eval.questions.needs import Needs


class EntryCohort(FixedStartCohort):
    """Registrants, from entry or registration; see the module."""

    @classmethod
    def needs(cls, design: Design) -> Needs:
        """Return the records that the design needs: also the register of people who could have entered."""
        assert isinstance(design, Settings)
        return Needs({"person": (), "enrolment": ("entry",), design.register: (design.registered,)})

    @property
    def settings(self) -> Settings:
        """The design's section."""
        assert isinstance(self.design, Settings)
        return self.design

    def starts(self) -> str:
        """Return a SELECT of each registrant's index period: of the first entry, else of registration."""
        register, column = self.settings.register, self.settings.registered
        if not loaded(self.con, register):
            raise InputError(
                f"the design {self.name} needs records of {register}",
                column="register",
                value=register,
                rule="people who never enter are compared from the period in which they registered",
                fix=f"add {register} to [records], with its schema in data_schemas/, or name another record type",
            )
        people = select(self.con, register, "person_id", column)
        return f"""
            SELECT person_id, coalesce(min(entry), min({sql_name(column)})) AS "start",
              CAST(count(entry) > 0 AS INTEGER) AS treat, false AS outside
            FROM ({people}) LEFT JOIN enrolment USING (person_id) GROUP BY person_id"""

    @property
    def population(self) -> tuple[str, str]:
        """Everyone on the register."""
        return "Registered", ""
