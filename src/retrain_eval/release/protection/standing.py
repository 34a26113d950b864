"""Results that no protected table gives in full: a released covariance, and rows that follow from nothing.

Estimates with a covariance of their own, as of matched sets, are made again from their protected table. Exact sums of
squares would tell who is in them, so that the covariance is redrawn around itself by the keys of the people
(`retrain_eval.tables.noise.scatter`), and what the changes of counts add to it is added. Numbers of clusters, which may
be numbers of people, are rounded down. Rows that follow from no table are withheld; effects may stand if the study
made them from noisy amounts and says whose they are (`retrain_eval.estimators.effects.stated`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.same_estimates import same_rows
from retrain_eval.estimators.effects.stated import KEYS_OF_PEOPLE
from retrain_eval.plan.study_file import Release
from retrain_eval.release.derive import Deriver
from retrain_eval.release.protection.publishing import FOLLOWS_FROM_NOTHING
from retrain_eval.release.results import Part, Results
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.noise.cell_keys import Keys
from retrain_eval.tables.noise.register import Register
from retrain_eval.tables.noise.scatter import redrawn
from retrain_eval.tables.recipe import Derivation
from retrain_eval.tables.statistics import Shares

_ZERO = 1e-16  # of the largest variance


@summarised
@dataclass(frozen=True)
class _People:
    """Whose sums of squares a covariance is."""

    n: float
    keys: Keys


def redraw_standing(
    results: Results, kept: Mapping[str, Additive], rules: Release, register: Register
) -> tuple[Results, dict[str, str]]:
    """Return results whose released covariances and numbers of clusters are protected.

    Parameters
    ----------
    results : Results
        Of the run, with the unprotected tables.
    kept : mapping of str → table
        The protected tables.
    rules : Release
    register : Register

    Returns
    -------
    Results
        With resolved parts.
    dict of str → str
        Effects that may not stand, as ``"effects/NAME"``, with the reason.
    """
    parts, exact, gone = list[Part](), results.kept(), dict[str, str]()
    blocks: dict[str, list[pd.DataFrame]] = {name: [] for name in results.tables}
    for part, rows in results.blocks():
        if rules.noisy and part.covariance is not None:
            part, rows, reason = _protected(part, rows, exact, kept, rules, register)
            if reason:
                gone[f"effects/{part.result}"] = reason
        parts.append(part)
        blocks[part.table].append(rows)
    tables = {name: pd.concat(found, ignore_index=True) for name, found in blocks.items()}
    return replace(results, tables=tables, parts=parts), gone


def _protected(
    part: Part,
    rows: pd.DataFrame,
    exact: Mapping[str, Additive],
    kept: Mapping[str, Additive],
    rules: Release,
    register: Register,
) -> tuple[Part, pd.DataFrame, str]:
    """Return a part with a redrawn covariance, its rows, and the reason why they may not stand, if they may not."""
    added: Floats = np.zeros((len(rows), len(rows)))
    people = _stated(part, rows) if part.estimates is None else _people_of(exact.get(part.estimates.of))
    # of large clusters, such as regions, a number is not one of people
    large = None if people is None else people.n / rules.min_contributors
    safe, rows = replace(part, meta=_facts(part, large)), _with_notes(rows, large)
    if part.estimates is None and people is not None:
        rows = rows.assign(**_counts(part, rows, register))
    elif part.estimates is not None and part.estimates.of not in kept:
        return safe, rows, ""  # withheld with the reason of its table
    elif part.estimates is not None:
        added = _added(part.estimates, rows, kept, exact, register)
    if people is None:
        return safe, rows, FOLLOWS_FROM_NOTHING
    covariance = np.array(part.covariance, dtype=float).reshape(added.shape)
    return replace(safe, covariance=(_redrawn(covariance, people, str(part.result)) + added).tolist()), rows, ""


def _people_of(table: Additive | None) -> _People | None:
    """Return the people of an unprotected table; None if it has no keys."""
    if table is None:
        return None
    if isinstance(table, Shares):
        if table.keys is None:
            return None
        return _People(float(table.n.max(initial=0)), table.keys.astype(np.uint64))
    keys: Any = getattr(table, "keys", None) or getattr(getattr(table, "keyed", None), "cells", None)
    return None if keys is None else _People(float(table.cells["n"].sum()), keys.key)


def _added(
    estimates: Derivation,
    rows: pd.DataFrame,
    kept: Mapping[str, Additive],
    exact: Mapping[str, Additive],
    register: Register,
) -> Floats:
    """Return what the changed counts add to the covariance of the rows; zero where the table does not say."""
    table, of, none = kept.get(estimates.of), exact.get(estimates.of), np.zeros((len(rows), len(rows)))
    if isinstance(table, Shares) and isinstance(of, Shares) and of.keys is not None and of.hit_keys is not None:
        share, n = table.sum_wx / table.sum_w, table.n
        variance = (register.variance(of.hit_keys) + share**2 * register.variance(of.keys)) / n**2
        return np.diag(variance) if len(variance) == len(rows) else none
    if not isinstance(table, LifeTable) or table.noise is None:
        return none
    try:
        with_noise, without = (
            Deriver({estimates.of: of}).make(estimates) for of in (table, replace(table, noise=None))
        )
        numbered = with_noise.frame.assign(place=np.arange(len(with_noise.frame)))
        here = same_rows(rows, numbered)["place"].to_numpy()
    except (InputError, DesignError):  # the estimates will be withheld with the reason
        return none
    difference: Floats = np.nan_to_num((with_noise.vcov - without.vcov)[np.ix_(here, here)])
    return difference


def _redrawn(covariance: Floats, people: _People, result: str) -> Floats:
    """Return a covariance drawn around this one; what is zero or NaN stays so."""
    variance = np.nan_to_num(np.diag(covariance))
    known = variance > _ZERO * variance.max(initial=0.0)  # an estimate that is constant stays so
    found = covariance.copy()
    found[np.ix_(known, known)] = redrawn(
        np.nan_to_num(covariance[np.ix_(known, known)]), people.n, people.keys.tolist(), f"effects/{result}"
    )
    return found


def _facts(part: Part, large: float | None) -> dict[str, Any]:
    """Return the facts about estimates without keys, and with numbers of clusters above ``large`` rounded down."""
    facts = {name: value for name, value in (part.meta or {}).items() if name != KEYS_OF_PEOPLE}
    for name, less in (("n_clusters", 0), ("df", 1)):
        if facts.get(name) is not None:
            facts[name] = _each(facts[name], less, large)
    return facts


def _each(value: Any, less: int, large: float | None) -> Any:
    if isinstance(value, list | tuple):
        return [_each(item, less, large) for item in value]
    if value is None or not np.isfinite(value) or (large is not None and value + less <= large):
        return value
    return type(value)(round_clusters(float(value) + less) - less)


def round_clusters(n: float) -> int:
    """Return a number of clusters rounded down: to fifties, below 50 to tens; fewer than 10 are regions, not people.

    Examples
    --------
    >>> [round_clusters(n) for n in (7, 38, 49, 184)]
    [7, 30, 40, 150]
    """
    base = 1 if n < 10 else 10 if n < 50 else 50
    return int(n // base * base)


def _stated(part: Part, rows: pd.DataFrame) -> _People | None:
    """Return the people of effects that the study made from noisy amounts; None if it does not say so."""
    keys = (part.meta or {}).get(KEYS_OF_PEOPLE)
    if not keys:
        return None
    numbers = np.array([key for row in keys for key in row if key is not None], dtype=np.uint64)
    people = rows[["n_treated", "n_control"]].astype("Float64").sum(axis=1).max()
    return _People(float(people), numbers)


def _with_notes(rows: pd.DataFrame, large: float | None) -> pd.DataFrame:
    """Return rows whose notes state numbers of clusters as the facts do."""
    said = rows["note"].astype("str").str.fullmatch(r"\d+ clusters").fillna(value=False).to_numpy(dtype=bool)
    notes = [
        f"{_each(int(note.split()[0]), 0, large)} clusters" if of else note
        for note, of in zip(rows["note"], said, strict=True)
    ]
    return rows.assign(note=notes) if said.any() else rows


def _counts(part: Part, rows: pd.DataFrame, register: Register) -> dict[str, Any]:
    """Return the published counts of effects that stand."""
    keys = (part.meta or {})[KEYS_OF_PEOPLE]
    found: dict[str, Any] = {}
    for place, name in enumerate(("n_treated", "n_control")):
        counts = [
            pd.NA if pd.isna(n) or of[place] is None else register.count(int(n), int(of[place]))
            for n, of in zip(rows[name], keys, strict=True)
        ]
        found[name] = pd.array(counts, dtype="Int64")
    return found
