"""Discrete-time hazards: R's figures, person-period rows, the life table itself, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.genmod.families import Binomial, links
from statsmodels.genmod.generalized_linear_model import GLM

from cox_cases import ROSSI, ROSSI_REFERENCE, oracle, people, people_table, rossi_table
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.survival.regression.hazard import discrete_hazard
from retrain_eval.estimators.survival.risk import risk_sets
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable
from survival_cases import NAMES, PROBABILITY, one, sandwich

LINKS = {"cloglog": links.CLogLog, "logit": links.Logit}


@pytest.mark.oracle
def test_person_period_rows_of_r_are_matched() -> None:
    """R's glm, rossi.q.cloglog.coef and rossi.q.cloglog.se, to 1e-7."""
    frame = discrete_hazard(rossi_table("q"), " + ".join(ROSSI), reference=ROSSI_REFERENCE).frame.iloc[:7]
    np.testing.assert_allclose(frame["estimate"], oracle()["rossi.q.cloglog.coef"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(frame["std_error"], oracle()["rossi.q.cloglog.se"], rtol=0, atol=1e-7)


@given(
    seed=st.integers(0, 10_000),
    link=st.sampled_from(["cloglog", "logit"]),
    options=st.sampled_from([{}, {"cluster": "provider"}, PROBABILITY, {**PROBABILITY, "cluster": "provider"}]),
    cause=st.sampled_from([None, "job"]),
)
@settings(max_examples=15, deadline=None)
def test_cells_equal_person_period_rows(seed: int, link: str, options: dict, cause: str | None) -> None:
    """A GLM of one row per person and period, with a sandwich over people or providers written out."""
    data = people(n=150, seed=seed, periods=4)
    with sandwich():
        fit = discrete_hazard(people_table(data, **options), "arm + score", link, bins=(1, 2, 3), cause=cause)
    spans = [range(int(a) + 1, int(b) + 1) for a, b in zip(data["entry"], data["quarters"], strict=True)]
    row = np.repeat(np.arange(len(data)), [len(span) for span in spans])
    period = np.concatenate([np.array(span) for span in spans])
    event = (data["cause"] != "0" if cause is None else data["cause"] == cause).to_numpy()
    y = event[row] & (period == data["quarters"].to_numpy()[row])
    place = np.minimum(period, 4)
    x = np.column_stack(
        [(data["arm"] == "trained").to_numpy()[row], data["score"].to_numpy()[row], np.ones(len(row))]
        + [place == p for p in (2, 3, 4)]
    ).astype(float)
    weight = (data["w"].to_numpy() if "weights" in options else np.ones(len(data)))[row]
    rows = GLM(y, x, family=Binomial(link=LINKS[link]()), var_weights=weight).fit(tol=1e-13, tol_criterion="params")
    np.testing.assert_allclose(fit.frame["estimate"], rows.params, rtol=1e-8, atol=1e-10)
    bread = rows.cov_params()
    if not options:
        np.testing.assert_allclose(fit.vcov, bread, rtol=1e-7, atol=1e-12)
        return
    slope = 1 / LINKS[link]().deriv(rows.mu)
    score = (weight * (y - rows.mu) * slope / (rows.mu * (1 - rows.mu)))[:, None] * x
    sums = pd.DataFrame(score @ bread).groupby(data[options.get("cluster", "id")].to_numpy()[row]).sum().to_numpy()
    np.testing.assert_allclose(fit.vcov, sums.T @ sums, rtol=1e-7, atol=1e-12)


@given(seed=st.integers(0, 10_000), link=st.sampled_from(["cloglog", "logit"]), weighted=st.booleans())
@settings(max_examples=15, deadline=None)
def test_the_saturated_model_is_the_life_table(seed: int, link: str, weighted: bool) -> None:
    data = people(n=400, seed=seed, periods=4)
    after = data["quarters"] > 3
    data = data.assign(quarters=data["quarters"].clip(upper=3), cause=data["cause"].where(~after, "0"))
    table = life_table(data, **NAMES, entry="entry", by="arm", **(PROBABILITY if weighted else {}))
    # otherwise a coefficient is infinite, which has a test of its own
    assume(all(((risk.n_events > 0) & (risk.n_events < risk.n)).all() for risk in risk_sets(table)))
    frame = discrete_hazard(table, "arm * period", link).frame
    effect = dict(zip(frame["estimand"], frame["estimate"], strict=True))
    for risk in risk_sets(table):
        arm = risk.level[0]
        for time, at_risk, events in zip(risk.times, risk.weight, risk.events, strict=True):
            period = f"{time:g}"
            linear = effect["Intercept"] + effect.get(f"period[T.{period}]", 0.0)
            if arm == "trained":
                linear += effect["arm[T.trained]"] + effect.get(f"arm[T.trained]:period[T.{period}]", 0.0)
            assert LINKS[link]().inverse(linear) == pytest.approx(events / at_risk, rel=1e-7)


def test_one_effect_per_period_is_the_interaction_seen_otherwise() -> None:
    table = life_table(people(n=400, periods=4), **NAMES, entry="entry", by="arm")
    each = discrete_hazard(table, "arm:period").frame.set_index("estimand")
    both = discrete_hazard(table, "arm * period").frame.set_index("estimand")
    expected = both.loc["arm[T.trained]", "estimate"] + both.loc["arm[T.trained]:period[T.3]", "estimate"]
    assert each.loc["arm[T.trained]:period[3]", "estimate"] == pytest.approx(expected, rel=1e-7)
    at_risk = people(n=400, periods=4).query("arm == 'trained' and entry < 3 and quarters >= 3")
    assert each.loc["arm[T.trained]:period[3]", "n_treated"] == len(at_risk)


def test_weights_their_scale_copies_and_order() -> None:
    data = people(n=200)
    first = discrete_hazard(people_table(data, **PROBABILITY), "arm")
    other = people_table(data.assign(w=data["w"] * 7).sample(frac=1, random_state=1), **PROBABILITY)
    np.testing.assert_allclose(first.vcov, discrete_hazard(other, "arm").vcov, rtol=1e-8, atol=1e-12)
    repeated = data.loc[data.index.repeat(data["copies"])].assign(id=lambda f: np.arange(len(f)))
    weighted = discrete_hazard(people_table(data, weights="copies", weight_type="frequency"), "arm")
    pd.testing.assert_frame_equal(weighted.frame, discrete_hazard(people_table(repeated), "arm").frame, rtol=1e-8)


def test_tables_add_up_and_spells_cluster() -> None:
    data = people(n=200)
    first = data["provider"] < 5
    both = people_table(data[first], cluster="provider") + people_table(data[~first], cluster="provider")
    direct = Spells(data, "id", entry="entry", censored=(), by=("arm", "age", "score", "region"))
    pd.testing.assert_frame_equal(
        discrete_hazard(both, "arm").frame, direct.discrete_hazard("arm", cluster="provider").frame, rtol=1e-8
    )


def test_periods_in_which_none_or_all_end_are_left_out_and_said() -> None:
    """The others are estimated as if those trials had not been."""
    duration, cause, arm = [1, 1, 2, 3, 3, 3, 4, 4], [1, 0, 0, 1, 0, 1, 1, 1], list("abababab")
    full = discrete_hazard(one(duration, cause, arm=arm), "arm", link="logit")
    assert full.meta["periods"] == ["1", "3"]
    assert full.meta["notes"] == [
        "no spell at risk ends in period 2, left out because the hazard is zero",
        "every spell at risk ends in period 4, left out because the hazard is one",
    ]
    cut = discrete_hazard(one([1, 1, 1, 2, 2, 2, 2, 2], [1, 0, 0, 1, 0, 1, 0, 0], arm=list("abababab")), "arm", "logit")
    assert cut.frame["estimand"].tolist()[:2] == ["arm[T.b]", "Intercept"]
    assert np.isfinite(full.frame["std_error"]).all()
    robust = discrete_hazard(
        life_table(
            pd.DataFrame({"id": range(8), "quarters": duration, "cause": cause, "arm": arm, "w": 1.0}),
            **NAMES,
            by="arm",
            **PROBABILITY,
        ),
        "arm",
        link="logit",
    )
    np.testing.assert_allclose(robust.frame["estimate"], full.frame["estimate"], rtol=1e-9)
    assert np.isfinite(robust.frame["std_error"]).all()


def test_bins_hold_the_baseline_constant() -> None:
    fit = discrete_hazard(people_table(people(n=200)), "arm", bins=(2, 4))
    assert fit.meta["periods"] == ["1–2", "3–4", "5–7"]
    assert fit.frame["estimand"].tolist() == ["arm[T.trained]", "Intercept", "period[T.3–4]", "period[T.5–7]"]


def _lock_in(draws: int, n: int, seed: int) -> LifeTable:
    """A treatment that halves the hazard for two quarters and then raises it by half; two spells each, in order."""
    rng = np.random.default_rng(seed)
    people_of = np.repeat(np.arange(draws * n), 2)
    treated = (people_of // draws) % 2 == 1
    luck = rng.gamma(20, 1 / 20, draws * n)[people_of]  # what spells of one person share
    end, cause = np.full(len(people_of), 6), np.zeros(len(people_of), dtype=int)
    for quarter in range(6, 0, -1):
        ratio = np.where(treated, 0.5 if quarter <= 2 else 1.5, 1.0)
        ends = rng.random(len(people_of)) < -np.expm1(-0.2 * ratio * luck)
        end, cause = np.where(ends, quarter, end), np.where(ends, 1, cause)
    data = pd.DataFrame(
        {"id": people_of, "quarters": end, "cause": cause, "arm": np.where(treated, "trained", "control")}
    )
    return life_table(data.assign(draw=people_of % draws), **NAMES, by=("draw", "arm"), cluster="id")


@pytest.mark.slow
def test_lock_in_is_recovered_and_covered() -> None:
    """200 samples of 1,500 people with two spells; 95% ± 3 simulation errors is 90.4% to 99.6%."""
    table = _lock_in(200, 1_500, seed=4)
    frames = [discrete_hazard(table.subset(draw=d), "arm:period", bins=(2,)).frame.iloc[:2] for d in range(200)]
    for row, truth in enumerate((np.log(0.5), np.log(1.5))):
        estimate = np.array([frame["estimate"].iloc[row] for frame in frames])
        covered = np.mean([frame["ci_low"].iloc[row] <= truth <= frame["ci_high"].iloc[row] for frame in frames])
        # shared luck makes the ratio of the survivors shrink a little; hence the margin
        assert estimate.mean() == pytest.approx(truth, abs=0.03)
        assert 0.904 <= covered <= 0.996


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_unknown_choices_are_named() -> None:
    table = people_table(people())
    with pytest.raises(InputError, match="unknown link 'probit'"):
        discrete_hazard(table, "arm", link="probit")
    with pytest.raises(InputError, match="unknown column of levels 'arms'"):
        discrete_hazard(table, "arms")
    with pytest.raises(InputError, match="unknown cause 'retired'"):
        discrete_hazard(table, "arm", cause="retired")
    for bins in ((), (3, 2), (0, 2), (np.nan,)):
        with pytest.raises(InputError, match="ascending"):
            discrete_hazard(table, "arm", bins=bins)
    with pytest.raises(InputError, match="'period' is the name of the baseline's intervals"):
        discrete_hazard(one([1, 2], [1, 1], period=list("ab")), "period")


def test_durations_must_be_periods() -> None:
    with pytest.raises(InputError, match="whole periods"):
        discrete_hazard(one([1, 2.5, 3], [1, 1, 0], arm=list("aab")), "arm")
    with pytest.raises(InputError, match="5,000 periods"):
        discrete_hazard(one([1, 5_000, 3], [1, 1, 0], arm=list("aab")), "arm")


def test_infinite_coefficients_are_refused_by_name() -> None:
    data = people(n=200)
    none = data.assign(cause=data["cause"].where(data["age"] != "55+", "0"))
    with pytest.raises(DesignError, match=r"no event in level '55\+' of 'age'"):
        discrete_hazard(people_table(none), "age")
    quiet = data.assign(cause=data["cause"].where((data["arm"] == "control") | (data["quarters"] != 3), "0"))
    with pytest.raises(DesignError, match=r"no spell at risk ends where 'arm\[T.trained\]:period\[T.3\]' applies"):
        discrete_hazard(people_table(quiet), "arm * period")
    control = data.assign(cause=data["cause"].where((data["arm"] == "trained") | (data["quarters"] != 3), "0"))
    with pytest.raises(DesignError, match=r"'arm\[T.trained\]:period\[T.3\]'.* infinite"):
        discrete_hazard(people_table(control), "arm * period", bins=(1, 2, 3, 5))


def test_a_group_of_which_all_end_is_named() -> None:
    """The coefficient would grow until the link rounds to one, far below any size that looks infinite."""
    data = people(n=200).assign(quarters=lambda f: f["quarters"].clip(upper=3))
    all_end = (data["arm"] == "control") & (data["quarters"] == 3)
    table = life_table(data.assign(cause=data["cause"].where(~all_end, "job")), **NAMES, by="arm")
    with pytest.raises(DesignError, match=r"fitted hazard of arm control in period 3 is zero or one"):
        discrete_hazard(table, "arm * period")


def test_nothing_to_model_is_said() -> None:
    with pytest.raises(DesignError, match="every spell is censored"):
        discrete_hazard(one([1, 2, 3], [0, 0, 0], arm=list("aab")), "arm")
    with pytest.raises(DesignError, match="nothing can be modelled"):
        discrete_hazard(one([1, 1, 1], [1, 1, 1], arm=list("aab")), "arm")
    with pytest.raises(DesignError, match=r"'region\[T.trained\]' is a combination of 'arm\[T.trained\]'"):
        discrete_hazard(people_table(people().assign(region=lambda f: f["arm"])), "arm + region")
    with pytest.raises(DesignError, match="spells of one person are not independent"):
        discrete_hazard(people_table(people().assign(id=lambda f: f["id"] // 2)), "arm")
