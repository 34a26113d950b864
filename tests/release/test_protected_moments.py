"""Protected outcome moments: means of noisy paths about published counts, honest errors, and nothing to read n from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from keyed_panels import RULES, factors, keyed, panel
from retrain_eval.common.errors import DisclosureError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.moments import protect_moments
from retrain_eval.release.protection.rules import noise_stamp
from retrain_eval.tables.noise.changes import Changes
from retrain_eval.tables.noise.register import Register

ROLES: dict[str, Any] = {"unit": "person", "time": "time", "cohort": "cohort"}


def register() -> Register:
    return Register(Changes(RULES.count_variance, RULES.count_gap))


def protected(moments: rte.OutcomeMoments, rules: Any = RULES) -> tuple[rte.OutcomeMoments, list[str]]:
    return protect_moments("x", moments, rules, register(), {})


def simple(moments: rte.OutcomeMoments) -> pd.Series[float]:
    return moments.att_gt(base_period="universal").aggregate("simple").to_frame().iloc[0]


@pytest.mark.parametrize("options", [{}, {"weights": "weight"}, {"weights": "weight", "cluster": "pair"}])
def test_means_are_of_noisy_paths_over_published_counts(options: dict[str, str]) -> None:
    frame = panel()
    rows = keyed(frame)
    exact = rte.outcome_moments(rows, outcome="pay", by="band", **ROLES, **options)
    safe, record = protected(exact)
    assert record == []
    weight = frame["weight"] if options else 1.0
    noisy = frame.assign(y=frame["pay"] * frame["person"].map(factors(rows)) * weight, w=weight)
    sums = noisy.groupby(["band", "cohort", "time"])[["y", "w"]].sum()
    for c, (cohort, band, n) in enumerate(safe.cells[["cohort", "band", "n"]].itertuples(index=False, name=None)):
        of = sums.loc[band, 0 if pd.isna(cohort) else cohort]
        ratio = n / exact.cells["n"][c]
        # mean weights move by up to half a person's weight, unless all are 1
        moved = 0.51 / exact.cells["n"][c] if options else 1e-9
        assert safe.first[c, 0] == pytest.approx(of["w"].iloc[0] * ratio, rel=moved)
        assert safe.means()[c] == pytest.approx((of["y"] / (of["w"] * ratio)).to_numpy(), rel=moved)
        assert abs(n - exact.cells["n"][c]) <= 9
    assert safe.keyed is safe.largest is safe.absolute is None
    assert safe.stamp["noise"] == noise_stamp(RULES)
    one, other = simple(exact), simple(safe)
    assert abs(one["estimate"] - other["estimate"]) < one["std_error"]
    assert other["std_error"] / one["std_error"] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("outcome", ["employed", "score"])
def test_scores_are_sums_of_published_counts_by_value(outcome: str) -> None:
    exact = rte.outcome_moments(keyed(panel()), outcome=outcome, **ROLES)
    of = register()
    safe, _ = protect_moments("x", exact, RULES, of, {})
    assert exact.keyed is not None
    published = np.array([[[of.published[int(k)] for k in row] for row in cell] for cell in exact.keyed.key])
    keyed_values = exact.keyed.values  # noqa: PD011
    means = np.einsum("ctv,v->ct", published, keyed_values) / safe.cells["n"].to_numpy()[:, None]
    assert safe.means() == pytest.approx(means)
    assert np.abs(published - exact.keyed.count).max() <= 5


def test_second_moments_are_those_of_a_scatter_and_know_the_changed_counts() -> None:
    exact = rte.outcome_moments(keyed(panel(240)), outcome="employed", **ROLES)
    safe, _ = protected(exact)
    n, mean = safe.cells["n"].to_numpy(), safe.means() - safe.reference
    for c in range(2):
        assert np.linalg.eigvalsh(safe.second[c, c]).min() > -1e-9
        about = np.eye(7)
        about[1:, 0] = -mean[c]
        inner = about @ safe.second[c, c] @ about.T
        # Σw² is ñ, plus v for the count; a mean of ones has p (1 − p) per person, redrawn, plus v for its own count
        assert inner[0, 0] == pytest.approx(n[c] + 2)
        p = safe.means()[c]
        assert np.diag(inner)[1:] == pytest.approx(n[c] * p * (1 - p) + 2 + 2 * p**2, rel=0.35)
    assert 0.9 < simple(safe)["std_error"] / simple(exact)["std_error"] < 1.3


def test_a_quarter_of_zeros_does_not_tell_n() -> None:
    """Sums about a reference tell n where everyone is out of work: Σ(Y − reference) = −n · reference."""
    hits = {"exact": 0, "protected": 0}
    for seed in range(60):
        frame = panel(210 + seed, seed=seed)
        frame.loc[frame["time"] == 2, "pay"] = 0.0
        exact = rte.outcome_moments(keyed(frame, f"a secret of draw {seed:04d}".encode()), outcome="pay", **ROLES)
        keys, about = exact.keyed, np.array([0, *[100.0] * 6])  # another reference path than zero in that period
        assert keys is not None
        assert keys.first is not None
        moved = replace(
            exact,
            reference=exact.reference + 100,
            first=exact.first - exact.first[:, :1] * about,
            keyed=replace(keys, first=keys.first - keys.first[:, :1] * about),
        )
        safe, _ = protected(moved)
        for name, table in (("exact", moved), ("protected", safe)):
            guess = -table.first[0, 3] / (table.reference[2] or 1.0)
            hits[name] += round(float(guess)) == int(exact.cells["n"][0])
    assert hits["exact"] == 60
    assert hits["protected"] <= 60 * 0.28 + 3 * np.sqrt(60 * 0.28 * 0.72)  # the chance that a count is not changed


def test_small_levels_are_merged_and_too_small_cohorts_withheld() -> None:
    frame = panel(300)
    frame["band"] = np.where(frame["person"].str[1:].astype(int) < 12, "few", frame["band"])
    exact = rte.outcome_moments(keyed(frame), outcome="pay", by="band", **ROLES)
    safe, [line] = protected(exact)
    assert "fewer than 10 people" in line
    assert "few" not in set(safe.cells["band"])
    alone = panel(60)
    alone["cohort"] = np.where(alone["person"].isin(["é1", "é2", "é3"]), 3, 0)
    with pytest.raises(DisclosureError, match="fewer than 10 people") as caught:
        protected(rte.outcome_moments(keyed(alone), outcome="pay", **ROLES))
    assert "3" not in caught.value.public


def test_few_earners_in_a_large_cell_are_few() -> None:
    for n in (240, 400):  # cells of 80 trained people, and of 134
        frame = panel(n)
        few = frame["person"].isin(["é0", "é3", "é6"])
        frame.loc[(frame["cohort"] == 3) & (frame["time"] == 4) & ~few, ["pay", "employed"]] = 0
        with pytest.raises(DisclosureError, match="have an amount"):
            protected(rte.outcome_moments(keyed(frame), outcome="pay", **ROLES))
        employed = rte.outcome_moments(keyed(frame), outcome="employed", **ROLES)
        if n == 240:
            with pytest.raises(DisclosureError, match="another value"):
                protected(employed)
        else:  # a count of three is changed, and that few of so many people work tells of none of them
            safe, _ = protected(employed)
            assert safe.means()[0, 4] in (0.0, pytest.approx(3 / safe.cells["n"][0], abs=0.04))


def test_no_one_in_a_small_group_is_withheld_and_no_one_at_all_is_implied() -> None:
    frame = panel(240)
    frame.loc[frame["time"] == 2, ["pay", "employed"]] = 0  # everyone is out of work before the start
    for outcome in ("pay", "employed"):
        safe, record = protected(rte.outcome_moments(keyed(frame), outcome=outcome, **ROLES))
        assert record == []
        assert safe.means()[:, 2] == pytest.approx([0, 0], abs=1e-9)
    for n, refused in ((240, True), (400, False)):
        frame = panel(n)
        frame.loc[(frame["time"] == 2) & (frame["cohort"] == 3), ["pay", "employed"]] = 0
        for outcome in ("pay", "employed"):
            moments = rte.outcome_moments(keyed(frame), outcome=outcome, **ROLES)
            if refused:
                with pytest.raises(DisclosureError):
                    protected(moments)
            else:
                assert protected(moments)[0].means()[0, 2] == pytest.approx(0, abs=1e-9)


def test_without_keys_a_table_is_withheld_and_open_rules_release_it_as_it_is() -> None:
    exact = rte.outcome_moments(panel(60), outcome="pay", **ROLES)
    with pytest.raises(DisclosureError, match=r"run\.keyed"):
        protected(exact)
    same, record = protected(exact, Release(exact=True))
    assert record == []
    assert np.array_equal(same.first, exact.first)


def test_the_order_of_tables_and_threads_change_no_bit() -> None:
    frame = panel(400)
    tables = []
    for threads in (1, 4):
        con = duckdb.connect(config={"threads": threads})
        rows = keyed(frame.sample(frac=1, random_state=threads), con=con)
        of = register()
        whole = rte.outcome_moments(rows, outcome="pay", **ROLES)
        parts = rte.outcome_moments(rows, outcome="pay", by="band", **ROLES)
        tables.append([protect_moments("x", table, RULES, of, {})[0] for table in (whole, parts)])
    for one, other in zip(*tables, strict=True):
        assert np.array_equal(one.first, other.first)
        for pair in one.second:
            assert np.array_equal(one.second[pair], other.second[pair])
    whole, parts = tables[0]
    assert parts.collapse("band").cells["n"].tolist() == whole.cells["n"].tolist()


@pytest.mark.parametrize("few", range(2, 10))
def test_the_reference_path_of_a_release_tells_no_count(few: int) -> None:
    """The run's own is a mean of exact outcomes: times the number of people it is a small count."""
    frame = panel(1_200)
    one = frame["person"].isin([f"é{3 * i}" for i in range(few)])
    frame["employed"] = (one & (frame["time"] == 4)).astype(int) | (frame["time"] == 1) * frame["employed"]
    exact = rte.outcome_moments(keyed(frame), outcome="employed", kind="binary", **ROLES)
    safe, _ = protected(exact)
    assert round(exact.reference[4] * 1_200) == few
    assert not safe.reference.any()


def test_rows_of_one_person_are_one_person() -> None:
    frame = panel(300)
    three = frame[frame["person"].isin(["é1", "é2", "é4"])]
    rows = [frame[frame["cohort"] == 3].assign(id=lambda d: d["person"])]
    rows += [three.assign(id=three["person"] + f"/{again}") for again in range(10)]
    controls = rte.outcome_moments(
        keyed(pd.concat(rows)), unit="id", time="time", cohort="cohort", outcome="employed", kind="binary"
    )
    assert controls.cells["n"].tolist() == [100, 30]
    with pytest.raises(DisclosureError, match="fewer than 10 people"):
        protected(controls)


def test_one_set_has_one_count_over_tables_with_further_strata() -> None:
    frame, of = panel(900), register()
    for place in range(8):
        frame[f"s{place}"] = np.where(np.random.default_rng(place).random(900)[frame.index // 6] < 0.5, "x", "y")
    rows, counts = keyed(frame), []
    for place in range(8):
        table = rte.outcome_moments(rows, outcome="pay", by=["band", f"s{place}"], **ROLES)
        safe, _ = protect_moments("x", table, RULES, of, {})
        counts.append(safe.collapse(f"s{place}").cells["n"].tolist())
    assert len({tuple(count) for count in counts}) == 1


def test_of_those_without_a_value_none_or_more_than_js_are_told() -> None:
    """In a large cell few may lack it; what count and number of people differ by is a count too."""
    frame, told = panel(1_200), list[float]()
    few = frame["person"].isin([f"é{3 * i}" for i in range(3)])
    frame["employed"] = (~(few & (frame["time"] == 4))).astype(int)
    for number in range(12):
        rows = keyed(frame, bytes([number]) * 32)
        safe, _ = protected(rte.outcome_moments(rows, outcome="employed", kind="binary", **ROLES))
        told += (safe.cells["n"].to_numpy()[:, None] * (1 - safe.means())).round(6).ravel().tolist()
    assert all(others == 0 or others > RULES.count_gap for others in told)
    assert max(told) > 2
