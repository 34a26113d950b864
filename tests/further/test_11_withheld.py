"""A result that cannot be published is listed as withheld with its reason, and takes no other result with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import retrain_eval as rte
from further_cases import long_panel, moments, refusal_of, study_folder
from keyed_panels import RULES, keyed
from retrain_eval import cli
from retrain_eval.records.store import Store
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results


@pytest.mark.parametrize("seed", [2781, 13164, 34210])
def test_what_the_simulator_writes_holds_its_own_schemas(tmp_path, seed):
    """Registers in which somebody draws a very long tenure."""
    made = rte.simulate(people=200, seed=seed)
    assert made.con.sql("SELECT count(*) FROM displacement WHERE tenure > 280 OR tenure < 0").fetchall() == [(0,)]
    files = made.write(tmp_path)
    with Store.open(tmp_path / "s.duckdb", frequency="quarter") as store:
        store.ingest_all(files)
        assert store.rejects().empty


def life(ends: dict[str, list[tuple[float, object]]]) -> rte.Spells:
    rows = [(arm, q, cause) for arm, spells in ends.items() for q, cause in spells]
    frame = pd.DataFrame(rows, columns=["arm", "q", "cause"]).reset_index(names="id")
    rows = keyed(frame.assign(person=frame["id"].astype(str)))
    return rte.Spells(rows, id="id", duration="q", cause="cause", by="arm", censored=())


def many(seed: int, n: int, causes: list[object]) -> list[tuple[float, object]]:
    rng = np.random.default_rng(seed)
    return list(zip(rng.integers(1, 9, n).astype(float), rng.choice(np.array(causes, dtype=object), n), strict=True))


TABLES = {
    "a cause of three among 483": {
        "a": [*many(1, 240, ["job", None]), (2.0, "recall")],
        "b": [*many(2, 240, ["job", None]), (3.0, "recall"), (5.0, "recall")],
    },
    "an arm of four": {"a": many(3, 240, ["job", None]), "b": many(4, 239, ["job", None]), "c": many(5, 4, ["job"])},
    "six causes of a few each": {
        "a": [*many(6, 200, ["job", None]), *[(float(1 + i % 7), f"cause {i % 6}") for i in range(24)]],
        "b": many(7, 200, ["job", None]),
    },
}


@pytest.mark.parametrize("name", TABLES)
def test_a_rare_cause_or_stratum_goes_before_the_curve(name):
    spells = life(TABLES[name])
    results = Results()
    results.life_tables["spells"] = spells.table
    safe, record = protect(results, RULES)
    assert "spells" in safe.life_tables, record
    table = safe.life_tables["spells"]
    curve = rte.Spells.from_table(table).kaplan_meier().to_frame()
    assert curve.groupby("level")["time"].nunique().loc["a"] >= 4
    assert len(set(curve["level"])) >= 2


def test_the_other_tables_are_kept_where_one_cannot_be_protected():
    rng = np.random.default_rng(8)
    good, tiny = (
        moments(keyed(rows.assign(person=rows["id"].astype(str))))
        for rows in (
            long_panel(rng.normal(100, 10, (200, 3)), np.tile([2, 0], 100)),
            long_panel(rng.normal(100, 10, (8, 3)), [2, 0] * 4),
        )
    )
    results = Results()
    results.moments["main"], results.moments["tiny"] = good, tiny
    results.add_effects("did", good.att_gt().aggregate("simple"))
    results.add_effects("small", tiny.att_gt().aggregate("simple"))
    safe, record = protect(results, RULES)
    assert "main" in safe.moments
    assert "tiny" not in safe.moments
    effects = safe.tables["effects"].set_index("result")
    assert np.isfinite(effects.loc["did", "estimate"])
    assert "small" not in effects.index or np.isnan(effects.loc["small", "estimate"])
    assert any("withheld" in line and ("tiny" in line or "small" in line) for line in record)


def test_a_life_table_that_cannot_be_protected_is_withheld_and_the_others_stay():
    results = Results()
    results.life_tables["many"] = life({"a": many(9, 300, ["job", None])}).table
    results.life_tables["few"] = life({"a": many(10, 6, ["job"])}).table
    safe, record = protect(results, RULES)
    assert "many" in safe.life_tables
    assert "few" not in safe.life_tables
    assert any("withheld" in line and "few" in line for line in record)


@pytest.mark.parametrize("early", [1, 4, 9])
def test_what_no_published_duration_supports_is_refused_by_name_or_estimated(early):
    """Few ends in the first quarter are merged with later ones, so that no duration before is exact."""
    rng = np.random.default_rng(early)
    rows = {
        "a": [(1.0, 1)] * early + many(11, 150, [1, 0]),
        "b": [(float(q), c) for q, c in zip(rng.integers(2, 9, 150), rng.integers(0, 2, 150), strict=True)],
    }
    safe = rte.Spells.from_table(life(rows).table.coarsen(10))
    horizon = safe.table.exact_until
    text = refusal_of(lambda: safe.rmst(tau=horizon))
    if text is not None:
        assert "tau" in text or "duration" in text
        return
    frame = safe.rmst(tau=horizon).to_frame()
    assert frame["estimate"].between(0, max(horizon, 8)).all()


SCRIPT = """
import pandas as pd
import retrain_eval as rte
from retrain_eval.common.errors import DisclosureError
def analyse(run):
    rte.build_panel(run.con, no_record=run.study.panel.no_record)
    columns = {"unit": "person_id", "time": "period", "cohort": "cohort", "outcome": "earnings"}
    m = rte.outcome_moments(run.con.table("panel"), **columns, winsorise=1.0)
    run.results.moments["main"] = m
    run.publish("did", m.att_gt().aggregate("simple"))
    few = pd.DataFrame({"id": range(6), "q": [1, 2, 3, 1, 2, 3], "cause": 1, "arm": ["a", "b"] * 3})
    spells = rte.Spells(few, id="id", duration="q", cause="cause", by="arm")
    safe = spells.table.coarsen(run.study.release.min_contributors)
    run.results.life_tables["few"] = safe
    run.publish("curve", rte.Spells.from_table(safe).kaplan_meier())
"""


def agency(folder: Path, more: str = "") -> Path:
    rng = np.random.default_rng(12)
    people = [f"P{i}" for i in range(120)]
    files = {
        "person.csv": "person_id\n" + "".join(f"{p}\n" for p in people),
        "programme.csv": "programme_id,name\nT,Welding\n",
        "enrolment.csv": "person_id,programme_id,entry\n" + "".join(f"{p},T,2019Q3\n" for p in people[::2]),
        "wage_record.csv": "person_id,period,wages\n"
        + "".join(f"{p},2019Q{q},{rng.integers(900, 1100)}\n" for p in people for q in (1, 2, 3, 4)),
    }
    return study_folder(folder, files, script=SCRIPT, more=more, no_record="missing")


def command(*words: str) -> tuple[int, str]:
    """Run the command line in this process, refusals printed as `main` prints them."""
    runner = CliRunner()
    found = runner.invoke(cli.app, list(words))
    text = found.output + (str(found.exception) if found.exception else "")
    return found.exit_code, text


def test_a_run_keeps_what_it_found_and_lists_what_is_withheld(tmp_path):
    """Assumed: a step of run.py that cannot be published leaves a run that ends well and says *withheld*."""
    folder = agency(tmp_path / "s")
    code, text = command("run", str(folder))
    assert code == 0, text
    assert "did" in text
    said: list[str] = []
    results = rte.Study.open(folder).run(force=True, say=said.append)
    effects = results.tables["effects"]
    assert "did" in set(effects["result"])
    assert "withheld" in " ".join([text, *said, str(vars(results))]).lower()


def test_a_withheld_result_that_the_plan_requires_is_a_failure(tmp_path):
    """Assumed: ``[plan] required`` names results that must be published."""
    folder = agency(tmp_path / "s", '\n[plan]\nrequired = ["curve"]\n')
    code, text = command("run", str(folder))
    if code == 0:
        code, text = command("release", str(folder), "--edition", "2026", "--draft")
    assert code != 0
    assert "curve" in text
    assert "unknown key" not in text
