"""A layout and a raw file as named steps of SQL: from lines to rows of one record type.

Each row keeps the record of the raw file (``_line``) and why it is dropped (``_drop``; 0: it is not), so that what is
counted and what is stored come from one table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retrain_eval.common.shown import summarised
from retrain_eval.common.sql import sql_name, sql_text
from retrain_eval.common.sql_steps import Pipeline, intermediate, step, temporary
from retrain_eval.records.identifiers import pseudonym_sql
from retrain_eval.records.layouts.description import Condition, Layout, RecordRule
from retrain_eval.records.layouts.headers import Found
from retrain_eval.records.layouts.library import fields_of, used_fields
from retrain_eval.records.layouts.raw_table import RawTable
from retrain_eval.records.layouts.rules import NO_FAULT, Expression, column_sql, field_sql, trimmed, without_missing

PEOPLE, CROSSWALK, ROWS, RAW = "_layout_people", "_layout_crosswalk", "_layout_rows", "_layout_raw"
KEPT, BLANK, UNMATCHED, STRANGER, OTHER, COPY, KNOWN, FILTERED = 0, 1, 2, 3, 4, 5, 6, 10
RAGGED = "_ragged"


@summarised
@dataclass(frozen=True)
class Making:
    """What is compiled: a record rule of a layout, for one raw file of a study.

    Attributes
    ----------
    layout, record, found, raw : Layout, str, Found, RawTable
        The rule is that of ``record`` in the layout; the fields stand where ``found`` says.
    frequency : str, optional
        What periods of the study are.
    identifiers : tuple of str
        Columns that hold identifiers of people; they are hashed here if ``hashed``, so that no row is written as it is.
    lookups : mapping
        Reference tables by name.
    lines : str
        SQL of the fields of the file, where they have been read already.
    """

    layout: Layout
    record: str
    found: Found
    raw: RawTable
    frequency: str | None
    identifiers: tuple[str, ...]
    hashed: bool = False
    translated: bool = False
    lookups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    lines: str = ""

    @property
    def rule(self) -> RecordRule:
        """The rule of the record type."""
        return self.layout.records[self.record]

    @property
    def columns(self) -> list[str]:
        """The columns of the record."""
        return list(self.rule.columns)

    def read(self) -> dict[str, Expression]:
        """Return each field that the rule uses: the column with its value, and SQL for its fault."""
        read = {}
        for name in self.used():
            one, value = self.layout.fields[name], value_name(name)
            fault = field_sql(one, sql_name(name), value, self.lookups).fault
            read[name] = Expression(value, fault)
        crosswalk = self.layout.crosswalk
        if self.translated and crosswalk is not None and crosswalk.unmatched == "refuse" and crosswalk.field in read:
            known = read[crosswalk.field]
            read[crosswalk.field] = Expression(known.value, "CASE WHEN _unmatched THEN 'not in the crosswalk' END")
        return read

    def used(self) -> tuple[str, ...]:
        """Return the fields that the rule uses."""
        return used_fields(self.rule)

    def expressions(self) -> dict[str, Expression]:
        """Return each column as value and fault; the fault of the first column holds those of conditions too."""
        read = self.read()
        made = {
            name: column_sql(one, made_name(name), self.layout.fields, read, self.frequency)
            for name, one in self.rule.columns.items()
        }
        hidden = [condition.field for condition in self.rule.where]
        hidden += [self.rule.latest] if self.rule.latest else []
        if self.rule.splitting is not None:
            hidden += [self.rule.splitting.begin, self.rule.splitting.end, self.rule.splitting.daily]
        faults = [read[name].fault for name in dict.fromkeys(hidden) if read[name].fault != NO_FAULT]
        first = next(iter(made))
        if faults:
            known = made[first]
            made[first] = Expression(known.value, f"coalesce({known.fault}, {', '.join(faults)})")
        return made

    def fields_behind(self, column: str) -> tuple[str, ...]:
        """Return the fields from which a column follows, and for the first column those of conditions."""
        fields = fields_of(self.rule.columns[column])
        if column != self.columns[0]:
            return fields
        splitting = self.rule.splitting
        more = [condition.field for condition in self.rule.where] + [self.rule.latest]
        more += [splitting.begin, splitting.end, splitting.daily] if splitting is not None else []
        return tuple(dict.fromkeys((*fields, *(name for name in more if name))))


def value_name(name: str) -> str:
    """Return the hidden column with the value of a field."""
    return sql_name(f"_v_{name}")


def made_name(column: str) -> str:
    """Return the hidden column with the text of a column of the record."""
    return sql_name(f"_c_{column}")


def fault_name(column: str) -> str:
    """Return the hidden column with the text that a column could not be read from."""
    return sql_name(f"_fault_{column}")


@dataclass(frozen=True)
class LayoutSteps(Pipeline):
    """From the lines of a raw file to the rows of one record type, each with its line and why it is dropped."""

    making: Making

    @intermediate
    def _layout_raw(self) -> str:
        """Return a row of the raw file, numbered, with the columns that the record needs."""
        return "SELECT 1 AS nothing" if self.making.lines else raw_sql(self.making, self.making.used())

    @step
    def lines(self) -> str:
        """Return a row: the text of each field, NULL where it stands for a missing value."""
        return self.making.lines or lines_sql(self.making, self.making.used(), RAW)

    @step
    def translated(self) -> str:
        """Return a row, with the identifier that the crosswalk gives; ``_unmatched`` where it has none."""
        crosswalk = self.making.layout.crosswalk
        if not self.making.translated or crosswalk is None or crosswalk.field not in self.making.used():
            return "SELECT *, false AS _unmatched FROM lines"
        name = sql_name(crosswalk.field)
        return f"""
            SELECT l.* REPLACE (x.target AS {name}), l.{name} IS NOT NULL AND x.target IS NULL AS _unmatched
            FROM lines l LEFT JOIN {CROSSWALK} x ON l.{name} = x.source"""

    @step
    def repeated(self) -> str:
        """Return a row for each repetition that a row of the file can hold, such as three trainings."""
        making = self.making
        if making.rule.repeat == 1:
            return "SELECT *, 0 AS _i FROM translated"
        picked = []
        for name in making.used():
            places = making.found.places[name]
            if len(places) > 1:
                parts = [sql_name(f"{name}__{i}") for i in range(len(places))]
                picked.append(f"[{', '.join(parts)}][_i + 1] AS {sql_name(name)}")
            else:
                picked.append(sql_name(name))
        return f"""
            SELECT _line, {RAGGED}, _unmatched, _i, {", ".join(picked)}
            FROM translated, (SELECT unnest(range({making.rule.repeat})) AS _i)"""

    @step
    def read(self) -> str:
        """Return a row with the value of each field: dates, numbers, what codes stand for."""
        making = self.making
        read = {
            name: field_sql(making.layout.fields[name], sql_name(name), "", making.lookups) for name in making.used()
        }
        values = [f"{one.value} AS {value_name(name)}" for name, one in read.items()]
        return f"SELECT *, {', '.join(values)} FROM repeated"

    @step
    def chosen(self) -> str:
        """Return a row with the number of the reason why it is no record; 0 if it is one so far."""
        making, read = self.making, self.making.read()
        blank = " AND ".join(f"{sql_name(name)} IS NULL" for name in making.used())
        cases = [f"WHEN {blank} AND NOT _unmatched AND NOT {RAGGED} THEN {BLANK}"]
        for place, condition in enumerate(making.rule.where):
            cases.append(f"WHEN {_fails(condition, read)} THEN {FILTERED + place}")
        crosswalk = making.layout.crosswalk
        if making.translated and crosswalk is not None and crosswalk.unmatched == "filter":
            cases.append(f"WHEN _unmatched THEN {UNMATCHED}")
        person = "NULL::VARCHAR"
        if "person_id" in making.columns:
            person = making.expressions()["person_id"].value
            person = pseudonym_sql(person) if making.hashed else person
        if not making.rule.people:
            return f"SELECT *, CASE {' '.join(cases)} ELSE {KEPT} END AS _drop FROM read"
        cases.append(f"WHEN _person IS NOT NULL AND _person NOT IN (SELECT person_id FROM {PEOPLE}) THEN {STRANGER}")
        known = f"SELECT *, {person} AS _person FROM read"
        return f"SELECT *, CASE {' '.join(cases)} ELSE {KEPT} END AS _drop FROM ({known})"

    @step
    def valued(self) -> str:
        """Return a row with its columns as text."""
        making = self.making
        parts = []
        for name, one in making.expressions().items():
            value = one.value
            if name in making.identifiers and making.hashed:
                value = "_person" if name == "person_id" and making.rule.people else pseudonym_sql(value)
            parts.append(f"CAST({value} AS VARCHAR) AS {made_name(name)}")
        return f"SELECT *, {', '.join(parts)} FROM chosen"

    @step
    def judged(self) -> str:
        """Return a row with its columns, and texts from which a column could not be read; of a dropped row, nothing."""
        making, rule = self.making, self.making.rule
        parts = [f"_line * {multiplier(making)} + _i AS _record", "_line", RAGGED, "_drop"]
        counted = rule.netting.amount if rule.netting is not None else ""
        for name, one in making.expressions().items():
            made = made_name(name)
            kept = made if name == counted else f"CASE WHEN _drop = {KEPT} THEN {made} END"
            parts.append(f"{kept} AS {sql_name(name)}")
            if one.fault != NO_FAULT:
                parts.append(f"CASE WHEN _drop = {KEPT} THEN {one.fault} END AS {fault_name(name)}")
        read = making.read()
        if rule.latest:
            parts.append(f"{read[rule.latest].value} AS _latest")
        if rule.splitting is not None:
            spell = rule.splitting
            parts += [f"{read[spell.begin].value} AS _begin", f"{read[spell.end].value} AS _end",
                      f"TRY_CAST({read[spell.daily].value} AS DECIMAL(14,4)) AS _daily"]  # fmt: skip
        return f"SELECT {', '.join(parts)} FROM valued"

    @temporary
    def _layout_rows(self) -> str:
        """Return a row; of those with one key, one is kept, and copies are told from others; faulty ones are kept."""
        rule, making = self.making.rule, self.making
        if not rule.one_per:
            return "FROM judged"
        faults = [f"{fault_name(name)} IS NOT NULL" for name, one in making.expressions().items()
                  if one.fault != NO_FAULT]  # fmt: skip
        keys = ", ".join(map(sql_name, rule.one_per))
        everything = ", ".join(map(sql_name, making.columns))
        unsure = " OR ".join([RAGGED, *faults, *(f"{sql_name(name)} IS NULL" for name in rule.one_per)])
        latest = "_latest DESC NULLS LAST, " if rule.latest else ""
        return f"""
            SELECT * EXCLUDE (_drop, _unsure, _of_key, _of_all),
              CASE WHEN _drop <> {KEPT} OR _unsure OR _of_key = 1 THEN _drop
                WHEN _of_all > 1 THEN {COPY} ELSE {OTHER} END AS _drop
            FROM (
              SELECT *,
                row_number() OVER (PARTITION BY _drop, _unsure, {keys} ORDER BY {latest}_record) AS _of_key,
                row_number() OVER (PARTITION BY _drop, _unsure, {everything} ORDER BY {latest}_record) AS _of_all
              FROM (SELECT *, {unsure} AS _unsure FROM judged))"""


def raw_sql(making: Making, used: Sequence[str]) -> str:
    """Return SQL for the rows of a raw file, numbered: the columns in which fields stand, or the line."""
    raw = making.raw
    if raw.fixed_width:
        return f"SELECT _record AS _line, line FROM ({raw.sql()}) WHERE trim(line) <> ''"
    places = dict.fromkeys(place for name in used for place in making.found.places[name] if isinstance(place, str))
    columns = ", ".join(["_record AS _line", RAGGED, *map(sql_name, places)])
    return f"SELECT {columns} FROM ({raw.sql()})"


def lines_sql(making: Making, used: Sequence[str], table: str) -> str:
    """Return SQL for the text of fields from a table of `raw_sql`; a line that ends too early is ragged."""
    texts, cleaned, missing = [], [], making.layout.file.missing
    for name in used:
        one, places = making.layout.fields[name], making.found.places[name]
        for number, place in enumerate(places):
            alias = sql_name(f"{name}__{number}" if len(places) > 1 else name)
            if place is None:
                cleaned.append(f"NULL::VARCHAR AS {alias}")
                continue
            source = (
                sql_name(place) if isinstance(place, str) else f"substr(line, {place[0]}, {place[1] - place[0] + 1})"
            )
            texts.append(f"{trimmed(one, source)} AS {alias}")
            cleaned.append(f"{without_missing(one, alias, missing)} AS {alias}")
    ragged = RAGGED
    if making.raw.fixed_width:
        needed = [place[1] if one.number else place[0] for name, one in making.layout.fields.items() if one.required
                  for place in making.found.places[name] if isinstance(place, tuple)]  # fmt: skip
        ragged = f"length(line) < {max(needed, default=0)} AS {RAGGED}"
    inner = f"SELECT _line, {', '.join([ragged, *texts])} FROM {table}"
    return f"SELECT _line, {', '.join([RAGGED, *cleaned])} FROM ({inner})"


def multiplier(making: Making) -> int:
    """Return by what the number of a raw row is multiplied in that of a record, so that the row follows from it."""
    return 4096 if making.rule.splitting is not None else making.rule.repeat


def _fails(condition: Condition, read: Mapping[str, Expression]) -> str:
    """Return the SQL condition that a row is filtered; one whose field cannot be read is not, so that it is refused."""
    name = sql_name(condition.field)
    good = f"{name} IN ({', '.join(map(sql_text, condition.values))})" if condition.values else f"{name} IS NOT NULL"
    good = f"coalesce({good}, false)" if condition.there else f"NOT coalesce({good}, false)"
    return f"NOT {good} AND {read[condition.field].fault} IS NULL"
