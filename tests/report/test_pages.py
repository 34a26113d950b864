from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import bundles
from retrain_eval.common.errors import ReportError
from retrain_eval.common.resources import resource
from retrain_eval.report.building import book
from retrain_eval.report.page import Release, open_release
from retrain_eval.report.pages.balance.covariates import say_covariates
from retrain_eval.report.pages.effects.checks import say_engines, say_experiment
from retrain_eval.report.pages.effects.paths import say_before_training, say_paths
from retrain_eval.report.pages.jobs.outcomes import say_outcome
from retrain_eval.report.pages.replication import say_replication
from retrain_eval.report.pages.sample.flow import count_people, say_sample, tabulate_flow
from retrain_eval.report.pages.stability.curves import say_curves
from retrain_eval.report.pages.subgroups import say_experiment_by_group, say_group_differences


def test_a_release_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETRAIN_RELEASE", raising=False)
    monkeypatch.delenv("RETRAIN_COMPANIONS", raising=False)
    with pytest.raises(ReportError, match="no release"):
        open_release()


def test_parts_say_what_a_release_holds(release: Release) -> None:
    parts = release.parts()
    assert {"flow", "balance", "overlap", "means", "subgroups", "differences", "benchmark", "engines"} <= parts
    assert {"survival", "replication"} <= parts
    alone = Release(release.main).parts()
    assert not {"survival", "replication"} & alone


def test_pages_without_data_are_left_out(release: Release, tmp_path: Path) -> None:
    book.prepare(Release(release.companions[1]), resource("book"), tmp_path / "grants")
    pages = {file.stem for file in (tmp_path / "grants").glob("*.md")}
    assert pages == {"index", "effects", "replication", "plan", "methods", "limitations", "downloads"}
    assert "checks.say_experiment(study)" not in (tmp_path / "grants" / "effects.md").read_text()
    book.prepare(release, resource("book"), tmp_path / "all")
    assert "checks.say_experiment(study)" in (tmp_path / "all" / "effects.md").read_text()


def test_no_page_has_a_number_of_its_own() -> None:
    """Prose takes every figure from the release: no digits but years of citations and the 95% of intervals."""
    for name in ("index", "sample", "balance", "effects", "jobs", "subgroups", "stability", "plan"):
        text = (resource("book") / f"{name}.md").read_text(encoding="utf-8")
        body = text.split("---", 2)[2]
        lines = [line for line in body.splitlines() if not line.startswith(("%", ":", "`"))]
        words = " ".join(word for line in lines for word in line.split() if not word.startswith(("{", "[](")))
        digits = {token.strip(".,;:()%") for token in words.split() if any(char.isdigit() for char in token)}
        digits = {token for token in digits if token.replace(".", "").isdigit()}
        assert digits <= {"95", "100", "0.1", "1"}, (name, digits)


def test_every_entry_of_the_bibliography_is_closed() -> None:
    """The engine stops at one that is not; this says so in a second."""
    depth = 0
    for line in (resource("book") / "references.bib").read_text(encoding="utf-8").splitlines():
        assert not line.startswith("@") or depth == 0, f"an entry before {line} is not closed"
        depth += line.count("{") - line.count("}")
    assert depth == 0


def test_another_outcome_is_told_in_its_own_unit(release: Release) -> None:
    assert release.main.other_outcomes == ["employed"]
    assert say_outcome(release.main, "employed") == (
        "The effect on the share employed is lowest at −0.080 (in the year training began) and highest at +0.046 "
        "(3 years after the start of training). At the end of follow-up, 3 years after the start of training, it is "
        "+0.046 (0.005 to 0.087)."
    )


def test_periods_counted_from_training_are_read_so(tmp_path: Path) -> None:
    means = pd.DataFrame(
        [
            {"outcome": "earnings", "group": group, "time": time, "mean": mean, "n": 40}
            for group, path in {"treated": (10.0, 60.0), "control": (20.0, 30.0)}.items()
            for time, mean in zip((-8, 12), path, strict=True)
        ]
    )
    facts = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person", "frequency": "quarter",
             "currency": "USD", "limitations": [], "citation": ""}  # fmt: skip
    toml = '[match]\nformula = "treat ~ earnings_m1 + earnings_m2"\n[did]\noutcome = "earnings"\n'
    (study,) = open_release([bundles.write_bundle(tmp_path / "x", {"means": means}, facts, toml)]).studies
    assert say_paths(study) == (
        "8 quarters before training, the mean of the trained was $10 below that of their matched controls; "
        "12 quarters after the start of training, $30 above."
    )
    assert study.matched_periods == [-2, -1]
    assert study.words.times(study.matched_periods) == "the 2 quarters before training"


def test_sentences_follow_the_numbers(release: Release) -> None:
    main, spells, grants = release.studies
    assert "185 of 15,992 people submitted as possible controls (1.2%)" in say_sample(main)
    assert "7 of 8 lie within 0.1" in say_covariates(main)
    assert "inside the experiment's interval" in say_experiment(main)
    assert say_group_differences(main).startswith("None of the 2 differences excludes zero")
    assert say_experiment_by_group(main).startswith("Each of the 4 matched estimates lies inside")
    assert "less than a millionth" in say_engines(main)
    assert "less than a millionth" in say_replication(grants)
    assert "10 (filed a claim) and 5 (filed no claim)" in say_curves(spells, "km_ui")
    assert release.say_other_people(main) == ""
    assert "not those of the main study" in release.say_other_people(spells)


def test_a_study_without_a_comparison_is_not_said_to_have_trained_anyone(tmp_path: Path) -> None:
    flow = pd.DataFrame({"step": ["Spells"], "group": ["treated"], "n": [3343], "reason": [""]})
    facts = {"name": "s", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "",
             "frequency": "year", "limitations": []}  # fmt: skip
    study = open_release([bundles.write_bundle(tmp_path / "s", {"flow": flow}, facts)]).main
    assert say_sample(study) == "The study follows 3,343 people."
    assert count_people(study) == [("3,343", "people followed")]
    assert "Trained" not in tabulate_flow(flow).html()


def test_an_estimate_far_from_the_experiment_is_said(tmp_path: Path) -> None:
    effects = bundles.training_effects()
    far = (effects["result"] == "att_by_age_band") & (effects["level"] == "<25")
    effects.loc[far, "estimate"] = 9000.0
    facts = {"name": "far", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "USD",
             "frequency": "year", "limitations": []}  # fmt: skip
    study = open_release([bundles.write_bundle(tmp_path / "far", {"effects": effects}, facts)]).main
    assert "outside the experiment's interval for <25 ($9,000 against $410)" in say_experiment_by_group(study)


def test_withheld_differences_are_not_said_to_exclude_nothing(tmp_path: Path) -> None:
    effects = bundles.training_effects()
    own = effects["result"].str.startswith("difference_by_")
    facts = {"name": "few", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "USD",
             "frequency": "year", "limitations": []}  # fmt: skip
    effects.loc[own, ["estimate", "std_error", "ci_low", "ci_high"]] = float("nan")
    study = open_release([bundles.write_bundle(tmp_path / "few", {"effects": effects}, facts)]).main
    assert say_group_differences(study) == "Every difference rests on a group that is too small to publish."


def test_agreement_that_matching_made_is_not_called_evidence(tmp_path: Path) -> None:
    facts = {"name": "made", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "USD",
             "frequency": "year", "limitations": []}  # fmt: skip
    toml = '[match]\nformula = "treat ~ age + earnings_1974 + log1p(earnings_1975)"\n[did]\noutcome = "earnings"\n'
    tables_ = {"effects": bundles.training_effects()}
    told = {
        name: say_before_training(open_release([bundles.write_bundle(tmp_path / name, tables_, facts, text)]).main)
        for name, text in (("matched", toml), ("unmatched", ""))
    }
    assert "alike in 1974 and 1975, so agreement there is by construction" in told["matched"]
    assert "no sign" not in told["matched"]
    assert "by construction" not in told["unmatched"]
    assert "no sign" in told["unmatched"]
