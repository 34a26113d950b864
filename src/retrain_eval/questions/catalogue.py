"""The catalogue: every question that a study can ask, by name, in the order in which they are answered."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from retrain_eval.plan.designs import KINDS
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.access.digital_divide import DigitalDivide
from retrain_eval.questions.alternatives.not_retrainable import NotRetrainable
from retrain_eval.questions.cohort import Cohort
from retrain_eval.questions.designs.calendar import CalendarCohort
from retrain_eval.questions.designs.entry import EntryCohort
from retrain_eval.questions.designs.observed import ObservedCohort
from retrain_eval.questions.designs.randomised import RandomisedCohort
from retrain_eval.questions.designs.waiting import WaitingCohort
from retrain_eval.questions.effects.effect_over_time import EffectOverTime
from retrain_eval.questions.effects.for_whom import ForWhom
from retrain_eval.questions.jobs.job_quality import JobQuality
from retrain_eval.questions.jobs.job_stability import JobStability
from retrain_eval.questions.jobs.wage_path import WagePath
from retrain_eval.questions.money.money import Money
from retrain_eval.questions.protocol import Question
from retrain_eval.questions.providing.providers import Providers
from retrain_eval.questions.supporting.balance import Balance
from retrain_eval.questions.supporting.sample import Sample
from retrain_eval.questions.supporting.sensitivity import Sensitivity

QUESTIONS: Mapping[str, Question] = {
    question.name: question
    for question in (
        Sample(),
        Balance(),
        EffectOverTime(),
        ForWhom(),
        NotRetrainable(),
        JobStability(),
        JobQuality(),
        WagePath(),
        Providers(),
        DigitalDivide(),
        Sensitivity(),
        Money(),
    )
}

COHORTS: Mapping[str, type[Cohort]] = {
    "waiting": WaitingCohort,
    "entry": EntryCohort,
    "calendar": CalendarCohort,
    "randomised": RandomisedCohort,
    "observed": ObservedCohort,
}
assert set(COHORTS) == set(KINDS)


def what_is_missing(study: StudyFile, have: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Return, for each question of the catalogue, what a study's records and file lack for it; empty if nothing.

    Parameters
    ----------
    study : StudyFile
    have : mapping of str → collection of str
        Record type → the columns that have a value.

    Examples
    --------
    >>> from retrain_eval.plan.study_file import About
    >>> study = StudyFile(study=About(name="s", title="T", question="Q", data="D"), records={"person": "p.csv"})
    >>> what_is_missing(study, {"person": ["person_id"]})["sample"]
    ['records of enrolment', 'a section [designs.NAME] of the study file']
    """
    asked = dict(study.questions.asked())
    found: dict[str, list[str]] = {}
    for name, question in QUESTIONS.items():
        given = asked.get(name)
        names = [given.design] if given is not None and given.design else list(study.designs)
        lacking = [
            [
                *question.missing(have, study, study.designs[one].kind),
                *COHORTS[study.designs[one].kind].needs(study.designs[one]).missing(have, study),
            ]
            for one in names
        ]
        none = [[*question.missing(have, study), "a section [designs.NAME] of the study file"]]
        fewest = min(map(len, lacking or none))
        found[name] = list(dict.fromkeys(next(texts for texts in lacking or none if len(texts) == fewest)))
    return found
