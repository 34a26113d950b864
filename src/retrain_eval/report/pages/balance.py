"""The page on balance: the light, what decides it, and the tables behind it.

Each part of the page has its sentences and its table; its figures are in `retrain_eval.report.pages.sample_figures`.
"""

from __future__ import annotations

from collections.abc import Collection
from html import escape

import pandas as pd

from retrain_eval.report.html import Html
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import percent, plain
from retrain_eval.report.page import Study
from retrain_eval.report.tables import SUPPRESSED, Table
from retrain_eval.report.words import Words, listed, sentence
from retrain_eval.sample.balance.rating import AMBER, EFFECTIVE, FOUND, GREEN, RED, SPREAD
from retrain_eval.tables.covariates.balance_rows import WWC_ADJUST, WWC_SATISFIED
from retrain_eval.tables.covariates.covariates import CovariateMoments

CLOSE = 0.1  # standardised mean difference of good balance (Stuart 2010)
LIGHTS = {GREEN: ("✓", N_("Alike")), AMBER: ("!", N_("Alike with reservations")), RED: ("✕", N_("Not alike enough"))}
COLOURS = {GREEN: N_("green"), AMBER: N_("amber"), RED: N_("red")}


def light(study: Study) -> Html:
    """Return the verdict as a card: a light with its sign and its word, and the reason."""
    verdict = study.balance_verdict
    assert verdict is not None
    sign, word = LIGHTS[verdict.light]
    word = _(word)
    return Html(
        f'<aside class="light {verdict.light}"><p class="light-word"><span aria-hidden="true">{sign}</span> '
        f"{escape(word)}</p><p>{escape(say_verdict(study))}</p></aside>"
    )


def say_verdict(study: Study) -> str:
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
        return _(
            "{listed} still differ{word} by {wwc_satisfied:g} to {wwc_adjust:g} standard deviations, "
            "for which the What Works Clearinghouse asks that the estimate be adjusted",
            listed=listed(names),
            word="s" if len(names) == 1 else "",
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
        return _(
            "{percent} of the trained have a control, and the effect is one on them", percent=percent(row["value"])
        )
    return _("few controls carry the comparison")


def _times(ratio: float) -> str:
    return _("{plain} times", plain=plain(ratio, 1)) if ratio >= 0.1 else _("{plain} times", plain=plain(ratio, 2))


def say_differences(study: Study) -> str:
    """Say how much matching has brought the groups together."""
    frame = study.bundle.balance
    assert frame is not None
    after = frame["smd_after"].abs()
    worst = frame.iloc[int(after.fillna(float("inf")).to_numpy().argmax())]
    close = int((after <= CLOSE).sum())
    count = "all" if close == len(frame) else _("{close} of {frame}", close=close, frame=len(frame))
    return _(
        "Before matching, the largest standardised mean difference was {plain}. After matching, "
        "{count} lie within {close:g}, the usual mark of good balance; the largest left is "
        "{plain_2} ({covariate}).",
        plain=plain(frame["smd_before"].abs().max(), 2),
        count=count,
        close=CLOSE,
        plain_2=plain(abs(worst["smd_after"]), 2),
        covariate=study.words_before.covariate(worst["covariate"]),
    )


def shown(study: Study) -> pd.DataFrame:
    """Return the rows of the balance table to print: without columns on which partners are equal by design."""
    frame = study.bundle.balance
    assert frame is not None
    equal = frame["covariate"].isin(_exact(study))
    return frame[~equal].reset_index(drop=True)


def _exact(study: Study) -> list[str]:
    """Return the numeric columns that partners share exactly."""
    frame, given = study.bundle.balance, study.bundle.study.get("match", {}).get("exact", ())
    assert frame is not None
    same = frame.loc[frame["smd_after"] == 0, "covariate"]
    return [name for name in ([given] if isinstance(given, str) else given) if name in set(same)]


def say_exact(study: Study) -> str:
    """Say on what partners are equal by design; nothing where it is on nothing."""
    start = study.bundle.study.get("match", {}).get("start")
    names = [_("the start of joblessness") if name == start else study.words.covariate(name) for name in _exact(study)]
    return _("Partners are equal in {names}, which is not shown.", names=listed(names)) if names else ""


def say_withheld(study: Study) -> str:
    """Name the covariates of which a value is of too few people to be shown; nothing where there are none."""
    names = [study.words.covariate(name) for name in study.bundle.withheld_covariates]
    return (
        _(
            "Not shown, because some group has fewer than {min_cell} people with it, or without it: {names}. "
            "What is said of balance does not speak of it.",
            names=listed(names),
            min_cell=study.bundle.rules.min_cell,
        )
        if names
        else ""
    )


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
        "found": (_("Trained who have a control"), _("at least {percent}", percent=percent(FOUND))),
        "effective": (_("Effective controls per trained"), _("at least {effective:g}", effective=EFFECTIVE)),
    }
    rows = verdict.checks
    shown = pd.DataFrame(
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
    return Table(shown, rows, labels={"value": _("Found"), "limit": _("Green if")})


def tabulate_means(frame: pd.DataFrame, words: Words) -> Table:
    """Tabulate means and differences before and after matching, with the What Works Clearinghouse's verdict."""
    shown = pd.DataFrame({"covariate": [words.covariate(name) for name in frame["covariate"]]})
    everybody = frame["mean_treated"].round(10).equals(frame["mean_treated_after"].round(10))
    means = [
        "mean_treated",
        *([] if everybody else ["mean_treated_after"]),
        "mean_control_before",
        "mean_control_after",
    ]
    for column in means:
        shown[column] = [_number(value, 2) for value in frame[column]]
    sizes = ["smd_before", "smd_after", *(["effect_size_after"] if "effect_size_after" in frame else [])]
    for column in sizes:
        shown[column] = [_number(value, 3) for value in frame[column]]
    if "wwc" in frame:
        shown["wwc"] = frame["wwc"].astype(str).replace("needs adjustment", "adjust")
    labels = {
        "mean_treated": _("Trained") if everybody else _("All"),
        "mean_treated_after": _("Matched"),
        "mean_control_before": _("Pool"),
        "mean_control_after": _("Matched"),
        "smd_before": _("Before"),
        "smd_after": _("After"),
        "effect_size_after": _("Effect size"),
        "wwc": _("Equivalence"),
    }
    split = {_("Mean"): means} if everybody else {_("Mean of trained"): means[:2], _("Of controls"): means[2:]}
    spanners = {**split, _("Std. mean difference"): ["smd_before", "smd_after"]}
    if "wwc" in frame:
        spanners["What Works Clearinghouse"] = ["effect_size_after", "wwc"]
    return Table(shown, frame, labels=labels, spanners=spanners, left=("wwc",))


def shares_of(study: Study) -> set[str]:
    """Return the covariates that are shares, whose distributions differ by nothing but the difference that is told."""
    moments = (item for item in study.bundle.tables().values() if isinstance(item, CovariateMoments))
    return {str(name) for item in moments for name in item.cells.loc[item.cells["binary"].astype(bool), "covariate"]}


def tabulate_distributions(frame: pd.DataFrame, words: Words, shares: Collection[str] = ()) -> Table:
    """Tabulate how alike the whole distributions are: variance ratios and distances of distribution functions.

    Parameters
    ----------
    frame : DataFrame
        Rows of the balance table.
    words : Words
    shares : collection of str
        Covariates that are 0 or 1, for which the largest distance is exact; for the others it is a lower bound.
    """
    kinds = {"variance_ratio": _("Variance ratio"), "ecdf_mean": _("Mean distance"), "ecdf_max": _("Largest distance")}
    columns = [f"{kind}_{when}" for kind in kinds for when in ("before", "after")]
    shown = pd.DataFrame({"covariate": [words.covariate(name) for name in frame["covariate"]]})
    for column in columns:
        shown[column] = [_number(value, 3) for value in frame[column]]
        if column.startswith("ecdf_max"):  # told at some points only, the distance may be larger between them
            shown[column] = [
                text if exact or pd.isna(value) else _("at least {distance}", distance=text)
                for text, value, exact in zip(
                    shown[column], frame[column], frame["covariate"].isin(shares), strict=True
                )
            ]
    labels = {column: sentence(column.rsplit("_", 1)[1]) for column in columns}
    spanners = {title: [f"{kind}_before", f"{kind}_after"] for kind, title in kinds.items()}
    return Table(shown, frame[["covariate", *columns]], labels=labels, spanners=spanners)


def _number(value: float, digits: int) -> str:
    return "—" if pd.isna(value) else plain(value, 0 if abs(value) >= 100 else digits)


def tabulate_matching(study: Study) -> Table:
    """Tabulate who was matched, over all and by stratum; a stratum that is withheld is not there."""
    frame, words = study.bundle.matching, study.words
    assert frame is not None
    blocks = [frame[frame["subgroup"].isna()]]
    for subgroup, rows in frame[frame["subgroup"].notna()].groupby("subgroup", sort=False):
        order = study.in_order(rows["level"], str(subgroup))
        blocks.append(rows.set_index("level").loc[order].reset_index())
    rows = pd.concat(blocks, ignore_index=True)
    reused = bool((rows["reuse_mean"] > 1).any())
    # with risk sets, who could be a control depends on the moment
    nobody = "—" if study.bundle.study.get("match", {}).get("method") == "riskset" else _(SUPPRESSED)
    shown = pd.DataFrame({
        "level": [_("All") if pd.isna(level) else words.name(level) for level in rows["level"]],
        "group": [_("Everybody") if pd.isna(name) else sentence(words.name(name)) for name in rows["subgroup"]],
        "n_treated": [_count(n) for n in rows["n_treated"]],
        "without": [_count(n) for n in rows["n_treated"] - rows["n_treated_matched"]],
        "n_control": [nobody if pd.isna(n) else _count(n) for n in rows["n_control"]],
        "n_control_matched": [_count(n) for n in rows["n_control_matched"]],
        "ess_control": [_(SUPPRESSED) if pd.isna(n) else f"{n:,.0f}" for n in rows["ess_control"]],
    })  # fmt: skip
    labels = {
        "level": _("Group"),
        "n_treated": _("All"),
        "without": _("Without a control"),
        "n_control": _("Possible"),
        "n_control_matched": _("Matched"),
        "ess_control": _("Effective"),
    }
    controls = ["n_control", "n_control_matched", "ess_control"]
    if reused:
        shown["reuse"] = [_(SUPPRESSED) if pd.isna(mean) else plain(mean, 1) for mean in rows["reuse_mean"]]
        labels["reuse"] = _("Uses of each")
        controls.append("reuse")
    spanners = {"Trained": ["n_treated", "without"], "Controls": controls}
    return Table(shown, rows, stub="level", labels=labels, spanners=spanners, groups="group")


def _count(n: float) -> str:
    return _(SUPPRESSED) if pd.isna(n) else f"{int(n):,}"


def say_baseline_paths(study: Study) -> str:
    """Say how the groups' outcome ran before the programme."""
    paths, words = study.bundle.baseline_paths, study.words_before
    assert paths is not None
    groups = {str(group): rows.set_index("time")["mean"] for group, rows in paths.groupby("group")}
    told = []
    for treated, control in (("treated", "control before"), ("treated matched", "control matched")):
        gap = (groups[treated] - groups[control]).abs().dropna()
        if len(gap):
            widest = int(gap.to_numpy().argmax())
            times = gap.index.to_numpy()
            when = words.at(float(times[widest]), words.calendar(list(times)))
            told.append(f"{words.amount(gap.iloc[widest])}{',' * when[0].isdigit()} {when}")
        else:
            told.append(_("withheld"))
    says = _(
        "At its widest, the gap between the trained and all possible controls was {told}; between "
        "the matched trained and their controls it was {told_2}.",
        told=told[0],
        told_2=told[1],
    )
    if study.matched_periods:
        says += _(" The controls were chosen to be alike in these periods: agreement there is by construction.")
    return says
