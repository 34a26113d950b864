"""The page on who drops out: what it says where everyone does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import bundles
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.release.layout import effects_frame
from retrain_eval.report.page import open_release
from retrain_eval.report.pages import digital_divide

FACTS = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "USD",
         "frequency": "quarter", "limitations": []}  # fmt: skip


def test_where_everyone_drops_out_both_groups_are_said_to_be_alike(tmp_path: Path) -> None:
    rng, n = np.random.default_rng(3), 331
    people = pd.DataFrame({"id": np.arange(n), "quarters": rng.integers(1, 6, n), "cause": "dropped_out",
                           "access_level": rng.choice(["with digital access", "without it"], n)})  # fmt: skip
    spells = Spells(people, id="id", by="access_level", duration="quarters", censored=())
    ends = digital_divide.result_of("access_level")
    effects = pd.concat(
        [
            effects_frame(ends, spells.cumulative_incidence()),
            effects_frame(f"{ends}_difference", spells.incidence_difference(times=(5,))),
        ]
    )
    study = open_release([bundles.write_bundle(tmp_path / "x", {"effects": effects}, FACTS)]).main
    said = digital_divide.say_answer(study)
    assert said.startswith("Everyone in both groups by digital access who entered a programme had dropped out within 5")
    assert "these records do not say" not in said
    row = study.result(f"{ends}_difference").iloc[0]
    assert row["estimate"] == 0
    assert pd.isna(row["p_value"])
