"""Sentences of the inner pages, computed from the release: pages hold no number of their own."""

from __future__ import annotations

import pandas as pd

from retrain_eval.report import views
from retrain_eval.report.findings import excludes_zero, main_effect, median_time
from retrain_eval.report.pages import Release, Study
from retrain_eval.report.words import listed, p_value, percent, plain, sentence


def analysed(study: Study) -> list[tuple[str, str]]:
    """Return the key counts of the sample: submitted and analysed, by group."""
    flow = study.bundle.flow
    if flow is None:
        return []
    counts = []
    for group, name in {"treated": "trained", "control": "controls"}.items():
        rows = flow[flow["group"] == group]
        if len(rows):
            first, last = int(rows["n"].iloc[0]), int(rows["n"].iloc[-1])
            counts += [(f"{first:,}", f"{name}, submitted"), (f"{last:,}", f"{name}, analysed")]
    return counts


def sample(study: Study) -> str:
    """Say how many came in and how many are analysed."""
    flow, words = study.bundle.flow, study.words
    assert flow is not None
    says = []
    for group, name in {"treated": "trained", "control": "possible controls"}.items():
        rows = flow[flow["group"] == group]
        if len(rows):
            first, last = rows["n"].iloc[0], rows["n"].iloc[-1]
            says.append(
                f"{int(last):,} of {words.count(first)} submitted as {name} ({percent(last / first, 0 if last / first > 0.1 else 1)})"
            )
    return f"The estimates rest on {listed(says)}."


def balance(study: Study) -> str:
    """Say how alike the groups are after matching."""
    frame = study.bundle.balance
    assert frame is not None
    after, before = frame["smd_after"].abs(), frame["smd_before"].abs()
    worst = frame.loc[after.idxmax()]
    close = int((after <= 0.1).sum())
    verdict = "All" if close == len(frame) else f"{close} of {len(frame)}"
    return (
        f"Before matching, the largest standardised mean difference was {plain(before.max(), 2)}. After matching, {verdict.lower()} "
        f"lie within 0.1, the usual mark of good balance; the largest left is {plain(abs(worst['smd_after']), 2)} "
        f"({study.words.name(worst['covariate'])})."
    )


def gap_reading(study: Study) -> str:
    """Say what the remaining imbalance asks of the reader."""
    frame = study.bundle.balance
    assert frame is not None
    far = frame[frame["smd_after"].abs() > 0.25]
    if len(far):
        names = listed([study.words.name(name) for name in far["covariate"]])
        return f"Differences above 0.25 remain in {names}: read the effects with that in mind."
    return "No difference above 0.25 remains, so no covariate needs adjustment beyond the matching."


def paths(study: Study) -> str:
    """Say how the mean paths run."""
    means, words = study.bundle.means, study.words
    assert means is not None
    wide = means.pivot_table(index="time", columns="group", values="mean")
    gap = wide["treated"] - wide["control"]
    first, last = gap.index.min(), gap.index.max()
    return (
        f"In {words.time(first)} the trained stood {words.amount(abs(gap[first]))} {_side(gap[first])} their matched controls; "
        f"in {words.time(last)}, {words.amount(abs(gap[last]))} {_side(gap[last])}."
    )


def _side(gap: float) -> str:
    return "above" if gap >= 0 else "below"


def overall(study: Study) -> str:
    """Say the average effect with its interval."""
    row = main_effect(study)
    if row is None:
        return "The average effect is suppressed, because too few people stand behind it."
    words = study.words
    return (
        f"The average effect on the trained is {words.amount(row['estimate'])}{words.per_period()} "
        f"(standard error {words.amount(row['std_error'])}, 95% interval {words.interval(row['ci_low'], row['ci_high'])})."
    )


def before_training(study: Study) -> str:
    """Say whether the groups were drifting apart before training."""
    rows = study.result("event_study")
    before = rows[(rows["event_time"] < 0) & rows["std_error"].notna()]
    if before.empty:
        return "There is only one period before training, so earlier drift cannot be checked."
    outside = before[
        (before["band_low"].fillna(before["ci_low"]) > 0) | (before["band_high"].fillna(before["ci_high"]) < 0)
    ]
    if len(outside):
        return (
            f"In {len(outside)} of {len(before)} periods before training the band excludes zero: the groups were not on the "
            "same path, and the effects are to be read with caution."
        )
    return "Before training, every band includes zero: no sign that the groups were on different paths."


def engines(study: Study) -> str:
    """Say how closely two independent programs agree."""
    rows = study.result("att_matched")
    spread = float(rows["estimate"].max() - rows["estimate"].min())
    error = float(rows["std_error"].max() - rows["std_error"].min())
    return (
        f"The estimates differ by {_tiny(spread)}, the standard errors by {_tiny(error)} "
        f"({_tiny(error / rows['std_error'].max())} of their size)."
    )


def _tiny(value: float) -> str:
    return "less than one part in a million" if abs(value) < 1e-6 else f"{value:.2g}"


def benchmark(study: Study) -> str:
    """Say where the matched estimate stands against the experiment."""
    words, trial, own = study.words, study.result("benchmark").iloc[0], main_effect(study)
    assert own is not None
    gap = float(own["estimate"] - trial["estimate"])
    inside = trial["ci_low"] <= own["estimate"] <= trial["ci_high"]
    return (
        f"The experiment, which compared the same trained {words.units} with randomly assigned controls, found "
        f"{words.amount(trial['estimate'])} ({words.interval(trial['ci_low'], trial['ci_high'])}). The matched comparison gives "
        f"{words.amount(own['estimate'])}, {words.amount(abs(gap))} {_side(gap)} it and "
        f"{'inside' if inside else 'outside'} the experiment's interval."
    )


def raw_comparison(study: Study) -> str:
    """Say what a comparison without matching would have concluded."""
    rows, words = study.result("unadjusted"), study.words
    if rows.empty:
        return ""
    row = rows.iloc[0]
    return (
        f"Without matching, the trained {words.units} would have been compared with the whole pool: a difference of "
        f"{words.amount(row['estimate'])} ({words.interval(row['ci_low'], row['ci_high'])})."
    )


def benchmark_by_group(study: Study) -> str:
    """Say in which groups matching and the experiment part."""
    rows = views.subgroups(study)
    words, parted, seen = study.words, [], 0
    for (_, level), block in rows.groupby(["subgroup", "level"], sort=False):
        own, trial = block[block["shape"] == "own"], block[block["shape"] == "experiment"]
        if len(own) and len(trial) and pd.notna(own.iloc[0]["estimate"]) and pd.notna(trial.iloc[0]["estimate"]):
            seen += 1
            one, other = own.iloc[0], trial.iloc[0]
            if not other["ci_low"] <= one["estimate"] <= other["ci_high"]:
                parted.append(
                    f"{words.name(level)} ({words.amount(one['estimate'])} against {words.amount(other['estimate'])})"
                )
    if not seen:
        return ""
    if parted:
        return f"By group, the matched estimate falls outside the experiment's interval for {listed(parted)}."
    return f"By group, each of the {seen} matched estimates lies inside the experiment's interval for that group."


def group_differences(study: Study) -> str:
    """Say which differences between groups are clear."""
    rows = views.differences(study)
    rows = rows[rows["std_error"].notna()]
    clear = rows[[excludes_zero(row) for _, row in rows.iterrows()]]
    if clear.empty:
        return f"None of the {len(rows)} differences excludes zero: these data cannot tell the groups' effects apart."
    names = listed([f"{row['label']} ({study.words.amount(row['estimate'])})" for _, row in clear.iterrows()])
    return f"{len(clear)} of {len(rows)} differences exclude zero: {names}."


def curves(study: Study, result: str) -> str:
    """Say the median durations and the log-rank test of one set of curves."""
    words, rows = study.words, study.result(result)
    says = []
    for level, curve in rows.groupby("level", sort=False):
        median = median_time(curve)
        says.append(f"{words.name(level)} {f'{median:g}' if median is not None else 'not reached'}")
    test = study.test(result, "log-rank")
    p = (
        f" The log-rank test gives χ² = {plain(test.iloc[0]['statistic'], 1)} on {test.iloc[0]['df']:g} degrees of freedom, {p_value(test.iloc[0]['p_value'])}."
        if len(test)
        else ""
    )
    return f"Median in {words.durations}: {listed(says)}.{p}"


def replicated(study: Study) -> str:
    """Say how closely the packages agree on the textbook example."""
    frame = views.replication(study)
    spread = 0.0
    for kind in ("estimate", "std. error"):
        columns = frame[[column for column in frame.columns if column.endswith(kind)]]
        spread = max(spread, float((columns.max(axis=1) - columns.min(axis=1)).max()))
    return (
        f"The largest difference between the packages, over every coefficient and standard error, is {_tiny(spread)}."
    )


def different_people(release: Release, study: Study) -> str:
    """Say plainly that a companion study is about other people."""
    if study is release.main:
        return ""
    return f"{sentence(study.words.units)} on this page are not those of {release.main.facts['title']}: {study.facts['data']}"
