"""The layout of results: what is written is read back, and nothing else is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import InputError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.release.results import Results


def moments() -> rte.OutcomeMoments:
    long = pd.DataFrame({"id": [1, 1, 2, 2], "t": [1, 2] * 2, "g": [2, 2, 0, 0], "y": [1.0, 3.0, 1.0, 1.5]})
    return rte.outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")


@pytest.mark.parametrize("levels", [["1", "2"], ["01", "02"], ["1e3", "inf"], ["NA", "null"], ["True", "False"]])
def test_levels_keep_their_spelling(tmp_path: Path, levels: list[str]) -> None:
    results = Results()
    rows = [{"estimate": 1.0}, *({"subgroup": "grade", "level": level, "estimate": 2.0} for level in levels)]
    results.add_effects("2026", EffectTable.build(rows, np.eye(3)))
    results.write(tmp_path)
    back = Results.read(tmp_path).tables["effects"]
    assert back["level"].iloc[1:].tolist() == levels
    assert back["result"].tolist() == ["2026"] * 3


@pytest.mark.parametrize("name", ["", ".", "..", "../../evil", "a/b", "/etc/x", "a\\b", "a\nb", "a\0b", "x" * 300])
def test_a_name_stays_inside_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deep" / "results"
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match="cannot name a result"):
        Results(moments={name: moments()}).write(folder)
    with pytest.raises(InputError, match="cannot name a result"):
        Results().add_effects(name, EffectTable.build([{"estimate": 1.0}], np.eye(1)))
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("name", ["flow", "flows"])
def test_a_table_set_by_hand_is_held_to_the_layout(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=name):
        Results(tables={name: pd.DataFrame({"a": [1]})}).write(tmp_path)
