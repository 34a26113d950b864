"""Spells with a daily pay as periods, by day: pay is the sum over the days of a period, employer by employer.

A spell that is cut at the end of a year, two parallel spells with one employer and spells that overlap are added up,
day by day. A spell whose dates cannot be read, or that ends before it begins, goes on to be refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrain_eval.common.sql import sql_name
from retrain_eval.common.sql_steps import Pipeline, step, temporary
from retrain_eval.records.layouts.description import Splitting
from retrain_eval.records.layouts.rules import NO_FAULT, label_of_day
from retrain_eval.records.layouts.steps import KEPT, RAGGED, ROWS, Making, fault_name

PAID = "_layout_paid"
_MONTHS = {"year": 12, "quarter": 3, "month": 1}
_NO_ORDER = "the spell ends before it begins, or a date or its pay is missing"


@dataclass(frozen=True)
class SplittingSteps(Pipeline):
    """From spells to one record for each person, period and employer."""

    making: Making
    splitting: Splitting

    @property
    def _keys(self) -> list[str]:
        other = (*self.splitting.main, *self.splitting.any)
        return [name for name in self.making.columns if name not in other]

    @property
    def _flags(self) -> list[str]:
        return [name for name, one in self.making.expressions().items() if one.fault != NO_FAULT]

    @temporary
    def _layout_spells(self) -> str:
        """Return a spell; ``_whole`` where it can be split, ``_copy`` above 1 where it repeats an earlier one."""
        faulty = " OR ".join([RAGGED, *(f"{fault_name(name)} IS NOT NULL" for name in self._flags)])
        everything = ", ".join([*map(sql_name, self.making.columns), "_begin", "_end", "_daily"])
        copy = f"row_number() OVER (PARTITION BY {everything} ORDER BY _record)"
        copy = copy if self.splitting.duplicates == "drop" else "1"
        return f"""
            SELECT *, CASE WHEN _whole THEN {copy} ELSE 1 END AS _copy FROM (
              SELECT *, NOT ({faulty}) AND coalesce(_end >= _begin AND _daily IS NOT NULL, false) AS _whole
              FROM {ROWS} WHERE _drop = {KEPT})"""

    @step
    def cut(self) -> str:
        """Return a spell and a period that it touches, with the days that it has in it."""
        months = _MONTHS[self.making.frequency or "quarter"]
        number = "(year({0}) * 12 + month({0}) - 1) // " + str(months)
        begins = f"CAST(make_date((_p * {months}) // 12, ((_p * {months}) % 12) + 1, 1) AS DATE)"
        ends = f"CAST({begins} + INTERVAL {months} MONTH AS DATE)"
        return f"""
            SELECT *, {begins} AS _from, date_diff('day', greatest(_begin, {begins}), least(_end + 1, {ends})) AS _days
            FROM (
              SELECT *, unnest(range({number.format("_begin")}, {number.format("_end")} + 1)) AS _p
              FROM _layout_spells WHERE _whole AND _copy = 1)"""

    @temporary
    def _layout_paid(self) -> str:
        """Return a record of a person, period and employer: pay, and what its best-paid spell says."""
        keys = [sql_name(name) for name in self._keys]
        best = [f"arg_max({sql_name(name)}, (_daily, -_record)) AS {sql_name(name)}" for name in self.splitting.main]
        some = [
            f"CAST(bool_or({sql_name(name)} = 'true') AS VARCHAR) AS {sql_name(name)}" for name in self.splitting.any
        ]
        amount, period = sql_name(self.splitting.amount), sql_name(self.splitting.period)
        return f"""
            SELECT min(_line) * 4096 + _p % 4096 AS _record, {", ".join([*keys, *best, *some])},
              CAST(round(sum(_daily * _days), 2) AS VARCHAR) AS {amount}, sum(_daily * _days) AS _exact,
              any_value({label_of_day("_from", self.making.frequency)}) AS {period}, count(*) AS _n
            FROM cut GROUP BY {", ".join(keys)}, _p"""

    def records(self) -> str:
        """Return SQL for the records that go to validation, to be run after `build`: spells that are refused too."""
        columns = [*map(sql_name, self.making.columns)]
        faults = [fault_name(name) for name in self._flags]
        first = fault_name(self.making.columns[0])
        none = [f"NULL::VARCHAR AS {name}" for name in dict.fromkeys((*faults, first))]
        kept = [name for name in faults if name != first]
        known = first if first in faults else "NULL::VARCHAR"
        amount, period = sql_name(self.splitting.amount), sql_name(self.splitting.period)
        return f"""
            SELECT _record, false AS {RAGGED}, {", ".join(columns)}, {amount}, {period}, {", ".join(none)} FROM {PAID}
            UNION ALL BY NAME
            SELECT _record, {RAGGED}, {", ".join(columns)}, NULL::VARCHAR AS {amount}, NULL::VARCHAR AS {period},
              {", ".join([*kept, f"coalesce({known}, '{_NO_ORDER}') AS {first}"])}
            FROM _layout_spells WHERE NOT _whole"""
