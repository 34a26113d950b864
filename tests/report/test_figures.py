from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from retrain_eval.estimators.figures.curves import with_start
from retrain_eval.report.drawing import Figure
from retrain_eval.report.estimates import draw_estimates
from retrain_eval.report.event_study import draw_event_study
from retrain_eval.report.page import Release, Study
from retrain_eval.report.pages.balance.covariates import draw_love_plot
from retrain_eval.report.pages.balance.matched import draw_baseline_paths, draw_overlap
from retrain_eval.report.pages.effects.checks import comparison_rows
from retrain_eval.report.pages.effects.paths import draw_mean_paths
from retrain_eval.report.pages.replication import group_time_rows
from retrain_eval.report.pages.stability.curves import draw_survival_curves, released_points
from retrain_eval.report.pages.subgroups import group_rows

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn(release: Release) -> dict[str, Figure]:
    """Every figure of the book."""
    main, spells, grants = release.studies
    bundle = main.bundle
    return {
        "love": draw_love_plot(bundle.balance, main.words),
        "overlap": draw_overlap(bundle.overlap, main.words),
        "before": draw_baseline_paths(bundle.baseline_paths, main.words),
        "paths": draw_mean_paths(main),
        "event": draw_event_study(main.result("event_study"), main.words, main.result("benchmark_event_study")),
        "comparison": draw_estimates(comparison_rows(main), main.words),
        "subgroups": draw_estimates(group_rows(main), main.words, panel="panel"),
        "group-time": draw_estimates(group_time_rows(grants), grants.words),
        "survival": draw_survival_curves(
            spells.result("km_age_band"), spells.words, "spell still open", ["<25", "25–54", "55+"]
        ),
    }


pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # inside plotnine, with pandas 3


NAMES = ["love", "overlap", "before", "paths", "event", "comparison", "subgroups", "group-time", "survival"]


@pytest.mark.parametrize("name", NAMES)
def test_text_stays_text_and_colours_are_those_that_can_be_told_apart(drawn: dict[str, Figure], name: str) -> None:
    svg = drawn[name].svg()
    assert len(list(ET.fromstring(svg).iter(f"{SVG}text"))) > 4
    colours = {part[:7] for part in svg.replace("stroke: ", "fill: ").split("fill: ") if part.startswith("#")}
    allowed = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#1d2a35", "#5b6873", "#dde3e8", "#ffffff", "#000000"}
    assert {colour.lower() for colour in colours} <= allowed


@pytest.mark.parametrize("name", ["event", "survival"])
def test_the_same_data_give_the_same_bytes(drawn: dict[str, Figure], name: str) -> None:
    assert drawn[name].svg() == drawn[name].svg()


@pytest.mark.parametrize("name", NAMES)
def test_a_phone_gets_its_own_drawing_at_reading_size(drawn: dict[str, Figure], name: str) -> None:
    wide, narrow = (ET.fromstring(drawn[name].svg(narrow=flag)) for flag in (False, True))
    assert float(narrow.attrib["width"][:-2]) < 0.6 * float(wide.attrib["width"][:-2])


def test_alt_texts_state_what_the_figure_shows(drawn: dict[str, Figure]) -> None:
    assert "falls from 2.40 before matching to 0.11 after; 7 of 8 lie within 0.1" in drawn["love"].alt
    assert drawn["before"].alt == (
        "Mean annual earnings before the programme, from 1974 to 1975: trained $2,096 to $1,532; "
        "all possible controls $14,017 to $13,651; matched controls $1,905 to $1,302."
    )
    assert "matched controls from $2,107 in 1974 to $4,642 in 1978" in drawn["paths"].alt
    assert "At year 0: $1,581 (95% interval −$7 to $3,169)" in drawn["event"].alt
    assert "Raw comparison −$8,498 (−$9,893 to −$7,102)" in drawn["comparison"].alt
    assert "after 14 two-week intervals" in drawn["survival"].alt


def test_mime_bundle_carries_alt_text_phone_drawing_and_data(drawn: dict[str, Figure]) -> None:
    data, metadata = drawn["event"]._repr_mimebundle_()
    assert metadata["image/svg+xml"]["alt"] == drawn["event"].alt
    assert data["application/vnd.retrain-eval.narrow+json"]["svg"].startswith("<?xml")
    frame = pd.read_csv(io.StringIO(data["text/csv"]))
    assert frame["estimate"].tolist() == [310, 0, 1581, 430, 0, 1701]


def test_suppressed_estimates_are_left_out_of_the_drawing(study: Study) -> None:
    rows = comparison_rows(study)
    rows.loc[0, ["estimate", "ci_low", "ci_high"]] = np.nan
    figure = draw_estimates(rows, study.words)
    assert "Raw comparison" not in figure.alt
    assert "Raw comparison" not in figure.svg()


def test_a_curve_starts_at_one_and_keeps_the_released_points(release: Release) -> None:
    curve = release.companions[0].result("km_ui")
    curve = curve[(curve["level"] == "filed a claim") & (curve["time"] > 3)]  # a grid that begins late
    points = with_start(released_points(curve, release.companions[0].words, ["filed a claim"]), 1.0)
    assert points["time"].tolist()[:2] == [0.0, 4.0]
    assert points["estimate"].tolist()[0] == 1.0
    assert points["estimate"].iloc[1:].tolist() == curve["estimate"].tolist()
    assert ((points[["ci_low", "ci_high"]] >= 0) & (points[["ci_low", "ci_high"]] <= 1)).all(axis=None)
