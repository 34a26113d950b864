"""How a figure of the report is made: plotnine, as SVG with text kept as text, with its alt text and its data.

Two drawings are made of each figure, for a wide page and for a phone, so that text is never scaled below
reading size. Colour is never the only sign: groups also differ by shape, line or a direct label.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd

from retrain_eval.common.shown import summarised
from retrain_eval.estimators.figures.pieces import BLUE, GREY, VERMILION, Plot, chart, label_gap, p9, push_apart
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import MINUS
from retrain_eval.report.words import Words, csv

FONTS = "'Segoe UI','Helvetica Neue','Noto Sans','Liberation Sans',Arial,sans-serif"
NARROW = "application/vnd.retrain-eval.narrow+json"
WIDE_INCHES, NARROW_INCHES = 7.3, 3.75


@summarised
@dataclass(frozen=True)
class Figure:
    """A figure a page displays by ending a cell with it.

    Attributes
    ----------
    draw : callable
        Given whether the page is narrow, returns the plot.
    alt : str
        The finding in words, for those who do not see the figure.
    data : DataFrame
        What is drawn; offered for download below the figure.
    height, narrow_height : float
        In inches.
    """

    draw: Callable[[bool], Plot]
    alt: str
    data: pd.DataFrame
    height: float = 4.0
    narrow_height: float = 4.2

    def svg(self, narrow: bool = False) -> str:
        """Return the drawing as SVG, the same bytes for the same data."""
        size = (NARROW_INCHES, self.narrow_height) if narrow else (WIDE_INCHES, self.height)
        out = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": "retrain_eval", "svg.fonttype": "none"}):
            figure = (self.draw(narrow) + p9.theme(figure_size=size, dpi=72)).draw()
            _anchor(figure)
            figure.savefig(out, format="svg", metadata={"Date": None})
            plt.close(figure)
        return out.getvalue().decode().replace("'DejaVu Sans'", FONTS)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data = {"image/svg+xml": self.svg(), NARROW: {"svg": self.svg(narrow=True)}, "text/csv": csv(self.data)}
        return data, {"image/svg+xml": {"alt": self.alt}}


def _anchor(figure: Any) -> None:
    """Anchor the labels of the vertical axis at their right end.

    plotnine places them by their left end, measured in the font of the layout; readers have other fonts.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        for label in axes.get_yticklabels():
            right = label.get_window_extent().x1
            label.set_x(label.get_transform().inverted().transform((right, 0))[0])
            label.set_horizontalalignment("right")


def amounts(words: Words) -> Callable[[list[float]], list[str]]:
    """Return the axis labeller of the outcome's unit."""
    return lambda breaks: [
        words.amount(value) if words.currency else f"{value:g}".replace("-", MINUS) for value in breaks
    ]


_OF_MONTHS = (1, 3, 6, 12, 24)  # months between ticks, then twice as many


def axis_of_periods(times: pd.Series, words: Words) -> str:
    """Return the title of an axis of periods, or of distances from the start of training."""
    if words.calendar(list(times)):
        return _(words.period)
    if words.jobless:
        return _("{periods} from the start of joblessness", periods=words.several)
    return _("{periods} from the start of training", periods=words.several)


def ticks_of_periods(times: pd.Series, words: Words) -> dict[str, Any]:
    """Return ticks at the periods observed, thinned to eight, as options of a scale."""
    dated = words.calendar(list(times))
    cells = every(sorted(times.unique()), 8, words.period)
    # the title of the axis says what a number counts
    labels = [f"{time:g}" if dated and words.numbered else words.time(time, dated) for time in cells]
    return {"breaks": cells, "labels": labels}


def every(times: list[float], most: int, period: str = "") -> list[float]:
    """Return the periods, or every second, fourth and so on: the start of training, or first quarters, among them.

    Months are thinned to quarters, halves and whole years.

    Examples
    --------
    >>> every([-3, -2, -1, 0, 1, 2, 3, 4], 5), every([2001, 2003, 2005, 2007], 2)
    ([-2, 0, 2, 4], [2001, 2005])
    >>> every([24228 + i for i in range(24)], 8, "month")
    [24228, 24231, 24234, 24237, 24240, 24243, 24246, 24249]
    """
    steps = iter(_OF_MONTHS if period == "month" else ())
    step = next(steps, 1)
    while len(cells := [time for time in times if time % step == 0]) > most:
        step = next(steps, step * 2)
    return cells if len(cells) > 1 or len(times) <= most else times[:: -(-len(times) // most)]


_PATHS = {  # group → colour, line and points of its mean path
    "treated": (BLUE, "solid", "o"),
    "treated matched": (BLUE, "dotted", "D"),
    "control before": (GREY, "dashdot", "^"),
    "control matched": (VERMILION, "dashed", "s"),
    "control": (VERMILION, "dashed", "s"),
}


def plot_paths(means: pd.DataFrame, names: Mapping[str, str], words: Words, narrow: bool) -> Plot:
    """Draw the mean path of each group, labelled at its end.

    Parameters
    ----------
    means : DataFrame
        ``time, group, mean, outcome``.
    names : mapping
        Group → its label.
    words : Words
        The study's vocabulary.
    narrow : bool
        Whether the page is narrow.
    """
    outcome, low = words.name(means["outcome"].iloc[0]), min(0, means["mean"].min())
    ends = means[means["time"] == means["time"].max()].sort_values("mean")
    heights = push_apart(ends["mean"], 0.07 * float(means["mean"].max() - low))
    ends = ends.assign(label=ends["group"].map(dict(names)), mean=heights)
    colours, lines, shapes = ({group: style[i] for group, style in _PATHS.items()} for i in range(3))
    return (
        chart(means, x="time", y="mean", color="group")
        + p9.geom_line(p9.aes(linetype="group"), size=1)
        + p9.geom_point(p9.aes(shape="group"), size=2.4)
        + p9.geom_text(p9.aes(label="label"), data=ends, ha="left", nudge_x=label_gap(means["time"], narrow), size=8.5)
        + p9.scale_color_manual(colours)
        + p9.scale_linetype_manual(lines)
        + p9.scale_shape_manual(shapes)
        + p9.scale_x_continuous(**ticks_of_periods(means["time"], words), expand=(0.04, 0, 0.75 if narrow else 0.32, 0))
        + p9.scale_y_continuous(labels=amounts(words), limits=(low, None))
        + p9.labs(x=axis_of_periods(means["time"], words), y="", subtitle=_("mean {outcome}", outcome=outcome))
        + p9.theme(panel_grid_major_x=p9.element_blank())
    )
