"""SQL in named steps: each step is one SELECT that can be printed, run and tested alone.

A `Pipeline` is a class whose methods are its steps, in the order in which they are written. A method returns the SELECT
of its step, which reads the steps before it by their names; its docstring says what a row is and which rule applies.
What depends on the study is a field of the class, so a pipeline is plain data until it is built.

- `step` marks a WITH clause of the statement that follows, `recursive` one that reads itself;
- `intermediate` marks a temporary table that is dropped when the pipeline is built: for what is read more than once, or
  would not fit in memory otherwise;
- `table` and `temporary` mark the tables that the pipeline is there to make.

The name of a temporary table begins with an underscore, which the name of a record type cannot.

A table ends a statement: the next statement reads the steps that follow it and the tables made so far, no earlier step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from inspect import cleandoc
from textwrap import indent
from typing import ClassVar

import duckdb

from retrain_eval.common.errors import unknown


class Step:
    """A method of a `Pipeline` that returns the SELECT of one step; see the decorators below."""

    def __init__(
        self, write: Callable[..., str], makes: str = "", *, dropped: bool = False, recursive: bool = False
    ) -> None:
        self.write, self.makes, self.dropped, self.recursive = write, makes, dropped, recursive
        self.name = ""

    def __set_name__(self, owner: type[Pipeline], name: str) -> None:
        self.name = name
        owner.steps = (*owner.steps, self)

    def rule(self) -> str:
        """Return the docstring as comments of SQL: what a row is, and the rule that it follows."""
        return "\n".join(f"-- {line}".rstrip() for line in cleandoc(self.write.__doc__ or "").splitlines())

    def select(self, pipeline: Pipeline) -> str:
        """Return the SELECT alone, in which the steps before it are tables."""
        return cleandoc(self.write(pipeline))


def step(write: Callable[..., str]) -> Step:
    """Mark a method as a WITH clause of the statement that follows."""
    return Step(write)


def recursive(write: Callable[..., str]) -> Step:
    """Mark a method as a WITH clause that reads itself."""
    return Step(write, recursive=True)


def intermediate(write: Callable[..., str]) -> Step:
    """Mark a method as a temporary table that is dropped when the pipeline is built."""
    return Step(write, "TEMP TABLE", dropped=True)


def temporary(write: Callable[..., str]) -> Step:
    """Mark a method as a temporary table that is left for others."""
    return Step(write, "TEMP TABLE")


def table(write: Callable[..., str]) -> Step:
    """Mark a method as a table that the pipeline makes."""
    return Step(write, "TABLE")


class Pipeline:
    """Named steps of SQL, each of which reads those before it; printed, it is the SQL that `build` runs.

    Examples
    --------
    >>> class Pay(Pipeline):
    ...     @step
    ...     def paid(self) -> str:
    ...         "A wage record with pay."
    ...         return "FROM wage_record WHERE wages > 0"
    ...     @table
    ...     def pay(self) -> str:
    ...         "A person: the sum of their pay."
    ...         return "SELECT person_id, sum(wages) AS wages FROM paid GROUP BY person_id"
    >>> print(Pay())
    CREATE OR REPLACE TABLE pay AS
    WITH
    -- A wage record with pay.
    paid AS (
      FROM wage_record WHERE wages > 0
    )
    -- A person: the sum of their pay.
    SELECT person_id, sum(wages) AS wages FROM paid GROUP BY person_id
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE wage_record AS SELECT 'a' AS person_id, unnest([5, 0, 2]) AS wages")
    >>> Pay().relation("paid", con).fetchall()
    [('a', 5), ('a', 2)]
    >>> Pay().build(con)
    >>> con.table("pay").fetchall()
    [('a', 7)]
    """

    steps: ClassVar[tuple[Step, ...]] = ()

    def sql(self, name: str = "", given: Collection[str] = ()) -> str:
        """Return one SELECT of the rows of a step, with every step before it in a WITH clause.

        Parameters
        ----------
        name : str
            The step; by default the last one.
        given : collection of str
            Earlier steps that are tables of the connection, as in a test of one step.

        Raises
        ------
        InputError
            If there is no step of this name.
        """
        names = [one.name for one in self.steps]
        for wanted in (name or names[-1], *given):
            if wanted not in names:
                raise unknown("step", wanted, names)
        last = names.index(name or names[-1])
        return self._statement([one for one in self.steps[:last] if one.name not in given] + [self.steps[last]])

    def relation(
        self, name: str, con: duckdb.DuckDBPyConnection, given: Collection[str] = ()
    ) -> duckdb.DuckDBPyRelation:
        """Return the rows of one step as a relation; see `sql`."""
        return con.sql(self.sql(name, given))

    def build(self, con: duckdb.DuckDBPyConnection) -> None:
        """Make the tables, statement by statement, and drop the intermediate ones."""
        try:
            for statement in self._statements():
                con.execute(statement)
        finally:
            for one in self.steps:
                if one.dropped:
                    with suppress(duckdb.Error):  # of a transaction that failed, or before the table was made
                        con.execute(f"DROP TABLE IF EXISTS temp.{one.name}")

    def __str__(self) -> str:
        return ";\n\n".join(self._statements())

    def _statements(self) -> Iterator[str]:
        """Yield the statements that make the tables, each with the steps between it and the table before."""
        waiting: list[Step] = []
        for one in self.steps:
            waiting.append(one)
            if one.makes:
                yield f"CREATE OR REPLACE {one.makes} {one.name} AS\n{self._statement(waiting)}"
                waiting = []
        if waiting:
            yield self._statement(waiting)

    def _statement(self, steps: Sequence[Step]) -> str:
        *before, last = steps
        keyword = "WITH RECURSIVE" if any(one.recursive for one in before) else "WITH"
        clauses = [f"{one.rule()}\n{one.name} AS (\n{indent(one.select(self), '  ')}\n)" for one in before]
        start = f"{keyword}\n" + ",\n".join(clauses) + "\n" if clauses else ""
        return f"{start}{last.rule()}\n{last.select(self)}"
