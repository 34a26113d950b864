"""Everyone who enters in one period, against people who do not enter while they are followed."""

from __future__ import annotations

from retrain_eval.common.periods import parse_period
from retrain_eval.plan.designs import Calendar as Settings
from retrain_eval.questions.designs.fixed_start import FixedStartCohort


class CalendarCohort(FixedStartCohort):
    """People around one period of the calendar; see the module."""

    @property
    def settings(self) -> Settings:
        """The design's section."""
        assert isinstance(self.design, Settings)
        return self.design

    def starts(self) -> str:
        """Return a SELECT of the one start: treated are those who enter in it for the first time."""
        start = parse_period(self.settings.start, self.study.study.frequency)
        return f"""
            SELECT person_id, {start} AS "start", CAST(coalesce(min(entry) = {start}, false) AS INTEGER) AS treat,
              coalesce(min(entry) <> {start} AND min(entry) <= {start + self.settings.after}, false) AS outside
            FROM person LEFT JOIN enrolment USING (person_id) GROUP BY person_id"""

    @property
    def population(self) -> tuple[str, str]:
        """People who enter in the period of the start, or not until the last that is compared."""
        return "Entered at the start, or not at all", "entered before the start, or while they would be controls"
