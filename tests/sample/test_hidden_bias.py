"""What bounds on hidden bias are computed from, against the same on rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.formula.api as smf

from matching_samples import LALONDE, NSW_CPS, lalonde, nsw_cps
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.sample.hidden_bias.cross_products import regressions
from retrain_eval.sample.hidden_bias.hidden_bias import hidden_bias, pair_differences
from retrain_eval.sample.hidden_bias.pooled_sd import deviation, spread
from retrain_eval.sample.match import match


def test_regressions_equal_those_on_rows() -> None:
    data, formula = lalonde(), "treat ~ age + I(age**2) + educ + race + married:nodegree + log1p(re74)"
    found = regressions(data, match(data, formula, "id"), "re78")
    right = "age + I(age**2) + educ + race + married:nodegree + np.log1p(re74)"
    short, long = smf.ols("re78 ~ treat", data).fit(), smf.ols(f"re78 ~ treat + {right}", data).fit()
    assert found.beta_uncontrolled == pytest.approx(short.params["treat"], rel=1e-9)
    assert found.r2_uncontrolled == pytest.approx(short.rsquared, rel=1e-9)
    assert found.beta_controlled == pytest.approx(long.params["treat"], rel=1e-9)
    assert found.r2_controlled == pytest.approx(long.rsquared, rel=1e-9)
    assert found.var_outcome == pytest.approx(data["re78"].var(ddof=0), rel=1e-9)
    assert found.var_treatment == pytest.approx(data["treat"].var(ddof=0), rel=1e-9)
    assert found.var_residual == pytest.approx(smf.ols(f"treat ~ {right}", data).fit().resid.var(ddof=0), rel=1e-9)
    assert found.n == 614


def test_rows_that_share_their_covariates_are_summed_first() -> None:
    data, formula = nsw_cps(), "treat ~ black + hisp + marr + nodegree"
    found = regressions(data, match(data, formula, "id"), "re78")
    long = smf.ols("re78 ~ treat + black + hisp + marr + nodegree", data).fit()
    assert found.beta_controlled == pytest.approx(long.params["treat"], rel=1e-9)
    assert found.r2_controlled == pytest.approx(long.rsquared, rel=1e-9)


def test_a_repeated_or_aliased_covariate_changes_nothing() -> None:
    data = lalonde().assign(twice=lambda d: d["age"] * 2)
    sample = match(data, "treat ~ age + race", "id")
    alias = match(data, "treat ~ age + twice + race", "id")
    assert regressions(data, alias, "re78").beta_controlled == pytest.approx(
        regressions(data, sample, "re78").beta_controlled, rel=1e-9
    )


@pytest.mark.parametrize("options", [{}, {"replace": True, "ratio": 3}])
def test_deviation_equals_rows(options: dict[str, Any]) -> None:
    data = lalonde()
    sample = match(data, LALONDE, "id", **options)
    rows = data.merge(sample.weights.df()[["id", "weight"]], on="id")
    pooled = 0.0
    for _, arm in rows.groupby("treat"):
        w, y = arm["weight"], arm["re78"]
        variance = (w * (y - np.average(y, weights=w)) ** 2).sum() / (w.sum() - (w**2).sum() / w.sum())
        pooled += (len(arm) - 1) * variance
    assert deviation(spread(data, sample, "re78")) == pytest.approx(np.sqrt(pooled / (len(rows) - 2)))


def test_whole_report_on_trainees_and_the_survey() -> None:
    data = nsw_cps()
    found = hidden_bias(data, match(data, NSW_CPS, "id"), "re78", estimate=1706.8137, std_error=678.243)
    assert found.notes == ()
    assert found.rosenbaum is not None
    assert 1 < found.rosenbaum.critical < 2
    table = found.tables()["rosenbaum"]
    assert table["gamma"].is_monotonic_increasing
    assert table.loc[table["gamma"] == found.rosenbaum.critical, "p_value"].tolist() == [0.05]
    assert found.tables()["oster"]["r2_max"].tolist()[1:] == [1.0]
    assert found.regressions is not None
    assert found.regressions.beta_uncontrolled == pytest.approx(-8497.5, abs=0.05)
    assert found.regressions.beta_controlled == pytest.approx(699.13, abs=0.05)  # the linear specification, as DW print
    assert found.e_value.e_value > found.e_value.e_value_limit > 1


def test_shared_controls_and_sets_have_no_pairs() -> None:
    data = lalonde()
    for options in ({"replace": True}, {"ratio": 2}):
        sample = match(data, LALONDE, "id", **options)
        with pytest.raises(DesignError, match="they are for pairs"):
            pair_differences(data, sample, "re78")
        found = hidden_bias(data, sample, "re78", estimate=1000.0, std_error=700.0)
        assert found.rosenbaum is None
        assert found.notes[0].startswith("no Rosenbaum bounds: they are for pairs")
        assert found.oster is not None


def test_weighting_makes_no_pairs() -> None:
    sample = match(lalonde(), LALONDE, "id", method="ipw")
    found = hidden_bias(lalonde(), sample, "re78", estimate=1214.0, std_error=798.0)
    assert found.notes == ("no Rosenbaum bounds: they are for pairs, and weighting makes none",)
    assert found.sd > 0


def test_a_missing_outcome_is_named() -> None:
    data = lalonde()
    sample = match(data, LALONDE, "id")
    gone = sample.pairs.df()["control_id"].iloc[3]
    with pytest.raises(InputError, match="1 pair"):
        pair_differences(data.assign(re78=data["re78"].where(data["id"] != gone)), sample, "re78")
    with pytest.raises(InputError, match="re79"):
        hidden_bias(data, sample, "re79", estimate=1.0, std_error=1.0)


def test_an_outcome_that_does_not_vary_is_refused() -> None:
    data = lalonde().assign(flat=1.0)
    with pytest.raises(DesignError, match="does not vary"):
        regressions(data, match(data, LALONDE, "id"), "flat")


def test_the_order_of_rows_changes_nothing() -> None:
    data = lalonde()
    sample = match(data, LALONDE, "id")
    shuffled = data.sample(frac=1, random_state=1)
    np.testing.assert_array_equal(pair_differences(data, sample, "re78"), pair_differences(shuffled, sample, "re78"))
    a, b = (regressions(rows, sample, "re78") for rows in (data, shuffled))
    assert a.beta_controlled == pytest.approx(b.beta_controlled, rel=1e-12)
