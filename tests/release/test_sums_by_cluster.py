"""A release of results from few clusters: errors follow from sums by cluster, or from their covariance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from keyed_panels import keyed
from retrain_eval.estimators.inference.pretrend import pretrend_test
from retrain_eval.plan.study_file import read_study
from retrain_eval.release import writing
from retrain_eval.release.results import Results
from retrain_eval.release.verification.verify import verify

INPUTS = [{"name": "person", "file": "p.csv"}]

STUDY = '[study]\nname = "x"\ntitle = "T"\nquestion = "Q"\ndata = "D"\n\n[records]\nperson = "p.csv"\n'


def moments(n_clusters: int = 12, n: int = 2_400, *, with_keys: bool = False) -> rte.OutcomeMoments:
    rng = np.random.default_rng(5)
    people = pd.DataFrame({"id": range(n), "g": rng.choice([0, 3], n), "band": rng.choice(["a", "b"], n)})
    people["region"] = np.arange(n) % n_clusters
    long = people.merge(pd.DataFrame({"t": range(1, 5)}), how="cross")
    long["y"] = 10 + rng.normal(size=len(long)) + rng.normal(size=(n_clusters, 5))[long["region"], long["t"]]
    long["person"] = long["id"].astype(str)
    rows = keyed(long) if with_keys else long
    return rte.outcome_moments(
        rows, unit="id", time="t", cohort="g", outcome="y", by="band", cluster="region", kind="amount"
    )


@pytest.mark.parametrize("profile", ["open", "default"])
def test_standard_errors_are_those_of_the_run_and_verify(tmp_path: Path, profile: str) -> None:
    """Public records have the sums by cluster; of others errors follow from a covariance, which is redrawn."""
    m = moments(with_keys=profile == "default")
    found = Results(moments={"all": m})
    effects, levels = m.att_gt().aggregate("dynamic"), m.att_gt().by("band").aggregate("simple")
    found.add_effects("event_study", effects)
    found.add_effects("by_band", levels)
    found.add_effects("difference", levels.difference())
    found.add_table("tests", pretrend_test(effects), "event_study")
    (tmp_path / "study.toml").write_text(STUDY + f'[release]\nprofile = "{profile}"\n')
    bundle = writing.write(found, tmp_path, read_study(tmp_path), tmp_path / "release" / "2026", inputs=INPUTS)
    checked = verify(bundle.path)
    assert checked.ok, str(checked)

    published, is_open = Results.read(bundle.path), profile == "open"
    assert published.moments["all"].leaves_out == is_open
    parts = {part.result: part for part in published.parts if part.table == "effects"}
    assert [part.derivation is not None for part in (parts["event_study"], parts["by_band"])] == [is_open] * 2
    rows = published.tables["effects"].groupby("result", sort=False)["std_error"].apply(list)
    for name, table in (("event_study", effects), ("by_band", levels), ("difference", levels.difference())):
        np.testing.assert_allclose(rows[name], table.frame["std_error"], rtol=2e-3 if is_open else 0.5)
    assert set(published.tables["effects"]["note"]) == {"12 clusters"}


def test_what_is_made_of_sums_that_are_not_published_is_withheld(tmp_path: Path) -> None:
    """A test made of an effect that is not itself published would need the sums: no other error stands in for it."""
    m = moments(with_keys=True)
    found = Results(moments={"all": m})
    found.add_effects("event_study", m.att_gt().aggregate("dynamic"))
    found.add_table("tests", pretrend_test(m.att_gt().aggregate("dynamic", max_event=0)), "event_study")
    (tmp_path / "study.toml").write_text(STUDY)
    bundle = writing.write(found, tmp_path, read_study(tmp_path), tmp_path / "release" / "2026", inputs=INPUTS)
    assert verify(bundle.path).ok
    tests = Results.read(bundle.path).tables.get("tests")
    assert tests is None or tests["p_value"].isna().all()
