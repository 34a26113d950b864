"""Where results go: under their names, with what they follow from, or listed as withheld with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pandas as pd

from retrain_eval.common.errors import DesignError, DisclosureError, InputError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.plan.stamp import stamp_of
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.answers import Answers, Withheld
from retrain_eval.questions.tables import CLUSTERED, Tables
from retrain_eval.release.layout import TABLES
from retrain_eval.release.results import Results
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.counts import SampleCounts

Say = Callable[[str], None]
Result = EffectTable | Additive | Spells | pd.DataFrame


class Publishing:
    """What `retrain_eval.study.run.Run` does with results.

    Attributes
    ----------
    study : StudyFile
    say : callable
        Prints one line of progress.
    results : Results
    """

    study: StudyFile
    say: Say
    results: Results

    @contextmanager
    def attempt(self, *names: str) -> Iterator[None]:
        """Try to publish results; those that the records cannot give are listed as withheld, and the run goes on.

        Parameters
        ----------
        *names : str
            The results that the block publishes. Where it ends in a `DesignError` or `DisclosureError`, those not yet
            published are withheld with its reason. Any other error, such as a misspelt column, stops the run.

        Examples
        --------
        In a study's ``run.py``::

            with run.attempt("att_by_age_band", "difference_by_age_band"):
                within = rte.match(people, unit="person_id", **options)
                run.publish_levels("age_band", levels(within))
        """
        if not names:
            raise InputError(
                "attempt() needs the names of the results that a block publishes", fix='run.attempt("did")'
            )
        try:
            yield
        except (DesignError, DisclosureError) as error:
            missing = [name for name in names if not self._published(name)]
            for name in missing:
                self._withhold(name, error)
            if not missing:  # something else that the block was to do
                self._withhold(names[-1], error, "what follows it")

    def stop(self, error: DesignError | DisclosureError) -> None:
        """End a script that could not go on: what it has published is kept, and the rest is listed as withheld.

        Raises
        ------
        DesignError, DisclosureError
            The same, if it has published nothing.
        """
        if not self.results.tables:
            raise error
        self.say(f"run.py stopped, what it had published is kept: {str(error).splitlines()[0]}")
        self.results.withhold("the rest of run.py", error.public, "all")

    def _published(self, name: str) -> bool:
        effects = self.results.tables.get("effects")
        return effects is not None and bool((effects["result"] == name).any())

    def _withhold(self, name: str, error: DesignError | DisclosureError, table: str = "effects") -> None:
        what = name if table == "effects" else f"{table} of {name}"
        self.say(f"{what} is withheld: {str(error).splitlines()[0]}")
        self.results.withhold(name, error.public, table)

    def publish(
        self,
        name: str,
        result: Result | Callable[[], Result],
        *,
        of: str | None = None,
        estimates: EffectTable | None = None,
    ) -> None:
        """Keep a result under a name: effects, an additive table, or a table that the report prints.

        Effects and printed tables know how they were made. A release makes them again from the additive tables, once
        these are protected: publish the moments or the life table too, before or after.

        Parameters
        ----------
        name : str
            Of effects, the name that the report finds them by; of outcome moments, life tables and statistics, the name
            of their file; of a table that the report prints, the name of that table, such as ``"means"``.
        result : EffectTable, additive table, Spells or DataFrame; or a function
            A function of nothing that returns one is called here, as in
            ``run.publish("mean", lambda: spells.rmst(tau=8))``: if the records cannot give the result, it is listed as
            withheld with the reason, and the run goes on; see `attempt`.
        of : str, optional
            The result that the rows of a printed table are about: ``run.publish("tests", rte.pretrend_test(effects),
            of="event_study")``.
        estimates : EffectTable, optional
            The same estimates made from an additive table, where effects come from single records, as those of another
            program: a release then makes the estimates again, and refuses the two if they differ.

        Raises
        ------
        InputError
            If ``result`` is something else, or its name is taken or cannot be that of a file; if a printed table has
            another name or other columns than the report's; if effects and ``estimates`` differ by more than 1e-7 of an
            estimate or of its standard error, or in counts.
        """
        if not callable(result):
            self._keep(name, result, of, estimates)
        elif name in TABLES:
            try:
                self._keep(name, result(), of, None)
            except (DesignError, DisclosureError) as error:
                self._withhold(of or name, error, name)
        else:
            with self.attempt(name):
                self._keep(name, result(), of, estimates)

    def _keep(self, name: str, result: Result, of: str | None, estimates: EffectTable | None) -> None:
        if isinstance(result, pd.DataFrame):
            self.results.add_table(name, result, of)
        elif of is not None:
            raise InputError("only a printed table is about a result", column="of", value=of, fix="leave out of=")
        elif isinstance(result, EffectTable):
            self.results.add_effects(name, result, estimates)
        elif isinstance(result, SampleCounts):
            result.mark(stamp_of(self.study))
            self.results.add_counts(result)
        elif isinstance(table := getattr(result, "table", result), Additive):
            table.mark(stamp_of(self.study))
            self.results.add_additive(name, table)
        else:
            raise InputError(
                f"a {type(result).__name__} cannot be published",
                value=name,
                fix="give effects, an additive table such as outcome moments, or a table that the report prints",
            )

    def _keep_tables(self, tables: Tables) -> None:
        """Keep additive tables, but those that stay at the agency."""
        for label, table in tables.items():
            if not label.startswith(CLUSTERED):
                self.publish(label.partition("/")[2], table)

    def _keep_answers(self, answers: Answers) -> None:
        """Keep results in their order, and list what is withheld."""
        for item in answers.items:
            if isinstance(item, Withheld):
                self._withhold(item.name, item.error, item.table)
            elif isinstance(item.result, EffectTable):
                self.results.add_effects(item.name, item.result, item.estimates)
            else:
                self.results.add_table(item.name, item.result, item.of, item.recipe)
        for line in answers.notes:
            self.say(line)
