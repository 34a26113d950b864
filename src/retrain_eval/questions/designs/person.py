"""SQL that designs share: what is known of a person at the start, and the strata that follow from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from retrain_eval.common.errors import InputError
from retrain_eval.common.periods import PER_YEAR
from retrain_eval.common.sources import sql_name, sql_text
from retrain_eval.common.sql import loaded, no_rows, optional
from retrain_eval.plan.strata import Stratum
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.cohort import PROGRAMME, PROVIDER


def history(columns: Mapping[int, str], since: str) -> str:
    """Return SELECT items, each after a comma, of earnings in periods before the start, in a GROUP BY of the panel.

    Parameters
    ----------
    columns : mapping of int → str
        Period since the start → column.
    since : str
        SQL of the periods since the start.

    Examples
    --------
    >>> history({-1: "earnings_m1"}, "to_displacement")
    ', max(earnings) FILTER (to_displacement = -1) AS earnings_m1'
    """
    return "".join(f", max(earnings) FILTER ({since} = {at}) AS {name}" for at, name in columns.items())


def complete(since: str, first: int, last: int) -> str:
    """Return a condition, in a GROUP BY of the panel: earnings are known in each of these periods since the start."""
    return f"count(earnings) FILTER ({since} BETWEEN {first} AND {last}) = {last - first + 1}"


@dataclass(frozen=True)
class PersonColumns:
    """What a table of people takes over from the records of person and programme.

    Attributes
    ----------
    items : tuple of str
        SELECT items: the columns of person but those that the design makes itself; whether a woman; and age.
    programmes : str
        SELECT of ``person_id`` and the programme's attributes, of the first programme that a person entered.
    occupations : str
        SELECT of ``person_id, isco_left``: the first digit of ISCO, the major group, of the job lost first.
    attributes : tuple of str
        Their names.
    strata : Mapping of str to Stratum
    """

    items: tuple[str, ...]
    programmes: str
    occupations: str
    attributes: tuple[str, ...]
    strata: Mapping[str, Stratum]

    @classmethod
    def of(cls, con: duckdb.DuckDBPyConnection, study: StudyFile, made: Sequence[str], start: str) -> PersonColumns:
        """Return what these records give.

        Parameters
        ----------
        con : DuckDBPyConnection
        study : StudyFile
        made : sequence of str
            Columns that the design makes itself.
        start : str
            SQL of the period at whose start people have their age.

        Raises
        ------
        InputError
            If a stratum has the name of a column that the design makes, or is of a column that is not there.
        """
        columns = con.table(PERSON).columns
        asked = [*PROGRAMME, *([PROVIDER] if study.questions.providers is not None else [])]
        own = {name: of for name, of in study.questions.strata().items() if of.column in columns}
        for name in (*study.strata, *own):
            if name.casefold() in {*made, *RESERVED, *asked}:
                raise InputError(
                    f"the name of stratum {name!r} is taken",
                    rule="columns that the design makes itself",
                    fix=f"rename [strata.{name}]",
                )
        for name in own:
            if name in columns:
                raise InputError(
                    f"records of person have a column {name!r}",
                    rule="a question that is asked makes a stratum of this name",
                    fix="rename the column",
                )
        per_year = PER_YEAR.get(study.study.frequency)
        age = per_year is not None and "birth_year" in columns
        there = [*made, *RESERVED, "female", *(["age"] if age else []), *asked]
        kept = [sql_name(name) for name in columns if name not in there]
        attributes: list[str] = []
        if loaded(con, "programme", "enrolment"):
            attributes = [name for name in asked if name in con.table("programme").columns]
        items = [f"person.{name}" for name in kept]
        items += ["person.sex = 'female' AS female"] if "sex" in columns else []
        if age:  # at the start; as given where the year of birth is not known
            given = ", person.age" if "age" in columns else ""
            items.append(f"coalesce({start} // {per_year} - person.birth_year{given}) AS age")
        known = {*columns, *made, *RESERVED, *attributes, *(["female"] if "sex" in columns else [])}
        _check_columns(study.strata, {*known, *(["age"] if age else [])})
        return cls(
            items=tuple(items),
            programmes=_programmes(attributes),
            occupations=_occupations(con),
            attributes=tuple(attributes),
            strata={**study.strata, **own},
        )

    @property
    def columns(self) -> str:
        """SELECT items of what is taken over, each after a comma, where ``person`` and ``programmes`` are joined."""
        return "".join(f", {item}" for item in (*self.items, *(f"programmes.{name}" for name in self.attributes)))

    @property
    def levels(self) -> str:
        """SELECT list of the strata, after what they are made from; a stratum takes the place of its namesake."""
        return "".join(f", {stratum.sql()} AS {sql_name(name)}" for name, stratum in self.strata.items())

    def without_namesakes(self, con: duckdb.DuckDBPyConnection) -> str:
        """Return ``* EXCLUDE (…)`` of the columns that have the name of a stratum, or ``*``."""
        same = [sql_name(name) for name in self.strata if name in con.table(PERSON).columns]
        return f"* EXCLUDE ({', '.join(same)})" if same else "*"


def _check_columns(strata: Mapping[str, Stratum], known: Collection[str]) -> None:
    """Refuse a stratum of a column that neither the records nor the design has."""
    there = {name.casefold() for name in known}
    for name, stratum in strata.items():
        if stratum.column.casefold() not in there:
            raise InputError(
                f"no column for [strata.{name}]",
                column=stratum.column,
                rule="a column of the records of person, of the first programme, or one that the design makes",
                fix=f"add it to the records, or take [strata.{name}] out, and out of the questions that name it",
            )


PERSON = "person"
RESERVED = ("person_id", "treat", "weight", "subclass", "match_id", "clock", "cohort", "period", "start", "linked",
            "complete", "eligible", "person_key", "isco_left", "periods_without_work")  # fmt: skip


def _occupations(con: duckdb.DuckDBPyConnection) -> str:
    """Return a SELECT of the major group of ISCO of the job that each person lost first."""
    lost = optional(con, "displacement", "person_id", "displaced_on DATE", "isco VARCHAR")
    return (
        f"SELECT person_id, min_by(CAST(isco AS VARCHAR)[1:1], displaced_on) AS isco_left FROM ({lost}) "
        "WHERE isco IS NOT NULL GROUP BY person_id"
    )


# a provider's name with each stretch of white space and control characters as one space; an empty one is none
_NAME = f"nullif(trim(regexp_replace({PROVIDER}, '[\\s[:cntrl:]]+', ' ', 'g')), '')"


def _programmes(attributes: Sequence[str]) -> str:
    """Return a SELECT of the attributes of the first programme that each person entered."""
    if not attributes:
        return no_rows("person_id")
    listed = ", ".join(
        f"CAST(min_by({name}, entry) AS ENUM({', '.join(map(sql_text, PROGRAMME[name]))})) AS {name}"
        if name in PROGRAMME
        else f"first({_NAME} ORDER BY entry, programme_id) AS {name}"
        for name in attributes
    )
    return f"SELECT person_id, {listed} FROM enrolment JOIN programme USING (programme_id) GROUP BY person_id"
