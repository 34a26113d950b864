"""Keyed sums of outcome moments: those of noisy paths by definition; they add, part and are kept like exact sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retrain_eval as rte
from keyed_panels import factors, keyed, panel
from retrain_eval.common.errors import InputError

ROLES: dict[str, Any] = {"unit": "person", "time": "time", "cohort": "cohort"}
DESIGNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weights": {"weights": "weight"},
    "pairs": {"weights": "weight", "cluster": "pair"},
}


@pytest.mark.parametrize("design", DESIGNS)
def test_noisy_moments_are_those_of_noisy_paths(design: str) -> None:
    frame, options = panel(), DESIGNS[design]
    rows = keyed(frame)
    found = rte.outcome_moments(rows, outcome="pay", by="band", **ROLES, **options)
    noisy = frame.assign(pay=frame["pay"] * frame["person"].map(factors(rows)))
    by_hand = rte.outcome_moments(noisy, outcome="pay", by="band", **ROLES, **options)
    assert found.keyed is not None
    assert found.keyed.first is not None
    assert found.keyed.second is not None
    shift = np.eye(7)
    shift[1:, 0] = by_hand.reference - found.reference
    assert found.keyed.first == pytest.approx(by_hand.first @ shift.T, rel=1e-9)
    for pair, block in by_hand.second.items():
        expected = shift @ block @ shift.T
        assert found.keyed.second[pair] == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.abs(expected).max())
    plain = rte.outcome_moments(frame, outcome="pay", by="band", **ROLES, **options)
    assert np.array_equal(found.first, plain.first)  # the exact table does not know of keys
    assert plain.keyed is None


@pytest.mark.parametrize(("outcome", "kind"), [("pay", "amount"), ("employed", "binary"), ("score", "score")])
def test_people_are_counted_by_value_and_period(outcome: str, kind: str) -> None:
    frame = panel()
    moments = rte.outcome_moments(keyed(frame), outcome=outcome, weights="weight", **ROLES)
    assert moments.keyed is not None
    assert moments.keyed.kind == kind
    for c, cohort in enumerate(moments.cells["cohort"].fillna(0)):
        for t in range(6):
            rows = frame[(frame["cohort"] == cohort) & (frame["time"] == t)]
            for v, value in enumerate(moments.keyed.values):
                has = rows[outcome] != 0 if np.isnan(value) else rows[outcome] == value
                assert moments.keyed.count[c, t, v] == has.sum()
                assert moments.keyed.weight[c, t, v] == pytest.approx(rows.loc[has, "weight"].sum())


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("outcome", ["pay", "employed", "score"])
def test_they_add_part_collapse_and_are_kept_like_the_exact_sums(outcome: str, design: str, tmp_path: Path) -> None:
    frame, options = panel(), {"outcome": outcome, **ROLES, **DESIGNS[design]}
    rows = keyed(frame)
    whole, by_band = rte.outcome_moments(rows, **options), rte.outcome_moments(rows, by="band", **options)
    halves = [rte.outcome_moments(rows.filter(f"pair % 2 = {half}"), **options) for half in (0, 1)]
    made = {"collapsed": by_band.collapse("band"), "added": halves[1] + halves[0]}
    by_band.to_parquet(tmp_path / "m.parquet")
    made["read"] = rte.OutcomeMoments.read_parquet(tmp_path / "m.parquet").collapse("band")
    made["added to nothing"] = whole.empty() + whole
    parts = [by_band.subset(band=level) for level in ("old", "young")]
    made["parted"] = (parts[0] + parts[1]).collapse("band")
    expected = whole.keyed
    assert expected is not None
    for name, moments in made.items():
        found = moments.keyed
        assert found is not None, name
        assert found.cells.key.tolist() == expected.cells.key.tolist(), name
        assert found.cells.sketch.tolist() == expected.cells.sketch.tolist(), name
        assert found.key.tolist() == expected.key.tolist(), name
        assert found.count.tolist() == expected.count.tolist(), name
        assert found.weight == pytest.approx(expected.weight), name
        if expected.first is not None and expected.second is not None and found.first is not None:
            shift = np.eye(7)
            shift[1:, 0] = whole.reference - moments.reference
            assert found.first == pytest.approx(expected.first @ shift.T, rel=1e-8), name
            assert found.second is not None, name
            assert sorted(found.second) == sorted(expected.second), name


def test_logarithms_of_amounts_carry_the_logarithm_of_the_noise() -> None:
    frame = panel(out=0.0)
    frame["log_pay"] = np.log(frame["pay"])
    rows = keyed(frame)
    moments = rte.outcome_moments(rows, outcome="log_pay", kind="log", **ROLES)
    noisy = np.log(frame["pay"] * frame["person"].map(factors(rows)))
    means = noisy.groupby([frame["cohort"], frame["time"]]).mean().unstack().to_numpy()
    assert moments.keyed is not None
    assert moments.keyed.first is not None
    found = moments.keyed.first[:, 1:] / moments.keyed.first[:, :1] + moments.reference
    assert found[::-1] == pytest.approx(means, rel=1e-12)


def test_scores_of_two_shards_need_not_have_the_same_values() -> None:
    frame = panel(40)
    frame["score"] = frame["score"].where(frame["pair"] % 2 == 0, 0.5)
    rows = keyed(frame)
    halves = [
        rte.outcome_moments(rows.filter(f"pair % 2 = {half}"), outcome="score", kind="score", **ROLES)
        for half in (0, 1)
    ]
    whole = rte.outcome_moments(rows, outcome="score", kind="score", **ROLES)
    added = halves[0] + halves[1]
    assert added.keyed is not None
    assert whole.keyed is not None
    assert added.keyed.values.tolist() == whole.keyed.values.tolist()
    assert added.keyed.count.tolist() == whole.keyed.count.tolist()


def test_what_is_refused() -> None:
    rows = keyed(panel(40))
    with pytest.raises(InputError, match="unknown kind of outcome"):
        rte.outcome_moments(rows, outcome="pay", kind="money", **ROLES)
    with pytest.raises(InputError, match="another value than 0 and 1"):
        rte.outcome_moments(rows, outcome="score", kind="binary", **ROLES)
    with pytest.raises(InputError, match="more than 20 values"):
        rte.outcome_moments(rows, outcome="pay", kind="score", **ROLES)
    binary, score = (rte.outcome_moments(rows, outcome="employed", kind=kind, **ROLES) for kind in ("binary", "score"))
    with pytest.raises(InputError, match="two kinds of outcome"):
        _ = binary + score
