"""The answers to a question: effects, tables that the report prints, and what is withheld, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pandas as pd

from retrain_eval.common.errors import DesignError, DisclosureError
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.tables.recipe import Recipe

EFFECTS = "effects"  # the table of which the effects of all results are rows


@summarised
@dataclass(frozen=True)
class Answer:
    """One result.

    Attributes
    ----------
    name : str
        Of the result; of a printed table, the name of the table.
    result : EffectTable or DataFrame
    of : str or None
        The result that the rows of a printed table are about.
    estimates : EffectTable or None
        The same estimates from an additive table, if ``result`` was computed from single rows.
    recipe : Recipe or None
        How a printed table was made, if it does not carry a recipe itself.
    """

    name: str
    result: EffectTable | pd.DataFrame
    of: str | None = None
    estimates: EffectTable | None = None
    recipe: Recipe | None = None


@summarised
@dataclass(frozen=True)
class Withheld:
    """A result that the tables do not give.

    Attributes
    ----------
    name : str
        Of the result.
    error : DesignError or DisclosureError
        Its ``public`` text may be published; the whole text is for the agency.
    table : str
        The table that would hold its rows.
    """

    name: str
    error: DesignError | DisclosureError
    table: str = EFFECTS


@summarised
@dataclass
class Answers:
    """Results in the order in which they are published.

    Attributes
    ----------
    items : list of Answer and Withheld
    notes : list of str
        Lines for the person who runs the study.

    Examples
    --------
    >>> answers = Answers()
    >>> with answers.attempt("did", "payback"):
    ...     raise DesignError("no trainee has a control")
    >>> [(item.name, str(item.error)) for item in answers.items]
    [('did', 'no trainee has a control'), ('payback', 'no trainee has a control')]
    """

    items: list[Answer | Withheld] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def effects(
        self, name: str, effects: EffectTable | Callable[[], EffectTable], *, estimates: EffectTable | None = None
    ) -> None:
        """Add effects under the name of a result.

        Parameters
        ----------
        name : str
        effects : EffectTable, or a function of nothing that returns one
            If the function refuses, the result is withheld by itself.
        estimates : EffectTable, optional
            The same estimates from an additive table, if ``effects`` were computed from single rows.
        """
        if callable(effects):
            with self.attempt(name):
                self.items.append(Answer(name, effects(), estimates=estimates))
        else:
            self.items.append(Answer(name, effects, estimates=estimates))

    def table(
        self,
        name: str,
        rows: pd.DataFrame | Callable[[], pd.DataFrame],
        *,
        of: str | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        """Add rows of a table that the report prints.

        Parameters
        ----------
        name : str
            Of the table, such as ``"tests"``.
        rows : DataFrame, or a function of nothing that returns one
            If the function refuses, the rows are withheld by themselves.
        of : str, optional
            The result that they are about.
        recipe : Recipe, optional
            How they were made, if the frame does not carry that itself.
        """
        if not callable(rows):
            self.items.append(Answer(name, rows, of, recipe=recipe))
            return
        try:
            self.items.append(Answer(name, rows(), of, recipe=recipe))
        except (DesignError, DisclosureError) as error:
            self.withhold(of or name, error, name)

    @contextmanager
    def attempt(self, *names: str) -> Iterator[None]:
        """Try to give results; those not yet given when the block refuses are withheld, with its reason."""
        try:
            yield
        except (DesignError, DisclosureError) as error:
            left = [name for name in names if not self.has(name)]
            for name in left:
                self.withhold(name, error)
            if not left:  # something else that the block was to do
                self.withhold(names[-1], error, "what follows it")

    def withhold(self, name: str, error: DesignError | DisclosureError, table: str = EFFECTS) -> None:
        """List a result as withheld, with the reason."""
        self.items.append(Withheld(name, error, table))

    def has(self, name: str) -> bool:
        """Return whether the effects of a result are given."""
        given = (item for item in self.items if isinstance(item, Answer) and isinstance(item.result, EffectTable))
        return any(item.name == name for item in given)

    def say(self, line: str) -> None:
        """Add a line for the person who runs the study."""
        self.notes.append(line)

    def names(self) -> Iterator[str]:
        """Yield the names of results: of effects, and of what is withheld; not those of printed tables."""
        for item in self.items:
            effects = item.table == EFFECTS if isinstance(item, Withheld) else isinstance(item.result, EffectTable)
            if effects:
                yield item.name
