"""How much longer spells last in one arm than in the other, over all and by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from retrain_eval.report.group_verdicts import tabulate_verdicts, verdict_rows
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import MINUS, percent, plain, short_p
from retrain_eval.report.page import Study
from retrain_eval.report.tables import SUPPRESSED, Table
from retrain_eval.report.words import Words, in_sentence, listed, sentence


def arms(study: Study, result: str) -> list[str]:
    """Return the two arms of a difference: the one that is looked at, and the one that it is compared with."""
    text = str(study.result(result)["estimand"].iloc[0]).rpartition(": ")[2]
    return text.split(" minus ")


def say_time_to_job(study: Study) -> str:
    """Say how much longer or shorter the trained are without a job."""
    row = study.result("jobless_since_start_mean_difference").iloc[0]
    words, means = study.words, study.result("jobless_since_start_mean").set_index("level")["estimate"]
    one, other = arms(study, "jobless_since_start_mean_difference")
    return _(
        "Over the first {time:g} {durations} the trained were without a job for {trained}, their "
        "matched controls for {controls} {durations} on average. {differ}",
        time=row["time"],
        durations=words.durations,
        trained=plain(means[one], 2),
        controls=plain(means[other], 2),
        differ=_differ(row, words),
    )


def say_first_job(study: Study) -> str:
    """Say which share still has the first job, and how much longer the jobs of the trained last."""
    rows, words = study.result("first_job_difference"), study.words
    row, mean = rows.iloc[-1], study.result("first_job_mean_difference").iloc[0]
    curve = study.result("first_job")
    at = curve[curve["time"] == row["time"]].set_index("level")["estimate"]
    one, other = arms(study, "first_job_difference")
    return _(
        "After {time:g} {durations}, {trained} of the trained who had found a job still held it, and {controls} of "
        "their controls: a difference of {points}. Over these {horizon:g} {durations}, the mean length of their jobs "
        "differs by {mean} {durations} (95% interval {low} to {high}).",
        time=row["time"],
        durations=words.durations,
        trained=percent(at[one]),
        controls=percent(at[other]),
        points=say_points(row),
        horizon=mean["time"],
        mean=_signed(mean["estimate"]),
        low=_signed(mean["ci_low"]),
        high=_signed(mean["ci_high"]),
    )


def say_claimed_longer(study: Study) -> str:
    """Say how much longer joblessness lasts in one group than in the other."""
    row, words = study.result("mean_difference").iloc[0], study.words
    one, other = arms(study, "mean_difference")
    span = _("Over the first {time:g} {durations}, joblessness", time=row["time"], durations=words.durations)
    if row["ci_low"] * row["ci_high"] <= 0:
        return _("{span} does not last clearly longer in either group.", span=span)
    way = _("longer") if row["estimate"] > 0 else _("shorter")
    low, high = sorted(abs(row[name]) for name in ("ci_low", "ci_high"))
    return _(
        "{span} lasts {difference} {durations} {way} (95% interval {low} to {high}) where "
        "insurance was {arm} than where it was {other}.",
        span=span,
        difference=plain(abs(row["estimate"]), 2),
        durations=words.durations,
        way=way,
        low=plain(low, 2),
        high=plain(high, 2),
        arm=words.name(one),
        other=words.name(other),
    )


def _differ(row: pd.Series, words: Words) -> str:
    way = _("longer") if row["estimate"] > 0 else _("shorter")
    sure = (
        _("The interval excludes zero.")
        if row["ci_low"] > 0 or row["ci_high"] < 0
        else _("The interval includes zero.")
    )
    text = _("{low} to {high}", low=_signed(row["ci_low"]), high=_signed(row["ci_high"]))
    size = f"{plain(abs(row['estimate']), 2)} {words.durations}"
    return _(
        "Training made joblessness {size} {way} (95% interval {interval}). {sure}",
        size=size,
        way=way,
        interval=text,
        sure=sure,
    )


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS)


def say_points(row: pd.Series) -> str:
    """Say a difference between two shares, with its interval, or that it has none."""
    if pd.isna(row["ci_low"]):
        return _(
            "{difference} percentage points, with no interval, because in one group no one did or everyone did",
            difference=f"{100 * row['estimate']:+.1f}".replace("-", MINUS),
        )
    numbers = [f"{100 * row[name]:+.1f}".replace("-", MINUS) for name in ("estimate", "ci_low", "ci_high")]
    return _(
        "{difference} percentage points ({low} to {high})",
        difference=numbers[0],
        low=numbers[1],
        high=numbers[2],
    )


def tabulate_differences(
    rows: pd.DataFrame, labels: Sequence[str], words: Words, heading: str, groups: str | None = None
) -> Table:
    """Tabulate differences between two arms, shares in percentage points and durations in their unit."""
    cells = pd.DataFrame({"label": list(labels)})
    if groups:
        cells[groups] = rows[groups].to_numpy()
    texts = [_texts(row, words) for _i, row in rows.iterrows()]
    cells["estimate"], cells["interval"] = zip(*texts, strict=True)
    cells["p"] = [short_p(value) for value in rows["p_value"]]
    for name in ("n_treated", "n_control"):
        cells[name] = ["—" if pd.isna(n) else f"{int(n):,}" for n in rows[name]]
    one, other = str(rows["estimand"].iloc[0]).rpartition(": ")[2].split(" minus ")
    heads = {"label": heading, "estimate": _("Difference"), "interval": _("95% interval"), "p": _("p‑value"),
             "n_treated": words.name(one).capitalize(), "n_control": words.name(other).capitalize()}  # fmt: skip
    return Table(cells, rows.dropna(axis=1, how="all"), labels=heads, groups=groups)


def _texts(row: pd.Series, words: Words) -> tuple[str, str]:
    share = "restricted mean" not in str(row["estimand"])
    numbers = [float(row[name]) for name in ("estimate", "ci_low", "ci_high")]
    if pd.isna(numbers[0]):
        return SUPPRESSED, "—"
    parts = [f"{100 * x:+.1f}" if share else f"{x:+.2f}" for x in numbers]
    unit = _(" points") if share else f" {words.durations}"
    if pd.isna(numbers[1]):
        return (parts[0] + unit).replace("-", MINUS), "—"
    return (parts[0] + unit).replace("-", MINUS), _("{low} to {high}", low=parts[1], high=parts[2]).replace("-", MINUS)


def stratified_rows(study: Study, name: str) -> pd.DataFrame:
    """Return the differences between arms in each level of each stratum, then how far levels differ in them."""
    strata = study.bundle.study.get("strata", {})
    blocks = []
    for stratum in strata:
        rows = study.result(f"{name}_by_{stratum}").set_index("level", drop=False)
        blocks += [rows.loc[study.in_order(rows["level"], stratum)], study.result(f"{name}_by_{stratum}_difference")]
    rows = pd.concat(blocks, ignore_index=True)
    return rows.assign(panel=rows["subgroup"].map(study.words.name).map(sentence))


def say_horizon(study: Study, name: str) -> str:
    """Return at which duration each stratum's differences are taken: as far as the released curves are whole."""
    rows = stratified_rows(study, name)
    times = {str(panel): block["time"].iloc[0] for panel, block in rows.groupby("panel", sort=False)}
    text = listed(
        [
            _("{time:g} {durations} by {panel}", time=time, durations=study.words.durations, panel=in_sentence(panel))
            for panel, time in times.items()
        ]
    )
    mean = "restricted mean" in str(rows["estimand"].iloc[0])
    what = _("Means over the first {times}", times=text) if mean else _("Shares after {times}", times=text)
    return _("{what}, as far as the released curves go without merging.", what=what)


def tabulate_time_and_job(study: Study) -> Table:
    """Tabulate how the trained differ from their controls in the time to a job and in how long it lasts."""
    words = study.words
    panels = {_("Share still without a job"): "jobless_since_start", _("Share still in the job"): "first_job"}
    blocks = [
        study.result(f"{result}_{kind}").assign(panel=panel)
        for panel, result in panels.items()
        for kind in ("difference", "mean_difference")
    ]
    rows = pd.concat(blocks, ignore_index=True)
    labels = [
        _("mean over {time:g} {durations}", time=time, durations=words.durations)
        if "mean" in estimand
        else _("after {time:g} {durations}", time=time, durations=words.durations)
        for time, estimand in zip(rows["time"], rows["estimand"], strict=True)
    ]
    return tabulate_differences(rows, labels, words, _("Trained minus matched controls"), groups="panel")


def tabulate_by_group(study: Study, result: str, title: str) -> Table:
    """Tabulate the differences between the arms in each group."""
    rows, words = stratified_rows(study, result), study.words
    heading = _("{title}, trained minus controls", title=title)
    return tabulate_differences(rows, [words.name(level) for level in rows["level"]], words, heading, groups="panel")


def tabulate_verdicts_by_group(study: Study, result: str) -> Table:
    """Tabulate the verdict on each group; durations and shares are not amounts of money."""
    return tabulate_verdicts(verdict_rows(study, f"{result}_by_"), replace(study.words, currency=""))


def tabulate_by_age(study: Study) -> Table:
    """Tabulate by age how the share still jobless differs with unemployment insurance."""
    words = study.words
    blocks = [study.result("jobless_by_age_group"), study.result("jobless_by_age_group_difference")]
    rows = pd.concat(blocks, ignore_index=True)
    rows["panel"] = [_("After {time:g} {durations}", time=time, durations=words.durations) for time in rows["time"]]
    rows = rows.sort_values("time", kind="stable").reset_index(drop=True)
    heading = _("Share still jobless, claimed minus not claimed")
    return tabulate_differences(rows, list(rows["level"]), words, heading, groups="panel")
