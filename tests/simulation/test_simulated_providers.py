"""Providers of the synthetic agency: as many as asked, with a known spread of effects, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import InputError
from retrain_eval.simulation import Parameters, Simulation
from retrain_eval.simulation.providers import gain_sql


def later_effects(made: Simulation) -> np.ndarray:
    """Return the true effect on earnings of each provider a year and more after entry."""
    rows = made.truth.query("subgroup == 'provider' and outcome == 'earnings' and event_time >= 4")
    return np.array([np.average(of["att"], weights=of["n"]) for _, of in rows.groupby("level")])


def tables(made: Simulation, *names: str) -> list[list[tuple[object, ...]]]:
    return [made.con.sql(f"FROM {name}").fetchall() for name in names]


def test_six_providers_are_those_of_the_programmes() -> None:
    made = rte.simulate(people=600, parameters=Parameters(trained=0.3))
    rows = made.con.sql("SELECT programme_id, provider FROM programme ORDER BY 1").fetchall()
    assert rows[:7] == [(f"P{k:02d}", f"Provider {'ABCDEF'[k % 6]}") for k in range(7)]
    assert sorted(made.truth.query("subgroup == 'provider'")["level"].unique()) == [f"Provider {x}" for x in "ABCDEF"]


def test_more_providers_offer_every_programme_and_change_no_ones_career() -> None:
    few = rte.simulate(people=600, parameters=Parameters(trained=0.3))
    many = rte.simulate(people=600, parameters=Parameters(trained=0.3, providers=60))
    assert tables(few, "person", "wage_record", "displacement") == tables(many, "person", "wage_record", "displacement")
    assert many.con.sql("SELECT count(*), count(DISTINCT provider) FROM programme").fetchall() == [(18 * 60, 60)]
    assert many.con.sql("SELECT count(*) FROM enrolment ANTI JOIN programme USING (programme_id)").fetchall() == [(0,)]
    tiers = "SELECT e.person_id, tier, delivery FROM enrolment e JOIN programme USING (programme_id) ORDER BY 1"
    assert few.con.sql(tiers).fetchall() == many.con.sql(tiers).fetchall()


def test_true_effects_are_spread_as_asked() -> None:
    given = {"trained": 0.3, "providers": 20, "lock_in": 1.0}
    alike = later_effects(rte.simulate(people=3_000, parameters=Parameters(**given)))
    apart = later_effects(rte.simulate(people=3_000, parameters=Parameters(**given, provider_sd=2.0)))
    assert len(alike) == len(apart) == 20
    assert apart.std() > 2 * alike.std()


def test_without_a_spread_nothing_is_added_to_gains() -> None:
    assert gain_sql(Parameters(providers=60)) == ""


@pytest.mark.parametrize("given", [{"providers": 0}, {"providers": 2.5}, {"providers": True}, {"provider_sd": -1.0}])
def test_what_cannot_be_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(InputError, match="this parameter cannot be"):
        Parameters(**given)
