"""What is an event is never guessed: 0/1, true/false and NULL speak for themselves, other codes are said or refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from further_cases import refusal_of, refused, right_or_refused
from retrain_eval.common.errors import RetrainEvalError

ENDED = [True, False, True, True, False, False, True, False, True, False, True, False]
TIMES = [1, 2, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9]


def kaplan_meier(ended: Sequence[bool] = tuple(ENDED), times: Sequence[float] = tuple(TIMES)) -> float:
    """Return the product-limit estimate at the last duration, by hand."""
    survival, t, d = 1.0, np.array(times), np.array(ended)
    for at in sorted(set(t[d])):
        survival *= 1 - (t[d] == at).sum() / (t >= at).sum()
    return float(survival)


def spells(codes: Sequence[object], dtype: str | None = None, **options: object) -> rte.Spells:
    frame = pd.DataFrame({"id": range(len(TIMES)), "q": TIMES, "arm": "a", "e": pd.Series(list(codes), dtype=dtype)})
    return rte.Spells(frame, id="id", duration="q", cause="e", by="arm", **options)


def last(s: rte.Spells) -> float:
    return float(s.kaplan_meier(times=(9,)).to_frame()["estimate"].iloc[-1])


def coded(event: object, censored: object) -> list[object]:
    return [event if one else censored for one in ENDED]


PLAIN = {
    "whole numbers": (coded(1, 0), None),
    "decimals": (coded(1.0, 0.0), None),
    "booleans": (coded(True, False), None),
    "nullable booleans": (coded(True, False), "boolean"),
    "nullable whole numbers": (coded(1, 0), "Int8"),
    "small unsigned numbers": (coded(1, 0), "uint8"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_codes_that_speak_for_themselves_need_no_keyword(name):
    codes, dtype = PLAIN[name]
    assert last(spells(codes, dtype)) == pytest.approx(kaplan_meier())


# event, censored
AMBIGUOUS = {
    "2 and 1 as decimals": (2.0, 1.0),
    "1 and 2 the other way round": (1, 2),
    "1 and −1": (1, -1),
    "3 and 0": (3, 0),
    "texts of numbers": ("1", "2"),
    "texts of decimals": ("1.00", "0.00"),
    "TRUE and FALSE as texts": ("TRUE", "FALSE"),
    "t and f": ("t", "f"),
    "Y and N": ("Y", "N"),
    "ja and nein": ("ja", "nein"),
    "sí and no": ("sí", "no"),
    "不 in Chinese": ("就业", "删失"),
    "right-censored": ("re-employed", "right-censored"),
    "CENSORED": ("job", "CENSORED"),
    "cens.": ("exit", "cens."),
    "still jobless": ("job", "still jobless"),
    "nan as a text": ("job", "nan"),
    "NULL as a text": ("job", "NULL"),
    "n/a": ("job", "n/a"),
    "a hyphen": ("job", "-"),
    "zero with blanks": ("1 ", " 0"),
}


def test_a_cause_or_nothing_is_read_rightly_or_refused():
    right_or_refused(lambda: last(spells(coded("job", None))), kaplan_meier(), "job")
    right_or_refused(lambda: last(spells(coded("job", np.nan))), kaplan_meier(), "job")


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_other_codes_are_read_rightly_or_refused_with_their_values(name):
    event, censored = AMBIGUOUS[name]
    right_or_refused(
        lambda: last(spells(coded(event, censored))), kaplan_meier(), str(censored).strip().lower().removesuffix(".0")
    )


def test_categories_and_mixed_objects_are_codes_as_well():
    right_or_refused(lambda: last(spells(coded("yes", "no"), "category")), kaplan_meier(), "no")
    mixed = [True if one else "False" for one in ENDED]
    right_or_refused(lambda: last(spells(mixed)), kaplan_meier(), "false")


def said(codes: Sequence[object], keyword: str, value: object) -> rte.Spells:
    """Name the event, or the censored code (assumed: one value or a list of them)."""
    try:
        return spells(codes, **{keyword: [value]})
    except (RetrainEvalError, TypeError):
        return spells(codes, **{keyword: value})


@pytest.mark.parametrize(("event", "censored"), [(2, 1), ("Y", "N"), ("就业", "删失"), (1, 9), ("1.0", "0.0")])
def test_codes_are_read_as_they_are_said_to_be(event, censored):
    codes = coded(event, censored)
    assert last(said(codes, "event", event)) == pytest.approx(kaplan_meier())
    assert last(said(codes, "censored", censored)) == pytest.approx(kaplan_meier())


def test_a_zero_can_be_the_event_where_that_is_said():
    assert last(said(coded(0, 1), "event", 0)) == pytest.approx(kaplan_meier())


def test_a_code_that_does_not_occur_is_refused_and_those_that_do_are_listed():
    for keyword, value in (("event", 3), ("censored", "no")):
        text = refused(lambda k=keyword, v=value: said(coded(2, 1), k, v), str(value))
        assert "1" in text
        assert "2" in text


def test_a_log_rank_test_and_a_life_table_guess_no_more_than_a_curve():
    frame = pd.DataFrame({"id": range(12), "q": TIMES, "arm": list("ab") * 6})
    right = rte.Spells(frame.assign(e=ENDED), id="id", duration="q", cause="e", by="arm").logrank().chi2
    for event, censored in ((2, 1), ("True", "False"), ("O", "X")):
        wrong = frame.assign(e=coded(event, censored))
        right_or_refused(
            lambda w=wrong: rte.Spells(w, id="id", duration="q", cause="e", by="arm").logrank().chi2, right
        )
        right_or_refused(
            lambda w=wrong: (
                rte.Spells(w, id="id", duration="q", cause="e", by="arm").cox("arm").to_frame()["estimate"].item()
            ),
            rte.Spells(frame.assign(e=ENDED), id="id", duration="q", cause="e", by="arm")
            .cox("arm")
            .to_frame()["estimate"]
            .item(),
        )


def test_codes_in_a_file_are_treated_like_codes_in_a_frame(tmp_path):
    frame = pd.DataFrame({"id": range(12), "q": TIMES, "arm": "a"})
    for number, (event, censored) in enumerate(((2, 1), ("no job", "job"), ("dead", "alive"))):
        path = tmp_path / f"{number}.csv"
        frame.assign(e=coded(event, censored)).to_csv(path, index=False)
        right_or_refused(
            lambda p=path: last(rte.Spells(p, id="id", duration="q", cause="e", by="arm")),
            kaplan_meier(),
            str(censored),
        )


@pytest.mark.parametrize("codes", [[1] * 12, [True] * 12, ["job"] * 12])
def test_a_result_without_any_censored_spell_says_so(codes):
    text = refusal_of(lambda: spells(codes).kaplan_meier())
    if text is not None:
        assert "censored" in text
        return
    table = spells(codes).kaplan_meier()
    # assumed: the facts of the result mention that none is censored
    assert any("censored" in f"{key} {value}".lower() for key, value in table.meta.items())
