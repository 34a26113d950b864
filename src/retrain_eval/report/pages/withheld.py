"""What the report says of results that cannot be published: which they are, and why."""

from __future__ import annotations

import pandas as pd

from retrain_eval.report.language.catalogue import _
from retrain_eval.report.page import Release
from retrain_eval.report.tables import Table, table
from retrain_eval.report.words import code


def tabulate(release: Release) -> Table:
    """Tabulate the withheld results of the study and of those printed next to it, with their reasons."""
    rows = pd.DataFrame(
        [
            {"study": study.bundle.name, "result": name, "reason": reason}
            for study in release.studies
            for name, reason in study.bundle.withheld.items()
        ],
        columns=["study", "result", "reason"],
    )
    shown = rows.assign(result=[code(name) for name in rows["result"]])[["result", "study", "reason"]]
    labels = {"result": _("Result"), "study": _("Study"), "reason": _("Reason")}
    made = table(shown, rows, labels=labels, left=["study", "reason"])
    return Table(made.gt.fmt_markdown(["result"]), rows)
