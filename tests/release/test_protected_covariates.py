"""Covariate moments leave the agency with noisy amounts, and everything else from changed counts of people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import own_study
from keyed_people import held, key_of, register, rules
from retrain_eval.common.errors import DisclosureError, InputError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.covariates import protect_covariates
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results
from retrain_eval.sample.balance.covariate_sums import sum_covariates
from retrain_eval.study.folder import Study
from retrain_eval.tables.covariates.covariates import (
    INSIDE,
    RELEASED,
    CovariateMoments,
    covariate_balance,
    covariate_paths,
)
from retrain_eval.tables.noise.register import Register
from retrain_eval.tables.recipe import recipe_of

N = 60
KEYS = held(2000)


def moments(
    treated: dict[str, Any],
    control: dict[str, Any],
    kept: int | None = None,
    weight: Any = None,
    keys: Any = KEYS,
    **options: Any,
) -> CovariateMoments:
    """Sum covariates of trained people, of whom the first ``kept`` find a control, and of controls, all used."""
    cells = pd.concat([pd.DataFrame(treated), pd.DataFrame(control)], ignore_index=True)
    m = len(pd.DataFrame(treated))
    n = len(cells)
    first, second = np.arange(m), np.arange(m, n)
    rows = first[: kept if kept is not None else m]
    w = np.ones(n - m) if weight is None else np.asarray(weight, float)
    return sum_covariates(
        cells, np.arange(n), list(treated), None, {"treated": first, "control": second},
        {"treated": (rows, np.ones(len(rows))), "control": (second, w)},
        keys=None if keys is None else keys.take(np.arange(n)), **options,
    )  # fmt: skip


def pay(seed: int = 0, n: int = N) -> dict[str, Any]:
    return {"pay": np.random.default_rng(seed).gamma(4, 1000, n).round(2)}


def ages(seed: int = 0, n: int = N) -> dict[str, Any]:
    return {"age": np.random.default_rng(seed).integers(20, 60, n)}


def shares(ones: int, n: int = N) -> dict[str, Any]:
    return {"rare": [1.0] * ones + [0.0] * (n - ones)}


def protected(made: CovariateMoments, of: Register | None = None, **more: Any) -> tuple[CovariateMoments, list[str]]:
    return protect_covariates("m", made, rules(**more), of or register())


def told(made: CovariateMoments, **more: Any) -> set[str]:
    return set(protected(made, **more)[0].cells["covariate"])


def test_what_stays_inside_stays_inside() -> None:
    made = moments({**pay(), **ages()}, {**pay(1), **ages(1)}, amounts=["pay"])
    assert set(INSIDE) <= set(made.cells.columns)
    safe, record = protected(made)
    assert list(safe.cells.columns) == list(RELEASED)
    assert record == []


def test_public_data_are_released_exactly_and_people_without_keys_not_at_all() -> None:
    made = moments(shares(3), shares(20), keys=None)
    assert list(made.cells.columns) == list(RELEASED)
    safe, record = protect_covariates("m", made, Release(), register())
    pd.testing.assert_frame_equal(safe.cells, made.cells)
    assert record == []
    with pytest.raises(DisclosureError, match="summed without keys"):
        protected(made)


def test_sums_of_amounts_are_those_of_noisy_amounts_about_the_published_count() -> None:
    made = moments(pay(), pay(1, 300), amounts=["pay"])
    safe, _ = protected(made)
    row = safe.cells.query("arm == 'control' and stage == 'before'").iloc[0]
    who = np.arange(N, N + 300)
    assert row["people"] == row["sum_w"] == register().count(300, key_of(KEYS, who))
    assert row["sum_wx"] == pytest.approx(float(pay(1, 300)["pay"] @ KEYS.factor[who]))  # not scaled
    assert row["reference"] == 0
    exact, noisy = (of.summary("pay", "control", "before") for of in (made, safe))
    assert exact is not None
    assert noisy is not None
    assert noisy.mean == pytest.approx(exact.mean, rel=0.05)
    assert noisy.variance == pytest.approx(exact.variance, rel=0.4)
    assert noisy.variance != exact.variance


def test_squares_are_redrawn_about_the_truth_over_secrets() -> None:
    exact = float(np.var(pay(1, 300)["pay"], ddof=1))
    found = []
    for number in range(40):
        safe, _ = protected(moments(pay(), pay(1, 300), amounts=["pay"], keys=held(360, number)))
        summary = safe.summary("pay", "control", "before")
        assert summary is not None
        found.append(summary.variance / exact)
    # noise on amounts adds about 1.1% × E x² to the variance; a Wishart draw has a standard deviation of 8.5 / n
    assert np.mean(found) == pytest.approx(1.0, abs=0.08)
    assert 0.01 < np.std(found) < 0.08


@pytest.mark.parametrize(("ones", "kept"), [(9, False), (51, False), (20, True), (40, True), (0, False), (60, False)])
def test_a_share_needs_the_minimum_with_it_and_without_it(ones: int, kept: bool) -> None:
    made = moments({**pay(), **shares(ones)}, {**pay(1), **shares(20)}, amounts=["pay"])
    safe, record = protected(made)
    assert ("rare" in set(safe.cells["covariate"])) is kept
    assert safe.withheld == (() if kept else ("rare",))
    assert ("rare" in covariate_balance(safe)["covariate"].tolist()) is kept
    assert bool(record) is not kept


@pytest.mark.parametrize("ones", [10, 50])
def test_a_side_whose_published_count_is_too_small_is_withheld(ones: int) -> None:
    kept = []
    for number in range(20):
        of = register()
        safe, _ = protected(moments(shares(ones), shares(30), keys=held(2 * N, number)), of)
        kept.append("rare" in set(safe.cells["covariate"]))
        if kept[-1]:
            row = safe.cells.query("arm == 'treated' and stage == 'before'").iloc[0]
            assert min(row["sum_wx"], row["people"] - row["sum_wx"]) >= 10
    assert 0.3 < np.mean(kept) < 0.9


def test_what_the_definition_of_the_sample_implies_is_exempt() -> None:
    none = {**pay(), **shares(0)}
    made = moments(none, {**pay(1), **shares(20)}, amounts=["pay"], implied=["rare"])
    summary = protected(made)[0].summary("rare", "treated", "before")
    assert summary is not None
    assert summary.mean == 0
    assert "rare" not in told(moments(none, {**pay(1), **shares(3)}, amounts=["pay"], implied=["rare"]))
    nothing = {"pay": np.zeros(N)}
    assert "pay" in told(moments(nothing, pay(1), amounts=["pay"], implied=["pay"]))
    assert "pay" not in told(moments(nothing, pay(1), amounts=["pay"]))
    with pytest.raises(InputError, match="unknown covariate"):
        moments(pay(), pay(1), implied=["wages"])


def test_ones_are_registered_and_weights_move_them_by_whole_people() -> None:
    n, ones = 300, np.arange(300) < 90
    of = register()
    made = moments(shares(30), shares(90, n))
    safe, _ = protected(made, of)
    row = safe.cells.query("arm == 'control' and stage == 'before'").iloc[0]
    who = np.arange(N, N + n)
    assert row["sum_wx"] == row["sum_wx2"] == of.published[key_of(KEYS, who[ones])]
    assert of.published[key_of(KEYS, who[ones])] + of.published[key_of(KEYS, who[~ones])] == row["people"]
    # with weights 7/3 and 1 the share is a fraction of whole numbers of people, whatever the exact counts are
    weight = np.where(np.arange(n) % 3 == 0, 7 / 3, 1.0)
    weight *= n / weight.sum()
    made = moments(shares(30), shares(90, n), weight=weight)
    safe, _ = protected(made, register())
    row = safe.cells.query("arm == 'control' and stage == 'after'").iloc[0]
    weighted = row["sum_wx"] / row["sum_w"] * row["people"]
    assert weighted == pytest.approx(round(weighted))
    assert weighted == pytest.approx(weight[ones].sum(), abs=6)


def test_levels_of_a_text_add_up_and_rare_ones_are_merged() -> None:
    region = np.array(["north"] * 25 + ["south"] * 29 + ["isles"] * 6)
    safe, record = protected(moments({"region": region}, {"region": region[::-1]}))
    assert safe.cells["covariate"].unique().tolist() == ["region_isles + north", "region_south"]
    assert record == ["Covariates m: region isles + north merged, because a level had fewer than 10 people."]
    for _, rows in safe.cells.groupby(["arm", "stage"]):
        assert rows["sum_wx"].sum() == pytest.approx(rows["sum_w"].iloc[0])
    two = np.array(["yes"] * 55 + ["no"] * 5)
    safe, _ = protected(moments({"member": two, **pay()}, {"member": two, **pay(1)}, amounts=["pay"]))
    assert set(safe.cells["column"]) == {"pay"}


def test_a_number_is_told_by_counts_and_never_by_the_factor_of_a_person() -> None:
    """Age is known: multiplied by the factor, it would tell the factor, and with that the pay."""
    age = ages(2, 700)["age"]
    made = moments(ages(), {"age": age})
    assert (made.cells["noisy_wx"] == 0).all()
    safe, _ = protected(made)
    again, _ = protected(
        sum_covariates(
            pd.DataFrame({"age": np.concatenate([ages()["age"], age])}), np.arange(N + 700), ["age"], None,
            {"treated": np.arange(N), "control": np.arange(N, N + 700)},
            {"treated": (np.arange(N), np.ones(N)), "control": (np.arange(N, N + 700), np.ones(700))},
            keys=type(KEYS)(KEYS.record[: N + 700], 2 - KEYS.factor[: N + 700], KEYS.element[: N + 700]),
        )
    )  # fmt: skip
    pd.testing.assert_frame_equal(safe.cells, again.cells)  # the factors change nothing
    exact, close = (of.summary("age", "control", "before") for of in (made, safe))
    assert exact is not None
    assert close is not None
    assert close.mean == pytest.approx(exact.mean, abs=0.05 * exact.variance**0.5)
    assert close.variance == pytest.approx(exact.variance, rel=0.1)


@pytest.mark.parametrize("n", [60, 150, 700])
def test_what_counts_cost_the_mean_of_a_number(n: int) -> None:
    """At most h·√(Kv) people's worth: with half a standard deviation between 12 values, 2.5 standard deviations / n."""
    x = np.random.default_rng(n).normal(0, 1, n)
    errors = []
    for number in range(40):
        made = moments({"x": x}, {"x": x}, keys=held(2 * n, number))
        summary = protected(made)[0].summary("x", "treated", "before")
        assert summary is not None
        errors.append(summary.mean - x.mean())
    assert np.std(errors) < 3.0 / n
    assert abs(np.mean(errors)) < 0.02 + 3 * np.std(errors) / np.sqrt(40)


@given(seed=st.integers(0, 10**6), n=st.integers(40, 200), skew=st.booleans())
@settings(max_examples=60, deadline=None)
def test_between_two_points_are_enough_people(seed: int, n: int, skew: bool) -> None:
    rng = np.random.default_rng(seed)
    x = {arm: rng.gamma(0.7, 3000, n) if skew else rng.integers(15, 64, n).astype(float) for arm in "tc"}
    made = moments({"x": x["t"]}, {"x": x["c"]})
    safe, _ = protected(made)
    for arm, values in (("treated", x["t"]), ("control", x["c"])):
        edges = safe.distribution("x", arm, "before")
        below = [np.count_nonzero(values < edge) for edge in edges]
        assert all(gap >= 10 for gap in np.diff([0, *below, n]))
        assert list(edges.values()) == sorted(edges.values())
        assert all(abs(share - b / n) < 12 / n for share, b in zip(edges.values(), below, strict=True))
        assert all(edge == float(f"{edge:.3g}") for edge in edges)  # round numbers, not values of people
    whole = {edge for edge in np.concatenate(made.cells["edges"].to_numpy())}
    assert len(whole) <= 55


def test_few_with_an_amount_and_an_amount_that_few_dominate_are_withheld() -> None:
    few = {"pay": np.where(np.arange(N) < 3, 5000.0, 0.0)}
    assert told(moments({**few, **ages()}, {**pay(1), **ages(1)}, amounts=["pay"])) == {"age"}
    rich = {"pay": [*pay()["pay"][:-1], 5e6]}
    made = moments({**rich, **ages()}, {**pay(1), **ages(1)}, amounts=["pay"])
    assert told(made, dominance_share=0.85, p_percent=10.0) == {"age"}
    assert told(made) == {"pay", "age"}  # the rule is switched off


def test_of_dropped_people_few_with_an_amount_do_not_follow() -> None:
    x = {"pay": np.where(np.arange(N) < 55, 2000.0 + np.arange(N), 0.0)}  # of fifteen dropped, ten have an amount
    assert len(protected(moments(x, pay(1), kept=45, amounts=["pay"]))[0].cells) == 4
    x = {"pay": np.where(np.arange(N) < 49, 2000.0 + np.arange(N), 0.0)}  # here, four
    safe, record = protected(moments(x, pay(1), kept=45, amounts=["pay"]))
    assert safe.summary("pay", "treated", "before") is None
    assert "of the people dropped, fewer than 10 have a value, or do not have it, or an amount" in record[0]
    assert covariate_balance(safe)["mean_treated"].item() == covariate_balance(safe)["mean_treated_after"].item()
    assert covariate_paths(safe, "pay", {"pay": 1})["mean"].nunique() == 2


@pytest.mark.parametrize("of_dropped", [5, 12])  # with it; the others, 10 or 3, are without it
def test_of_dropped_people_few_with_it_or_without_it_do_not_follow(of_dropped: int) -> None:
    """The table of matching withholds such counts."""
    kept, dropped = 45, 15
    x = {"rare": np.repeat([1.0, 0.0, 1.0, 0.0], [20, kept - 20, of_dropped, dropped - of_dropped])}
    safe, record = protected(moments(x, {"rare": np.repeat([1.0, 0.0], N // 2)}, kept=kept))
    assert safe.summary("rare", "treated", "before") is None
    assert safe.summary("rare", "control", "before") is not None
    assert record == [
        "Covariates m: rare of treated before matching are taken to be those after it; of the people dropped, fewer "
        "than 10 have a value, or do not have it, or an amount."
    ]


@pytest.mark.parametrize("dropped", [40, 150])
@pytest.mark.parametrize("seed", range(4))
def test_between_two_points_none_or_many_were_dropped_or_it_is_not_told(dropped: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kept = 200
    x = np.concatenate([rng.normal(40, 8, kept), rng.normal(48, 8, dropped)]).round(1)
    safe, record = protected(moments({"x": x}, {"x": rng.normal(40, 8, 300).round(1)}, kept=kept))
    before, after = (safe.distribution("x", "treated", stage) for stage in ("before", "after"))
    assert list(before) == list(after)
    gone = np.diff([0, *[np.count_nonzero(x[kept:] < edge) for edge in before], dropped])
    hidden = any("distributed before matching as after it" in line for line in record)
    if hidden:
        assert list(before.values()) == pytest.approx(list(after.values()))
        assert dropped == 40
    else:
        assert all(n == 0 or n >= 10 for n in gone)
    mean = safe.summary("x", "treated", "before")
    assert mean is not None
    assert mean.mean == pytest.approx(x.mean(), abs=1)  # mean and spread are its own


def test_an_arm_of_few_is_refused() -> None:
    with pytest.raises(DisclosureError, match="compare 9 people of group 'treated'"):
        protected(moments(pay(), pay(1), kept=9, amounts=["pay"]))


def test_where_nothing_can_be_shown_there_is_no_balance() -> None:
    made = moments(shares(3), shares(20))
    results = Results(covariates={"m": made})
    results.add_table("balance", covariate_balance(made), recipe=recipe_of(covariate_balance, made))
    safe, record = protect(results, rules())
    assert "balance" not in safe.tables
    assert safe.covariates["m"].withheld == ("rare",)
    assert any(line.startswith("balance: withheld, because the protected tables do not give it") for line in record)


def test_a_file_keeps_the_keyed_sums_and_two_samples_add(tmp_path: Path) -> None:
    both = {**pay(n=120), **ages(n=120), "sex": np.array(["f", "m"] * 60), **shares(70, 120)}
    every = moments(both, both, amounts=["pay"])
    every.to_parquet(tmp_path / "c.parquet")
    again = CovariateMoments.read_parquet(tmp_path / "c.parquet")
    pd.testing.assert_frame_equal(protected(again)[0].cells, protected(every)[0].cells)
    cells, index = pd.concat([pd.DataFrame(both)] * 2, ignore_index=True), np.arange(240)
    parts = []
    for who in (index % 120 < 50, index % 120 >= 50):
        before = {arm: np.flatnonzero(who & (index // 120 == k)) for k, arm in enumerate(("treated", "control"))}
        after = {arm: (rows, np.ones(len(rows))) for arm, rows in before.items()}
        parts.append(
            sum_covariates(
                cells,
                index,
                list(both),
                None,
                before,
                after,
                amounts=["pay"],
                keys=KEYS.take(index),
                cuts={"age": [40]},
            )
        )
    added = parts[0] + parts[1]
    a, b = (of.cells.set_index(["covariate", "arm", "stage"]).sort_index() for of in (added, every))
    for name in ("key", "ones_key"):
        assert a[name].astype("uint64").tolist() == b[name].astype("uint64").tolist()
    assert [list(map(int, sketch)) for sketch in a["sketch"]] == [list(map(int, sketch)) for sketch in b["sketch"]]
    for name in ("ones", "noisy_wx", "noisy_wx2"):
        np.testing.assert_allclose(a[name].astype(float), b[name].astype(float))
    row = a.loc[("age", "treated", "before")]
    at = list(row["edges"]).index(40.0)
    assert int(row["below_key"][at]) == key_of(KEYS, np.flatnonzero(both["age"] < 40))


@pytest.mark.parametrize("matched_on_earnings", [True, False])
def test_paths_before_the_programme_follow_from_the_protected_table_or_are_withheld(
    tmp_path: Path, matched_on_earnings: bool
) -> None:
    """Computed from people, their means would be exact."""
    folder = own_study.make(tmp_path / "mine")
    plan = folder / "study.toml"
    if not matched_on_earnings:
        text = plan.read_text().replace("treat ~ age + earnings_2018 + earnings_2019", "treat ~ age")
        plan.write_text(text)
        script = folder / "run.py"
        script.write_text(script.read_text().replace("study.match_periods()", "[2018, 2019]"))
    study = Study.open(folder)
    results = study.run()
    bundle = study.release("2026")
    withheld = results.withheld()
    assert ("baseline_paths: baseline_paths" in withheld) is not matched_on_earnings
    assert (bundle.path / "baseline_paths.csv").exists() is matched_on_earnings
    if matched_on_earnings:
        exact = results.tables["baseline_paths"].set_index(["group", "time"])["mean"]
        printed = pd.read_csv(bundle.path / "baseline_paths.csv").set_index(["group", "time"])["mean"]
        assert (printed != exact.loc[printed.index]).all()
        assert printed.to_numpy() == pytest.approx(exact.loc[printed.index].to_numpy(), rel=0.05)
