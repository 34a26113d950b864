"""Verdicts promise no more than they hold: no error rate that is not kept, and nothing that "would settle it"."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from babel.messages.pofile import read_po
from scipy import stats

import retrain_eval as rte
from retrain_eval.common.resources import resource
from retrain_eval.estimators.effects import heterogeneity as module
from retrain_eval.report.language import catalogue as language


def told_about_verdicts() -> dict[str, str]:
    """Return every text about verdicts: docstrings, pages of the book, documentation, messages of the report."""
    root = Path(module.__file__).parent
    texts = {"docstring of the module": module.__doc__ or "", "docstring": module.heterogeneity.__doc__ or ""}
    texts |= {f"class {name}": getattr(module, name).__doc__ or "" for name in ("Heterogeneity",)}
    texts |= {file.name: file.read_text(encoding="utf-8") for file in Path(str(resource("book"))).glob("*.md")}
    texts |= {f"report/{file.name}": file.read_text(encoding="utf-8") for file in (root / "report").glob("*.py")}
    docs = Path(str(resource("book"))).parent / "docs"
    texts |= {f"docs/{file.name}": file.read_text(encoding="utf-8") for file in docs.glob("*.md")}
    return {name: re.sub(r"\s+", " ", text.replace('"\n', " ")) for name, text in texts.items()}


def test_no_text_promises_an_error_rate_over_all_levels_together():
    promise = re.compile(r"err with probability|over all levels together", re.IGNORECASE)
    assert not [name for name, text in told_about_verdicts().items() if promise.search(text)]


def test_no_text_says_that_more_people_would_settle_a_verdict():
    promise = re.compile(r"(would|to|that would) settle (it|an inconclusive|a verdict)", re.IGNORECASE)
    assert not [name for name, text in told_about_verdicts().items() if promise.search(text)]


def test_what_needed_means_is_said_with_its_probability():
    texts = told_about_verdicts()
    told = [name for name, text in texts.items() if re.search(r"\bneeded\b", text) and re.search(r"\bverdict", text)]
    assert told
    page = texts["subgroups.md"]
    assert "needed" in page
    near = [page[max(0, m.start() - 250) : m.end() + 350] for m in re.finditer(r"needed", page)]
    assert any(re.search(r"four times in five|probability .{0,3}\.?8|0?\.8\b|80 ?%|80 per cent", text) for text in near)
    assert any("smallest" in text for text in near)


def test_the_chinese_catalogue_has_no_sentence_for_the_old_promise():
    with (language.LOCALE / "zh.po").open("rb") as file:
        messages = " ".join(str(entry.id) for entry in read_po(file))
    assert "would settle it" not in messages


@pytest.mark.parametrize(("k", "error", "sw"), [(2, 0.6, 1.0), (5, 0.9, 1.0), (9, 0.5, 0.7)])
def test_with_the_people_needed_the_smallest_worthwhile_effect_is_found_with_the_power_asked_for(k, error, sw):
    rows = [{"subgroup": "s", "level": f"l{i}", "estimate": 0.1 * error, "n_treated": 80} for i in range(k)]
    found = rte.EffectTable.build(rows, np.eye(k) * error**2).heterogeneity(sw, power=0.8).levels
    needed = found["n_needed"].astype(float).to_numpy()
    critical = stats.norm.ppf(0.5 + 0.95 ** (1 / k) / 2)  # of the largest of k independent estimates
    chance = stats.norm.sf(critical - sw / (error * np.sqrt(80 / needed)))
    assert (chance > 0.79).all()


@pytest.mark.parametrize("power", [0.7, 0.9])
def test_the_power_asked_for_is_the_one_that_counts(power):
    rows = [{"subgroup": "s", "level": name, "estimate": 0.0, "n_treated": 100} for name in "ab"]
    table = rte.EffectTable.build(rows, np.eye(2))
    needed = table.heterogeneity(1.0, power=power).levels["n_needed"].astype(float).iloc[0]
    critical = stats.norm.ppf(0.5 + 0.95**0.5 / 2)
    assert needed == pytest.approx(100 * (critical + stats.norm.ppf(power)) ** 2, rel=0.02)
