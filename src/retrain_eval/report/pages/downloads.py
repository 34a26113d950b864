"""The page with every file behind the report."""

from __future__ import annotations

from urllib.parse import quote

import pandas as pd

from retrain_eval.report.html import Html
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table

_MARKS = ("sha256", "fingerprint")  # identify the content of a record file; new editions have no SHA-256


def tabulate_files(study: Study) -> Table:
    """Tabulate the files of a bundle with size and SHA-256, each a link to the copy inside the report."""
    listed = {"manifest.json": study.bundle.sha256, **study.bundle.manifest["files"]}
    rows = pd.DataFrame(
        {
            "file": list(listed),
            "bytes": [(study.bundle.path / name).stat().st_size for name in listed],
            "sha256": list(listed.values()),
        }
    )
    cells = rows.assign(
        bytes=[f"{size:,}" for size in rows["bytes"]],
    )
    addresses = [quote(f"{study.folder}/{name}") for name in rows["file"]]
    return Table(cells, rows, labels={"sha256": "SHA-256"}, left=["sha256"], code=["sha256"], links={"file": addresses})


def link_archive(study: Study) -> Html:
    """Link to the whole bundle as one archive."""
    name = f"{study.bundle.name}-{study.bundle.edition}.zip"
    text = _("The whole bundle as one archive, {name}", name=name)
    return Html(f'<p><a href="release/{study.bundle.name}/{name}" download>{text}</a></p>')


def tabulate_inputs(study: Study) -> Table:
    """Tabulate the raw files a study read, with a keyed fingerprint where identifiers are hashed."""
    rows = pd.DataFrame(study.bundle.manifest["inputs"])
    cells = rows.assign(**{c: [f"{n:,}" for n in rows[c]] for c in ("rows_in", "rows_rejected")})
    columns, marked = ["name", "file", "rows_in", "rows_rejected"], [name for name in _MARKS if name in rows]
    cells[marked] = rows[marked].fillna("")
    labels = {"name": _("Records"), "rows_in": _("Rows read"), "rows_rejected": _("Rows refused"),
              "sha256": "SHA-256", "fingerprint": _("Keyed fingerprint")}  # fmt: skip
    return Table(cells[[*columns, *marked]], rows, labels=labels, left=["file", *marked], code=marked)


def tabulate_packages(study: Study) -> Table:
    """Tabulate the versions a study ran with."""
    versions = {"Python": study.bundle.manifest["python"], **study.bundle.manifest["packages"]}
    table = pd.DataFrame({"package": list(versions), "version": list(versions.values())})
    return Table(table, table, left=["version"])
