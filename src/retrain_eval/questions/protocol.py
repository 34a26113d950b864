"""What a question is: what it needs, what it sums over people, and how its answer follows from the sums.

``collect`` runs where the people are. It never refuses: a table that the records do not give is absent, with a reason.
``answer`` sees the tables and the study file alone, so that anyone who has a bundle can run it again; only it refuses,
and what it refuses is listed as withheld, with the reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from retrain_eval.common.errors import InputError
from retrain_eval.plan.questions import Asked
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import PROGRAMME, Cohort, SampleSpec, outcomes_of
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.tables import Tables
from retrain_eval.tables.additive import Additive

Options = TypeVar("Options", bound=Asked)


@dataclass(frozen=True)
class Inquiry:
    """A question as a study asks it: what ``answer`` may know besides the tables.

    Attributes
    ----------
    study : StudyFile
    design : str
        Name of the design.
    options : Asked
        The section ``[questions.NAME]``.
    """

    study: StudyFile
    design: str
    options: Asked

    def given(self, kind: type[Options]) -> Options:
        """Return the options, which are of this kind."""
        assert isinstance(self.options, kind)
        return self.options

    @property
    def seed(self) -> int:
        """The study's seed."""
        return self.study.study.seed


class Question(ABC):
    """A question that studies can ask; one instance of each is in `retrain_eval.questions.catalogue`.

    Attributes
    ----------
    name : str
        As in ``[questions.NAME]``.
    asks : str
        The question, as a sentence.
    needs : Needs
    results : tuple of str
        The names that it may publish, where ``{outcome}``, ``{stratum}`` and ``{programme}`` are any of the study's,
        and ``{strata}`` several that the section names together.
    version : int
        Raised whenever the same tables give other answers.
    """

    name: ClassVar[str]
    asks: ClassVar[str]
    needs: ClassVar[Needs]
    results: ClassVar[tuple[str, ...]]
    version: ClassVar[int] = 1

    def missing(self, have: Mapping[str, Collection[str]], study: StudyFile, kind: str = "") -> list[str]:
        """Return what a study lacks for the question, as texts; see `Needs.missing`."""
        return self.needs.missing(have, study, kind)

    def samples(self, inquiry: Inquiry) -> tuple[SampleSpec, ...]:
        """Return the samples that it compares."""
        return (SampleSpec(inquiry.design),)

    def facts(self, cohort: Cohort, inquiry: Inquiry) -> Additive | None:
        """Return what `collect` has to know of all people, such as means by occupation: added before, given to all."""
        return None

    @abstractmethod
    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Sum the people of a cohort to additive tables, by the names of their files; never refuse."""

    def derive(self, tables: Tables, inquiry: Inquiry) -> Tables:
        """Return additive tables that follow from sums which stay at the agency, such as those by matched set."""
        return Tables()

    @abstractmethod
    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Turn the tables, which may be protected or added up, to results; it reads nothing else."""

    def from_rows(self, cohort: Cohort, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return what single rows alone can give, such as another program's estimates; a release has its covariance."""
        return Answers()

    def publishes(self, inquiry: Inquiry) -> Iterator[str]:
        """Yield the names of results that it may publish in a study."""
        study, outcomes = inquiry.study, (*outcomes_of(inquiry.study), *getattr(inquiry.options, "outcomes", ()))
        for template in self.results:
            if "{outcome}" in template:
                yield from (template.replace("{outcome}", name) for name in outcomes)
            elif "{strata}" in template:
                continue  # of strata that are asked together: the question names them itself
            elif "{stratum}" in template:
                yield from (template.replace("{stratum}", name) for name in (*study.strata, *PROGRAMME))
            else:
                yield template

    def check(self, answers: Answers, inquiry: Inquiry) -> None:
        """Refuse results of names that the question does not have.

        Raises
        ------
        InputError
        """
        known = set(self.publishes(inquiry))
        for name in answers.names():
            if name not in known:
                raise InputError(
                    f"the question {self.name} has no result {name!r}",
                    rule="a question publishes the results that its catalogue entry names",
                    fix=f"add it to `results` of {type(self).__name__}",
                )
