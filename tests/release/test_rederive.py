"""Every number of a bundle follows from its tables: recipes, repeated, and tampering that hashes cannot show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from retrain_eval.common.errors import InputError, ReleaseError
from retrain_eval.estimators.did.means import mean_difference, mean_paths
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import COUNTS, KEYS
from retrain_eval.estimators.effects.heterogeneity import verdicts
from retrain_eval.estimators.inference.pretrend import pretrend_test
from retrain_eval.estimators.survival.logrank import logrank_test
from retrain_eval.plan.study_file import read_study
from retrain_eval.release import writing
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.derive import Deriver
from retrain_eval.release.layout import round_significant
from retrain_eval.release.protection.completing import with_inference
from retrain_eval.release.results import Part, Results, standing_effects
from retrain_eval.release.verification.verify import rederive, verify
from retrain_eval.tables.recipe import Derivation, trace
from tampering import rehash

INPUTS = [{"name": "person", "file": "p.csv"}]

STUDY = '[study]\nname = "x"\ntitle = "T"\nquestion = "Q"\ndata = "D"\n\n[records]\nperson = "p.csv"\n'
STUDY += '[release]\nprofile = "open"\nsignificant_figures = 4\n'


def moments(n: int = 240, seed: int = 1) -> rte.OutcomeMoments:
    rng = np.random.default_rng(seed)
    people = pd.DataFrame({"id": range(n), "g": rng.choice([0, 3, 4], n), "band": rng.choice(["a", "b"], n)})
    long = people.merge(pd.DataFrame({"t": range(1, 6)}), how="cross")
    long["y"] = rng.normal(0, 1, len(long)) + (long["g"] > 0) * (long["t"] >= long["g"])
    return rte.outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", by="band")


def spells(n: int = 300) -> rte.Spells:
    rng = np.random.default_rng(2)
    rows = pd.DataFrame(
        {
            "id": range(n),
            "quarters": rng.integers(1, 5, n),
            "cause": rng.integers(0, 2, n),
            "arm": rng.choice(["x", "y"], n),
        }
    )
    return rte.Spells.from_table(rte.Spells(rows, id="id", by="arm").table.coarsen(10))


def results() -> Results:
    found, m, s = Results(), moments(), spells()
    effects = m.att_gt(control="not_yet_treated")
    found.add_effects("event_study", effects.aggregate("dynamic"))  # before its table: the order does not matter
    found.moments["all"] = m
    found.life_tables["arm"] = s.table
    levels = effects.by("band").aggregate("simple")
    found.add_effects("by_band", levels)
    found.add_effects("difference", levels.difference())
    found.add_effects("one_band", m.subset(band="a").att_gt().to_effects())
    found.add_effects("gap", mean_difference(m, 5))
    found.add_effects("km", s.kaplan_meier(times=(1, 2, 3)))
    found.add_effects("peer", EffectTable.build([{"estimate": 1.0, "n_treated": 50}], np.array([[0.25]])))
    rows = [{"subgroup": "arm", "level": level, "estimate": b, "n_treated": 53, "n_control": 48}
            for level, b in (("x", 1.23456), ("y", 2.34567))]  # fmt: skip
    people = EffectTable.build(rows, np.array([[0.02, 0.004], [0.004, 0.03]]))
    found.add_effects("people", people)
    found.add_effects("people_difference", people.difference())
    found.add_table("verdicts", verdicts(people, smallest_worthwhile=0.5), "people")
    found.add_table("means", mean_paths(m))
    found.add_table("tests", pretrend_test(effects.aggregate("dynamic")), "event_study")
    found.add_table("tests", logrank_test(s.table), "km")
    found.add_table("flow", pd.DataFrame({"step": ["all"], "group": "treated", "n": 240, "reason": ""}))
    return found


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.toml").write_text(STUDY)
    return writing.write(results(), folder, read_study(folder), folder / "release" / "2026", inputs=INPUTS)


@pytest.fixture
def bundle(released: Bundle, tmp_path: Path) -> Bundle:
    return Bundle.open(shutil.copytree(released.path, tmp_path / "2026"))


def test_a_result_knows_how_it_was_made() -> None:
    m = moments()
    made = m.att_gt(anticipation=1).by("band").aggregate("dynamic", max_event=1).difference()
    found = trace(made, {id(m): "moments/all"})
    assert found is not None
    assert [verb for verb, _ in found.steps] == ["att_gt", "by", "aggregate", "difference"]
    assert found.steps[0][1]["anticipation"] == 1
    assert found.steps[0][1]["method"] == "dr"  # a default is written out, or a later one would change the number
    assert json.loads(json.dumps(found.steps)) == [list(step) for step in found.steps]
    again = Deriver({"moments/all": m}).make(
        Derivation("moments/all", tuple(map(tuple, json.loads(json.dumps(found.steps)))))
    )
    pd.testing.assert_frame_equal(again.to_frame(), made.to_frame(), check_exact=True)


def test_a_changed_result_has_no_recipe() -> None:
    from dataclasses import replace

    made = moments().att_gt().aggregate("simple")
    assert made.recipe is not None
    assert replace(made, frame=made.frame.assign(estimate=0.0)).recipe is None


def test_what_people_alone_can_give_does_not_follow_from_cells() -> None:
    rng = np.random.default_rng(0)
    n = 3_000
    long = pd.DataFrame({"id": range(n), "g": rng.choice([0, 2], n), "x": rng.normal(size=n)}).merge(
        pd.DataFrame({"t": [1, 2]}), how="cross"
    )
    long["y"] = rng.normal(size=len(long))
    m = rte.outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", covariates="x")
    found = Results(moments={"m": m})
    found.add_effects("dr", m.att_gt(method="dr", covariates=("x",)).aggregate("simple"))
    found.add_effects("cells", m.att_gt().aggregate("simple"))
    people, cells = found.resolved()
    assert people.derivation is None
    assert np.array(people.covariance) == pytest.approx(found.tables["effects"]["std_error"][0] ** 2)
    assert cells.derivation is not None
    assert cells.covariance is None


def test_another_cluster_than_the_tables_does_not_follow_from_it() -> None:
    rng = np.random.default_rng(2)
    n = 120
    rows = pd.DataFrame({"id": range(n), "provider": rng.integers(0, 20, n), "quarters": rng.integers(1, 5, n)})
    rows = rows.assign(cause=rng.integers(0, 2, n), arm=rng.choice(["x", "y"], n))
    spells = rte.Spells(rows, id="id", by="arm")
    found = Results(life_tables={"arm": spells.table})
    found.add_effects("provider", spells.kaplan_meier(cluster="provider"))
    found.add_effects("plain", spells.kaplan_meier())
    assert [part.derivation is None for part in found.resolved()] == [True, False]


@pytest.mark.parametrize(
    ("verb", "options"),
    [("to_parquet", {"path": "x"}), ("__class__", {}), ("att_gt", {"controls": "x"}), ("att_gt", {"covariates": 3})],
)
def test_a_file_of_recipes_runs_nothing_but_verbs(verb: str, options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Deriver({"moments/all": moments()}).make(Derivation("moments/all", ((verb, options),)))


def test_every_number_of_a_bundle_is_derived_again(bundle: Bundle) -> None:
    found = verify(bundle.path)
    assert found.problems == ()
    assert found.n_rederived > 150
    assert set(found.on_covariance) == {"peer", "people"}  # and what is made of people's effects follows from them
    assert found.stated == {"peer": 2, "people": 6}
    effects = bundle.effects
    assert effects is not None
    again = rederive(bundle).tables["effects"]
    for column in ("estimate", "std_error", "band_high", "p_value"):
        # four significant figures are published
        assert again[column].to_numpy() == pytest.approx(effects[column].to_numpy(), rel=5.001e-4, nan_ok=True)
    moved = results().resolved()[0].derivation
    assert moved is not None
    exact = Deriver(bundle.tables()).make(moved).to_frame()["estimate"].to_numpy()
    assert again["estimate"].to_numpy()[: len(exact)] == pytest.approx(exact, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize(
    ("file", "column", "names"),
    [
        ("effects.csv", "estimate", "effects event_study"),
        ("effects.csv", "p_value", "effects event_study"),
        ("effects.csv", "n_treated", "effects event_study"),
        ("means.csv", "mean", "means"),
        ("tests.csv", "statistic", "tests event_study"),
    ],
)
def test_a_number_changed_under_recomputed_hashes_is_named(bundle: Bundle, file: str, column: str, names: str) -> None:
    text = pd.read_csv(bundle.path / file, dtype="str", keep_default_na=False)
    number = text.loc[0, column]  # its last digit changes
    text.loc[0, column] = number[:-1] + ("1" if number[-1] != "1" else "2")
    text.to_csv(bundle.path / file, index=False, lineterminator="\n")
    rehash(bundle.path)
    problems = verify(bundle.path).problems
    assert len(problems) == 1
    assert problems[0].startswith(f"{names}, row 1, {column}: published")


def test_a_result_that_is_not_what_its_recipe_makes_is_not_released(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    found = results()
    found.tables["effects"].loc[0, "estimate"] += 0.001
    with pytest.raises(ReleaseError, match="event_study is not what its recipe makes: row 1, estimate"):
        writing.write(found, tmp_path, read_study(tmp_path), tmp_path / "release" / "2026", inputs=INPUTS)


def test_a_table_changed_under_recomputed_hashes_is_found(bundle: Bundle) -> None:
    other = moments(seed=9)
    other.to_parquet(bundle.path / "moments" / "all.parquet")
    rehash(bundle.path)
    assert any("effects event_study" in line for line in verify(bundle.path).problems)


def test_rows_added_dropped_or_disowned_under_recomputed_hashes_are_found(bundle: Bundle) -> None:
    effects, recipes = bundle.path / "effects.csv", bundle.path / "recipes.json"
    whole, told = effects.read_text(), recipes.read_text()
    lines = whole.splitlines(keepends=True)
    parts = json.loads(told)
    disowned = [
        {k: v for k, v in part.items() if k != "derivation"} if i == 0 else part for i, part in enumerate(parts)
    ]
    for text, recipe, words in (
        (whole + lines[1], told, "effects: recipes.json speaks of"),
        ("".join(lines[:-1]), told, "effects: recipes.json speaks of"),
        (whole, json.dumps(disowned), "effects event_study: recipes.json says neither"),
        (whole, json.dumps(parts[1:]), "effects: recipes.json speaks of"),
        (whole, "[]", "effects: recipes.json speaks of 0 row"),
    ):
        effects.write_text(text)
        recipes.write_text(recipe)
        rehash(bundle.path)
        assert any(line.startswith(words) for line in verify(bundle.path).problems), words


def test_a_standard_error_apart_from_its_covariance_is_found(bundle: Bundle) -> None:
    path = bundle.path / "recipes.json"
    parts = json.loads(path.read_text())
    next(part for part in parts if part.get("result") == "peer")["covariance"] = [[0.16]]
    path.write_text(json.dumps(parts))
    rehash(bundle.path)
    assert verify(bundle.path).problems[0] == "effects peer, row 1, std_error: published 0.5, re-derived 0.4"


def test_estimates_by_matched_set_follow_though_their_errors_do_not(tmp_path: Path) -> None:
    """The covariance needs how many sets two cells share, which stays inside; the estimates need only the cells."""
    rng = np.random.default_rng(3)
    n = 400
    rows = pd.DataFrame({"id": range(n), "pair": np.arange(n) // 2, "arm": np.tile(["trained", "control"], n // 2)})
    rows = rows.assign(quarters=rng.integers(1, 5, n), cause=rng.integers(0, 2, n))
    table = rte.Spells(rows, id="id", by="arm", cluster="pair").table.coarsen(10)
    found = Results(life_tables={"arm": table.without_clusters()})
    found.add_effects("gap", rte.Spells.from_table(table).survival_difference(times=(2, 3)))
    (tmp_path / "study.toml").write_text(STUDY)
    bundle = writing.write(found, tmp_path, read_study(tmp_path), tmp_path / "release" / "2026", inputs=INPUTS)
    checked = verify(bundle.path)
    assert (checked.problems, checked.n_rederived, checked.on_covariance) == ((), 6, {"gap": 8})

    # who moves the estimate and all that follows from it and the covariance is found out by the life table
    path = bundle.path / "effects.csv"
    frame = pd.read_csv(path)
    effects = standing_effects(found.resolved()[0], frame.assign(estimate=frame["estimate"] + 0.01))
    part = Results.read(bundle.path).parts[0]
    moved = round_significant(with_inference(part, frame.assign(estimate=effects.frame["estimate"])), 4)
    moved.to_csv(path, index=False, lineterminator="\n")
    rehash(bundle.path)
    assert any("gap, row 1, estimate: published" in line for line in verify(bundle.path).problems)


def of_another_program(kept: bool = True, shift: float = 0.0) -> Results:
    """Return results with a regression on rows, whose estimates are said to follow from moments."""
    m = moments()
    estimates = m.att_gt().aggregate("dynamic")
    rows = estimates.frame[estimates.frame["event_time"].notna()].assign(estimator="pyfixest")
    peer = EffectTable.build(rows[[*KEYS, "estimate", *COUNTS]], np.diag([0.01] * len(rows)))
    found = Results(moments={"all": m} if kept else {})
    found.add_effects("peer", peer, estimates)
    found.tables["effects"].loc[0, "estimate"] += shift
    return found


def test_estimates_of_another_program_follow_though_their_errors_do_not(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    study, found = read_study(tmp_path), of_another_program()
    bundle = writing.write(found, tmp_path, study, tmp_path / "release" / "2026", inputs=INPUTS)
    checked = verify(bundle.path)
    assert (checked.problems, checked.stated) == ((), {})
    assert checked.n_rederived == 3 * len(found.tables["effects"])

    # an estimate moved together with its interval and its p-value
    path = bundle.path / "effects.csv"
    frame = pd.read_csv(path)
    moved = with_inference(
        bundle_parts(bundle)[0], frame.assign(estimate=frame["estimate"] + 0.01 * (frame.index == 2))
    )
    round_significant(moved, 4).to_csv(path, index=False, lineterminator="\n")
    rehash(bundle.path)
    problems = verify(bundle.path).problems
    assert any(line.startswith("effects peer, row 3, estimate: published") for line in problems)
    assert all(line.startswith("effects peer, row 3") for line in problems)

    frame.assign(event_time=[9, *frame["event_time"][1:]]).to_csv(path, index=False)  # and a key
    rehash(bundle.path)
    assert "effects peer: its table does not give its estimates, as recipes.json says" in verify(bundle.path).problems


def bundle_parts(bundle: Bundle) -> list[Part]:
    return Results.read(bundle.path).parts


def test_estimates_that_no_longer_follow_are_not_released(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    study = read_study(tmp_path)
    with pytest.raises(InputError, match=r"peer, row 1 .*estimate is .*, and .* by the table"):
        writing.write(of_another_program(shift=1e-3), tmp_path, study, tmp_path / "release" / "2026", inputs=INPUTS)
    with pytest.raises(InputError, match="'peer' are said to follow from a table, which is not kept"):
        writing.write(of_another_program(kept=False), tmp_path, study, tmp_path / "release" / "2026", inputs=INPUTS)


def test_no_exact_count_stands_beside_a_covariance(bundle: Bundle) -> None:
    parts = json.loads((bundle.path / "recipes.json").read_text())
    facts = {key for part in parts for key in part.get("meta", {})}
    assert facts <= {"level", "df", "seed", "band_critical_value", "conf_type", "variance", "cluster", "contrast"}


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=15, deadline=None)
def test_any_file_of_recipes_is_read_or_refused_never_a_crash(
    released: Bundle, tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    bundle = Bundle.open(shutil.copytree(released.path, tmp_path_factory.mktemp("one") / "2026"))
    content = bytearray((bundle.path / "recipes.json").read_bytes())
    content[place % len(content)] ^= 1 << bit
    (bundle.path / "recipes.json").write_bytes(content)
    assert verify(bundle.path).problems == ("altered: recipes.json",)
    rehash(bundle.path)
    verify(bundle.path)  # finds something or, where a blank was changed, nothing
