"""What all figures share: the theme, the colours, ticks at round values, and labels that do not overlap.

Colour is never the only sign: groups also differ by shape, line or a direct label.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import pandas as pd
import plotnine
from matplotlib.ticker import MaxNLocator

p9: Any = plotnine  # its annotations cover only some of its functions
Plot: TypeAlias = Any

BLUE, VERMILION, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # Okabe-Ito, colour-blind safe
INK, GREY, RULE = "#1d2a35", "#5b6873", "#dde3e8"
COLOURS, SHAPES = (BLUE, VERMILION, GREEN, PINK, GREY), ("o", "s", "^", "D", "v")
THEME = p9.theme_minimal(base_size=9, base_family="DejaVu Sans") + p9.theme(
    svg_usefonts=True,
    text=p9.element_text(color=INK),
    axis_text=p9.element_text(color=GREY, size=8.5),
    axis_title=p9.element_text(size=8.5, color=GREY),
    plot_subtitle=p9.element_text(size=8.5, color=GREY, ha="left"),  # names the vertical axis, unrotated
    panel_grid_minor=p9.element_blank(),
    panel_grid_major=p9.element_line(color=RULE, size=0.5),
    strip_text=p9.element_text(size=9, weight="bold", ha="left", color=INK),
    legend_position="none",
    plot_margin=0.01,
)
ZERO = {"color": GREY, "size": 0.6}


def chart(data: pd.DataFrame, **aesthetics: str) -> Plot:
    """Start a plot in the common theme."""
    return p9.ggplot(data, p9.aes(**aesthetics)) + THEME


def round_ticks(limits: tuple[float, float], n: int) -> list[float]:
    """Return about ``n`` round tick positions inside the limits.

    Examples
    --------
    >>> round_ticks((0, 0.93), 5)
    [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    ticks = MaxNLocator(n, steps=[1, 2, 2.5, 5, 10]).tick_values(*limits)
    return [round(float(tick), 12) for tick in ticks if limits[0] <= tick <= limits[1]]


def label_gap(values: pd.Series, narrow: bool = False) -> float:
    """Return a small step to the right of a point, for its label."""
    return (0.05 if narrow else 0.03) * float(values.max() - values.min() or 1)


def push_apart(values: Iterable[float], gap: float) -> list[float]:
    """Return ascending values moved up just so far that neighbours keep their distance: labels must not overlap.

    Examples
    --------
    >>> push_apart([1.0, 1.1, 4.0], 0.5)
    [1.0, 1.5, 4.0]
    """
    placed: list[float] = []
    for value in values:
        placed.append(max(value, placed[-1] + gap) if placed else value)
    return placed
