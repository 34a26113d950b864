"""Who was matched: paths of the outcome before the programme, common support, and counts by group."""

from __future__ import annotations

from functools import partial

import pandas as pd

from retrain_eval.estimators.figures.pieces import BLUE, GREY, VERMILION, Plot, chart, p9
from retrain_eval.report.drawing import Figure, plot_paths
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import plain
from retrain_eval.report.page import Study
from retrain_eval.report.tables import SUPPRESSED, Table
from retrain_eval.report.words import Words, sentence


def say_baseline_paths(study: Study) -> str:
    """Say how the groups' outcome ran before the programme."""
    paths, words = study.bundle.baseline_paths, study.words_before
    assert paths is not None
    groups = {str(group): rows.set_index("time")["mean"] for group, rows in paths.groupby("group")}
    sentences = []
    for treated, control in (("treated", "control before"), ("treated matched", "control matched")):
        gap = (groups[treated] - groups[control]).abs().dropna()
        if len(gap):
            widest = int(gap.to_numpy().argmax())
            times = gap.index.to_numpy()
            when = words.at(float(times[widest]), words.calendar(list(times)))
            sentences.append(f"{words.amount(gap.iloc[widest])}{',' * when[0].isdigit()} {when}")
        else:
            sentences.append(_("withheld"))
    text = _(
        "At its widest, the gap between the trained and all possible controls was {pool_gap}; between "
        "the matched trained and their controls it was {matched_gap}.",
        pool_gap=sentences[0],
        matched_gap=sentences[1],
    )
    if study.matched_periods:
        text += _(" The controls were chosen to be alike in these periods: agreement there is by construction.")
    return text


def draw_baseline_paths(paths: pd.DataFrame, words: Words) -> Figure:
    """Draw the mean outcome before the programme: of the trained, of all possible controls and of the matched ones."""
    names = {
        "treated": _("trained"),
        "control before": _("all possible controls"),
        "control matched": _("matched controls"),
    }
    if not _same(paths, "treated", "treated matched"):
        names |= {"treated": _("all trained"), "treated matched": _("trained, matched")}
    data = paths[paths["group"].isin(list(names)) & paths["mean"].notna()].reset_index(drop=True)
    outcome = words.name(data["outcome"].iloc[0])
    first, last = data["time"].min(), data["time"].max()
    parts = []
    for group, name in names.items():
        means = data[data["group"] == group].set_index("time")["mean"]
        span = [words.amount(means[time]) for time in dict.fromkeys((first, last)) if time in means.index]
        parts.append(
            _("{name} {low} to {high}", name=name, low=span[0], high=span[-1]) if span[1:] else " ".join([name, *span])
        )
    dated = words.calendar(list(data["time"]))
    when = (
        words.at(first, dated)
        if first == last
        else _("from {first} to {last}", first=words.time(first, dated), last=words.time(last, dated))
    )
    return Figure(
        partial(plot_paths, data, names, words),
        _("Mean {outcome} before the programme, {when}: {join}.", outcome=outcome, when=when, join="; ".join(parts)),
        paths,
        height=3.8,
    )


def _same(paths: pd.DataFrame, one: str, other: str) -> bool:
    a, b = (paths[paths["group"] == group].set_index("time")["mean"] for group in (one, other))
    return bool(a.equals(b))


def draw_overlap(bins: pd.DataFrame, words: Words) -> Figure:
    """Draw the distribution of each group over the score: common support.

    Bins may be of unequal width, because small ones are pooled: heights are densities.
    """
    filled = bins[bins["n"] > 0]
    share = filled["n"] / filled.groupby("group")["n"].transform("sum")
    data = filled.assign(density=share / (filled["bin_high"] - filled["bin_low"]))
    known = {
        "treated": _("trained"),
        "control before": _("all possible controls"),
        "control matched": _("matched controls"),
    }
    names = {group: known.get(group, group) for group in dict.fromkeys(data["group"])}
    data["panel"] = pd.Categorical(data["group"].map(names), list(names.values()))
    colours = dict(zip(names.values(), (BLUE, GREY, VERMILION), strict=False))

    probability = data["bin_low"].min() >= 0 and data["bin_high"].max() <= 1
    label = _("estimated probability of training (propensity score)") if probability else _("matching score")

    def draw(narrow: bool) -> Plot:
        return (
            chart(data, xmin="bin_low", xmax="bin_high", ymax="density", fill="panel")
            + p9.geom_rect(ymin=0, color="white", size=0.3)
            + p9.facet_wrap("panel", ncol=1, scales="free_y")
            + p9.scale_fill_manual(colours)
            + p9.labs(
                x=label,
                y="",
                subtitle=_("density of {units}", units=words.units),
            )
            + p9.theme(axis_text_y=p9.element_blank(), panel_grid_major_y=p9.element_blank())
        )

    middle = {names[str(group)]: _median_bin(rows) for group, rows in data.groupby("group", sort=False)}
    alt = (
        _("Distribution of the {score}. Median: ", score=label)
        + _("; ").join(f"{name} {value:.2f}" for name, value in middle.items())
        + _(".")
    )
    return Figure(draw, alt, bins, height=4.6, narrow_height=4.8)


def _median_bin(rows: pd.DataFrame) -> float:
    rows = rows.sort_values("bin_low")
    row = rows[rows["n"].cumsum() >= rows["n"].sum() / 2].iloc[0]
    return float((row["bin_low"] + row["bin_high"]) / 2)


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
    cells = pd.DataFrame({
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
        cells["reuse"] = [_(SUPPRESSED) if pd.isna(mean) else plain(mean, 1) for mean in rows["reuse_mean"]]
        labels["reuse"] = _("Uses of each")
        controls.append("reuse")
    spanners = {_("Trained"): ["n_treated", "without"], _("Controls"): controls}
    return Table(cells, rows, stub="level", labels=labels, spanners=spanners, groups="group")


def _count(n: float) -> str:
    return _(SUPPRESSED) if pd.isna(n) else f"{int(n):,}"
