"""A study on invented records, as an evaluator would start it: `retrain-eval init`, then files in ``data/``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from retrain_eval.study.template import new_study

EFFECT = 2_000.0
YEARS = range(2017, 2023)
ENTRY = 2020


def records(n_trained: int = 80, n_pool: int = 600, seed: int = 7) -> dict[str, pd.DataFrame]:
    """Invent people whose trainees earned less beforehand and gain ``EFFECT`` a year from 2020 on."""
    rng = np.random.default_rng(seed)
    n = n_trained + n_pool
    trained = np.arange(n) < n_trained
    ids = [f"P-{i:05d}" for i in range(n)]
    ability = rng.normal(0, 4_000, n) - 2_500 * trained
    person = pd.DataFrame({"person_id": ids, "age": rng.integers(20, 65, n)})
    wages = []
    for year in YEARS:
        level = 22_000 + 300 * (year - 2017) + ability + rng.normal(0, 2_000, n)
        level += EFFECT * (trained & (year >= ENTRY))
        wages.append(pd.DataFrame({"person_id": ids, "period": year, "wages": level.clip(0).round(2)}))
    enrolled = person.loc[trained, ["person_id"]].assign(programme_id="T1", entry=ENTRY)
    return {
        "person": person,
        "programme": pd.DataFrame([{"programme_id": "T1", "name": "Welding, six months"}]),
        "enrolment": enrolled,
        "wage_record": pd.concat(wages, ignore_index=True),
    }


def make(folder: Path, tables: dict[str, pd.DataFrame] | None = None) -> Path:
    """Start a study from the template and fill its record files."""
    new_study(folder)
    for name, frame in (tables or records()).items():
        frame.to_csv(folder / "data" / f"{name}.csv", index=False)
    return folder
