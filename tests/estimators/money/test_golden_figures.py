"""Net benefits against published estimates of three programmes, from their components: tests/oracles/money."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from places import ORACLES
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.money.net_benefit import net_benefit
from retrain_eval.estimators.money.ratios import value_for_money

CPI = (232.957, 236.736, 237.017)
pytestmark = pytest.mark.oracle


def components(programme: str) -> pd.DataFrame:
    """Return the inputs of a programme, a column per item and a row per group, weighted means for what has groups."""
    rows = pd.read_csv(ORACLES / "money" / "mvpf.csv", keep_default_na=False)
    return rows[rows["programme"] == programme].pivot_table(index="group", columns="item", values="value")


def pooled(table: pd.DataFrame, item: str) -> float:
    """Return an item as a mean over groups, weighted by their people; as it is where there are no groups."""
    values = table[item].dropna()
    weights = table["n"].reindex(values.index) if "n" in table and values.index.any() else None
    return float(np.average(values, weights=weights))


def ratio(path: list[float], rates: dict[str, float], outlays: dict[str, float], per_year: int = 1) -> pd.Series:
    rows = [{"event_time": time, "estimate": effect} for time, effect in enumerate(path)]
    effects = EffectTable.build(rows, np.zeros((len(rows), len(rows))))
    worth = net_benefit(effects, rates, outlays, discount_rate=0.03, per_year=per_year)
    return value_for_money(worth).iloc[0]


def test_jtpa_adults() -> None:
    """Half-years: two fifths of the effect at the start and a year later, a fifth half a year after that."""
    of = components("jtpa")
    each, subsidy = 0.4 * pooled(of, "earnings"), pooled(of, "subsidy")
    path = [each + subsidy, 0.0, each, each / 2]
    lasting = 1 + 1.03**-1 + 0.5 * 1.03**-1.5
    welfare = 0.4 * pooled(of, "welfare") * lasting
    rates = {"tax_rate": pooled(of, "tax_rate"), "benefit_withdrawal": welfare / (each * lasting + subsidy)}
    found = ratio(path, rates, {"government": pooled(of, "cost")}, per_year=2)
    assert (round(found["benefit"]), round(found["cost"])) == (
        pooled(of, "willingness_to_pay"),
        pytest.approx(pooled(of, "net_cost"), abs=1),
    )
    assert round(found["estimate"], 3) == pooled(of, "mvpf")


def test_workadvance() -> None:
    of = components("workadvance")
    outlays = {"government": pooled(of, "cost"), "saved_elsewhere": pooled(of, "saved")}
    path = [0.0, pooled(of, "earnings_2"), pooled(of, "earnings_3")]
    found = ratio(path, {"tax_rate": pooled(of, "tax_rate")}, outlays)
    assert round(found["benefit"]) == pooled(of, "willingness_to_pay")
    assert round(found["estimate"], 3) == pooled(of, "mvpf")


def test_year_up() -> None:
    of = components("yearup")
    path = [pooled(of, f"earnings_{year}") * CPI[0] / CPI[year - 1] for year in (1, 2, 3)]
    outlays = {"government": pooled(of, "cost"), "stipends": pooled(of, "stipends")}
    found = ratio(path, {"tax_rate": pooled(of, "tax_rate")}, outlays)
    assert found["benefit"] == pytest.approx(pooled(of, "willingness_to_pay"), abs=10)
    assert found["cost"] == pytest.approx(pooled(of, "net_cost"), abs=10)
    assert round(found["estimate"], 2) == pooled(of, "mvpf")
