"""A result that cannot be had, or not published, is listed with its reason, and the others are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import own_study
import retrain_eval as rte
from keyed_panels import RULES, keyed
from retrain_eval.cli import app
from retrain_eval.common.errors import DesignError, DisclosureError, InputError, ReleaseError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.plan.study_file import About, StudyFile
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results
from retrain_eval.release.verification.verify import verify
from retrain_eval.report.page import open_release
from retrain_eval.report.pages.limitations import tabulate_withheld
from retrain_eval.study.folder import Study
from retrain_eval.study.run import Run
from retrain_eval.study.script import SCRIPT
from retrain_eval.tables.life_table.spell_table import ANY


def effects(n: int = 2) -> EffectTable:
    rows = [
        {"subgroup": "band", "level": f"level {i}", "estimate": float(i), "n_treated": 50, "n_control": 50}
        for i in range(n)
    ]
    return EffectTable.build(rows, np.eye(n))


def cannot(error: Exception) -> EffectTable:
    raise error


@pytest.fixture
def run() -> Run:
    about = About(name="x", title="T", question="Q", data="D")
    said: list[str] = []
    made = Run(StudyFile(study=about, records={"person": "p.csv"}), None, said.append)
    made.said = said
    return made


def published(run: Run) -> list[str]:
    found = run.results.tables.get("effects", pd.DataFrame({"result": []}))
    return list(dict.fromkeys(found["result"]))


def test_one_question_that_fails_leaves_the_others(run: Run) -> None:
    run.publish("first", effects())
    run.publish("second", lambda: cannot(DesignError("no controls are left")))
    run.publish("third", lambda: effects())
    with run.attempt("fourth", "fifth"):
        run.publish("fourth", effects())
        cannot(DisclosureError("a cohort of 4, fewer than 10"))
    run.publish_levels("band", effects(1))
    run.publish("tests", lambda: cannot(DesignError("nothing to test")), of="first")
    assert published(run) == ["first", "third", "fourth"]
    assert run.results.withheld() == {
        "second": "no controls are left",
        "fifth": "too few people stand behind it",  # the message counts four people: it stays inside
        "att_by_band": "fewer than two levels of band are left to compare",
        "difference_by_band": "fewer than two levels of band are left to compare",
        "first: tests": "nothing to test",
    }
    assert "fifth is withheld: a cohort of 4, fewer than 10" in run.said


def test_a_mistake_in_the_script_still_stops_the_run(run: Run) -> None:
    with pytest.raises(InputError, match="unknown column"):
        run.publish("first", lambda: cannot(InputError("unknown column 'agee'")))
    with pytest.raises(ZeroDivisionError), run.attempt("second"):
        raise ZeroDivisionError
    with pytest.raises(InputError, match="names of the results"), run.attempt():
        pass
    assert run.results.withheld() == {}


def test_what_a_block_leaves_undone_after_its_results_is_listed_too(run: Run) -> None:
    with run.attempt("did"):
        run.publish("did", effects())
        cannot(DesignError("no pre-period"))
    assert run.results.withheld() == {"did: what follows it": "no pre-period"}


def test_hidden_bias_of_a_withheld_effect_is_withheld(run: Run) -> None:
    run.publish("did", lambda: cannot(DesignError("no controls are left")))
    run.publish_hidden_bias("did", pd.DataFrame(), None, "pay")
    assert run.results.withheld()["did: rosenbaum"] == "no controls are left"
    with pytest.raises(InputError, match="no result 'other' is published"):
        run.publish_hidden_bias("other", pd.DataFrame(), None, "pay")


# ---- a study from run to report ----------------------------------------------------------------------------------

MORE = """
    run.publish("never", lambda: run.results.moments["matched"].subset(cohort=2020).att_gt().aggregate("simple"))
    small = run.keyed(run.con.sql("SELECT person_id, 1 AS quarters, 1 AS cause FROM person ORDER BY person_id LIMIT 4"))
    run.results.life_tables["few"] = rte.Spells(small, id="person_id", by=()).table
    run.publish("km_few", rte.Spells.from_table(run.results.life_tables["few"]).kaplan_meier())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = own_study.make(tmp_path_factory.mktemp("studies") / "mine")
    script = (made / SCRIPT).read_text()
    here = "\n    for name in study.strata:"
    assert here in script
    (made / SCRIPT).write_text(script.replace(here, MORE + here))
    return made


def command(*words: str) -> tuple[int, dict[str, object]]:
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.output.splitlines()[-1])


def test_a_study_runs_to_its_end_and_says_what_is_withheld(folder: Path) -> None:
    code, facts = command("run", str(folder))
    assert code == 0
    assert list(facts["withheld"]) == ["never"]
    code, facts = command("release", str(folder), "--edition", "2026", "--draft")
    assert code == 0
    assert facts["withheld"]["km_few"] == "it is of fewer than 10 spells"
    bundle = Study.open(folder).bundle("2026")
    assert {"never", "km_few"} <= set(bundle.withheld)
    assert "did" not in bundle.withheld
    assert bundle.effects is not None
    assert bundle.effects.loc[bundle.effects["result"] == "did", "estimate"].notna().all()
    assert not (bundle.path / "life_tables" / "few.parquet").exists()
    assert "Life table few: withheld, because it is of fewer than 10 spells." in bundle.manifest["protection"]
    found = verify(bundle.path)
    assert found.ok, str(found)
    assert found.withheld == bundle.withheld
    assert f"{len(bundle.withheld)} results are withheld:\n  never: " in str(found)
    code, facts = command("verify", str(bundle.path))
    assert (code, facts["withheld"]) == (0, bundle.withheld)
    release = open_release([bundle.path])
    assert "withheld" in release.parts()
    html = tabulate_withheld(release).html()
    assert "km_few" in html
    assert "it is of fewer than 10 spells" in html


def test_a_required_result_that_is_withheld_fails_the_verbs_and_keeps_the_others(folder: Path) -> None:
    toml = folder / "study.toml"
    text = toml.read_text()
    try:
        toml.write_text(text.replace("required = []", 'required = ["did", "never"]'))
        for _ in range(2):  # also where nothing has changed
            with pytest.raises(ReleaseError, match=r"requires is missing; the others are kept:\n  never is withheld"):
                Study.open(folder).run()
        kept = Results.read(folder / "store" / "results").tables["effects"]["result"]
        assert "did" in set(kept)
        with pytest.raises(ReleaseError, match="never is withheld"):
            Study.open(folder).release("required")
        toml.write_text(text.replace("required = []", 'required = ["did", "km_few"]'))
        Study.open(folder).run()  # the run has it
        with pytest.raises(ReleaseError, match="km_few is withheld: it is of fewer than 10"):
            Study.open(folder).release("required")
        assert not (folder / "release" / "required").exists()
        toml.write_text(text.replace("required = []", 'required = ["dib"]'))
        with pytest.raises(ReleaseError, match="dib was not published; known: "):
            Study.open(folder).run()
    finally:
        toml.write_text(text)


# ---- what cannot be protected ------------------------------------------------------------------------------------


def moments(n: dict[tuple[int, str], int], outcome: str = "y") -> rte.OutcomeMoments:
    rng = np.random.default_rng(3)
    rows = [(cohort, band) for (cohort, band), count in n.items() for _ in range(count)]
    people = pd.DataFrame(rows, columns=["g", "band"]).assign(id=range(len(rows)))
    long = people.merge(pd.DataFrame({"t": [1, 2]}), how="cross").assign(y=lambda d: 9 + rng.normal(size=len(d)))
    long["person"] = outcome + long["id"].astype(str)
    rows = keyed(long.rename(columns={"y": outcome}))
    return rte.outcome_moments(rows, unit="id", time="t", cohort="g", outcome=outcome, by="band", kind="amount")


def test_a_table_below_the_rule_withholds_what_follows_from_it_and_no_more() -> None:
    good, small = moments({(2, "a"): 30, (0, "a"): 40}), moments({(2, "a"): 4, (0, "a"): 30}, "other")
    results = Results(moments={"good": good, "small": small})
    for name, table in results.moments.items():
        results.add_effects(name, table.att_gt().aggregate("simple"))
    said: list[str] = []
    safe, record = protect(results, RULES, say=said.append)
    assert list(safe.moments) == ["good"]
    shown = safe.tables["effects"].set_index("result")["estimate"]
    assert shown.notna().to_dict() == {"good": True, "small": False}
    assert safe.withheld() == {"small": "in a cohort, there are fewer than 10 people"}
    assert any("'small': in a cohort of 4 units, there are fewer than 10 people" in line for line in said)  # inside
    assert not any(" 4" in line for line in record)  # what is published counts no few people


def test_where_nothing_is_left_there_is_no_edition() -> None:
    small = moments({(2, "a"): 4, (0, "a"): 30})
    results = Results(moments={"small": small})
    results.add_effects("small", small.att_gt().aggregate("simple"))
    with pytest.raises(DisclosureError, match="fewer than 10 people"):
        protect(results, RULES)


def test_effects_with_their_covariance_do_not_outlive_their_table() -> None:
    rows = pd.DataFrame({"id": range(24), "pair": np.repeat(range(12), 2), "quarters": 1, "arm": ["a", "b"] * 12})
    rows["cause"] = (rows["id"] < 3).astype(int)  # three ends: no count of them may be published
    rows.loc[rows["id"] > 20, "quarters"] = 2
    rows["person"] = rows["id"].astype(str)
    spells = rte.Spells(keyed(rows.head(9)), id="id", duration="quarters", by="arm", cluster="pair")
    results = Results(life_tables={"paired": spells.table.without_clusters()})
    results.add_effects("difference", spells.survival_difference(times=(1,)))
    results.moments["other"] = moments({(2, "a"): 30, (0, "a"): 40})
    results.add_effects("did", results.moments["other"].att_gt().aggregate("simple"))
    safe, _ = protect(results, RULES)
    shown = safe.tables["effects"].set_index("result")
    assert np.isnan(shown.loc["difference", "estimate"])
    assert "difference" in safe.withheld()
    part = next(part for part in safe.parts if part.result == "difference")
    assert part.covariance is None or np.isnan(part.covariance).all()


# ---- causes and strata go before the curve -------------------------------------------------------------------------


def spells(rare: int, by_small: int = 200, *, causes: bool = True) -> rte.LifeTable:
    """Return spells of two arms; the second has ``by_small`` people, and a second cause is rare, or all are one."""
    rng = np.random.default_rng(1)
    n = 200 + by_small
    frame = pd.DataFrame({"id": range(n), "quarters": rng.integers(1, 9, n), "cause": "job", "arm": "a"})
    frame.loc[frame["id"] >= 200, "arm"] = "b"
    frame.loc[frame["id"] % 3 == 0, "cause"] = None
    frame.loc[frame.index[:rare], ["cause", "quarters"]] = ["recall", 1]
    frame["cause"] = frame["cause"] if causes else frame["cause"].where(frame["cause"].isna(), "job")
    return rte.Spells(frame, id="id", duration="quarters", cause="cause", by="arm", censored=()).table


def test_rare_causes_are_merged_before_a_curve_is_withheld() -> None:
    table = spells(rare=4)
    with pytest.raises(DisclosureError, match="no duration leaves every count"):
        table.coarsen(10)
    safe = table.coarsen(10, merge=True)
    assert safe.merged == ("causes",)
    assert set(safe.cells["cause"]) == {"0", ANY}
    assert safe.by == ("arm",)
    assert safe.cells["n"].min() >= 10
    by_hand = spells(rare=4, causes=False).coarsen(10)
    ours, theirs = (rte.Spells.from_table(found).kaplan_meier().frame["estimate"] for found in (safe, by_hand))
    np.testing.assert_allclose(ours, theirs)
    assert safe.coarsen(10, merge=True).merged == ("causes",)


def test_levels_are_summed_over_where_merging_causes_is_not_enough(tmp_path: Path) -> None:
    table = spells(rare=4, by_small=6)
    safe = table.coarsen(10, merge=True)
    assert safe.merged == ("causes", "arm")
    assert safe.by == ()
    assert safe.n_spells == table.n_spells
    safe.to_parquet(tmp_path / "t.parquet")
    assert rte.LifeTable.read_parquet(tmp_path / "t.parquet").merged == ("causes", "arm")
    with pytest.raises(DesignError, match="groups by arm are too small to be shown"):
        rte.Spells.from_table(safe).survival_difference(times=safe.grid[-1:])
    with pytest.raises(DesignError, match="groups by arm are too small to be shown"):
        rte.Spells.from_table(safe).discrete_hazard("arm:period")
    with pytest.raises(InputError, match="unknown column of levels 'sex'"):
        rte.Spells.from_table(safe).discrete_hazard("sex:period")
    with pytest.raises(InputError, match="merged differ"):
        _ = safe + replace_merged(safe)
    with pytest.raises(DisclosureError, match="no duration leaves every count"):
        spells(rare=0, by_small=1).subset(arm="b").coarsen(10, merge=True)


def replace_merged(table: rte.LifeTable) -> rte.LifeTable:
    from dataclasses import replace

    return replace(table, merged=())


def test_no_mean_is_exact_where_the_first_durations_are_merged() -> None:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"id": range(400), "quarters": np.r_[[1] * 3, rng.integers(2, 7, 397)], "cause": 1})
    frame["arm"] = np.where(frame["id"] % 2, "a", "b")
    safe = rte.Spells(frame, id="id", duration="quarters", by="arm").table.coarsen(10)
    assert safe.exact_until == 0
    front = rte.Spells.from_table(safe)
    for ask in (front.rmst, front.rmst_difference):
        with pytest.raises(DesignError, match="the durations up to 2 are merged into one"):
            ask(tau=safe.exact_until)
        with pytest.raises(InputError, match="above zero"):
            ask(tau=-1)
    for ask_times in (front.survival_difference, front.ever_ended, front.kaplan_meier):
        with pytest.raises(DesignError, match="is kept in the coarsened table"):
            ask_times(times=safe.told_apart((1,)))
    with pytest.raises(DesignError):
        front.discrete_hazard("arm:period", bins=safe.told_apart((1,)))
    assert np.isfinite(front.rmst(tau=safe.grid[-1]).frame["estimate"]).all()


def test_a_script_that_stops_keeps_what_it_had_published(run: Run) -> None:
    with pytest.raises(DesignError, match="no controls"):
        run.stop(DesignError("no controls are left"))  # nothing was published: there is nothing to keep
    run.publish("did", effects())
    run.stop(DesignError("no controls are left"))
    assert list(run.results.withheld().values()) == ["no controls are left"]
    assert "did" in set(run.results.tables["effects"]["result"])
