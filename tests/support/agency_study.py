"""A study of a small synthetic agency in the waiting design; callers say what it asks, and of what kind of agency."""

from __future__ import annotations

from pathlib import Path

import retrain_eval as rte
from retrain_eval.simulation import Parameters
from retrain_eval.simulation.agency import RECORDS

STUDY = """[study]
name = "small_agency"
title = "Does training pay?"
question = "Does training pay, for whom, and is it worth it?"
data = "Synthetic records of workers, made for a test."
currency = "USD"
frequency = "quarter"
synthetic = true
limitations = ["The data are synthetic."]
[records]
{records}
[panel]
no_record = "coverage"
base_period = "2025Q4"
[outcomes.earnings]
kind = "amount"
cap = 40000.0
[match]
formula = "trained ~ age + education + earnings_m1 + earnings_m2 + earnings_m3"
method = "riskset"
start = "displaced"
entry = "training"
end = "back_at_work"
exact = ["displaced"]
caliper = 0.2
[did]
outcome = "earnings"
control = "never_treated"
base_period = "universal"
{did}
[designs.waiting]
before = 4
after = 8
history = 4
wait = [2, 6]
{asked}
[release]
profile = "{profile}"
"""


def make(
    folder: Path, people: int, asked: str, *, did: str = "", profile: str = "default", seed: int = 11,
    parameters: Parameters | None = None,
) -> Path:  # fmt: skip
    """Write the folder of a study; ``asked`` has the sections of its questions, ``did`` further lines of ``[did]``."""
    (folder / "data").mkdir(parents=True)
    agency = rte.simulate(people=people, seed=seed, parameters=parameters or Parameters())
    agency.write(folder / "data")
    agency.con.close()
    records = "\n".join(f'{name} = "data/{name}.parquet"' for name in RECORDS)
    text = STUDY.format(records=records, did=did, asked=asked, profile=profile)
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder
