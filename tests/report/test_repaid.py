from __future__ import annotations

from pathlib import Path

import bundles
from retrain_eval.report.page import Study, open_release
from retrain_eval.report.pages.effects.payback import draw_payback, say_payback, tabulate_payback

FACTS = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "USD",
         "frequency": "quarter", "limitations": []}  # fmt: skip


def study(folder: Path, **changes: tuple[float | None, float | None, float | None]) -> Study:
    effects = bundles.training_effects()
    for name, values in changes.items():
        at = (effects["result"] == "payback") & (effects["estimand"] == name.replace("_", "-"))
        effects.loc[at, ["estimate", "ci_low", "ci_high"]] = [float("nan") if v is None else v for v in values]
    return open_release([bundles.write_bundle(folder / "x", {"effects": effects}, FACTS)]).main


def test_milestones_are_told_with_their_intervals(tmp_path: Path) -> None:
    one = study(tmp_path)
    told = say_payback(one)
    assert "At its lowest, in the quarter training began, the effect is −$420 a quarter (−$590 to −$240)" in told
    assert "made up 1 quarter after the start of training (95% interval 1 to 2 quarters)" in told
    assert "Training cost $1,500" in told
    assert "the 95% interval runs from 2 quarters to beyond the follow-up" in told
    html = tabulate_payback(one).html()
    assert "2 quarters to not within follow-up" in html
    figure = draw_payback(one)
    assert "$1,761 after 3 quarters, against a cost of $1,500" in figure.alt
    assert "<svg" in figure.svg()
    assert "<svg" in figure.svg(narrow=True)


def test_what_is_not_reached_is_said(tmp_path: Path) -> None:
    told = say_payback(study(tmp_path, payback=(None, 2.0, None)))
    assert "at no time within the periods followed, by the estimates; 2 quarters on at the earliest" in told
    told = say_payback(study(tmp_path / "b", payback=(None, None, None)))
    assert told.endswith("The gain exceeds that at no time within the periods followed.")
