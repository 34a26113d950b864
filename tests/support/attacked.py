"""A small edition to attack, and ways to alter it as someone who knows the program would."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import retrain_eval as rte
from retrain_eval.common.resources import resource
from retrain_eval.estimators.did.means import mean_paths
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.heterogeneity import verdicts
from retrain_eval.estimators.inference.pretest_power import pretest_power
from retrain_eval.estimators.inference.pretrend import pretrend_test
from retrain_eval.plan.study_file import read_study
from retrain_eval.records.schema.dictionary import dictionary, load_package
from retrain_eval.release import writing
from retrain_eval.release.results import Results
from tampering import rehash

STUDY = """[study]
name = "x"
title = "T"
question = "Q"
data = "D"
limitations = ["L"]

[records]
person = "p.csv"

[strata.band]
column = "band"

[plan]
required = ["did"]

[release]
profile = "open"
"""


def outcome_moments(seed: int, n: int = 240, **by: str) -> rte.OutcomeMoments:
    """Return moments of made-up people over five periods."""
    rng = np.random.default_rng(seed)
    people = pd.DataFrame({"id": range(n), "g": rng.choice([0, 3, 4], n), "band": rng.choice(["a", "b"], n)})
    long = people.merge(pd.DataFrame({"t": range(1, 6)}), how="cross")
    long["y"] = rng.normal(0, 1, len(long)) + (long["g"] > 0) * (long["t"] >= long["g"])
    return rte.outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", **by)


def results() -> Results:
    """Return results of every kind: from tables, on a covariance, and stated."""
    found = Results()
    matched, pool, by = outcome_moments(1), outcome_moments(2), outcome_moments(3, by="band")
    found.moments |= {"matched": matched, "pool": pool, "matched_by_band": by}
    rng = np.random.default_rng(4)
    rows = pd.DataFrame({"id": range(300), "quarters": rng.integers(1, 5, 300), "cause": rng.integers(0, 2, 300),
                         "arm": rng.choice(["x", "y"], 300)})  # fmt: skip
    life = rte.Spells.from_table(rte.Spells(rows, id="id", by="arm").table.coarsen(10))
    found.life_tables["arm"] = life.table
    effects = matched.att_gt()
    dynamic = effects.aggregate("dynamic")
    levels = by.att_gt().by("band").aggregate("simple")
    found.add_effects("att_matched", effects.aggregate("simple"))
    found.add_effects("unadjusted", pool.att_gt().aggregate("simple"))
    found.add_effects("did", effects.aggregate("simple"))
    found.add_effects("event_study", dynamic)
    found.add_effects("att_by_band", levels)
    found.add_effects("km_arm", life.kaplan_meier(times=(1, 2, 3)))
    found.add_effects("median", life.quantile(0.5))
    found.add_table("tests", pretrend_test(dynamic), "event_study")
    found.add_table("pretest_power", pretest_power(dynamic, draws=2_000), "event_study")
    found.add_table("verdicts", verdicts(levels, smallest_worthwhile=0.5), "att_by_band")
    found.add_table("means", mean_paths(matched))
    peer = [{"estimate": 1.234, "n_treated": 50, "n_control": 50}]
    found.add_effects("peer", EffectTable.build(peer, np.array([[0.25]])))
    found.add_table("flow", pd.DataFrame({"step": ["all", "matched"], "group": "treated", "n": [240, 200],
                                          "reason": ["", "no control"]}))  # fmt: skip
    shared = dictionary(load_package(resource("data_schemas")))
    found.add_table("dictionary", shared[shared["resource"] == "person"].reset_index(drop=True))
    return found


def write_edition(folder: Path) -> Path:
    """Write the edition and return its folder."""
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    inputs = [{"name": "person", "file": "p.csv", "rows_in": 240, "rows_rejected": 0, "vintage": 1}]
    return writing.write(results(), folder, read_study(folder), folder / "release" / "2026", inputs=inputs).path


Change = Callable[[Path], object]


def changed(edition: Path, target: Path, *changes: Change, seal: bool = True, hashes: bool = True) -> Path:
    """Return a copy of an edition with changes, its hashes and seal recomputed unless they are to be kept."""
    copy = Path(shutil.copytree(edition, target, symlinks=True))
    for change in changes:
        change(copy)
    if hashes:
        rehash(copy, seal=seal)
    return copy


def in_manifest(change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the manifest."""

    def apply(folder: Path) -> None:
        facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        change(facts)
        (folder / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")

    return apply


def in_recipes(change: Callable[[list[dict[str, Any]]], object]) -> Change:
    """Change the recipes; if the change returns a list, it replaces them."""

    def apply(folder: Path) -> None:
        parts = json.loads((folder / "recipes.json").read_text(encoding="utf-8"))
        made = change(parts)
        (folder / "recipes.json").write_text(json.dumps(made if isinstance(made, list) else parts), encoding="utf-8")

    return apply


def in_table(name: str, change: Callable[[pd.DataFrame], object]) -> Change:
    """Change a CSV, all of it as text."""

    def apply(folder: Path) -> None:
        frame = pd.read_csv(folder / name, dtype="str", keep_default_na=False)
        made = change(frame)
        frame = made if isinstance(made, pd.DataFrame) else frame
        frame.to_csv(folder / name, index=False, lineterminator="\n")

    return apply


def written(name: str, content: str | bytes) -> Change:
    """Replace a file."""
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def set_cell(result: str, column: str, value: str) -> Callable[[pd.DataFrame], None]:
    """Return a change of the first row of a result."""

    def apply(frame: pd.DataFrame) -> None:
        frame.loc[frame.index[frame["result"] == result][0], column] = value

    return apply
