"""A small synthetic agency in which retraining gains nothing for some groups, and a study that asks for whom."""

from __future__ import annotations

from pathlib import Path

import retrain_eval as rte
from retrain_eval.simulation import Parameters
from retrain_eval.simulation.agency import RECORDS

NO_GAIN = Parameters(trained=0.2, no_gain_for=(1.0, 0.0, 0.0))
STUDY = """[study]
name = "groups"
title = "For whom does retraining work?"
question = "For whom does retraining work, and what works for the others?"
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
smallest_worthwhile = 600.0
[strata.age_band]
column = "age"
title = "Age"
cuts = [40, 55]
labels = ["under 40", "40 to 54", "55 and over"]
[strata.schooling]
column = "education"
title = "Education"
cuts = [3]
labels = ["low", "high"]
[strata.capacity]
column = "disability"
title = "Capacity"
labels = {{false = "not limited", true = "limited"}}
[strata.spell]
column = "periods_without_work"
title = "Time without work"
cuts = [4]
labels = ["under a year", "a year or more"]
[strata.trade]
column = "isco_left"
title = "Occupation left"
[plan]
subgroups = ["age_band", "age_band × schooling"]
[designs.waiting]
before = 4
after = 8
history = 4
wait = [2, 6]
[questions.effect_over_time]
[questions.for_whom]
strata = ["age_band", "trade"]
together = [["age_band", "schooling"], ["age_band", "schooling", "spell"]]
[questions.not_retrainable]
groups = {{age_band = ["40 to 54", "55 and over"], capacity = ["limited"], spell = ["a year or more"]}}
covariates = ["age_band", "schooling"]
{options}
[release]
profile = "{profile}"
"""


def make(folder: Path, people: int = 6_000, *, options: str = "", profile: str = "default", seed: int = 11,
         parameters: Parameters = NO_GAIN) -> Path:  # fmt: skip
    """Write the folder of a study."""
    (folder / "data").mkdir(parents=True)
    agency = rte.simulate(people=people, seed=seed, parameters=parameters)
    agency.write(folder / "data")
    agency.con.close()
    listed = "\n".join(f'{name} = "data/{name}.parquet"' for name in RECORDS)
    text = STUDY.format(records=listed, options=options, profile=profile)
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder
