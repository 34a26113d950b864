"""Treatment and its lags: from moments the same coefficients as from rows, with clustered errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyfixest as pf
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.did.lags import treatment_lags
from retrain_eval.estimators.rows.regression import fixed_effects

LAGS, PERIODS = {"now": 0, "before": 1}, {"p2": 2, "p3": 3, "p4": 4}


def firms(n: int = 90) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = pd.DataFrame({"i": range(n), "g": rng.choice([0, 2, 3, 4], n)}).merge(
        pd.DataFrame({"t": range(1, 5)}), "cross"
    )
    rows["now"], rows["before"] = (((rows["t"] - rows["g"]) == lag) * (rows["g"] > 0) * 1 for lag in (0, 1))
    for name, period in PERIODS.items():
        rows[name] = (rows["t"] == period) * 1
    rows["y"] = rng.normal(50, 1, len(rows)) + 2 * rows["now"] + rows["before"] + 0.3 * rows["t"]
    return rows


def moments(rows: pd.DataFrame) -> rte.OutcomeMoments:
    return rte.outcome_moments(rows, unit="i", time="t", cohort="g", outcome="y")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The inplace keyword")
def test_coefficients_and_clustered_errors_equal_those_on_rows() -> None:
    rows = firms()
    found = treatment_lags(moments(rows), LAGS, PERIODS)
    names = [*PERIODS, *LAGS]
    again = fixed_effects(rows, "y", names, unit="i", time="t").frame.set_index("estimand").loc[names]
    np.testing.assert_allclose(found.frame["estimate"], again["estimate"], rtol=1e-10)
    assert found.frame["n_treated"].tolist() == again["n_treated"].tolist() == [90] * 5
    plain = pf.ssc(k_adj=False, G_adj=False)
    fit = pf.feols(f"y ~ {' + '.join(names)} | i", rows, vcov={"CRV1": "i"}, ssc=plain)
    np.testing.assert_allclose(found.frame["std_error"], fit.se()[names], rtol=1e-9)


def test_periods_are_all_but_the_first_and_no_cohort_starts_treated() -> None:
    rows = firms()
    with pytest.raises(InputError, match="one dummy"):
        treatment_lags(moments(rows), LAGS, {"p2": 2, "p3": 3})
    with pytest.raises(InputError, match="'p9'"):
        treatment_lags(moments(rows), LAGS, {"p9": 9})
    with pytest.raises(DesignError, match="from the first period on"):
        treatment_lags(moments(rows.assign(g=rows["g"].replace(2, 1))), LAGS, PERIODS)
