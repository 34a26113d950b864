"""What the disclosure officer sees of an edition: exact next to published, the people behind each table, who decided.

It is for use inside the agency only: it holds what a release protects. It lies in the private folder of the store, one
page and one CSV per edition, and one list of decisions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.files import write_text
from retrain_eval.common.text.csv_cells import csv_text
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.layout import OPTIONS, TABLES
from retrain_eval.release.results import Results
from retrain_eval.tables.additive import Additive

FOLDER, DECISIONS = "disclosure", "decisions.json"
COLUMNS = ("table", "result", "row", "number", "exact", "published", "shift_in_errors", "people", "status")
_PAGE = Template("""<!doctype html><html lang="en"><meta charset="utf-8"><title>$title</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .7rem;text-align:left;border-bottom:1px solid #ccc}
strong{color:#a00}</style>
<h1>$title</h1><p><strong>For use inside the agency only: exact numbers stand beside the published ones.</strong></p>
<h2>Decision</h2><p>$standing</p>$decisions
<h2>Tables</h2><p>People are the smallest number in a cell. The largest shift is the largest distance between an exact
and a published estimate, in standard errors.</p>$tables
<h2>What was done</h2>$record
<h2>Rules</h2>$rules
<p>Every number, exact next to published, is in <code>$csv</code>.</p></html>
""")


def compared(exact: Results, published: Results) -> pd.DataFrame:
    """Return every published number next to the exact one, and every exact number that is not published.

    Parameters
    ----------
    exact, published : Results
        Of the run, and of the edition.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`. ``row`` has the keys of the row; ``shift_in_errors`` is (published − exact) / the exact
        standard error, for estimates; ``people`` is the smallest exact count in the row; ``status`` is ``"as it is"``,
        ``"changed"`` or ``"withheld"``.
    """
    rows = [row for name in TABLES if name in exact.tables for row in _rows(name, exact, published)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(name: str, exact: Results, published: Results) -> Iterator[tuple[object, ...]]:
    mine, theirs = _keyed(name, exact.tables[name]), _keyed(name, published.tables.get(name))
    numbers = [c for c in TABLES[name] if c in mine.columns and c not in _TIMES and _is_number(mine[c])]
    counts = [c for c in numbers if c == "n" or c.startswith("n_")]
    now_of = dict(zip(theirs.index.tolist(), theirs.to_dict("records"), strict=True))
    for key, row in zip(mine.index.tolist(), mine.to_dict("records"), strict=True):
        other = now_of.get(key)
        people = min((float(row[c]) for c in counts if pd.notna(row[c])), default=np.nan)
        for number in numbers:
            if pd.isna(row[number]):
                continue
            value, now = float(row[number]), np.nan if other is None else _number(other.get(number))
            error = float(row["std_error"]) if number == "estimate" and pd.notna(row.get("std_error")) else np.nan
            status = "withheld" if np.isnan(now) else "as it is" if np.isclose(value, now, rtol=1e-9) else "changed"
            result = row["result"] if "result" in mine.columns else ""
            yield name, result, key, number, value, now, (now - value) / error if error else np.nan, people, status


def _keyed(name: str, table: pd.DataFrame | None) -> pd.DataFrame:
    """Return a table by the text of its keys; rows with the same keys are numbered."""
    if table is None:
        return pd.DataFrame()
    keys = [c for c in TABLES[name] if c in table.columns and (c in _TIMES or not _is_number(table[c]))]
    keys = [c for c in keys if c not in ("result", "note", "verdict", "wwc")]
    text = [" · ".join(str(v) for v in row if pd.notna(v) and str(v)) for row in table[keys].itertuples(index=False)]
    results = table["result"].astype(str) if "result" in table.columns else pd.Series("", index=table.index)
    index = pd.Series([f"{of}: {key}".removeprefix(": ") for of, key in zip(results, text, strict=True)])
    again = index.groupby(index).cumcount()
    return table.set_axis(pd.Index(index.where(again == 0, index + " #" + again.astype(str))), axis=0)


_TIMES = ("cohort", "time", "event_time", *OPTIONS)


def _number(value: Any) -> float:
    return np.nan if value is None or pd.isna(value) else float(value)


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def additive_tables(exact: Mapping[str, Additive], published: Mapping[str, Additive]) -> pd.DataFrame:
    """Return, for each additive table, its cells and its smallest number of people, exact and published.

    Returns
    -------
    DataFrame
        ``table, cells, people, published_cells, published_people``; NA where a table is withheld.
    """
    rows = []
    for name, table in exact.items():
        other = published.get(name)
        facts = [None, None] if other is None else [len(other.cells), _fewest(other)]
        rows.append((name, len(table.cells), _fewest(table), *facts))
    names = ["table", "cells", "people", "published_cells", "published_people"]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(names[1:], "Int64"))


def _fewest(table: Additive) -> int | None:
    counts = [c for c in table.cells.columns if c in ("n", "people", "stopped") or c.startswith("n_")]
    n = table.cells[counts].to_numpy(dtype=float, na_value=np.nan)
    return int(n[n > 0].min()) if (n > 0).any() else None


def keep_review(store: Path, exact: Results, bundle: Bundle, *, by: str, when: datetime | None = None) -> Path:
    """Write the page and the CSV of an edition, and note who approved it.

    Parameters
    ----------
    store : Path
        The folder of the store.
    exact : Results
        Of the run.
    bundle : Bundle
        The edition as written.
    by : str
        Who approved it; empty for a draft.
    when : datetime, optional
        Now, by default.

    Returns
    -------
    Path
        The page.
    """
    folder = store / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    if by:
        decide(store, bundle, "approved", by, when=when)
    frame, csv = compared(exact, Results.read(bundle.path)), f"{bundle.edition}.csv"
    write_text(folder / csv, csv_text(frame, "%.10g"), access="private")
    tables = additive_tables(exact.kept(), bundle.tables())
    shifts = frame.assign(shift=frame["shift_in_errors"].abs()).groupby("table", sort=False)
    printed = pd.DataFrame(
        {
            "numbers": shifts.size(),
            "withheld": frame["status"].eq("withheld").groupby(frame["table"], sort=False).sum(),
            "largest shift": shifts["shift"].max().round(3),
        }
    ).reset_index()
    rules = pd.DataFrame({"rule": list(bundle.manifest["rules"]), "value": [*bundle.manifest["rules"].values()]})
    decided = [one for one in decisions(store) if one["edition"] == bundle.edition]
    page = _PAGE.substitute(
        title=escape(f"Disclosure review: {bundle.manifest['study']['name']}, edition {bundle.edition}"),
        standing=escape(
            f"Approved by {bundle.approved_by}." if bundle.approved_by else "A draft: approve it or return it."
        ),
        decisions=_table(pd.DataFrame(decided)) if decided else "",
        rules=_table(rules),
        tables=_table(printed) + _table(tables),
        record="".join(f"<p>{escape(line)}</p>" for line in bundle.manifest["protection"])
        or "<p>Nothing was merged.</p>",
        csv=escape(csv),
    )
    target = folder / f"{bundle.edition}.html"
    write_text(target, page, access="private")
    return target


def decide(
    store: Path, bundle: Bundle | str, decision: str, by: str, reason: str = "", when: datetime | None = None
) -> None:
    """Add a decision on an edition, ``"approved"`` or ``"returned"``, to the list: who, when, which bytes, and why.

    Of an edition whose folder is gone only the name is given.
    """
    (store / FOLDER).mkdir(mode=0o700, exist_ok=True)
    at = (when or datetime.now(UTC)).isoformat(timespec="seconds")
    new = {
        "edition": bundle if isinstance(bundle, str) else bundle.edition,
        "decision": decision,
        "by": by,
        "when": at,
        "reason": reason,
        "manifest_sha256": "" if isinstance(bundle, str) else bundle.sha256,
    }
    made = decisions(store)
    if made and {**made[-1], "when": ""} == {**new, "when": ""}:
        return
    write_text(store / FOLDER / DECISIONS, json.dumps([*made, new], indent=1, ensure_ascii=False), access="private")


def decisions(store: Path) -> list[dict[str, str]]:
    """Return the decisions that were made, oldest first."""
    path = store / FOLDER / DECISIONS
    found: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return found


def _table(frame: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(name).replace('_', ' '))}</th>" for name in frame.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{'' if pd.isna(v) else escape(str(v))}</td>" for v in row) + "</tr>"
        for row in frame.itertuples(index=False)
    )
    return f"<table><tr>{head}</tr>{body}</table>"
