"""How soon is a job found, does it last, and why does it end: trainees alongside their matched controls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import duckdb

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.levels import is_missing
from retrain_eval.common.sql import loaded
from retrain_eval.estimators.rows.first_jobs import first_job_spells
from retrain_eval.estimators.rows.follow_up import employment_after, employment_shares, share_effects
from retrain_eval.estimators.survival.grouptest import score_test
from retrain_eval.estimators.survival.logrank import logrank_scores, logrank_test
from retrain_eval.estimators.survival.risk import RiskSet, group_name, risk_sets
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.plan.questions import JobStability as Options
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import Cohort, SampleSpec
from retrain_eval.questions.jobs.duration_steps import DisplacedSteps, DurationSteps
from retrain_eval.questions.levels import answer_levels, level_names
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import Tables
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.statistics import Scores, Shares

JOBLESS, JOB = "jobless_since_start", "first_job"
EVENTS = ("exit", "displacement")  # from which time to a job is counted for everyone, matched or not
QUARTERS = (2, 4, 8)  # after the start, in which agencies report employment
SHARES = "statistics/indicators_employed"
WEIGHTED: dict[str, Any] = {"weights": "weight", "weight_type": "probability"}


class JobStability(Question):
    """Curves of joblessness and of the first job by arm, their differences, causes, hazards and indicators."""

    name: ClassVar[str] = "job_stability"
    asks: ClassVar[str] = "How soon is a job found, does it last, and why does it end?"
    needs: ClassVar[Needs] = Needs(
        {"enrolment": ("entry",), "wage_record": ("wages", "employer_id")},
        kinds=("waiting", "entry", "calendar", "randomised"),
    )
    results: ClassVar[tuple[str, ...]] = (
        "km_{stratum}", JOBLESS, JOB, "first_job_ends", "first_job_ends_difference", "lock_in", "indicators_ever",
        "indicators_first_job", "indicators_retained", "indicators_employed",
        *(f"{name}_{part}" for name in (JOBLESS, JOB) for part in ("difference", "mean", "mean_difference")),
        *(result for name in (JOBLESS, JOB) for result in level_names("{stratum}", name)),
        *(f"indicators_since_{event}" for event in EVENTS),
    )  # fmt: skip

    def samples(self, inquiry: Inquiry) -> tuple[SampleSpec, ...]:
        """Return the main sample, and one matched within the levels of each stratum."""
        main = SampleSpec(inquiry.design)
        if not inquiry.study.designs[inquiry.design].matched:
            return (main,)
        return (main, *(SampleSpec(inquiry.design, (name,)) for name in inquiry.study.strata))

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Count spells by arm, stratum, duration and cause."""
        tables = Tables()
        if "spells" in cohort.unavailable:
            for name in _tables(inquiry):
                tables.absent[name] = cohort.unavailable["spells"]
            return tables
        if "displaced" in cohort.people.columns:
            _count_displaced(tables, cohort, inquiry)
        cohort.say("time to a job, job stability and causes of ending, trainees alongside their matched controls")
        for spec in self.samples(inquiry):
            _count_members(tables, cohort, inquiry, spec)
        for event in EVENTS:
            with tables.attempt(f"life_tables/first_job_since_{event}"):
                if not _has_event(cohort.con, event):
                    continue
                rows = cohort.keyed(first_job_spells(cohort.con.table("panel"), f"to_{event}"))
                tables[f"life_tables/first_job_since_{event}"] = Spells(rows, id="person_id", censored=()).table
        return tables

    def derive(self, tables: Tables, inquiry: Inquiry) -> Tables:
        """Return the scores of log-rank tests, which need matched sets; a release has no sets."""
        scores = Tables()
        for name in (JOBLESS, JOB):
            if f"life_tables/{name}" in tables:
                with scores.attempt(f"statistics/{name}_tests"):
                    scores[f"statistics/{name}_tests"] = logrank_scores(tables.spells(name, clustered=True).table)
        return scores

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return curves, differences, tests, hazards and indicators."""
        answers, study = Answers(), inquiry.study
        conf = conf_type(study)
        for name in study.strata:
            if f"life_tables/{name}" in {*tables, *tables.absent}:
                with answers.attempt(f"km_{name}"):
                    spells = tables.spells(name)
                    answers.effects(f"km_{name}", spells.kaplan_meier(conf_type=conf))
                    answers.table("tests", partial(logrank_test, spells.table), of=f"km_{name}")
        for name in (JOBLESS, JOB):
            with answers.attempt(name, *(f"{name}_{part}" for part in ("difference", "mean", "mean_difference"))):
                _compare(answers, tables, name, inquiry)
            for stratum in study.strata:
                _compare_within(answers, tables, name, stratum, inquiry)
        with answers.attempt("first_job_ends", "first_job_ends_difference"):
            released, paired = tables.spells("first_job_causes"), tables.spells("first_job_causes", clustered=True)
            answers.effects("first_job_ends", released.cumulative_incidence(conf_type=conf))
            times = _observed(paired, (inquiry.given(Options).held_for,))
            answers.effects("first_job_ends_difference", paired.incidence_difference(times=times))
        for event in EVENTS:
            if f"life_tables/first_job_since_{event}" in {*tables, *tables.absent}:
                with answers.attempt(f"indicators_since_{event}"):
                    answers.effects(
                        f"indicators_since_{event}", tables.spells(f"first_job_since_{event}").quantile(0.5)
                    )
        return answers

    def from_rows(self, cohort: Cohort, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return employment in quarters after the start: its errors need the people, the estimates do not."""
        answers = Answers()
        with answers.attempt("indicators_employed"):
            shares = tables.need(SHARES, Shares)
            rows, cluster = _since_start(cohort)
            by_quarter = employment_after(rows, "to_entry", _quarters(inquiry), by="arm", **WEIGHTED, cluster=cluster)
            answers.effects("indicators_employed", by_quarter, estimates=share_effects(shares))
        return answers


def conf_type(study: StudyFile) -> str:
    """Return the interval of curves."""
    return "log-log" if study.survival is None else study.survival.conf_type


def duration_of(study: StudyFile) -> str:
    """Return the name of the column of lengths."""
    return f"{study.study.frequency}s" if study.survival is None else study.survival.duration


def life_table_of(name: str, stratum: str = "") -> str:
    """Return the name of the life table of a duration, by arm and perhaps a stratum."""
    return f"{name}_by_{stratum}" if stratum else name


def _tables(inquiry: Inquiry) -> list[str]:
    """Return the names of the tables by arm, for want of spells."""
    names = [life_table_of(name, by) for name in (JOBLESS, JOB) for by in ("", *inquiry.study.strata)]
    return [*(f"life_tables/{name}" for name in (*names, "first_job_causes")), SHARES]


def _count_displaced(tables: Tables, cohort: Cohort, inquiry: Inquiry) -> None:
    """Count how long those without a job after displacement are without one, by each stratum."""
    study, options = inquiry.study, inquiry.given(Options)
    cause = "ended" if study.survival is None else study.survival.cause
    steps = DisplacedSteps(cohort.table, tuple(cohort.carried), duration_of(study), cause, options.followed)
    rows = cohort.keyed(steps.relation("jobless", cohort.con))
    codes = {"duration": duration_of(study), "cause": cause} if study.survival is None else study.survival_options()
    for name in cohort.strata:
        with tables.attempt(f"life_tables/{name}"):
            tables[f"life_tables/{name}"] = Spells(rows, id="person_id", by=name, **codes).table


def _count_members(tables: Tables, cohort: Cohort, inquiry: Inquiry, spec: SampleSpec) -> None:
    """Count time to a job since the start, and the length of the first job, of the members of a sample."""
    options, study = inquiry.given(Options), inquiry.study
    by = spec.within or (("",) if cohort.design.matched else ("", *cohort.strata))
    names = [f"life_tables/{life_table_of(name, level)}" for name in (JOBLESS, JOB) for level in by]
    more = ("life_tables/first_job_causes", SHARES) if "" in by else ()
    with tables.attempt(*names, *more):
        group = cohort.group(spec)
        members = cohort.kept("members", group.members)
        lengths = (options.followed, options.begun_within, options.held_for)
        steps = DurationSteps(members, tuple(cohort.carried), duration_of(study), *lengths)
        for source in (JOBLESS, JOB):
            rows = cohort.keyed(steps.relation(source, cohort.con))
            ended = rows.project("* EXCLUDE (cause), CAST(cause IS NOT NULL AS INTEGER) AS cause")
            for level in by:
                with tables.attempt(f"life_tables/{life_table_of(source, level)}"):
                    table = _life_table(ended, study, group.cluster, level)
                    tables[f"life_tables/{life_table_of(source, level)}"] = table
            if source == JOB and "" in by:
                with tables.attempt("life_tables/first_job_causes"):
                    tables["life_tables/first_job_causes"] = _life_table(rows, study, group.cluster)
        if "" in by:
            with tables.attempt(SHARES):
                since, cluster = _since_start(cohort)
                tables[SHARES] = employment_shares(
                    since, "to_entry", _quarters(inquiry), by="arm", **WEIGHTED, cluster=cluster
                )


def _life_table(rows: duckdb.DuckDBPyRelation, study: StudyFile, cluster: str | None, level: str = "") -> LifeTable:
    """Count spells by arm, and by a stratum; only NULL and 0 mean censored."""
    by = ["arm", *([level] if level else [])]
    options = {**WEIGHTED, "cluster": cluster, "duration": duration_of(study), "censored": ()}
    return Spells(rows, id="match_id", by=by, **options).table


def _since_start(cohort: Cohort) -> tuple[duckdb.DuckDBPyRelation, str | None]:
    """Return the panel of the members of the main sample, with the periods since their start, and their cluster."""
    group = cohort.group(cohort.spec())
    members = cohort.kept("members", group.members)
    carried = tuple(name for name in cohort.carried if name not in cohort.strata)
    steps = DurationSteps(members, carried, "quarters", 1, 1, 1)
    member = cohort.kept("arms", steps.relation("member", cohort.con))
    rows = cohort.con.sql(
        f'SELECT panel.* EXCLUDE (to_entry), period - "start" AS to_entry, m.* EXCLUDE (match_id, person_id, "start") '
        f"FROM panel JOIN {member} m USING (person_id)"
    )
    return cohort.keyed(rows), group.cluster


def _quarters(inquiry: Inquiry) -> tuple[int, ...]:
    """Return the quarters after the start that the design follows."""
    after = inquiry.study.designs[inquiry.design].after
    return tuple(quarter for quarter in QUARTERS if quarter <= after)


def _has_event(con: duckdb.DuckDBPyConnection, event: str) -> bool:
    """Whether anyone in the panel has left a programme, or was displaced."""
    if not loaded(con, "panel"):
        raise InputError("there is no panel")
    [(some,)] = con.sql(f"SELECT count(to_{event}) > 0 FROM panel").fetchall()
    return bool(some)


def _compare(answers: Answers, tables: Tables, name: str, inquiry: Inquiry) -> None:
    """Add curves by arm, their differences, mean durations and the indicators that agencies report.

    Some durations may be merged for small counts; what needs one of them alone is withheld, by itself.
    """
    released, paired = tables.spells(name), tables.spells(name, clustered=True)
    options = inquiry.given(Options)
    short = tuple(dict.fromkeys((*QUARTERS[:-1], options.held_for)))
    long = tuple(dict.fromkeys((*QUARTERS, options.followed)))
    tau = options.followed if name == JOBLESS else options.held_for
    answers.effects(name, released.kaplan_meier(conf_type=conf_type(inquiry.study)))
    answers.effects(f"{name}_difference", lambda: paired.survival_difference(times=_observed(paired, short)))
    answers.effects(f"{name}_mean", lambda: released.rmst(tau=_mean_until(paired, tau)))
    answers.effects(f"{name}_mean_difference", lambda: paired.rmst_difference(tau=_mean_until(paired, tau)))
    scores = tables.get(f"statistics/{name}_tests")
    if scores is not None:
        assert isinstance(scores, Scores)
        answers.table("tests", lambda: score_test(scores), of=name)
    if name == JOBLESS:
        answers.effects("lock_in", lambda: paired.discrete_hazard("arm:period", bins=_kept(paired, (1, 2, 4, 8))))
        answers.effects("indicators_ever", lambda: released.ever_ended(times=_observed(paired, long)))
        answers.effects("indicators_first_job", lambda: released.quantile(0.5))
    else:
        answers.effects("indicators_retained", lambda: released.retention(quarters=_observed(paired, short)))


def _compare_within(answers: Answers, tables: Tables, name: str, stratum: str, inquiry: Inquiry) -> None:
    """Add differences between the arms in each level of a stratum, and verdicts if the study says what matters."""
    options = inquiry.given(Options)
    worth = options.smallest_worthwhile_time if name == JOBLESS else options.smallest_worthwhile_share

    def levels() -> Any:
        paired = tables.spells(life_table_of(name, stratum), clustered=True)
        if name == JOBLESS:
            return paired.rmst_difference(tau=_mean_until(paired, options.held_for))
        return paired.survival_difference(times=_observed(paired, (options.held_for,)))

    answer_levels(answers, stratum, levels, seed=inquiry.seed, of=name, smallest_worthwhile=worth)


def _kept(spells: Spells, durations: Sequence[float]) -> tuple[float, ...]:
    """Return those of the durations that the table keeps: all, unless durations were merged for small counts."""
    return tuple(map(float, durations)) if spells.table.grid is None else spells.table.told_apart(durations)


def _observed(spells: Spells, durations: Sequence[float]) -> tuple[float, ...]:
    """Return those of the durations that the table keeps, and at which every group is observed.

    Raises
    ------
    DesignError
        If there are none.
    """
    end = min(float(risk.times[-1]) for risk in _named(spells))
    kept = tuple(time for time in _kept(spells, durations) if time <= end)
    if not kept:
        listed = ", ".join(f"{time:g}" for time in durations)
        raise DesignError(f"at none of the durations {listed} is every group observed")
    return kept


def _mean_until(spells: Spells, wanted: float) -> float:
    """Return until when durations are averaged: no longer than wanted, than durations are kept, or curves are known."""
    known = [float(risk.times[-1]) for risk in _named(spells) if risk.n[-1] > risk.n_events[-1]]
    merged = [] if spells.table.grid is None else [float(spells.table.exact_until)]
    return min([float(wanted), *known, *merged])  # a curve that has come down to zero is known ever after


def _named(spells: Spells) -> list[RiskSet]:
    """Return the risk sets of all groups but that of people without a level.

    Raises
    ------
    DesignError
        If there are none.
    """
    named = [risk for risk in risk_sets(spells.table) if not is_missing(group_name(risk.level))]
    if not named:
        raise DesignError("the groups of these people are not known")
    return named
