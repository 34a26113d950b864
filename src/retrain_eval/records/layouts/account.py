"""What became of the rows of a raw file: every row and every unit of money is accounted for, or the load stops."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb

from retrain_eval.common.errors import StoreError
from retrain_eval.common.shown import summarised
from retrain_eval.common.sql import sql_name
from retrain_eval.records.layouts.description import Condition
from retrain_eval.records.layouts.netting import NettingSteps
from retrain_eval.records.layouts.rules import AMOUNT
from retrain_eval.records.layouts.splitting import PAID, SplittingSteps
from retrain_eval.records.layouts.steps import (
    BLANK,
    COPY,
    FILTERED,
    KEPT,
    KNOWN,
    OTHER,
    ROWS,
    STRANGER,
    UNMATCHED,
    Making,
)

_NOTHING = Decimal(0)
_CODES = 20  # of a field that the report lists
_REASONS = {
    BLANK: "blank rows",
    UNMATCHED: "rows without a match in the crosswalk",
    STRANGER: "rows of people outside the study",
    OTHER: "rows of records that another row of the file gives",
    COPY: "exact duplicates",
    KNOWN: "rows of records that an earlier delivery gives",
}


@summarised
@dataclass(frozen=True)
class Line:
    """A number of rows or records, and their money where they have any."""

    what: str
    rows: int
    money: Decimal = _NOTHING


@summarised
@dataclass(frozen=True)
class Account:
    """Rows in and records out of one raw file and record type.

    Attributes
    ----------
    rows_in : Line
        Rows of the file, times the records that each can hold.
    dropped : tuple of Line
        Rows that are no records, by reason.
    spells : int, optional
        Spells that were split into periods; None where rows are records.
    records : Line
        Records that go to validation.
    carried, raised, set_aside, rounding : Decimal
        Money of earlier deliveries that adjustments were made to; by which totals below zero were raised to it; of
        smaller lines of which the largest counts; by which sums of days were rounded.
    adjustments : int
        Negative lines that were netted.
    """

    rows_in: Line
    dropped: tuple[Line, ...]
    records: Line
    spells: int | None = None
    carried: Decimal = _NOTHING
    raised: Decimal = _NOTHING
    set_aside: Decimal = _NOTHING
    rounding: Decimal = _NOTHING
    adjustments: int = 0
    has_money: bool = False

    def check(self, file: object) -> None:
        """Stop a load whose totals do not balance, in records and in money.

        Raises
        ------
        StoreError
            If they do not: this is a fault of the package, and nothing is stored.
        """
        lost = self.rows_in.rows - sum(line.rows for line in self.dropped)
        lost -= self.records.rows if self.spells is None else self.spells
        money = self.rows_in.money + self.carried + self.raised
        money -= (
            sum((line.money for line in self.dropped), _NOTHING) + self.set_aside + self.rounding + self.records.money
        )
        if lost or money:
            raise StoreError(
                f"the totals of {file} do not balance: {lost:,} rows and {money:,} in money are missing; "
                "nothing was stored; please report this"
            )

    def lines(self) -> Iterator[str]:
        """Yield what happened, line by line."""

        def with_money(line: Line, sign: str = "") -> str:
            return f"{sign}{counted(line.rows, line.what)}" + (f" ({line.money:,.2f})" if self.has_money else "")

        yield with_money(self.rows_in)
        yield from (with_money(line, "- ") for line in self.dropped if line.rows)
        if self.adjustments:
            yield f"  negative adjustments among the lines: {self.adjustments:,}"
        for words, amount in (
            ("+ carried over from earlier deliveries", self.carried),
            ("+ raised to zero", self.raised),
            ("- smaller lines of a key, of which the largest counts", self.set_aside),
            ("- rounding to cents", self.rounding),
        ):
            if amount:
                yield f"{words}: {amount:,.2f}"
        if self.spells is not None:
            yield f"= {counted(self.spells, 'spells')}, split by day into"
        yield with_money(self.records, "= ")

    @property
    def is_of_strangers(self) -> bool:
        """Whether every row is of a person outside the study: identifiers may be of two kinds."""
        outside = sum(line.rows for line in self.dropped if line.what == _REASONS[STRANGER])
        return 0 < outside == self.rows_in.rows

    def facts(self) -> list[tuple[str, int, Decimal]]:
        """Return the control totals as rows of the store's table ``imports``."""
        rows = [("in", self.rows_in.rows, self.rows_in.money)]
        rows += [(line.what, line.rows, line.money) for line in self.dropped if line.rows]
        rows += [(what, 0, amount) for what, amount in (("carried", self.carried), ("raised", self.raised), (
            "set aside", self.set_aside), ("rounding", self.rounding)) if amount]  # fmt: skip
        spells = [] if self.spells is None else [("spells", self.spells, _NOTHING)]
        return [*rows, *spells, ("records", self.records.rows, self.records.money)]


def counted(n: int, what: str) -> str:
    """Return a number of things in words; ``what`` begins with their name in the plural.

    Examples
    --------
    >>> counted(1, "rows of people outside the study"), counted(2_000, "exact duplicates"), counted(1, "blank rows")
    ('1 row of people outside the study', '2,000 exact duplicates', '1 blank row')
    """
    one = re.sub(r"^((?:exact |blank )?[a-z]+?)s\b", r"\1", what) if n == 1 else what
    return f"{n:,} {one}"


def in_words(condition: Condition, where: str) -> str:
    """Return why a condition filters a row, in words."""
    if not condition.values:
        return f"rows filtered: {where} {'is empty' if condition.there else 'is there'}"
    return f"rows filtered: {where} is {'not ' * condition.there}{' or '.join(condition.values)}"


def account_of(
    con: duckdb.DuckDBPyConnection, making: Making, steps: NettingSteps | SplittingSteps | None, records: str
) -> Account:
    """Count the rows of the steps that have been built, and the records of ``records``, a table."""
    money = "0"
    if isinstance(steps, NettingSteps):
        money = f"coalesce(sum(TRY_CAST({sql_name(steps.netting.amount)} AS {AMOUNT})), 0)"
    elif isinstance(steps, SplittingSteps):
        money = "coalesce(sum(CASE WHEN _end >= _begin THEN _daily * (date_diff('day', _begin, _end) + 1) END), 0)"
    found = con.execute(f"SELECT _drop, count(*), {money} FROM {ROWS} GROUP BY ALL ORDER BY ALL").fetchall()
    by_reason = {int(drop): (int(n), Decimal(amount)) for drop, n, amount in found}
    repeat = making.rule.repeat
    what = "rows" if repeat == 1 else f"rows, {repeat} for each row of the file"
    rows_in = Line(what, sum(n for n, _ in by_reason.values()), sum((m for _, m in by_reason.values()), _NOTHING))
    dropped = [Line(_reason(drop, making), *by_reason[drop]) for drop in by_reason if drop != KEPT]
    amount = steps.netting.amount if isinstance(steps, NettingSteps) else (
        steps.splitting.amount if isinstance(steps, SplittingSteps) else "")  # fmt: skip
    total = f"coalesce(sum(TRY_CAST({sql_name(amount)} AS {AMOUNT})), 0)" if amount else "0"
    [(n, out)] = con.execute(f"SELECT count(*), {total} FROM {records}").fetchall()
    made = Line("records", int(n), Decimal(out))
    if isinstance(steps, NettingSteps):
        copies, netted, negative, *amounts = con.execute(steps.account()).fetchall()[0]
        of_copies, carried, raised, aside = map(Decimal, amounts)
        dropped += [
            Line("exact duplicates", int(copies), of_copies),
            Line("lines netted into another line of their key", int(netted)),
        ]
        return Account(rows_in, tuple(dropped), made, carried=carried, raised=raised, set_aside=aside,
                       adjustments=int(negative), has_money=True)  # fmt: skip
    if isinstance(steps, SplittingSteps):
        pay = "_daily * (date_diff('day', _begin, _end) + 1)"
        copies, of_copies, used, unsplit, of_unsplit = con.execute(
            f"SELECT count(*) FILTER (_copy > 1), coalesce(sum({pay}) FILTER (_copy > 1), 0), "
            "count(*) FILTER (_whole AND _copy = 1), count(*) FILTER (NOT _whole), "
            f"coalesce(sum({pay}) FILTER (NOT _whole AND _end >= _begin), 0) FROM _layout_spells"
        ).fetchall()[0]
        [(exact,)] = con.execute(f"SELECT coalesce(sum(_exact), 0) FROM {PAID}").fetchall()
        dropped += [
            Line("exact duplicates", int(copies), Decimal(of_copies)),
            Line("spells to be refused, which cannot be split", int(unsplit), Decimal(of_unsplit)),
        ]
        return Account(
            rows_in, tuple(dropped), made, spells=int(used), rounding=Decimal(exact) - made.money, has_money=True
        )
    return Account(rows_in, tuple(dropped), made)


def _reason(drop: int, making: Making) -> str:
    if drop in _REASONS:
        return _REASONS[drop]
    condition = making.rule.where[drop - FILTERED]
    return in_words(condition, making.found.where(condition.field) or condition.field)


def recodes(
    con: duckdb.DuckDBPyConnection, lines: str, codes: Sequence[tuple[str, str, Mapping[str, str]]]
) -> list[str]:
    """Return how often each code of a field occurs and what it became; codes that are not listed are only counted.

    Parameters
    ----------
    con : DuckDBPyConnection
    lines : str
        SQL of the fields.
    codes : sequence of (str, str, mapping)
        Column of ``lines``, its place in the file, and what its codes stand for.
    """
    if not codes:
        return []
    parts = ", ".join(f"histogram({sql_name(name)})" for name, _, _ in codes)
    found = con.execute(f"SELECT {parts} FROM ({lines})").fetchall()[0]
    said = []
    for (name, where, known), counts in zip(codes, found, strict=True):
        shown = [
            f"{code} → {known[code] or 'missing'} ({n:,})"
            for code, n in sorted((counts or {}).items())
            if code in known
        ]
        if len(shown) > _CODES:
            shown = [*shown[:_CODES], f"{len(shown) - _CODES:,} codes more"]
        strange = sum(n for code, n in (counts or {}).items() if code not in known)
        shown += [f"codes that are not listed ({strange:,})"] if strange else []
        if shown:
            said.append(f"{name.split('__')[0]} ({where}): {', '.join(shown)}")
    return said
