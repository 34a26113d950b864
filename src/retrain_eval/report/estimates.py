"""Estimates one to a line, as several pages show them: their figure, their table, and the note on few clusters."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from functools import partial

import pandas as pd

from retrain_eval.estimators.figures.effects import forest_plot
from retrain_eval.estimators.figures.pieces import BLUE, GREY, VERMILION, Plot, p9, round_ticks
from retrain_eval.report.drawing import Figure, amounts
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import short_p
from retrain_eval.report.tables import SUPPRESSED, Table
from retrain_eval.report.words import Words

_SHAPES = {"own": "o", "experiment": "s", "other": "^"}


def draw_estimates(rows: pd.DataFrame, words: Words, *, panel: str | None = None, title: str = "") -> Figure:
    """Draw estimates with intervals, one to a line, in the order given: comparisons and forest plots.

    Parameters
    ----------
    rows : DataFrame
        Columns ``label, outcome, estimate, ci_low, ci_high``, and ``panel`` where lines are grouped.
    words : Words
        The study's vocabulary.
    panel : str, optional
        Column that groups the lines.
    title : str
        The axis title; by default, an effect on the outcome.
    """
    data = rows[rows["estimate"].notna()].reset_index(drop=True)
    data["label"] = pd.Categorical(data["label"], list(dict.fromkeys(data["label"]))[::-1])
    if panel is not None:
        data[panel] = pd.Categorical(data[panel], list(dict.fromkeys(data[panel])))
    title = title or _("effect on {name}", name=words.name(data["outcome"].iloc[0]))
    data["text"] = [words.amount(value, signed=True) for value in data["estimate"]]
    data["group"] = data.get("shape", "own")
    colours = {"own": BLUE, "experiment": VERMILION, "other": GREY}

    def draw(narrow: bool) -> Plot:
        wrap = partial(textwrap.fill, width=18 if narrow else 40)
        plot = (
            forest_plot(data, colours, _SHAPES)
            + p9.scale_x_continuous(
                labels=amounts(words),
                breaks=lambda limits: round_ticks(limits, 4 if narrow else 6),
                expand=(0.05, 0, 0.12 if narrow else 0.05, 0),
            )
            + p9.scale_y_discrete(expand=(0, 0.45, 0, 0.6), labels=lambda labels: [wrap(label) for label in labels])
            + p9.labs(x=title, y="")
        )
        return plot if panel is None else plot + p9.facet_wrap(panel, ncol=1, scales="free_y")

    parts = [f"{row['label']} {words.with_interval(row)}" for _i, row in data.iterrows()]
    panels = data[panel].nunique() if panel else 0
    size = 0.9 + 0.52 * len(data) + 0.4 * panels
    columns = [*([panel] if panel else []), "label", "estimate", "ci_low", "ci_high"]
    return Figure(
        draw, _("Estimates with 95% intervals: {join}.", join="; ".join(parts)), data[columns], size, size + 0.2
    )


def tabulate_estimates(
    rows: pd.DataFrame,
    words: Words,
    *,
    key: str = "label",
    heading: str = "",
    groups: str | None = None,
    counts: bool = True,
) -> Table:
    """Tabulate estimates: one row each, with standard error, 95% interval, p-value and, if wanted, counts.

    A suppressed row keeps its place and says why it is empty.
    """
    amount: Callable[[float], str] = words.amount
    cells = pd.DataFrame({key: rows[key]})
    if groups:
        cells[groups] = rows[groups]
    hidden = rows["estimate"].isna()
    cells["estimate"] = ["" if gone else amount(value) for gone, value in zip(hidden, rows["estimate"], strict=True)]
    cells.loc[hidden, "estimate"] = _(SUPPRESSED)
    error = rows["std_error"]
    cells["std_error"] = ["—" if pd.isna(value) else amount(value) for value in error]
    cells["interval"] = [
        "—" if pd.isna(e) else words.interval(low, high)
        for low, high, e in zip(rows["ci_low"], rows["ci_high"], error, strict=True)
    ]
    cells["p"] = [short_p(value) for value in rows["p_value"]]
    for column in ("n_treated", "n_control"):
        if counts and rows[column].notna().any():
            cells[column] = ["—" if pd.isna(value) else f"{int(value):,}" for value in rows[column]]
    labels = {
        key: heading or _("Estimate of"),
        "estimate": _("Estimate"),
        "std_error": _("Std. error"),
        "interval": _("95% interval"),
        "p": _("p‑value"),
        "n_treated": _("Trained"),
        "n_control": _("Controls"),
    }
    data, note = rows.dropna(axis=1, how="all"), say_few_clusters(rows, key)
    return Table(cells, data, stub=key, labels=labels, groups=groups, note=note)


def say_few_clusters(rows: pd.DataFrame, key: str = "level") -> str:
    """Say how many clusters standard errors rest on, where they are so few that results have to."""
    numbers = rows["note"].astype("str").str.extract(r"^(\d+) clusters$")[0] if "note" in rows else pd.Series(dtype=str)
    few = numbers.notna() & rows["std_error"].notna()
    if not few.any():
        return ""
    if len(set(numbers[few])) == 1 and few.sum() == rows["std_error"].notna().sum():
        n = int(numbers[few].iloc[0])
        return _("Standard errors rest on {n} clusters: Student's t with {df} degrees of freedom.", n=n, df=n - 1)
    names = rows[key] if key in rows else rows["level"]
    by_level = ", ".join(dict.fromkeys(f"{names[i]} {numbers[i]}" for i in rows.index[few]))
    return _(
        "Clusters that standard errors rest on, where fewer than 30: {by_level}.",
        by_level=by_level,
    )


def excludes_zero(row: pd.Series) -> bool:
    """Whether the 95% interval lies wholly on one side of zero."""
    return bool(row["ci_low"] > 0 or row["ci_high"] < 0)


def median_time(curve: pd.DataFrame) -> float | None:
    """Return the first duration at which the survival estimate is one half or less; None if it never is."""
    reached = curve[curve["estimate"] <= 0.5 + 1e-12]
    return None if reached.empty else float(reached["time"].min())
