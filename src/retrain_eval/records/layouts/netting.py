"""Several lines of one key as one record: duplicates, sums, negative adjustments, corrections by replacement or delta.

Only keys with several lines or a negative one are looked at closely; any other line is a record as it stands. A line
that cannot be read, or that leaves a total below zero, goes on as it is, so that validation refuses it with its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from retrain_eval.common.sql import sql_name
from retrain_eval.common.sql_steps import Pipeline, intermediate, temporary
from retrain_eval.records.layouts.description import Netting
from retrain_eval.records.layouts.rules import AMOUNT, NO_FAULT
from retrain_eval.records.layouts.steps import KEPT, RAGGED, ROWS, Making, fault_name

NETTED = "_layout_netted"


@dataclass(frozen=True)
class NettingSteps(Pipeline):
    """From rows to records of one key each.

    Attributes
    ----------
    making : Making
        The rows.
    netting : Netting
        The rule.
    key : mapping
        Columns of the key, and the SQL that gives them the type that they have in the store.
    before : str
        SQL for the records of earlier deliveries: the columns of the key, the amount, and ``_place`` (the later
        delivery has the higher one).
    """

    making: Making
    netting: Netting
    key: Mapping[str, str]
    before: str

    @property
    def _amount(self) -> str:
        return sql_name(self.netting.amount)

    @property
    def _keys(self) -> str:
        return ", ".join(sql_name(f"_key_{name}") for name in self.key)

    def _same(self, one: str, other: str) -> str:
        names = [sql_name(f"_key_{name}") for name in self.key]
        return " AND ".join(f"{one}.{name} IS NOT DISTINCT FROM {other}.{name}" for name in names)

    def _lines(self) -> str:
        """Return SQL for the lines that can be netted, with amount ``_pay`` and the key as it is stored, ``_key_…``."""
        made, amount = self.making.expressions(), self._amount
        faulty = " OR ".join([RAGGED, *(f"{fault_name(name)} IS NOT NULL" for name, one in made.items()
                                        if one.fault != NO_FAULT)])  # fmt: skip
        exact = f"TRY_CAST({amount} AS DOUBLE) = CAST(TRY_CAST({amount} AS {AMOUNT}) AS DOUBLE)"
        parts = [f"{sql} AS {sql_name(f'_key_{name}')}" for name, sql in self.key.items()]
        return f"""
            SELECT r.*, {", ".join(parts)}, TRY_CAST({amount} AS {AMOUNT}) AS _pay
            FROM (FROM {ROWS} WHERE _drop = {KEPT}) r SEMI JOIN _layout_suspects ON hash({self._texts}) = h
            WHERE NOT ({faulty}) AND {exact}"""

    @property
    def _texts(self) -> str:
        """The key as text: within a delivery one key has one spelling."""
        return ", ".join(sql_name(name) for name in self.key if name in self.making.columns)

    @intermediate
    def _layout_suspects(self) -> str:
        """Return the hash of a key with several lines or a negative one; for deltas, of every key."""
        if self.netting.corrections == "delta":
            return f"SELECT DISTINCT hash({self._texts}) AS h FROM {ROWS} WHERE _drop = {KEPT}"
        return f"""
            SELECT hash({self._texts}) AS h FROM {ROWS} WHERE _drop = {KEPT}
            GROUP BY h HAVING count(*) > 1 OR bool_or(starts_with({self._amount}, '-'))"""

    @intermediate
    def _layout_closely(self) -> str:
        """Return a line of such a key; ``_copy`` is above 1 for one that equals an earlier one in every column."""
        everything = ", ".join(map(sql_name, self.making.columns))
        copy = f"row_number() OVER (PARTITION BY {everything} ORDER BY _record)"
        copy = copy if self.netting.duplicates == "drop" else "1"
        return f"""
            SELECT *, {copy} AS _copy FROM (
              SELECT * FROM ({self._lines()}))"""

    @intermediate
    def _layout_before(self) -> str:
        """Return the amount of such a key in the latest earlier delivery that has it."""
        keys = ", ".join(f"{sql_name(name)} AS {sql_name(f'_key_{name}')}" for name in self.key)
        return f"""
            SELECT {self._keys}, arg_max(b._pay, b._place) AS _pay
            FROM (SELECT {keys}, {self._amount} AS _pay, _place FROM ({self.before})) b
            SEMI JOIN (SELECT DISTINCT {self._keys} FROM _layout_closely) c ON {self._same("b", "c")}
            GROUP BY {self._keys}"""

    @intermediate
    def _layout_totals(self) -> str:
        """Return a key: what its lines come to, with the total before where it is adjusted; ``_kept`` is its record."""
        several = {"add": "sum(_pay) FILTER (_pay >= 0)", "largest": "max(_pay)", "refuse": "max(_pay)"}
        total = "coalesce(t._positive, b._pay)"
        if self.netting.corrections == "delta":
            total = (
                "CASE WHEN t._positive IS NOT NULL OR b._pay IS NOT NULL "
                "THEN coalesce(t._positive, 0) + coalesce(b._pay, 0) END"
            )
        lowest = "greatest({0}, 0)" if self.netting.below_zero == "zero" else "{0}"
        carried = "b._pay" if self.netting.corrections == "delta" else "CASE WHEN t._positive IS NULL THEN b._pay END"
        return f"""
            SELECT *, {lowest.format("_sum")} AS _total FROM (
              SELECT t.*, {total} + t._negative AS _sum, {carried} AS _carried
              FROM (
                SELECT {self._keys}, CAST({several[self.netting.several]} AS {AMOUNT}) AS _positive,
                  CAST(coalesce(sum(_pay) FILTER (_pay < 0), 0) AS {AMOUNT}) AS _negative,
                  CAST(coalesce(sum(_pay) FILTER (_pay >= 0), 0) AS {AMOUNT}) AS _all,
                  count(*) FILTER (_pay >= 0) AS _n_positive, count(*) AS _n,
                  arg_max(_record, (_pay, -_record)) AS _kept
                FROM _layout_closely WHERE _copy = 1 GROUP BY {self._keys}
              ) t LEFT JOIN _layout_before b ON {self._same("t", "b")})"""

    @temporary
    def _layout_netted(self) -> str:
        """Return a record of validation: ``_new`` is its amount where that is not the line's own.

        A key whose lines are not netted keeps all of its lines: there is nothing to adjust, its total is below zero, or
        different lines are to be refused.
        """
        unclear = "t._sum IS NULL OR t._total < 0"
        if self.netting.several == "refuse":
            unclear += " OR t._n_positive > 1"
        return f"""
            SELECT c._record, t._total AS _new, c._pay, c._copy,
              CASE WHEN c._copy > 1 THEN 'copy' WHEN {unclear} THEN 'as it is'
                WHEN c._record = t._kept THEN 'total' ELSE 'netted' END AS _role,
              t._carried, t._sum, t._all, t._positive
            FROM _layout_closely c LEFT JOIN _layout_totals t ON {self._same("c", "t")}"""

    def records(self) -> str:
        """Return SQL for the records that go to validation, to be run after `build`."""
        amount = self._amount
        new = f"coalesce(CAST(CASE WHEN n._role = 'total' THEN n._new END AS VARCHAR), r.{amount})"
        return f"""
            SELECT r.* REPLACE ({new} AS {amount})
            FROM {ROWS} r LEFT JOIN {NETTED} n USING (_record)
            WHERE r._drop = {KEPT} AND coalesce(n._role NOT IN ('copy', 'netted'), true)"""

    def account(self) -> str:
        """Return SQL that counts: copies and netted lines, and the money of copies, carried, raised and set aside."""
        return f"""
            SELECT count(*) FILTER (_role = 'copy'), count(*) FILTER (_role = 'netted'),
              count(*) FILTER (_pay < 0 AND _role IN ('total', 'netted')),
              coalesce(sum(_pay) FILTER (_role = 'copy'), 0), coalesce(sum(_carried) FILTER (_role = 'total'), 0),
              coalesce(sum(_new - _sum) FILTER (_role = 'total'), 0),
              coalesce(sum(_all - _positive) FILTER (_role = 'total'), 0)
            FROM {NETTED}"""
