"""The event study of one outcome, as the pages on the main and on other outcomes show it: its figure and its table."""

from __future__ import annotations

import pandas as pd

from retrain_eval.estimators.figures.effects import BEFORE_START, event_study_plot
from retrain_eval.estimators.figures.pieces import BLUE, VERMILION, ZERO, Plot, label_gap, p9, push_apart
from retrain_eval.report.drawing import Figure, amounts, every
from retrain_eval.report.estimates import say_few_clusters
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import signed
from retrain_eval.report.tables import SUPPRESSED, Table
from retrain_eval.report.words import Words, sentence


def draw_event_study(
    rows: pd.DataFrame, words: Words, benchmark: pd.DataFrame | None = None, name: str = "experiment"
) -> Figure:
    """Draw effects by time from training: pointwise interval as a bar, simultaneous band as a thin line.

    Parameters
    ----------
    rows : DataFrame
        Event-study rows of ``effects.csv``.
    words : Words
        The study's vocabulary.
    benchmark : DataFrame, optional
        Another event study to draw next to it: of the experiment, or the truth of synthetic data.
    name : str
        What the other is called.
    """
    studies = {words.controls: rows} | ({name: benchmark} if benchmark is not None and len(benchmark) else {})
    data = pd.concat([frame.assign(group=name) for name, frame in studies.items()])
    data = data[data["event_time"].notna() & data["estimate"].notna()].reset_index(drop=True)
    times = sorted(data["event_time"].unique())
    shift = 0.0 if len(studies) == 1 else 0.012 * (times[-1] - times[0] or 1)
    # side by side, so that neither hides the other
    points = data.assign(event_time=data["event_time"] + data["group"].map({words.controls: -shift, name: shift}))
    subtitle = _("effect on {outcome}", outcome=words.name(data["outcome"].iloc[0]))

    def draw(narrow: bool) -> Plot:
        ticks = every(times, (8 if narrow else 24) // len(studies))
        colours, shapes = {words.controls: BLUE, name: VERMILION}, {words.controls: "o", name: "s"}
        plot = (
            event_study_plot(points, colours, shapes, point=2 if narrow and len(times) > 12 else 3)
            + p9.geom_vline(xintercept=BEFORE_START, linetype="dashed", **ZERO)
            + p9.scale_x_continuous(
                breaks=ticks,
                labels=[signed(time) for time in ticks],
                expand=(0.06, 0, (0.5 if narrow else 0.25) if len(studies) > 1 else 0.06, 0),
            )
            + p9.scale_y_continuous(labels=amounts(words))
            + p9.labs(x=_("{periods} from the start of training", periods=words.several), y="", subtitle=subtitle)
            + p9.theme(panel_grid_major_x=p9.element_blank())
        )
        if len(studies) > 1:
            gap = 0.12 * (data["ci_high"].max() - data["ci_low"].min())
            ends = data[data["event_time"] == times[-1]].sort_values("estimate")
            ends = ends.assign(
                estimate=[height - gap / 2 for height in push_apart(ends["estimate"], gap)],
                event_time=times[-1] + 2 * shift + label_gap(data["event_time"], narrow),
            )
            plot += p9.geom_text(p9.aes(label="group"), data=ends, ha="left", size=8.5)
        return plot

    own = data[(data["group"] == words.controls) & data["std_error"].notna()]
    before, after = own[own["event_time"] < 0], own[own["event_time"] >= 0]
    parts = [_("Event study.")]
    if len(before):
        span = words.interval(before["estimate"].min(), before["estimate"].max())
        parts.append(_("Before training, estimates lie between {span}.", span=span))
    for _i, row in (after if len(after) <= 3 else after.iloc[[0, -1]]).iterrows():
        interval = words.interval(row["ci_low"], row["ci_high"])
        parts.append(
            _(
                "At {period} {event_time:g}: {amount} (95% interval {interval}).",
                period=_(words.period),
                event_time=row["event_time"],
                amount=words.amount(row["estimate"]),
                interval=interval,
            )
        )
    parts += [note] if (note := say_few_clusters(rows)) else []
    columns = ["group", "event_time", "estimate", "ci_low", "ci_high", "band_low", "band_high"]
    return Figure(draw, " ".join(parts), data[columns].rename(columns={"group": "source"}))


def tabulate_event_study(rows: pd.DataFrame, words: Words) -> Table:
    """Tabulate an event study with pointwise intervals and simultaneous bands."""
    rows = rows[rows["event_time"].notna()].sort_values("event_time").reset_index(drop=True)
    fixed = rows["std_error"].isna()
    base = rows.loc[fixed & (rows["event_time"] < 0), "event_time"].max()
    cells = pd.DataFrame(
        {
            "time": [signed(time) for time in rows["event_time"]],
            "estimate": [_(SUPPRESSED) if pd.isna(value) else words.amount(value) for value in rows["estimate"]],
            "std_error": [
                (_("reference") if time == base else "—") if gone else words.amount(error)
                for gone, error, time in zip(fixed, rows["std_error"], rows["event_time"], strict=True)
            ],
            "interval": _intervals(rows, words, "ci"),
            "band": _intervals(rows, words, "band"),
        }
    )
    labels = {
        "time": _("{periods} from start", periods=sentence(words.several)),
        "std_error": _("Std. error"),
        "interval": _("95% interval"),
        "band": _("95% simultaneous band"),
    }
    return Table(cells, rows.dropna(axis=1, how="all"), labels=labels, note=say_few_clusters(rows))


def _intervals(rows: pd.DataFrame, words: Words, kind: str) -> list[str]:
    lows, highs = rows[f"{kind}_low"], rows[f"{kind}_high"]
    known = lows.notna() & rows["std_error"].notna()
    return [words.interval(a, b) if k else "—" for a, b, k in zip(lows, highs, known, strict=True)]
