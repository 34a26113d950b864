"""The page on money: its first sentence for each answer, its tables and its figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bundles
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.money.net_benefit import benefit_over_time, net_benefit
from retrain_eval.estimators.money.ratios import value_for_money
from retrain_eval.release.layout import effects_frame
from retrain_eval.report.language.catalogue import speaking
from retrain_eval.report.page import Study, open_release
from retrain_eval.report.pages.money import accounts, ledger, over_time, ratios, worth

FACTS = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "USD",
         "frequency": "quarter", "limitations": []}  # fmt: skip
LEDGER = pd.DataFrame(
    {
        "funder": ["employer", "state", "state"],
        "component": ["tuition", "stipend", "tuition"],
        "payer": ["others", "taxpayers", "taxpayers"],
        "cents": [10_000_050, 20_000_000, 30_000_000],
        "cents_per_person": [10_000, 20_000, 30_000],
    }
)


def study(
    folder: Path,
    gain: float,
    sd: float = 50.0,
    *,
    horizon: int = 3,
    paid: pd.DataFrame = LEDGER,
    protected: bool = False,
    **outlays: float,
) -> Study:
    rows = [{"outcome": "earnings", "event_time": e, "estimate": gain, "n_treated": 90, "n_control": 90}
            for e in range(3)]  # fmt: skip
    path = EffectTable.build(rows, np.eye(3) * sd**2)
    terms: dict[str, Any] = {"discount_rate": 0.03, "per_year": 4, "horizon": horizon, "carried": 1}
    spent = {"government": 500.0, "others": 100.0, "stipends": 200.0, **outlays}
    worth = net_benefit(path, {"tax_rate": 0.2}, spent, **terms)
    over_time = benefit_over_time(path, {"tax_rate": 0.2}, **terms)
    tables = {
        "effects": pd.concat([effects_frame("net_benefit", worth), effects_frame("benefit_over_time", over_time)]),
        "ledger": paid,
        "ratios": value_for_money(worth).assign(result="net_benefit"),
    }
    rules = {"min_contributors": 10, "noise_largest": 0.1 if protected else 0.0}
    return open_release([bundles.write_bundle(folder / "x", tables, FACTS, rules=rules)]).main


@pytest.mark.parametrize(
    ("gain", "sd", "begins"),
    [
        (
            600.0,
            50.0,
            "Training is worth more than it costs: over 3 quarters from its start, the net",
        ),
        (-600.0, 50.0, "Training has cost more than it has brought: over 3 quarters"),
        (150.0, 400.0, "Whether training is worth its cost is not settled"),
    ],
)
def test_the_first_sentence_is_the_answer(tmp_path: Path, gain: float, sd: float, begins: str) -> None:
    one = study(tmp_path, gain, sd)
    told = worth.say_worth(one)
    assert told.startswith(begins)
    assert "To employers and other funders it is −$100. " in f"{told} "
    assert "What training changes after the follow-up is not counted." in worth.say_limits(one)
    for table in (ledger.tabulate_ledger(one), accounts.tabulate_accounts(one), ratios.tabulate_ratios(one)):
        assert "nan" not in table.html()
    figure = over_time.draw_over_time(one)
    assert "<svg" in figure.svg(narrow=True)
    assert "cost $400" in figure.alt


def test_what_is_extrapolated_is_said(tmp_path: Path) -> None:
    one = study(tmp_path, 300.0, horizon=5)
    assert "lie beyond the follow-up. They are assumed, not observed" in worth.say_limits(one)
    assert accounts.periods_counted(one) == 5
    assert "<svg" in over_time.draw_over_time(one).svg()


def test_the_ledger_adds_up_to_the_cent(tmp_path: Path) -> None:
    one = study(tmp_path, 300.0)
    assert (
        "Training cost $600,000.50, which is $600 for each person who entered; taxpayers paid 83% of it"
        in ledger.say_ledger(one)
    )
    cells = ledger.tabulate_ledger(one).cells
    assert cells["line"].tolist() == ["state, stipends", "state, tuition", "employer, tuition", "Total"]
    assert cells["amount"].tolist() == ["$200,000", "$300,000", "$100,000.50", "$600,000.50"]


def test_where_people_are_protected_the_cost_is_said_to_be_rounded(tmp_path: Path) -> None:
    one = study(tmp_path, 600.0, protected=True)
    told = ledger.say_ledger(one)
    assert told.startswith(
        "Training cost about $600,000.50, which is $600 for each person who entered, rounded to two d"
    )
    assert "rounded to two digits" in ledger.tabulate_ledger(one).note
    assert "it is −$100: the cost per person is rounded to two digits." in worth.say_worth(one)
    for text in (told, worth.say_worth(one)):
        assert "known" not in text


def test_a_programme_that_pays_for_itself_has_no_infinite_ratio(tmp_path: Path) -> None:
    sure = ratios.say_ratios(study(tmp_path / "a", 2_000.0))
    assert sure.startswith(
        "The programme pays for itself: taxpayers get back more than they spend over the whole 95% interval"
    )
    unsure = study(tmp_path / "b", 900.0, 100.0)
    assert "The 95% interval runs from a ratio of" in ratios.say_ratios(unsure)
    assert "pays for itself" in ratios.tabulate_ratios(unsure).html()
    assert "inf" not in ratios.tabulate_ratios(unsure).html()


def test_without_cost_there_is_no_ratio(tmp_path: Path) -> None:
    nothing = LEDGER.assign(cents=0, cents_per_person=0)
    one = study(tmp_path, 300.0, paid=nothing, government=0.0, others=0.0, stipends=0.0)
    assert ledger.say_ledger(one) == "The records state no cost of training."
    assert "so there is no marginal value of public funds. Nothing was spent" in ratios.say_ratios(one)


def test_stipends_alone_and_savings_elsewhere_are_money_that_was_spent(tmp_path: Path) -> None:
    for name, outlays in (("a", {"others": 0.0, "stipends": 500.0}), ("b", {"saved_elsewhere": 20_000.0})):
        said = ratios.say_ratios(study(tmp_path / name, 300.0, **outlays))
        assert "Nothing was spent" not in said
        assert "For society, the programme pays for itself" in said


def test_what_is_withheld_is_a_sentence(tmp_path: Path) -> None:
    withheld = pd.DataFrame([{"result": "net_benefit", "table": "effects", "reason": "no one entered a programme"}])
    effects = bundles.training_effects()
    one = open_release([bundles.write_bundle(tmp_path / "x", {"effects": effects, "withheld": withheld}, FACTS)])
    assert worth.say_worth(one.main) == "What training is worth cannot be said: no one entered a programme."
    assert "money" not in one.parts()


def test_the_page_speaks_chinese(tmp_path: Path) -> None:
    one = study(tmp_path, 600.0)
    with speaking("zh"):
        assert worth.say_worth(one).startswith("培训的价值高于其成本")
        assert "纳税人" in accounts.tabulate_accounts(one).html()
