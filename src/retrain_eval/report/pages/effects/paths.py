"""The average effect, the two mean paths and the time before training."""

from __future__ import annotations

from functools import partial

from retrain_eval.report.drawing import Figure, plot_paths
from retrain_eval.report.event_study import draw_event_study, tabulate_event_study
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import p_value
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import listed, sentence


def say_average_effect(study: Study) -> str:
    """Say the average effect with its interval."""
    row = study.main_effect
    if row is None:
        return _("The average effect is suppressed, because too few people stand behind it.")
    words = study.words
    return _(
        "The average effect on the trained is {estimate}{per_period} (standard error {std_error}, 95% "
        "interval {interval}).",
        estimate=words.amount(row["estimate"]),
        per_period=words.per_period(),
        std_error=words.amount(row["std_error"]),
        interval=words.interval(row["ci_low"], row["ci_high"]),
    )


def say_paths(study: Study) -> str:
    """Say how the mean paths run."""
    means, words = study.means(), study.words
    wide = means.pivot_table(index="time", columns="group", values="mean")
    gap = wide["treated"] - wide["control"]
    first, last = gap.index.min(), gap.index.max()
    dated = words.calendar(list(gap.index))
    return _(
        "{when}, the mean of the trained was {first} {first_side} that of their {controls}; {then}, {last} "
        "{last_side}.",
        when=sentence(words.at(first, dated)),
        first=words.amount(abs(gap[first])),
        first_side=say_side(gap[first]),
        controls=words.controls,
        then=words.at(last, dated),
        last=words.amount(abs(gap[last])),
        last_side=say_side(gap[last]),
    )


def say_side(gap: float) -> str:
    """Say on which side of the other an amount lies."""
    return _("above") if gap >= 0 else _("below")


def draw_mean_paths(study: Study) -> Figure:
    """Draw the mean outcome of the trained and of their controls, period by period."""
    means, words = study.means(), study.words
    names = {"treated": _("trained"), "control": words.controls}
    outcome, dated = words.name(means["outcome"].iloc[0]), words.calendar(list(means["time"]))
    first, last = means["time"].min(), means["time"].max()
    ends = means[means["time"] == last].set_index("group")["mean"]
    parts = [
        _(
            "{label} from {first} {when} to {last} {then}",
            label=names[row.group],
            first=words.amount(row.mean),
            when=words.at(first, dated),
            last=words.amount(ends[row.group]),
            then=words.at(last, dated),
        )
        for row in means[means["time"] == first].itertuples()
    ]
    alt = _("Mean {name}: {listed}.", name=outcome, listed=listed(parts))
    return Figure(partial(plot_paths, means, names, words), alt, means, height=3.8)


def say_before_training(study: Study) -> str:
    """Say whether the groups were drifting apart before training."""
    rows = study.own("event_study")
    before = rows[(rows["event_time"] < 0) & rows["std_error"].notna()]
    if before.empty:
        return _("There is only one period before training, so earlier drift cannot be checked.")
    low, high = before["band_low"].fillna(before["ci_low"]), before["band_high"].fillna(before["ci_high"])
    outside = int(((low > 0) | (high < 0)).sum())
    if outside:
        return _(
            "In {outside} of {before} periods before training the band excludes zero: the groups were "
            "not on the same path, and the effects are to be read with caution.",
            outside=outside,
            before=len(before),
        )
    text = _("Before training, every band includes zero")
    # where matching made the groups alike, similar paths are not evidence
    text += _(".") if study.matched_periods else _(": no sign that the groups were on different paths.")
    for _i, row in study.test("event_study").iterrows():
        text += _(" A joint test of the periods before training gives {p_value}.", p_value=p_value(row["p_value"]))
    if study.matched_periods:
        periods = study.words_before.times(study.matched_periods)
        text += _(
            " The controls were chosen to be alike in {periods}, so agreement there is by "
            "construction, and no evidence that the paths would have stayed together.",
            periods=periods,
        )
    return text


def draw_effects(study: Study) -> Figure:
    """Draw the effect by time from the start of training, next to that of the experiment where there is one."""
    return draw_event_study(study.own("event_study"), study.words, study.own("benchmark_event_study"))


def tabulate_effects(study: Study) -> Table:
    """Tabulate the effect by time from the start of training."""
    return tabulate_event_study(study.own("event_study"), study.words)
