"""The shipped studies, from raw records to release: the figures that the literature and the oracles print."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from places import ROOT
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.results import Results
from retrain_eval.release.verification.verify import rederive, verify
from retrain_eval.sample.balance.rating import balance_verdict
from retrain_eval.study.folder import Study
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.counts import SUMS, SampleCounts
from retrain_eval.tables.covariates.covariates import CovariateMoments
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.statistics import CrossProducts, SignedRanks, Spread, Ties
from tampering import alter, rehash, rounds

ANALYSES = ROOT / "analyses"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    root = tmp_path_factory.mktemp("analyses")
    made = ("data", "store", "release", "report")
    shutil.copytree(ANALYSES, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*made, "__pycache__"))
    bundles = {}
    with pytest.MonkeyPatch.context() as patch:  # the noise of the agency is the same in every run of the tests
        patch.setenv("RETRAIN_EVAL_RELEASE_KEY", "4f0c9d1e7ab83265f1e09c44d7b2a8361c5e7f90")
        for name in ("joblessness", "training_grants", "nsw", "agency"):
            study = Study.open(root / name)
            study.run()
            bundles[name] = study.release("2026")
    return bundles


def row(bundle: Bundle, result: str, **keys: object) -> pd.Series:
    assert bundle.effects is not None
    frame = bundle.effects[bundle.effects["result"] == result]
    for column, value in keys.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1, (result, keys)
    return frame.iloc[0]


@pytest.mark.oracle
def test_national_supported_work(released: dict[str, Bundle]) -> None:
    """Earnings are records in cents, so figures hold to the cent of the references."""
    nsw = released["nsw"]
    for result, keys, estimate, std_error in (
        ("unadjusted", {}, -8498, 712),
        ("benchmark", {}, 1794, 671),
        ("att_matched", {"estimator": "moments"}, 1707, 678),
        ("att_matched", {"estimator": "pyfixest"}, 1707, 678),
    ):
        found = row(nsw, result, **keys)
        assert (round(found["estimate"]), round(found["std_error"])) == (estimate, std_error)
    assert row(nsw, "att_matched", estimator="moments")["estimate"] == pytest.approx(1706.8137, abs=0.01)
    assert row(nsw, "att_matched", estimator="moments")["std_error"] == pytest.approx(678.243, abs=0.01)
    ours, rows = (row(nsw, "event_study", estimator=engine, event_time=2) for engine in ("att_gt", "pyfixest"))
    assert ours["std_error"] == pytest.approx(rows["std_error"], rel=1e-8)


def test_how_much_of_the_matched_effect_is_owed_to_the_order_of_identifiers(released: dict[str, Bundle]) -> None:
    """21 of 185 choices are ties: more than a tenth, so the effect is computed for other orders too."""
    nsw, agency = released["nsw"], released["agency"]
    assert nsw.ties is not None
    counted, moved = nsw.ties.to_dict("records")
    assert pd.isna(counted["result"])
    assert moved["result"] == "att_matched"
    for row_ in (counted, moved):
        assert (row_["n_choices"], row_["n_tied"]) == (185, 21)
        assert row_["share"] == pytest.approx(21 / 185)
    assert (counted["relabellings"], moved["relabellings"]) == (0, 25)
    assert 0 < moved["sd"] < moved["spread"] < 5 * moved["sd"]
    assert not any("identifier" in line for line in nsw.manifest["study"]["limitations"])
    # earnings histories tell nearly all people of the agency apart
    assert agency.ties is None or agency.ties["relabellings"].eq(0).all()


@pytest.mark.oracle
def test_training_grants(released: dict[str, Bundle]) -> None:
    grants = released["training_grants"]
    for engine in ("linearmodels", "pyfixest"):
        found = [row(grants, f"example_14_1_{engine}", estimand=name) for name in ("d88", "d89", "grant", "grant_1")]
        assert [round(r["estimate"], 3) for r in found] == [-0.080, -0.247, -0.252, -0.422]
        assert [round(r["std_error"], 3) for r in found] == [0.109, 0.133, 0.151, 0.210]
    first = row(grants, "att_gt", cohort=1988, time=1988)
    assert (round(first["estimate"], 3), round(first["std_error"], 3)) == (-0.379, 0.186)


def test_joblessness_says_who_is_counted(released: dict[str, Bundle]) -> None:
    spells = released["joblessness"]
    assert spells.flow is not None
    assert spells.flow["n"].tolist() == [3343, 1986, 1357]
    assert spells.effects is not None
    assert set(spells.effects.loc[spells.effects["result"] == "km_age_band", "level"]) == {
        "under 25", "25 to 39", "40 to 54", "55 and over",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("study", "name", "result"),
    [("nsw", "matched", "event_study"), ("training_grants", "scrap", "event_study")],
)
def test_published_effects_follow_from_the_bundle_alone(
    released: dict[str, Bundle], study: str, name: str, result: str
) -> None:
    bundle = released[study]
    assert bundle.effects is not None
    again = bundle.moments(name).att_gt().aggregate("dynamic").to_frame()
    rows = bundle.effects[(bundle.effects["result"] == result) & (bundle.effects["estimator"] == "att_gt")]
    for column in ("estimate", "std_error", "band_low", "p_value"):
        assert rows[column].to_numpy() == pytest.approx(again[column].to_numpy(), rel=1e-8, nan_ok=True)


def test_published_curves_follow_from_the_bundle_alone(released: dict[str, Bundle]) -> None:
    bundle = released["joblessness"]
    assert bundle.effects is not None
    again = Spells.from_table(bundle.life_table("ui")).kaplan_meier().to_frame()
    rows = bundle.effects[bundle.effects["result"] == "km_ui"]
    assert rows["estimate"].to_numpy() == pytest.approx(again["estimate"].to_numpy(), rel=1e-9)


def test_the_synthetic_agency_finds_what_its_generator_put_in(released: dict[str, Bundle]) -> None:
    agency = released["agency"]
    assert agency.manifest["study"]["synthetic"] is True
    assert all(item["rows_rejected"] == 0 for item in agency.manifest["inputs"])
    found, true = row(agency, "did"), row(agency, "truth")
    assert found["ci_low"] < true["estimate"] < found["ci_high"]
    effects = agency.effects
    assert effects is not None
    for suffix in ("", "_employed"):
        rows, truth = (
            effects[effects["result"] == f"{kind}{suffix}"].dropna(subset="event_time").set_index("event_time")
            for kind in ("event_study", "truth_event_study")
        )
        after = rows.index >= 0
        inside = (rows["band_low"] <= truth["estimate"]) & (truth["estimate"] <= rows["band_high"])
        assert inside[after].mean() > 0.9  # the band covers the whole path in 95 of 100 agencies
        assert rows.loc[1, "estimate"] < 0 < rows.loc[12, "estimate"]  # lock-in, then gain
    assert set(effects[effects["result"] == "att_by_age_band"]["level"]) == {
        "under 25", "25 to 39", "40 to 54", "55 and over",
    }  # fmt: skip
    quality = row(agency, "event_study_m0", event_time=12)
    assert quality["ci_high"] < 0  # deprivation falls


def test_the_agency_follows_from_its_bundle_alone(released: dict[str, Bundle]) -> None:
    agency = released["agency"]
    assert agency.effects is not None
    effects = rederive(agency).tables["effects"]  # published to four figures
    for outcome, result in (("earnings", "event_study"), ("employed", "event_study_employed")):
        again = agency.moments(f"matched_{outcome}").att_gt().aggregate("dynamic").to_frame()
        rows = effects[effects["result"] == result]
        assert rows["std_error"].to_numpy() == pytest.approx(again["std_error"].to_numpy(), rel=1e-8, nan_ok=True)
        assert rows["estimate"].to_numpy() == pytest.approx(again["estimate"].to_numpy(), rel=1e-8, abs=1e-12)


def test_the_agency_says_when_training_has_paid_for_itself(released: dict[str, Bundle]) -> None:
    """The intervals hold the break-even and payback of the effects that the generator put in."""
    effects = released["agency"].effects
    assert effects is not None
    truth = effects[(effects["result"] == "truth_event_study") & (effects["event_time"] >= 0)].sort_values("event_time")
    total = truth["estimate"].cumsum().to_numpy()
    rows = effects[effects["result"] == "payback"].set_index("estimand")
    cost = rows.loc["cost per participant", "estimate"]
    assert 1_000 < cost < 20_000
    for mark, target in (("break-even", 0.0), ("payback", cost)):
        true = float((total >= target).argmax())
        assert rows.loc[mark, "ci_low"] <= true
        assert pd.isna(rows.loc[mark, "ci_high"]) or true <= rows.loc[mark, "ci_high"]
    depth = rows.loc["lock-in depth"]
    assert depth["ci_low"] < truth["estimate"].min() < depth["ci_high"]


@pytest.mark.parametrize(
    ("study", "n_rederived", "on_covariance"),
    [
        ("nsw", 370, ("att_matched", "event_study")),  # the same estimates from rows, by pyfixest
        ("training_grants", 130, ("example_14_1",)),
        ("joblessness", 600, ()),
        # spells of matched sets: of how many sets two cells share is a small count
        ("agency", 3_000, ("jobless_since_start", "first_job", "lock_in", "indicators")),
    ],
)
def test_every_number_is_derived_again(
    released: dict[str, Bundle], study: str, n_rederived: int, on_covariance: tuple[str, ...]
) -> None:
    found = verify(released[study].path)
    assert (found.problems, found.stated) == ((), {})
    assert found.n_rederived >= n_rederived
    assert all(name.startswith(on_covariance) for name in found.on_covariance)


@pytest.mark.parametrize("study", ["nsw", "agency"])
def test_matched_studies_publish_their_balance_and_what_hidden_bias_would_take(
    released: dict[str, Bundle], study: str
) -> None:
    bundle = released[study]
    assert bundle.balance is not None
    assert balance_verdict(bundle.balance, bundle.matching).light in ("green", "amber")
    assert bundle.baseline_paths is not None
    assert set(bundle.baseline_paths["group"]) == {"treated", "treated matched", "control before", "control matched"}
    assert bundle.e_values is not None
    assert (bundle.e_values["e_value"] > bundle.e_values["e_value_limit"]).all()
    assert bundle.rosenbaum is not None
    assert bundle.rosenbaum["p_value"].is_monotonic_increasing
    if study == "agency":  # with risk sets, who was not matched has no period from which outcomes count
        assert bundle.oster is None
        return
    assert bundle.oster is not None
    assert bundle.oster["r2_max"].is_monotonic_increasing


def test_the_agency_finds_the_lock_in_that_its_generator_put_in(released: dict[str, Bundle]) -> None:
    """While in training, people find work at 0.65 times their usual chance; afterwards they find it faster."""
    agency = released["agency"]
    assert agency.effects is not None
    rows = agency.effects[agency.effects["result"] == "lock_in"].set_index("estimand")
    # of the ninth to the twelfth quarter too few are left to tell
    first, after = rows.loc["arm[T.trained]:period[1]"], rows.loc["arm[T.trained]:period[5–8]"]
    assert first["ci_low"] < np.log(0.65) < first["ci_high"]
    assert after["ci_low"] > 0
    # the curves of the release follow from its life tables, which do not say who was matched with whom
    table = agency.life_table("first_job")
    assert table.cluster is None
    again = Spells.from_table(table).kaplan_meier().to_frame()["estimate"]
    curve = agency.effects[agency.effects["result"] == "first_job"]
    np.testing.assert_allclose(curve["estimate"], again, atol=6e-5)  # four significant digits


def test_joblessness_ends_more_slowly_with_insurance_but_not_for_ever(released: dict[str, Bundle]) -> None:
    """McCall (1996): the hazards of full-time and part-time work are both lower for those who claim."""
    spells = released["joblessness"]
    assert spells.effects is not None
    for result in ("cox", "cox_full-time", "cox_part-time"):
        assert row(spells, result, estimand="ui[T.claimed]")["ci_high"] < 0
    late = row(spells, "cox_by_period", estimand="ui[T.claimed]:period[8–13]")
    assert late["ci_low"] < 0 < late["ci_high"]
    assert spells.tests is not None
    trend = spells.tests[spells.tests["test"] == "trend of (all)"]
    assert trend["p_value"].item() < 0.001


@pytest.mark.parametrize("study", ["nsw", "training_grants", "joblessness", "agency"])
def test_one_changed_byte_in_any_file_is_named(released: dict[str, Bundle], study: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(released[study].path, tmp_path / "2026"))
    for name in released[study].manifest["files"]:
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
        assert verify(copy).problems == (f"altered: {name}",)
        (copy / name).write_bytes(content)


@pytest.mark.parametrize(
    "study", ["nsw", "training_grants", "joblessness", pytest.param("agency", marks=pytest.mark.slow)]
)
def test_every_kind_of_number_altered_under_recomputed_hashes_is_named(
    released: dict[str, Bundle], study: str, tmp_path: Path
) -> None:
    """One number of every table at a time; each table has to be named."""
    for turn, places in enumerate(rounds(released[study].path)):
        copy = Path(shutil.copytree(released[study].path, tmp_path / str(turn)))
        for table, (row_number, column) in places.items():
            alter(copy, table, row_number, column)
        rehash(copy)
        named = {line.split(",")[0].split()[0] for line in verify(copy).problems}
        missed = {(table, column) for table, (_, column) in places.items() if table not in named}
        assert missed == set(), turn


def altered(table: Additive) -> Additive:
    """Return the table with a sum, or a count, changed."""
    if isinstance(table, OutcomeMoments):
        return replace(table, first=table.first * 1.01)
    if isinstance(table, SignedRanks):
        return replace(table, positive=table.positive * 0.99)
    if isinstance(table, Ties):
        return replace(table, tied=table.tied // 2)
    if isinstance(table, Spread):
        return replace(table, sum_wy2=table.sum_wy2 * 1.1)
    if isinstance(table, CrossProducts):
        products = table.products.copy()
        products[-1, -1] *= 1.1
        return replace(table, products=products)
    assert isinstance(table, CovariateMoments | LifeTable | SampleCounts)
    cells = table.cells.copy()
    if isinstance(table, SampleCounts):
        cells.loc[0, list(SUMS[table.kind])] += 7
    else:
        cells.loc[0, ["sum_wx"] if isinstance(table, CovariateMoments) else ["n", "sum_w", "sum_w2"]] *= 2
    return replace(table, cells=cells)


@pytest.mark.parametrize("study", ["nsw", "training_grants", "joblessness"])
def test_every_additive_table_altered_under_recomputed_hashes_is_found(
    released: dict[str, Bundle], study: str, tmp_path: Path
) -> None:
    bundle = released[study]
    for name, table in bundle.tables().items():
        copy = Path(shutil.copytree(bundle.path, tmp_path / name.replace("/", "-")))
        altered(table).to_parquet(copy / f"{name}.parquet")
        rehash(copy)
        assert not verify(copy).ok, name


@pytest.mark.parametrize("study", ["nsw", "training_grants", "joblessness", "agency"])
def test_nothing_published_rests_on_fewer_than_ten(released: dict[str, Bundle], study: str) -> None:
    bundle = released[study]
    assert bundle.effects is not None
    for count in ("n_treated", "n_control"):
        assert not (bundle.effects[count] < 10).any()
    for file in bundle.path.glob("moments/*.parquet"):
        assert bundle.moments(file.stem).cells["n"].min() >= 10
    for file in bundle.path.glob("life_tables/*.parquet"):
        table = bundle.life_table(file.stem)
        for _, cells in table.cells.groupby([*table.by, "entry"]):
            ends = cells.groupby("duration")["n"].sum()
            assert ends[::-1].cumsum().min() >= 10  # at risk at each step
        # numbers of those who end at a step are changed counts, none of which lies between 1 and count_gap
        if bundle.rules.noisy:
            assert table.cells["n"].min() > bundle.rules.count_gap
    for file in bundle.path.glob("statistics/*.parquet"):
        assert bundle.statistic(file.stem).cells["n"].min() >= 10


def test_of_the_agency_no_table_tells_what_another_one_withholds(released: dict[str, Bundle]) -> None:
    bundle = released["agency"]
    matching = pd.read_csv(bundle.path / "matching.csv").dropna(subset=["subgroup"])
    withheld = set(matching.loc[matching["n_treated"].isna(), "subgroup"])
    assert withheld  # matching dropped few people of some level
    cells = bundle.covariate_moments("matched").cells
    before = cells[(cells["arm"] == "treated") & (cells["stage"] == "before")]
    assert not withheld & set(before["column"])
    assert withheld <= set(cells["column"])
    # nor do published bins of all treated, less those matched, whose distribution is told: none or many were dropped
    exact = Results.read(bundle.path.parents[1] / "store" / "results").counts["overlap"].cells
    exact = exact.pivot_table(index=["bin_low", "bin_high"], columns="group", values="n").reset_index()
    dropped = exact["treated"] - exact["treated matched"]
    assert ((dropped > 0) & (dropped < 10)).any()
    bins = pd.read_csv(bundle.path / "overlap.csv").query("group == 'treated'")
    for low, high in bins[["bin_low", "bin_high"]].itertuples(index=False):
        within = dropped[(exact["bin_low"] >= low) & (exact["bin_high"] <= high)].sum()
        assert within == 0 or within >= 10


def test_of_the_agency_no_number_of_people_lies_between_one_and_js(released: dict[str, Bundle]) -> None:
    bundle = released["agency"]
    never = bundle.rules.count_gap
    assert never == 2
    for file in bundle.path.glob("life_tables/*.parquet"):
        table = bundle.life_table(file.stem)
        assert table.cells["n"].min() > never
        for _, cells in table.cells.groupby([*table.by, "entry"]):
            alike = (cells["sum_w"] / cells["n"] - 1).abs() < 1e-9
            assert alike.all() or not alike.any()  # a mean weight of 1 tells that all have it, or nothing
    for file in bundle.path.glob("moments/*.parquet"):
        moments = bundle.moments(file.stem)
        means, n = moments.means(), moments.cells["n"].to_numpy()[:, None]
        alike = moments.first[:, 0] == n[:, 0]  # all have the weight 1
        if moments.outcome in {"employed", "full_quarter"}:
            for people in ((n * means)[alike], (n * (1 - means))[alike]):  # with it, and without it
                assert ((people < 1e-6) | (people > never + 1 - 1e-6)).all(), file.stem
