"""The page that compares editions: the main effect of each, and what changed between them."""

from __future__ import annotations

import pandas as pd

from retrain_eval.plan.registered import differences
from retrain_eval.plan.study_file import read_study
from retrain_eval.report.drawing import Figure
from retrain_eval.report.estimates import draw_estimates, tabulate_estimates
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.page import Release, Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import listed


def label(release: Release, study: Study) -> str:
    """Return the name of an edition; said to be corrected where a later one corrects it."""
    corrected = {one.bundle.corrects.get("edition") for one in release.editions}
    name = _("Edition {edition}", edition=study.bundle.edition)
    return _("{name}, corrected", name=name) if study.bundle.edition in corrected else name


def edition_effects(release: Release) -> pd.DataFrame:
    """Return the main effect of each edition that publishes one."""
    rows = []
    for study in release.editions:
        row = study.main_effect
        if row is not None:
            rows.append({**row.to_dict(), "label": label(release, study)})
    return pd.DataFrame(rows)


def draw_editions(release: Release) -> Figure:
    """Draw the main effect of each edition."""
    return draw_estimates(edition_effects(release), release.main.words)


def tabulate_editions(release: Release) -> Table:
    """Tabulate the main effect of each edition."""
    return tabulate_estimates(edition_effects(release), release.main.words, heading=_("Edition"))


def say_change(release: Release) -> str:
    """Say how the main effect moved since the edition before."""
    rows, words = edition_effects(release), release.main.words
    if len(rows) < 2 or rows["label"].iloc[-1] != label(release, release.main):
        return _(
            "The main effect of this edition or of all before it is not published, so there is nothing to compare."
        )
    before, now = rows.iloc[-2], rows.iloc[-1]
    if before["outcome"] != now["outcome"]:
        return _(
            "The main outcome is another than before: {current} in this edition, {earlier} in the one "
            "before. The effects are not to be compared.",
            current=words.name(now["outcome"]),
            earlier=words.name(before["outcome"]),
        )
    inside = before["ci_low"] <= now["estimate"] <= before["ci_high"]
    return _(
        "The average effect on {name} was {earlier} ({earlier_interval}) in the edition before and is "
        "{current} ({current_interval}) in this one. The new estimate lies {inside} the earlier interval.",
        name=words.name(now["outcome"]),
        earlier=words.amount(before["estimate"]),
        earlier_interval=words.interval(before["ci_low"], before["ci_high"]),
        current=words.amount(now["estimate"]),
        current_interval=words.interval(now["ci_low"], now["ci_high"]),
        inside=_("inside") if inside else _("outside"),
    )


def say_correction(release: Release, edition: str) -> str:
    """Say which edition another corrects, and why."""
    study = next(study for study in release.editions if study.bundle.edition == edition)
    named = study.bundle.corrects
    text = _("Edition {edition} corrects edition {corrected}.", edition=edition, corrected=named["edition"])
    return f"{text} {named['reason']}" if named.get("reason") else text


def tabulate_changes(release: Release) -> Table:
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
    cells = data.assign(sha256=data["sha256"].str[:16] + "…")
    labels = {"label": _("Edition"), "records": _("Records"), "study": _("Study file"), "software": _("Software"),
              "sha256": "SHA-256"}  # fmt: skip
    return Table(cells, data, labels=labels, left=["records", "study", "software", "sha256"], code=["sha256"])


def _records(before: Study | None, study: Study) -> str:
    inputs: list[dict[str, object]] = study.bundle.manifest["inputs"]
    rows = sum(int(str(item.get("rows_in", 0))) for item in inputs)
    total = _("{rows:,} rows in {files} files", rows=rows, files=len(inputs))
    if before is None:
        return total
    earlier: list[dict[str, object]] = before.bundle.manifest["inputs"]
    exact = next((key for key in ("fingerprint", "sha256") if all(key in one for one in (*inputs, *earlier))), None)
    keys = (exact,) if exact else ("name", "file", "rows_in")
    now, known = ({tuple(str(one.get(key)) for key in keys) for one in files} for files in (inputs, earlier))
    new, gone = len(now - known), len(known - now)
    if not new and not gone:
        return _("the same") if exact else _("files with the same names and numbers of rows")
    return _("{total}; {new} new, {gone} no longer used", total=total, new=new, gone=gone)


def _study_file(before: Study | None, study: Study) -> str:
    if before is None:
        return "—"
    if before.bundle.manifest.get("study_sha256") == study.bundle.manifest.get("study_sha256"):
        return _("the same")
    fields = differences(read_study(before.bundle.path), read_study(study.bundle.path))["field"].tolist()
    return listed(fields) if fields else _("the same but for its presentation")


def _software(before: Study | None, study: Study) -> str:
    now = {"Python": study.bundle.manifest["python"], **study.bundle.manifest["packages"]}
    if before is None:
        return f"retrain-eval {now.get('retrain-eval', '')}".strip()
    was = {"Python": before.bundle.manifest["python"], **before.bundle.manifest["packages"]}
    moved = [f"{name} {was[name]} → {now[name]}" for name in now if name in was and was[name] != now[name]]
    return "; ".join(moved) or _("the same")
