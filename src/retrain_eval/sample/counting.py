"""Count people for a release, with the keys of the people counted: the sample flow, and linkage rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import duckdb
import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Ints
from retrain_eval.common.errors import InputError
from retrain_eval.common.levels import MISSING_LEVEL
from retrain_eval.common.sources import Source, as_relation, query, require_columns, sql_name, sql_text
from retrain_eval.sample.composition import sets_of_groups
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.tables.counts import SampleCounts
from retrain_eval.tables.noise.cell_keys import N_SUMS, Keys
from retrain_eval.tables.noise.person_keys import PRIME, has_keys
from retrain_eval.tables.noise.sums import key_sum_sql, powers_sql, sketch_sql, sketches_of

GROUPS = MappingProxyType({"treated": "treat = 1", "control": "treat = 0"})
REFUSED = MappingProxyType({"treated": "enrolled", "control": "NOT enrolled"})
_NO_ONE = np.zeros(N_SUMS, dtype=np.int64)  # the sketch of no one
_OF_SAMPLE = {"treated": ("treated", "treated matched"), "control": ("control before", "control matched")}


def count_flow(
    people: Source,
    steps: Mapping[str, tuple[str, str]],
    sample: MatchedSample | None = None,
    *,
    groups: Mapping[str, str] = GROUPS,
    refused: Source | None = None,
    refused_groups: Mapping[str, str] = REFUSED,
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> SampleCounts:
    """Count people step by step, from the register to the analysis, with the reason for each loss.

    Parameters
    ----------
    people : DuckDB relation, DataFrame, Arrow table or path
        One row per person. If it has keys (`with_keys`), the counts have those of the people counted, and can be
        protected.
    steps : mapping of str → (str, str)
        Step → SQL condition, and why people who were at the step before do not meet it. A step counts people who meet
        its condition and those of all steps before it.
    sample : MatchedSample, optional
        Its candidates and its matched people are the last two steps.
    groups : mapping of str → str
        ``treated`` and ``control`` → SQL condition. A person may be in both, as one who trains later.
    refused : DuckDB relation, optional
        People who are not in ``people`` because a row of theirs was refused, one row each, with ``resource`` and
        ``enrolled``, as the store's ``left_out``. They are counted at the first step, which is then followed by "Rows
        accepted".
    refused_groups : mapping of str → str
        As ``groups``, of ``refused``.
    reasons : mapping of str → str
        Group → why people of the last step are not candidates for matching.

    Returns
    -------
    SampleCounts
        Of the kind ``flow``; `retrain_eval.tables.counts.counted` prints it.

    Raises
    ------
    InputError
        If a step has more people than the one before, as if the sample was drawn from other people; if some of
        ``people``, ``refused`` and the sample have keys and others do not.

    Examples
    --------
    >>> from retrain_eval.tables.counts import counted
    >>> people = pd.DataFrame({"treat": [1, 1, 0, 0, 0], "linked": [True, False, True, True, False]})
    >>> steps = {"On the register": ("true", ""), "Linked": ("linked", "not found in the wage records")}
    >>> counted(count_flow(people, steps))[["step", "group", "n"]].values.tolist()[:3]
    [['On the register', 'treated', 2], ['On the register', 'control', 3], ['Linked', 'treated', 1]]
    """
    relation = as_relation(people)
    keyed = has_keys(relation)
    left = None if refused is None else as_relation(refused)
    for what, other in (("refused", left), ("sample", sample)):
        if other is not None and _has_keys(other) != keyed:
            raise InputError(
                "some people have keys, and others have not",
                column=what,
                rule="all counts of a flow are protected, or none",
                fix="give with_keys(...) to people, to refused and to match",
            )
    rows, keys, sketches = list[tuple[str, str, int, str]](), list[int](), list[Ints]()
    for group, who in groups.items():
        lost = _refused(left, refused_groups[group]) if left is not None else (0, 0, _NO_ONE, "")
        conditions = [who]
        for place, (step, (condition, reason)) in enumerate(steps.items()):
            conditions.append(condition)
            n, key, sketch = _of(relation, " AND ".join(f"coalesce({part}, false)" for part in conditions))
            if place == 0 and lost[3]:
                rows.append((step, group, n + lost[0], reason))
                keys.append((key + lost[1]) % 2**64)
                sketches.append((sketch + lost[2]) % PRIME)
                step, reason = "Rows accepted", lost[3]
            rows.append((step, group, n, reason))
            keys.append(key)
            sketches.append(sketch)
        if sample is not None:
            of_group = sample.flow()
            of_group = of_group[of_group["group"] == group]
            for place, (step, n, why) in enumerate(of_group[["step", "n", "reason"]].itertuples(index=False)):
                rows.append((str(step), group, int(n), reasons.get(group, why) if place == 0 else why))
                of_step = sets_of_groups(sample)[_OF_SAMPLE[group][place]] if keyed else None
                keys.append(0 if of_step is None else int(of_step.key[0]))
                sketches.append(_NO_ONE if of_step is None else of_step.rows[0])
    table = pd.DataFrame(rows, columns=["step", "group", "n", "reason"])
    by_step = np.argsort(pd.factorize(table["step"])[0], kind="stable")
    of = {"n": np.array(keys, dtype=np.uint64)[by_step]} if keyed else None
    sketched = {"n": np.array(sketches)[by_step]} if keyed else None
    return SampleCounts.of("flow", table.iloc[by_step].reset_index(drop=True), keys=of, sketches=sketched)


def _has_keys(source: duckdb.DuckDBPyRelation | MatchedSample) -> bool:
    if isinstance(source, MatchedSample):
        return source._compared.units.keys is not None
    return has_keys(source)


def _of(relation: duckdb.DuckDBPyRelation, condition: str) -> tuple[int, int, Ints]:
    """Return the number of people who meet a condition, their key and their sketch."""
    keyed = has_keys(relation)
    keys = f"{key_sum_sql(condition)}, {sketch_sql(condition)}" if keyed else "0, NULL"
    rows = powers_sql("source") if keyed else "source"
    [(n, total, sketch)] = query(relation, f"SELECT count(*) FILTER ({condition}), {keys} FROM {rows}").fetchall()
    return int(n), int(total), np.array(sketch, dtype=np.int64) if keyed else _NO_ONE


def _refused(relation: duckdb.DuckDBPyRelation, condition: str) -> tuple[int, int, Ints, str]:
    """Return the number of refused people of a group, their key and sketch, and the types of their refused rows."""
    require_columns(relation, ["resource", "enrolled"])
    names = query(relation, "SELECT DISTINCT resource FROM source ORDER BY resource").fetchall()
    return (*_of(relation, condition), "; ".join(f"a row of {name} was refused" for (name,) in names))


def count_linked(people: Source, linked: str, by: Sequence[str] = ()) -> SampleCounts:
    """Count the people who were found in another register, over all and by group.

    Parameters
    ----------
    people : DuckDB relation, DataFrame, Arrow table or path
        One row per person. If it has keys (`with_keys`), the counts can be protected.
    linked : str
        Column that is true for anyone who was found.
    by : sequence of str
        Columns of groups.

    Returns
    -------
    SampleCounts
        Of the kind ``linkage``. `retrain_eval.tables.counts.counted` prints what
        `retrain_eval.records.linkage.quality.linkage_rates` returns.

    Examples
    --------
    >>> from retrain_eval.tables.counts import counted
    >>> people = pd.DataFrame({"found": [True, True, False, True], "sex": ["f", "f", "m", "m"]})
    >>> counted(count_linked(people, "found", ["sex"]))[["n", "n_linked", "rate"]].values.tolist()
    [[4, 3, 0.75], [2, 2, 1.0], [2, 1, 0.5]]
    """
    relation = as_relation(people)
    require_columns(relation, [linked, *by])
    found = f"TRY_CAST({sql_name(linked)} AS BOOLEAN)"
    [(broken,)] = query(relation, f"SELECT count(*) FROM source WHERE {found} IS NULL").fetchall()
    if broken:
        raise InputError(
            f"{broken} people are neither found nor not", column=linked, rule="true or false for every person"
        )
    keyed = has_keys(relation)
    counted = {"n": "true", "n_linked": found}
    keys = "".join(
        f", {key_sum_sql(who)} AS key_{name}, {sketch_sql(who)} AS sketch_{name}"
        for name, who in counted.items()
        if keyed
    )
    parts, rows = [], powers_sql("source") if keyed else "source"
    for name in (None, *by):
        subgroup = "NULL" if name is None else sql_text(name)
        level = "NULL" if name is None else f"coalesce(CAST({sql_name(name)} AS VARCHAR), '{MISSING_LEVEL}')"
        sql = (
            f"FROM (SELECT CAST({subgroup} AS VARCHAR) AS subgroup, CAST({level} AS VARCHAR) AS level, count(*) AS n, "
            f"count(*) FILTER ({found}) AS n_linked{keys} FROM {rows} GROUP BY ALL) "
            f"ORDER BY level = '{MISSING_LEVEL}', level ASC NULLS LAST"
        )
        parts.append(query(relation, sql).df())
    table = pd.concat(parts, ignore_index=True)
    of: dict[str, Keys] | None = {n: table[f"key_{n}"].to_numpy() for n in counted} if keyed else None
    sketches = {n: sketches_of(table[f"sketch_{n}"]) for n in counted} if keyed else None
    return SampleCounts.of("linkage", table, keys=of, sketches=sketches)
