"""The page on providers: how few people are too few, and how many controls each has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import bundles
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.inference.providers import provider_spread, provider_table
from retrain_eval.release.layout import effects_frame
from retrain_eval.report.page import open_release
from retrain_eval.report.pages import providers

FACTS = {
    "name": "x",
    "title": "T",
    "question": "Q",
    "data": "D",
    "unit": "person",
    "currency": "USD",
    "frequency": "quarter",
    "limitations": [],
}


def test_the_page_says_who_is_too_small_and_how_many_controls_there_are(tmp_path: Path) -> None:
    rows = [
        {
            "outcome": "earnings",
            "subgroup": "provider",
            "level": name,
            "estimate": value,
            "n_treated": 40,
            "n_control": n,
        }
        for name, value, n in (("A", 1.0, 12), ("B", 1.0, 31), ("C", 7.0, 31), ("D", 7.0, 31))
    ]
    effects = EffectTable.build(rows, 4 * np.eye(4))
    name = providers.EFFECTS
    tables = {
        "effects": effects_frame(name, effects),
        "providers": provider_table(effects).assign(result=name),
        "provider_spread": provider_spread(effects).assign(result=name),
    }
    toml = '[study]\nname = "x"\ntitle = "T"\nquestion = "Q"\ndata = "D"\n[records]\nperson = "p.csv"\n'
    study = open_release([bundles.write_bundle(tmp_path / "x", tables, FACTS, toml)]).main
    said = providers.say_what_it_does_not_show(study)
    assert "fewer than 10 trained" in said
    assert "is not shown separately" in said
    cells = providers.tabulate_providers(study).cells.set_index("provider")
    assert cells.loc["A", ["n_treated", "n_control"]].tolist() == ["40", "12"]
