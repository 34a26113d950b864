"""Tables that were counted contradict each other in no release, and an altered one contradicts another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from keyed_people import keyed
from keyed_people import rules as noisy
from matching_samples import LALONDE, lalonde
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.agreement import contradictions
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results
from retrain_eval.sample.composition import count_matched, count_overlap
from retrain_eval.sample.counting import count_flow
from retrain_eval.sample.match import match
from retrain_eval.tables.covariates.covariates import covariate_balance

Change = Callable[[Results], None]
EXACT = Release(exact=True, significant_figures=10)


def results(number: int | None = None) -> Results:
    """Return the counts of a sample; with keys made from the number-th secret."""
    frame = lalonde().assign(young=lambda d: np.where(d["age"] < 25, "under 25", "25 and over"))
    people = frame if number is None else keyed(frame, number)
    sample = match(people, LALONDE, "id", caliper=0.2)
    found = Results()
    found.covariates["matched"] = moments = sample.covariate_moments(amounts=["re74", "re75"])
    found.add_table("balance", covariate_balance(moments))
    found.add_counts(count_overlap(sample))
    found.add_counts(count_flow(people, {}, sample))
    found.add_counts(count_matched(people, sample, by=["young"]))
    if number is None:
        n = {"n": [400, 260, 140], "n_linked": [380, 250, 130], "level": [None, "a", "b"], "subgroup": [None, "s", "s"]}
        found.add_table("linkage", pd.DataFrame(n).assign(rate=0.9))
    return found


@pytest.fixture(scope="module")
def run() -> Results:
    return results()


def published(run: Results, rules: Release = EXACT) -> tuple[Results, Release]:
    """Return what is released of the run; results nothing is published of are no part of it."""
    safe, _ = protect(replace(run, tables={**run.tables}), rules)
    return safe, rules


def test_public_numbers_do_not_contradict_each_other(run: Results) -> None:
    assert contradictions(*published(run)) == []


@pytest.mark.parametrize("number", range(6))
def test_a_protected_release_does_not_contradict_itself(number: int) -> None:
    safe, rules = published(results(number), noisy(significant_figures=4))
    assert {"flow", "matching", "overlap", "balance"} <= set(safe.tables)
    assert contradictions(safe, rules) == []


def put(table: str, row: int, column: str, value: float) -> Change:
    def change(results: Results) -> None:
        results.tables[table].loc[row, column] = value

    return change


def sums(column: str, factor: float) -> Change:
    def change(results: Results) -> None:
        cells = results.covariates["matched"].cells
        cells.loc[cells.index[cells["binary"]][0], column] *= factor

    return change


CHANGES: list[tuple[str, Change]] = [
    ("flow, treated: no step has the 113 people", put("flow", 2, "n", 112)),
    ("flow, control: no step has the 429 people", put("flow", 1, "n", 430)),
    ("flow, treated, Matched and analysed: 190 people of 185", put("flow", 2, "n", 190)),
    ("matching, n_treated: 184, and 185 people", put("matching", 0, "n_treated", 184)),
    ("matching, n_control_matched: 114, and 113 people", put("matching", 0, "n_control_matched", 114)),
    ("matching, n_treated: levels of young add up to", put("matching", 1, "n_treated", 100)),
    ("matching, ess_control: 100, and 113 by the weights", put("matching", 0, "ess_control", 100.0)),
    ("matching, row 2: 500 effective of", put("matching", 1, "ess_control", 500.0)),
    ("overlap, treated: bins add up to", put("overlap", 0, "n", 99)),
    ("overlap, treated: bins do not follow each other", put("overlap", 0, "bin_high", 0.07)),
    ("overlap, treated: bins from 0.01", put("overlap", 0, "bin_low", 0.01)),
    ("linkage, n: levels of s add up to 399", put("linkage", 1, "n", 259)),
    ("linkage, row 1: n_linked 401 of n 400", put("linkage", 0, "n_linked", 401)),
    ("covariates/matched: people of treated, before", sums("people", 1.1)),
    ("covariates/matched: sum_w2 of treated, before", sums("sum_w2", 1.1)),
    ("covariates/matched: race_black of treated, before, is not 0 or 1", sums("sum_wx2", 1.1)),
]


@pytest.mark.parametrize(("words", "change"), CHANGES, ids=[words for words, _ in CHANGES])
def test_one_altered_number_contradicts_another(run: Results, words: str, change: Change) -> None:
    safe, rules = published(run)
    safe.tables = {name: frame.copy() for name, frame in safe.tables.items()}
    safe.covariates["matched"].cells["people"] = safe.covariates["matched"].cells["people"].astype(float)
    change(safe)
    found = contradictions(safe, rules)
    assert any(line.startswith(words) for line in found), found


def test_what_is_withheld_is_not_held_against_anything(run: Results) -> None:
    safe, rules = published(run)
    for table in ("flow", "matching"):
        safe.tables[table] = safe.tables[table].copy()
        for column in safe.tables[table].columns.intersection(["n", "n_treated", "n_control", "ess_control"]):
            safe.tables[table][column] = pd.NA
    assert contradictions(safe, rules) == []
