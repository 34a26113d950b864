"""Counts of people leave the agency changed and adding up, without one of few nor one that follows by subtraction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from keyed_people import held, key_of, keyed, register, rules
from retrain_eval.common.errors import DisclosureError, InputError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.counts import pool_bins, protect_counts
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.protection.weights import published_weights
from retrain_eval.release.results import Results
from retrain_eval.sample.composition import count_matched, count_overlap, sets_of_groups
from retrain_eval.sample.counting import count_flow, count_linked
from retrain_eval.tables.counts import KEYS, SampleCounts, counted
from retrain_eval.tables.noise.register import Register

PEOPLE = held(4000)


def flow(*n: int, group: str = "treated") -> pd.DataFrame:
    return pd.DataFrame({"step": [f"step {k}" for k in range(len(n))], "group": group, "n": n, "reason": ""})


def keyed_flow(*n: int) -> SampleCounts:
    """Return a flow of the first n people at each step."""
    keys = np.array([key_of(PEOPLE, np.arange(k)) for k in n], np.uint64)
    return SampleCounts.of("flow", flow(*n), keys={"n": keys})


def told(counts: SampleCounts, of: Register | None = None) -> pd.DataFrame:
    return counted(protect_counts(counts, rules(), of or register())[0])


# ---- flow --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        ((100, 80, 50), [100, 80, 50]),
        ((185, 185, 185), [185, 185, 185]),  # the same people have the same count
        ((100, 95, 50), [None, 95, 50]),
        ((100, 97, 95, 50), [None, None, 95, 50]),
        ((100, 100, 97), [None, None, 97]),  # the people matched are counted beside every estimate
        ((100, 94, 88), [100, None, 88]),
        ((100, 9), [100, None]),
        ((100, 12, 9), [100, 12, None]),
        ((9,), [None]),
        ((20, 0), [20, 0]),
    ],
)
def test_a_step_is_published_if_enough_stop_before_the_next(n: tuple[int, ...], expected: list[int | None]) -> None:
    of = register()
    found = told(keyed_flow(*n), of)["n"]
    changed = [None if k is None else of.count(k, key_of(PEOPLE, np.arange(k))) for k in expected]
    assert [None if pd.isna(value) else int(value) for value in found] == changed


@given(n=st.lists(st.integers(0, 200), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_a_published_flow_declines_and_is_close(n: list[int]) -> None:
    n = sorted(n, reverse=True)
    found = told(keyed_flow(*n))["n"]
    shown = found.dropna().astype(int)
    assert shown.tolist() == sorted(shown, reverse=True)
    assert all(abs(value - n[row]) <= 5 for row, value in shown.items())
    exact = [n[row] for row in shown.index]
    assert all(gap == 0 or gap >= 10 for gap in -np.diff([*exact, 0]))


def test_a_flow_does_not_grow() -> None:
    with pytest.raises(InputError, match="the flow of group 'treated' grows after step 'step 0'"):
        Results().add_table("flow", flow(10, 12))


# ---- what a sample counts ----------------------------------------------------------------------------------------


def candidates(n: int = 1200, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": range(n),
            "treat": (rng.random(n) < 0.2).astype(int),
            "age": rng.integers(18, 64, n),
            "sex": rng.choice(["f", "m"], n),
            "region": rng.choice(["north", "south", "isles"], n, p=[0.6, 0.396, 0.004]),
            "linked": rng.random(n) < 0.85,
        }
    )


FRAME = candidates()
OPTIONS: dict[str, Any] = {"formula": "treat ~ age + sex", "unit": "id", "caliper": 0.05, "replace": True}


def test_what_a_sample_counts_has_the_keys_of_its_people() -> None:
    people = keyed(FRAME)
    sample = rte.match(people, **OPTIONS)
    keys = held(len(FRAME))
    counts = count_matched(people, sample, ["sex"])
    assert counts.keys is not None
    rows = sample.weights.df()
    women = FRAME["sex"] == "f"
    for name, who in {
        "n_treated": FRAME["treat"] == 1,
        "n_treated_matched": FRAME["id"].isin(rows.loc[rows["treat"] == 1, "id"]),
        "n_control": FRAME["treat"] == 0,
        "n_control_matched": FRAME["id"].isin(rows.loc[rows["treat"] == 0, "id"]),
    }.items():
        assert int(counts.keys[name][0]) == key_of(keys, np.flatnonzero(who))
        assert int(counts.keys[name][1]) == key_of(keys, np.flatnonzero(who & women))
    groups = {name: of.key[0] for name, of in sets_of_groups(sample).items()}
    assert groups["control matched"] == counts.keys["n_control_matched"][0]
    bins = count_overlap(sample)
    assert bins.keys is not None
    with np.errstate(over="ignore"):
        for group in groups:
            assert bins.keys["n"][bins.cells["group"] == group].sum(dtype=np.uint64) == groups[group]
    plain = rte.match(FRAME, **OPTIONS)
    pd.testing.assert_frame_equal(count_matched(FRAME, plain, ["sex"]).cells, counts.cells)
    pd.testing.assert_frame_equal(count_overlap(plain).cells, bins.cells)
    assert "record" not in repr(sample)
    assert "person_key" not in plain.weights.columns
    pairs = rte.match(people, **OPTIONS).pairs
    assert "person_key" not in pairs.columns


def test_one_set_has_one_count_in_all_tables_and_levels_add_up() -> None:
    people = keyed(FRAME)
    sample = rte.match(people, **OPTIONS)
    of = register()
    steps = {"On the register": ("true", ""), "Linked": ("linked", "not found")}
    flows = told(count_flow(people, {"Candidates": ("true", "")}, sample), of).set_index(["group", "step"])["n"]
    matching = told(count_matched(people, sample, ["sex", "region"]), of)
    bins = told(count_overlap(sample), of)
    linkage = told(count_linked(people, "linked", ["sex"]), of)
    told(count_flow(people, steps), of)
    assert matching["subgroup"].dropna().unique().tolist() == ["sex"]  # a region is of few
    whole, levels = matching.iloc[0], matching[matching["subgroup"] == "sex"]
    for name in ("n_treated", "n_control", "n_control_matched"):
        assert levels[name].sum() == whole[name] or levels[name].isna().all()
    assert whole["n_control"] == flows["control", "Candidates for matching"]
    assert whole["n_control_matched"] == flows["control", "Matched and analysed"]
    assert bins.loc[bins["group"] == "control matched", "n"].sum() == whole["n_control_matched"]
    assert linkage["n"].iloc[0] == linkage["n"].iloc[1:].sum()
    assert linkage["rate"].tolist() == (linkage["n_linked"] / linkage["n"]).tolist()
    assert (whole["ess_control"] <= whole["n_control_matched"]) is np.True_
    for group, rows in bins.groupby("group"):
        exact = count_overlap(sample).cells
        exact = exact[exact["group"] == group]
        assert rows["bin_low"].iloc[0] == 0
        assert rows["bin_high"].iloc[-1] == 1
        for low, high in rows[["bin_low", "bin_high"]].itertuples(index=False):
            assert exact.loc[(exact["bin_low"] >= low) & (exact["bin_high"] <= high), "n"].sum() >= 10


def test_of_sums_of_weights_no_exact_count_can_be_reconstructed() -> None:
    """With n controls used k times and m = Σk treated, Σw²/Σw = n Σk²/m²: few n and m make Σk² whole."""
    uses = np.repeat([1, 2, 3, 7], [40, 30, 14, 6])
    weight = uses * len(uses) / uses.sum()

    def solutions(total: float, squares: float) -> list[tuple[int, int]]:
        """Return the pairs of counts with which the sum of squared uses is a whole number."""
        found = []
        for controls in range(85, 96):
            for treated in range(179, 190):
                number = squares / total * treated**2 / controls  # Σk², where Σk is the number of treated
                if abs(number - round(number)) < 1e-6:
                    found.append((controls, treated))
        return found

    assert (90, 184) in solutions(float(weight.sum()), float((weight**2).sum()))
    assert len(solutions(float(weight.sum()), float((weight**2).sum()))) < 10
    published = published_weights(float(weight.sum()), float((weight**2).sum()), 90, 92, [12345], whole=True)
    assert solutions(*published) == []
    assert published[0] ** 2 / published[1] == pytest.approx(weight.sum() ** 2 / (weight**2).sum(), rel=0.2)


WHO = {"n_treated": 40, "n_treated_matched": 40, "n_control": 900, "n_control_matched": 40, "comparisons": 60.0,
       "sum_w": 40.0, "sum_w2": 50.0}  # fmt: skip
OLD, YOUNG = {"subgroup": "age", "level": "old"}, {"subgroup": "age", "level": "young"}


def matching(*levels: dict[str, object], **everyone: object) -> SampleCounts:
    """Return counts whose sets share no one, but for levels that are given with all people."""
    rows = [{"subgroup": None, "level": None, **everyone}, *levels]
    frame = pd.DataFrame([{**WHO, **row} for row in rows])
    names = ("n_treated", "n_treated_matched", "n_control", "n_control_matched")
    numbers = iter(range(1, 1000))
    keys = {name: np.array([next(numbers) for _ in rows], np.uint64) * np.uint64(0x9E3779B97F4A7C15) for name in names}
    return SampleCounts.of("matching", frame, keys=keys)


@pytest.mark.parametrize("small", [9, 3, 0])
def test_a_small_level_takes_its_stratum_with_it(small: int) -> None:
    """With the other levels and the total, one withheld level could be computed."""
    few = {**OLD, "n_treated": small, "n_treated_matched": small}
    safe, record = protect_counts(matching(few, {**YOUNG, "n_treated": 31}), rules(), register())
    assert counted(safe)["subgroup"].fillna("all").tolist() == ["all"]
    assert record[-1] == "Table matching: age is withheld, because a level has a count below 10."


def test_of_people_of_whom_few_found_no_control_only_those_matched_are_counted() -> None:
    safe, record = protect_counts(matching(n_treated_matched=35), rules(), register())
    assert safe.cells["n_treated"].isna().all()
    assert safe.cells["n_treated_matched"].notna().all()
    assert record == ["Table matching: n_treated over all is withheld: fewer than 10 are left out of a group."]


def test_levels_that_cannot_be_made_to_add_up_are_withheld() -> None:
    half = {name: n // 2 for name, n in WHO.items() if name.startswith("n_")}
    of = register()
    counts = matching({**OLD, **half}, {**YOUNG, **half})
    assert counts.keys is not None
    for key in counts.keys["n_control"][1:]:  # both levels are published, and do not add up to the whole
        of.published[int(key)] = 10
    safe, record = protect_counts(counts, rules(), of)
    assert safe.cells["n_control"].isna().tolist() == [False, True, True]
    assert record == ["Table matching: n_control by age is withheld: changed counts do not add up."]
    sums = safe.cells["n_control_matched"]
    assert sums.iloc[1:].sum() == sums.iloc[0]


@given(
    n=st.lists(st.lists(st.integers(0, 40), min_size=12, max_size=12), min_size=1, max_size=3),
    minimum=st.integers(2, 15),
    lenient=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_pools_hold_the_rule_and_lose_no_one(n: list[list[int]], minimum: int, lenient: bool) -> None:
    counts = np.array(n)
    ends = pool_bins(counts, minimum, [0] if lenient else [])
    sums = np.add.reduceat(counts, [0, *(ends[:-1] + 1)], axis=1)
    assert ends[-1] == counts.shape[1] - 1
    assert sums.sum(axis=1).tolist() == counts.sum(axis=1).tolist()
    totals = counts.sum(axis=1)
    none = np.arange(len(counts)) == (0 if lenient else -1)
    if ((totals >= minimum) | ((totals == 0) & none)).all():
        assert ((sums >= minimum) | ((sums == 0) & none[:, None])).all()


def overlap(**groups: list[int]) -> SampleCounts:
    bins = len(next(iter(groups.values())))
    edges = np.linspace(0, 1, bins + 1)
    parts = [
        pd.DataFrame({"bin_low": edges[:-1], "bin_high": edges[1:], "group": name.replace("_", " "), "n": n})
        for name, n in groups.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    keys = np.arange(1, len(table) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return SampleCounts.of("overlap", table, keys={"n": keys})


def test_the_few_controls_of_a_bin_who_were_not_matched_do_not_follow() -> None:
    counts = overlap(treated=[20, 20, 30], control_before=[300, 45, 200], control_matched=[20, 44, 60])
    found = told(counts)
    ends = {group: rows["bin_high"].round(2).tolist() for group, rows in found.groupby("group")}
    # 45 − 44: the second bin joins the third
    assert ends == {"treated": [0.33, 0.67, 1.0], "control before": [0.33, 1.0], "control matched": [0.33, 1.0]}


def test_the_few_treated_who_were_not_matched_do_not_follow() -> None:
    counts = overlap(treated=[50, 50], treated_matched=[50, 47], control_before=[300, 300])
    safe, record = protect_counts(counts, rules(), register())
    assert set(safe.cells["group"]) == {"treated", "control before"}
    assert record == ["Common support: treated are those matched; fewer than 10 were not."]


def test_the_treated_of_a_bin_of_whom_few_were_not_matched_are_pooled() -> None:
    """Distributions of covariates tell how many were matched between two points."""
    counts = overlap(control_before=[90] * 4, treated=[60, 60, 90, 80], treated_matched=[60, 55, 60, 79])
    found = told(counts)
    ends = {group: rows["bin_high"].round(2).tolist() for group, rows in found.groupby("group")}
    assert ends == {"treated": [0.25, 1.0], "control before": [0.25, 0.5, 0.75, 1.0]}


def test_a_group_of_few_has_no_support_to_show() -> None:
    found = told(overlap(treated=[4, 3], control_before=[300, 300], control_matched=[4, 3]))
    assert set(found["group"]) == {"control before"}
    assert len(found) == 1
    found = told(overlap(treated=[4, 3], control_before=[300, 300]))
    assert set(found["group"]) == {"control before"}


# ---- adding and keeping ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(KEYS))
def test_counts_add_and_are_kept_in_a_file(kind: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"subgroup": [None, "sex"], "level": [None, "ƒ"], "n": 20, "n_linked": [18, 17]})
    counts = {
        "flow": keyed_flow(99, 50),
        "matching": matching(OLD, YOUNG),
        "overlap": overlap(treated=[20, 30], control_before=[300, 45]),
        "linkage": SampleCounts.of(
            "linkage", rows, keys={name: np.array([2**64 - 1, 5], np.uint64) for name in ("n", "n_linked")}
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
    for found in (again, both):
        assert found.keys is not None
        assert counts.keys is not None
        for name, key in counts.keys.items():
            with np.errstate(over="ignore"):
                assert found.keys[name].tolist() == (key if found is again else key + key).tolist()
    safe, _ = protect_counts(again, rules(), register())
    assert safe.keys is None
    safe.to_parquet(tmp_path / "safe.parquet")
    assert not [name for name in pd.read_parquet(tmp_path / "safe.parquet").columns if "key" in name]


def test_what_one_of_two_withholds_is_withheld_of_both() -> None:
    hidden, _ = protect_counts(keyed_flow(100, 95, 50), rules(), register())
    assert (hidden + hidden).cells["stopped"].isna().tolist() == [True, False, False]


def test_other_counts_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not add up"):
        _ = matching() + overlap(treated=[3])
    with pytest.raises(InputError, match="unknown kind of counts"):
        SampleCounts.of("flaw", flow(3))
    with pytest.raises(InputError, match="counts of the kind linkage lack a column"):
        SampleCounts.of("linkage", flow(3))
    with pytest.raises(InputError, match="counts of the kind overlap lack the keys of a column"):
        SampleCounts.of("overlap", overlap(treated=[3]).cells, keys={})
    (tmp_path / "x.parquet").write_text("x")
    with pytest.raises(InputError, match="cannot be read"):
        SampleCounts.read_parquet(tmp_path / "x.parquet")


def test_counts_without_keys_are_withheld_and_public_ones_are_exact() -> None:
    counts = SampleCounts.of("flow", flow(100, 95, 4))
    with pytest.raises(DisclosureError, match="without keys"):
        protect_counts(counts, rules(), register())
    safe, record = protect_counts(counts, Release(), register())
    assert counted(safe)["n"].tolist() == [100, 95, 4]
    assert record == []
    results = Results()
    results.add_table("flow", flow(100, 95, 50))
    results.add_counts(overlap(treated=[20, 30]))
    safe_results, lines = protect(results, rules())
    assert "flow" not in safe_results.tables
    assert safe_results.withheld()["flow: flow"] == "it was counted without keys of people"
    assert any("Counts of the flow: withheld" in line for line in lines)


# ---- helpers for scripts -----------------------------------------------------------------------------------------


def test_a_flow_is_counted_from_conditions_refused_rows_and_a_sample() -> None:
    people = keyed(FRAME)
    con_rows = pd.DataFrame({"id": [9001, 9002, 9003], "resource": "enrolment", "enrolled": [True, True, False]})
    refused = keyed(con_rows)
    sample = rte.match(keyed(FRAME[FRAME["linked"]]), **OPTIONS)
    steps = {"On the register": ("true", ""), "Linked": ("linked", "not found in the wage records")}
    options: dict[str, Any] = {"groups": {"treated": "treat = 1", "control": "true"}, "refused": refused,
                               "refused_groups": {"treated": "enrolled", "control": "true"},
                               "reasons": {"control": "later trained"}}  # fmt: skip
    counts = count_flow(people, steps, sample, **options)
    rows = counted(counts)
    assert rows.loc[rows["group"] == "control", "step"].tolist() == [
        "On the register", "Rows accepted", "Linked", "Candidates for matching", "Matched and analysed",
    ]  # fmt: skip
    assert rows.loc[rows["group"] == "treated", "n"].tolist()[:2] == [
        int((FRAME["treat"] == 1).sum()) + 2,
        int((FRAME["treat"] == 1).sum()),
    ]
    assert rows.loc[rows["group"] == "control", "n"].tolist()[:3] == [1203, 1200, int(FRAME["linked"].sum())]
    assert rows["reason"].tolist()[2] == "a row of enrolment was refused"
    assert rows.loc[(rows["group"] == "control") & (rows["step"] == "Candidates for matching"), "reason"].item() == (
        "later trained"
    )
    assert counts.keys is not None
    with np.errstate(over="ignore"):
        mine = counts.keys["stopped"][counts.cells["group"] == "treated"].sum(dtype=np.uint64)
    everyone = held(9004)
    who = [*np.flatnonzero(FRAME["treat"] == 1), 9001, 9002]
    assert int(mine) == key_of(everyone, who)
    with pytest.raises(InputError, match="some people have keys"):
        count_flow(FRAME, steps, sample)


def test_linkage_counts_are_those_of_linkage_rates() -> None:
    counts = count_linked(FRAME, "linked", ["sex", "region"])
    pd.testing.assert_frame_equal(
        counted(counts).fillna("-"),
        rte.linkage_rates(FRAME, "linked", ["sex", "region"]).fillna("-"),
        check_dtype=False,
    )
    with pytest.raises(InputError, match="neither found nor not"):
        count_linked(FRAME.assign(linked="perhaps"), "linked")
