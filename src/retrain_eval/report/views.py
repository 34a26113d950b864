"""Rows of a bundle arranged for the pages: which estimates stand together, under which names."""

from __future__ import annotations

import pandas as pd

from retrain_eval.common.levels import missing
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import signed
from retrain_eval.report.page import PEERS, Study
from retrain_eval.report.words import sentence


def comparison(study: Study) -> pd.DataFrame:
    """Return the estimates of the average effect side by side, from the naive one to the experiment."""
    named = {
        "unadjusted": (_("Raw comparison"), "other"),
        "att_matched": (_("Matched comparison"), "own"),
        "did": (_("Matched, difference-in-differences"), "own"),
        "benchmark": (_("Randomised experiment"), "experiment"),
    }
    blocks = []
    for name, (label, shape) in named.items():
        blocks.append(study.own(name).head(1).assign(label=label, shape=shape))
    return pd.concat(blocks, ignore_index=True)


def engines(study: Study) -> pd.DataFrame:
    """Return what two engines have computed: the matched effect, and the event study where both have it."""
    blocks = []
    for name, label in {"att_matched": _("Matched effect"), "event_study": _("Event study, ")}.items():
        rows = study.result(name)
        if len(set(rows["estimator"])) > 1:
            times = rows["event_time"].map(
                lambda time: "" if pd.isna(time) else _("period {signed}", signed=signed(time))
            )
            rows = rows.assign(label=label + times)[rows["event_time"].notna() | (name == "att_matched")]
            blocks.append(rows[rows["std_error"].notna()])
    rows = pd.concat(blocks, ignore_index=True)
    rows["engine"] = [_("pyfixest, from rows") if name in PEERS else _("outcome moments") for name in rows["estimator"]]
    return rows.sort_values(["label", "engine"], kind="stable").reset_index(drop=True)


def subgroups(study: Study) -> pd.DataFrame:
    """Return the effects by subgroup, each with the experiment's own where there is one."""
    blocks = []
    for result in study.results("att_by_"):
        name = result.removeprefix("att_by_")
        own = study.result(result).assign(shape="own")
        blocks.append(own)
        trial = study.result(f"benchmark_by_{name}")
        if len(trial):
            blocks.append(trial.assign(shape="experiment"))
    rows = pd.concat(blocks, ignore_index=True)
    rows = rows[rows["level"] != ""]
    order = {result: i for i, result in enumerate(dict.fromkeys(rows["subgroup"]))}
    levels = {
        level: i
        for name, block in rows.groupby("subgroup", sort=False)
        for i, level in enumerate(study.in_order(block["level"], str(name)))
    }
    rows = rows.sort_values(
        ["subgroup", "level", "shape"], key=lambda s: s.map(order | levels | {"own": 0, "experiment": 1})
    )
    rows["panel"] = _headings(study, rows)
    rows["label"] = rows["level"].map(study.words.name) + rows["shape"].map(
        {"own": "", "experiment": _(", experiment")}
    )
    return rows.reset_index(drop=True)


def differences(study: Study) -> pd.DataFrame:
    """Return the differences between levels of each subgroup, with the joint covariance."""
    rows = pd.concat([study.result(name) for name in study.results("difference_by_")], ignore_index=True)
    rows = rows[~missing(rows["level"])].reset_index(drop=True)
    rows["label"] = _headings(study, rows) + _(": ") + rows["level"].map(study.words.name)
    return rows


def _headings(study: Study, rows: pd.DataFrame) -> pd.Series:
    """Return the heading of each row's subgroup, marked where the plan does not name it."""
    return rows["subgroup"].map(lambda name: sentence(study.marked(f"att_by_{name}", study.words.name(name))))


def verdicts(study: Study, prefix: str = "att_by_") -> pd.DataFrame:
    """Return the verdict on each level of the results whose names start alike, with the headings of `subgroups`."""
    rows = study.bundle.verdicts
    assert rows is not None
    rows = rows[rows["result"].str.startswith(prefix) & ~missing(rows["level"])].reset_index(drop=True)
    order = {level: i for name, block in rows.groupby("subgroup", sort=False)
             for i, level in enumerate(study.in_order(block["level"], str(name)))}  # fmt: skip
    groups = {name: i for i, name in enumerate(dict.fromkeys(rows["subgroup"]))}
    rows = rows.sort_values(["subgroup", "level"], key=lambda s: s.map(groups | order))
    rows["panel"] = _headings(study, rows)
    rows["label"] = rows["level"].map(study.words.name)
    return rows.reset_index(drop=True)


def replication(study: Study) -> pd.DataFrame:
    """Return the textbook coefficients as each package computes them, one row per coefficient."""
    wide = {}
    for result in study.results("example_"):
        rows = study.result(result).set_index("estimand")
        engine = str(rows["estimator"].iloc[0])
        wide[f"{engine} estimate"], wide[f"{engine} std. error"] = rows["estimate"], rows["std_error"]
    return pd.DataFrame(wide).rename_axis("coefficient").reset_index()


def group_time(study: Study) -> pd.DataFrame:
    """Return group-time effects with a label of cohort and period."""
    rows = study.result("att_gt")
    names = [
        _("Trained {time}, measured {time_2}", time=study.words.time(c, True), time_2=study.words.time(t, True))
        for c, t in zip(rows["cohort"], rows["time"], strict=True)
    ]
    rows = rows.assign(label=names)
    return rows[rows["time"] >= rows["cohort"]].reset_index(drop=True)
