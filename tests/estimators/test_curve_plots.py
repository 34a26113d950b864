"""Curves of duration drawn for scripts: what is on the plot is what is in the table."""

from __future__ import annotations

import numpy as np
import pytest

from retrain_eval.estimators.figures.curves import is_curve
from retrain_eval.estimators.survival.spells import Spells
from survival_cases import NAMES, spells

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # inside plotnine, with pandas 3


@pytest.fixture(scope="module")
def drawn_spells() -> Spells:
    return Spells(spells(200, 5), **NAMES, by="arm")


def test_steps_go_through_the_estimates_and_numbers_at_risk_stand_below(drawn_spells: Spells) -> None:
    curve = drawn_spells.kaplan_meier()
    plot = curve.plot("Jobs")
    steps = plot.data
    for level, rows in curve.frame.groupby("level"):
        own = steps[steps["group"] == level]
        assert own["time"].iloc[0] == 0
        assert own["estimate"].iloc[0] == 1
        # at each duration the curve comes down from its last value to the estimate
        at = own.groupby("time")["estimate"]
        np.testing.assert_allclose(at.last()[1:], rows["estimate"])
        np.testing.assert_allclose(at.first()[1:], at.last()[:-1])
    at_risk = plot.layers[3]._data
    expected = curve.frame.set_index(["level", "time"])["n_treated"]
    assert (at_risk["y"] < 0).all()
    assert [int(label.replace(",", "")) for label in at_risk["label"]] == [
        expected[level, time] for level, time in zip(at_risk["group"], at_risk["time"], strict=True)
    ]
    assert sorted(plot.layers[2]._data["group"]) == ["control", "trained"]  # labels at the ends, no legend
    plot.draw()


def test_incidence_has_a_panel_per_cause_and_starts_at_zero(drawn_spells: Spells) -> None:
    plot = drawn_spells.cumulative_incidence().plot()
    assert plot.data.groupby(["estimand", "group"], observed=True)["estimate"].first().tolist() == [0.0] * 4
    plot.draw()


def test_only_curves_are_drawn_as_curves(drawn_spells: Spells) -> None:
    assert is_curve(drawn_spells.nelson_aalen().frame)
    for other in (
        drawn_spells.rmst(3),
        drawn_spells.survival_difference(times=(2, 3)),
        drawn_spells.quantile(),
        drawn_spells.cox("arm"),
        drawn_spells.kaplan_meier(times=(2,)),
    ):
        assert not is_curve(other.frame)
        other.plot().draw()
