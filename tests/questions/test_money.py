"""The question on money: by hand on a few people, where it refuses, against known truth, and through a whole study."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import money_study
from places import ROOT
from question_cases import ask, cohort, records, study, withheld
from retrain_eval.common.errors import InputError
from retrain_eval.plan.designs import Calendar
from retrain_eval.plan.questions import Money, Questions, check_designs
from retrain_eval.plan.study_file import About, Panel
from retrain_eval.questions.answers import Answer, Answers
from retrain_eval.questions.money.budget import LEDGER
from retrain_eval.release.verification.answering import answer
from retrain_eval.release.verification.verify import verify
from retrain_eval.report.page import open_release
from retrain_eval.report.pages.money.over_time import draw_over_time
from retrain_eval.report.pages.money.worth import say_limits, say_worth
from retrain_eval.study.folder import Study
from retrain_eval.tables.ledger import Ledger
from tampering import rehash

CALENDAR = Calendar(start=2020, before=2, after=1, history=2)
RATES: dict[str, Any] = {"tax_rate": 0.25, "discount_rate": 0.1}
COSTS = (  # programme, funder, component, period, amount; nine people entered
    ("P", "state", "tuition", 2020, 45.0),
    ("P", "state", "stipend", 2020, 10.0),
    ("P", "state", "stipend", 2021, 8.0),
    ("P", "employer", "tuition", 2020, 9.0),
)


def with_costs(*rows: tuple[str, str, str, int, float]) -> duckdb.DuckDBPyConnection:
    con = records()
    con.execute(
        "CREATE OR REPLACE TABLE cost (programme_id VARCHAR, funder VARCHAR, component VARCHAR, period INTEGER, "
        "amount DECIMAL(14, 2))"
    )
    for row in rows:
        con.execute("INSERT INTO cost VALUES (?, ?, ?, ?, ?)", row)
    return con


def asked(
    options: Money, con: duckdb.DuckDBPyConnection | None = None, **file: Any
) -> tuple[dict[str, float], Answers, dict[str, pd.DataFrame]]:
    """Return the lines of the accounts, all answers and the printed tables."""
    given = study(CALENDAR, Questions(money=options), **file)
    _, answers = ask(cohort(given, con or with_costs(*COSTS)), "money", options)
    frames = {item.name: item.result for item in answers.items if isinstance(item, Answer)}
    lines: dict[str, float] = {}
    if "net_benefit" in frames:
        frame = frames["net_benefit"].to_frame()  # type: ignore[union-attr]
        lines = dict(zip(frame["estimand"].astype(str), frame["estimate"], strict=True))
    return lines, answers, {name: table for name, table in frames.items() if isinstance(table, pd.DataFrame)}


def test_money_by_hand() -> None:
    """Gains of 2 and 4 are worth E = 2 + 4/1.1. Each of nine who entered cost 5 + 2 + 1, and got 2 of it."""
    lines, answers, tables = asked(Money(**RATES))
    present = 2 + 4 / 1.1
    assert withheld(answers) == {}
    assert lines["participants: net benefit"] == pytest.approx(0.75 * present + 2)
    assert lines["taxpayers: net benefit"] == pytest.approx(0.25 * present - 7)
    assert lines["others: net benefit"] == -1
    assert lines["society: net benefit"] == pytest.approx(present - 6)
    ratios = tables["ratios"].set_index("ratio")
    assert ratios.loc["marginal value of public funds", "estimate"] == pytest.approx(
        (0.75 * present + 2) / (7 - 0.25 * present)
    )
    assert ratios.loc["benefit–cost ratio", "estimate"] == pytest.approx(present / 6)
    ledger = tables["ledger"]
    assert ledger["cents"].tolist() == [900, 1800, 4500]
    assert ledger["payer"].tolist() == ["others", "taxpayers", "taxpayers"]
    assert ledger["cents_per_person"].tolist() == [100, 200, 500]


def test_costs_are_in_prices_of_the_base_period_and_add_up_to_the_cent() -> None:
    """Prices had doubled by 2021: 8 of 2021 are 4 of 2020. A third of a cent is rounded record by record."""
    con = with_costs(*COSTS, ("P", "state", "support", 2021, 0.33), ("P", "employer", "support", 2021, 0.33))
    con.execute("CREATE TABLE price (period INTEGER, cpi DOUBLE, region VARCHAR)")
    con.execute("INSERT INTO price SELECT y, CASE WHEN y = 2021 THEN 2 ELSE 1 END, NULL FROM range(2018, 2022) t(y)")
    given = study(CALENDAR, panel=Panel(no_record="missing", base_period=2020))
    tables, _ = ask(cohort(given, con), "money", Money(**RATES))
    ledger = tables.need(LEDGER, Ledger)
    assert dict(zip(zip(ledger.funder, ledger.component, strict=True), ledger.cents.tolist(), strict=True)) == {
        ("employer", "support"): 17,
        ("employer", "tuition"): 900,
        ("state", "stipend"): 1400,
        ("state", "support"): 17,
        ("state", "tuition"): 4500,
    }
    assert ledger.total == ledger.cents.sum() == 6834


def test_costs_of_a_period_without_a_price_are_not_left_out_in_silence() -> None:
    con = with_costs(*COSTS, ("P", "state", "support", 2025, 5.0))
    con.execute("CREATE TABLE price (period INTEGER, cpi DOUBLE, region VARCHAR)")
    con.execute("INSERT INTO price SELECT y, 1, NULL FROM range(2018, 2022) t(y)")
    _, answers, tables = asked(Money(**RATES), con, panel=Panel(no_record="missing", base_period=2020))
    reason = "records of cost are of periods without a price index"
    assert withheld(answers) == {"ledger": reason, "net_benefit": reason}
    assert "ratios" not in tables


def test_without_records_of_cost_what_training_brought_is_still_there() -> None:
    con = records()
    con.execute("DROP TABLE cost")
    lines, answers, _ = asked(Money(**RATES), con)
    reason = "no records of cost say what training cost"
    assert withheld(answers) == {"ledger": reason, "net_benefit": reason}
    assert answers.has("benefit_over_time")
    assert lines == {}


def test_records_of_cost_without_funders_say_so() -> None:
    _, answers, _ = asked(Money(**RATES), records())
    assert withheld(answers)["net_benefit"] == "the records of cost have no column funder"


def test_training_that_cost_nothing_has_no_ratio() -> None:
    _, answers, tables = asked(Money(**RATES), with_costs(("P", "state", "tuition", 2020, 0.0)))
    assert withheld(answers) == {}
    assert set(tables["ratios"]["verdict"]) == {"no cost"}
    assert tables["ratios"][["estimate", "ci_low", "ci_high"]].isna().all(axis=None)


def test_a_negative_net_cost_pays_for_itself() -> None:
    _, _, tables = asked(Money(**RATES), with_costs(("P", "state", "tuition", 2020, 4.5)))
    row = tables["ratios"].set_index("ratio").loc["marginal value of public funds"]
    assert (row["verdict"], row["cost"] < 0) == ("pays for itself", True)
    assert np.isnan(row["estimate"])


def test_a_funder_without_an_account_is_named() -> None:
    _, answers, _ = asked(Money(**RATES, others=("fund",)))
    assert "does not say on whose account employer pays" in withheld(answers)["net_benefit"]
    assert answers.has("benefit_over_time")


def test_a_horizon_beyond_the_follow_up_needs_extrapolation() -> None:
    _, answers, _ = asked(Money(**RATES, horizon=4))
    assert set(withheld(answers)) == {"net_benefit", "benefit_over_time"}
    lines, answers, _ = asked(Money(**RATES, horizon=4, extrapolate=True, carried=1))
    assert withheld(answers) == {}
    assert lines["earnings gained, extrapolated"] == pytest.approx(4 / 1.1**2 + 4 / 1.1**3)


def test_weeks_have_no_yearly_rate() -> None:
    _, answers, _ = asked(Money(**RATES), study=About(name="s", title="T", question="Q", data="D", frequency="week"))
    assert withheld(answers)["net_benefit"] == "a yearly discount rate needs periods that are parts of a year"


def test_when_no_one_can_be_compared_the_ledger_is_still_there() -> None:
    con = with_costs(*COSTS)
    con.execute("DELETE FROM wage_record WHERE period < 2020")
    _, answers, tables = asked(Money(**RATES), con)
    assert set(withheld(answers)) == {"net_benefit", "benefit_over_time"}
    assert tables["ledger"]["cents"].sum() == 7200


def test_a_funder_on_two_accounts_is_refused_before_anything_runs() -> None:
    with pytest.raises(InputError, match="pays on two accounts"):
        check_designs(Questions(money=Money(**RATES, participants=("state",))), ("d",))


# ---- known truth -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_intervals_cover_the_truth() -> None:
    spec = importlib.util.spec_from_file_location("questions_money", ROOT / "benchmarks" / "questions_money.py")
    assert spec is not None
    assert spec.loader is not None
    checks_of_money = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = checks_of_money  # a dataclass looks its module up
    spec.loader.exec_module(checks_of_money)
    for line in checks_of_money.checks(draws=200):
        assert line.low <= line.share <= line.high, str(line)


# ---- a whole study ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["default", "open"])
def test_a_study_runs_is_released_verified_and_reported(tmp_path: Path, profile: str) -> None:
    options = money_study.OPTIONS + "horizon = 16\nextrapolate = true\nfade = 0.1\n"
    made = Study.open(money_study.make(tmp_path / "worth", 3_000, options=options, profile=profile))
    made.run()
    bundle = made.release("draft")
    checked = verify(bundle.path)
    assert checked.ok, str(checked)
    assert bundle.withheld == {}
    ledger, ratios = bundle.ledger, bundle.ratios
    assert ledger is not None
    assert ratios is not None
    assert set(ledger["payer"]) == {"taxpayers", "participants", "others"}
    again = answer(bundle, "money")
    published = bundle.effects
    assert published is not None
    worth = published[published["result"] == "net_benefit"]
    replayed = again[again["result"] == "net_benefit"]
    assert worth["estimate"].tolist() == pytest.approx(replayed["estimate"].tolist(), rel=1e-3, abs=1)
    lines = worth.set_index("estimand")["estimate"]
    nets = [lines[f"{who}: net benefit"] for who in ("participants", "taxpayers", "others")]
    assert sum(nets) == pytest.approx(lines["society: net benefit"], abs=15)  # four digits of each are printed
    cost = ledger["cents_per_person"].sum() / 100
    stipends = ledger.loc[ledger["component"] == "stipend", "cents_per_person"].sum() / 100
    assert -lines["society: cost of training"] == pytest.approx(cost - stipends, rel=1e-3)
    shown = open_release([bundle.path]).main
    assert "over 16 quarters from its start" in say_worth(shown)
    assert "lie beyond the follow-up" in say_limits(shown)
    assert draw_over_time(shown).svg().count("<svg") == 1
    if profile == "default":
        _costs_of_a_recipe_are_those_of_the_ledger(bundle.path)


def _costs_of_a_recipe_are_those_of_the_ledger(folder: Path) -> None:
    """Someone lowers what the recipe says the government paid, and makes the manifest fit."""
    recipes = folder / "recipes.json"
    text = recipes.read_text(encoding="utf-8")
    altered = re.sub(r'("government": )[\d.]+', r"\g<1>7.0", text)
    assert altered != text
    recipes.write_text(altered, encoding="utf-8")
    rehash(folder)
    assert "effects net_benefit: outlays are" in str(verify(folder))
