"""Counts and life tables of two editions: no set of people is counted that differs by one to nine from one before."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from keyed_people import held, keyed, register, rules
from retrain_eval.common.errors import DisclosureError
from retrain_eval.release.editions import kept_sets
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results
from retrain_eval.sample.composition import count_matched, count_overlap
from retrain_eval.sample.counting import count_flow, count_linked
from retrain_eval.tables.counts import COUNTED, SampleCounts, counted
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.noise.cell_keys import CellKeys
from retrain_eval.tables.noise.counted_sets import CountedSets

N = 1200
PEOPLE = held(N + 200)
STEPS = {"People": ("true", ""), "Found": ("linked", "not found in the wage records")}


def people(women: int = 0, men: int = 0) -> pd.DataFrame:
    """Return 1,200 people, and newcomers to the programme."""
    rng = np.random.default_rng(3)
    n = N + 200
    frame = pd.DataFrame(
        {
            "id": range(n),
            "treat": np.where(np.arange(n) < N, rng.random(n) < 0.2, True).astype(int),
            "age": rng.integers(18, 64, n),
            "sex": rng.choice(["f", "m"], n),
            "linked": (rng.random(n) < 0.85) | (np.arange(n) >= N),
            "quarters": rng.geometric(0.15, n).clip(max=12).astype(float),
            "job": rng.choice(["job", "0"], n, p=[0.8, 0.2]),
        }
    )
    frame.loc[N : N + 99, "sex"], frame.loc[N + 100 :, "sex"] = "f", "m"
    return frame[(frame["id"] < N) | frame["id"].between(N, N + women - 1) | frame["id"].between(N + 100, N + 99 + men)]


def made(frame: pd.DataFrame, by: tuple[str, ...] = ("sex",)) -> Results:
    rows = keyed(frame)
    sample = rte.match(rows, "treat ~ sex", unit="id", method="cem")
    names = frame.assign(arm=np.where(frame["treat"] == 1, "trained", "control"))
    works = names.merge(pd.DataFrame({"t": [1, 2]}), how="cross").assign(
        works=lambda rows: (rows["quarters"] <= rows["t"]).astype(int), g=lambda rows: np.where(rows["treat"], 2, 0)
    )
    return Results(
        counts={
            "flow": count_flow(rows, STEPS),
            "linkage": count_linked(rows, "linked", by),
            "matching": count_matched(rows, sample, by),
            "overlap": count_overlap(sample, 4),
        },
        life_tables={"jobs": life_table(keyed(names), "id", "quarters", "job", by=("arm", *by), censored="0")},
        covariates={"m": sample.covariate_moments()},
        moments={
            "works": rte.outcome_moments(keyed(works), unit="id", time="t", cohort="g", outcome="works", by=by),
        },
    )


FIRST, _ = protect(made(people()), rules())


def second(**newcomers: int) -> tuple[Results, str]:
    safe, record = protect(made(people(**newcomers)), rules(), earlier=FIRST.sets, published=FIRST.published)
    return safe, "\n".join(record)


def linked(results: Results) -> pd.DataFrame:
    return counted(results.counts["linkage"])


def test_the_same_people_are_counted_as_before() -> None:
    safe, record = second()
    assert "earlier edition" not in record
    assert "differ" not in record
    for name, table in FIRST.counts.items():
        pd.testing.assert_frame_equal(safe.counts[name].cells, table.cells)
    pd.testing.assert_frame_equal(safe.life_tables["jobs"].cells, FIRST.life_tables["jobs"].cells)
    assert "counts/linkage: n, all all" in {one.name for one in safe.sets}


def test_many_newcomers_are_counted() -> None:
    safe, record = second(women=60, men=60)
    assert "earlier edition" not in record
    assert linked(safe)["n"].notna().all()
    assert set(safe.counts) == set(FIRST.counts)
    assert safe.life_tables["jobs"].by == ("arm", "sex")
    assert safe.moments["works"].strata == ("sex",)


def test_three_newcomers_are_not_counted() -> None:
    with pytest.raises(DisclosureError, match=r"people apart|differ"):
        protect(Results(life_tables=made(people(women=3)).life_tables), rules(), earlier=FIRST.sets)
    found = made(people(women=3, men=0))
    safe, record = protect(Results(counts=found.counts), rules(), earlier=FIRST.sets, published=FIRST.published)
    counts = safe.counts
    assert linked(safe)["n"].isna().all()
    assert counted(counts["matching"])["n_treated"].isna().all()
    assert counted(counts["matching"])["n_control"].notna().all()  # no newcomer is a control
    assert set(counts["overlap"].cells["group"]) == {"control before", "control matched"}
    flow = counts["flow"].cells
    assert flow.loc[flow["group"] == "treated", "stopped"].isna().all()
    assert any("Sample flow" in line and "earlier edition" in line for line in record)
    with pytest.raises(DisclosureError, match="people apart"):
        protect(Results(moments=found.moments), rules(), earlier=FIRST.sets)
    balance = protect(Results(covariates=found.covariates), rules(), earlier=FIRST.sets)[0].covariates["m"]
    assert set(balance.withheld) == {"sex_f", "sex_m"}
    assert balance.cells.empty


@pytest.mark.parametrize("linked", [True, False])
def test_a_flow_does_not_tell_where_one_newcomer_stopped(linked: bool) -> None:
    newcomer = people(women=1)
    newcomer.loc[newcomer["id"] >= N, "linked"] = linked
    of = {"flow": count_flow(keyed(newcomer), STEPS), "linkage": made(people()).counts["linkage"]}
    safe, record = protect(Results(counts=of), rules(), earlier=FIRST.sets, published=FIRST.published)
    assert safe.counts["flow"].cells["stopped"].isna().all()
    assert "Sample flow: withheld: people differ from those of an earlier edition by fewer than 10." in record


def test_where_few_of_many_newcomers_are_men_no_table_is_by_sex() -> None:
    safe, record = second(women=60, men=4)
    found = linked(safe)
    assert found.loc[found["subgroup"].isna(), "n"].notna().all()
    assert not (found["subgroup"] == "sex").any()
    assert "sex" not in safe.life_tables["jobs"].by
    assert safe.moments["works"].strata == ()
    assert "Life table jobs: summed over sex: its people, or their amounts, differ from published ones" in record
    assert "Table linkage: n by sex is withheld: people differ from those of an earlier edition" in record
    # what the second edition counts is not near the first one
    assert CountedSets(FIRST.sets).alike(safe.sets) == []


def test_people_of_an_earlier_edition_who_are_gone_are_missed_as_well() -> None:
    """Three women left; or three left and sixty came."""
    frame = people(women=60, men=60)
    gone = frame[(frame["sex"] == "f") & (frame["treat"] == 1) & (frame["id"] < N)]["id"].head(3)
    many = protect(made(frame[~frame["id"].isin(gone)]), rules(), earlier=FIRST.sets)[1]
    assert not any("differ" in line for line in many)
    left = people()
    with pytest.raises(DisclosureError, match="people apart"):
        protect(Results(life_tables=made(left[~left["id"].isin(gone)]).life_tables), rules(), earlier=FIRST.sets)


def test_a_bin_of_an_amount_with_few_newcomers_is_not_told() -> None:
    """Ages are published below round numbers; where few came below one, that number is not told again."""
    rng = np.random.default_rng(5)
    frame = people(women=60, men=60)
    of_few = frame.assign(age=np.where((frame["id"] >= N), 50 + frame["id"] % 10, rng.integers(18, 64, len(frame))))
    few = of_few["id"].isin([N, N + 1])
    of_few.loc[few, "age"] = 22

    def of(frame: pd.DataFrame) -> Results:
        sample = rte.match(keyed(frame), "treat ~ age", unit="id")
        return Results(covariates={"m": sample.covariate_moments()})

    first = protect(of(of_few[of_few["id"] < N]), rules())[0]
    safe = protect(of(of_few), rules(), earlier=first.sets, published=first.published)[0]

    def edges(results: Results) -> list[float]:
        of_treated = results.covariates["m"].cells.query("arm == 'treated' and stage == 'before'")
        [listed] = of_treated.query("covariate == 'age'")["edges"]
        return [float(edge) for edge in listed]

    assert any(22 < edge < 50 for edge in edges(first))
    assert not any(22 < edge < 50 for edge in edges(safe))


# ---- sketches ----------------------------------------------------------------------------------------------------


def sketch_of(who: Any) -> list[int]:
    at = np.flatnonzero(np.asarray(who))
    of = CellKeys.of(np.zeros(len(at), np.int64), PEOPLE.record[at], PEOPLE.element[at], np.ones(len(at)), 1)
    return [int(term) for term in of.rows[0]]


def test_counts_have_the_sketches_of_their_people(tmp_path: Path) -> None:
    frame, results = people(), made(people())
    trained, women = frame["treat"] == 1, frame["sex"] == "f"
    expected = {
        ("linkage", "n", 0): trained | ~trained,
        ("linkage", "n_linked", 1): women & frame["linked"],
        ("matching", "n_treated", 0): trained,
        ("matching", "n_control_matched", 1): ~trained & women,
        ("flow", "stopped", 0): trained & ~frame["linked"],
    }
    for (kind, name, row), who in expected.items():
        counts = results.counts[kind]
        assert counts.sketches is not None
        assert set(counts.sketches) == set(COUNTED[kind])
        assert counts.sketches[name][row].tolist() == sketch_of(who), (kind, name)
        counts.to_parquet(tmp_path / "c.parquet")
        again = SampleCounts.read_parquet(tmp_path / "c.parquet")
        assert again.sketches is not None
        assert again.sketches[name].tolist() == counts.sketches[name].tolist()
    bins = results.counts["overlap"]
    assert bins.sketches is not None
    of_treated = bins.sketches["n"][(bins.cells["group"] == "treated").to_numpy()]
    assert (of_treated.sum(axis=0) % (2**31 - 1)).tolist() == sketch_of(trained)


def test_counts_that_are_added_have_the_sketches_of_all(tmp_path: Path) -> None:
    frame = people()
    halves = [count_linked(keyed(frame[frame["id"] % 2 == half]), "linked", ["sex"]) for half in (0, 1)]
    whole, added = count_linked(keyed(frame), "linked", ["sex"]), halves[0] + halves[1]
    assert whole.sketches is not None
    assert added.sketches is not None
    for name, sketch in whole.sketches.items():
        assert added.sketches[name].tolist() == sketch.tolist()


def test_life_tables_have_the_sketches_of_their_people(tmp_path: Path) -> None:
    frame = people()
    table = life_table(keyed(frame), "id", "quarters", "job", by="sex", censored="0")
    table.to_parquet(tmp_path / "t.parquet")
    for found in (table, LifeTable.read_parquet(tmp_path / "t.parquet"), table.collapse("sex")):
        assert found.keys is not None
        assert found.keys.rows is not None
        whole = found.keys.merged(np.zeros(len(found.cells), np.int64), 1)
        assert whole.rows is not None
        assert whole.rows[0].tolist() == sketch_of(frame["id"] >= 0)
    of_women = (table.cells["sex"] == "f").to_numpy()
    assert table.keys is not None
    rows = table.keys.take(np.flatnonzero(of_women)).merged(np.zeros(of_women.sum(), np.int64), 1).rows
    assert rows is not None
    assert rows[0].tolist() == sketch_of(frame["sex"] == "f")


def test_counted_sets_are_kept(tmp_path: Path) -> None:
    kept_sets.keep_sets(tmp_path, "2026", FIRST.sets, "k")
    again = kept_sets.earlier_sets(tmp_path, tmp_path / "none", "2027", "k")
    assert [(one.key, one.n, one.counted, one.most) for one in again] == [
        (one.key, one.n, one.counted, one.most) for one in FIRST.sets
    ]


def test_thousands_of_sets_are_compared_in_seconds() -> None:
    rng, ones, everyone = np.random.default_rng(0), np.ones(N), (PEOPLE.record[:N], PEOPLE.element[:N])
    groups = [rng.integers(0, 40, N) for _ in range(51)]
    of = CellKeys.stacked([CellKeys.of(group, *everyone, ones, 40) for group in groups])
    n = np.concatenate([np.bincount(group, minlength=40) for group in groups])
    known = CountedSets()
    known.add([str(k) for k in range(2000)], n[:2000], of.key[:2000], of.rows[:2000])
    start = time.process_time()
    assert CountedSets(known.sets).alike(known.sets) == []
    assert not CountedSets(known.sets).few_apart(n[2000:], of.key[2000:], of.rows[2000:]).any()
    assert time.process_time() - start < 10


# ---- what is left ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("newcomers", "none", "best"), [(10, 0.78, 0.67), (20, 0.55, 0.42), (40, 0.23, 0.29)])
def test_what_an_unchanged_count_of_a_later_quarter_tells(newcomers: int, none: float, best: float) -> None:
    """Of newcomers whom one knows, one in ten is expected in the quarter; the figures are in the guide."""
    rng, draws = np.random.default_rng(0), 200_000
    there = rng.binomial(newcomers, 0.1, draws)
    before, after = (
        register().changes.change(n, rng.integers(0, 2**64, draws, dtype=np.uint64))
        for n in (np.full(draws, 60), 60 + there)
    )
    moved = np.where(there == 0, 0, after - before)  # the same people have the same count
    found = pd.crosstab(there, moved) / draws
    assert found.loc[0, 0] / found[0].sum() == pytest.approx(none, abs=0.015)
    assert found.max().sum() == pytest.approx(best, abs=0.01)
