"""How long spells last: survival curves with numbers at risk, and their medians and tests."""

from __future__ import annotations

import textwrap

import pandas as pd

from retrain_eval.estimators.figures.curves import curve_ends, curve_plot, numbers_at_risk, with_start
from retrain_eval.estimators.figures.pieces import RULE, Plot, label_gap, p9
from retrain_eval.estimators.survival.risk import is_event
from retrain_eval.report.drawing import Figure
from retrain_eval.report.estimates import median_time
from retrain_eval.report.language.catalogue import _, ngettext
from retrain_eval.report.numerals import p_value, percent, plain, short_p
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import Words, listed
from retrain_eval.tables.life_table.life_table import LifeTable

_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_ROW = 0.11  # height of a row of numbers at risk, in shares


def draw_survival_curves(rows: pd.DataFrame, words: Words, event: str, levels: list[str]) -> Figure:
    """Draw Kaplan-Meier curves with pointwise 95% intervals, one per level, labelled at their ends.

    A release merges durations until each holds enough people, so the curve is known at the points released
    and is drawn straight between them. Below stand the numbers at risk just before some of these durations.
    """
    curve = released_points(rows, words, levels)
    data = pd.concat([with_start(block, 1.0) for _, block in curve.groupby("group", observed=True)])
    ends = curve_ends(data, [], 0.06)
    longest = max(len(label) for label in ends["label"])
    heights = {level: -_ROW * (place + 1.3) for place, level in enumerate(levels)}

    def draw(narrow: bool) -> Plot:
        names = [textwrap.fill(words.name(level), 13 if narrow else 24) for level in levels]
        room = max(0.45, 0.034 * longest) if narrow else max(0.2, 0.0145 * longest)
        return (
            curve_plot(data, ends, levels, gap=label_gap(data["time"], narrow), points=curve)
            + p9.geom_hline(yintercept=list(_SHARES), color=RULE, size=0.5)
            + numbers_at_risk(curve, heights, 4 if narrow else 8)
            # half of a number stands left of the first duration
            + p9.scale_x_continuous(
                breaks=whole_ticks(data["time"].max(), 7), expand=(0.12 if narrow else 0.05, 0, room, 0)
            )
            + p9.scale_y_continuous(
                breaks=[*_SHARES, *heights.values()],
                labels=[*(f"{share:.0%}" for share in _SHARES), *names],
                limits=(min(heights.values()) - 0.05, 1.02),
                expand=(0.01, 0),
            )
            + p9.labs(x=words.durations, y="", subtitle=_("share {event}; below, numbers at risk", event=event))
            + p9.theme(panel_grid_major_y=p9.element_blank())
        )

    at = float(data["time"].max()) / 2
    parts = [f"{words.name(level)} {percent(_last_before(data[data['level'] == level], at))}" for level in levels]
    alt = _(
        "Kaplan-Meier curves. Share {event} after {at:g} {durations}: {listed}.",
        event=event,
        at=at,
        durations=words.durations,
        listed=listed(parts),
    )
    columns = ["level", "time", "estimate", "ci_low", "ci_high", "n_treated"]
    table = rows[columns].rename(columns={"n_treated": "n_at_risk"})
    return Figure(draw, alt, table, height=4.1 + 0.25 * len(levels), narrow_height=4.3 + 0.3 * len(levels))


def draw_curves_by_group(study: Study, result: str) -> Figure:
    """Draw the share whose spell is still open, by the levels of a stratum."""
    rows = study.result(result)
    levels = study.in_order(rows["level"], str(rows["subgroup"].iloc[0]))
    return draw_survival_curves(rows, study.words, _("whose spell is still open"), levels)


def released_points(rows: pd.DataFrame, words: Words, levels: list[str]) -> pd.DataFrame:
    """Return the points of the curves of these levels, with their labels; shares lie between zero and one."""
    points = rows[rows["level"].isin(levels)]
    shares = points[["estimate", "ci_low", "ci_high"]].clip(0, 1)
    return points.assign(**shares, group=pd.Categorical(points["level"], levels), label=points["level"].map(words.name))


def whole_ticks(last: float, count: int) -> list[int]:
    """Return about ``count`` whole durations up to the last."""
    step = next(step for step in (1, 2, 4, 5, 8, 10, 20, 50, 100, 1_000, 10_000) if last / step <= count)
    return list(range(0, int(last) + 1, step))


def _last_before(curve: pd.DataFrame, at: float) -> float:
    return float(curve.loc[curve["time"] <= at, "estimate"].iloc[-1])


def say_curves(study: Study, result: str) -> str:
    """Say the median durations and the log-rank test of one set of curves."""
    words, rows, parts = study.words, study.result(result), []
    for level in study.in_order(rows["level"], str(rows["subgroup"].iloc[0])):
        median = median_time(rows[rows["level"] == level])
        parts.append(f"{f'{median:g}' if median is not None else _('not reached')} ({words.name(level)})")
    text = _(
        "Half of the spells had ended by this number of {durations}: {listed}.",
        durations=words.durations,
        listed=listed(parts),
    )
    for _i, row in study.test(result, "log-rank").iterrows():
        text += ngettext(
            " The log-rank test gives χ²\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{statistic} on 1 degree of freedom, "
            "{p_value}.",
            " The log-rank test gives χ²\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{statistic} on {df:g} degrees of freedom, "
            "{p_value}.",
            int(row["df"]),
            statistic=plain(row["statistic"], 1),
            df=row["df"],
            p_value=p_value(row["p_value"]),
        )
    if _none_censored(study, result):
        text += _(" No spell is censored: every one was followed until it ended.")
    return text


def _none_censored(study: Study, result: str) -> bool:
    """Whether the life table behind the curves was released and has no censored spell."""
    name = f"life_tables/{result.removeprefix('km_')}"
    table = study.bundle.tables().get(name)
    return isinstance(table, LifeTable) and bool(is_event(table).all())


def tabulate_tests(study: Study) -> Table:
    """Tabulate the tests of equal curves; earlier editions have no test with a denominator."""
    tests = study.bundle.tests
    assert tests is not None
    frame = tests.query(
        "(test == 'log-rank' and result.str.startswith('km_'))"
        " or (test.str.startswith('Gray') and not result.str.startswith('programme_ends'))"
    ).reset_index(drop=True)
    groups = {
        name: _("By {name}", name=study.words.name(study.result(name)["subgroup"].iloc[0]))
        for name in [*study.results("km_"), *study.results("kinds")]
    }
    denominators = frame["df_denominator"] if "df_denominator" in frame else [float("nan")] * len(frame)
    cells = pd.DataFrame(
        {
            "groups": [groups.get(name, name) for name in frame["result"]],
            "test": frame["test"].astype(str),
            "statistic": [plain(value, 2) for value in frame["statistic"]],
            "df": [_degrees(*both) for both in zip(frame["df"], denominators, strict=True)],
            "p_value": [short_p(value) for value in frame["p_value"]],
        }
    )
    labels = {"groups": _("Groups compared"), "df": "df", "p_value": _("p‑value")}
    return Table(cells, frame, labels=labels, left=["test"])


def _degrees(df: float, denominator: float) -> str:
    """Write the degrees of freedom of χ², or both of F."""
    return f"{df:g}" if pd.isna(denominator) else f"{df:g}, {denominator:.3g}"
