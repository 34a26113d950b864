"""A study of a small synthetic agency that asks about log earnings and the quality of jobs."""

from __future__ import annotations

from pathlib import Path

import money_study

QUALITY = """[quality]
dimensions = ["earnings", "tenure", "stability", "occupation"]
min_tenure = 4
max_cv = 0.5
cutoff_k = 0.5
non_employed = "deprived"
[match]"""
ASKED = """[questions.wage_path]
models = ["fixed", "first_differences", "correlated_random"]
lowest = 20.0
highest = 200000.0
[questions.job_quality]
"""


def make(folder: Path, people: int = 3_000, *, profile: str = "default", seed: int = 11) -> Path:
    """Write the folder of a study."""
    plan = money_study.make(folder, people, options="OPTIONS", profile=profile, seed=seed) / "study.toml"
    text = plan.read_text(encoding="utf-8").replace("[match]", QUALITY, 1)
    plan.write_text(text.replace("[questions.money]\nOPTIONS", ASKED), encoding="utf-8")
    return folder
