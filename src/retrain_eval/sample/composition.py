"""Counts of matched people by stratum, and mean outcomes before the programme, computed in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import duckdb
import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Ints
from retrain_eval.common.errors import InputError, unknown_columns
from retrain_eval.common.levels import MISSING_LEVEL
from retrain_eval.common.sources import Source, as_relation, query, require_columns, sql_name, sql_text
from retrain_eval.common.sql import scratch, stable_sum
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.models.formula import parse_formula
from retrain_eval.sample.scratch import store_table
from retrain_eval.tables.counts import COUNTED, SampleCounts, counted
from retrain_eval.tables.noise.cell_keys import CellKeys
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys
from retrain_eval.tables.noise.sums import key_sum_sql, powers_sql, sketch_sql, sketches_of

BASELINE_PATHS = ("outcome", "group", "time", "mean", "n")
# as in `MatchedSample.overlap`; each with the weight a person has in it
_GROUPS = {
    "treated": "CASE WHEN _treated THEN 1.0 END",
    "treated matched": "nullif(_weight_treated, 0)",
    "control before": "CASE WHEN NOT _treated THEN 1.0 END",
    "control matched": "nullif(_weight_control, 0)",
}


def matching_table(candidates: Source, sample: MatchedSample, by: Sequence[str] = ()) -> pd.DataFrame:
    """Tabulate the matched people, in total and by stratum.

    Parameters
    ----------
    candidates : DuckDB relation, DataFrame, Arrow table or path
        The people the sample was drawn from, one row each, with their strata.
    sample : MatchedSample
        What `match` returned for them.
    by : sequence of str
        Columns of strata.

    Returns
    -------
    DataFrame
        ``subgroup, level, n_treated, n_treated_matched, n_control, n_control_matched, ess_control, reuse_mean``; the
        first row is over all people, with ``subgroup`` and ``level`` missing. ``ess_control`` is Kish's effective
        number of controls, (Σw)²/Σw²; ``reuse_mean`` is the mean number of comparisons per matched control. With risk
        sets, the possible controls depend on the elapsed duration, so ``n_control`` is missing by stratum.

    Raises
    ------
    InputError
        If a column does not exist, or the candidates are not those of the sample.

    Examples
    --------
    >>> from retrain_eval.sample.match import match
    >>> people = pd.DataFrame({
    ...     "person": [1, 2, 3, 4, 5], "trained": [1, 1, 0, 0, 0], "age": [25, 41, 24, 33, 40], "sex": list("fmfmm"),
    ... })
    >>> sample = match(people, "trained ~ age", unit="person")
    >>> table = matching_table(people, sample, by=["sex"])
    >>> table["level"].fillna("all").tolist(), table["n_treated"].tolist(), table["n_control"].tolist()
    (['all', 'f', 'm'], [2, 1, 1], [3, 1, 2])
    """
    return counted(count_matched(candidates, sample, by))


def count_matched(candidates: Source, sample: MatchedSample, by: Sequence[str] = ()) -> SampleCounts:
    """Return the sums over people that `matching_table` follows from, for a release; parameters and errors as there."""
    relation = as_relation(candidates, keys=str(sample.audit["unit"]))
    keyed = has_keys(relation)
    with people_sql(relation, sample, [*by, *([PERSON_KEY] if keyed else [])]) as people:
        rows = [_counted(relation, people, "NULL", "NULL", keyed)]
        rows += [_counted(relation, people, sql_text(name), sql_name(name), keyed) for name in by]
    table = pd.concat(rows, ignore_index=True)
    a = sample.audit
    if (int(table["n_treated"].iloc[0]), int(table["n_treated_matched"].iloc[0])) != (
        a["n_treated"],
        a["n_treated_matched"],
    ):
        raise InputError(
            f"the candidates hold {table['n_treated'].iloc[0]} treated people, {table['n_treated_matched'].iloc[0]} of "
            f"them matched; the sample has {a['n_treated']} and {a['n_treated_matched']}",
            fix="give the same people as to match()",
        )
    keys = {name: table[f"key_{name}"].to_numpy() for name in COUNTED["matching"]} if keyed else None
    sketches = {name: sketches_of(table[f"sketch_{name}"]) for name in COUNTED["matching"]} if keyed else None
    if a["method"] == "riskset":
        everyone = table["subgroup"].isna()
        table["n_control"] = [sample.count("n_control") if whole else None for whole in everyone]
        if keys is not None and sketches is not None:  # possible controls depend on the elapsed duration
            of = sets_of_groups(sample)["control before"]
            keys["n_control"] = np.where(everyone, of.key[0], np.uint64(0))
            sketches["n_control"] = np.where(everyone.to_numpy()[:, None], of.rows, 0)
    return SampleCounts.of("matching", table, keys=keys, sketches=sketches)


def count_overlap(sample: MatchedSample, bins: int = 20) -> SampleCounts:
    """Return the counts of `MatchedSample.overlap`, of all groups, with keys if the source of the sample has them.

    Raises
    ------
    DesignError
        If the sample has no score.
    """
    table = sample.overlap(bins, treated_matched=True)
    units = sample._compared.units
    if units.keys is None or sample._score is None:
        return SampleCounts.of("overlap", table)
    names = list(table["group"].unique())
    low = table.loc[table["group"] == names[0], "bin_low"].to_numpy()
    bin_of = np.clip(np.searchsorted(low, sample._score(), side="right") - 1, 0, len(low) - 1)
    members = _members(sample)
    of = CellKeys.stacked([_set_of(sample, members[g], bin_of[units.cell[members[g]]], len(low)) for g in names])
    return SampleCounts.of("overlap", table, keys={"n": of.key}, sketches={"n": of.rows})


def _members(sample: MatchedSample) -> dict[str, Ints]:
    """Return the units of each group that samples are counted by."""
    compared = sample._compared
    return {
        "treated": compared.before["treated"],
        "treated matched": np.unique(compared.after["treated"][0]),
        "control before": compared.before["control"],
        "control matched": np.unique(compared.after["control"][0]),
    }


def sets_of_groups(sample: MatchedSample) -> dict[str, CellKeys]:
    """Return the keys and sketches of the people of each group, before and after matching, as one cell each.

    Raises
    ------
    InputError
        If the sample was drawn from a source without keys.
    """
    return {name: _set_of(sample, who, np.zeros(len(who), np.int64), 1) for name, who in _members(sample).items()}


def _set_of(sample: MatchedSample, who: Ints, cell: Ints, n_cells: int) -> CellKeys:
    keys = sample._compared.units.keys
    if keys is None:
        raise InputError("the sample was drawn from people without keys", fix="give with_keys(...) to match")
    return CellKeys.of(cell, keys.record[who], keys.element[who], np.ones(len(who)), n_cells)


def baseline_paths(candidates: Source, sample: MatchedSample, outcome: str, columns: Mapping[int, str]) -> pd.DataFrame:
    """Return the mean outcome of trainees and controls in each period before the programme.

    Parameters
    ----------
    candidates, sample
        As in `matching_table`.
    outcome : str
        What the columns hold.
    columns : mapping of int to str
        Period, or distance from the start of training → column.

    Returns
    -------
    DataFrame
        ``outcome, group, time, mean, n``. Groups are ``treated``, ``treated matched``, ``control before`` and ``control
        matched``, the last one weighted; people without a value in a period are not counted in it.

    Raises
    ------
    InputError
        If a column does not exist, or none is given.

    Examples
    --------
    >>> from retrain_eval.sample.match import match
    >>> people = pd.DataFrame({"person": [1, 2, 3], "trained": [1, 0, 0], "wage": [25.0, 24.0, 90.0]})
    >>> sample = match(people, "trained ~ wage", unit="person", distance="wage")
    >>> baseline_paths(people, sample, "wage", {2019: "wage"})[["group", "mean"]].values.tolist()
    [['treated', 25.0], ['treated matched', 25.0], ['control before', 57.0], ['control matched', 24.0]]
    """
    if not columns:
        raise InputError("no period before the programme", column="columns", fix='such as {1975: "earnings_1975"}')
    relation = as_relation(candidates, numbers=columns.values(), keys=str(sample.audit["unit"]))
    parts = [
        f"SELECT {place} AS place, {sql_text(group)} AS group_, {int(time)} AS time, "
        f"sum({weight} * {sql_name(column)}) / sum({weight}) FILTER ({sql_name(column)} IS NOT NULL) AS mean, "
        f"count({weight}) FILTER ({sql_name(column)} IS NOT NULL) AS n FROM people"
        for place, (group, weight) in enumerate(_GROUPS.items())
        for time, column in sorted(columns.items())
    ]
    with people_sql(relation, sample, list(columns.values())) as people:
        sql = f"WITH people AS ({people}) {' UNION ALL '.join(parts)} ORDER BY place ASC, time ASC"
        found: pd.DataFrame = query(relation, sql).df()
    return found.rename(columns={"group_": "group"}).assign(outcome=outcome)[list(BASELINE_PATHS)]


def treatment(sample: MatchedSample) -> str:
    """Return the candidates' treatment column; with risk sets, the column of the period in which training began."""
    a = sample.audit
    return str(a["entry"]) if a["method"] == "riskset" else parse_formula(str(a["formula"])).treat


def treated_sql(sample: MatchedSample) -> str:
    """Return SQL that is true for the treated among the candidates; with risk sets, not for entry after the spell."""
    name = sql_name(treatment(sample))
    if sample.audit["method"] != "riskset":
        return f"CAST({name} AS INTEGER) = 1"
    end = sql_name(str(sample.audit["end"]))
    return f"({name} IS NOT NULL AND ({end} IS NULL OR {name} <= {end}))"


@contextmanager
def people_sql(relation: duckdb.DuckDBPyRelation, sample: MatchedSample, columns: Sequence[str]) -> Iterator[str]:
    """Return SQL with one row per candidate: _treated, _weight_treated, _weight_control, _uses and the columns."""
    unit = str(sample.audit["unit"])
    require_columns(relation, [unit, treatment(sample)])
    absent = [column for column in columns if column not in relation.columns]
    if absent:
        raise unknown_columns(absent, relation.columns, kind="column of the candidates")
    listed = "".join(f", {sql_name(column)}" for column in dict.fromkeys(columns))
    total = stable_sum("weight")
    with scratch(relation) as tables:
        roles, uses = tables.name("match_roles"), tables.name("match_uses")
        bring(
            relation,
            sample.weights,
            f"SELECT {sql_name(unit)} AS _person, coalesce({total} FILTER (treat = 1), 0) AS _weight_treated, "
            f"coalesce({total} FILTER (treat = 0), 0) AS _weight_control FROM source GROUP BY ALL",
            roles,
        )
        bring(relation, sample.pairs, "SELECT control_id AS _person, count(*) AS _uses FROM source GROUP BY ALL", uses)
        yield (
            f"SELECT {treated_sql(sample)} AS _treated, coalesce(_weight_treated, 0) AS _weight_treated, "
            f"coalesce(_weight_control, 0) AS _weight_control, _uses{listed} FROM source "
            f"LEFT JOIN {roles} r ON r._person = source.{sql_name(unit)} "
            f"LEFT JOIN {uses} u ON u._person = source.{sql_name(unit)}"
        )


def bring(relation: duckdb.DuckDBPyRelation, part: duckdb.DuckDBPyRelation, sql: str, name: str) -> None:
    """Store a summary of the sample's tables, one row per matched person, on the connection of the candidates."""
    summary = query(part, sql).to_arrow_table()
    store_table(relation, dict(zip(summary.column_names, summary.columns, strict=True)), name)


def _counted(relation: duckdb.DuckDBPyRelation, people: str, subgroup: str, level: str, keyed: bool) -> pd.DataFrame:
    who = {
        "n_treated": "_treated",
        "n_treated_matched": "_weight_treated > 0",
        "n_control": "NOT _treated",
        "n_control_matched": "_weight_control > 0",
    }
    source = powers_sql(f"({people})") if keyed else f"({people})"
    counts = "".join(f"count(*) FILTER ({condition}) AS {name}, " for name, condition in who.items())
    keys = "".join(
        f", {key_sum_sql(condition)} AS key_{name}, {sketch_sql(condition)} AS sketch_{name}"
        for name, condition in who.items()
        if keyed
    )
    found: pd.DataFrame = query(
        relation,
        f"""
        FROM (SELECT CAST({subgroup} AS VARCHAR) AS subgroup,
          CASE WHEN {subgroup} IS NOT NULL THEN coalesce(CAST({level} AS VARCHAR), '{MISSING_LEVEL}') END AS level,
          {counts}sum(_uses) AS comparisons, {stable_sum("_weight_control")} AS sum_w,
          {stable_sum("_weight_control ** 2")} AS sum_w2{keys}
        FROM {source} GROUP BY ALL) ORDER BY level = '{MISSING_LEVEL}', level ASC NULLS LAST
        """,
    ).df()
    return found
