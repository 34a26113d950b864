"""What can be asked: the catalogue of questions, and which of them the records of a study can answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from retrain_eval.plan.designs import KINDS
from retrain_eval.questions.catalogue import QUESTIONS, what_is_missing
from retrain_eval.study.folder import Study


def list_questions(folder: Path | None = None) -> tuple[dict[str, Any], str]:
    """Return the catalogue or, for a study, what it lacks for each question; as facts, and as text.

    Parameters
    ----------
    folder : Path, optional
        Folder of a study. If its records are not loaded, columns are not looked at.

    Examples
    --------
    >>> facts, text = list_questions()
    >>> facts["questions"][2]["name"], text.splitlines()[9]
    ('effect_over_time', '  for payback also cost.amount')
    """
    if folder is None:
        listed = [_described(name) for name in QUESTIONS]
        lines = [line for item in listed for line in _lines(item)]
        lines.append(f"\ndesigns, sections [designs.NAME]: {', '.join(KINDS)}")
        return {"questions": listed, "designs": list(KINDS)}, "\n".join(lines)
    study = Study.open(folder)
    loaded = study.store_path.exists()
    if loaded:
        with study._open(lambda _: None, read_only=True) as store:
            have: Mapping[str, Collection[str]] = store.filled()
    else:
        have = {name: study.package[name].columns for name in study.record_types}
    missing, asked = what_is_missing(study.file, have), dict(study.file.questions.asked())
    parts = {name: QUESTIONS[name].needs.parts_missing(have) for name in missing}
    listed = [
        {"name": name, "asked": name in asked, "missing": lacking, "parts_missing": parts[name]}
        for name, lacking in missing.items()
    ]
    width = max(map(len, missing))
    lines = [f"{name:{width}}  {_standing(name in asked, lacking, parts[name])}" for name, lacking in missing.items()]
    if not loaded:
        lines.append(f"the records are not loaded, so that columns were not looked at: retrain-eval ingest {folder}")
    return {"questions": listed, "columns_checked": loaded}, "\n".join(lines)


def _described(name: str) -> dict[str, Any]:
    question = QUESTIONS[name]
    return {
        "name": name,
        "asks": question.asks,
        "records": {record: list(columns) for record, columns in question.needs.records.items()},
        "sections": list(question.needs.sections),
        "designs": list(question.needs.kinds or KINDS),
        "also": dict(question.needs.also),
        "results": list(question.results),
    }


def _lines(item: dict[str, Any]) -> list[str]:
    """Return the lines of a question in the catalogue."""
    records = [f"{name} ({', '.join(columns)})" if columns else name for name, columns in item["records"].items()]
    needs = [*records, *(f"[{name}]" for name in item["sections"])]
    kinds = "" if len(item["designs"]) == len(KINDS) else f"; designs: {', '.join(item['designs'])}"
    also = [f"  for {part} also {columns}" for part, columns in item["also"].items()]
    return [item["name"], f"  {item['asks']}", f"  needs {', '.join(needs)}{kinds}", *also]


def _standing(asked: bool, missing: list[str], parts: dict[str, str]) -> str:
    if missing:
        return f"{'asked, but ' if asked else ''}needs {', '.join(missing)}"
    limits = [f"{part} also needs {columns}" for part, columns in parts.items()]
    return "; ".join(["asked" if asked else "can be asked", *limits])
