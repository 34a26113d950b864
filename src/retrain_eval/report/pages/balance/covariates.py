"""How alike the groups are in each covariate before and after matching."""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from functools import partial

import pandas as pd

from retrain_eval.estimators.figures.pieces import BLUE, VERMILION, ZERO, Plot, chart, p9
from retrain_eval.report.drawing import Figure
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import plain
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import Words, listed, sentence
from retrain_eval.tables.covariates.covariates import CovariateMoments

CLOSE = 0.1  # standardised mean difference of good balance (Stuart 2010)


def printed_rows(study: Study) -> pd.DataFrame:
    """Return the rows of the balance table to print: without columns on which partners are equal by design."""
    frame = study.bundle.balance
    assert frame is not None
    equal = frame["covariate"].isin(_exact(study))
    return frame[~equal].reset_index(drop=True)


def _exact(study: Study) -> list[str]:
    """Return the numeric columns that partners share exactly."""
    frame, given = study.bundle.balance, study.bundle.study.get("match", {}).get("exact", ())
    assert frame is not None
    same = frame.loc[frame["smd_after"] == 0, "covariate"]
    return [name for name in ([given] if isinstance(given, str) else given) if name in set(same)]


def say_covariates(study: Study) -> str:
    """Say how much matching has brought the groups together."""
    frame = study.bundle.balance
    assert frame is not None
    after = frame["smd_after"].abs()
    worst = frame.iloc[int(after.fillna(float("inf")).to_numpy().argmax())]
    close = int((after <= CLOSE).sum())
    count = _("all") if close == len(frame) else _("{close} of {frame}", close=close, frame=len(frame))
    return _(
        "Before matching, the largest standardised mean difference was {before}. After matching, "
        "{count} lie within {close:g}, the usual mark of good balance; the largest left is "
        "{after} ({covariate}).",
        before=plain(frame["smd_before"].abs().max(), 2),
        count=count,
        close=CLOSE,
        after=plain(abs(worst["smd_after"]), 2),
        covariate=study.words_before.covariate(worst["covariate"]),
    )


def say_exact(study: Study) -> str:
    """Say on what partners are equal by design; nothing where it is on nothing."""
    start = study.bundle.study.get("match", {}).get("start")
    names = [_("the start of joblessness") if name == start else study.words.covariate(name) for name in _exact(study)]
    return _("Partners are equal in {names}, which is not shown.", names=listed(names)) if names else ""


def say_withheld(study: Study) -> str:
    """Name the covariates of which a value is of too few people to be shown; nothing where there are none."""
    names = [study.words.covariate(name) for name in study.bundle.withheld_covariates]
    return (
        _(
            "Not shown, because some group has fewer than {min_cell} people with it, or without it: {names}. "
            "What is said of balance does not speak of it.",
            names=listed(names),
            min_cell=study.bundle.rules.min_contributors,
        )
        if names
        else ""
    )


def draw_love_plot(balance: pd.DataFrame, words: Words) -> Figure:
    """Draw standardised mean differences before and after matching, largest first (Stuart 2010)."""
    named = balance.assign(covariate=[words.covariate(name) for name in balance["covariate"]])
    order = named.sort_values("smd_before", key=abs)["covariate"].tolist()
    data = named.melt("covariate", ["smd_before", "smd_after"], var_name="sample", value_name="smd")
    data["sample"] = data["sample"].map({"smd_before": _("before matching"), "smd_after": _("after matching")})
    data["covariate"] = pd.Categorical(data["covariate"], order)
    data["smd"] = data["smd"].abs()
    top = data[data["covariate"] == order[-1]].assign(side=["right", "left"])
    top["at"] = [top["smd"].iloc[0], max(top["smd"].iloc[1], 0.1) + 0.02 * data["smd"].max()]
    worst = balance[["smd_before", "smd_after"]].abs().max()
    axis = _("absolute standardised mean difference")
    within = int((balance["smd_after"].abs() <= 0.1).sum())

    short = partial(textwrap.fill, width=20)

    def draw(narrow: bool) -> Plot:
        lifts = (1.2 if narrow else 0.5, 0.5)  # narrow: no room side by side
        names = [
            p9.geom_text(p9.aes("at", label="sample", color="sample", ha="side"), data=row, nudge_y=lift, size=8.5)
            for (_i, row), lift in zip(top.groupby("side", sort=False), lifts, strict=True)
        ]
        return (
            chart(data, x="smd", y="covariate")
            + p9.geom_vline(xintercept=0, **ZERO)
            + p9.geom_vline(xintercept=0.1, linetype="dashed", **ZERO)
            + p9.geom_point(p9.aes(color="sample", shape="sample"), size=2.8)
            + names
            + p9.scale_color_manual({_("before matching"): VERMILION, _("after matching"): BLUE})
            + p9.scale_shape_manual({_("before matching"): "s", _("after matching"): "o"})
            + p9.scale_y_discrete(
                labels=lambda covariates: [short(name) if narrow else name for name in covariates],
                expand=(0, 0.6, 0, 1.5 if narrow else 0.9),
            )
            + p9.scale_x_continuous(expand=(0.02, 0, 0.12, 0))
            + p9.labs(x=short(axis, width=24) if narrow else axis, y="")
            + p9.theme(panel_grid_major_y=p9.element_blank())
        )

    alt = _(
        "Love plot of {balance} covariates. The largest absolute standardised mean difference "
        "falls from {smd_before:.2f} before matching to {smd_after:.2f} after; {within} of "
        "{balance} lie within 0.1 after matching.",
        balance=len(balance),
        smd_before=worst["smd_before"],
        smd_after=worst["smd_after"],
        within=within,
    )
    lines = sum(short(name).count("\n") for name in order)
    size = 1.0 + 0.3 * len(balance)
    return Figure(draw, alt, balance, height=size, narrow_height=size + 0.15 * lines)


def tabulate_means(frame: pd.DataFrame, words: Words) -> Table:
    """Tabulate means and differences before and after matching, with the What Works Clearinghouse's verdict."""
    cells = pd.DataFrame({"covariate": [words.covariate(name) for name in frame["covariate"]]})
    all_matched = frame["mean_treated"].round(10).equals(frame["mean_treated_after"].round(10))
    means = [
        "mean_treated",
        *([] if all_matched else ["mean_treated_after"]),
        "mean_control_before",
        "mean_control_after",
    ]
    for column in means:
        cells[column] = [_number(value, 2) for value in frame[column]]
    sizes = ["smd_before", "smd_after", *(["effect_size_after"] if "effect_size_after" in frame else [])]
    for column in sizes:
        cells[column] = [_number(value, 3) for value in frame[column]]
    if "wwc" in frame:
        cells["wwc"] = frame["wwc"].astype(str).replace("needs adjustment", "adjust")
    labels = {
        "mean_treated": _("Trained") if all_matched else _("All"),
        "mean_treated_after": _("Matched"),
        "mean_control_before": _("Pool"),
        "mean_control_after": _("Matched"),
        "smd_before": _("Before"),
        "smd_after": _("After"),
        "effect_size_after": _("Effect size"),
        "wwc": _("Equivalence"),
    }
    split = {_("Mean"): means} if all_matched else {_("Mean of trained"): means[:2], _("Of controls"): means[2:]}
    spanners = {**split, _("Std. mean difference"): ["smd_before", "smd_after"]}
    if "wwc" in frame:
        spanners["What Works Clearinghouse"] = ["effect_size_after", "wwc"]
    return Table(cells, frame, labels=labels, spanners=spanners, left=("wwc",))


def shares_of(study: Study) -> set[str]:
    """Return the covariates that are shares: the difference in means is all by which their distributions differ."""
    moments = (item for item in study.bundle.tables().values() if isinstance(item, CovariateMoments))
    return {str(name) for item in moments for name in item.cells.loc[item.cells["binary"].astype(bool), "covariate"]}


def tabulate_distributions(frame: pd.DataFrame, words: Words, shares: Collection[str] = ()) -> Table:
    """Tabulate how alike the whole distributions are: variance ratios and distances of distribution functions.

    Parameters
    ----------
    frame : DataFrame
        Rows of the balance table.
    words : Words
    shares : collection of str
        Covariates that are 0 or 1, for which the largest distance is exact; for the others it is a lower bound.
    """
    kinds = {"variance_ratio": _("Variance ratio"), "ecdf_mean": _("Mean distance"), "ecdf_max": _("Largest distance")}
    columns = [f"{kind}_{when}" for kind in kinds for when in ("before", "after")]
    cells = pd.DataFrame({"covariate": [words.covariate(name) for name in frame["covariate"]]})
    for column in columns:
        cells[column] = [_number(value, 3) for value in frame[column]]
        if column.startswith("ecdf_max"):  # known at some points only; the distance may be larger between them
            cells[column] = [
                text if exact or pd.isna(value) else _("at least {distance}", distance=text)
                for text, value, exact in zip(
                    cells[column], frame[column], frame["covariate"].isin(shares), strict=True
                )
            ]
    labels = {column: sentence(column.rsplit("_", 1)[1]) for column in columns}
    spanners = {title: [f"{kind}_before", f"{kind}_after"] for kind, title in kinds.items()}
    return Table(cells, frame[["covariate", *columns]], labels=labels, spanners=spanners)


def _number(value: float, digits: int) -> str:
    return "—" if pd.isna(value) else plain(value, 0 if abs(value) >= 100 else digits)
