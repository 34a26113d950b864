"""A small synthetic agency in which retraining gains nothing for some groups, and a study that asks for whom."""

from __future__ import annotations

from pathlib import Path

import agency_study
from retrain_eval.simulation import Parameters

NO_GAIN = Parameters(trained=0.2, no_gain_for=(1.0, 0.0, 0.0))
ASKED = """[strata.age_band]
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
labels = {false = "not limited", true = "limited"}
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
[questions.effect_over_time]
[questions.for_whom]
strata = ["age_band", "trade"]
together = [["age_band", "schooling"], ["age_band", "schooling", "spell"]]
[questions.not_retrainable]
groups = {age_band = ["40 to 54", "55 and over"], capacity = ["limited"], spell = ["a year or more"]}
covariates = ["age_band", "schooling"]
"""


def make(folder: Path, people: int = 6_000, *, profile: str = "default") -> Path:
    """Write the folder of a study."""
    did = "smallest_worthwhile = 600.0"
    return agency_study.make(folder, people, ASKED, did=did, profile=profile, parameters=NO_GAIN)
