"""The page with the columns of the records."""

from __future__ import annotations

import pandas as pd

from retrain_eval.report.language.catalogue import _
from retrain_eval.report.tables import Table


def tabulate_dictionary(frame: pd.DataFrame) -> Table:
    """Tabulate the columns of one record type."""
    rows = frame.astype("string").fillna("")
    rows["type"] = [kind + (f", {unit}" if unit else "") for kind, unit in zip(rows["type"], rows["unit"], strict=True)]
    rows["required"] = rows["required"].str.lower().map({"true": _("yes"), "1": _("yes")}).fillna(_("no"))
    cells = rows[["column", "type", "required", "constraints", "description"]]
    return Table(
        cells, frame, labels={"type": _("Type and unit")}, left=["type", "required", "constraints", "description"]
    )
