"""What the README shows must run as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import retrain_eval as rte
from places import ROOT
from retrain_eval.cli import app
from retrain_eval.questions.catalogue import QUESTIONS
from retrain_eval.study.template import new_study

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def agency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the Python block opens, with invented people."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    n = 400
    people = pd.DataFrame(
        {
            "person_id": [f"P{i:03d}" for i in range(n)],
            "treat": (np.arange(n) < 100).astype(int),
            "age": rng.integers(20, 60, n),
            "education_years": rng.integers(8, 18, n),
            "age_band": rng.choice(["under 25", "25 and over"], n),
            "education": rng.choice(["degree", "no degree"], n),
        }
    )
    years = {
        year: rng.normal(9_000, 2_000, n) + 1_500 * people["treat"] * (year == 1978) for year in (1974, 1975, 1978)
    }
    wide = people.assign(**{f"earnings_{year}": values for year, values in years.items()})
    panel = people[["person_id", "age_band", "education"]].assign(cohort=people["treat"] * 1976)
    panel = pd.concat([panel.assign(period=year, earnings=values) for year, values in years.items()])
    with duckdb.connect("agency.duckdb") as con:
        con.execute("CREATE TABLE people AS FROM wide")
        con.execute("CREATE TABLE panel AS FROM panel")
    south = panel.assign(person_id="S" + panel["person_id"], weight=1.0, subclass="S" + panel["person_id"])
    names = {"unit": "person_id", "time": "period", "cohort": "cohort", "outcome": "earnings"}
    by = ("age_band", "education")
    rte.outcome_moments(south, **names, by=by, weights="weight", cluster="subclass").to_parquet("south.parquet")
    spells = {"person_id": range(4), "quarters": [1, 2, 3, 4], "cause": ["job", None] * 2, "arm": list("aabb")}
    pd.DataFrame(spells).to_parquet("spells.parquet")
    assert len(wide) == n
    return tmp_path


def test_the_python_block_runs(agency: Path) -> None:
    (block,) = blocks("python")
    names: dict[str, object] = {}
    exec(block, names)
    both = names["m"] + names["south"]
    assert both.cells["n"].sum() == names["m"].cells["n"].sum() + 400
    assert both.att_gt().aggregate("simple").to_frame()["estimate"].item() == pytest.approx(1_500, abs=600)
    names["con"].close()


def test_every_command_shown_exists() -> None:
    shown = [shlex.split(line, comments=True) for block in blocks("console") for line in block.splitlines()]
    verbs = {words[1] for words in shown if words and words[0] == "retrain-eval"}
    assert {"init", "run", "release", "report", "verify"} <= verbs
    for verb in verbs:
        done = CliRunner().invoke(app, [verb, "--help"])
        assert done.exit_code == 0, verb
        assert f"retrain-eval {verb}" in done.output
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {words[1] for words in shown if words and words[0] == "make"} <= set(targets)


def test_every_file_linked_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_a_new_study_is_named_after_its_folder(tmp_path: Path) -> None:
    new_study(tmp_path / "Welding 2026")
    assert rte.Study.open(tmp_path / "Welding 2026").file.study.name == "welding_2026"


def test_the_version_is_printed() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert re.fullmatch(r"retrain-eval \d+\.\d+\.\d+\n", done.output)


def test_every_question_of_the_catalogue_is_in_the_table_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \| .*[?] \|$", README, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(QUESTIONS)
