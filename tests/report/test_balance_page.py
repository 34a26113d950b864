"""The page on balance, and the headline of a study that fails it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bundles
from retrain_eval.report.page import Study, open_release
from retrain_eval.report.pages.balance.covariates import printed_rows, say_exact, tabulate_distributions, tabulate_means
from retrain_eval.report.pages.balance.matched import draw_baseline_paths, say_baseline_paths, tabulate_matching
from retrain_eval.report.pages.balance.rating import show_rating, tabulate_checks
from retrain_eval.report.pages.index import headline_findings

FACTS: dict[str, Any] = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person",
                         "frequency": "year", "currency": "USD", "limitations": [], "citation": ""}  # fmt: skip
TOML = '[match]\nformula = "treat ~ age"\n[did]\noutcome = "earnings"\n'


@pytest.fixture
def study_with(tmp_path: Path) -> Callable[..., Study]:
    """Write a bundle whose balance after matching is given by covariate."""

    def make(sizes: dict[str, float], **tables: pd.DataFrame) -> Study:
        made = bundles.training_tables()
        frame = made["balance"]
        after = frame["covariate"].map(sizes).fillna(0.0)
        made["balance"] = frame.assign(
            effect_size_after=after, wwc=["needs adjustment" if abs(s) > 0.05 else "satisfied" for s in after]
        )
        return open_release([bundles.write_bundle(tmp_path / "x", made | tables, FACTS, TOML)]).main

    return make


def test_a_study_that_fails_balance_says_so_in_its_headline(study_with: Callable[..., Study]) -> None:
    study = study_with({"black": 0.4, "age": -0.6})
    first = headline_findings(study.bundle)[0]
    assert first.question == "Does it work?"
    assert first.statement.startswith(
        "The groups compared are not alike enough for a verdict: after matching they still differ by more than 0.25 "
        "standard deviations in age and black. What follows is not to be read as the effect of training. For the people"
    )
    assert "Not alike enough" in show_rating(study).text
    assert 'class="light red"' in show_rating(study).text


@pytest.mark.parametrize(("sizes", "word"), [({}, "Alike"), ({"age": 0.2}, "Alike with reservations")])
def test_a_study_that_passes_has_no_such_headline(
    study_with: Callable[..., Study], sizes: dict[str, float], word: str
) -> None:
    study = study_with(sizes)
    assert headline_findings(study.bundle)[0].statement.startswith("For the people trained")
    text = show_rating(study).text
    assert f"</span> {word}</p>" in text
    assert ("age still differs by 0.05 to 0.25" in text) == bool(sizes)


def test_an_edition_without_effect_sizes_has_no_light(tmp_path: Path) -> None:
    made = bundles.training_tables()
    made["balance"] = made["balance"].drop(columns=["effect_size_before", "effect_size_after", "wwc"])
    study = open_release([bundles.write_bundle(tmp_path / "old", made, FACTS, TOML)]).main
    assert study.balance_verdict is None
    assert headline_findings(study.bundle)[0].statement.startswith("For the people")
    assert "Clearinghouse" not in tabulate_means(study.bundle.balance, study.words).html()


def test_every_check_names_its_limit(study_with: Callable[..., Study]) -> None:
    html = tabulate_checks(study_with({"age": 0.2})).html()
    for text in ("0.20", "age", "up to 0.05", "! amber", "✓ green", "100%"):
        assert text in html
    assert "nan" not in html.lower()


def test_an_unknown_difference_fails_and_is_said_to_be_unknown(tmp_path: Path) -> None:
    made = bundles.training_tables()
    made["balance"].loc[1, ["effect_size_after", "smd_after"]] = np.nan
    study = open_release([bundles.write_bundle(tmp_path / "nan", made, FACTS, TOML)]).main
    assert "not known" in tabulate_checks(study).html()
    assert "standard deviations in age" in headline_findings(study.bundle)[0].statement


def test_withheld_counts_say_so(study_with: Callable[..., Study]) -> None:
    matching = bundles.hidden_bias_tables()["matching"].head(1)
    hidden = matching.assign(n_treated_matched=np.nan, ess_control=np.nan, reuse_mean=np.nan)
    html = tabulate_matching(study_with({}, matching=hidden)).html()
    assert html.count("suppressed") == 2
    assert "nan" not in html.lower()


def test_controls_used_again_are_counted(study_with: Callable[..., Study]) -> None:
    matching = bundles.hidden_bias_tables()["matching"].assign(reuse_mean=1.9)
    html = tabulate_matching(study_with({}, matching=matching)).html()
    assert ">1.9<" in html
    assert "Uses of each" in html


def test_paths_before_say_where_the_groups_were_apart(study: Study) -> None:
    told = say_baseline_paths(study)
    assert "the gap between the trained and all possible controls was $12,119 in 1975;" in told
    assert "their controls it was $230 in 1975." in told


def test_matched_trained_are_drawn_apart_where_some_were_lost(study: Study) -> None:
    paths = study.bundle.baseline_paths
    paths.loc[paths["group"] == "treated matched", "mean"] += 500
    alt = draw_baseline_paths(paths, study.words).alt
    assert "all trained $2,096 to $1,532" in alt
    assert "trained, matched $2,596 to $2,032" in alt


def test_what_partners_share_by_design_is_said_and_not_drawn(tmp_path: Path) -> None:
    made = bundles.training_tables()
    made["balance"].loc[1, "smd_after"] = 0.0
    toml = TOML.replace("[did]", 'exact = ["age", "married"]\n[did]')
    study = open_release([bundles.write_bundle(tmp_path / "exact", made, FACTS, toml)]).main
    assert say_exact(study) == "Partners are equal in age, which is not shown."
    assert "age" not in printed_rows(study)["covariate"].tolist()
    assert "married" in printed_rows(study)["covariate"].tolist()  # it is not equal after all
    waiting = toml.replace("[did]", 'start = "age"\n[did]')
    study = open_release([bundles.write_bundle(tmp_path / "start", made, FACTS, waiting)]).main
    assert say_exact(study) == "Partners are equal in the start of joblessness, which is not shown."


def test_the_largest_distance_of_a_number_is_at_least_the_one_printed(study: Study) -> None:
    frame = printed_rows(study)
    bound, exact = (tabulate_distributions(frame, study.words, names).html() for names in ((), {"black"}))
    assert bound.count("at least") == 2 * len(frame)  # before and after matching
    assert exact.count("at least") == 2 * (len(frame) - 1)  # a share's distance is the difference of shares
