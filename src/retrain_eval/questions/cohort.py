"""The people of a design: what questions share, made once. `run.cohort` returns one.

A cohort has the panel, one row per person with history and strata, samples matched as ``[match]`` says, outcomes around
the start, and outcome moments. Every relation that it returns has the keys of its people, so that what is summed over
them can be protected.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import duckdb

from retrain_eval.common.errors import DesignError, unknown
from retrain_eval.common.shown import summarised
from retrain_eval.common.sources import query, sql_name
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.outcome_moments import outcome_moments
from retrain_eval.plan.designs import Design
from retrain_eval.plan.strata import PROGRAMME as PROGRAMME
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.needs import Needs
from retrain_eval.sample.match import match
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.record_flow import people_left_out
from retrain_eval.tables.noise.person_keys import PERSON_KEY, ReleaseKey, has_keys, with_keys

START = 1  # the period of the start on the clock of `Cohort.rows`; 0 would mean never
PERSON = "person_id"
QUALITY = "quality_"  # how the columns of the dimensions' contributions to M0 begin
PROVIDER = (
    "provider"  # an attribute of programmes, as those of PROGRAMME, whose levels are whatever names the records have
)


@dataclass(frozen=True, order=True)
class SampleSpec:
    """Whom a question compares: the people of a design, matched within strata. Each is matched once for all questions.

    Attributes
    ----------
    design : str
        Name of the design.
    within : tuple of str
        Strata on which people are matched exactly, besides those that ``[match]`` names.
    """

    design: str
    within: tuple[str, ...] = ()


@summarised
@dataclass(frozen=True)
class Group:
    """People compared: a matched sample, or everyone of a design that matches no one.

    Attributes
    ----------
    sample : MatchedSample or None
        As `retrain_eval.match` returned it.
    rows : DuckDBPyRelation
        ``match_id, person_id, treat, weight, subclass, clock, cohort``, outcomes, and levels of strata and programmes:
        a row per member and period. With pairs, levels are those of the trainee.
    members : DuckDBPyRelation
        ``match_id, person_id, treat, weight, subclass, start`` and the person's own strata: a row per member.
    cluster : str or None
        Column of both that identifies independent clusters.
    """

    sample: MatchedSample | None
    rows: duckdb.DuckDBPyRelation
    members: duckdb.DuckDBPyRelation
    cluster: str | None


@summarised
@dataclass
class Cohort(ABC):
    """The people of a design; subclasses say who they are and how they are followed.

    Parameters
    ----------
    con : DuckDBPyConnection
        The store's connection, with panel, quality and spells built.
    study : StudyFile
    name : str
        Of the design.
    design : Design
        Its section.
    say : callable
        Prints a line of progress.
    key : ReleaseKey or None
        What people get their keys from.
    unavailable : mapping of str → str
        Tables of the store that the records do not give, with the reason.
    """

    con: duckdb.DuckDBPyConnection = field(repr=False)
    study: StudyFile
    name: str
    design: Design
    say: Callable[[str], None]
    key: ReleaseKey | None = field(default=None, repr=False)
    unavailable: Mapping[str, str] = field(default_factory=dict)

    shift: ClassVar[int] = -START  # from the clock of rows to the time that reports print

    def __post_init__(self) -> None:
        self._groups: dict[SampleSpec, Group] = {}
        self._samples: dict[SampleSpec, MatchedSample] = {}
        self._moments: dict[tuple[str, str | tuple[str, ...], SampleSpec], OutcomeMoments] = {}
        self.table = self.kept("people", self.keyed(self.build()))
        self.people = self.con.sql(f"FROM {self.table}")

    @classmethod
    def needs(cls, design: Design) -> Needs:
        """Return the records that a design needs."""
        return Needs({"person": (), "enrolment": ("entry",)})

    # ---- what a design says ------------------------------------------------------------------------------------

    @abstractmethod
    def build(self) -> duckdb.DuckDBPyRelation:
        """Return one row per person: history, strata, ``linked``, ``complete``, ``eligible`` and what is matched on."""

    @abstractmethod
    def follow(self, sample: MatchedSample | None, outcomes: Sequence[str]) -> Group:
        """Bring outcomes around the start to the people compared."""

    @property
    @abstractmethod
    def steps(self) -> Mapping[str, tuple[str, str]]:
        """Steps of the sample flow: a condition on `people`, and the reason why people do not meet it."""

    @property
    @abstractmethod
    def treated(self) -> str:
        """Condition on `people`: who is treated."""

    @property
    def may_be_control(self) -> str:
        """Condition on `people`: who may be a control."""
        return f"NOT ({self.treated})"

    @property
    def not_candidates(self) -> Mapping[str, str]:
        """Why people of the last step of the flow are not candidates for matching, by group."""
        return {}

    @abstractmethod
    def after(self, sample: MatchedSample, outcome: str) -> duckdb.DuckDBPyRelation:
        """Return a row per unit of the sample with the mean outcome since the start, as the column ``after``."""

    # ---- what all designs do -----------------------------------------------------------------------------------

    def keyed(self, rows: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """Give rows the keys of their people; unchanged if they have them, or the study releases exact numbers."""
        return rows if self.key is None or has_keys(rows) else with_keys(self.con, rows, PERSON, self.key)

    def spec(self, *within: str) -> SampleSpec:
        """Return what a sample of this design, matched within strata, is called."""
        return SampleSpec(self.name, within)

    @property
    def to_link(self) -> duckdb.DuckDBPyRelation:
        """The people who should be found in the wage records."""
        return self.people

    @property
    def refused(self) -> duckdb.DuckDBPyRelation | None:
        """People who are not in the study because a row of theirs was refused, with keys; None if there are none."""
        return self.keyed(self.con.table("left_out")) if len(people_left_out(self.con)) else None

    @property
    def candidates(self) -> duckdb.DuckDBPyRelation:
        """The people who may be compared: those whose outcomes are known in the periods that count."""
        return self.people.filter("eligible")

    def sample(self, spec: SampleSpec) -> MatchedSample:
        """Return the matched sample; it is matched once.

        Raises
        ------
        DesignError
            If the design matches no one, or no one can be matched.
        """
        if not self.design.matched:
            raise DesignError(f"a design of the kind {self.design.kind} matches no one")
        if spec not in self._samples:
            options = self.study.match_options()
            options["exact"] = tuple(dict.fromkeys((*options["exact"], *spec.within)))
            self._samples[spec] = match(self.candidates, unit=PERSON, **options)
        return self._samples[spec]

    def group(self, spec: SampleSpec) -> Group:
        """Return the people compared, followed over the periods that count; they are followed once.

        Raises
        ------
        DesignError
            As `sample`.
        """
        if spec not in self._groups:
            sample = self.sample(spec) if self.design.matched else None
            self._groups[spec] = self._stored(self.follow(sample, self.outcomes), "_".join(spec.within))
        return self._groups[spec]

    def moments(self, outcome: str, spec: SampleSpec, by: str | tuple[str, ...] = "") -> OutcomeMoments:
        """Return the outcome moments of the people compared, by strata or over all; they are summed once.

        Raises
        ------
        DesignError
            If the records do not give the outcome, or no one is compared.
        """
        if (outcome, by, spec) not in self._moments:
            self._moments[outcome, by, spec] = self.moments_of(self.group(spec), outcome, by)
        return self._moments[outcome, by, spec]

    def moments_of(self, group: Group, outcome: str, by: str | tuple[str, ...] = "") -> OutcomeMoments:
        """Return the outcome moments of a group of people, by one stratum or several."""
        if outcome not in group.rows.columns:
            self.check_outcome(outcome)
        return outcome_moments(
            self.keyed(group.rows),
            unit="match_id",
            time="clock",
            cohort="cohort",
            outcome=outcome,
            by=by or (),
            weights="weight",
            cluster=group.cluster,
            unbalanced="drop",
            **self.study.outcome_options(outcome),
        )

    def capped(self, outcome: str, table: str = "") -> str:
        """Return SQL of an outcome of a table, cut at the cap of ``[outcomes]`` where it has one."""
        name, cap = f"{table}{sql_name(outcome)}", self.study.outcome_options(outcome)["cap"]
        return name if cap is None else f"greatest(least({name}, {cap!r}), {-cap!r})"

    @property
    def outcomes(self) -> list[str]:
        """The outcomes of the study that the records give."""
        there = self.panel.columns
        quality = self.study.questions.job_quality
        parts = [name for name in there if name == "deprived" or name.startswith(QUALITY)]
        money = self.study.questions.money
        wanted = [
            *outcomes_of(self.study),
            *([money.outcome] if money else []),
            *(["m0"] if quality else []),
            *(parts if quality and quality.parts else []),
            *(["earnings"] if self.study.questions.wage_path else []),
        ]
        return [name for name in dict.fromkeys(wanted) if name in there]

    def trained(self) -> duckdb.DuckDBPyRelation:
        """Return the trained of the main sample: one column, ``person_id``."""
        return self.group(self.spec()).members.filter("treat = 1").project(PERSON)

    def check_outcome(self, outcome: str) -> None:
        """Refuse an outcome that the panel does not have.

        Raises
        ------
        DesignError
            If the records do not give it.
        InputError
            If there is no such outcome.
        """
        if "quality" in self.unavailable and (outcome in ("m0", "deprived") or outcome.startswith(QUALITY)):
            raise DesignError(self.unavailable["quality"])
        raise unknown("outcome", outcome, self.panel.columns)

    @property
    def panel_sql(self) -> str:
        """SELECT of a row per person and period: the panel and, where the records give it, employment quality.

        A dimension contributes to M0 where a person is deprived in it and deprived altogether.
        """
        if "quality" in self.unavailable:
            return "FROM panel"
        dimensions = self.study.quality.dimensions
        parts = ", ".join(f"d_{name} * deprived / {len(dimensions)} AS {QUALITY}{name}" for name in dimensions)
        return f"SELECT *, {parts} FROM panel LEFT JOIN quality USING (person_id, period)"

    @property
    def panel(self) -> duckdb.DuckDBPyRelation:
        """The rows of `panel_sql`."""
        return self.con.sql(self.panel_sql)

    @property
    def strata(self) -> list[str]:
        """Names of the study's strata."""
        return list(self.study.strata)

    @property
    def levels(self) -> list[str]:
        """Names of the levels that rows carry: strata of the study, and those that questions bring along."""
        return [name for name in self.study.all_strata if name in self.people.columns]

    @property
    def carried(self) -> list[str]:
        """Columns of `people` that tables of members carry along: strata and, if people have them, keys."""
        return [*self.strata, *([PERSON_KEY] if has_keys(self.people) else [])]

    @property
    def programmes(self) -> list[str]:
        """Columns of the programme that `people` have."""
        return [name for name in (*PROGRAMME, PROVIDER) if name in self.people.columns]

    # ---- for the designs ---------------------------------------------------------------------------------------

    def of_trainee(self, rows: duckdb.DuckDBPyRelation, sample: MatchedSample) -> duckdb.DuckDBPyRelation:
        """Return rows of matched sets with the strata and the programme of the trainee of each set."""
        levels = "".join(f", trainee.{sql_name(name)}" for name in (*self.levels, *self.programmes))
        sets = self.kept("sets", query(sample.pairs, "SELECT DISTINCT subclass, treated_id FROM source"))
        return query(
            rows,
            f"""
            SELECT source.*{levels} FROM source JOIN {sets} sets USING (subclass)
            JOIN {self.table} trainee ON trainee.person_id = sets.treated_id
            """,
        )

    def members_of(self, sample: MatchedSample, start: str = "period") -> duckdb.DuckDBPyRelation:
        """Return a row per member of a sample with a weight, with the period of the start and the person's strata."""
        levels = "".join(f", p.{sql_name(name)}" for name in self.carried)
        return query(
            sample.weights,
            f"""
            SELECT match_id, source.person_id, subclass, weight, treat, {start} AS start{levels}
            FROM source JOIN {self.table} p ON p.person_id = source.person_id WHERE weight > 0
            """,
        )

    # ---- inside ------------------------------------------------------------------------------------------------

    def kept(self, label: str, relation: duckdb.DuckDBPyRelation) -> str:
        """Keep a relation as a temporary table of this cohort, and return its name."""
        name = "temp." + sql_name(f"_cohort_{self.name}_{label}")
        query(relation, f"CREATE OR REPLACE TEMP TABLE {name.removeprefix('temp.')} AS FROM source")
        return name

    def _stored(self, group: Group, label: str) -> Group:
        """Keep the rows and members of a group as temporary tables: questions read them several times."""
        rows, members = self.kept(f"rows_{label}", group.rows), self.kept(f"members_{label}", group.members)
        return Group(group.sample, self.con.sql(f"FROM {rows}"), self.con.sql(f"FROM {members}"), group.cluster)


def outcomes_of(study: StudyFile) -> tuple[str, ...]:
    """Return the main outcome of a study and those that its plan names, each once.

    Examples
    --------
    >>> from retrain_eval.plan.study_file import About, Did, Plan
    >>> about = About(name="s", title="T", question="Q", data="D")
    >>> study = StudyFile(study=about, records={}, did=Did(outcome="earnings"), plan=Plan(outcomes=("employed",)))
    >>> outcomes_of(study)
    ('earnings', 'employed')
    """
    main = (study.did.outcome,) if study.did else ()
    return tuple(dict.fromkeys((*main, *study.plan.outcomes)))
