"""Who paid for training, and for what: lines that add up to the cent."""

from __future__ import annotations

import pandas as pd

from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import MINUS, percent
from retrain_eval.report.page import Study
from retrain_eval.report.pages.money.accounts import PERSPECTIVE_NAMES, costs_rounded
from retrain_eval.report.tables import Table
from retrain_eval.report.words import Words, sentence
from retrain_eval.tables.ledger import OTHERS, PARTICIPANTS, TAXPAYERS

COMPONENT_NAMES = {
    "tuition": N_("tuition"),
    "stipend": N_("stipends"),
    "support": N_("support"),
    "administration": N_("administration"),
    "other": N_("other costs"),
}


def say_ledger(study: Study) -> str:
    """Say what training cost in all and per person, and who paid the most."""
    rows, words = study.bundle.ledger, study.words
    assert rows is not None
    total, each = int(rows["cents"].sum()), int(rows["cents_per_person"].sum())
    if total == 0:
        return _("The records state no cost of training.")
    payers = rows.groupby("payer")["cents"].sum().sort_values(ascending=False)
    values = {
        "total": _money(words, total),
        "each": _money(words, each),
        "share": percent(payers.iloc[0] / total),
        "payer": _(PERSPECTIVE_NAMES[str(payers.index[0])]),
    }
    if costs_rounded(study):
        return _(
            "Training cost about {total}, which is {each} for each person who entered, rounded to two digits; "
            "{payer} paid {share} of it.",
            **values,
        )
    return _(
        "Training cost {total}, which is {each} for each person who entered; {payer} paid {share} of it.",
        **values,
    )


def tabulate_ledger(study: Study) -> Table:
    """Tabulate what was paid, by payer, funder and component, with a total that is the sum of its lines."""
    rows, words = study.bundle.ledger, study.words
    assert rows is not None
    order = {name: place for place, name in enumerate((TAXPAYERS, PARTICIPANTS, OTHERS))}
    rows = rows.sort_values("payer", key=lambda names: names.map(order), kind="stable").reset_index(drop=True)
    cells = pd.DataFrame(
        {
            "payer": [sentence(_(PERSPECTIVE_NAMES[str(name)])) for name in rows["payer"]],
            "line": [
                _("{funder}, {component}", funder=words.name(funder), component=_component(words, component))
                for funder, component in zip(rows["funder"], rows["component"], strict=True)
            ],
            "amount": [_money(words, cents) for cents in rows["cents"]],
            "each": [_money(words, cents) for cents in rows["cents_per_person"]],
        }
    )
    total = {
        "payer": _("All"),
        "line": _("Total"),
        "amount": _money(words, int(rows["cents"].sum())),
        "each": _money(words, int(rows["cents_per_person"].sum())),
    }
    cells = pd.concat([cells, pd.DataFrame([total])], ignore_index=True)
    labels = {"line": _("Funder and component"), "amount": _("Amount"), "each": _("For each person who entered")}
    rounded = (rows["cents"] == 0).any() and rows["cents"].any()
    note = (
        _("Lines are rounded to the last digit of the total for each person: a line of zero is too small to show.")
        if rounded
        else ""
    )
    if costs_rounded(study):
        digits = _("The total for each person is rounded to two digits, and all amounts with it, to protect people.")
        note = f"{digits} {note}".strip()
    return Table(cells, rows, stub="line", labels=labels, groups="payer", note=note)


def _component(words: Words, name: object) -> str:
    known = COMPONENT_NAMES.get(str(name))
    return _(known) if known else words.name(name)


def _money(words: Words, cents: int) -> str:
    """Return an amount of cents: to the cent unless it is whole."""
    text = words.amount(abs(cents) // 100)
    fraction = abs(int(cents)) % 100
    return f"{MINUS if cents < 0 else ''}{text}{f'.{fraction:02d}' if fraction else ''}"
