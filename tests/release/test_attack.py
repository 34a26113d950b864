"""What an attacker finds out before protection, and does not after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import retrain_eval as rte
from retrain_eval.common.errors import DisclosureError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.attack import (
    Count,
    complete_path,
    counts,
    every_level,
    path_interval,
    recoverable,
)
from retrain_eval.release.protection.protect import protect, second_moments_need
from retrain_eval.release.results import Results
from retrain_eval.tables.moments.dominance import dominated

AGES = ("under 25", "25 to 39", "40 to 54", "55 and over")
SCHOOL = ("low", "middle", "high")


def people(n: int, seed: int, periods: int = 2) -> pd.DataFrame:
    """Return people in cells of very different sizes, two arms."""
    rng = np.random.default_rng(seed)
    age, school = (rng.choice(len(s), n, p=rng.dirichlet(np.ones(len(s)))) for s in (AGES, SCHOOL))
    frame = pd.DataFrame({
        "id": range(n), "g": np.where(np.arange(n) < n // 2, 2, 0),
        "age": np.array(AGES)[age], "school": np.array(SCHOOL)[school],
    })  # fmt: skip
    long = frame.merge(pd.DataFrame({"t": range(1, periods + 1)}), how="cross")
    return long.assign(y=rng.gamma(2.0, 1_000.0, len(long)).round(2))


def tables(long: pd.DataFrame) -> dict[str, rte.OutcomeMoments]:
    """Return what studies publish of the same people: all, by each stratum, by both."""
    by: dict[str, tuple[str, ...]] = {"all": (), "age": ("age",), "school": ("school",), "both": ("school", "age")}
    return {
        name: rte.outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", by=levels)
        for name, levels in by.items()
    }


def small_studies(n: int) -> Iterator[dict[str, rte.OutcomeMoments]]:
    """Yield studies that have a small cell in a table."""
    made = seed = 0
    while made < n:
        seed += 1
        study = tables(people(int(np.random.default_rng(seed).integers(60, 300)), seed))
        if any(table.cells["n"].min() < 10 for table in study.values()):
            made += 1
            yield study


def audit(n: int, base: int) -> tuple[int, int, int]:
    """Return small cells, those exactly recoverable if only small counts are blanked, and after protection."""
    cells = before = after = 0
    order = {"age": AGES, "school": SCHOOL}
    for study in small_studies(n):
        every = counts(study.values())
        small = [count for count in every if count.n < 10]
        levels = every_level(every)
        cells += len(small)
        blanked = [count for count in every if count.n >= 10]
        before += int(recoverable(blanked, small, levels)["exact"].sum())
        safe, _ = protect(Results(moments=study), Release(round_counts=base), order)
        published = counts(safe.moments.values())
        assert min(count.n for count in published) >= 10
        after += int(recoverable(published, small, levels, base)["exact"].sum())
    return cells, before, after


@pytest.mark.slow
@pytest.mark.parametrize("base", [1, 5])
def test_no_small_cell_follows_after_protection(base: int) -> None:
    cells, before, after = audit(6, base)
    assert cells > 20
    assert before > 0
    assert after == 0


@pytest.mark.slow
@pytest.mark.parametrize("base", [1, 5])
def test_no_small_cell_of_fifty_studies_follows_after_protection(base: int) -> None:
    cells, before, after = audit(50, base)
    print(f"{cells} small cells: {before} exactly recoverable where only they are blanked, {after} after protection")  # noqa: T201
    assert (before > 50, after) == (True, 0)


def test_bounds_are_those_of_arithmetic() -> None:
    def of(n: int, **levels: tuple[str, ...]) -> Count:
        return Count("treated", 100, {name: frozenset(values) for name, values in levels.items()}, n)

    every = {"age": frozenset("ab"), "sex": frozenset("fm")}
    margins = [of(30, age=("a",)), of(70, age=("b",)), of(40, sex=("f",)), of(60, sex=("m",))]
    found = recoverable(margins, [of(0, age=("a",), sex=("f",))], every)
    assert found[["low", "high"]].to_numpy().tolist() == [[0, 30]]  # Fréchet: max(0, 30 + 40 − 100), min(30, 40)
    found = recoverable([*margins, of(25, age=("a",), sex=("m",))], [of(5, age=("a",), sex=("f",))], every)
    assert found[["low", "high", "exact"]].to_numpy().tolist() == [[5, 5, True]]
    # rounded to fives, each of the two that are subtracted is known to within two
    found = recoverable([*margins, of(25, age=("a",), sex=("m",))], [of(5, age=("a",), sex=("f",))], every, 5)
    assert found[["low", "high", "exact"]].to_numpy().tolist() == [[1, 9, False]]


def gram(n: int, periods: int, seed: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    paths = np.hstack([np.ones((n, 1)), np.random.default_rng(seed).normal(size=(n, periods))])
    return paths, paths.T @ paths


def test_who_knows_a_part_of_a_path_completes_it_from_the_products_of_a_small_cell() -> None:
    paths, products = gram(10, 20)
    known = {i: float(paths[3, i]) for i in range(10)}  # the constant and nine of twenty quarters
    np.testing.assert_allclose(complete_path(products, known), paths[3], atol=1e-6)


def test_the_products_of_a_cell_of_the_rule_leave_a_path_open() -> None:
    periods = 20
    enough = int(np.ceil((1 + periods) / Release().max_leverage))
    paths, products = gram(enough, periods)
    found = complete_path(products, {i: float(paths[3, i]) for i in range(10)})
    assert np.abs(found[10:] - paths[3, 10:]).max() > 0.5  # standard deviations
    # even all quarters but one leave the last anywhere within a standard deviation or more
    widths = [path_interval(products, path, unknown=periods) for path in paths]
    assert min(widths) > 1
    one_more_than_coordinates, tight = gram(periods + 2, periods)
    assert min(path_interval(tight, path, unknown=periods) for path in one_more_than_coordinates) < 0.5


def test_after_protection_products_of_small_cells_complete_no_path() -> None:
    long = people(160, 3, periods=12)
    fine = rte.outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", by="school")
    assert fine.cells["n"].min() < 13
    # cells of ten and more, fewer than the 26 that twelve periods need
    cell = int(np.argmin(np.where(fine.cells["n"] >= 10, fine.cells["n"], 999)))
    assert fine.cells["n"][cell] < second_moments_need(fine, Release())
    safe, record = protect(Results(moments={"m": fine}), Release())
    assert any("share a pooled covariance" in line for line in record)
    m = safe.moments["m"]
    for row in range(len(m.cells)):
        ids = long.loc[(long["g"] > 0) == pd.notna(m.cells["cohort"][row])]
        ids = ids[ids["school"].isin(str(m.cells["school"][row]).split(" + "))]
        paths = ids.pivot_table(index="id", columns="t", values="y").to_numpy() - m.reference
        z = np.hstack([np.ones((len(paths), 1)), paths])
        n_known = min(len(z), 10)
        guess = complete_path(m.second[row, row], {i: float(z[0, i]) for i in range(n_known)})
        assert np.abs(guess[n_known:] - z[0, n_known:]).max() > 300  # of a standard deviation near 1,400
    # means are what they were
    np.testing.assert_allclose(m.collapse("school").means(), fine.collapse("school").means(), rtol=1e-12)


def test_merged_levels_are_the_levels_of_merged_people() -> None:
    long = people(400, 8)
    keep = long[(long["age"] != "40 to 54") | (long["id"] % 40 == 0)]
    fine = rte.outcome_moments(keep, unit="id", time="t", cohort="g", outcome="y", by="age")
    assert fine.cells["n"].min() < 10
    safe, record = protect(Results(moments={"m": fine}), Release(), {"age": AGES})
    names = list(dict.fromkeys(safe.moments["m"].cells["age"]))
    merged = next(name for name in names if " + " in name)
    assert merged in ("25 to 39 + 40 to 54", "40 to 54 + 55 and over")  # a neighbour, not any level
    assert any(merged in line for line in record)
    again = rte.outcome_moments(
        keep.assign(age=keep["age"].where(~keep["age"].isin(merged.split(" + ")), merged)),
        unit="id", time="t", cohort="g", outcome="y", by="age",
    )  # fmt: skip
    for of in (safe.moments["m"], again):
        assert of.cells["n"].min() >= 10
    ours, theirs = (
        x.att_gt().by("age").aggregate("simple").to_frame().set_index("level").sort_index()[["estimate", "std_error"]]
        for x in (safe.moments["m"], again)
    )
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-10)


def test_a_cohort_too_small_for_products_of_its_pairs_is_refused() -> None:
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame([{"id": f"{i}-{g}", "pair": i, "g": g} for i in range(15) for g in (5, 0)])
    long = pairs.merge(pd.DataFrame({"t": range(1, 11)}), how="cross")
    long["y"] = rng.normal(size=len(long))
    m = rte.outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", cluster="pair")
    with pytest.raises(DisclosureError, match="15, fewer than 22"):  # eleven coordinates over one half
        protect(Results(moments={"m": m}), Release())


def test_rounding_leaves_means_and_covariances_of_cells() -> None:
    m = tables(people(230, 1))["all"]
    safe, _ = protect(Results(moments={"m": m}), Release(round_counts=50))
    rounded = safe.moments["m"]
    assert rounded.cells["n"].tolist() == [100, 100]
    np.testing.assert_allclose(rounded.means(), m.means(), rtol=1e-12)
    fine, coarse = (x.att_gt().aggregate("simple").to_frame().iloc[0] for x in (m, rounded))
    assert coarse["estimate"] == pytest.approx(fine["estimate"], rel=1e-12)
    assert coarse["std_error"] == pytest.approx(fine["std_error"] * np.sqrt(115 / 100), rel=1e-12)
    assert coarse["n_treated"] == 100


def earners(n_large: int) -> pd.DataFrame:
    """Return people of three bands; in the last, a few earn nearly all there is."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": range(180), "g": np.tile([2, 0], 90), "band": np.repeat(["a", "b", "c"], 60)})
    long = frame.merge(pd.DataFrame({"t": [1, 2]}), how="cross")
    long["y"] = rng.gamma(4.0, 1_000.0, len(long))
    long.loc[(long["id"] >= 120) & (long["id"] < 120 + n_large), "y"] += 2_000_000.0
    return long


def of_amounts(long: pd.DataFrame, winsorise: float | None = 1.0) -> rte.OutcomeMoments:
    return rte.outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", by="band", winsorise=winsorise)


RULES = Release(dominance_share=0.85, p_percent=10.0)


def test_a_cell_that_few_dominate_joins_a_neighbour_or_is_refused() -> None:
    long = earners(1)
    m = of_amounts(long)
    assert m.largest is not None
    cell = long[(long["band"] == "a") & (long["g"] == 2) & (long["t"] == 1)]["y"]
    assert m.largest[0, 0].tolist() == sorted(cell, reverse=True)[:5]  # cells come in the order of strata, then cohorts
    with pytest.raises(DisclosureError, match="few units dominate; winsorise them"):
        protect(Results(moments={"m": m}), RULES)
    safe, record = protect(Results(moments={"m": of_amounts(long, winsorise=0.99)}), RULES)
    assert record == []
    assert safe.moments["m"].largest is None
    # switched off, or no amount: nothing is said of it
    assert protect(Results(moments={"m": m}), Release())[1] == []
    assert protect(Results(moments={"m": of_amounts(long, winsorise=None)}), RULES)[1] == []


def test_dominance_is_merged_away_where_a_neighbour_is_large() -> None:
    long = earners(0)
    long.loc[(long["id"] == 120) & (long["t"] == 1), "y"] = 900_000.0
    rules = Release(dominance_share=0.85, p_percent=0.0)
    safe, record = protect(Results(moments={"m": of_amounts(long)}), rules, {"band": ("a", "b", "c")})
    assert safe.moments["m"].cells["band"].unique().tolist() == ["a", "b + c"]
    assert record == ["Moments m: band b + c merged, of which few units dominated a cell's amounts."]


def test_largest_contributions_add_up_like_the_moments() -> None:
    long = earners(1)
    whole = of_amounts(long)
    halves = of_amounts(long[long["id"] % 4 < 2]) + of_amounts(long[long["id"] % 4 >= 2])
    for a, b in ((whole, halves), (whole.collapse("band"), halves.collapse("band"))):
        assert a.largest is not None
        assert b.largest is not None
        one, other = (x.cells.assign(place=range(len(x.cells))) for x in (a, b))
        both = one.merge(other, on=["cohort", *a.strata], how="left")
        np.testing.assert_allclose(a.largest, b.largest[both["place_y"].to_numpy()])


def test_largest_contributions_stay_inside(tmp_path: Path) -> None:
    inside = Results(moments={"m": of_amounts(earners(0))})
    inside.write(tmp_path)
    back = Results.read(tmp_path).moments["m"]
    assert back.largest is not None
    assert inside.moments["m"].largest is not None
    np.testing.assert_array_equal(back.largest, inside.moments["m"].largest)
    safe, _ = protect(inside, RULES)
    safe.moments["m"].to_parquet(tmp_path / "m.parquet")
    assert "largest" not in pq.read_table(tmp_path / "m.parquet").column_names


def test_winsorising_caps_at_the_quantile_of_a_period_and_at_what_three_have() -> None:
    long = earners(1)
    for quantile in (0.95, 0.999):
        limit = long.groupby("t")["y"].agg(lambda y, q=quantile: min(y.quantile(q), y.nlargest(3).iloc[-1]))
        by_hand = of_amounts(long.assign(y=long["y"].clip(upper=long["t"].map(limit))))
        np.testing.assert_allclose(of_amounts(long, winsorise=quantile).means(), by_hand.means(), rtol=1e-12)


def test_amounts_below_zero_are_judged_and_capped_as_their_mirror_image() -> None:
    long = earners(1)
    plus, minus = of_amounts(long), of_amounts(long.assign(y=-long["y"]))
    np.testing.assert_array_equal(plus.largest, minus.largest)
    np.testing.assert_array_equal(plus.absolute, minus.absolute)
    with pytest.raises(DisclosureError, match="few units dominate"):  # one loss is nearly all there is
        protect(Results(moments={"m": of_amounts(long.assign(y=-long["y"]))}), RULES)
    for quantile in (0.95, 0.999):
        one, other = (of_amounts(frame, winsorise=quantile).means() for frame in (long, long.assign(y=-long["y"])))
        np.testing.assert_allclose(one, -other, rtol=1e-12)


def test_changes_of_people_alike_are_not_dominated_though_they_cancel() -> None:
    rng = np.random.default_rng(5)
    long = earners(0).assign(y=lambda d: rng.normal(0, 3_000, len(d)))
    m = of_amounts(long)
    assert m.absolute is not None
    assert (np.abs(m.first[:, 1:] + m.first[:, :1] * m.reference) < 0.2 * m.absolute).any()  # they cancel
    assert protect(Results(moments={"m": m}), RULES)[1] == []
    long.loc[long["id"] == 3, "y"] = -5e6  # a loss larger than all changes together
    with pytest.raises(DisclosureError, match="few units dominate"):
        protect(Results(moments={"m": of_amounts(long)}), RULES)
    capped = of_amounts(long, winsorise=0.99)
    assert protect(Results(moments={"m": capped}), RULES)[1] == []
    halves = of_amounts(long[long["id"] % 4 < 2]) + of_amounts(long[long["id"] % 4 >= 2])
    order = halves.cells.merge(of_amounts(long).cells.reset_index(), on=["cohort", "band"])["index"].to_numpy()
    np.testing.assert_allclose(halves.absolute, of_amounts(long).absolute[order])


@given(
    sign=st.sampled_from([1.0, -1.0]),
    shift=st.sampled_from([0.0, -20_000.0, -40_000.0]),
    n=st.integers(20, 200),
    seed=st.integers(0, 50),
)
def test_dominance_does_not_depend_on_where_zero_lies_among_people_alike(
    sign: float, shift: float, n: int, seed: int
) -> None:
    y = sign * (np.random.default_rng(seed).normal(20_000, 3_000, (n, 1)) + shift)
    top = -np.sort(-np.abs(y), axis=0)[:5].T[None]
    rule = {"n": 2, "share": 0.85, "p_percent": 10.0}
    assert not dominated(top, np.abs(y).sum(0)[None], **rule).any()
    assert not dominated(
        top, y.sum(0)[None], **rule
    ).any()  # of a signed total the contributions bound the absolute one
    y[0] = -1e9
    top = -np.sort(-np.abs(y), axis=0)[:5].T[None]
    assert dominated(top, np.abs(y).sum(0)[None], **rule).all()
