"""What a study's script is given, and where it puts what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice

import duckdb
import msgspec

from retrain_eval.common.errors import DesignError, DisclosureError, InputError, RetrainEvalError, unknown
from retrain_eval.common.shown import summarised
from retrain_eval.common.sources import Source, as_relation
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.asking import answers_of, build_cohort, gather, prepare
from retrain_eval.questions.catalogue import COHORTS, QUESTIONS
from retrain_eval.questions.cohort import Cohort
from retrain_eval.questions.levels import answer_levels
from retrain_eval.questions.protocol import Inquiry
from retrain_eval.questions.supporting.balance import answer_balance, baseline_from_rows, collect_balance
from retrain_eval.questions.supporting.sensitivity import answer_bias, answer_robustness, bias_tables
from retrain_eval.questions.tables import CLUSTERED
from retrain_eval.records.store import Store
from retrain_eval.release.question_file import Answered
from retrain_eval.release.results import Results
from retrain_eval.sample.hidden_bias.hidden_bias import MAKE, hidden_bias
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.relabelled import relabelled
from retrain_eval.sample.ties import RELABELLINGS, Effects, effects_relabelled, ties_moved, ties_table
from retrain_eval.study.publishing import Publishing, Say
from retrain_eval.tables.noise.person_keys import ReleaseKey, has_keys, with_keys
from retrain_eval.tables.statistics import Ties

EffectOf = Callable[[MatchedSample], float]


@summarised
@dataclass
class Run(Publishing):
    """What a study's ``analyse(run)`` is given: the plan, the store, and where results go.

    Attributes
    ----------
    study : StudyFile
        The typed ``study.toml``.
    store : Store
        The open store; ``run.con`` is its DuckDB connection.
    results : Results
        Filled by `publish`.
    say : callable
        Prints one line of progress.
    key : ReleaseKey, optional
        What `keyed` gives keys with; none if the rules attach no noise.
    """

    study: StudyFile
    store: Store
    say: Say
    key: ReleaseKey | None = field(default=None, repr=False)
    results: Results = field(default_factory=Results)
    _cohorts: dict[str, Cohort] = field(default_factory=dict, init=False, repr=False)
    _unavailable: dict[str, str] | None = field(default=None, init=False, repr=False)

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The store's DuckDB connection, records loaded."""
        return self.store.con

    def keyed(self, rows: duckdb.DuckDBPyRelation, person: str = "person_id") -> duckdb.DuckDBPyRelation:
        """Give rows the keys of their people, so that what is summed over them can be protected and released.

        Parameters
        ----------
        rows : DuckDB relation
            On this store's connection, with one person per row.
        person : str
            Column of the identifier.

        Returns
        -------
        DuckDB relation
            With a column ``person_key``; unchanged if there is one, as where a keyed sample was joined, or if the
            study's profile is ``open``, which releases exact numbers.

        Examples
        --------
        In a study's ``run.py``::

            moments = rte.outcome_moments(run.keyed(run.con.table("followed")), unit="person_id", ...)
        """
        return rows if self.key is None or has_keys(rows) else with_keys(self.con, rows, person, self.key)

    def cohort(self, design: str | None = None) -> Cohort:
        """Return the people of a design, with what questions share: panel, history, matched samples and follow-up.

        Parameters
        ----------
        design : str, optional
            Name of a section ``[designs.NAME]``; the study's only one where it is left out.

        Returns
        -------
        Cohort
            Every relation of it has the keys of its people.

        Raises
        ------
        InputError
            If there is no such design, there are several and none is named, or the records lack what it needs.

        Examples
        --------
        In a study's ``run.py``::

            cohort = run.cohort()
            run.ask(cohort)
        """
        names = list(self.study.designs)
        if design not in names and not (design is None and len(names) == 1):
            raise unknown("design", design or "", names or ["add a section [designs.NAME] to the study file"])
        name = names[0] if design is None else design
        if name not in self._cohorts:
            of_design = self.study.designs[name]
            if lacking := COHORTS[of_design.kind].needs(of_design).missing(self._filled, self.study):
                raise InputError(
                    f"the design {name} needs {', '.join(lacking)}",
                    rule=f"what a design of the kind {of_design.kind} compares people by",
                    fix="name a file in [records], or use another design",
                )
            if self._unavailable is None:
                self._unavailable = prepare(self.con, self.study, self.say)
            self.say(f"people of the design {name}")
            self._cohorts[name] = build_cohort(self.con, self.study, name, self.say, self.key, self._unavailable)
        return self._cohorts[name]

    def ask(self, cohort: Cohort, *names: str) -> None:
        """Ask questions of a cohort, and keep their tables and answers.

        Parameters
        ----------
        cohort : Cohort
            From `cohort`.
        *names : str
            Of questions; left out, those whose section ``[questions.NAME]`` names this design.

        Raises
        ------
        InputError
            If a question does not exist, the study file does not ask it of this design, or it lacks a section that the
            question needs. A question that needs other records is listed as withheld, and the others are asked.
        """
        asked = dict(self.study.questions.of_design(cohort.name, tuple(self.study.designs)))
        for name in names:
            if name not in asked:
                raise unknown(f"question of the design {cohort.name}", name, asked)
        for name in names or asked:
            question, inquiry = QUESTIONS[name], Inquiry(self.study, cohort.name, asked[name])
            if sections := question.needs.sections_missing(self.study):
                raise InputError(
                    f"[questions.{name}] needs {', '.join(f'[{section}]' for section in sections)}",
                    fix="add what is missing to study.toml, or leave the question out",
                )
            if lacking := question.missing(self._filled, self.study, cohort.design.kind):
                self._withhold(name, DesignError(f"it needs {', '.join(lacking)}"))
                continue
            tables = gather(question, cohort, inquiry)
            self._keep_tables(tables)
            answers = answers_of(question, cohort, tables, inquiry)
            for found in answers:
                self._keep_answers(found)
            self.results.answered.append(
                Answered(
                    question=name,
                    version=question.version,
                    design=cohort.name,
                    options=msgspec.to_builtins(inquiry.options),
                    tables=tuple(label for label in tables if not label.startswith(CLUSTERED)),
                    results=tuple(dict.fromkeys(name for found in answers for name in found.names())),
                )
            )

    @cached_property
    def _filled(self) -> dict[str, list[str]]:
        return self.store.filled()

    @property
    def _seed(self) -> int:
        return self.study.study.seed

    def publish_sample(
        self,
        candidates: Source,
        sample: MatchedSample,
        *,
        before: Mapping[int, str],
        amounts: Sequence[str] = (),
        implied: Sequence[str] = (),
    ) -> None:
        """Keep how alike the groups are: balance, common support, who was matched, and paths before the programme.

        Parameters
        ----------
        candidates : DuckDB relation, DataFrame, Arrow table or path
            The people given to ``match``, with the plan's strata as columns.
        sample : MatchedSample
            What it returned.
        before : mapping of int to str
            Period, or distance from the start of training → column of the main outcome; empty if there is none.
        amounts : sequence of str
            Further covariates that are amounts of money, beside those of ``before`` with more values than 0 and 1:
            their sums get each person's noise. Other numbers are protected as counts of people.
        implied : sequence of str
            Covariates that all people, or none, have by the sample's definition.
        """
        tables = collect_balance(candidates, sample, self.study, before, amounts, implied)
        answers = Answers()
        answer_balance(answers, tables, self.study, before)
        baseline_from_rows(answers, tables, candidates, sample, self.study, before)
        self._keep_tables(tables)
        self._keep_answers(answers)

    def publish_hidden_bias(self, name: str, people: Source, sample: MatchedSample, outcome: str) -> None:
        """Keep how much hidden bias an effect bears: Rosenbaum bounds, E-value and Oster's bounds.

        If more than a tenth of the choices of a control were ties, which the order of identifiers settles, also how far
        the effect moves over other orders.

        Parameters
        ----------
        name : str
            The result that the effect was published under; its first row is meant.
        people : DuckDB relation, DataFrame, Arrow table or path
            The people given to ``match``, with the outcome as a column.
        sample : MatchedSample
            What it returned.
        outcome : str
            Column whose difference in means the effect is.
        """
        if not self._published(name):
            if name in (withheld := self.results.withheld()):
                for table in MAKE:
                    self.results.withhold(name, withheld[name], table)
                return
            raise InputError(f"no result {name!r} is published", fix="publish it before asking for its hidden bias")
        effects = self.results.tables["effects"]
        row = effects[effects["result"] == name].iloc[0]
        effect = {"estimate": row["estimate"], "std_error": row["std_error"]}
        try:
            found = hidden_bias(people, sample, outcome, **effect, winsorise=self.study.release.winsorise)
        except (DesignError, DisclosureError) as error:
            for table in MAKE:
                self._withhold(name, error, table)
            return
        answers = Answers(notes=list(found.notes))
        answer_bias(answers, found, name)
        self._keep_tables(bias_tables(found, name))
        self._keep_answers(answers)
        if sample.audit["method"] != "riskset":
            made = partial(effects_relabelled, people, sample, outcome, seed=self._seed)
            self._publish_moves(name, sample, made, noisy=has_keys(as_relation(people)))

    def publish_ties(self, name: str, sample: MatchedSample, effect: EffectOf, *, noisy: bool = False) -> None:
        """Keep how far an effect moves with the order of identifiers, if more than a tenth of choices were ties.

        `publish_hidden_bias` does so for a difference in means; with risk sets the script says how the effect follows
        from a sample.

        Parameters
        ----------
        name : str
            The result that the effect was published under.
        sample : MatchedSample
            What it was estimated from, as `match` returned it.
        effect : callable
            Returns the effect in a sample. It is called only if there are so many ties, once for each of
            `RELABELLINGS` samples that were matched with units in another order.
        noisy : bool
            Whether it is computed from noisy amounts; else a release with noise has only the share of ties.
        """
        samples = islice(relabelled(sample, self._seed), RELABELLINGS)
        self._publish_moves(name, sample, lambda: [effect(other) for other in samples], noisy=noisy)

    def _publish_moves(self, name: str, sample: MatchedSample, effects: Effects, *, noisy: bool) -> None:
        try:
            ties = ties_moved(sample, effects, noisy=noisy)
        except RetrainEvalError as error:
            self.say(f"how far {name} moves with the order of identifiers is not known: {error}")
            return
        if ties is not None:
            self.keep_ties(name, ties, name)

    def keep_ties(self, of: str, ties: Ties, result: str | None) -> None:
        """Keep how many choices were ties, and the table printed from that."""
        self.publish(f"{of}_ties", ties)
        self.publish("ties", ties_table(ties), of=result)

    def publish_levels(
        self,
        name: str,
        levels: EffectTable | Callable[[], EffectTable],
        *,
        of: str | None = None,
        smallest_worthwhile: float | None = None,
    ) -> None:
        """Keep the effects by a stratum, differences between levels and, if it is known what matters, verdicts.

        Parameters
        ----------
        name : str
            The stratum.
        levels : EffectTable, or a function of nothing that returns one
            One effect per level. With fewer than two of them, there is nothing to compare, and both results are
            withheld.
        of : str, optional
            The result that these are levels of: they are named ``{of}_by_{name}`` and ``{of}_by_{name}_difference``.
            Left out: ``att_by_{name}`` and ``difference_by_{name}``.
        smallest_worthwhile : float, optional
            The least effect that would matter; left out: the plan's, in ``[did]``, for its own outcome.
        """
        worth = smallest_worthwhile
        if worth is None and of is None and self.study.did:
            worth = self.study.did.smallest_worthwhile
        answers = Answers()
        found = (lambda: levels) if isinstance(levels, EffectTable) else levels
        answer_levels(answers, name, found, seed=self._seed, of=of, smallest_worthwhile=worth)
        self._keep_answers(answers)

    def publish_robustness(self, name: str, moments: OutcomeMoments) -> None:
        """Keep bounds, power of the pre-test, other base periods and placebo starts of an event study.

        Parameters
        ----------
        name : str
            The result that the event study was published under.
        moments : OutcomeMoments
            What it was estimated from.
        """
        answers = Answers()
        answer_robustness(answers, name, moments, self.study)
        self._keep_answers(answers)
