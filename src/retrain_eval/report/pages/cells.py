"""The part of the page on groups about several strata together: a heat map, joint tests, and what can be said."""

from __future__ import annotations

import textwrap
from itertools import product

import msgspec
import pandas as pd

from retrain_eval.common.levels import missing
from retrain_eval.estimators.effects.cells import (
    BETWEEN,
    INCONCLUSIVE,
    NO_DIFFERENCE,
    NO_INTERACTION,
    NONE,
    SOME,
    WORTHWHILE,
)
from retrain_eval.estimators.effects.heterogeneity import EQUAL
from retrain_eval.estimators.figures.pieces import GREY, INK, Plot, chart, p9
from retrain_eval.plan.strata import Stratum
from retrain_eval.report.drawing import Figure
from retrain_eval.report.language.catalogue import N_, _, ngettext
from retrain_eval.report.numerals import p_value, short_p
from retrain_eval.report.page import Study
from retrain_eval.report.tables import SUPPRESSED, Table
from retrain_eval.report.words import Words, listed, sentence

VERDICTS = (N_("worthwhile"), N_("some effect"), N_("equivalent to none"), N_("inconclusive"))
LOW, MIDDLE, HIGH = "#f3b08c", "#ffffff", "#8fc3e8"  # pale, so that text on them can be read
# what stands in a cell next to its number: colour is never the only sign
SIGNS = {WORTHWHILE: "▲", NONE: "○", INCONCLUSIVE: ""}


def strata_of(study: Study, result: str) -> list[str]:
    """Return the names of the strata of a result."""
    return str(study.result(result)["subgroup"].iloc[0]).split(BETWEEN)


def heading(study: Study, result: str) -> str:
    """Return the strata of a result as a heading, marked where the plan does not name them together."""
    names = listed([study.words.name(name) for name in strata_of(study, result)])
    return sentence(study.marked(result, names))


def cell_rows(study: Study, result: str) -> pd.DataFrame:
    """Return a row for each cell of the strata, also for those that are withheld, in the order of the study file.

    Columns are those of effects and of the verdicts, a column of levels for each stratum, and ``label``.
    """
    rows, names = study.result(result), strata_of(study, result)
    levels = pd.DataFrame([str(level).split(BETWEEN) for level in rows["level"]], columns=names)
    orders = [study.in_order(levels.loc[~missing(levels[name]), name], name) for name in names]
    given = study.bundle.study.get("strata", {})
    named = [msgspec.convert(given[name], Stratum).levels() if name in given else () for name in names]
    orders = [list(dict.fromkeys([*every, *there])) for every, there in zip(named, orders, strict=True)]
    grid = pd.DataFrame(list(product(*orders)), columns=names)
    grid["level"] = grid[names].agg(BETWEEN.join, axis=1)
    found = grid.merge(rows, on="level", how="left")
    verdicts = study.bundle.cells
    if verdicts is not None:
        judged = verdicts[verdicts["result"] == result]
        found = found.merge(judged[["level", "p_holm", "verdict", "n_needed"]], on="level", how="left")
    for column in ("p_holm", "verdict", "n_needed"):
        if column not in found:
            found[column] = None
    found["label"] = [", ".join(study.words.name(level) for level in row) for row in grid[names].to_numpy()]
    return found


def sign_of(row: pd.Series) -> str:
    """Return the sign of a verdict: of some effect, its direction."""
    if row["verdict"] == SOME:
        return "△" if row["estimate"] > 0 else "▽"
    return SIGNS.get(str(row["verdict"]), "")


def say_cells(study: Study, result: str) -> str:
    """Say in how many cells there is a gain that matters, and in which; and how many are withheld."""
    rows, words = cell_rows(study, result), study.words
    known = rows[rows["estimate"].notna()]
    sentences: list[str] = []
    judged = known[known["verdict"].notna()]
    if len(judged):
        worth = _worth(study, result)
        sentences.append(
            _(
                "None of the groups shows a gain above {worth}{per_period}, the smallest that would matter.",
                worth=words.amount(worth),
                per_period=words.per_period(),
            )
            if not (judged["verdict"] == WORTHWHILE).any()
            else _(
                "In {n} of {cells} groups the gain is above {worth}{per_period}, the smallest that would matter.",
                cells=len(judged),
                n=int((judged["verdict"] == WORTHWHILE).sum()),
                worth=words.amount(worth),
                per_period=words.per_period(),
            )
        )
        some, gains = judged["verdict"] == SOME, judged["estimate"] > 0
        for of, says in (
            (judged["verdict"] == WORTHWHILE, N_("The gain is worthwhile for {groups}.")),
            (some & gains, N_("There is some gain for {groups}.")),
            (some & ~gains, N_("There is some loss for {groups}.")),
            (judged["verdict"] == NONE, N_("Any effect is too small to matter for {groups}.")),
        ):
            groups = [
                _(
                    "{name} ({amount}, {interval})",
                    name=row["label"],
                    amount=words.amount(row["estimate"], signed=True),
                    interval=words.interval(row["ci_low"], row["ci_high"]),
                )
                for _i, row in judged[of].iterrows()
            ]
            if groups:
                sentences.append(_(says, groups=_("; ").join(groups)))
        open_ = int((judged["verdict"] == INCONCLUSIVE).sum())
        if open_:
            sentences.append(
                ngettext(
                    "{n} group has too few people for an answer.",
                    "{n} groups have too few people for an answer.",
                    open_,
                    n=open_,
                )
            )
    withheld = len(rows) - len(known)
    if withheld:
        sentences.append(
            ngettext(
                "{n} group is not shown, because it has too few people or none.",
                "{n} groups are not shown, because too few people are in each, or none.",
                withheld,
                n=withheld,
            )
        )
    sentences.append(_("Figures are averages for groups and say nothing about any one person."))
    return " ".join(sentences)


def say_joint_tests(study: Study, result: str) -> str:
    """Say whether effects differ between cells, and whether strata act together."""
    tests, words = study.test(result).set_index("test")["p_value"], study.words
    sentences = []
    if EQUAL in tests:
        p = float(tests[EQUAL])
        text = _("The groups differ in their effects by more than chance ({p}).", p=p_value(p))
        none = _(
            "The differences between the groups are no larger than would be expected by chance ({p}).", p=p_value(p)
        )
        sentences.append(text if p < 0.05 else none)
    if NO_INTERACTION in tests:
        p, names = float(tests[NO_INTERACTION]), listed([words.name(name) for name in strata_of(study, result)])
        sentences.append(
            _(
                "{names} interact: their combined effect differs from the sum of their separate effects ({p}).",
                names=names,
                p=p_value(p),
            )
            if p < 0.05
            else _("There is no evidence that {names} act together ({p}).", names=names, p=p_value(p))
        )
    parts = [
        _("by {name} {p}", name=words.name(name), p=p_value(float(tests[NO_DIFFERENCE + name])))
        for name in strata_of(study, result)
        if NO_DIFFERENCE + name in tests
    ]
    if parts:
        sentences.append(
            _("Tests of differences with the other characteristics held constant: {parts}.", parts=listed(parts))
        )
    return " ".join(sentences)


def draw_cells(study: Study, result: str) -> Figure:
    """Draw a heat map: a tile for each cell, with its effect and a sign for the verdict; withheld ones are grey."""
    rows, words, names = cell_rows(study, result), study.words, strata_of(study, result)
    across = min(names, key=lambda name: rows[name].nunique())
    down = [name for name in names if name != across]
    data = rows[rows["estimate"].notna() | rows["level"].notna()].copy()
    data["x"] = pd.Categorical([words.name(level) for level in data[across]], _order(words, data[across]))
    labels = data[down].apply(lambda row: ", ".join(words.name(level) for level in row), axis=1)
    data["y"] = pd.Categorical(labels, list(dict.fromkeys(labels))[::-1])
    data["text"] = [
        "—" if pd.isna(row["estimate"]) else f"{words.amount(row['estimate'], signed=True)} {sign_of(row)}".rstrip()
        for _i, row in data.iterrows()
    ]
    # without an answer a tile is paler: its number may be chance
    data["strength"] = [0.4 if verdict == INCONCLUSIVE else 1.0 for verdict in data["verdict"]]
    largest = float(data["estimate"].abs().max())

    def draw(narrow: bool) -> Plot:
        wrap = 11 if narrow else 22
        return (
            chart(data, x="x", y="y", fill="estimate")
            + p9.geom_tile(p9.aes(alpha="strength"), color="white", size=1.5)
            + p9.scale_alpha_identity()
            + p9.geom_text(p9.aes(label="text"), size=7 if narrow else 8.5, color=INK)
            + p9.scale_fill_gradient2(
                low=LOW, mid=MIDDLE, high=HIGH, midpoint=0, limits=(-largest, largest), na_value="#eceff1"
            )
            + p9.scale_x_discrete(labels=lambda items: [textwrap.fill(item, wrap) for item in items])
            + p9.scale_y_discrete(labels=lambda items: [textwrap.fill(item, 18 if narrow else 40) for item in items])
            + p9.labs(x=words.name(across), y="")
            + p9.theme(panel_grid_major=p9.element_blank(), axis_text_x=p9.element_text(color=GREY, size=8))
        )

    parts = [f"{row['label']} {words.with_interval(row)}" for _i, row in data[data["estimate"].notna()].iterrows()]
    size = 0.9 + 0.34 * data["y"].nunique()
    columns = [*names, "estimate", "ci_low", "ci_high", "verdict"]
    alt = _("Estimates with 95% intervals: {join}.", join="; ".join(parts))
    return Figure(draw, alt, data[columns], size, size + 0.4 + 0.08 * data["y"].nunique())


def tabulate_cells(study: Study, result: str) -> Table:
    """Tabulate the effect in each cell, with its verdict and, where there is no answer, the people needed."""
    rows, words, names = cell_rows(study, result), study.words, strata_of(study, result)
    apart = study.result(result)
    apart = apart[missing(apart["level"])].assign(verdict=None, n_needed=None, p_holm=None)
    apart["label"] = [", ".join(words.name(part) for part in str(level).split(BETWEEN)) for level in apart["level"]]
    rows = pd.concat([rows, apart], ignore_index=True) if len(apart) else rows
    first = names[0]
    heads = [sentence(words.name(level)) if isinstance(level, str) else _("Not recorded") for level in rows[first]]
    rest = [
        ", ".join(words.name(row[name]) for name in names[1:]) if isinstance(row[first], str) else row["label"]
        for _i, row in rows.iterrows()
    ]
    hidden = rows["estimate"].isna()
    cells = pd.DataFrame({"label": rest, "panel": heads})
    cells["estimate"] = [
        _(SUPPRESSED) if gone else words.amount(value) for gone, value in zip(hidden, rows["estimate"], strict=True)
    ]
    cells["interval"] = [
        "—" if pd.isna(low) else words.interval(low, high)
        for low, high in zip(rows["ci_low"], rows["ci_high"], strict=True)
    ]
    if rows["verdict"].notna().any():
        cells["p"] = [short_p(value) for value in rows["p_holm"].astype(float)]
        cells["verdict"] = ["—" if pd.isna(verdict) else _(verdict) for verdict in rows["verdict"]]
    cells["n_treated"] = ["—" if pd.isna(n) else f"{int(n):,}" for n in rows["n_treated"]]
    if rows["n_needed"].notna().any():
        cells["n_needed"] = ["—" if pd.isna(n) else f"{int(n):,}" for n in rows["n_needed"]]
    labels = {
        "label": sentence(_(", ").join(words.name(name) for name in names[1:])),
        "estimate": _("Estimate"),
        "interval": _("95% interval"),
        "p": _("p, no effect"),
        "verdict": _("Verdict"),
        "n_treated": _("Trained"),
        "n_needed": _("Needed"),
    }
    columns = [*names, "estimate", "std_error", "ci_low", "ci_high", "p_holm", "verdict", "n_treated", "n_needed"]
    return Table(cells, rows[columns], stub="label", labels=labels, groups="panel", left=("verdict",))


def _order(words: Words, levels: pd.Series) -> list[str]:
    return list(dict.fromkeys(words.name(level) for level in levels))


def _worth(study: Study, result: str) -> float:
    verdicts = study.bundle.cells
    assert verdicts is not None
    return float(verdicts.loc[verdicts["result"] == result, "smallest_worthwhile"].iloc[0])
