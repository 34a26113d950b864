"""All additive tables add in one way: alike or refused, in one order, and one without people is zero."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from retrain_eval.common.errors import InputError
from retrain_eval.release.protection.merging import relabel
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.counts import SampleCounts
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.stamps import in_order, levels_stamp
from retrain_eval.tables.statistics import CrossProducts, Scores, Shares, SignedRanks, Spread, Ties


def moments(people: pd.DataFrame, cluster: str | None = None) -> rte.OutcomeMoments:
    long = people.loc[people.index.repeat(2)].assign(t=[1, 2] * len(people))
    long["y"] = long["y"] * long["t"]
    return rte.outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", by=("age", "sex"), cluster=cluster)


def spells(people: pd.DataFrame) -> rte.LifeTable:
    return life_table(people, id="id", duration="weeks", cause="cause", by=("age", "sex"))


def covariates(people: pd.DataFrame) -> Additive:
    return rte.match(people, "treat ~ y", "id", distance="y").covariate_moments()


def counts(people: pd.DataFrame) -> SampleCounts:
    rows = people.groupby("age", sort=False, observed=True)["treat"].agg(["size", "sum"]).reset_index()
    frame = rows.set_axis(["level", "n", "n_linked"], axis=1).assign(subgroup="age")
    return SampleCounts.of("linkage", frame)


TABLES: dict[str, Callable[[pd.DataFrame], Additive]] = {
    "moments": moments,
    "moments by cluster": lambda people: moments(people, "firm"),
    "life table": spells,
    "covariates": covariates,
    "counts": counts,
}
STATISTICS = (
    SignedRanks(3, 4.0, 6.0, 14.0),
    Ties(10, 2, 0, np.nan, np.nan),
    Spread("pay", ("t", "c"), np.array([2, 3]), *(np.array([1.0, 2.0]) for _ in range(4)), 0.5),
    Scores("log-rank", ("a", "b"), np.array([4, 5]), np.array([0.5, -0.5]), np.eye(2)),
    Shares("employed", "", ("",), ("share",), np.array([4]), np.array([9]), np.array([9.0]), np.array([3.0])),
    CrossProducts("pay", "treat", ("age",), 5, np.zeros(3), np.ones(3), np.eye(4)),
)
AGES = pd.CategoricalDtype(["under 25", "25 to 39", "40 and over"], ordered=True)


def people(seed: int, ages: list[str], n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": [f"{seed}-{i}" for i in range(n)],
            "g": np.where(np.arange(n) % 2, 2.0, np.nan),
            "treat": np.arange(n) % 2,
            "y": rng.integers(1, 20, n).astype(float),
            "weeks": rng.integers(1, 9, n),
            "cause": rng.integers(0, 2, n),
            "age": pd.Series(rng.choice(ages, n)).astype(AGES),
            "sex": rng.choice(["m", "f"], n),
            "firm": [f"{seed}-{i % 4}" for i in range(n)],
        }
    )


def same(one: Additive, other: Additive) -> None:
    """Check keys in their order, and sums to rounding."""
    for name in one.cells.columns:
        mine, theirs = one.cells[name], other.cells[name]
        if mine.map(lambda value: isinstance(value, (list, np.ndarray))).any():
            assert [list(value) for value in mine] == [list(value) for value in theirs]
        elif pd.api.types.is_float_dtype(mine):
            np.testing.assert_allclose(mine.astype(float), theirs.astype(float), rtol=1e-12, err_msg=name)
        else:
            assert mine.tolist() == theirs.tolist(), name


@pytest.mark.parametrize("kind", TABLES)
def test_adding_is_the_same_whichever_comes_first(kind: str) -> None:
    young, old = (TABLES[kind](people(seed, ages)) for seed, ages in ((1, ["under 25"]), (2, ["25 to 39"])))
    if kind == "covariates":
        assert (young + old).cells["people"].tolist() == (old + young).cells["people"].tolist()
        return
    same(young + old, old + young)


@pytest.mark.parametrize("kind", ["moments", "moments by cluster", "life table"])
def test_a_sum_has_the_order_and_the_sums_of_a_table_of_all(kind: str) -> None:
    parts = [people(1, ["40 and over", "under 25"]), people(2, ["25 to 39"]), people(3, ["25 to 39", "under 25"])]
    whole = TABLES[kind](pd.concat(parts, ignore_index=True).astype({"age": AGES}))
    one, two, three = (TABLES[kind](part) for part in parts)
    for added in (one + two + three, three + one + two, two + (three + one)):
        same(added, whole)


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_without_people_adds_nothing(kind: str) -> None:
    table = TABLES[kind](people(1, ["under 25", "25 to 39"]))
    empty = table.empty()
    assert len(empty.cells) == 0
    for added in (table + empty, empty + table):
        same(added, table)
    assert len((empty + empty).cells) == 0


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_without_people_is_kept_in_a_file(kind: str, tmp_path) -> None:
    table = TABLES[kind](people(1, ["under 25", "25 to 39"]))
    table.empty().to_parquet(tmp_path / "t.parquet")
    again = type(table).read_parquet(tmp_path / "t.parquet")
    assert len(again.cells) == 0
    same(again + table, table)


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda statistic: statistic.kind)
def test_statistics_add_and_one_without_people_adds_nothing(statistic: Additive, tmp_path) -> None:
    twice = statistic + statistic
    assert twice.cells["n"].tolist() == [2 * n for n in statistic.cells["n"]]
    empty = statistic.empty()
    assert empty.cells["n"].tolist() == [0] * len(empty.cells)
    assert (statistic + empty) is statistic
    assert (empty + statistic) is statistic
    stamped = dataclasses.replace(statistic)
    stamped.mark({"currency": "EUR"})
    stamped.to_parquet(tmp_path / "s.parquet")
    assert type(statistic).read_parquet(tmp_path / "s.parquet").stamp == {"currency": "EUR"}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_with_other_stamps_are_refused_and_stamps_are_kept_in_the_file(kind: str, tmp_path) -> None:
    one, other = (TABLES[kind](people(seed, ["under 25", "25 to 39"])) for seed in (1, 2))
    one.mark({"base period": "2016Q1"})
    with pytest.raises(InputError, match="base period differ") as error:
        one + other
    assert "2016Q1 and not stated" in str(error.value)
    later = dataclasses.replace(other)
    later.mark({"base period": "2025Q4"})
    with pytest.raises(InputError, match="base period differ"):
        one + later
    other.mark({"base period": "2016Q1"})
    assert (one + other).stamp == one.stamp
    one.to_parquet(tmp_path / "t.parquet")
    assert type(one).read_parquet(tmp_path / "t.parquet").stamp["base period"] == "2016Q1"


def test_tables_of_two_kinds_are_refused() -> None:
    everyone = people(1, ["under 25", "25 to 39"])
    with pytest.raises(InputError, match="moments and life tables do not add up"):
        moments(everyone) + spells(everyone)
    with pytest.raises(InputError, match="counts of linkage and a int do not add up"):
        counts(everyone) + 1


def test_what_has_no_levels_says_so() -> None:
    everyone = people(1, ["under 25", "25 to 39"])
    for table in (covariates(everyone), counts(everyone), STATISTICS[0]):
        with pytest.raises(InputError, match="have no levels"):
            table.subset(age="under 25")
        with pytest.raises(InputError, match="have no levels"):
            table.collapse("age")


levels = st.sets(st.sampled_from(["9", "10", "11", "b", "a", "nan", "(missing)"]))


@settings(max_examples=60, deadline=None)
@given(levels, st.permutations(["10", "9", "a | b", "b"]))
def test_levels_are_in_the_order_registered_else_by_value_else_as_texts(
    present: set[str], registered: list[str]
) -> None:
    texts = ("10", "11", "9", "a", "b", "nan", "(missing)")
    assert in_order(present, "x", {}) == [level for level in texts if level in present]
    numbers = ("9", "10", "11", "a", "b", "nan", "(missing)")
    assert in_order(present, "x", levels_stamp({}, ["x"])) == [level for level in numbers if level in present]
    order = in_order(present, "x", levels_stamp({"x": registered}))
    assert [level for level in order if level in registered] == [level for level in registered if level in present]


@pytest.mark.parametrize("kind", ["moments", "life table"])
@pytest.mark.parametrize("column", ["texts", "numbers", "categories"])
def test_sums_have_one_order_however_they_are_put_together(kind: str, column: str) -> None:
    """Texts that look like numbers, numbers, and categories that pandas found: (A + B) + C is A + (B + C)."""
    parts = []
    for seed, values in enumerate((["9", "10"], ["10", "b"], ["9", "b"])):
        part = people(seed, ["under 25"])
        values = [value.replace("b", "11") for value in values] if column == "numbers" else values
        part["age"] = np.random.default_rng(seed).choice(values, len(part))
        part["age"] = part["age"].astype({"texts": "str", "numbers": "int64", "categories": "category"}[column])
        parts.append(part)
    a, b, c = map(TABLES[kind], parts)
    everyone = pd.concat([part.astype({"age": "str"}) for part in parts], ignore_index=True)
    whole = TABLES[kind](everyone.astype({"age": "int64" if column == "numbers" else "str"}))
    for added in ((a + b) + c, a + (b + c), (c + a) + b):
        same(added, whole)


def test_the_cap_of_amounts_belongs_to_the_stamp() -> None:
    long = pd.DataFrame({"id": [1, 1, 2, 2], "t": [1, 2] * 2, "g": [2, 2, 0, 0], "y": [1.0, 2.0, 3.0, 4.0]})
    names = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y"}
    capped = rte.outcome_moments(long, **names, winsorise=0.9)
    with pytest.raises(InputError, match="winsorise differ"):
        capped + rte.outcome_moments(long, **names)
    assert (capped + capped).largest is not None


def test_a_table_of_another_study_is_not_relabelled() -> None:
    table = counts(people(1, ["under 25"]))
    table.mark({"currency": "EUR"})
    table.mark({"currency": "EUR"})
    with pytest.raises(InputError, match="of another study: their currency differs"):
        table.mark({"currency": "USD"})


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda statistic: statistic.kind)
def test_a_statistic_without_people_is_kept_in_a_file_and_says_nothing_of_single_people(
    statistic: Additive, tmp_path
) -> None:
    empty = statistic.empty()
    empty.to_parquet(tmp_path / "s.parquet")
    assert type(statistic).read_parquet(tmp_path / "s.parquet").is_empty
    assert [getattr(empty, name) for name in empty.inside] == [None] * len(empty.inside)


@pytest.mark.parametrize("kind", ["moments by cluster", "clustered life table", "capped moments"])
def test_a_table_without_people_takes_nothing_away(kind: str, tmp_path) -> None:
    make = {
        "moments by cluster": lambda rows: moments(rows, "firm"),
        "clustered life table": lambda rows: life_table(
            rows, id="id", duration="weeks", cause="cause", by="sex", cluster="firm"
        ),
        "capped moments": lambda rows: rte.outcome_moments(
            rows.assign(t=1), unit="id", time="t", cohort="g", outcome="y", winsorise=0.9
        ),
    }[kind]
    table = make(people(1, ["under 25", "25 to 39"]))
    table.empty().to_parquet(tmp_path / "t.parquet")
    for empty in (table.empty(), type(table).read_parquet(tmp_path / "t.parquet")):
        for added in (table + empty, empty + table):
            same(added, table)
            assert (added.clusters is None) == (table.clusters is None)
            assert getattr(added, "leaves_out", None) == getattr(table, "leaves_out", None)
            assert (getattr(added, "largest", None) is None) == (getattr(table, "largest", None) is None)


def test_levels_that_one_agency_merged_do_not_add() -> None:
    one, other = (moments(people(seed, ["under 25", "25 to 39"])) for seed in (1, 2))
    merged = relabel(other, "age", {"under 25": "under 40", "25 to 39": "under 40"})
    with pytest.raises(InputError, match="levels of age differ"):
        one + merged
    assert len((merged + merged).cells) == len(merged.cells)
    same(one.collapse("age") + merged.collapse("age"), one.collapse("age") + other.collapse("age"))


def test_a_stamp_belongs_to_one_table() -> None:
    one, other = (moments(people(seed, ["under 25", "25 to 39"])) for seed in (1, 2))
    both = one + other
    one.mark({"currency": "EUR"})
    assert "currency" not in both.stamp


@pytest.mark.parametrize("stamp", [["currency"], {"currency": 3}, {"currency": {"a": "b"}}, "EUR", None])
def test_a_stamp_that_is_not_names_and_texts_is_refused(stamp: object, tmp_path) -> None:
    table = counts(people(1, ["under 25"]))
    table.mark({"currency": "EUR"})
    table.to_parquet(tmp_path / "t.parquet")
    rows = pq.read_table(tmp_path / "t.parquet")
    facts = json.loads(rows.schema.metadata[b"sample_counts"]) | {"stamp": stamp}
    pq.write_table(rows.replace_schema_metadata({"sample_counts": json.dumps(facts)}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="stamp is not a list of names and texts"):
        SampleCounts.read_parquet(tmp_path / "t.parquet")


@pytest.mark.parametrize("value", ["under 25", "{", "3", '{"a": 1}', "[" * 100_000])
def test_levels_in_a_stamp_that_are_not_a_list_give_no_order(value: str) -> None:
    assert in_order({"b", "a"}, "x", {"levels of x": value}) == ["a", "b"]
