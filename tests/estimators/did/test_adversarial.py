"""Odd panels × every estimator: what each makes of them, as one table.

A row of `CASES` is a panel; its outcomes say what all estimators do with it, and then who does otherwise:

* ``SAME``: exactly what it makes of the panel as it comes;
* ``ANSWER``: finite estimates, each with a standard error unless it is the reference period;
* ``ZERO``: estimates of zero without a standard error;
* ``left_out(words)``: an answer whose notes say what was left out;
* ``refused(words)``: an `InputError` or `DesignError` that says these words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from did_cases import MOMENTS, staggered
from retrain_eval.common.errors import DesignError, InputError

SAME, ANSWER, ZERO = "same", "answer", "zero"


def left_out(words: str) -> str:
    return f"left out: {words}"


def refused(words: str) -> str:
    return f"refused: {words}"


# ---- the panels ------------------------------------------------------------------------------------------------------

PANEL = staggered(np.random.default_rng(20))  # 80 units × 6 periods; cohorts 3, 4, 6 and never; two bands


def edited(column: str, value: object, row: int = 9) -> pd.DataFrame:
    """Row 9 is unit 1 in period 4."""
    return PANEL.assign(**{column: PANEL[column].where(PANEL.index != row, value)})


def many_cohorts() -> pd.DataFrame:
    """200 cohorts of three and a hundred never treated, over 203 periods."""
    rng, periods = np.random.default_rng(21), np.arange(1, 204)
    cohort = np.r_[np.repeat(np.arange(3, 203), 3), np.zeros(100, dtype=int)]
    n = len(cohort)
    frame = pd.DataFrame({"id": np.repeat(np.arange(n), 203), "t": np.tile(periods, n), "g": np.repeat(cohort, 203)})
    frame["band"], frame["x"] = np.where(frame["id"] % 2 == 0, "a", "b"), np.repeat(rng.normal(0, 1, n), 203)
    return frame.assign(y=rng.normal(0, 1, len(frame)) + (frame["g"] > 0) * (frame["t"] >= frame["g"]))


# ---- the estimators --------------------------------------------------------------------------------------------------


@cache
def moments(case: str) -> rte.OutcomeMoments:
    return rte.outcome_moments(CASES[case][0](), **MOMENTS, covariates="band")


def people(case: str, **options: Any) -> rte.EffectTable:
    return rte.att_gt(CASES[case][0](), **MOMENTS, **options).aggregate()


def wages(case: str) -> rte.EffectTable:
    """Growth since exit, which for trainees is the cohort and for the others period 3."""
    data = CASES[case][0]()
    data = data.assign(out=data["g"].where(data["g"] > 0, 3), trained=(data["g"] > 0).astype(int))
    return rte.wage_trajectory(
        data, outcome="y", unit="id", time="t", exit="out", treated="trained", degree=1, model="fixed"
    )


BAND = ("band",)
ESTIMATORS: dict[str, Callable[[str], Any]] = {
    "reg": lambda case: moments(case).att_gt(method="reg", covariates=BAND).aggregate(),
    "ipw": lambda case: moments(case).att_gt(method="ipw", covariates=BAND).aggregate(),
    "dr": lambda case: moments(case).att_gt(method="dr", covariates=BAND).aggregate(),
    "not yet": lambda case: moments(case).att_gt("not_yet_treated").aggregate(),
    "by band": lambda case: moments(case).att_gt().by("band").aggregate(),
    "people": lambda case: people(case, covariates="x"),
    "people with gaps": lambda case: people(case, unbalanced="allow"),
    "twfe": lambda case: moments(case).twfe(),
    "twfe event": lambda case: moments(case).twfe((-20, 20) if case == "time gaps" else (-2, 2)),
    "sun_abraham": lambda case: moments(case).sun_abraham(),
    "imputation": lambda case: moments(case).imputation(),
    "etwfe": lambda case: moments(case).etwfe(covariates=() if case == "two hundred cohorts" else BAND),
    "bacon": lambda case: moments(case).bacon(),
    "wages": wages,
}
BY_BAND = ("reg", "ipw", "dr")
SATURATED = ("sun_abraham", "imputation", "etwfe")
TWO_WAY = ("twfe", "twfe event", "bacon")

# ---- what they make of them: the outcome for all, then who does otherwise --------------------------------------------

Case = tuple[Callable[[], pd.DataFrame], str, dict[str | tuple[str, ...], str]]
CASES: dict[str, Case] = {
    "as it comes": (lambda: PANEL, ANSWER, {}),
    # -- keys
    "unicode ids": (lambda: PANEL.assign(id="Ж人" + PANEL["id"].astype(str).str.zfill(3) + "é"), SAME, {}),
    "a row twice": (
        lambda: pd.concat([PANEL, PANEL.iloc[[9]]]),
        refused("1 unit.* more than one row for a period"),
        {"wages": refused("1 row.* have the unit and period of another")},
    ),
    "two values for one person and period": (
        lambda: pd.concat([PANEL, PANEL.iloc[[9]].assign(y=99.0)]),
        refused("1 unit.* more than one row for a period"),
        {"wages": refused("1 row.* have the unit and period of another")},
    ),
    "a cohort that changes within a person": (
        lambda: edited("g", 4),  # person 1 is of cohort 3
        refused("1 unit.* change where they must not"),
        {"wages": refused("changes within 1 unit")},
    ),
    # -- values
    "NaN": (
        lambda: edited("y", np.nan),
        refused("1 unit.* not observed in all 6 periods"),
        {("people with gaps", "wages"): ANSWER},
    ),
    "inf": (lambda: edited("y", np.inf), refused("outcome must be finite"), {"wages": refused("no finite value")}),
    "an outcome of zero": (lambda: PANEL.assign(y=0.0), ZERO, {}),
    "an outcome constant in a cell": (lambda: PANEL.assign(y=PANEL["y"].where(PANEL["g"] != 3, 5.0)), ANSWER, {}),
    # -- periods
    "a missing wave": (
        lambda: PANEL.drop(index=9),
        refused("1 unit.* not observed in all 6 periods"),
        {("people with gaps", "wages"): ANSWER},
    ),
    "a wave that nobody has": (lambda: PANEL[PANEL["t"] != 4], ANSWER, {}),
    # growth is per unit of time, so a tenth
    "time gaps": (lambda: PANEL.assign(t=10 * PANEL["t"], g=10 * PANEL["g"]), SAME, {"wages": ANSWER}),
    # -- who is treated
    "a cohort without a pre-period": (
        lambda: PANEL.assign(g=PANEL["g"].where(PANEL["g"] != 3, 1)),
        left_out("cohort 1.* has no period before treatment"),
        {(*TWO_WAY, *SATURATED): left_out("cohort 1 is treated from the first period on"), "wages": ANSWER},
    ),
    "everyone treated": (
        lambda: PANEL[PANEL["g"] > 0],
        refused("no never-treated controls"),
        {
            "not yet": left_out("cohort 4, period 6: no untreated unit is left"),
            TWO_WAY: ANSWER,
            "sun_abraham": left_out("no unit is never treated: cohort 6 is the control"),
            ("imputation", "etwfe"): left_out("period 6: 0 unit.* left untreated"),
            "wages": refused("everyone .* is treated"),
        },
    ),
    "everyone treated at once": (
        lambda: PANEL[PANEL["g"] == 4],
        refused("no never-treated controls"),
        {
            "not yet": refused("no untreated unit is left"),
            TWO_WAY: refused("collinear with the other effects"),
            SATURATED: refused("no effect can be estimated"),
            "wages": refused("everyone .* is treated"),
        },
    ),
    "nobody treated": (
        lambda: PANEL.assign(g=0),
        refused("no unit is"),
        {"wages": refused("everyone .* is untreated")},
    ),
    "one unit": (
        lambda: PANEL[PANEL["id"] == 0],
        refused("no never-treated controls"),
        {
            ("not yet", "imputation", "etwfe"): refused("cohort 3 has 1 unit"),
            ("twfe", "twfe event"): refused("1 unit is treated"),
            "bacon": refused("collinear"),
            "sun_abraham": refused("1 untreated units"),
            "wages": refused("everyone .* is treated"),
        },
    ),
    "one treated unit": (
        lambda: PANEL[(PANEL["g"] == 0) | (PANEL["id"] == 0)],
        refused("cohort 3 has 1 unit, which gives no standard error"),
        {
            ("twfe", "twfe event"): refused("1 unit is treated, which gives no standard error"),
            "bacon": ANSWER,  # a decomposition has no standard errors
            "wages": refused("one unit .* is treated"),
        },
    ),
    "a cohort with one member": (
        lambda: PANEL[(PANEL["g"] != 6) | (PANEL["id"] == 4)],
        left_out("cohort 6.* has 1 unit, which gives no standard error"),
        {(*TWO_WAY, "wages"): ANSWER},  # which pool cohorts
    ),
    "two hundred cohorts": (
        many_cohorts,
        ANSWER,
        {("people", "people with gaps"): refused("40600 group-time effects; the products .* do not fit into memory")},
    ),
    # -- strata and covariates
    "a level that nobody has": (
        lambda: PANEL.assign(band=pd.Categorical(PANEL["band"], ["a", "b", "c"])),
        SAME,
        {},
    ),
    "a level without controls": (
        lambda: PANEL[(PANEL["band"] == "a") | (PANEL["g"] > 0)],
        ANSWER,
        {
            "reg": refused("no control is like the treated in band = b"),
            ("ipw", "dr"): refused("separated by band = b"),
            "by band": left_out("no never-treated controls in band = b"),
            "etwfe": refused("collinear with the other effects: band = a × period"),
        },
    ),
    "a level without treated": (
        lambda: PANEL[(PANEL["band"] == "a") | (PANEL["g"] == 0)],
        ANSWER,
        {"by band": left_out("no unit is treated in band = b")},
    ),
    "a propensity perfectly separated": (
        lambda: PANEL.assign(
            band=np.where(PANEL["g"] > 0, "b", "a"), x=np.where(PANEL["g"] > 0, 1.0, -1.0) + PANEL["x"] / 100
        ),
        SAME,
        {
            "reg": refused("no control is like the treated in band = b"),
            ("ipw", "dr"): refused("separated by band = b"),
            "by band": refused("no never-treated controls in band = b"),
            "people": refused("separated by x"),
            "etwfe": refused("collinear with the other effects: band = a × period"),
        },
    ),
}


def outcome(case: str, estimator: str) -> str:
    found = CASES[case][1]
    for who, otherwise in CASES[case][2].items():
        if estimator == who or (isinstance(who, tuple) and estimator in who):
            found = otherwise
    return found


# ---- the test --------------------------------------------------------------------------------------------------------


def matrix() -> Iterator[Any]:
    for case in CASES:
        for estimator in ESTIMATORS:
            slow = case == "two hundred cohorts"
            yield pytest.param(case, estimator, id=f"{case}: {estimator}", marks=[pytest.mark.slow] if slow else [])


def notes(found: Any) -> str:
    return " ".join(found.meta["notes"]) if isinstance(found, rte.EffectTable) else ""


def check_answer(frame: pd.DataFrame) -> None:
    assert np.isfinite(frame["estimate"]).all()
    if "std_error" in frame:  # not in a decomposition
        has_error = frame["estimate"] != 0
        assert has_error.any()
        assert (frame.loc[has_error, "std_error"] > 1e-6).all()
        assert np.isfinite(frame.loc[has_error, "std_error"]).all()
    else:
        assert frame["weight"].sum() == pytest.approx(1)


@pytest.mark.parametrize(("case", "estimator"), list(matrix()))
def test_every_estimator_on_every_odd_panel(case: str, estimator: str) -> None:
    expected, estimate = outcome(case, estimator), ESTIMATORS[estimator]
    kind, _, words = expected.partition(": ")
    if kind == "refused":
        with pytest.raises((InputError, DesignError), match=f"(?s){words}"):
            estimate(case)
        return
    found = estimate(case)
    frame = found if isinstance(found, pd.DataFrame) else found.frame
    if kind == ZERO:
        assert (frame["estimate"].abs() < 1e-12).all()
        assert "std_error" not in frame or frame["std_error"].isna().all()
        return
    check_answer(frame)
    if kind == SAME:
        plain = estimate("as it comes")
        plain = plain if isinstance(plain, pd.DataFrame) else plain.frame
        for column in [name for name in ("estimate", "std_error", "weight") if name in frame]:
            np.testing.assert_allclose(frame[column], plain[column], rtol=1e-9, atol=1e-11)
    elif kind == "left out" and estimator != "bacon":  # whose table has no notes
        assert re.search(words, notes(found)), notes(found)


@pytest.mark.parametrize("cluster", [None, "pair"])
def test_where_all_paths_are_alike_the_effect_is_zero_and_has_no_p_value(cluster: str | None) -> None:
    """Everyone has a job in every period: weighted means of 1 differ by rounding, which is no effect of p < .001."""
    rng, n = np.random.default_rng(4), 300
    weight = rng.uniform(0.1, 3.0, n)
    rows = [
        pd.DataFrame({"id": np.arange(n), "pair": np.arange(n) // 2, "t": t, "g": np.where(np.arange(n) % 2, 2, 0),
                      "sex": np.where(np.arange(n) % 3, "f", "m"), "job": 1.0 / 3, "w": weight})
        for t in (1, 2, 3)
    ]  # fmt: skip
    moments = rte.outcome_moments(
        pd.concat(rows), unit="id", time="t", cohort="g", outcome="job", by="sex", weights="w", cluster=cluster
    )
    for found in (moments.att_gt().aggregate("simple"), moments.att_gt().by("sex").aggregate("simple").difference()):
        assert (found.frame["estimate"] == 0).all()
        assert found.frame[["std_error", "ci_low", "ci_high", "p_value"]].isna().all(axis=None)
