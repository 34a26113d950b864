"""Groups for whom retraining gains nothing: what is true of them, and that the default changes no byte."""

from __future__ import annotations

import pandas as pd
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import InputError
from retrain_eval.simulation import Parameters, true_effects_of_groups
from retrain_eval.simulation.parameters import NO_GAIN_GROUPS

PEOPLE, SEED = 3_000, 2


def truth(*shares: float) -> pd.DataFrame:
    made = rte.simulate(people=PEOPLE, seed=SEED, parameters=Parameters(trained=0.15, no_gain_for=shares))  # type: ignore[arg-type]
    found = true_effects_of_groups(made.con, last=12)
    made.con.close()
    return found[found["outcome"] == "earnings"].set_index(["level", "programme_kind"])[["att", "n"]]


@pytest.fixture(scope="module")
def plain() -> pd.DataFrame:
    return truth(0.0, 0.0, 0.0)


@pytest.mark.parametrize("number", range(3))
def test_retraining_alone_loses_its_gain_in_the_groups_named(plain: pd.DataFrame, number: int) -> None:
    shares = [0.0, 0.0, 0.0]
    shares[number] = 1.0
    found, group = truth(*shares), NO_GAIN_GROUPS[number]
    assert found["n"].equals(plain["n"])
    assert found.loc[(group, "retraining"), "att"] < plain.loc[(group, "retraining"), "att"]
    assert found.loc[(group, "retraining"), "att"] < 0  # what is lost while in training
    assert found.loc[(group, "alternative"), "att"] == plain.loc[(group, "alternative"), "att"]
    for kind in ("retraining", "alternative"):
        assert found.loc[("others", kind), "att"] == plain.loc[("others", kind), "att"]


def test_a_share_of_one_half_loses_less(plain: pd.DataFrame) -> None:
    of = ("55 and over", "retraining")
    half, whole = truth(0.5, 0.0, 0.0).loc[of, "att"], truth(1.0, 0.0, 0.0).loc[of, "att"]
    assert whole < half < plain.loc[of, "att"]


def test_strength_lies_between_none_and_all() -> None:
    with pytest.raises(InputError, match="no_gain_for"):
        Parameters(no_gain_for=(1.5, 0.0, 0.0))
