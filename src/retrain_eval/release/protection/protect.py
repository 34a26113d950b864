"""Protect the additive tables before the rows of results are re-derived from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.errors import DisclosureError
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.attack import Count, Levels, counts, counts_of_matching, every_level, recoverable
from retrain_eval.release.protection.counts import protect_counts
from retrain_eval.release.protection.covariates import protect_covariates
from retrain_eval.release.protection.merging import (
    merge_smallest_level,
    pool_covariance,
    relabel,
    round_counts,
    round_life_table,
    round_moments,
    sizes,
)
from retrain_eval.release.protection.publishing import publish
from retrain_eval.release.protection.rules import is_count
from retrain_eval.release.protection.statistics import protect_statistic
from retrain_eval.release.results import Results
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.life_table.rare_levels import JOIN
from retrain_eval.tables.moments.dominance import dominated

Orders = Mapping[str, Sequence[str]]
Kept = dict[str, OutcomeMoments]


def protect(
    results: Results, rules: Release, order: Orders | None = None, say: Callable[[str], None] = lambda _: None
) -> tuple[Results, list[str]]:
    """Return the results as they may be published, and a record of what was merged and withheld.

    A table that cannot be protected is dropped, and the results that follow from it are listed as withheld, with the
    reason.

    Parameters
    ----------
    results : Results
        The results of the run.
    rules : Release
        ``[release]`` of the study file.
    order : mapping of str → sequence of str, optional
        Levels of strata from low to high: a level that is too small joins a neighbour.
    say : callable
        Called with the reason why a table is dropped. The text contains small counts and is for the agency only.

    Returns
    -------
    Results, list of str
        The record contains no small counts.

    Raises
    ------
    DisclosureError
        If nothing is left to publish: no table, or no estimate.

    Examples
    --------
    >>> results = Results()
    >>> flow = pd.DataFrame({"step": ["a", "b"], "group": "treated", "n": [185, 4], "reason": ""})
    >>> results.add_table("flow", flow)
    >>> safe, record = protect(results, Release())
    >>> safe.tables["flow"]["n"].isna().tolist(), record
    ([False, True], ['Sample flow: 1 count(s) are withheld, of or next to fewer than 10.'])
    """
    safe, record = Results(), []
    for name, of_people in results.counts.items():
        safe.counts[name], notes = protect_counts(of_people, rules)
        record += notes
    beside = counts_of_matching(safe.counts["matching"].cells) if "matching" in safe.counts else []
    gone: dict[str, DisclosureError] = {}
    merged, notes, failed = _merge(results.moments, rules, order or {}, beside)
    gone |= {f"moments/{name}": error for name, error in failed.items()}
    record += notes
    protectors: list[tuple[str, Mapping[str, Any], Callable[..., Any]]] = [
        ("moments", merged, _protect_moments),
        ("life_tables", results.life_tables, _protect_life_table),
        ("covariates", results.covariates, protect_covariates),
        ("statistics", results.statistics, protect_statistic),
    ]
    for kind, tables, make_safe in protectors:
        for name, table in tables.items():
            try:
                getattr(safe, kind)[name], notes = make_safe(name, table, rules)
                record += notes
            except DisclosureError as error:
                gone[f"{kind}/{name}"] = error
    for name, why in gone.items():
        say(str(why))
        kind, _, of = name.partition("/")
        record.append(f"{_KINDS[kind]} {of}: withheld, because {why.public}.")
    published, notes = publish(results, safe.kept(), rules, {name: why.public for name, why in gone.items()})
    safe.tables, safe.parts = published.tables, published.parts
    _refuse_empty(results, safe, gone)
    return safe, [*notes, *record]


_KINDS = {"moments": "Moments", "life_tables": "Life table", "covariates": "Covariates", "statistics": "Statistics"}


def _refuse_empty(results: Results, safe: Results, gone: Mapping[str, DisclosureError]) -> None:
    """Refuse an edition with nothing left to publish, giving the first reason."""
    effects, left = results.tables.get("effects"), safe.tables.get("effects")
    no_estimate = effects is not None and (left is None or not left["estimate"].notna().any())
    of_tables = [error for name, error in gone.items() if not name.startswith("statistics/")]
    if of_tables and (no_estimate or not safe.kept()):
        raise of_tables[0]


def artefacts(safe: Results) -> dict[str, dict[str, Any]]:
    """Return the rule that was applied to each file and the smallest number of people in it, for the manifest."""
    found: dict[str, dict[str, Any]] = {}
    for name, table in safe.kept().items():
        rule = "steps of the minimum or more" if isinstance(table, LifeTable) else "cells of the minimum or more"
        found[f"{name}.parquet"] = {"rule": rule, "smallest_n": _fewest(table.cells)}
    derived = {part.table for part in safe.parts if part.derivation is not None}
    for name, frame in safe.tables.items():
        rule = "made again from the protected tables" if name in derived else "small counts withheld"
        found[f"{name}.csv"] = {
            "rule": "names and reasons, no counts" if name == "withheld" else rule,
            "smallest_n": _fewest(frame),
        }
    return found


def _fewest(frame: pd.DataFrame) -> int | None:
    """Return the smallest count of people in a table, ignoring zeros."""
    columns = [column for column in frame.columns if is_count(column) or column == "stopped"]
    people = frame[columns].to_numpy(dtype=float, na_value=np.nan)
    return int(people[people > 0].min()) if (people > 0).any() else None


def _merge(
    moments: Mapping[str, OutcomeMoments], rules: Release, order: Orders, others: Sequence[Count]
) -> tuple[Kept, list[str], dict[str, DisclosureError]]:
    """Merge levels, those of the last stratum first, until each table meets the rules and no small cell can be derived.

    A table that breaks a rule even without strata is returned separately, with the reason.
    """
    safe, record, failed = dict(moments), list[str](), dict[str, DisclosureError]()
    for name in moments:
        while (found := _broken(safe[name], rules)) is not None:
            if not safe[name].strata:
                failed[name] = DisclosureError(f"the moments {name!r} have {found.cohort}", public=found.public)
                del safe[name]
                break
            stratum = safe[name].strata[-1]
            number = stratum in safe[name].numbers  # the values of a number cannot be merged into a level
            names = {} if number else merge_smallest_level(safe[name], stratum, found.cells, order.get(stratum, ()))
            if len(set(names.values())) <= 1:
                record.append(f"Moments {name}: summed over {stratum}, {found.why}.")
                safe[name] = safe[name].collapse(over=stratum)
            else:
                record.append(f"Moments {name}: {stratum} {_merges(names)} merged, {found.why}.")
                safe[name] = relabel(safe[name], stratum, names)
    before = counts(moments.values())
    small, every = [count for count in before if count.n < rules.min_cell], every_level([*before, *others])
    while safe and _follows([*counts(safe.values()), *others], small, every, rules.round_counts):
        name = max(safe, key=lambda name: len(safe[name].cells) * bool(safe[name].strata))
        if not safe[name].strata:
            name = list(safe)[-1]  # the last table that the run kept; the first ones answer its main question
            failed[name] = DisclosureError(
                f"with the moments {name!r}, a small cell follows from tables whose cells hold the rule; publish fewer",
                public="with other tables, a count of few people would follow",
            )
            del safe[name]
            continue
        stratum = safe[name].strata[-1]
        record.append(f"Moments {name}: summed over {stratum}: with other tables, a cell below the rule would follow.")
        safe[name] = safe[name].collapse(over=stratum)
    return safe, record, failed


def _follows(published: Sequence[Count], small: Sequence[Count], every: Levels, base: int) -> bool:
    """Return whether a small count follows from the published counts of the same people."""
    known = {(count.arm, count.total) for count in published}
    of_those = [count for count in small if (count.arm, count.total) in known]
    return bool(of_those) and bool(recoverable(published, of_those, every, base)["exact"].any())


def _merges(names: Mapping[str, str]) -> str:
    return ", ".join(dict.fromkeys(new for old, new in names.items() if old != new))


@dataclass(frozen=True)
class _Broken:
    """A cell, or two cells that share sets, that break a rule, with the texts for the record and for the errors."""

    cells: tuple[int, ...]
    why: str
    cohort: str
    public: str


def _broken(moments: OutcomeMoments, rules: Release) -> _Broken | None:
    """Return the smallest cell, or pair of cells sharing sets, that breaks a rule, or a cell that few units dominate.

    Cells whose covariance can be pooled only need the minimum number of people.
    """
    broken: list[tuple[float, tuple[int, ...], float]] = []
    for size, cells in sizes(moments):
        needed = float(rules.min_cell)
        if moments.cluster is not None:
            needed = max(needed, second_moments_need(moments, rules, len(cells)))
        if size < needed:
            broken.append((size, cells, needed))
    if broken:
        size, cells, needed = min(broken)
        why = (
            f" (at least {rules.min_cell}, and so many that no path could be reconstructed)"
            if needed > rules.min_cell
            else ""
        )
        cohort = (
            f"a cohort of {size:g}, fewer than {needed:g}{why}, and no strata left to merge; "
            "leave that cohort out of the study, or pool it with a neighbour"
        )
        public = f"a cohort has fewer than {needed:g}{why}"
        return _Broken(cells, f"whose smallest cell was below {needed:g}", cohort, public)
    if moments.largest is not None:
        total = moments.absolute
        if total is None:  # written by a version of this package that kept signed sums only
            total = moments.first[:, 1:] + moments.first[:, :1] * moments.reference
        rule = {"n": rules.dominance_n, "share": rules.dominance_share, "p_percent": rules.p_percent}
        if len(cells_of := np.flatnonzero(dominated(moments.largest, total, **rule))):
            cohort = "a cohort whose amounts few units dominate; winsorise them: outcome_moments(winsorise=0.99)"
            of_few = "of which few units dominated a cell's amounts"
            return _Broken((int(cells_of[0]),), of_few, cohort, "few units dominate the amounts of a cohort")
    return None


def second_moments_need(moments: OutcomeMoments, rules: Release, n_cells: int = 1) -> float:
    """Return the number of people, or sets, that sums of products of paths must cover.

    The mean leverage is the number of coordinates over the number of people. The coordinates are the sum of weights and
    the periods, counted for both cells if two cells share sets.
    """
    return float(np.ceil(n_cells * (1 + len(moments.times)) / rules.max_leverage))


def _protect_moments(name: str, moments: OutcomeMoments, rules: Release) -> tuple[OutcomeMoments, list[str]]:
    """Pool the covariances of cells too small to have their own, withhold small counts and round the others."""
    moments, record = _protect_clusters(name, moments, rules)
    if moments.cluster is None:
        needed = second_moments_need(moments, rules)
        n = moments.cells["n"].to_numpy()
        small = [int(c) for c in np.flatnonzero(n < needed)]
        if small:
            if n.sum() < needed:
                raise DisclosureError(
                    f"the moments {name!r} are of {n.sum()} units, fewer than the {needed:g} that products of "
                    f"{len(moments.times)} periods have to be summed over; keep fewer periods",
                    public=f"it is of fewer than {needed:g} units, over which products of periods have to be summed",
                )
            moments = pool_covariance(moments, small, needed)
            record.append(f"Moments {name}: {len(small)} cell(s) of fewer than {needed:g} share a pooled covariance.")
    if 0 < moments.n_dropped < rules.min_cell:
        record.append(f"Moments {name}: the number of units left out, below {rules.min_cell}, is withheld.")
        moments = replace(moments, n_dropped=0)
    return round_moments(replace(moments, largest=None, absolute=None), rules.round_counts), record


def _protect_clusters(name: str, moments: OutcomeMoments, rules: Release) -> tuple[OutcomeMoments, list[str]]:
    """Withhold sums by cluster unless each covers enough people, and sets of cells with few small clusters.

    The sums reveal what share of a cell's people is in a cluster, from which exact counts would follow, and it is not
    known whether few units dominate them. The number of large clusters, such as regions, is not a number of people.
    """
    clusters, record = moments.clusters, list[str]()
    if clusters is None:
        return moments, record
    people = float(moments.cells["n"].sum()) / clusters.total
    if clusters.n is not None:
        people = float(np.bincount(clusters.row, clusters.n).min())
    large = people >= rules.min_cell
    if clusters.n is not None:
        enough = int(clusters.n.min()) >= rules.min_cell
        if enough and rules.round_counts == 1 and moments.largest is None:
            return moments, record
        clusters = clusters.without_sums(withheld=True)
        record.append(f"Moments {name}: sums by cluster are withheld.")
    if not large:
        clusters = clusters.frequent(rules.min_cell)
        clusters = replace(clusters, count=round_counts(clusters.count, rules.round_counts))
    return replace(moments, clusters=clusters, n_clusters=clusters.total), record


def _protect_life_table(name: str, table: LifeTable, rules: Release) -> tuple[LifeTable, list[str]]:
    """Merge durations until no count is small, and round the counts.

    Clustered tables are refused, because the number of clusters that two cells share is a count as well.
    """
    if table.cluster is not None:
        raise DisclosureError(
            f"the life table {name!r} says how its cells share values of {table.cluster!r}, such as matched pairs; "
            "keep table.without_clusters() for the release"
        )
    record = []
    if int(table.cells["n"].min()) < rules.min_cell:
        try:
            table = table.coarsen(rules.min_cell, merge=True)
        except DisclosureError as error:
            raise DisclosureError(f"the life table {name!r}: {error}", public=error.public) from error
        grid = ", ".join(f"{duration:g}" for duration in table.grid or ())
        record.append(
            f"Life table {name}: durations are merged to {grid}, so that no step is of fewer than {rules.min_cell}."
        )
    if table.merged:  # by this function or by the study
        what = ", ".join(
            "its causes are one" if part == "causes" else f"{part} merged" if JOIN in part else f"summed over {part}"
            for part in table.merged
        )
        record.append(f"Life table {name}: {what}, so that no count is of few and durations stay distinct.")
    return round_life_table(table, rules.round_counts), record
