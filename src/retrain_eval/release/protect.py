"""Protect first, estimate second: the additive tables are made safe, and every row follows from them again."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from retrain_eval.effects import COUNTS, NUMBERS
from retrain_eval.errors import DesignError, DisclosureError, InputError
from retrain_eval.lifetable import LifeTable
from retrain_eval.moments import OutcomeMoments
from retrain_eval.release.derive import Deriver, Tables
from retrain_eval.release.rules import PART, SAID_OF_RESULTS, apply, check_balance, is_withheld, of_published
from retrain_eval.results import Part, Results

MERGED = "withheld: needs cells that are merged"


def protect(results: Results, min_cell: int) -> tuple[Results, list[str]]:
    """Return the results as they may be published, and a record of what was withheld.

    Parameters
    ----------
    results : Results
        What the run found.
    min_cell : int
        Fewest people behind a published number.

    Returns
    -------
    Results, list of str

    Raises
    ------
    DisclosureError
        If a moments or life table cannot be made to hold the rule.

    Examples
    --------
    >>> flow = pd.DataFrame({"step": ["a", "b"], "group": "treated", "n": [185, 4], "reason": ""})
    >>> safe, record = protect(Results(tables={"flow": flow}), 10)
    >>> safe.tables["flow"]["n"].isna().tolist(), record
    ([False, True], ['Table flow: 1 count(s) below 10 are withheld.'])
    """
    safe, record = Results(), []
    for name, moments in results.moments.items():
        safe.moments[name], notes = _moments(name, moments, min_cell)
        record += notes
    for name, table in results.life_tables.items():
        _check_life_table(name, table, min_cell)
        safe.life_tables[name] = table
    published, notes = publish(results, safe.kept(), min_cell)
    safe.tables, safe.parts = published.tables, published.parts
    return safe, [*notes, *record]


def publish(results: Results, kept: Tables, min_cell: int) -> tuple[Results, list[str]]:
    """Make every row again that follows from a protected table, and apply the rules to all rows.

    Doing it twice changes nothing, so that `verify` does the same to a bundle and compares.

    Parameters
    ----------
    results : Results
        Rows, and what they were made by.
    kept : mapping of str → OutcomeMoments or LifeTable
        The protected tables, by the names that derivations give.
    min_cell : int

    Returns
    -------
    Results, list of str
        Tables and parts only, and a record of what was withheld.
    """
    deriver, record = Deriver(kept), list[str]()
    parts: list[Part] = []
    blocks: dict[str, list[pd.DataFrame]] = {name: [] for name in results.tables}
    for part, standing in results.blocks():
        rows = standing
        if part.derivation is not None:
            try:
                rows = deriver.rows(part)
            except (InputError, DesignError) as error:
                name, why = part.result or part.table, str(error).splitlines()[0]
                record.append(f"{name}: withheld, because the protected tables do not give it: {why}")
                part, rows = replace(part, derivation=None), _without_numbers(part, standing)
        blocks[part.table].append(rows.assign(**{PART: len(parts)}))
        parts.append(part)
    tables = {name: pd.concat(found, ignore_index=True) for name, found in blocks.items()}
    if "balance" in tables:
        check_balance(tables.get("overlap"), min_cell)
    for name in tables:
        tables[name], notes = apply(name, tables[name], min_cell)
        record += notes
    for name in SAID_OF_RESULTS:
        if name in tables:
            tables[name], notes = of_published(name, tables[name], tables.get("effects"), min_cell)
            record += notes
    left = pd.concat([frame[PART] for frame in tables.values()]).value_counts() if tables else {}
    if "effects" in tables:  # a variance of what is withheld would give it away
        gone = set(tables["effects"].loc[is_withheld(tables["effects"]), PART])
        parts = [replace(part, covariance=None) if number in gone else part for number, part in enumerate(parts)]
    return Results(
        tables={name: frame.drop(columns=PART) for name, frame in tables.items()},
        parts=[replace(part, rows=int(left[number])) for number, part in enumerate(parts) if number in left],
    ), record


def _without_numbers(part: Part, rows: pd.DataFrame) -> pd.DataFrame:
    """Return what is left of rows that cannot be made again: of effects the keys, to show that they are withheld."""
    if part.table != "effects":
        return rows.iloc[:0]
    rows = rows.assign(**dict.fromkeys(NUMBERS, float("nan")), note=MERGED)
    for name in COUNTS:
        rows[name] = pd.array([pd.NA] * len(rows), dtype="Int64")
    return rows


def _moments(name: str, moments: OutcomeMoments, min_cell: int) -> tuple[OutcomeMoments, list[str]]:
    """Sum out strata, the last first, until every cell, and every two that share sets, hold ``min_cell`` units."""
    record = []
    while (smallest := _smallest(moments)) < min_cell:
        if not moments.strata:
            raise DisclosureError(
                f"the moments {name!r} have a cohort of {smallest:g}, fewer than {min_cell}, and no strata left to "
                "merge; leave that cohort out of the study, or pool it with a neighbour"
            )
        record.append(f"Moments {name}: summed over {moments.strata[-1]}, whose smallest cell was below {min_cell}.")
        moments = moments.collapse(over=moments.strata[-1])
    if 0 < moments.n_dropped < min_cell:
        record.append(f"Moments {name}: the number of units left out, below {min_cell}, is withheld.")
        moments = replace(moments, n_dropped=0)
    return moments, record


def _smallest(moments: OutcomeMoments) -> float:
    """Return the fewest units of a cell, or matched sets that two cells share: of one set, the paths could be read.

    A product of two cells' weights within a set is one where every weight is its cell's mean.
    """
    n = moments.cells["n"].to_numpy()
    weight = moments.first[:, 0] / n
    shared = [block[0, 0] / (weight[c] * weight[d]) for (c, d), block in moments.second.items() if c != d]
    return float(round(min([n.min(), *shared]), 6))


def _check_life_table(name: str, table: LifeTable, min_cell: int) -> None:
    """Refuse a life table with a small count: it must be coarsened before it is read."""
    smallest = int(table.cells["n"].min())
    if smallest < min_cell:
        raise DisclosureError(
            f"the life table {name!r} has a count of {smallest}, fewer than {min_cell}; "
            f"coarsen it first: table.coarsen({min_cell})"
        )
