"""The page on how sure the effect is: bounds, pre-test power, base periods, placebo starts, hidden bias."""

from __future__ import annotations

import numpy as np
import pandas as pd

from retrain_eval.estimators.inference.hidden_bias_bounds import ALPHA
from retrain_eval.report.drawing import Figure
from retrain_eval.report.estimates import draw_estimates, excludes_zero, tabulate_estimates
from retrain_eval.report.language.catalogue import _, ngettext
from retrain_eval.report.numerals import NBSP, p_value, percent, plain
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import Words, in_sentence, listed

SETTLED = 0.5  # a p-value beyond which more hidden bias says nothing new


def bound_rows(study: Study) -> pd.DataFrame:
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


def say_bounds(study: Study) -> str:
    """Say how far paths may drift before the conclusion fails."""
    rows = bound_rows(study)
    drift = rows[rows["restriction"] == "relative magnitude"].sort_values("m")
    if bool(drift["includes_zero"].iloc[0]):
        return _(
            "Even with exactly parallel paths the interval of the mean effect includes zero, so there "
            "is no conclusion that a drift could overturn. The ranges below say what remains possible."
        )
    clear_up_to = drift.loc[~drift["includes_zero"].astype(bool), "m"].max()
    unclear_from = drift.loc[drift["includes_zero"].astype(bool), "m"].min()
    if pd.isna(unclear_from):
        return _(
            "The mean effect stays clear of zero even if, after training, the paths drifted apart "
            "{holds:g} times as fast as they ever did between two periods before.",
            holds=clear_up_to,
        )
    if clear_up_to == 0:
        return _(
            "The mean effect is clear of zero if the paths would have stayed parallel, and no longer "
            "so if they could have drifted apart {fails:g} times as fast as they ever did between two "
            "periods before training.",
            fails=unclear_from,
        )
    return _(
        "The mean effect stays clear of zero if, after training, the paths drifted apart {holds:g} "
        "times as fast as they ever did between two periods before, and no longer so at {fails:g} "
        "times.",
        holds=clear_up_to,
        fails=unclear_from,
    )


def draw_bounds(study: Study) -> Figure:
    """Draw the mean effect under ever weaker assumptions."""
    return draw_estimates(bound_rows(study), study.words)


def tabulate_bounds(rows: pd.DataFrame, words: Words) -> Table:
    """Tabulate the range of the mean effect under each assumption."""
    cells = pd.DataFrame(
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
    return Table(cells, rows.drop(columns=["label", "outcome", "estimate"]), labels=labels)


def say_pretest_power(study: Study) -> str:
    """Say how large a drift would have been noticed."""
    rows, words = study.bundle.pretest_power, study.words
    assert rows is not None
    row = rows.iloc[0]
    text = _(
        "A steady drift of {drift} per {period} would have been noticed before training only "
        "{share} of the time. It would add {bias} to the mean effect",
        drift=words.amount(row["slope"]),
        period=_(words.period),
        share=percent(row["power"]),
        bias=words.amount(row["bias"]),
    )
    overall = study.result("event_study").query("event_time.isna() and cohort.isna()")
    if overall.empty or overall["estimate"].isna().any():
        return text + _(".")
    return _(
        "{drift}, against the {effect} that the event study estimates.",
        drift=text,
        effect=words.amount(abs(overall["estimate"].iloc[0])),
    )


def tabulate_pretest_power(rows: pd.DataFrame, words: Words) -> Table:
    """Tabulate the drifts that a look at the periods before would have noticed."""
    cells = pd.DataFrame(
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
    return Table(cells, rows, labels=labels)


def timing_rows(study: Study, result: str) -> pd.DataFrame:
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


def draw_timing(study: Study, result: str) -> Figure:
    """Draw the estimates by base period or by pretended start."""
    return draw_estimates(timing_rows(study, result), study.words)


def tabulate_timing(study: Study, result: str) -> Table:
    """Tabulate the estimates by base period or by pretended start."""
    heading = _("Pretended start") if result == "placebo_starts" else _("Measured from")
    return tabulate_estimates(timing_rows(study, result), study.words, heading=heading)


def say_base_moved_back(study: Study) -> str:
    """Say whether the base period carries the effect."""
    rows, words = timing_rows(study, "base_moved_back"), study.words
    cells = rows[rows["estimate"].notna()]
    low, high = cells["estimate"].min(), cells["estimate"].max()
    return _(
        "From the bases below, the mean effect lies between {low} and {high}.",
        low=words.amount(low),
        high=words.amount(high),
    )


def say_placebo_starts(study: Study) -> str:
    """Say whether a pretended start has an effect."""
    rows = timing_rows(study, "placebo_starts")
    rows = rows[rows["std_error"].notna()]
    clear = [row for _i, row in rows.iterrows() if excludes_zero(row)]
    text = _("A start at which nothing started should have no effect. ")
    if study.matched_periods:
        text += _("The controls were chosen to be alike before training, which makes this easier to pass. ")
    if not clear:
        return text + ngettext("This one has none.", "None of these has one.", len(rows))
    names = listed([f"{in_sentence(row['label'])} ({study.words.amount(row['estimate'])})" for row in clear])
    return text + ngettext(
        "{clear} of {rows} has one all the same: {names}.",
        "{clear} of {rows} have one all the same: {names}.",
        len(clear),
        clear=len(clear),
        rows=len(rows),
        names=names,
    )


def first_result(study: Study, name: str) -> pd.DataFrame:
    """Return the rows of the first result in a table of the bundle."""
    rows: pd.DataFrame = getattr(study.bundle, name)
    first: pd.DataFrame = rows[rows["result"] == rows["result"].iloc[0]].reset_index(drop=True)
    return first


def say_e_value(study: Study) -> str:
    """Say how strong a confounder would have to be."""
    row = first_result(study, "e_values").iloc[0]
    text = _(
        "Something unseen would have to go with training and with the outcome by a risk ratio of "
        "{ratio} each, beyond what is matched on, to explain the estimate away",
        ratio=plain(row["e_value"], 2),
    )
    if row["e_value_limit"] <= 1:
        return text + _("; the interval holds no effect as it is.")
    return text + _(", and of {ratio} each to move its interval to no effect.", ratio=plain(row["e_value_limit"], 2))


def say_rosenbaum(study: Study) -> str:
    """Say at which hidden bias the conclusion would fall."""
    rows = first_result(study, "rosenbaum").sort_values("gamma")
    pairs = _("{n:,} pairs whose outcomes differ", n=int(rows["n_pairs"].iloc[0]))
    if rows["p_value"].iloc[0] > ALPHA:
        return _(
            "Over {pairs}, the test finds no effect even if matching left no hidden bias ({p_value}): "
            "there is no conclusion that one could overturn.",
            pairs=pairs,
            p_value=p_value(rows["p_value"].iloc[0]),
        )
    held, lost = rows[rows["p_value"] <= ALPHA * (1 + 1e-6)], rows[rows["p_value"] > ALPHA * (1 + 1e-6)]
    text = _(
        "Over {pairs}, without hidden bias the test gives {p_value}. ",
        pairs=pairs,
        p_value=p_value(rows["p_value"].iloc[0]),
    )
    if lost.empty:
        return text + (
            _(
                "It stays below {alpha:g} even if, of two matched {units}, one had {gamma:g} times the odds "
                "of training for reasons unseen.",
                alpha=ALPHA,
                units=study.words.units,
                gamma=held["gamma"].max(),
            )
        )
    gamma = float(held["gamma"].max())
    odds = (
        _("{share} higher odds", share=percent(gamma - 1))
        if gamma < 2
        else _("{ratio} times the odds", ratio=plain(gamma, 1))
    )
    return text + (
        _(
            "If, of two matched {units}, one had more than {odds} of training for reasons unseen that "
            "also decide the outcome, the p‑value could be above {alpha:g}.",
            units=study.words.units,
            odds=odds,
            alpha=ALPHA,
        )
    )


def tabulate_rosenbaum(study: Study) -> Table:
    """Tabulate the bound of the p-value by strength of hidden bias, until there is nothing left to lose."""
    rows = first_result(study, "rosenbaum")
    rows = rows[(rows["p_value"] <= SETTLED).cumprod().astype(bool) | (rows["gamma"] == 1)]
    cells = pd.DataFrame(
        {
            "gamma": [f"{gamma:.3g}" for gamma in rows["gamma"]],
            "p_value": [p_value(p).removeprefix(f"p{NBSP}").removeprefix(f"={NBSP}") for p in rows["p_value"]],
        }
    )
    return Table(cells, rows, labels={"gamma": _("Odds of training, ratio Γ"), "p_value": _("p‑value, at most")})


def say_oster(study: Study) -> str:
    """Say what selection on the unseen would have to be like."""
    rows, words = first_result(study, "oster"), study.words
    first = rows.iloc[0]
    raw, adjusted = words.amount(first["beta_uncontrolled"]), words.amount(first["beta_controlled"])
    moved = _(
        "Over all {count}, the raw difference is {raw} and that with the matching's covariates in "
        "a regression {adjusted}",
        count=words.count(first["n"]),
        raw=raw,
        adjusted=adjusted,
    )
    delta, star = float(first["delta"]), words.amount(first["beta_star"])
    if not np.isfinite(delta):
        return _("{moved}: the covariates move nothing, and tell nothing about what is not seen.", moved=moved)
    if delta < 0:
        away = _("up") if first["beta_controlled"] > first["beta_uncontrolled"] else _("down")
        return _(
            "{moved}: what is seen moves the estimate {away}, away from no effect. Only something "
            "unseen that works the other way would explain it away, {delta} times as strong; as strong "
            "in the same direction, it would make the effect {effect}.",
            moved=moved,
            away=away,
            delta=plain(abs(delta), 2),
            effect=star,
        )
    return _(
        "{moved}. Selection on what is not seen would have to be {delta} times as strong as on "
        "what is, to explain it away; were it as strong, the effect would be {effect}.",
        moved=moved,
        delta=plain(delta, 2),
        effect=star,
    )


def tabulate_oster(study: Study) -> Table:
    """Tabulate Oster's δ and β* by what a full set of covariates could explain."""
    rows, words = first_result(study, "oster"), study.words
    cells = pd.DataFrame(
        {
            "r2_max": [plain(r2, 2) for r2 in rows["r2_max"]],
            "delta": [plain(delta, 2) if np.isfinite(delta) else "—" for delta in rows["delta"]],
            "beta_star": [words.amount(value) for value in rows["beta_star"]],
        }
    )
    labels = {"r2_max": _("R² at most"), "delta": _("δ for no effect"), "beta_star": _("Effect at δ = 1")}
    return Table(cells, rows, labels=labels)
