"""Bands of pay of few people are pooled in a release, and Lee bounds follow from the edges that are left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from keyed_people import keyed, rules
from retrain_eval.common.errors import DesignError
from retrain_eval.estimators.inference.lee_bounds import LOWER, UPPER, lee_bounds
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results
from retrain_eval.tables.moments.edges import MARK, of_times

EDGES = tuple(range(4000, 13001, 100))


def bands(n: int, seed: int = 1, edges: tuple[int, ...] = EDGES, *, mark: bool = True) -> rte.OutcomeMoments:
    """Return whether so many people are employed and earn at most each edge; tails of pay are of single people."""
    rng = np.random.default_rng(seed)
    treated = np.arange(n) % 2 == 0
    log = rng.normal(8.5 + 0.1 * treated, 0.6)
    employed = rng.random(n) < 0.6 + 0.1 * treated
    rows = pd.DataFrame({"id": np.repeat(np.arange(n), len(edges)), "edge": np.tile(edges, n)})
    below = np.minimum(log, edges[-1] / 1000)[:, None] <= np.array(edges) / 1000
    rows["y"] = (employed[:, None] & below).ravel().astype(int)
    rows["g"] = np.repeat(np.where(treated, edges[0], 0), len(edges))
    table = rte.outcome_moments(keyed(rows), unit="id", time="edge", cohort="g", outcome="y", kind="binary")
    if mark:
        table.mark(MARK)
    return table


def released(table: rte.OutcomeMoments, **options: Any) -> tuple[Results, list[str]]:
    return protect(Results(moments={"bands": table}), rules(), **options)


def people_between(exact: rte.OutcomeMoments, times: tuple[int, ...]) -> np.ndarray:
    """Return exact numbers of people up to the first of these edges, and between each and the next, by arm."""
    assert exact.keyed is not None
    at = [exact.times.index(time) for time in times]
    found: np.ndarray = np.diff(exact.keyed.count[:, at, 0], axis=1, prepend=0)
    return found


@pytest.mark.parametrize("n", [400, 2000])
def test_no_band_has_few_people_of_an_arm(n: int) -> None:
    exact = bands(n)
    few = people_between(exact, EDGES)
    assert ((few > 0) & (few < 10)).sum() > 10
    safe, record = released(exact)
    times = safe.moments["bands"].times
    between = people_between(exact, times)
    assert ((between == 0).all(axis=0) | (between >= 10).all(axis=0)).all()
    assert len(times) > 5
    assert times[-1] == EDGES[-1]
    # whoever earns least or most is known within half a log, and no better
    first = int(np.flatnonzero(between.any(axis=0))[0])
    assert times[first] - times[first - 1] >= 500 or times[first - 1] % 500 == 0
    assert all(time % 500 == 0 for time, some in zip(times, between.any(axis=0), strict=True) if not some)
    assert "Moments bands: edges of bands are left out, because between them are fewer than 10 people." in record


def test_bounds_of_the_edges_that_are_left_are_near_those_of_all() -> None:
    exact = bands(4000)
    safe = released(exact)[0].moments["bands"]
    fine, coarse = (lee_bounds(table).to_frame().set_index("estimand") for table in (exact, safe))
    for name in (LOWER, UPPER):
        apart = abs(fine.loc[name, "estimate"] - coarse.loc[name, "estimate"])
        assert apart < 0.75 * float(fine.loc[name, "std_error"])
        assert coarse.loc[name, "std_error"] == pytest.approx(float(fine.loc[name, "std_error"]), rel=0.15)


def test_an_unmarked_table_keeps_its_times_and_a_run_its_edges() -> None:
    exact = bands(2000, mark=False)
    assert released(exact)[0].moments["bands"].times == EDGES
    assert len(lee_bounds(bands(2000)).to_frame()) == len(lee_bounds(exact).to_frame())


def test_too_few_bands_give_no_bounds() -> None:
    with pytest.raises(DesignError, match="fewer than 5 bands have enough people: 4 edges are left"):
        lee_bounds(of_times(bands(400), np.array([0, 40, 50, 90])))


def test_the_same_people_have_the_same_edges_in_the_next_edition() -> None:
    exact = bands(400)
    first = released(exact)[0]
    again = released(exact, earlier=first.sets, published=first.published)[0]
    assert again.moments["bands"].times == first.moments["bands"].times
    assert np.array_equal(again.moments["bands"].first, first.moments["bands"].first)
