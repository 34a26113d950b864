"""The page on limitations: which results cannot be published, and why."""

from __future__ import annotations

import pandas as pd

from retrain_eval.report.language.catalogue import _
from retrain_eval.report.page import Release
from retrain_eval.report.tables import Table


def tabulate_withheld(release: Release) -> Table:
    """Tabulate the withheld results of the study and of those printed next to it, with their reasons."""
    rows = pd.DataFrame(
        [
            {"study": study.bundle.name, "result": name, "reason": reason}
            for study in release.studies
            for name, reason in study.bundle.withheld.items()
        ],
        columns=["study", "result", "reason"],
    )
    labels = {"result": _("Result"), "study": _("Study"), "reason": _("Reason")}
    return Table(rows[["result", "study", "reason"]], rows, labels=labels, left=["study", "reason"], code=["result"])
