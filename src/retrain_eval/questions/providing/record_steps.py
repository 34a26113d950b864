"""Who of a provider's trainees completed, and who was employed some time after the start, in SQL."""

from __future__ import annotations

from dataclasses import dataclass

from retrain_eval.common.sql_steps import Pipeline, step


@dataclass(frozen=True)
class ProviderSteps(Pipeline):
    """A row per trainee with what became of them: spells of one duration, whose cause is the answer.

    Attributes
    ----------
    trainees : str
        Table of ``person_id, start, provider``, and keys where people have them.
    placed_after : int
        Periods after the start in which employment is looked up.
    knows_completion : bool
        Whether enrolments have the column ``completed``.
    """

    trainees: str
    placed_after: int
    knows_completion: bool

    @step
    def enrolled(self) -> str:
        """A person who entered: whether they completed the first programme that they entered."""
        known = "first(completed ORDER BY entry, programme_id)" if self.knows_completion else "NULL::BOOLEAN"
        return f"SELECT person_id, {known} AS completed FROM enrolment GROUP BY person_id"

    @step
    def completed(self) -> str:
        """A trainee: completed or not; not known while they are enrolled, or where the records do not say."""
        return f"""
            SELECT t.*, 1 AS once, CASE WHEN e.completed THEN 'completed' WHEN NOT e.completed THEN 'not completed' END
              AS ending
            FROM {self.trainees} t JOIN enrolled e USING (person_id)"""

    @step
    def employed(self) -> str:
        """A trainee: employed or not in that period; not known where the panel does not say."""
        return f"""
            SELECT t.*, 1 AS once, CASE WHEN panel.employed = 1 THEN 'employed' WHEN panel.employed = 0
              THEN 'not employed' END AS ending
            FROM {self.trainees} t
            LEFT JOIN panel ON panel.person_id = t.person_id AND panel.period = t."start" + {self.placed_after}"""
