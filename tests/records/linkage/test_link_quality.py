"""The quality of links: weights, estimated precision and recall, review, rates by group, and the choice of links."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import InputError
from retrain_eval.records.linkage.probabilistic import choose_links
from retrain_eval.records.linkage.quality import (
    RATES,
    clerical_review,
    linkage_rates,
    match_quality,
    weight_distribution,
)
from retrain_eval.release.layout import TABLES

CON = duckdb.connect()  # opening one takes longer than a test


def test_estimates_are_true_where_probabilities_are() -> None:
    """Pairs whose probabilities hold: estimated precision and recall are those of the truth, up to chance."""
    rng = np.random.default_rng(4)
    p = rng.beta(0.2, 0.5, 200_000)
    match = rng.random(len(p)) < p
    table = match_quality(pd.DataFrame({"match_probability": p}))
    for row in table.itertuples():
        kept = p >= row.threshold
        assert row.n_links == kept.sum()
        assert row.precision == pytest.approx(match[kept].mean(), abs=0.005)
        assert row.recall == pytest.approx(match[kept].sum() / match.sum(), abs=0.005)
        assert row.expected_missed == pytest.approx(match[~kept].sum(), rel=0.02)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@settings(max_examples=25, deadline=None)
def test_a_higher_threshold_never_links_more_nor_less_precisely(p: list[float]) -> None:
    pairs = CON.from_df(pd.DataFrame({"match_probability": p}))
    table = match_quality(pairs, [0.1, 0.5, 0.9, 1.0])
    assert table["n_links"].is_monotonic_decreasing
    assert table["precision"].dropna().is_monotonic_increasing
    bins = weight_distribution(pairs)
    assert bins["n"].sum() == len(p)
    assert bins["expected_matches"].sum() == pytest.approx(sum(p))


def test_bins_of_weight_are_in_powers_of_two() -> None:
    table = weight_distribution(pd.DataFrame({"match_probability": [0.5, 0.8, 0.9, 1.0, 0.0]}), width=1.0)
    assert table[["weight_low", "n"]].to_numpy().tolist()[1:4] == [[0.0, 1.0], [2.0, 1.0], [3.0, 1.0]]


def test_review_shows_the_doubtful_first_and_the_same_on_every_run() -> None:
    pairs = pd.DataFrame({"person_id": [1, 2, 3, 4], "record_id": 9, "match_probability": [0.95, 0.5, 0.3, 0.5]})
    assert clerical_review(pairs, 0.3, 0.95)["person_id"].tolist() == [2, 4, 3]
    assert clerical_review(pairs, 0.3, 0.95, limit=1)["person_id"].tolist() == [2]


@pytest.mark.parametrize(
    "call",
    [
        lambda p: match_quality(p, [1.5]),
        lambda p: weight_distribution(p, 0),
        lambda p: clerical_review(p, 0.9, 0.2),
        lambda p: match_quality(p.assign(match_probability=2.0)),
        lambda p: match_quality(p.rename(columns={"match_probability": "p"})),
    ],
)
def test_refusals(call: Any) -> None:
    with pytest.raises(InputError):
        call(pd.DataFrame({"match_probability": [0.2, 0.8]}))


def test_rates_by_group_have_the_layout_of_a_release() -> None:
    people = pd.DataFrame({"found": [True] * 6 + [False] * 4, "sex": ["f"] * 5 + ["m"] * 5, "region": ["n", "s"] * 5})
    table = linkage_rates(people, "found", ["sex", "region"])
    assert tuple(table.columns) == RATES == TABLES["linkage"]
    rows = [(*row[1:4], round(row[4], 3)) for row in table.itertuples(index=False, name=None)]
    assert [row[1:] for row in rows] == [(10, 6, 0.6), (5, 5, 1.0), (5, 1, 0.2), (5, 3, 0.6), (5, 3, 0.6)]
    assert table["level"].tolist()[1:] == ["f", "m", "n", "s"]
    with pytest.raises(InputError, match="1 people are neither found nor not"):
        linkage_rates(people.assign(found=[None, *[True] * 9]), "found")


def choose(pairs: list[tuple[int, int, float]], n: int = 4, threshold: float = 0.9) -> Any:
    con = CON
    con.execute(f"CREATE OR REPLACE TABLE people AS SELECT range + 1 AS person_id FROM range({n})")
    con.register("frame", pd.DataFrame(pairs, columns=["person_id", "record_id", "match_probability"]))
    con.execute("CREATE OR REPLACE TABLE pairs AS FROM frame")
    return choose_links(con, "people", con.table("pairs"), threshold)


def test_a_link_is_the_likeliest_of_both_sides() -> None:
    found = choose([(1, 10, 0.99), (2, 10, 0.95), (2, 11, 0.94), (3, 12, 0.97), (3, 13, 0.97), (4, 14, 0.5)])
    assert found.links.project("person_id, record_id, score").fetchall() == [(1, 10, 0.99)]
    assert found.unresolved.project("person_id, status, reason, n_candidates").fetchall() == [
        (2, "ambiguous", "the likeliest record fits somebody else as well or better", 2),
        (3, "ambiguous", "several records are as likely", 2),
        (4, "unlinked", "no record is likely enough", 0),
    ]
    assert found.records("UI").project("status, score").fetchall()[0] == ("linked", 0.99)


def test_two_people_equally_likely_for_one_record_get_none() -> None:
    found = choose([(1, 10, 0.99), (2, 10, 0.99)], n=2)
    assert found.links.fetchall() == []
    assert {row[1] for row in found.unresolved.fetchall()} == {"ambiguous"}


pair = st.tuples(st.integers(1, 5), st.integers(10, 14), st.sampled_from([0.1, 0.6, 0.91, 0.95, 0.99]))


@given(st.lists(pair, max_size=20, unique_by=lambda row: row[:2]), st.randoms())
@settings(max_examples=25, deadline=None)
def test_chosen_links_are_one_to_one_whatever_the_order(pairs: list[tuple[int, int, float]], random: Any) -> None:
    found = choose(pairs, n=5)
    rows = found.links.fetchall()
    assert len({row[0] for row in rows}) == len({row[1] for row in rows}) == len(rows)
    for person, record, _, _, score, _ in rows:
        assert score == max(p for a, _, p in pairs if a == person) == max(p for _, b, p in pairs if b == record)
        assert score >= 0.9
    assert len(rows) + len(found.unresolved.fetchall()) == 5
    random.shuffle(pairs)
    assert choose(pairs, n=5).links.fetchall() == rows
