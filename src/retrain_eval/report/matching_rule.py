"""How each trained person was given controls, which of several equally near was taken, and what that matters.

The sentences follow from the options that the plan records, so that none of them can contradict what was done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import percent
from retrain_eval.report.page import Study
from retrain_eval.sample.options import DISTANCES, Options
from retrain_eval.sample.ties import MANY

_ORDERS: Mapping[str, str] = {
    "largest": N_(
        "Each trained person is given the nearest untrained person who is still free. Those with the largest "
        "score choose first."
    ),
    "smallest": N_(
        "Each trained person is given the nearest untrained person who is still free. Those with the smallest "
        "score choose first."
    ),
    "data": N_(
        "Each trained person is given the nearest untrained person who is still free. They choose in the order of "
        "identifiers."
    ),
    "closest": N_(
        "Each trained person is given the nearest untrained person who is still free. The pair closest to each other "
        "is formed first."
    ),
    "farthest": N_(
        "Each trained person is given the nearest untrained person who is still free. The pair farthest from each "
        "other is formed first."
    ),
    "random": N_(
        "Each trained person is given the nearest untrained person who is still free. They choose in a random order."
    ),
}


def options_of(study: Study) -> Options:
    """Return the options of matching that the study file of the bundle records."""
    known = {field.name for field in fields(Options)}
    given = study.bundle.study.get("match") or {}
    return Options(**{name: value for name, value in given.items() if name in known})


def say_choice(study: Study) -> str:
    """Say how controls are chosen, and the rule for ties."""
    options = options_of(study)
    if options.replace:
        text = _(
            "Each trained person is given the nearest untrained people, {ratio} of them or, with ties, more; a control "
            "may serve several.",
            ratio=options.ratio,
        )
        if options.ties == "first":
            text = _(
                "Each trained person is given the nearest untrained people, {ratio} of them; a control may serve "
                "several.",
                ratio=options.ratio,
            )
    else:
        text = _(_ORDERS[options.order])
        if options.ratio > 1:
            text += " " + _(
                "This is repeated until each has {ratio} controls, as far as there are any.", ratio=options.ratio
            )
    return text + " " + say_rule(study)


def say_rule(study: Study) -> str:
    """State the rule that decides between controls equally near."""
    options = options_of(study)
    if options.replace and options.ties == "all":
        return _("Where several controls are equally near, all of them are kept and share the weight.")
    if options.distance in DISTANCES:
        return _("Where several controls are equally near, the one with the lowest identifier is taken.")
    text = _(
        "All people, trained or not and of every stratum, are sorted by score and, at equal scores, by identifier. "
        "Where two controls are equally near, the one fewer places away from the trained person is taken; if both "
        "are as many places away, the one that comes first."
    )
    if options.ratio > 1 and not options.replace:
        text += " " + _(
            "The places to a further control are counted from the outermost control that the person has on that side."
        )
    return text


def say_ties(study: Study) -> str:
    """Say how many choices were ties and, where it is known, how far effects move with the order of identifiers."""
    rows, words = study.bundle.ties, study.words
    assert rows is not None
    first = rows.iloc[0]
    sentences = [
        say_rule(study),
        _("Choices in which another control was as near: {share}.", share=percent(first["share"]))
        if first[["n_tied", "n_choices"]].isna().any()
        else _(
            "Choices in which another control was as near: {n_tied:,} of {n_choices:,} ({share}).",
            n_tied=int(first["n_tied"]),
            n_choices=int(first["n_choices"]),
            share=percent(first["share"]),
        ),
    ]
    moved = rows[rows["relabellings"] > 0]
    for row in moved.to_dict("records"):
        sentences.append(
            _(
                "Over {relabellings} random orders of the identifiers the effect has a standard deviation of {sd}; "
                "its largest and its smallest value differ by {spread}.",
                relabellings=int(row["relabellings"]),
                sd=words.amount(row["sd"]),
                spread=words.amount(row["spread"]),
            )
        )
    if moved.empty and first["share"] > MANY:
        sentences.append(_("How far the effect moves with the order of the identifiers was not computed."))
    return " ".join(sentences)
