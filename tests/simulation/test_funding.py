"""Who pays in the synthetic agency, to the cent, and what training is truly worth there."""

from __future__ import annotations

from decimal import Decimal

import pytest

import retrain_eval as rte
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.simulation import Parameters
from retrain_eval.simulation.funding import known_net_benefit

PEOPLE, SEED = 700, 5
OUTLAYS = {"government": 3_000.0, "others": 500.0, "stipends": 800.0}


def costs(*shares: float) -> dict[tuple[str, str], Decimal]:
    made = rte.simulate(people=PEOPLE, seed=SEED, parameters=Parameters(funded=shares))  # type: ignore[arg-type]
    rows = made.con.sql("SELECT funder, component, sum(amount) FROM cost GROUP BY ALL").fetchall()
    made.con.close()
    return {(funder, component): amount for funder, component, amount in rows}


def test_shares_split_the_same_cost_to_the_cent() -> None:
    alone, split = costs(1.0, 0.0, 0.0, 0.0), costs(0.4, 0.3, 0.17, 0.13)
    assert {funder for funder, _ in alone} == {"state"}
    for component in ("tuition", "stipend", "support"):
        parts = {funder: amount for (funder, of), amount in split.items() if of == component}
        assert sum(parts.values()) == alone["state", component]
        assert ("participant" in parts) == (component != "stipend")
    share = split["employer", "tuition"] / alone["state", "tuition"]
    assert float(share) == pytest.approx(0.3, abs=1e-4)


def test_participants_alone_pay_no_stipend_to_themselves() -> None:
    paid = costs(0.0, 0.0, 1.0, 0.0)
    assert {funder for funder, component in paid if component == "stipend"} == {"state"}
    assert {funder for funder, component in paid if component != "stipend"} == {"participant"}


@pytest.mark.parametrize("shares", [(0.5, 0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.5, 0.0, 0.0, 0.0)])
def test_shares_that_do_not_add_up_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="this parameter cannot be"):
        Parameters(funded=shares)  # type: ignore[arg-type]


def test_the_true_net_benefit_follows_from_the_truth() -> None:
    made = rte.simulate(people=PEOPLE, seed=SEED)
    worth = known_net_benefit(made.truth, {"tax_rate": 0.2}, OUTLAYS, discount_rate=0.0, horizon=6)
    lines = worth.frame.set_index("estimand")["estimate"]
    [earned] = made.con.sql(
        "SELECT sum(mean) FROM (SELECT avg(on_earnings) AS mean FROM effect WHERE event_time BETWEEN 0 AND 5 "
        "GROUP BY event_time)"
    ).fetchall()
    assert lines["society: net benefit"] == pytest.approx(earned[0] - 3_500 + 800, rel=1e-6)
    assert lines["taxpayers: net benefit"] == pytest.approx(0.2 * earned[0] - 3_000, rel=1e-6)
    assert worth.frame["std_error"].isna().all()
    with pytest.raises(DesignError, match="no one is followed"):
        known_net_benefit(made.truth, {"tax_rate": 0.2}, OUTLAYS, discount_rate=0.0, horizon=99)
    made.con.close()


def test_training_that_changes_nothing_is_worth_what_was_paid_out() -> None:
    nothing = Parameters(lock_in=1.0, age_gain=(0.0, 0.0, 0.0, 0.0), ai_gain=0.0)
    made = rte.simulate(people=PEOPLE, seed=SEED, parameters=nothing)
    worth = known_net_benefit(made.truth, {"tax_rate": 0.2}, OUTLAYS, discount_rate=0.03, horizon=8)
    lines = worth.frame.set_index("estimand")["estimate"]
    assert lines["society: net benefit"] == pytest.approx(-2_700)
    assert lines["participants: net benefit"] == pytest.approx(800)
    made.con.close()
