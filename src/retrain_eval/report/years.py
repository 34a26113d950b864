"""The page that sets editions side by side: the main effect of each, and what changed between them."""

from __future__ import annotations

import pandas as pd

from retrain_eval.plan import differences
from retrain_eval.report.findings import main_effect
from retrain_eval.report.pages import Release, Study
from retrain_eval.report.tables import Table, table
from retrain_eval.report.words import listed
from retrain_eval.study import read_study


def label(release: Release, study: Study) -> str:
    """Return the name of an edition; said to be corrected where a later one corrects it."""
    corrected = {one.bundle.corrects.get("edition") for one in release.editions}
    name = f"Edition {study.bundle.edition}"
    return f"{name}, corrected" if study.bundle.edition in corrected else name


def effects(release: Release) -> pd.DataFrame:
    """Return the main effect of each edition that publishes one."""
    rows = []
    for study in release.editions:
        row = main_effect(study)
        if row is not None:
            rows.append({**row.to_dict(), "label": label(release, study)})
    return pd.DataFrame(rows)


def say(release: Release) -> str:
    """Say how the main effect moved since the edition before."""
    rows, words = effects(release), release.main.words
    if len(rows) < 2 or rows["label"].iloc[-1] != label(release, release.main):
        return "The main effect of this edition or of all before it is not published, so there is nothing to compare."
    before, now = rows.iloc[-2], rows.iloc[-1]
    if before["outcome"] != now["outcome"]:
        return (
            f"The main outcome is another than before: {words.name(now['outcome'])} in this edition, "
            f"{words.name(before['outcome'])} in the one before. The effects are not to be compared."
        )
    inside = before["ci_low"] <= now["estimate"] <= before["ci_high"]
    return (
        f"The average effect on {words.name(now['outcome'])} was {words.amount(before['estimate'])} "
        f"({words.interval(before['ci_low'], before['ci_high'])}) in the edition before and is "
        f"{words.amount(now['estimate'])} ({words.interval(now['ci_low'], now['ci_high'])}) in this one. "
        f"The new estimate lies {'inside' if inside else 'outside'} the earlier interval."
    )


def changes(release: Release) -> Table:
    """Tabulate, for each edition, what differs from the one before: records, study file, software."""
    rows = []
    before: Study | None = None
    for study in release.editions:
        rows.append(
            {
                "label": label(release, study),
                "records": _records(before, study),
                "study": _study_file(before, study),
                "software": _software(before, study),
                "sha256": study.bundle.sha256,
            }
        )
        before = study
    data = pd.DataFrame(rows)
    shown = data.assign(sha256=[f"`{digest[:16]}…`" for digest in data["sha256"]])
    labels = {"label": "Edition", "records": "Records", "study": "Study file", "software": "Software",
              "sha256": "SHA-256"}  # fmt: skip
    made = table(shown, data, labels=labels, left=["records", "study", "software", "sha256"])
    return Table(made.gt.fmt_markdown(["sha256"]), data)


def correction(release: Release, edition: str) -> str:
    """Say which edition another corrects, and why."""
    study = next(study for study in release.editions if study.bundle.edition == edition)
    named = study.bundle.corrects
    told = f"Edition {edition} corrects edition {named['edition']}."
    return f"{told} {named['reason']}" if named.get("reason") else told


def _records(before: Study | None, study: Study) -> str:
    files = {str(item["sha256"]): int(item.get("rows_in", 0)) for item in study.bundle.manifest["inputs"]}
    total = f"{sum(files.values()):,} rows in {len(files)} files"
    if before is None:
        return total
    known = {str(item["sha256"]) for item in before.bundle.manifest["inputs"]}
    new, gone = len(set(files) - known), len(known - set(files))
    if not new and not gone:
        return "the same"
    return f"{total}; {new} new, {gone} no longer used"


def _study_file(before: Study | None, study: Study) -> str:
    if before is None:
        return "—"
    if before.bundle.manifest.get("study_sha256") == study.bundle.manifest.get("study_sha256"):
        return "the same"
    fields = differences(read_study(before.bundle.path), read_study(study.bundle.path))["field"].tolist()
    return listed(fields) if fields else "the same but for its presentation"


def _software(before: Study | None, study: Study) -> str:
    now = {"Python": study.bundle.manifest["python"], **study.bundle.manifest["packages"]}
    if before is None:
        return f"retrain-eval {now.get('retrain-eval', '')}".strip()
    was = {"Python": before.bundle.manifest["python"], **before.bundle.manifest["packages"]}
    moved = [f"{name} {was[name]} → {now[name]}" for name in now if name in was and was[name] != now[name]]
    return "; ".join(moved) or "the same"
