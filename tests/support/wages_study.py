"""A study of a small synthetic agency that asks about log earnings and the quality of jobs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import agency_study
from money_study import TRAINED_OFTEN

ASKED = """[questions.wage_path]
models = ["fixed", "first_differences", "correlated_random"]
lowest = 20.0
highest = 200000.0
[questions.job_quality]
[quality]
dimensions = ["earnings", "tenure", "stability", "occupation"]
min_tenure = 4
max_cv = 0.5
cutoff_k = 0.5
non_employed = "deprived"
"""


def make(folder: Path, people: int = 3_000, *, profile: str = "default", seed: int = 11) -> Path:
    """Write the folder of a study."""
    return agency_study.make(folder, people, ASKED, profile=profile, seed=seed, parameters=TRAINED_OFTEN)


# ---- other designs, in years -----------------------------------------------------------------------------------------

YEARLY = """[study]
name = "pay"
title = "T"
question = "Q"
data = "Invented people."
currency = "USD"
frequency = "year"
synthetic = true
limitations = ["Nobody here exists."]
[records]
{records}
[panel]
no_record = "zero"
[outcomes.earnings]
kind = "amount"
cap = 400000.0
{match}
[designs.one]
{design}
before = 2
after = 2
history = 2
[questions.wage_path]
lowest = 500.0
highest = 500000.0
"""
MATCH = """[match]
formula = "trained ~ earnings_m1 + earnings_m2"
method = "nearest"
m_order = "largest"
exact = {exact}
"""
DESIGNS = {
    "calendar": ('kind = "calendar"\nstart = "2020"', MATCH.format(exact="[]")),
    "entry": ('kind = "entry"', MATCH.format(exact='["start"]')),
    # whoever has a computer was offered a place: the schemas have no column for offers
    "randomised": ('kind = "randomised"\nstart = "2020"\noffered = "digital_access"', ""),
}
GAIN = 0.15  # of log earnings, of people who are trained, from their start on


def make_yearly(folder: Path, design: str, trained: int = 400, pool: int = 1_200, seed: int = 5) -> Path:
    """Write the folder of a study of yearly earnings, in which training also employs a tenth of those without a job."""
    rng, n = np.random.default_rng(seed), trained + pool
    ids, treated = [f"P-{i:05d}" for i in range(n)], np.arange(n) < trained
    start = np.where(rng.random(n) < 0.5, 2020, 2021) if design == "entry" else np.full(n, 2020)
    ability, works = rng.normal(10, 0.5, n), rng.random(n)
    wages = []
    for year in range(2016, 2024):
        after = treated & (year >= start)
        employed = works < 0.75 + 0.025 * after + rng.normal(0, 0.05, n)
        log = ability + 0.02 * (year - 2016) + rng.normal(0, 0.2, n) + GAIN * after
        rows = pd.DataFrame({"person_id": ids, "period": year, "wages": np.exp(log).round(2)})
        wages.append(rows[employed])
    tables = {
        "person": pd.DataFrame({"person_id": ids, "age": rng.integers(20, 65, n), "digital_access": treated}),
        "programme": pd.DataFrame([{"programme_id": "T1", "name": "Welding"}]),
        "enrolment": pd.DataFrame({"person_id": ids, "programme_id": "T1", "entry": start})[treated],
        "wage_record": pd.concat(wages),
        "registrant": pd.DataFrame({"person_id": ids, "period": start}),
    }
    (folder / "data").mkdir(parents=True)
    for name, frame in tables.items():
        frame.to_csv(folder / "data" / f"{name}.csv", index=False)
    listed = "\n".join(f'{name} = "data/{name}.csv"' for name in tables)
    kind, match = DESIGNS[design]
    text = YEARLY.format(records=listed, design=kind, match=match)
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder
