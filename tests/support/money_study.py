"""A small synthetic agency with several funders, and a study of it that asks what training is worth."""

from __future__ import annotations

from pathlib import Path

import agency_study
from retrain_eval.simulation import Parameters

TRAINED_OFTEN = Parameters(trained=0.12, funded=(0.6, 0.3, 0.05, 0.05))
OPTIONS = """tax_rate = 0.22
employer_tax_rate = 0.0765
benefit_withdrawal = 0.1
discount_rate = 0.03
"""


def make(folder: Path, people: int = 4_000, *, options: str = OPTIONS, profile: str = "default") -> Path:
    """Write the folder of a study."""
    return agency_study.make(folder, people, f"[questions.money]\n{options}", profile=profile, parameters=TRAINED_OFTEN)
