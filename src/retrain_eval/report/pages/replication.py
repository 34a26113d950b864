"""The page that reproduces a textbook example."""

from __future__ import annotations

import pandas as pd

from retrain_eval.report.drawing import Figure
from retrain_eval.report.estimates import draw_estimates, tabulate_estimates
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import plain, tiny
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table


def replication_rows(study: Study) -> pd.DataFrame:
    """Return the textbook coefficients as each package computes them, one row per coefficient."""
    wide = {}
    for result in study.results("example_"):
        rows = study.result(result).set_index("estimand")
        engine = str(rows["estimator"].iloc[0])
        wide[f"{engine} estimate"], wide[f"{engine} std. error"] = rows["estimate"], rows["std_error"]
    return pd.DataFrame(wide).rename_axis("coefficient").reset_index()


def say_replication(study: Study) -> str:
    """Say how closely the packages agree on the textbook example."""
    frame = replication_rows(study)
    spread = 0.0
    for kind in ("estimate", "std. error"):
        columns = frame[[column for column in frame.columns if column.endswith(kind)]]
        spread = max(spread, float((columns.max(axis=1) - columns.min(axis=1)).max()))
    return _(
        "The largest difference between the packages, over every coefficient and standard error, is {difference}.",
        difference=tiny(spread),
    )


def tabulate_replication(frame: pd.DataFrame) -> Table:
    """Tabulate one row per coefficient, estimate and standard error of each package."""
    numbers = [column for column in frame.columns if column != "coefficient"]
    cells = frame.assign(**{column: [plain(value) for value in frame[column]] for column in numbers})
    kinds = {column: _("Estimate") if column.endswith("estimate") else _("Std. error") for column in numbers}
    spanners: dict[str, list[str]] = {}
    for column in numbers:
        spanners.setdefault(column.removesuffix(" estimate").removesuffix(" std. error"), []).append(column)
    return Table(cells, frame, labels=kinds, spanners=spanners, code=["coefficient"])


def group_time_rows(study: Study) -> pd.DataFrame:
    """Return group-time effects with a label of cohort and period."""
    rows = study.result("att_gt")
    names = [
        _("Trained {cohort}, measured {time}", cohort=study.words.time(c, True), time=study.words.time(t, True))
        for c, t in zip(rows["cohort"], rows["time"], strict=True)
    ]
    rows = rows.assign(label=names)
    return rows[rows["time"] >= rows["cohort"]].reset_index(drop=True)


def draw_group_time(study: Study) -> Figure:
    """Draw the group-time effects."""
    return draw_estimates(group_time_rows(study), study.words)


def tabulate_group_time(study: Study) -> Table:
    """Tabulate the group-time effects."""
    return tabulate_estimates(group_time_rows(study), study.words, heading=_("Group and period"))
