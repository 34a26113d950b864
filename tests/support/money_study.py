"""A small synthetic agency with several funders, and a study of it that asks what training is worth."""

from __future__ import annotations

from pathlib import Path

import retrain_eval as rte
from retrain_eval.simulation import Parameters
from retrain_eval.simulation.agency import RECORDS

TRAINED_OFTEN = Parameters(trained=0.12, funded=(0.6, 0.3, 0.05, 0.05))
STUDY = """[study]
name = "worth"
title = "Is training worth it?"
question = "Who pays, who gains, and is it worth it?"
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
[designs.waiting]
before = 4
after = 8
history = 4
wait = [2, 6]
[questions.money]
{options}
[release]
profile = "{profile}"
"""
OPTIONS = """tax_rate = 0.22
employer_tax_rate = 0.0765
benefit_withdrawal = 0.1
discount_rate = 0.03
"""


def make(folder: Path, people: int = 4_000, *, options: str = OPTIONS, profile: str = "default", seed: int = 11,
         parameters: Parameters = TRAINED_OFTEN) -> Path:  # fmt: skip
    """Write the folder of a study."""
    (folder / "data").mkdir(parents=True)
    agency = rte.simulate(people=people, seed=seed, parameters=parameters)
    agency.write(folder / "data")
    agency.con.close()
    listed = "\n".join(f'{name} = "data/{name}.parquet"' for name in RECORDS)
    text = STUDY.format(records=listed, options=options, profile=profile)
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder
