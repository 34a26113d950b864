"""Protect the additive tables before the rows of results are re-derived from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.errors import DisclosureError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.alike import Apart, once
from retrain_eval.release.protection.counts import protect_counts
from retrain_eval.release.protection.covariates import protect_covariates
from retrain_eval.release.protection.life_tables import protect_life_table
from retrain_eval.release.protection.moments import protect_moments
from retrain_eval.release.protection.publishing import publish
from retrain_eval.release.protection.rules import changes_of, is_count
from retrain_eval.release.protection.standing import redraw_standing
from retrain_eval.release.protection.statistics import protect_statistic
from retrain_eval.release.results import Results
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.noise.counted_sets import CountedSets
from retrain_eval.tables.noise.register import Register
from retrain_eval.tables.noise.released_sets import ReleasedSet

Orders = Mapping[str, Sequence[str]]


def protect(
    results: Results,
    rules: Release,
    order: Orders | None = None,
    say: Callable[[str], None] = lambda _: None,
    earlier: Sequence[ReleasedSet] = (),
    published: Mapping[int, int] = MappingProxyType({}),
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
    earlier : sequence of ReleasedSet
        Sets of people behind the sums and counts of earlier editions.
    published : mapping of int → int
        Cell key → count, as earlier editions published them: the same people keep their count.

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
    >>> from retrain_eval.tables.counts import SampleCounts
    >>> results = Results()
    >>> flow = pd.DataFrame({"step": ["a", "b"], "group": "treated", "n": [185, 4], "reason": ""})
    >>> results.add_counts(SampleCounts.of("flow", flow, keys={"n": np.array([7, 5], np.uint64)}))
    >>> safe, record = protect(results, Release(noise_largest=0.15, count_variance=2.0, count_gap=2))
    >>> safe.tables["flow"]["n"].isna().tolist(), record
    ([False, True], ['Sample flow: 1 count(s) are withheld, of or next to fewer than 10.'])
    """
    safe, record = Results(), []
    register = Register(changes_of(rules), dict(published), CountedSets(earlier if rules.noisy else ()))
    gone: dict[str, DisclosureError] = {}
    for name, of_people in results.counts.items():
        try:
            safe.counts[name], notes = protect_counts(of_people, rules, register)
            record += notes
        except DisclosureError as error:
            gone[f"counts/{name}"] = error
    apart = Apart(register.counted)
    # wholes are published before their parts
    moments = dict(sorted(results.moments.items(), key=lambda item: len(item[1].strata)))
    make_moments = partial(protect_moments, register=register, order=order or {})
    recounted: dict[str, tuple[LifeTable, LifeTable]] = {}
    protectors: list[tuple[str, Mapping[str, Any], Callable[..., Any]]] = [
        ("moments", moments, make_moments),
        ("life_tables", results.life_tables, partial(protect_life_table, register=register)),
        ("covariates", results.covariates, partial(protect_covariates, register=register)),
        ("statistics", results.statistics, partial(protect_statistic, register=register, recounted=recounted)),
    ]
    for kind, tables, make_safe in protectors:
        for name, table in tables.items():
            try:
                if rules.noisy and kind in ("moments", "covariates"):
                    getattr(safe, kind)[name], notes = apart.admit(f"{kind}/{name}", table, make_safe, rules)
                else:
                    getattr(safe, kind)[name], notes = make_safe(name, table, rules)
                record += notes
                if isinstance(table, LifeTable) and table.signature is not None:
                    recounted[table.signature] = (table, safe.life_tables[name])
            except DisclosureError as error:
                gone[f"{kind}/{name}"] = error
    safe.moments = {name: safe.moments[name] for name in results.moments if name in safe.moments}
    for name, why in gone.items():
        say(str(why))
        kind, _, of = name.partition("/")
        record.append(f"{_KINDS[kind]} {of}: withheld, because {why.public}.")
    standing, stays = redraw_standing(results, safe.kept(), rules, register)
    made, notes = publish(standing, safe.kept(), rules, stays | {name: why.public for name, why in gone.items()})
    safe.tables, safe.parts, safe.answered = made.tables, made.parts, made.answered
    safe.published, safe.sets = register.published, once([*apart.sets, *register.counted.sets])
    _refuse_empty(results, safe, gone)
    return safe, [*notes, *record]


_KINDS = {
    "counts": "Counts of the",
    "moments": "Moments",
    "life_tables": "Life table",
    "covariates": "Covariates",
    "statistics": "Statistics",
}


def _refuse_empty(results: Results, safe: Results, gone: Mapping[str, DisclosureError]) -> None:
    """Refuse an edition with nothing left to publish, giving the first reason.

    Estimates may be missing already in the run; what they would follow from is then refused here.
    """
    effects, left = results.tables.get("effects"), safe.tables.get("effects")
    if effects is None:
        none = bool(results.moments or results.life_tables) and not (safe.moments or safe.life_tables)
    else:
        none = left is None or not left["estimate"].notna().any()
    of_tables = [error for name, error in gone.items() if not name.startswith("statistics/")]
    if of_tables and (none or not safe.kept()):
        raise of_tables[0]


def artefacts(safe: Results, rules: Release) -> dict[str, dict[str, Any]]:
    """Return the rule that was applied to each file and the smallest number of people in it, for the manifest."""
    found: dict[str, dict[str, Any]] = {}
    for name, table in safe.kept().items():
        rule = "noise on amounts and changed counts" if rules.noisy else "exact"
        found[f"{name}.parquet"] = {"rule": rule, "smallest_n": _fewest(table.cells)}
    derived = {part.table for part in safe.parts if part.derivation is not None}
    for name, frame in safe.tables.items():
        rule = "made again from the tables" if name in derived else "small counts withheld"
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
