"""How many people were submitted and how many are analysed: the key counts, the sentence and the table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pandas as pd

from retrain_eval.report.html import Html
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import percent
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import WITHHELD, listed


def count_people(study: Study) -> list[tuple[str, str]]:
    """Return the key counts of the sample: submitted and analysed, by group."""
    flow = study.bundle.flow
    if flow is None:
        return []
    if set(flow["group"]) == {"treated"}:  # a study without a comparison, of spells for example
        first = flow["n"].iloc[0]
        return [(WITHHELD if pd.isna(first) else f"{int(first):,}", _("{units} followed", units=study.words.units))]
    counts = []
    for group, name in {"treated": _("trained"), "control": _("controls")}.items():
        rows = flow[flow["group"] == group]
        if len(rows):
            first, last = (WITHHELD if pd.isna(n) else f"{int(n):,}" for n in rows["n"].iloc[[0, -1]])
            counts += [(first, _("{name}, submitted", name=name)), (last, _("{name}, analysed", name=name))]
    return counts


def show_counts(counts: Sequence[tuple[str, str]]) -> Html:
    """Return numbers to remember, each over its name."""
    items = "".join(f"<li><strong>{escape(number)}</strong>{escape(name)}</li>" for number, name in counts)
    return Html(f'<ul class="counts">{items}</ul>')


def say_sample(study: Study) -> str:
    """Say how many came in and how many are analysed."""
    flow, words = study.bundle.flow, study.words
    assert flow is not None
    if set(flow["group"]) == {"treated"}:
        first = flow["n"].iloc[0]
        people = (
            _("{units}, whose number is {withheld}", units=words.units, withheld=_(WITHHELD))
            if pd.isna(first)
            else words.count(first)
        )
        return _("The study follows {people}.", people=people)
    parts = []
    for group, name in {"treated": _("trained"), "control": _("possible controls")}.items():
        rows = flow[flow["group"] == group]
        if rows.empty:
            continue
        first, last = rows["n"].iloc[0], rows["n"].iloc[-1]
        if pd.isna(first) or pd.isna(last):
            parts.append(_("a number of {name} that is withheld", name=name))
            continue
        share = percent(last / first, 0 if last / first > 0.1 else 1)
        parts.append(
            _(
                "{last:,} of {count} submitted as {name} ({share})",
                last=int(last),
                count=words.count(first),
                name=name,
                share=share,
            )
        )
    return _("The estimates rest on {listed}.", listed=listed(parts))


def say_suppressed(study: Study) -> str:
    """Say how many rows of results are withheld."""
    number, rows = study.suppressed, len(study.effects)
    return (
        _("{number} of {rows} rows of results", number=number, rows=rows)
        if number
        else _("none of the {rows} rows of results", rows=rows)
    )


def tabulate_flow(frame: pd.DataFrame) -> Table:
    """Tabulate the sample from submitted to analysed: one row per step, a column per group, and the reason."""
    alone = set(frame["group"]) == {"treated"}
    names = {"treated": _("Number")} if alone else {"treated": _("Trained"), "control": _("Controls")}
    steps = frame.assign(
        reason=frame["reason"].astype("string").fillna(""),
        group=frame["group"].map(lambda group: names.get(group, group)),
    )
    steps["n"] = [WITHHELD if pd.isna(n) else f"{int(n):,}" for n in steps["n"]]
    order = list(dict.fromkeys(steps["step"]))
    cells = pd.DataFrame({"step": order})
    for group in dict.fromkeys([*(name for name in names.values() if name in set(steps["group"])), *steps["group"]]):
        counts = steps[steps["group"] == group].set_index("step")["n"]
        cells[group] = [str(counts.get(step, "—")) for step in order]
    reasons = steps[steps["reason"] != ""].groupby("step")["reason"].agg(lambda texts: "; ".join(dict.fromkeys(texts)))
    cells["reason"] = cells["step"].map(reasons).astype("string").fillna("")
    return Table(
        cells,
        frame,
        labels={"step": _("Step"), "reason": _("Note") if alone else _("Why others left")},
        left=["reason"],
    )
