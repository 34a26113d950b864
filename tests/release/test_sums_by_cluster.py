"""A release of results from few clusters: errors follow from sums by cluster, or from their covariance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from retrain_eval.estimators.inference.pretrend import pretrend_test
from retrain_eval.plan.study_file import read_study
from retrain_eval.release import writing
from retrain_eval.release.results import Results
from retrain_eval.release.verification.verify import verify

INPUTS = [{"name": "person", "file": "p.csv"}]

STUDY = '[study]\nname = "x"\ntitle = "T"\nquestion = "Q"\ndata = "D"\n\n[records]\nperson = "p.csv"\n'


def moments(n_clusters: int = 12, n: int = 2_400) -> rte.OutcomeMoments:
    rng = np.random.default_rng(5)
    people = pd.DataFrame({"id": range(n), "g": rng.choice([0, 3], n), "band": rng.choice(["a", "b"], n)})
    people["region"] = np.arange(n) % n_clusters
    long = people.merge(pd.DataFrame({"t": range(1, 5)}), how="cross")
    long["y"] = rng.normal(size=len(long)) + rng.normal(size=(n_clusters, 5))[long["region"], long["t"]]
    return rte.outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", by="band", cluster="region")


@pytest.mark.parametrize(
    ("release", "n", "from_sums"),
    [
        ("[release]\nround_counts = 1\n", 2_400, True),  # 50 people of each region in each cell
        ("", 2_400, False),  # rounded counts would follow from shares of clusters
        ("[release]\nround_counts = 1\n", 400, False),  # 8 people
    ],
)
def test_standard_errors_are_those_of_the_run_and_verify(tmp_path: Path, release: str, n: int, from_sums: bool) -> None:
    m = moments(n=n)
    found = Results(moments={"all": m})
    effects, levels = m.att_gt().aggregate("dynamic"), m.att_gt().by("band").aggregate("simple")
    found.add_effects("event_study", effects)
    found.add_effects("by_band", levels)
    found.add_effects("difference", levels.difference())
    found.add_table("tests", pretrend_test(effects), "event_study")
    (tmp_path / "study.toml").write_text(STUDY + release)
    bundle = writing.write(found, tmp_path, read_study(tmp_path), tmp_path / "release" / "2026", inputs=INPUTS)
    checked = verify(bundle.path)
    assert checked.ok, str(checked)

    published = Results.read(bundle.path)
    assert published.moments["all"].leaves_out == from_sums
    parts = {part.result: part for part in published.parts if part.table == "effects"}
    assert [part.derivation is not None for part in (parts["event_study"], parts["by_band"])] == [from_sums] * 2
    rows = published.tables["effects"].groupby("result", sort=False)["std_error"].apply(list)
    for name, table in (("event_study", effects), ("by_band", levels), ("difference", levels.difference())):
        np.testing.assert_allclose(rows[name], table.frame["std_error"], rtol=2e-3)
    assert set(published.tables["effects"]["note"]) == {"12 clusters"}
    test = pretrend_test(effects)["p_value"].item()
    np.testing.assert_allclose(published.tables["tests"]["p_value"].item(), test, rtol=0.02)


def test_what_is_made_of_sums_that_are_not_published_is_withheld(tmp_path: Path) -> None:
    """A test made of an effect that is not itself published would need the sums: no other error stands in for it."""
    m = moments()
    found = Results(moments={"all": m})
    found.add_effects("event_study", m.att_gt().aggregate("dynamic"))
    found.add_table("tests", pretrend_test(m.att_gt().aggregate("dynamic", max_event=0)), "event_study")
    (tmp_path / "study.toml").write_text(STUDY)
    bundle = writing.write(found, tmp_path, read_study(tmp_path), tmp_path / "release" / "2026", inputs=INPUTS)
    assert verify(bundle.path).ok
    tests = Results.read(bundle.path).tables.get("tests")
    assert tests is None or tests["p_value"].isna().all()
