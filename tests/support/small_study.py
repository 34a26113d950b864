"""A study of 160 people that runs in a few seconds, and the program as a separate process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

YEARS, ENTRY = range(2016, 2022), 2019
RUN = """
import retrain_eval as rte


def analyse(run):
    study, con = run.study, run.con
    rte.build_panel(con, no_record=study.panel.no_record)
    rte.baseline(con, study.strata, periods=())
    rows = run.keyed(con.sql("FROM panel JOIN baseline USING (person_id)"))
    names = {"unit": "person_id", "time": "period", "cohort": "cohort", "outcome": study.did.outcome}
    moments = rte.outcome_moments(rows, **names, winsorise=study.release.winsorise)
    run.publish("pool", moments)
    run.publish("means", rte.mean_paths(moments))
    run.publish("event_study", moments.att_gt(**study.did_options()).aggregate("dynamic"))
    for name in study.strata:
        by = rte.outcome_moments(rows, **names, by=name, winsorise=study.release.winsorise)
        run.publish(f"pool_by_{name}", by)
        run.publish(f"att_by_{name}", by.att_gt(**study.did_options()).by(name).aggregate("simple"))
"""
STUDY = """[study]
name = "tiny"
title = "T"
question = "Q?"
data = "D"
currency = "USD"
limitations = ["none"]
[records]
person = "data/person.csv"
programme = "data/programme.csv"
enrolment = "data/enrolment.csv"
wage_record = "data/wage_record.csv"
[did]
outcome = "earnings"
"""


def records(n_trained: int = 40, n_pool: int = 120, seed: int = 1) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    n = n_trained + n_pool
    ids = [f"P{i:05d}" for i in range(n)]
    trained = np.arange(n) < n_trained
    base = np.exp(rng.normal(10, 0.4, n))
    wages = [
        pd.DataFrame({"person_id": ids, "period": year,
                      "wages": (base * np.exp(rng.normal(0, 0.25, n)) + 1500 * (trained & (year >= ENTRY))).round(2)})
        for year in YEARS
    ]  # fmt: skip
    person = pd.DataFrame({"person_id": ids, "age": rng.integers(20, 60, n), "education": rng.integers(1, 6, n)})
    return {
        "person": person,
        "programme": pd.DataFrame([{"programme_id": "G1", "name": "Prog", "provider": "Prov"}]),
        "enrolment": pd.DataFrame({"person_id": ids[:n_trained], "programme_id": "G1", "entry": ENTRY}),
        "wage_record": pd.concat(wages, ignore_index=True),
    }


def make(folder: Path, *, study: str = STUDY, more: str = "", tables: dict[str, pd.DataFrame] | None = None) -> Path:
    """Write a study folder."""
    (folder / "data").mkdir(parents=True)
    for name, frame in (tables or records()).items():
        frame.to_csv(folder / "data" / f"{name}.csv", index=False)
    (folder / "study.toml").write_text(study + more, encoding="utf-8")
    (folder / "run.py").write_text(RUN, encoding="utf-8")
    return folder


def empty_store(folder: Path) -> None:
    """Remove the store but for what cannot be made again: the release key, and the sets of people of each edition."""
    for path in (folder / "store").iterdir():
        if path.name not in ("release.key", "release_key.json", "released_sets.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def start(*arguments: str | os.PathLike[str], cwd: Path | None = None, **env: str) -> subprocess.Popen[str]:
    """Start the program as a separate process."""
    return subprocess.Popen(
        [sys.executable, "-m", "retrain_eval", *map(os.fspath, arguments)], cwd=cwd, text=True, errors="replace",
        env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def cli(*arguments: str | os.PathLike[str], cwd: Path | None = None, **env: str) -> tuple[int, str]:
    """Run the program; return its exit code and everything that it printed. A traceback is a failure of the test."""
    process = start(*arguments, cwd=cwd, **env)
    said, _ = process.communicate(timeout=300)
    assert "Traceback" not in said, said
    return process.returncode, said
