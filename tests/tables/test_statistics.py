"""Sums for tests and bounds: parts add up to the whole, and a file holds what was written or is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import retrain_eval as rte
from matching_samples import LALONDE, lalonde
from retrain_eval.common.errors import InputError
from retrain_eval.estimators.inference.hidden_bias_bounds import rank_bounds, signed_ranks
from retrain_eval.estimators.rows.follow_up import employment_after, employment_shares, share_effects
from retrain_eval.estimators.survival.grouptest import score_test
from retrain_eval.estimators.survival.logrank import logrank, logrank_scores
from retrain_eval.sample.hidden_bias.cross_products import cross_products, regressions_of
from retrain_eval.sample.hidden_bias.pooled_sd import deviation, spread
from retrain_eval.sample.match import match
from retrain_eval.tables.file import read_table, write_table
from retrain_eval.tables.statistics import CrossProducts, Scores, Shares, SignedRanks, Spread, Statistic, Ties

FORMULA = "treat ~ age + I(age**2) + educ + race + married:nodegree + re74"


def people(half: int | None = None) -> pd.DataFrame:
    data = lalonde().sort_values("id", ignore_index=True)
    return data if half is None else data[data.index % 2 == half]


def products(half: int | None = None) -> CrossProducts:
    data = people(half)
    return cross_products(data, match(data, FORMULA, "id"), "re78")


def within(half: int | None = None) -> Spread:
    """Sum over everybody of a half, of whom the sample is made: overlap weights leave nobody out."""
    data = people(half)
    return spread(data, match(data, "treat ~ married", "id", method="ipw"), "re78")


def spells(half: int | None = None) -> rte.Spells:
    rng = np.random.default_rng(4)
    n = 400
    rows = pd.DataFrame(
        {"id": range(n), "pair": np.arange(n) // 2, "arm": np.tile(["trained", "control", "other"], n)[:n]}
    )
    rows = rows.assign(weeks=rng.integers(1, 9, n), cause=rng.integers(0, 2, n), agency=(np.arange(n) // 2) % 2)
    rows = rows if half is None else rows[rows["agency"] == half]
    by = ["arm"] if half is not None else ["arm", "agency"]
    return rte.Spells(rows, id="id", duration="weeks", by=by, cluster="pair")


def panel(half: int | None = None) -> pd.DataFrame:
    rng = np.random.default_rng(6)
    rows = pd.DataFrame({"person_id": np.repeat(np.arange(300), 3), "to_exit": [2, 4, 8] * 300})
    rows["employed"] = rng.choice([0.0, 1.0], len(rows))
    rows["main_employer"] = np.where(rows["employed"] > 0, rng.choice(["A", "B"], len(rows)), None)
    rows["weight"] = np.repeat(rng.uniform(0.5, 2, 300), 3)
    return rows if half is None else rows[rows["person_id"] % 2 == half]


def shares(half: int | None = None) -> Shares:
    return employment_shares(panel(half), weights="weight", weight_type="probability")


MADE: dict[str, Callable[[], Statistic]] = {
    "ranks": lambda: signed_ranks([5.0, 4, -1, 3, 3]),
    "spread": within,
    "scores": lambda: logrank_scores(spells(0).table),
    "shares": shares,
    "products": products,
    "ties": lambda: Ties(200, 60, 25, 120.0, 480.0),
}


@pytest.mark.parametrize("name", MADE)
def test_a_file_holds_what_was_written(name: str, tmp_path: Path) -> None:
    made = MADE[name]()
    for statistic in (made, made.released()):
        statistic.to_parquet(tmp_path / "x.parquet")
        again = Statistic.read_parquet(tmp_path / "x.parquet")
        assert type(again) is type(made)
        for item in fields(made):
            one, two = getattr(statistic, item.name), getattr(again, item.name)
            np.testing.assert_array_equal(one, two)
            assert type(one) is type(two)
    columns = pq.read_table(tmp_path / "x.parquet").column_names
    assert not set(columns) & set(made.inside)


@pytest.mark.parametrize("name", MADE)
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    made, path = MADE[name](), tmp_path / "x.parquet"
    made.to_parquet(path)
    table, facts, stamp = read_table(path, "statistic")
    for column in table.column_names:
        if column in made.inside:
            continue
        if column in ("clusters", "per_cent"):  # which files of before do not have
            continue
        write_table(path, "statistic", table.drop_columns([column]), facts, stamp)
        with pytest.raises(InputError, match="lacks a column"):
            Statistic.read_parquet(path)
        if isinstance(table[column][0].as_py(), list):
            short = pa.array([table[column][0].as_py()[:-1]], table[column].type)
            write_table(
                path, "statistic", table.set_column(table.column_names.index(column), column, short), facts, stamp
            )
            with pytest.raises(InputError, match=r"numbers in the file are no|holds something else"):
                Statistic.read_parquet(path)
        texts = pa.array(["text"])
        write_table(path, "statistic", table.set_column(table.column_names.index(column), column, texts), facts, stamp)
        if not isinstance(getattr(made, column), str):
            with pytest.raises(InputError, match=r"numbers in the file are no|holds something else"):
                Statistic.read_parquet(path)
    for other, words in (({"kind": "horoscope"}, "unknown kind of statistic"), ({}, "unknown kind of statistic")):
        write_table(path, "statistic", table, other, stamp)
        with pytest.raises(InputError, match=words):
            Statistic.read_parquet(path)
    write_table(path, "statistic", pa.concat_tables([table, table]), facts, stamp)
    with pytest.raises(InputError, match="2 rows"):
        Statistic.read_parquet(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        Statistic.read_parquet(path)


def test_cross_products_of_two_agencies_are_those_of_all_people() -> None:
    both, whole = products(0) + products(1), products()
    assert both.n == whole.n == len(people())
    for name, value in vars(regressions_of(whole)).items():
        assert getattr(regressions_of(both), name) == pytest.approx(value, rel=1e-9), name
    assert both.amounts is not None
    assert whole.amounts is not None
    np.testing.assert_allclose(both.amounts, whole.amounts)
    np.testing.assert_allclose(both.largest, whole.largest)


def test_spreads_of_two_agencies_add_up() -> None:
    a, b = within(0), within(1)
    both = a + b
    assert both.n.tolist() == (a.n + b.n).tolist()
    weighed = [
        (frame["re78"].to_numpy(), found)
        for frame, found in (
            (people(half), match(people(half), "treat ~ married", "id", method="ipw")) for half in (0, 1)
        )
    ]
    rows = pd.concat(
        [people(half).merge(found.weights.df()[["id", "weight"]], on="id") for half, (_, found) in enumerate(weighed)]
    )
    pooled = 0.0
    for _, arm in rows.groupby("treat"):
        w, y = arm["weight"], arm["re78"]
        pooled += (len(arm) - 1) * (w * (y - np.average(y, weights=w)) ** 2).sum() / (w.sum() - (w**2).sum() / w.sum())
    assert deviation(both) == pytest.approx(np.sqrt(pooled / (len(rows) - 2)), rel=1e-10)


def test_scores_of_two_agencies_are_the_stratified_test() -> None:
    whole = logrank(spells().table, strata="agency")
    both = score_test(logrank_scores(spells(0).table) + logrank_scores(spells(1).table))
    assert both["statistic"].item() == pytest.approx(whole.chi2, rel=1e-10)
    assert both["df"].item() == whole.df == 2
    assert both["p_value"].item() == pytest.approx(whole.p_value, rel=1e-9)


def test_scores_give_the_test_of_the_table_by_matched_set() -> None:
    table = spells(0).table
    found = score_test(logrank_scores(table))
    pd.testing.assert_frame_equal(found, logrank(table).to_frame())


def test_ranks_add_up_within_strata() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.3, 1, 80), rng.normal(0.3, 5, 50)
    both = signed_ranks(a) + signed_ranks(b)
    rank = np.concatenate([np.argsort(np.argsort(np.abs(d))) + 1.0 for d in (a, b)])
    assert both.positive == rank[np.concatenate([a, b]) > 0].sum()
    assert (both.n, both.total, both.squares) == (130, rank.sum(), (rank**2).sum())
    one, other = (rank_bounds(both, alternative=side).table["p_value"][0] for side in ("greater", "less"))
    assert one + other == pytest.approx(1)


def test_shares_are_those_of_people_and_add_up() -> None:
    whole = employment_after(panel(), weights="weight", weight_type="probability").frame
    found = share_effects(shares(0) + shares(1)).frame
    np.testing.assert_allclose(found["estimate"], whole["estimate"], rtol=1e-12)
    assert found[["estimand", "time", "n_treated"]].equals(whole[["estimand", "time", "n_treated"]])
    assert found["std_error"].isna().all()


def test_counts_of_ties_add_up_and_how_far_effects_move_does_not() -> None:
    both = Ties(200, 60, 25, 120.0, 480.0) + Ties(100, 0, 0, np.nan, np.nan)
    assert (both.choices, both.tied, both.share, both.relabellings) == (300, 60, 0.2, 0)
    assert np.isnan([both.sd, both.spread]).all()


def test_what_is_not_alike_does_not_add() -> None:
    data = people()
    other = cross_products(data, match(data, LALONDE, "id"), "re78")
    with pytest.raises(InputError, match="columns differ"):
        products() + other
    with pytest.raises(InputError, match="levels differ"):
        logrank_scores(spells(0).table) + Scores("log-rank", ("a",), np.array([20]), np.zeros(1), np.zeros((1, 1)))
    with pytest.raises(InputError, match="time differ"):
        shares() + replace(shares(), time=shares().time + 1)


def test_no_ranks_are_no_file_of_ranks(tmp_path: Path) -> None:
    SignedRanks(10, 60.0, 55.0, 385.0).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="not valid signed ranks"):
        Statistic.read_parquet(tmp_path / "x.parquet")
