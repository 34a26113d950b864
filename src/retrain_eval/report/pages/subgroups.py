"""The page on effects by group, and on the differences between groups."""

from __future__ import annotations

import pandas as pd

from retrain_eval.common.levels import missing
from retrain_eval.report.drawing import Figure
from retrain_eval.report.estimates import draw_estimates, excludes_zero, tabulate_estimates
from retrain_eval.report.group_verdicts import group_headings, in_study_order, verdict_rows
from retrain_eval.report.language.catalogue import _, ngettext
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import listed


def group_rows(study: Study) -> pd.DataFrame:
    """Return the effects by subgroup, each with the experiment's own where there is one."""
    blocks = []
    for result in study.results("att_by_"):
        name = result.removeprefix("att_by_")
        own = study.result(result).assign(shape="own")
        blocks.append(own)
        trial = study.result(f"benchmark_by_{name}")
        if len(trial):
            blocks.append(trial.assign(shape="experiment"))
    rows = pd.concat(blocks, ignore_index=True)
    rows = rows[rows["level"] != ""]
    rows = in_study_order(study, rows)  # the study's own before those of the experiment, as they were put together
    rows["panel"] = group_headings(study, rows)
    rows["label"] = rows["level"].map(study.words.name) + rows["shape"].map(
        {"own": "", "experiment": _(", experiment")}
    )
    return rows.reset_index(drop=True)


def draw_groups(study: Study) -> Figure:
    """Draw the effect in each group."""
    return draw_estimates(group_rows(study), study.words, panel="panel")


def tabulate_groups(study: Study) -> Table:
    """Tabulate the effect in each group."""
    return tabulate_estimates(group_rows(study), study.words, groups="panel", heading=_("Group"))


def difference_rows(study: Study) -> pd.DataFrame:
    """Return the differences between levels of each subgroup, with the joint covariance."""
    rows = pd.concat([study.result(name) for name in study.results("difference_by_")], ignore_index=True)
    rows = rows[~missing(rows["level"])].reset_index(drop=True)
    rows["label"] = group_headings(study, rows) + _(": ") + rows["level"].map(study.words.name)
    return rows


def say_group_differences(study: Study) -> str:
    """Say which differences between groups are clear."""
    rows = difference_rows(study)
    rows = rows[rows["std_error"].notna()]
    if rows.empty:
        return _("Every difference rests on a group that is too small to publish.")
    clear = [row for _i, row in rows.iterrows() if excludes_zero(row)]
    if not clear:
        return ngettext(
            "The difference does not exclude zero: these data cannot tell the groups' effects apart.",
            "None of the {rows} differences excludes zero: these data cannot tell the groups' effects apart.",
            len(rows),
            rows=len(rows),
        )
    apart: dict[str, list[str]] = {}
    for row in clear:
        group, level = study.words.name(row["subgroup"]), study.words.name(row["level"])
        apart.setdefault(group, []).append(f"{level} ({study.words.amount(row['estimate'])})")
    names = _("; ").join(
        _("by {group}, {differences}", group=group, differences=listed(levels)) for group, levels in apart.items()
    )
    return ngettext(
        "{clear} of {rows} differences excludes zero: {names}.",
        "{clear} of {rows} differences exclude zero: {names}.",
        len(clear),
        clear=len(clear),
        rows=len(rows),
        names=names,
    )


def tabulate_group_differences(study: Study) -> Table:
    """Tabulate the differences between groups."""
    return tabulate_estimates(difference_rows(study), study.words, heading=_("Difference"), counts=False)


def say_verdicts(study: Study) -> str:
    """Say for which groups there is an answer."""
    rows, words = verdict_rows(study), study.words
    worth = words.amount(float(rows["smallest_worthwhile"].iloc[0]))
    sentences = [
        _(
            "The plan calls an effect of {worth}{per_period} the smallest that would matter.",
            worth=worth,
            per_period=words.per_period(),
        )
    ]
    for verdict, says in (
        ("effect", _("There is an effect for")),
        ("equivalent to none", _("Any effect is too small to matter for")),
        ("inconclusive", _("No answer is possible yet for")),
    ):
        names = [words.name(level) for level in rows.loc[rows["verdict"] == verdict, "level"]]
        if names:
            sentences.append(f"{says} {listed(names)}.")
    needed = rows[rows["n_needed"].notna()]
    if len(needed):
        most = needed.sort_values("n_needed").iloc[-1]
        sentences.append(
            _(
                "For an effect of that size to be found four times in five, {name} would need "
                "{n_needed:,} trained {units}.",
                n_needed=int(most["n_needed"]),
                units=words.units,
                name=words.name(most["level"]),
            )
        )
    return " ".join(sentences)


def say_experiment_by_group(study: Study) -> str:
    """Say in which groups matching and the experiment part."""
    rows = group_rows(study)
    rows = rows[rows["estimate"].notna() & ~missing(rows["level"])]
    pairs = rows[rows["shape"] == "own"].merge(
        rows[rows["shape"] == "experiment"], on=["subgroup", "level"], suffixes=("", "_trial")
    )
    if pairs.empty:
        return ""
    inside = pairs["estimate"].between(pairs["ci_low_trial"], pairs["ci_high_trial"])
    if inside.all():
        return _(
            "Each of the {pairs} matched estimates lies inside the experiment's interval for its group.",
            pairs=len(pairs),
        )
    words = study.words
    parted = [
        _(
            "{name} ({matched} against {experiment})",
            name=words.name(row["level"]),
            matched=words.amount(row["estimate"]),
            experiment=words.amount(row["estimate_trial"]),
        )
        for _i, row in pairs[~inside].iterrows()
    ]
    return _("The matched estimate falls outside the experiment's interval for {listed}.", listed=listed(parted))
