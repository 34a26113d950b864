"""Sentences of the inner pages, computed from the release: pages hold no number of their own."""

from __future__ import annotations

import pandas as pd

from retrain_eval.report import views
from retrain_eval.report.findings import excludes_zero, main_effect, median_time
from retrain_eval.report.flow_diagram import WITHHELD
from retrain_eval.report.pages import Release, Study
from retrain_eval.report.words import NBSP, listed, p_value, percent, plain, sentence


def analysed(study: Study) -> list[tuple[str, str]]:
    """Return the key counts of the sample: submitted and analysed, by group."""
    flow = study.bundle.flow
    if flow is None:
        return []
    if set(flow["group"]) == {"treated"}:  # a study without a comparison, of spells for example
        first = flow["n"].iloc[0]
        return [(WITHHELD if pd.isna(first) else f"{int(first):,}", f"{study.words.units} followed")]
    counts = []
    for group, name in {"treated": "trained", "control": "controls"}.items():
        rows = flow[flow["group"] == group]
        if len(rows):
            first, last = (WITHHELD if pd.isna(n) else f"{int(n):,}" for n in rows["n"].iloc[[0, -1]])
            counts += [(first, f"{name}, submitted"), (last, f"{name}, analysed")]
    return counts


def sample(study: Study) -> str:
    """Say how many came in and how many are analysed."""
    flow, words = study.bundle.flow, study.words
    assert flow is not None
    if set(flow["group"]) == {"treated"}:
        first = flow["n"].iloc[0]
        people = f"{words.units}, whose number is {WITHHELD}" if pd.isna(first) else words.count(first)
        return f"The study follows {people}."
    says = []
    for group, name in {"treated": "trained", "control": "possible controls"}.items():
        rows = flow[flow["group"] == group]
        if rows.empty:
            continue
        first, last = rows["n"].iloc[0], rows["n"].iloc[-1]
        if pd.isna(first) or pd.isna(last):
            says.append(f"a number of {name} that is withheld")
            continue
        share = percent(last / first, 0 if last / first > 0.1 else 1)
        says.append(f"{int(last):,} of {words.count(first)} submitted as {name} ({share})")
    return f"The estimates rest on {listed(says)}."


def suppressed(study: Study) -> str:
    """Say how many rows of results are withheld."""
    number, rows = study.suppressed, len(study.effects)
    return f"{number} of {rows} rows of results" if number else f"none of the {rows} rows of results"


def paths(study: Study) -> str:
    """Say how the mean paths run."""
    means, words = study.means(), study.words
    wide = means.pivot_table(index="time", columns="group", values="mean")
    gap = wide["treated"] - wide["control"]
    first, last = gap.index.min(), gap.index.max()
    return (
        f"{sentence(words.at(first))}, the mean of the trained was {words.amount(abs(gap[first]))} {_side(gap[first])} "
        f"that of their {words.controls}; {words.at(last)}, {words.amount(abs(gap[last]))} {_side(gap[last])}."
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
        f"The average effect on the trained is {words.amount(row['estimate'])}{words.per_period()} (standard error "
        f"{words.amount(row['std_error'])}, 95% interval {words.interval(row['ci_low'], row['ci_high'])})."
    )


def before_training(study: Study) -> str:
    """Say whether the groups were drifting apart before training."""
    rows = study.own("event_study")
    before = rows[(rows["event_time"] < 0) & rows["std_error"].notna()]
    if before.empty:
        return "There is only one period before training, so earlier drift cannot be checked."
    low, high = before["band_low"].fillna(before["ci_low"]), before["band_high"].fillna(before["ci_high"])
    outside = int(((low > 0) | (high < 0)).sum())
    if outside:
        return (
            f"In {outside} of {len(before)} periods before training the band excludes zero: the groups were not on the "
            "same path, and the effects are to be read with caution."
        )
    told = "Before training, every band includes zero"
    # where matching made the groups alike, likeness is no sign of anything
    told += "." if study.matched_periods else ": no sign that the groups were on different paths."
    for _, row in study.test("event_study").iterrows():
        told += f" A joint test of the periods before training gives {p_value(row['p_value'])}."
    if study.matched_periods:
        periods = study.words.times(study.matched_periods)
        told += (
            f" The controls were chosen to be alike in {periods}, so agreement there is by construction, "
            "and no evidence that the paths would have stayed together."
        )
    return told


def engines(study: Study) -> str:
    """Say how closely two independent programs agree."""
    pairs = views.engines(study).groupby("label", sort=False)
    errors = pairs["std_error"].agg(lambda values: (values.max() - values.min()) / values.max())
    spreads = pairs["estimate"].agg(lambda values: values.max() - values.min()) / pairs["std_error"].max()
    return (
        f"Over {len(pairs)} estimates, the largest difference between the two is {_tiny(float(spreads.max()))} of a "
        f"standard error; the standard errors themselves differ by at most {_tiny(float(errors.max()))} of their size."
    )


def _tiny(value: float) -> str:
    return "less than a millionth" if abs(value) < 1e-6 else f"{value:.2g}"


def benchmark(study: Study) -> str:
    """Say where the matched estimate stands against the experiment."""
    words, trial, own = study.words, study.result("benchmark").iloc[0], main_effect(study)
    assert own is not None
    gap = float(own["estimate"] - trial["estimate"])
    inside = trial["ci_low"] <= own["estimate"] <= trial["ci_high"]
    return (
        f"The experiment, which compared the same trained {words.units} with randomly assigned controls, found "
        f"{words.amount(trial['estimate'])} ({words.interval(trial['ci_low'], trial['ci_high'])}). The matched "
        f"comparison gives {words.amount(own['estimate'])}, {words.amount(abs(gap))} {_side(gap)} it and "
        f"{'inside' if inside else 'outside'} the experiment's interval."
    )


def truth(study: Study) -> str:
    """Say where the estimate stands against the effect that synthetic data were made with."""
    words, true, own = study.words, study.result("truth").iloc[0], main_effect(study)
    assert own is not None
    inside = own["ci_low"] <= true["estimate"] <= own["ci_high"]
    return (
        f"The data are synthetic, so the true average effect is known: {words.amount(true['estimate'])}"
        f"{words.per_period()}. The estimate is {words.amount(own['estimate'])}, and its 95% interval "
        f"{words.interval(own['ci_low'], own['ci_high'])} {'covers' if inside else 'does not cover'} the truth."
    )


def outcome(study: Study, name: str) -> str:
    """Say what training did to another outcome: at its lowest and highest, and at the end."""
    rows = study.own(f"event_study_{name}")
    after = rows[(rows["event_time"] >= 0) & rows["estimate"].notna()].sort_values("event_time")
    if after.empty:
        return "Every estimate rests on too few people to be published."
    words, last = study.words.about(name), after.iloc[-1]
    by_size = after.sort_values("estimate")
    low, high = by_size.iloc[0], by_size.iloc[-1]
    told = [f"{words.amount(row['estimate'], signed=True)} {words.at(row['event_time'])}" for row in (low, high)]
    return (
        f"The effect on the {words.name(name)} is lowest at {told[0]} and highest at {told[1]}. "
        f"At the end of follow-up, {words.at(last['event_time'])}, it is {words.amount(last['estimate'], signed=True)} "
        f"({words.interval(last['ci_low'], last['ci_high'])})."
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
    rows = rows[rows["estimate"].notna()]
    pairs = rows[rows["shape"] == "own"].merge(
        rows[rows["shape"] == "experiment"], on=["subgroup", "level"], suffixes=("", "_trial")
    )
    if pairs.empty:
        return ""
    inside = pairs["estimate"].between(pairs["ci_low_trial"], pairs["ci_high_trial"])
    if inside.all():
        return f"Each of the {len(pairs)} matched estimates lies inside the experiment's interval for its group."
    words = study.words
    parted = [
        f"{words.name(row['level'])} ({words.amount(row['estimate'])} against {words.amount(row['estimate_trial'])})"
        for _, row in pairs[~inside].iterrows()
    ]
    return f"The matched estimate falls outside the experiment's interval for {listed(parted)}."


def group_differences(study: Study) -> str:
    """Say which differences between groups are clear."""
    rows = views.differences(study)
    rows = rows[rows["std_error"].notna()]
    if rows.empty:
        return "Every difference rests on a group that is too small to publish."
    clear = [row for _, row in rows.iterrows() if excludes_zero(row)]
    if not clear:
        which = f"None of the {len(rows)} differences excludes" if len(rows) > 1 else "The difference does not exclude"
        return f"{which} zero: these data cannot tell the groups' effects apart."
    names = listed([f"{row['label']} ({study.words.amount(row['estimate'])})" for row in clear])
    verb = "excludes" if len(clear) == 1 else "exclude"
    return f"{len(clear)} of {len(rows)} differences {verb} zero: {names}."


def verdicts(study: Study) -> str:
    """Say for which groups there is an answer."""
    rows, words = views.verdicts(study), study.words
    worth = words.amount(float(rows["smallest_worthwhile"].iloc[0]))
    told = [f"The plan calls an effect of {worth}{words.per_period()} the smallest that would matter."]
    for verdict, says in (
        ("effect", "There is an effect for"),
        ("equivalent to none", "Any effect is too small to matter for"),
        ("inconclusive", "No answer is possible yet for"),
    ):
        names = [words.name(level) for level in rows.loc[rows["verdict"] == verdict, "level"]]
        if names:
            told.append(f"{says} {listed(names)}.")
    needed = rows[rows["n_needed"].notna()]
    if len(needed):
        most = needed.sort_values("n_needed").iloc[-1]
        told.append(
            f"An answer would take as many as {int(most['n_needed']):,} trained {words.units} "
            f"({words.name(most['level'])})."
        )
    return " ".join(told)


def curves(study: Study, result: str) -> str:
    """Say the median durations and the log-rank test of one set of curves."""
    words, rows, says = study.words, study.result(result), []
    for level in study.in_order(rows["level"], str(rows["subgroup"].iloc[0])):
        median = median_time(rows[rows["level"] == level])
        says.append(f"{f'{median:g}' if median is not None else 'not reached'} ({words.name(level)})")
    told = f"Half of the spells had ended by this number of {words.durations}: {listed(says)}."
    for _, row in study.test(result, "log-rank").iterrows():
        degrees = "1 degree" if row["df"] == 1 else f"{row['df']:g} degrees"
        told += f" The log-rank test gives χ²{NBSP}={NBSP}{plain(row['statistic'], 1)} on {degrees} of freedom"
        told += f", {p_value(row['p_value'])}."
    return told


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
    """Say plainly that a companion study is about others than the main one."""
    if study is release.main:
        return ""
    return f"The {study.words.units} on this page are not those of the main study. {study.facts['data']}"
