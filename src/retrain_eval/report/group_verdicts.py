"""The verdict on each group, as the pages on subgroups and on durations show it."""

from __future__ import annotations

import pandas as pd

from retrain_eval.common.levels import missing
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import short_p
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import Words, sentence

VERDICTS = (N_("effect"), N_("equivalent to none"), N_("inconclusive"))


def verdict_rows(study: Study, prefix: str = "att_by_") -> pd.DataFrame:
    """Return the verdict on each level of the results whose names start alike, with the headings of `subgroups`."""
    rows = study.bundle.verdicts
    assert rows is not None
    rows = rows[rows["result"].str.startswith(prefix) & ~missing(rows["level"])].reset_index(drop=True)
    rows = in_study_order(study, rows)
    rows["panel"] = group_headings(study, rows)
    rows["label"] = rows["level"].map(study.words.name)
    return rows.reset_index(drop=True)


def in_study_order(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows by subgroup, as they are first met, and by level within each, in the order of the study file."""
    blocks = [
        block.iloc[
            pd.Categorical(block["level"], study.in_order(block["level"], str(name))).codes.argsort(kind="stable")
        ]
        for name, block in rows.groupby("subgroup", sort=False)
    ]
    return pd.concat(blocks) if blocks else rows


def group_headings(study: Study, rows: pd.DataFrame) -> pd.Series:
    """Return the heading of each row's subgroup, marked where the plan does not name it."""
    return rows["subgroup"].map(lambda name: sentence(study.marked(f"att_by_{name}", study.words.name(name))))


def tabulate_verdicts(rows: pd.DataFrame, words: Words) -> Table:
    """Tabulate what can be said of each level."""
    needed = [int(n) if pd.notna(n) else 0 for n in rows["n_needed"]]
    cells = pd.DataFrame(
        {
            "label": rows["label"],
            "panel": rows["panel"],
            "verdict": rows["verdict"].map(_),
            "p_romano_wolf": [short_p(value) for value in rows["p_romano_wolf"]],
            "p_equivalence": [short_p(value) for value in rows["p_equivalence"]],
            "mde": [words.amount(value) for value in rows["mde"]],
            "n_treated": [f"{int(n):,}" for n in rows["n_treated"]],
            "n_needed": [f"{n:,}" if n else "—" for n in needed],
        }
    )
    labels = {
        "label": _("Group"),
        "verdict": _("Verdict"),
        "p_romano_wolf": _("p, no effect"),
        "p_equivalence": _("p, matters"),
        "mde": _("Detectable"),
        "n_treated": _("Trained"),
        "n_needed": _("Needed"),
    }
    data = rows.drop(columns=["label", "panel"])
    return Table(cells, data, stub="label", labels=labels, groups="panel", left=("verdict",))
