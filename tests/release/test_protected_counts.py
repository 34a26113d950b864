"""Counts of people leave the agency without one of few, nor one that follows by subtraction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import InputError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.counts import pool_bins, protect_counts
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results
from retrain_eval.tables.counts import KEYS, SampleCounts, counted


def flow(*n: int, group: str = "treated") -> pd.DataFrame:
    return pd.DataFrame({"step": [f"step {k}" for k in range(len(n))], "group": group, "n": n, "reason": ""})


def told(counts: SampleCounts, **rules: Any) -> pd.DataFrame:
    return counted(protect_counts(counts, Release(**rules))[0])


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        ((100, 80, 50), [100, 80, 50]),
        ((185, 185, 185), [185, 185, 185]),  # nobody is no small count
        ((100, 95, 50), [None, 95, 50]),
        ((100, 97, 95, 50), [None, None, 95, 50]),
        ((100, 100, 97), [None, None, 97]),  # who were matched is said beside every estimate
        ((100, 94, 88), [100, None, 88]),
        ((100, 9), [100, None]),
        ((100, 12, 9), [100, 12, None]),
        ((9,), [None]),
        ((20, 0), [20, 0]),
    ],
)
def test_a_step_is_told_where_enough_stop_before_the_next(n: tuple[int, ...], expected: list[int | None]) -> None:
    found = told(SampleCounts.of("flow", flow(*n)))["n"]
    assert [None if pd.isna(value) else int(value) for value in found] == expected


@given(n=st.lists(st.integers(0, 60), min_size=1, max_size=8), base=st.sampled_from([1, 5]))
@settings(max_examples=150, deadline=None)
def test_no_two_steps_told_are_few_apart(n: list[int], base: int) -> None:
    n = sorted(n, reverse=True)
    counts = SampleCounts.of("flow", pd.concat([flow(*n), flow(500, 400, group="control")]))
    assert counted(counts)["n"].tolist() == [*n, 500, 400]
    found = told(counts, round_counts=base)
    mine = found[found["group"] == "treated"]["n"].dropna().astype(int).tolist()
    apart = -np.diff([*mine, 0])
    assert all(gap == 0 or gap >= 10 for gap in apart)
    assert all(abs(value - n[row]) <= base // 2 for row, value in found["n"].iloc[: len(n)].dropna().items())


def test_a_flow_does_not_grow() -> None:
    with pytest.raises(InputError, match="the flow of group 'treated' grows after step 'step 0'"):
        Results().add_table("flow", flow(10, 12))


WHO = {"n_treated": 40, "n_treated_matched": 40, "n_control": 900, "n_control_matched": 40, "comparisons": 60.0,
       "sum_w": 40.0, "sum_w2": 50.0}  # fmt: skip


def matching(*levels: dict[str, object], **everybody: object) -> SampleCounts:
    rows = [{"subgroup": None, "level": None, **everybody}, *levels, {"subgroup": "sex", "level": "f"}]
    return SampleCounts.of("matching", pd.DataFrame([{**WHO, **row} for row in rows]))


OLD, YOUNG = {"subgroup": "age", "level": "old"}, {"subgroup": "age", "level": "young"}


def test_effective_controls_and_uses_follow_from_sums() -> None:
    row = counted(matching()).iloc[0]
    assert (row["ess_control"], row["reuse_mean"]) == (32.0, 1.5)
    rounded = told(matching(n_control_matched=43), round_counts=5).iloc[0]
    assert rounded["n_control_matched"] == 45
    assert rounded["ess_control"] == pytest.approx(32 * 45 / 43)  # as many of all as before
    assert rounded["reuse_mean"] == pytest.approx(60 / 43)


@pytest.mark.parametrize("small", [{"n_treated": 9, "n_treated_matched": 9}, {"n_control_matched": 3}])
def test_a_small_level_takes_its_stratum_with_it(small: dict[str, object]) -> None:
    """With the other levels and the total, one withheld level could be computed."""
    safe, record = protect_counts(matching({**OLD, **small}, YOUNG), Release())
    assert counted(safe)["subgroup"].fillna("all").tolist() == ["all", "sex"]
    assert record[-1] == "Table matching: age is withheld, because a level has a count below 10."


@pytest.mark.parametrize(
    ("few", "whole"),
    [({"n_treated_matched": 31}, "n_treated"), ({"n_control": 45, "n_control_matched": 40}, "n_control")],
)
def test_of_a_stratum_where_few_found_no_control_it_is_told_who_was_matched(few: dict[str, object], whole: str) -> None:
    fine = matching({**OLD, **few}, YOUNG)
    safe, record = protect_counts(fine, Release())
    assert safe.cells[whole].isna().tolist() == [False, True, True, False]
    pd.testing.assert_frame_equal(safe.cells.drop(columns=whole), fine.cells.drop(columns=whole))
    assert record == [f"Table matching: {whole} by age is withheld: fewer than 10 are left out of a group."]


def test_where_few_of_all_found_no_control_nothing_tells_how_many_there_were() -> None:
    safe, record = protect_counts(matching({**OLD, "n_treated_matched": 20}, YOUNG, n_treated_matched=35), Release())
    assert safe.cells["n_treated"].isna().all()
    assert safe.cells["n_treated_matched"].tolist() == [35, 20, 40, 40]
    assert record == ["Table matching: n_treated over all is withheld: fewer than 10 are left out of a group."]


def test_nobody_left_out_is_no_small_count() -> None:
    fine = matching({**OLD, "n_control_matched": 0, "n_treated_matched": 0}, YOUNG)
    safe, record = protect_counts(fine, Release())
    assert record == []
    pd.testing.assert_frame_equal(safe.cells, fine.cells)


def test_linkage_rates_of_small_levels_are_withheld() -> None:
    rows = [(None, None, 200, 180), ("region", "north", 100, 96), ("region", "south", 100, 84), ("sex", "f", 200, 180)]
    counts = SampleCounts.of("linkage", pd.DataFrame(rows, columns=["subgroup", "level", "n", "n_linked"]))
    found = told(counts)
    assert found["subgroup"].fillna("all").tolist() == ["all", "sex"]
    assert found["rate"].tolist() == [0.9, 0.9]


@given(
    n=st.lists(st.lists(st.integers(0, 40), min_size=12, max_size=12), min_size=1, max_size=3),
    minimum=st.integers(2, 15),
)
@settings(max_examples=150, deadline=None)
def test_pools_hold_the_rule_and_lose_nobody(n: list[list[int]], minimum: int) -> None:
    counts = np.array(n)
    ends = pool_bins(counts, minimum)
    sums = np.add.reduceat(counts, [0, *(ends[:-1] + 1)], axis=1)
    assert ends[-1] == counts.shape[1] - 1
    assert sums.sum(axis=1).tolist() == counts.sum(axis=1).tolist()
    totals = counts.sum(axis=1)
    if ((totals == 0) | (totals >= minimum)).all():
        assert ((sums == 0) | (sums >= minimum)).all()


def overlap(**groups: list[int]) -> SampleCounts:
    bins = len(next(iter(groups.values())))
    edges = np.linspace(0, 1, bins + 1)
    parts = [
        pd.DataFrame({"bin_low": edges[:-1], "bin_high": edges[1:], "group": name.replace("_", " "), "n": n})
        for name, n in groups.items()
    ]
    return SampleCounts.of("overlap", pd.concat(parts, ignore_index=True))


def test_the_few_controls_of_a_bin_who_were_not_matched_do_not_follow() -> None:
    found = told(overlap(treated=[20, 20, 0, 0], control_before=[300, 45, 0, 0], control_matched=[20, 44, 0, 0]))
    by_group = {group: rows["n"].tolist() for group, rows in found.groupby("group")}
    # 45 - 44: the second bin joins the first, and only the empty ones stand by themselves
    assert by_group == {"treated": [20, 20, 0, 0], "control before": [345, 0, 0], "control matched": [64, 0, 0]}


def test_the_few_treated_who_were_not_matched_do_not_follow() -> None:
    counts = overlap(treated=[50, 50], treated_matched=[50, 47], control_before=[300, 300], control_matched=[50, 47])
    safe, record = protect_counts(counts, Release())
    assert counted(safe).query("group == 'treated'")["n"].tolist() == [50, 47]
    assert set(safe.cells["group"]) == {"treated", "control before", "control matched"}
    assert record == ["Common support: treated are those matched; fewer than 10 were not."]
    many = told(overlap(treated=[50, 50], treated_matched=[50, 30]))
    assert many["n"].tolist() == [50, 50]


def test_a_group_of_few_has_no_support_to_show() -> None:
    found = told(overlap(treated=[4, 3], control_before=[300, 300], control_matched=[4, 3]))
    assert set(found["group"]) == {"control before"}


@pytest.mark.parametrize("kind", list(KEYS))
def test_counts_add_and_are_kept_in_a_file(kind: str, tmp_path: Path) -> None:
    counts = {
        "flow": SampleCounts.of("flow", pd.concat([flow(99, 50), flow(500, 400, group="control")])),
        "matching": matching(OLD, YOUNG),
        "overlap": overlap(treated=[20, 30], control_before=[300, 45]),
        "linkage": SampleCounts.of(
            "linkage", pd.DataFrame({"subgroup": [None, "sex"], "level": [None, "ƒ"], "n": 20, "n_linked": [18, 17]})
        ),
    }[kind]
    both = counts + counts
    table, twice = counted(counts), counted(both)
    for name in table.columns:
        if name == "n" or name.startswith("n_") or name == "ess_control":
            assert twice[name].tolist() == [2 * n for n in table[name]]
        elif name in ("rate", "reuse_mean"):
            assert twice[name].tolist() == table[name].tolist()
    counts.to_parquet(tmp_path / "c.parquet")
    again = SampleCounts.read_parquet(tmp_path / "c.parquet")
    assert again.kind == kind
    pd.testing.assert_frame_equal(again.cells, counts.cells)


def test_what_one_of_two_withholds_is_withheld_of_both() -> None:
    hidden, _ = protect_counts(SampleCounts.of("flow", flow(100, 95, 50)), Release())
    assert (hidden + hidden).cells["stopped"].isna().tolist() == [True, False, False]


def test_other_counts_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not add up"):
        _ = matching() + overlap(treated=[3])
    with pytest.raises(InputError, match="unknown kind of counts"):
        SampleCounts.of("flaw", flow(3))
    with pytest.raises(InputError, match="counts of the kind linkage lack a column"):
        SampleCounts.of("linkage", flow(3))
    (tmp_path / "x.parquet").write_text("x")
    with pytest.raises(InputError, match="cannot be read"):
        SampleCounts.read_parquet(tmp_path / "x.parquet")


def test_a_flow_kept_by_a_study_leaves_protected() -> None:
    results = Results()
    results.add_table("flow", flow(100, 95, 50))
    safe, _ = protect(results, Release())
    assert safe.tables["flow"]["n"].isna().tolist() == [True, False, False]
    assert safe.parts[0].derivation is not None
    again, notes = protect(safe, Release())  # doing it twice changes nothing
    pd.testing.assert_frame_equal(again.tables["flow"], safe.tables["flow"])
    assert notes == []
