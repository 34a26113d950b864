from __future__ import annotations

import numpy as np

from retrain_eval.report.estimates import tabulate_estimates
from retrain_eval.report.page import Release, Study
from retrain_eval.report.pages.balance.covariates import tabulate_means
from retrain_eval.report.pages.downloads import tabulate_files
from retrain_eval.report.pages.effects.checks import comparison_rows
from retrain_eval.report.pages.replication import replication_rows, tabulate_replication
from retrain_eval.report.pages.sample.flow import tabulate_flow


def test_tables_carry_no_style_of_their_own(study: Study) -> None:
    html = tabulate_means(study.bundle.balance, study.words).html()
    assert html.startswith("<table")
    assert "<style" not in html
    assert "style=" not in html
    assert 'scope="colgroup"' in html or "gt_column_spanner" in html


def test_a_suppressed_row_keeps_its_place(study: Study) -> None:
    rows = comparison_rows(study)
    rows.loc[1, ["estimate", "std_error", "ci_low", "ci_high", "p_value"]] = np.nan
    html = tabulate_estimates(rows, study.words).html()
    assert "Matched comparison" in html
    assert "suppressed" in html
    assert "nan" not in html.lower()


def test_flow_has_one_row_per_step_and_says_why(study: Study) -> None:
    html = tabulate_flow(study.bundle.flow).html()
    assert html.count("<tr") == 1 + 3
    assert "15,992" in html
    assert "not the nearest to anyone" in html


def test_every_file_of_a_bundle_is_listed_with_its_hash(study: Study) -> None:
    html = tabulate_files(study).html()
    for name, digest in study.bundle.manifest["files"].items():
        assert f'href="release/demo/2026/{name}"' in html
        assert digest in html
    assert study.bundle.sha256 in html


def test_replication_sets_the_packages_side_by_side(release: Release) -> None:
    frame = replication_rows(release.companions[1])
    assert frame["coefficient"].tolist() == ["d88", "d89", "grant", "grant_1"]
    html = tabulate_replication(frame).html()
    assert html.count("−0.422") == 2
    assert "linearmodels" in html
    assert "pyfixest" in html


def test_what_users_wrote_is_escaped(study: Study) -> None:
    flow = study.bundle.flow.assign(reason="<script>alert(1)</script>")
    assert "<script" not in tabulate_flow(flow).html()


def test_the_matched_trained_get_a_column_where_some_were_lost(study: Study) -> None:
    frame = study.bundle.balance
    assert "Mean of trained" not in tabulate_means(frame, study.words).html()
    lost = frame.assign(mean_treated_after=frame["mean_treated"] + 1)
    assert "Mean of trained" in tabulate_means(lost, study.words).html()


def test_a_withheld_count_is_neither_zero_nor_a_dash(study: Study) -> None:
    flow = study.bundle.flow
    flow.loc[3, "n"] = np.nan
    html = tabulate_flow(flow).html()
    assert "withheld" in html
    assert ">0<" not in html
    assert "—" not in html
