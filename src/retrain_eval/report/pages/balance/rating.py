"""The balance rating, what it means for the effect, and the checks behind it."""

from __future__ import annotations

from html import escape

import pandas as pd

from retrain_eval.report.html import Html
from retrain_eval.report.language.catalogue import N_, _, ngettext
from retrain_eval.report.numerals import percent, plain
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import listed
from retrain_eval.sample.balance.rating import AMBER, EFFECTIVE, FOUND, GREEN, RED, SPREAD
from retrain_eval.tables.covariates.balance_rows import WWC_ADJUST, WWC_SATISFIED

LIGHTS = {GREEN: ("✓", N_("Alike")), AMBER: ("!", N_("Alike with reservations")), RED: ("✕", N_("Not alike enough"))}
COLOURS = {GREEN: N_("green"), AMBER: N_("amber"), RED: N_("red")}


def show_rating(study: Study) -> Html:
    """Return the verdict as a card: a light with its sign and its word, and the reason."""
    verdict = study.balance_verdict
    assert verdict is not None
    sign, word = LIGHTS[verdict.light]
    word = _(word)
    return Html(
        f'<aside class="light {verdict.light}"><p class="light-word"><span aria-hidden="true">{sign}</span> '
        f"{escape(word)}</p><p>{escape(say_rating(study))}</p></aside>"
    )


def say_rating(study: Study) -> str:
    """Say what the light means for the effect."""
    verdict, words = study.balance_verdict, study.words_before
    assert verdict is not None
    if verdict.light == RED:
        return _(
            "After matching, the groups still differ by more than {wwc_adjust:g} standard deviations "
            "in {listed}. By the standard of the What Works Clearinghouse no adjustment mends that: "
            "the effects are not to be read as caused by training.",
            wwc_adjust=WWC_ADJUST,
            listed=listed([words.covariate(name) for name in verdict.failed]),
        )
    if verdict.light == GREEN:
        return _(
            "After matching, no covariate differs by more than {wwc_satisfied:g} standard deviations: "
            "by the standard of the What Works Clearinghouse the groups are equivalent at baseline.",
            wwc_satisfied=WWC_SATISFIED,
        )
    reasons = [_reason(row, study) for _i, row in verdict.checks[verdict.checks["light"] != GREEN].iterrows()]
    return _("The comparison holds with reservations: ") + _("; ").join(reasons) + _(".")


def _reason(row: pd.Series, study: Study) -> str:
    words, balance = study.words_before, study.bundle.balance
    assert balance is not None
    name = words.covariate(row["where"])
    if row["check"] == "difference":
        adjust = balance[(balance["wwc"] == "needs adjustment") & (balance["covariate"] != "distance")]
        adjust = adjust.sort_values("effect_size_after", key=abs, ascending=False)
        names = [words.covariate(covariate) for covariate in adjust["covariate"]]
        return ngettext(
            "{listed} still differs by {wwc_satisfied:g} to {wwc_adjust:g} standard deviations, "
            "for which the What Works Clearinghouse asks that the estimate be adjusted",
            "{listed} still differ by {wwc_satisfied:g} to {wwc_adjust:g} standard deviations, "
            "for which the What Works Clearinghouse asks that the estimate be adjusted",
            len(names),
            listed=listed(names),
            wwc_satisfied=WWC_SATISFIED,
            wwc_adjust=WWC_ADJUST,
        )
    if row["check"] == "spread":
        return _(
            "the variance of {name} among the trained is {times} that among controls",
            name=name,
            times=_times(row["value"]),
        )
    if row["check"] == "found":
        return _("{share} of the trained have a control, and the effect is one on them", share=percent(row["value"]))
    return _("few controls carry the comparison")


def _times(ratio: float) -> str:
    return _("{ratio} times", ratio=plain(ratio, 1)) if ratio >= 0.1 else _("{ratio} times", ratio=plain(ratio, 2))


def tabulate_checks(study: Study) -> Table:
    """Tabulate what the light is made of."""
    verdict, words = study.balance_verdict, study.words_before
    assert verdict is not None
    named = {
        "difference": (_("Largest difference"), _("up to {wwc_satisfied:g}", wwc_satisfied=WWC_SATISFIED)),
        "spread": (
            _("Variance ratio farthest from one"),
            _("{value:g} to {spread:g}", value=1 / SPREAD, spread=SPREAD),
        ),
        "found": (_("Trained who have a control"), _("at least {share}", share=percent(FOUND))),
        "effective": (_("Effective controls per trained"), _("at least {effective:g}", effective=EFFECTIVE)),
    }
    rows = verdict.checks
    cells = pd.DataFrame(
        {
            "check": [
                named[check][0] + (f": {words.covariate(name)}" if name else "")
                for check, name in zip(rows["check"], rows["where"].fillna(""), strict=True)
            ],
            "value": [
                percent(value) if check == "found" else _("not known") if value == float("inf") else plain(value, 2)
                for check, value in zip(rows["check"], rows["value"], strict=True)
            ],
            "limit": [named[check][1] for check in rows["check"]],
            "light": [f"{LIGHTS[colour][0]} {_(COLOURS[colour])}" for colour in rows["light"]],
        }
    )
    return Table(cells, rows, labels={"value": _("Found"), "limit": _("Green if")})
