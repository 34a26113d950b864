"""Accounts that add up, discounting by hand, extrapolation that is labelled, and ratios that are never infinite."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.money.net_benefit import EXTRAPOLATED, OBSERVED, benefit_over_time, net_benefit
from retrain_eval.estimators.money.ratios import (
    ALL_OF_IT,
    BOUNDED,
    NO_COST,
    NO_LOWER,
    NO_RATIO,
    NO_UPPER,
    PAYS_FOR_ITSELF,
    RATIO,
    fieller,
    value_for_money,
)

PATH, SCATTER = [-100.0, 50.0, 300.0], np.array([[40.0, 5.0, 0.0], [5.0, 50.0, 10.0], [0.0, 10.0, 60.0]])
RATES = {
    "tax_rate": 0.2,
    "employer_tax_rate": 0.1,
    "benefit_withdrawal": 0.05,
    "spending_tax_rate": 0.08,
    "fringe": 0.15,
}
OUTLAYS = {"government": 120.0, "participants": 10.0, "others": 30.0, "stipends": 40.0, "saved_elsewhere": 15.0}


def study(path: list[float] | None = None, scatter: np.ndarray | None = None) -> EffectTable:
    given = PATH if path is None else path
    rows = [{"event_time": e, "estimate": b, "n_treated": 40, "n_control": 50} for e, b in enumerate(given)]
    return EffectTable.build(rows, (SCATTER if scatter is None else scatter))


def of(table: EffectTable) -> dict[str, float]:
    return dict(zip(table.frame["estimand"].astype(str), table.frame["estimate"], strict=True))


def test_accounts_by_hand() -> None:
    """E = −100 + 50/1.1 + 300/1.21 at 10% a year; of a unit .75 can be spent, and .06 of it is tax on spending."""
    found = of(net_benefit(study(), RATES, OUTLAYS, discount_rate=0.1, per_year=1))
    present = -100 + 50 / 1.1 + 300 / 1.21
    assert found[OBSERVED] == pytest.approx(present)
    assert found["participants: taxes on spending"] == pytest.approx(-0.06 * present)
    assert found["participants: net benefit"] == pytest.approx((0.75 - 0.06 + 0.15) * present + 40 - 10)
    assert found["taxpayers: net benefit"] == pytest.approx((0.2 + 0.1 + 0.05 + 0.06) * present - 120 + 15)
    assert found["others: net benefit"] == pytest.approx(-30)
    assert found["society: net benefit"] == pytest.approx((1 + 0.1 + 0.15) * present - (160 - 40) + 15)


@given(
    st.lists(st.floats(-5_000, 5_000), min_size=1, max_size=8),
    st.tuples(*[st.floats(0, 1)] * 5),
    st.tuples(*[st.floats(0, 9_000)] * 4),
    st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_perspectives_add_up_to_society(
    path: list[float], rates: tuple[float, ...], outlays: tuple[float, ...], paid_out: float
) -> None:
    money = dict(zip(("government", "participants", "others", "saved_elsewhere"), outlays, strict=True))
    money["stipends"] = paid_out * sum(outlays[:3])
    table = net_benefit(
        study(path, np.eye(len(path))), dict(zip(RATES, rates, strict=True)), money, discount_rate=0.03, per_year=4
    )
    found, scale = of(table), 1e-9 * (1 + sum(map(abs, path)) + sum(outlays))
    parts = sum(found.get(f"{who}: net benefit", 0.0) for who in ("participants", "taxpayers", "others"))
    assert parts == pytest.approx(found["society: net benefit"], abs=scale)
    for who in ("participants", "taxpayers", "others", "society"):
        lines = [value for name, value in found.items() if name.startswith(who) and not name.endswith("net benefit")]
        assert sum(lines) == pytest.approx(found.get(f"{who}: net benefit", 0.0), abs=scale)


def test_errors_follow_from_the_joint_covariance() -> None:
    table = net_benefit(study(), {"tax_rate": 0.2}, {"government": 100.0}, discount_rate=0.0, per_year=4)
    rows = table.frame.set_index("estimand")
    spread = float(np.sqrt(SCATTER.sum()))
    assert rows.loc["society: net benefit", "std_error"] == pytest.approx(spread)
    assert rows.loc["taxpayers: net benefit", "std_error"] == pytest.approx(0.2 * spread)
    assert isnan(rows.loc["taxpayers: cost of training", "std_error"])
    assert rows["n_treated"].eq(40).all()


def test_what_is_extrapolated_is_a_line_of_its_own() -> None:
    """The mean of the last two, 175, falls by half a year; two more periods, half a year each, at 21% a year."""
    terms = {"discount_rate": 0.21, "per_year": 2, "horizon": 5, "carried": 2, "fade": 0.5}
    found = of(net_benefit(study(), {"tax_rate": 0.0}, {"government": 1.0}, **terms))
    assert found[EXTRAPOLATED] == pytest.approx(175 * (0.5**0.5 / 1.1**3 + 0.5 / 1.1**4))
    assert found["society: earnings"] == pytest.approx(found[OBSERVED] + found[EXTRAPOLATED])
    rows = benefit_over_time(study(), {"tax_rate": 0.0}, **terms).frame
    assert rows.loc[rows["event_time"] > 2, "estimand"].str.endswith(", extrapolated").all()
    ends = rows[rows["estimand"] == "society, extrapolated"]
    assert ends["estimate"].iloc[-1] == pytest.approx(found["society: earnings"])


def test_a_shorter_horizon_counts_fewer_periods() -> None:
    found = of(net_benefit(study(), {"tax_rate": 0.0}, {}, discount_rate=0.0, per_year=1, horizon=2))
    assert found[OBSERVED] == -50.0
    assert EXTRAPOLATED not in found


def test_a_horizon_beyond_the_follow_up_is_refused_unless_something_is_carried_forward() -> None:
    with pytest.raises(DesignError, match="observed for 3 periods and the horizon is 4"):
        net_benefit(study(), {}, {}, discount_rate=0.0, per_year=1, horizon=4)
    with pytest.raises(DesignError, match="last 5 periods is to be carried forward, and 3 are observed"):
        net_benefit(study(), {}, {}, discount_rate=0.0, per_year=1, horizon=4, carried=5)


@pytest.mark.parametrize(
    ("rates", "outlays", "says"),
    [
        ({"tax": 0.2}, {}, "unknown rate 'tax'"),
        ({"tax_rate": 1.2}, {}, "tax_rate is not a rate"),
        ({"tax_rate": float("nan")}, {}, "tax_rate is not a rate"),
        ({}, {"goverment": 1.0}, "unknown outlay 'goverment'"),
        ({}, {"government": -1.0}, "government is a number that is not negative"),
        ({}, {"government": 5.0, "stipends": 6.0}, "more was paid out to participants than training cost"),
    ],
)
def test_rates_and_outlays_that_cannot_be_are_refused(
    rates: dict[str, float], outlays: dict[str, float], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        net_benefit(study(), rates, outlays, discount_rate=0.0, per_year=1)


def test_a_gap_in_the_path_is_refused() -> None:
    gap = EffectTable.build([{"event_time": e, "estimate": 1.0} for e in (0, 2)], np.eye(2))
    with pytest.raises(DesignError, match="one is missing"):
        net_benefit(gap, {}, {}, discount_rate=0.0, per_year=1)


# ---- ratios --------------------------------------------------------------------------------------------------------


def ratios(gain: float, sd: float, *, tax: float = 0.25, **outlays: float) -> dict[str, dict[str, object]]:
    path = study([gain], np.array([[sd**2]]))
    worth = net_benefit(path, {"tax_rate": tax}, outlays, discount_rate=0.0, per_year=1)
    return {str(row["ratio"]): row for row in value_for_money(worth).to_dict("records")}  # type: ignore[misc]


def test_the_interval_of_the_mvpf_is_the_image_of_that_of_the_effect() -> None:
    """Both sides are linear in one effect, so that Fieller's set is the ratio at the ends of its interval."""
    found = ratios(400.0, 50.0, government=300.0)["marginal value of public funds"]
    ends = [0.75 * gain / (300 - 0.25 * gain) for gain in (400 - 1.959964 * 50, 400, 400 + 1.959964 * 50)]
    assert (found["verdict"], found["interval"]) == (RATIO, BOUNDED)
    assert [found["ci_low"], found["estimate"], found["ci_high"]] == pytest.approx(ends, rel=1e-6)


def test_a_programme_that_may_pay_for_itself_has_no_upper_limit() -> None:
    found = ratios(1_000.0, 200.0, government=300.0)["marginal value of public funds"]
    low = 1_000 - 1.959964 * 200
    assert (found["verdict"], found["interval"]) == (RATIO, NO_UPPER)
    assert found["ci_low"] == pytest.approx(0.75 * low / (300 - 0.25 * low), rel=1e-6)
    assert isnan(found["ci_high"])  # type: ignore[arg-type]


@pytest.mark.parametrize(("sd", "interval"), [(100.0, ALL_OF_IT), (300.0, NO_UPPER), (3_000.0, NO_UPPER)])
def test_a_programme_that_pays_for_itself_has_no_ratio(sd: float, interval: str) -> None:
    found = ratios(1_600.0, sd, government=300.0)["marginal value of public funds"]
    assert (found["verdict"], found["interval"]) == (PAYS_FOR_ITSELF, interval)
    assert isnan(found["estimate"])  # type: ignore[arg-type]
    assert found["cost"] < 0  # type: ignore[operator]


def test_an_unclear_gain_at_an_unclear_cost_reaches_from_a_loss_to_where_it_pays_for_itself() -> None:
    """The interval of the effect runs from −5,930 to 5,830, and 1,200 pay for all."""
    found = ratios(-50.0, 3_000.0, government=300.0)["marginal value of public funds"]
    low = -50 - 1.959964 * 3_000
    assert (found["verdict"], found["interval"]) == (RATIO, NO_UPPER)
    assert found["ci_low"] == pytest.approx(0.75 * low / (300 - 0.25 * low), rel=1e-6)


def test_a_loss_has_a_negative_ratio_or_none() -> None:
    assert ratios(-100.0, 10.0, government=300.0)["marginal value of public funds"]["estimate"] == -75 / 325
    saved = ratios(-100.0, 10.0, government=300.0, saved_elsewhere=900.0)
    assert saved["marginal value of public funds"]["verdict"] == NO_RATIO


def test_without_cost_there_is_no_ratio() -> None:
    assert {row["verdict"] for row in ratios(100.0, 10.0).values()} == {NO_COST}
    paid = ratios(100.0, 10.0, others=50.0)
    assert paid["marginal value of public funds"]["verdict"] == NO_COST
    assert paid["benefit–cost ratio"]["estimate"] == 2.0


@given(
    st.floats(-5, 5),
    st.floats(-5, 5),
    st.floats(0.01, 3),
    st.floats(0.01, 3),
    st.floats(-0.99, 0.99),
    st.floats(0.5, 3),
)
@settings(max_examples=200, deadline=None)
def test_a_ratio_is_in_the_set_where_its_test_does_not_reject(
    benefit: float, cost: float, of_benefit: float, of_cost: float, rho: float, quantile: float
) -> None:
    cross = rho * of_benefit * of_cost
    covariance = np.array([[of_benefit**2, cross], [cross, of_cost**2]])
    low, high, kind = fieller(benefit, cost, covariance, quantile)

    def excess(ratio: float) -> float:
        spread = of_benefit**2 - 2 * ratio * cross + ratio**2 * of_cost**2
        return abs(benefit - ratio * cost) / np.sqrt(spread) - quantile

    for end in (low, high):
        if not isnan(end):
            assert excess(end) == pytest.approx(0, abs=1e-4 * (1 + abs(end)))
    if kind == BOUNDED:
        assert low <= benefit / cost <= high
    elif cost > 0 and kind == NO_UPPER:
        assert benefit / cost >= low
    elif cost > 0 and kind == NO_LOWER:
        assert benefit / cost <= high
    assert {NO_UPPER: isnan(high), NO_LOWER: isnan(low)}.get(kind, True)


@pytest.mark.parametrize(
    "outlays",
    [
        {
            "government": 0.3,
            "stipends": 0.1 + 0.2,
        },  # all of it went to those who took part: nothing is left but rounding
        {"government": 150.0, "saved_elsewhere": 20_000.0},
        {"participants": 100.0, "stipends": 100.0},
    ],
)
def test_money_that_was_paid_out_or_saved_elsewhere_was_spent(outlays: dict[str, float]) -> None:
    path = EffectTable.build([{"event_time": 0, "estimate": 200.0}], np.eye(1) * 100)
    rows = value_for_money(net_benefit(path, {"tax_rate": 0.2}, outlays, discount_rate=0.0, per_year=1))
    of_society = rows.set_index("ratio").loc["benefit–cost ratio"]
    assert of_society["verdict"] == "pays for itself"
    assert of_society["interval"] == "the cost is at most zero throughout"
    assert of_society["cost"] <= 0
    public = rows.set_index("ratio").loc["marginal value of public funds", "verdict"]
    assert public == ("pays for itself" if outlays.get("government") else "no cost")


def test_where_no_one_paid_there_is_no_ratio() -> None:
    path = EffectTable.build([{"event_time": 0, "estimate": 200.0}], np.eye(1) * 100)
    made = net_benefit(path, {"tax_rate": 0.2}, {"saved_elsewhere": 10.0}, discount_rate=0.0, per_year=1)
    assert set(value_for_money(made)["verdict"]) == {"no cost"}
