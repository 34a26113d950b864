"""The page on how sure the effect is: bounds, power of the pre-test, other base periods, placebo starts.

Each part of the page has its rows (from the bundle, named in words), its sentences and its table.
"""

from __future__ import annotations

import pandas as pd

from retrain_eval.report.findings import excludes_zero
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import percent
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import Words, in_sentence, listed


def bounds(study: Study) -> pd.DataFrame:
    """Return the bounds of the mean effect, each assumption in words, the strongest first."""
    rows = study.bundle.bounds
    assert rows is not None
    rows = rows[rows["result"] == "event_study"].reset_index(drop=True)
    labels = []
    for restriction, m in zip(rows["restriction"], rows["m"], strict=True):
        if restriction == "smoothness":
            labels.append(_("Straight line") if m == 0 else _("Bent line"))
        else:
            labels.append(_("Parallel paths") if m == 0 else _("No faster than {m:g} times before", m=m))
    middle = (rows["low"] + rows["high"]) / 2
    return rows.assign(label=labels, estimate=middle, outcome=study.result("event_study")["outcome"].iloc[0])


def timing(study: Study, result: str) -> pd.DataFrame:
    """Return the estimates by base period or by pretended start, named in words."""
    rows = study.result(result)
    words = study.words
    periods = rows["level"].str.extract(r"(\d+)")[0].astype(int)
    if result == "placebo_starts":
        labels = [_("Start {periods} early", periods=words.periods(n)) for n in periods]
    else:
        labels = [
            _("The usual base") if n == 0 else _("A base {periods} earlier", periods=words.periods(n)) for n in periods
        ]
    return rows.assign(label=labels)


def say_bounds(study: Study) -> str:
    """Say how far paths may drift before the conclusion fails."""
    rows = bounds(study)
    drift = rows[rows["restriction"] == "relative magnitude"].sort_values("m")
    if bool(drift["includes_zero"].iloc[0]):
        return _(
            "Even with exactly parallel paths the interval of the mean effect includes zero, so there "
            "is no conclusion that a drift could overturn. The ranges below say what remains possible."
        )
    holds = drift.loc[~drift["includes_zero"].astype(bool), "m"].max()
    fails = drift.loc[drift["includes_zero"].astype(bool), "m"].min()
    if pd.isna(fails):
        return _(
            "The mean effect stays clear of zero even if, after training, the paths drifted apart "
            "{holds:g} times as fast as they ever did between two periods before.",
            holds=holds,
        )
    if holds == 0:
        return _(
            "The mean effect is clear of zero if the paths would have stayed parallel, and no longer "
            "so if they could have drifted apart {fails:g} times as fast as they ever did between two "
            "periods before training.",
            fails=fails,
        )
    return _(
        "The mean effect stays clear of zero if, after training, the paths drifted apart {holds:g} "
        "times as fast as they ever did between two periods before, and no longer so at {fails:g} "
        "times.",
        holds=holds,
        fails=fails,
    )


def say_pretest_power(study: Study) -> str:
    """Say how large a drift would have been noticed."""
    rows, words = study.bundle.pretest_power, study.words
    assert rows is not None
    row = rows.iloc[0]
    told = _(
        "A steady drift of {amount} per {period} would have been noticed before training only "
        "{percent} of the time. It would add {amount_2} to the mean effect",
        amount=words.amount(row["slope"]),
        period=_(words.period),
        percent=percent(row["power"]),
        amount_2=words.amount(row["bias"]),
    )
    overall = study.result("event_study").query("event_time.isna() and cohort.isna()")
    if overall.empty or overall["estimate"].isna().any():
        return told + _(".")
    return _(
        "{told}, against the {amount} that the event study estimates.",
        told=told,
        amount=words.amount(abs(overall["estimate"].iloc[0])),
    )


def say_base_moved_back(study: Study) -> str:
    """Say whether the base period carries the effect."""
    rows, words = timing(study, "base_moved_back"), study.words
    shown = rows[rows["estimate"].notna()]
    low, high = shown["estimate"].min(), shown["estimate"].max()
    return _(
        "From the bases below, the mean effect lies between {replace}.",
        replace=words.interval(low, high).replace(" to ", " and "),
    )


def say_placebo_starts(study: Study) -> str:
    """Say whether a start that was none has an effect."""
    rows = timing(study, "placebo_starts")
    rows = rows[rows["std_error"].notna()]
    clear = [row for _i, row in rows.iterrows() if excludes_zero(row)]
    told = _("A start at which nothing started should have no effect. ")
    if study.matched_periods:
        told += _("The controls were chosen to be alike before training, which makes this easier to pass. ")
    if not clear:
        return told + (_("None of these has one.") if len(rows) > 1 else _("This one has none."))
    names = listed([f"{in_sentence(row['label'])} ({study.words.amount(row['estimate'])})" for row in clear])
    return told + _(
        "{clear} of {rows} {word} one all the same: {names}.",
        clear=len(clear),
        rows=len(rows),
        word=_("has") if len(clear) == 1 else _("have"),
        names=names,
    )


def tabulate_bounds(rows: pd.DataFrame, words: Words) -> Table:
    """Tabulate the range of the mean effect under each assumption."""
    shown = pd.DataFrame(
        {
            "label": rows["label"],
            "range": [
                words.amount(low) if low == high else words.interval(low, high)
                for low, high in zip(rows["low"], rows["high"], strict=True)
            ],
            "interval": [words.interval(low, high) for low, high in zip(rows["ci_low"], rows["ci_high"], strict=True)],
        }
    )
    labels = {"label": _("Assumption"), "range": _("Range at the estimates"), "interval": _("95% interval")}
    return Table(shown, rows.drop(columns=["label", "outcome", "estimate"]), labels=labels)


def tabulate_pretest_power(rows: pd.DataFrame, words: Words) -> Table:
    """Tabulate the drifts that a look at the periods before would have noticed."""
    shown = pd.DataFrame(
        {
            "power": [percent(value) for value in rows["power"]],
            "slope": [words.amount(value) for value in rows["slope"]],
            "bias": [words.amount(value) for value in rows["bias"]],
            "bias_if_passed": [words.amount(value) for value in rows["bias_if_passed"]],
        }
    )
    labels = {
        "power": _("Noticed"),
        "slope": _("Drift per {period}", period=_(words.period)),
        "bias": _("Adds to the effect"),
        "bias_if_passed": _("Adds where unnoticed"),
    }
    return Table(shown, rows, labels=labels)
