"""The study file: what it holds, and how it refuses."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import get_args

import duckdb
import pytest

from places import ROOT
from retrain_eval.common.errors import InputError
from retrain_eval.panel.panel import build_panel
from retrain_eval.panel.quality import build_quality
from retrain_eval.plan.questions import Component
from retrain_eval.plan.rules import retired_rules
from retrain_eval.plan.strata import Stratum
from retrain_eval.plan.study_file import read_study
from retrain_eval.study.template import TEMPLATE

GOOD = """
[study]
name = "x"
title = "T"
question = "Q?"
data = "D"

[records]
person = "data/person.csv"

[strata.age_band]
column = "age"
cuts = [25, 55]
labels = ["<25", "25–54", "55+"]

[match]
formula = "treat ~ age"
caliper = 0.2
"""
QUARTERLY = GOOD.replace('data = "D"', 'data = "D"\nfrequency = "quarter"') + "\n[panel]\n"


def write(folder: Path, text: str | bytes) -> Path:
    (folder / "study.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


@pytest.mark.parametrize("name", ["nsw", "training_grants", "joblessness", "agency"])
def test_the_shipped_studies_hold(name: str) -> None:
    assert read_study(ROOT / "analyses" / name).study.name == name


def test_the_hash_ignores_comments_order_and_spelt_out_defaults(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a = read_study(write(tmp_path / "a", GOOD))
    b = read_study(write(tmp_path / "b", "# said again\n[ingest]\ntolerate = 0.0\n" + GOOD + 'method = "nearest"\n'))
    c = read_study(write(tmp_path / "b", GOOD.replace("0.2", "0.1")))
    assert a.sha256() == b.sha256() != c.sha256()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("title", "titel"), ["unknown key in [study] 'titel'", "did you mean 'title'"]),
        (GOOD.replace("caliper", "calliper"), ["unknown key in [match] 'calliper'", "did you mean 'caliper'"]),
        (GOOD.replace("cuts", "cut"), ["unknown key in [strata.age_band] 'cut'", "did you mean 'cuts'"]),
        (GOOD + "[matching]\n", ["unknown section 'matching'", "did you mean 'match'"]),
        (GOOD.replace('question = "Q?"\n', ""), ["question of [study] is missing", "add question to [study]"]),
        (GOOD.replace("0.2", '"wide"'), ["caliper of [match] cannot be used", "value:  wide", "rule:   a number\n"]),
        (GOOD.replace('"x"', '"My study"'), ["name of [study] cannot be used", "My study", "small letters"]),
        (GOOD + "[release]\nmin_contributors = 1\n", ["min_contributors of [release]", "a whole number of at least 3"]),
        (GOOD.replace('"55+"]', "]"), ["2 cut(s) and 2 label(s)"]),
        (GOOD.replace("[25, 55]", "[55, 25]"), ["do not ascend"]),
        (GOOD.replace("[25, 55]", "[25, inf]"), ["no finite number"]),
        (GOOD.replace("[25, 55]", "[nan, 55]"), ["no finite number"]),
        (re.sub("labels = .*", 'labels = ["a", "b", "a"]', GOOD), ["repeats a label"]),
        (re.sub("labels = .*", 'labels = ["a", "", "b"]', GOOD), ["an empty label"]),
        (re.sub("labels = .*", 'labels = {"1" = "a"}', GOOD), ["both cuts and labels"]),
        (re.sub("cuts = .*\nlabels = .*", "labels = {}", GOOD), ["an empty label"]),
        (QUARTERLY + "window = [2019, 2020]\n", ["window in [panel] is not a quarter", "2019Q1", "value:  2019"]),
        (QUARTERLY + 'window = ["2019Q3", "2019Q2"]\n', ["ends before it starts", "['2019Q3', '2019Q2']"]),
        (QUARTERLY + 'window = ["2019Q1"]\n', ["window of [panel] cannot be used", "a list with 2 entries"]),
        (QUARTERLY + 'base_period = "2019Q5"\n', ["base_period in [panel] is not a quarter", "2019Q5"]),
        (GOOD + '[panel]\nbase_period = "2019Q1"\n', ["base_period in [panel] is not a year", "2019Q1"]),
        (GOOD + "[panel]\nbase_period = 8076\n", ["base_period in [panel] is not a year", "8076"]),
        (GOOD + "[panel]\nbase_period = true\n", ["base_period of [panel] cannot be used", "a whole number or a text"]),
        (
            GOOD + '[panel]\nno_record = "nil"\n',
            ["unknown no_record in [panel] 'nil'", "known: missing, zero"],
        ),
        (GOOD + "[panel]\nsuccessor_share = 0\n", ["successor_share of [panel]", "a number above 0", "it is then 0.8"]),
        (GOOD + "[panel]\nrecall_within = -1\n", ["recall_within of [panel]", "at least 0"]),
        (GOOD + "[panel]\nwindows = [1, 2]\n", ["unknown key in [panel] 'windows'", "did you mean 'window'"]),
        (
            GOOD + '[quality]\ndimensions = ["pay"]\n',
            ["unknown dimensions in [quality] 'pay'", "known: earnings"],
        ),
        (
            GOOD + "[quality]\ndimensions = []\n",
            ["dimensions of [quality] cannot be used", "a list with at least 1 entry"],
        ),
        (GOOD + "[quality]\ncutoff_k = 1.5\n", ["cutoff_k of [quality]", "a number of at most 1"]),
        (GOOD + "[quality]\nmin_tenure = 0\n", ["min_tenure of [quality]", "of at least 1"]),
        (GOOD + "[quality]\nmax_cv = 0\n", ["max_cv of [quality]", "a number above 0"]),
        (
            GOOD + '[quality]\nnon_employed = "poor"\n',
            ["unknown non_employed in [quality] 'poor'", "deprived, ex"],
        ),
        (GOOD + "[ingest]\ntolerate = 1\n", ["tolerate of [ingest]", "a number below 1"]),
        (GOOD + '[ingest]\nidentifiers = "md5"\n', ["unknown identifiers in [ingest] 'md5'", "known: plain, hmac"]),
        (GOOD.replace('"data/person.csv"', "[]"), ["no file is given for person"]),
        (GOOD.replace('"data/person.csv"', '["a.csv", 3]'), ["person of [records] cannot be used"]),
        (GOOD.replace("[25, 55]", '[25, "x"]'), ["cuts of [strata.age_band] cannot be used", "value:  x"]),
        (GOOD + "oops", ["not valid TOML"]),
        (GOOD.encode("utf-16"), ["not UTF-8"]),
    ],
    ids=[
        "misspelt key",
        "misspelt keyword",
        "misspelt stratum key",
        "misspelt section",
        "missing",
        "type",
        "name",
        "min_contributors",
        "labels",
        "cuts",
        "infinite cut",
        "NaN cut",
        "repeated label",
        "empty label",
        "cuts and categories",
        "no labels",
        "years in quarters",
        "window backwards",
        "half a window",
        "fifth quarter",
        "quarter in years",
        "number of a quarter in years",
        "true as a period",
        "no_record",
        "successor_share",
        "recall_within",
        "misspelt panel key",
        "dimension",
        "no dimensions",
        "cutoff_k",
        "min_tenure",
        "max_cv",
        "non_employed",
        "tolerate",
        "identifiers",
        "no deliveries",
        "delivery that is no name",
        "cut that is no number",
        "TOML",
        "UTF-8",
    ],
)
def test_what_does_not_hold_is_named(tmp_path: Path, text: str | bytes, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        read_study(write(tmp_path, text))
    for word in [*words, "study.toml"]:
        assert word in str(caught.value)


def test_no_study_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no study file"):
        read_study(tmp_path)


def levels(stratum: Stratum, values: str) -> list[str | None]:
    sql = f"SELECT {stratum.sql()} FROM (SELECT unnest({values}) AS x)"
    return [row[0] for row in duckdb.sql(sql).fetchall()]


def test_cuts_are_closed_below() -> None:
    stratum = Stratum(column="x", cuts=(25, 55), labels=("<25", "25–54", "55+"))
    assert levels(stratum, "[24, 25, 54, 55, NULL]") == ["<25", "25–54", "25–54", "55+", None]


def test_labels_by_category_leave_the_unlabelled_without_a_level() -> None:
    stratum = Stratum(column="x", labels={"true": "no degree", "false": "it's a degree"})
    assert levels(stratum, "[true, false, NULL]") == ["no degree", "it's a degree", None]


def test_the_seed_reaches_everything_random(tmp_path: Path) -> None:
    """The report prints it as the seed of all draws."""
    text = (TEMPLATE / "study.toml").read_text().replace("seed = 20260101", "seed = 7")
    plan = read_study(write(tmp_path, text))
    assert (plan.match_options()["seed"], plan.did_options()["seed"]) == (7, 7)
    assert "outcome" not in plan.did_options()
    assert (plan.did_options()["method"], plan.did_options()["covariates"]) == ("dr", ())


def test_the_periods_matched_on_are_read_from_the_formula(tmp_path: Path) -> None:
    formula = "treat ~ age + earnings_2019 + log1p(earnings_2018) + past_earnings_2017 + earnings_2019:age"
    study = read_study(write(tmp_path, GOOD.replace("treat ~ age", formula)))
    assert study.match_periods() == (2018, 2019)


def test_panel_and_quality_options_are_those_of_their_builders(tmp_path: Path) -> None:
    """Periods may be labels; what the file does not say is the builders' own default."""
    text = QUARTERLY + 'window = ["2018Q1", 8081]\nbase_period = "2019-Q2"\nrecall_within = 2\n'
    text += '[quality]\ndimensions = ["tenure"]\nmin_tenure = 6\n'
    plan = read_study(write(tmp_path, text))
    assert plan.panel_options() == {
        "no_record": None, "window": (8072, 8081), "base_period": 8077, "successor_share": 0.8,
    }  # fmt: skip
    assert plan.panel.recall_within == 2
    assert plan.quality_options() == {
        "dimensions": ("tenure",), "min_tenure": 6, "max_cv": 0.5, "cutoff_k": 0.5, "non_employed": "deprived",
    }  # fmt: skip
    bare = read_study(write(tmp_path, GOOD))
    for options, builder in ((bare.panel_options(), build_panel), (bare.quality_options(), build_quality)):
        keywords = inspect.signature(builder).parameters
        for name, value in options.items():
            assert value == keywords[name].default


def test_records_may_be_one_file_a_list_or_a_pattern(tmp_path: Path) -> None:
    records = 'person = "p.csv"\nwage_record = ["w_1.csv", "w_2*.csv"]'
    plan = read_study(write(tmp_path, GOOD.replace('person = "data/person.csv"', records)))
    assert plan.records == {"person": "p.csv", "wage_record": ("w_1.csv", "w_2*.csv")}


def test_strata_without_labels_are_named_after_their_cuts(tmp_path: Path) -> None:
    stratum = read_study(write(tmp_path, re.sub("labels = .*", "", GOOD))).strata["age_band"]
    assert stratum == read_study(write(tmp_path, re.sub("labels = .*", "labels = []", GOOD))).strata["age_band"]
    assert stratum.levels() == ("under 25", "25 to under 55", "55 and over")
    values = "[24.999, 25.0, 54.999, 55.0, NULL]"
    assert levels(Stratum(column="x", cuts=stratum.cuts), values) == [
        "under 25", "25 to under 55", "25 to under 55", "55 and over", None,
    ]  # fmt: skip


def test_strata_with_neither_cuts_nor_labels_are_the_values_themselves(tmp_path: Path) -> None:
    stratum = read_study(write(tmp_path, re.sub("cuts = .*\nlabels = .*", "", GOOD))).strata["age_band"]
    assert stratum.levels() == ()
    assert levels(Stratum(column="x"), "['b', 'a', NULL]") == ["b", "a", None]


def test_everything_that_does_not_hold_is_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("title", "titel").replace("caliper", "calliper") + '[panel]\nno_record = "nil"\n'
    with pytest.raises(InputError) as caught:
        read_study(write(tmp_path, text))
    assert str(caught.value).startswith("3 entries of the study file do not hold")
    for told in ("'titel'", "'calliper'", "'nil'"):
        assert told in str(caught.value)
    text = QUARTERLY.replace("[25, 55]", "[55, 25]") + "window = [2019, 2020]\n"
    with pytest.raises(InputError) as caught:
        read_study(write(tmp_path, text))
    assert "do not ascend" in str(caught.value)
    assert "window in [panel] is not a quarter" in str(caught.value)


@pytest.mark.parametrize(
    ("frequency", "formula", "stored"),
    [
        ("year", "earnings_2018 + log1p(earnings_2019)", "earnings_2018 + log1p(earnings_2019)"),
        ("quarter", "earnings_2019Q1 + earnings_8077", "earnings_8076 + earnings_8077"),
        ("month", "earnings_2019M03 + earnings_201904", "earnings_24230 + earnings_24231"),
        ("week", "earnings_12:age + earnings_3", "earnings_12:age + earnings_3"),
    ],
)
def test_covariates_name_periods_as_files_do(tmp_path: Path, frequency: str, formula: str, stored: str) -> None:
    text = GOOD.replace('data = "D"', f'data = "D"\nfrequency = "{frequency}"').replace("~ age", f"~ age + {formula}")
    plan = read_study(write(tmp_path, text))
    assert plan.match_options()["formula"] == f"treat ~ age + {stored}"
    assert len(plan.match_periods()) == 2


def test_a_covariate_of_another_frequency_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace('data = "D"', 'data = "D"\nfrequency = "month"').replace("~ age", "~ age + earnings_2019Q1")
    with pytest.raises(InputError, match="not earnings in a month"):
        read_study(write(tmp_path, text))


def test_rules_that_no_longer_do_anything_are_named_and_do_not_fail(tmp_path: Path) -> None:
    """Study files and profiles of earlier versions have them."""
    (tmp_path / "rules.toml").write_text(
        "max_leverage = 0.3\nmin_cell = 12\ncount_variance = 2.0\nnoise_smallest = 0.05\nnoise_largest = 0.15\n"
    )
    text = GOOD + '[release]\nprofile = "rules.toml"\nmax_leverage = 0.5\n'
    study = read_study(write(tmp_path, text))
    assert study.release.min_contributors == 12
    assert study.sha256() == read_study(write(tmp_path, text.replace("max_leverage = 0.5\n", ""))).sha256()
    write(tmp_path, text)
    lines = retired_rules(tmp_path / "study.toml")
    assert [line.split(":")[0] for line in lines] == [str(tmp_path / name) for name in ("study.toml", "rules.toml")]
    assert all("max_leverage no longer does anything" in line and "remove it" in line for line in lines)
    assert retired_rules(write(tmp_path, GOOD) / "study.toml") == []


ASKING = (
    GOOD
    + """
[did]
outcome = "earnings"

[plan]
outcomes = ["employed"]

[designs.calendar]
start = 2020

[outcomes.earnings]
kind = "amount"

[questions.effect_over_time]
outcomes = ["employed"]

[questions.for_whom]
strata = ["age_band"]

[questions.money]
tax_rate = 0.2
discount_rate = 0.03
"""
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('outcome = "earnings"', 'outcome = "earnigs"'), ["[did] outcome 'earnigs'", "did you mean 'earnings'"]),
        (('"employed"]\n\n[designs', '"emploied"]\n\n[designs'), ["[plan] outcomes 'emploied'", "'employed'"]),
        (('"employed"]\n\n[questions', '"emploied"]\n\n[questions'), ["[questions.effect_over_time] outcomes"]),
        (('["age_band"]', '["agge_band"]'), ["stratum of [questions.for_whom] 'agge_band'", "'age_band'"]),
        (("0.2\ndis", '0.2\noutcome = "employed"\ndis'), ["no amount of money: employed", 'outcome = "earnings"']),
        (('"amount"', '"log"'), ["no amount of money: earnings"]),
        (("0.2\ndis", '0.2\nstipends = ["stipends"]\ndis'), ["unknown stipends in [questions.money] 'stipends'"]),
        (("tax_rate = 0.2", "tax_rate = 20"), ["tax_rate of [questions.money]", "value:  20", "number of at most 1"]),
        (("tax_rate = 0.2\n", ""), ["tax_rate of [questions.money] is missing", "fix:    add tax_rate"]),
        (("0.2\ndis", '0.2\nothers = ["state"]\ndis'), ["pays on two accounts", "value:  state"]),
        (("0.2\ndis", '0.2\ndesign = "waitng"\ndis'), ["unknown design of [questions.money] 'waitng'"]),
        (
            ("[questions.money]", "[questions.wage_path]\nlowest = 9.0\nhighest = 1.0\n[questions.money]"),
            ["of [questions.wage_path] give 0 bands", "fix:    use 10 to 390"],
        ),
        (("start = 2020", "start = 2020\nbefore = 0"), ["before of [designs.calendar] cannot be used", "value:  0"]),
    ],
)
def test_questions_that_cannot_be_asked_so_are_named_with_file_and_fix(
    tmp_path: Path, change: tuple[str, str], words: list[str]
) -> None:
    read_study(write(tmp_path, ASKING))
    assert change[0] in ASKING
    with pytest.raises(InputError) as caught:
        read_study(write(tmp_path, ASKING.replace(*change)))
    for word in [*words, f"file:   {tmp_path / 'study.toml'}"]:
        assert word in str(caught.value)


def test_components_of_cost_are_those_of_the_schema() -> None:
    fields = json.loads((ROOT / "data_schemas" / "cost.json").read_text(encoding="utf-8"))["fields"]
    [component] = [field for field in fields if field["name"] == "component"]
    assert list(get_args(Component)) == component["constraints"]["enum"]
