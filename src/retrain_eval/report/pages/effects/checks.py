"""The effect next to other answers to the same question: a known truth, an experiment, a second program."""

from __future__ import annotations

import pandas as pd

from retrain_eval.report.drawing import Figure
from retrain_eval.report.estimates import draw_estimates, tabulate_estimates
from retrain_eval.report.event_study import draw_event_study
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import signed, tiny
from retrain_eval.report.page import PEERS, Study
from retrain_eval.report.pages.effects.paths import say_side
from retrain_eval.report.tables import Table


def say_truth(study: Study) -> str:
    """Say where the estimate stands against the effect that synthetic data were made with."""
    words, true, own = study.words, study.result("truth").iloc[0], study.main_effect
    assert own is not None
    inside = own["ci_low"] <= true["estimate"] <= own["ci_high"]
    return _(
        "The data are synthetic, so the true average effect on the trained who are compared is known: "
        "{truth}{per_period}. The estimate is {estimate}, and its 95% interval {interval} {covers} the truth.",
        truth=words.amount(true["estimate"]),
        per_period=words.per_period(),
        estimate=words.amount(own["estimate"]),
        interval=words.interval(own["ci_low"], own["ci_high"]),
        covers=_("covers") if inside else _("does not cover"),
    )


def draw_truth(study: Study) -> Figure:
    """Draw the event study next to the effects that synthetic data were made with."""
    return draw_event_study(study.own("event_study"), study.words, study.result("truth_event_study"), _("truth"))


def say_experiment(study: Study) -> str:
    """Say where the matched estimate stands against the experiment."""
    words, trial, own = study.words, study.result("benchmark").iloc[0], study.main_effect
    assert own is not None
    gap = float(own["estimate"] - trial["estimate"])
    inside = trial["ci_low"] <= own["estimate"] <= trial["ci_high"]
    return _(
        "The experiment, which compared the same trained {units} with randomly assigned controls, "
        "found {experiment} ({interval}). The matched comparison gives {estimate}, {gap} {side} "
        "it and {inside} the experiment's interval.",
        units=words.units,
        experiment=words.amount(trial["estimate"]),
        interval=words.interval(trial["ci_low"], trial["ci_high"]),
        estimate=words.amount(own["estimate"]),
        gap=words.amount(abs(gap)),
        side=say_side(gap),
        inside=_("inside") if inside else _("outside"),
    )


def say_raw_comparison(study: Study) -> str:
    """Say what a comparison without matching would have concluded."""
    rows, words = study.result("unadjusted"), study.words
    if rows.empty:
        return ""
    row = rows.iloc[0]
    return _(
        "Without matching, the trained {units} would have been compared with the whole pool: a "
        "difference of {amount} ({interval}).",
        units=words.units,
        amount=words.amount(row["estimate"]),
        interval=words.interval(row["ci_low"], row["ci_high"]),
    )


def comparison_rows(study: Study) -> pd.DataFrame:
    """Return the estimates of the average effect side by side, from the naive one to the experiment."""
    named = {
        "unadjusted": (_("Raw comparison"), "other"),
        "att_matched": (_("Matched comparison"), "own"),
        "did": (_("Matched, difference-in-differences"), "own"),
        "benchmark": (_("Randomised experiment"), "experiment"),
    }
    blocks = []
    for name, (label, shape) in named.items():
        blocks.append(study.own(name).head(1).assign(label=label, shape=shape))
    return pd.concat(blocks, ignore_index=True)


def draw_comparison(study: Study) -> Figure:
    """Draw the estimates of the average effect side by side."""
    words = study.words
    assert study.main_effect is not None
    title = _("difference in {outcome} after training", outcome=words.name(study.main_effect["outcome"]))
    return draw_estimates(comparison_rows(study), words, title=title)


def tabulate_comparison(study: Study) -> Table:
    """Tabulate the estimates of the average effect side by side."""
    return tabulate_estimates(comparison_rows(study), study.words, heading=_("Comparison"))


def engine_rows(study: Study) -> pd.DataFrame:
    """Return what two engines have computed: the matched effect, and the event study where both have it."""
    blocks = []
    for name, label in {"att_matched": _("Matched effect"), "event_study": _("Event study, ")}.items():
        rows = study.result(name)
        if len(set(rows["estimator"])) > 1:
            times = rows["event_time"].map(lambda time: "" if pd.isna(time) else _("period {time}", time=signed(time)))
            rows = rows.assign(label=label + times)[rows["event_time"].notna() | (name == "att_matched")]
            blocks.append(rows[rows["std_error"].notna()])
    rows = pd.concat(blocks, ignore_index=True)
    rows["engine"] = [_("pyfixest, from rows") if name in PEERS else _("outcome moments") for name in rows["estimator"]]
    return rows.sort_values(["label", "engine"], kind="stable").reset_index(drop=True)


def say_engines(study: Study) -> str:
    """Say how closely two independent programs agree."""
    pairs = engine_rows(study).groupby("label", sort=False)
    errors = pairs["std_error"].agg(lambda values: (values.max() - values.min()) / values.max())
    spreads = pairs["estimate"].agg(lambda values: values.max() - values.min()) / pairs["std_error"].max()
    return _(
        "Over {pairs} estimates, the largest difference between the two is {estimates} of a standard "
        "error; that between the standard errors is {errors} of their size.",
        pairs=len(pairs),
        estimates=tiny(float(spreads.max())),
        errors=tiny(float(errors.max())),
    )


def tabulate_engines(study: Study) -> Table:
    """Tabulate the same estimates as two programs compute them."""
    return tabulate_estimates(engine_rows(study), study.words, key="engine", groups="label", heading=_("Engine"))
