"""The page on who drops out for lack of digital access or of basic skills, and on what completers alone would show."""

from __future__ import annotations

import pandas as pd

from retrain_eval.common.levels import missing
from retrain_eval.estimators.did.selected import ALL, DIFFERENCE, SELECTED
from retrain_eval.plan.questions import ACCESS, LITERACY
from retrain_eval.report.drawing import Figure
from retrain_eval.report.estimates import draw_estimates, tabulate_estimates
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import MINUS, plain, short_p
from retrain_eval.report.page import Study
from retrain_eval.report.pages.stability.causes import cause_labels, draw_incidence_curves
from retrain_eval.report.pages.stability.differences import say_points
from retrain_eval.report.tables import SUPPRESSED, Table
from retrain_eval.report.words import listed, sentence

ENDS, DELIVERY = "programme_ends", "delivery"
GROUPS = {
    ACCESS: N_("digital access"),
    LITERACY: N_("literacy score"),
    DELIVERY: N_("who delivers the programme"),
    f"{LITERACY} × {DELIVERY}": N_("literacy score and who delivers the programme"),
}
LEVELS = (N_("with digital access"), N_("without digital access"))
# of leaving without having completed, the most telling way that the records give
DROPPED = ("dropped_out", "no_reason")
SHOWN = ("completed", *DROPPED, "employed", "transferred")
ESTIMANDS = {
    ALL: N_("everyone who entered"),
    SELECTED: N_("completers only"),
    DIFFERENCE: N_("completers only, minus everyone"),
}


def result_of(*groups: str) -> str:
    """Return the name of the result on how programmes ended, by groups."""
    return f"{ENDS}_by_{'_and_'.join(groups)}" if groups else ENDS


def say_answer(study: Study) -> str:
    """Say who drops out: by digital access, else by literacy, else of all; or what is missing."""
    parts = [_say_gap(study, ACCESS), _say_gap(study, LITERACY)]
    said = [part for part in parts if part]
    if said:
        said.append(
            _(
                "This says who leaves, not why: people who lack access or skills differ from others in other ways "
                "too, and these figures do not show what giving them access would change."
            )
        )
        return " ".join(said)
    rows = study.result(ENDS)
    cause = _dropped(rows)
    if cause:
        row = _at_end(rows[rows["estimand"] == f"CIF({cause})"])
        return _(
            "Of 100 people who entered a programme, {n} had dropped out within {time:g} {periods} (95% interval "
            "{low} to {high}). These records do not show whether a lack of access or skills plays a part.",
            n=_of_100(row["estimate"]),
            time=row["time"],
            periods=study.words.several,
            low=_of_100(row["ci_low"]),
            high=_of_100(row["ci_high"]),
        )
    if len(rows) and rows["estimate"].notna().any():
        return _("No one is recorded as having dropped out of a programme.")
    return _("Who drops out cannot be said from what is published here.")


def _say_gap(study: Study, by: str) -> str:
    """Say how many of 100 in the first and the last level of a stratum drop out, and the difference."""
    rows, apart = study.result(result_of(by)), study.result(f"{result_of(by)}_difference")
    cause = _dropped(rows)
    apart = apart[
        apart["estimate"].notna() & apart["estimand"].str.removeprefix("difference in ").str.startswith(f"CIF({cause})")
    ]
    if not cause or apart.empty:
        return ""
    row = apart.iloc[-1]
    one, other = str(row["estimand"]).rpartition(": ")[2].split(" minus ")
    at = rows[(rows["time"] == row["time"]) & (rows["estimand"] == f"CIF({cause})")].set_index("level")["estimate"]
    if by == LITERACY:  # the other way round: those who lack skills minus the others
        row = row.copy()
        row[["estimate", "ci_low", "ci_high"]] = (-row[["estimate", "ci_high", "ci_low"]].astype(float)).to_numpy()
        one, other = other, one
    if row["estimate"] == 0 and pd.isna(row["ci_low"]) and at[one] == at[other]:
        return _say_alike(study, row, cause, by)
    words = {"one": study.words.name(one), "other": study.words.name(other), "n": _of_100(at[one])}
    words |= {"m": _of_100(at[other]), "points": say_points(row)}
    time = {"time": row["time"], "periods": study.words.several}
    if by == ACCESS:
        if cause == "dropped_out":
            return _(
                "Of 100 people {one} who entered a programme, {n} had dropped out within {time:g} {periods}, and {m} "
                "of 100 {other}: a difference of {points}.",
                **words,
                **time,
            )
        return _(
            "Of 100 people {one} who entered a programme, {n} had left without completing, for a reason that is not "
            "recorded, within {time:g} {periods}, and {m} of 100 {other}: a difference of {points}.",
            **words,
            **time,
        )
    return _(
        "By literacy score, it is {n} of 100 with a score {one}, and {m} of 100 with a score {other}: a difference of "
        "{points}.",
        **words,
        **time,
    )


def _say_alike(study: Study, row: pd.Series, cause: str, by: str) -> str:
    """Say that everyone in both groups dropped out, where all did: a difference of zero without an interval."""
    values = {"time": row["time"], "periods": study.words.several, "group": _(GROUPS[by])}
    if cause == "dropped_out":
        return _(
            "Everyone in both groups by {group} who entered a programme had dropped out within {time:g} {periods}: "
            "there is no difference.",
            **values,
        )
    return _(
        "Everyone in both groups by {group} who entered a programme had left without completing within {time:g} "
        "{periods}: there is no difference.",
        **values,
    )


def say_missing(study: Study) -> str:
    """Say what is not answered on this page, and why; empty if everything is."""
    said: dict[str, list[str]] = {}
    for name, reason in study.bundle.withheld.items():
        label = _part(name)
        if label:
            said.setdefault(_(reason), []).append(label)
    parts = [f"{listed(list(dict.fromkeys(labels)))}: {reason}" for reason, labels in said.items()]
    text = _("Not answered here: {parts}.", parts="; ".join(parts)) if parts else ""
    rows = study.result(ENDS)
    if len(rows) and (rows["estimand"] == "CIF(no_reason)").any():
        more = _("For some who left without completing, the records give no reason, so dropping out is understated.")
        return f"{text} {more}".strip()
    return text


def _part(name: str) -> str:
    """Return what a withheld result would have told, in words; empty for one that is not of this page."""
    if ": " in name:  # a table about a result
        return ""
    stem = name.removesuffix("_difference").removesuffix("_gap")
    if stem == "digital_divide":
        return _("who drops out")
    if stem.startswith(ENDS):
        groups = [_(GROUPS[one]) for one in stem.removeprefix(f"{ENDS}_by_").split("_and_") if one in GROUPS]
        return _("how programmes ended, by {groups}", groups=listed(groups)) if groups else _("how programmes ended")
    for prefix, label in (
        ("entrants", _("effects on everyone who entered")),
        ("completers", _("completers alone")),
    ):
        if stem.startswith(prefix):
            by = stem.partition("_by_")[2]
            return _("{what} by {group}", what=label, group=_(GROUPS[by])) if by in GROUPS else label
    return ""


def draw_ends(study: Study, by: str) -> Figure:
    """Draw the shares that have left in each way, by the levels of a stratum, as far as all of them are observed."""
    rows = study.result(result_of(by))
    rows = rows[~missing(rows["level"]) & rows["estimate"].notna()]
    rows = rows[rows["estimand"].isin([f"CIF({cause})" for cause in SHOWN])]
    rows = rows[rows["time"] <= rows.groupby("level")["time"].max().min()]
    return draw_incidence_curves(rows, study.words, study.in_order(rows["level"], by))


def tabulate_ends(study: Study) -> Table:
    """Tabulate how the ways of leaving differ by access, by literacy and by delivery, with Gray's tests."""
    blocks = []
    for by in (ACCESS, LITERACY, DELIVERY):
        rows = study.result(f"{result_of(by)}_difference")
        if rows["estimate"].notna().any():
            contrast = rows["estimand"].str.rpartition(": ")[2].map(study.words.name)
            test = study.test(result_of(by)).set_index("test")["p_value"]
            cause = rows["estimand"].str.extract(r"CIF\((.*?)\)")[0]
            gray = [test.get(f"Gray, CIF({name})", float("nan")) for name in cause]
            blocks.append(rows.assign(panel=sentence(_(GROUPS[by])), contrast=contrast, gray=gray))
    rows = pd.concat(blocks, ignore_index=True)
    ways = cause_labels(rows, study.words)
    cells = pd.DataFrame(
        {
            "panel": rows["panel"],
            "label": [f"{sentence(way)}, {contrast}" for way, contrast in zip(ways, rows["contrast"], strict=True)],
            "time": [f"{time:g}" for time in rows["time"]],
            "points": [_points(row) for _i, row in rows.iterrows()],
            "interval": [_interval(row) for _i, row in rows.iterrows()],
            "gray": [short_p(value) for value in rows["gray"]],
        }
    )
    labels = {
        "label": _("Way of leaving, and whose"),
        "time": sentence(study.words.several),
        "points": _("Points"),
        "interval": _("95% interval"),
        "gray": _("Gray's test, p"),
    }
    return Table(cells, rows.dropna(axis=1, how="all"), stub="label", labels=labels, groups="panel")


COMBINED = ((ACCESS, LITERACY), (ACCESS, DELIVERY), (ACCESS, LITERACY, DELIVERY))


def _combined(study: Study) -> pd.DataFrame:
    blocks = []
    for groups in COMBINED:
        for suffix in ("difference", "gap"):
            rows = study.result(f"{result_of(*groups)}_{suffix}")
            cause = _dropped(study.result(result_of(*groups)))
            keep = (
                rows["estimand"].str.removeprefix("difference in ").str.startswith(f"CIF({cause})")
                & rows["estimate"].notna()
            )
            rows = rows[keep & ~missing(rows["level"])]
            name = _(GROUPS.get(str(rows["subgroup"].iloc[0]), "")) if len(rows) else ""
            panel = _("Without digital access minus with it, by {name}", name=name)
            blocks.append(rows.assign(panel=panel))
    return pd.concat(blocks, ignore_index=True)


def tabulate_combined(study: Study) -> Table:
    """Tabulate how dropping out differs by access within levels of literacy and of delivery."""
    rows = _combined(study)
    cells = pd.DataFrame(
        {
            "panel": rows["panel"],
            "label": [_levels(study, str(level)) for level in rows["level"]],
            "time": [f"{time:g}" for time in rows["time"]],
            "points": [_points(row) for _i, row in rows.iterrows()],
            "interval": [_interval(row) for _i, row in rows.iterrows()],
            "p": [short_p(value) for value in rows["p_value"]],
        }
    )
    labels = {
        "label": _("Among"),
        "time": sentence(study.words.several),
        "points": _("Points"),
        "interval": _("95% interval"),
        "p": _("p‑value"),
    }
    return Table(cells, rows.dropna(axis=1, how="all"), stub="label", labels=labels, groups="panel")


def _levels(study: Study, level: str) -> str:
    """Return a combination of levels, or a difference of two, in words."""
    return " × ".join(study.words.name(part) for part in level.split(" × "))


def entrant_rows(study: Study, suffix: str = "") -> pd.DataFrame:
    """Return the effects on everyone who entered, by access and by literacy; those of no level as well."""
    blocks = [
        study.result(f"entrants_by_{by}{suffix}").assign(panel=sentence(_(GROUPS[by]))) for by in (ACCESS, LITERACY)
    ]
    rows = pd.concat(blocks, ignore_index=True)
    return rows.assign(label=rows["level"].map(study.words.name))


def say_entrants(study: Study) -> str:
    """Say whether the effect on everyone who entered differs by access and by literacy."""
    rows = entrant_rows(study, "_difference")
    rows = rows[rows["std_error"].notna()]
    clear = rows[(rows["ci_low"] > 0) | (rows["ci_high"] < 0)]
    if clear.empty:
        return _(
            "The effect on everyone who entered does not clearly differ by digital access or by literacy: the "
            "intervals of all differences include zero."
        )
    words = study.words
    found = [
        _(
            "{difference}: {amount}, {interval}",
            difference=row["label"],
            amount=words.amount(row["estimate"], signed=True),
            interval=words.interval(row["ci_low"], row["ci_high"]),
        )
        for _i, row in clear.iterrows()
    ]
    return _("The effect on everyone who entered differs: {found}.", found="; ".join(found))


def draw_entrants(study: Study) -> Figure:
    """Draw the effects on everyone who entered."""
    rows = entrant_rows(study)
    return draw_estimates(rows[~missing(rows["level"])], study.words, panel="panel")


def tabulate_entrants(study: Study) -> Table:
    """Tabulate the effects on everyone who entered, and their differences."""
    rows = pd.concat([entrant_rows(study), entrant_rows(study, "_difference")], ignore_index=True)
    rows = rows.sort_values("panel", kind="stable", key=lambda panel: panel.map(_place(rows["panel"])))
    return tabulate_estimates(rows.reset_index(drop=True), study.words, groups="panel", heading=_("Group"))


def completer_rows(study: Study) -> pd.DataFrame:
    """Return the effect on everyone, the comparison of completers, and the difference, over all and by group."""
    names = {"completers": _("all")}
    names |= {f"completers_by_{by}": "" for by in (ACCESS, LITERACY)}
    blocks = []
    for name, panel in names.items():
        rows = study.result(name)
        rows = rows[~missing(rows["level"])]
        blocks.append(
            rows.assign(panel=sentence(panel) if panel else rows["level"].map(study.words.name).map(sentence))
        )
    rows = pd.concat(blocks, ignore_index=True)
    rows = rows[rows["estimate"].notna()].reset_index(drop=True)
    return rows.assign(label=rows["estimand"].map(ESTIMANDS).map(_).map(sentence))


def say_completers(study: Study) -> str:
    """Say how far figures for completers alone are from those for everyone who entered."""
    rows = study.result("completers").set_index("estimand")
    if rows.empty or not rows["estimate"].notna().all():
        return _("Figures for completers alone are published for some groups only.")
    estimate, low, high = (rows[name].astype(float).to_dict() for name in ("estimate", "ci_low", "ci_high"))
    whole, alone, apart = ESTIMANDS
    words = study.words
    said = _(
        "Per {period}, the effect on everyone who entered is {whole} ({whole_interval}). Completers alone would have "
        "shown {alone} ({alone_interval}): {apart} away ({apart_interval}).",
        period=_(words.period),
        whole=words.amount(estimate[whole], signed=True),
        whole_interval=words.interval(low[whole], high[whole]),
        alone=words.amount(estimate[alone], signed=True),
        alone_interval=words.interval(low[alone], high[alone]),
        apart=words.amount(estimate[apart], signed=True),
        apart_interval=words.interval(low[apart], high[apart]),
    )
    if low[apart] <= 0 <= high[apart]:
        said += " " + _("The interval of the difference includes zero.")
    return said


def tabulate_completers(study: Study) -> Table:
    """Tabulate the effect on everyone next to the comparison of completers alone."""
    return tabulate_estimates(completer_rows(study), study.words, groups="panel", heading=_("Figures for"))


def _dropped(rows: pd.DataFrame) -> str:
    """Return the cause that says that people dropped out; empty if no one did."""
    there = set(rows.loc[rows["estimate"].notna(), "estimand"])
    return next((cause for cause in DROPPED if f"CIF({cause})" in there), "")


def _at_end(rows: pd.DataFrame) -> pd.Series:
    return rows[rows["estimate"].notna()].sort_values("time").iloc[-1]


def _of_100(share: float) -> str:
    return plain(100 * float(share), 0) if pd.notna(share) else "—"


def _points(row: pd.Series) -> str:
    return _(SUPPRESSED) if pd.isna(row["estimate"]) else f"{100 * row['estimate']:+.1f}".replace("-", MINUS)


def _interval(row: pd.Series) -> str:
    if pd.isna(row["ci_low"]):
        return "—"
    low, high = (f"{100 * row[name]:+.1f}".replace("-", MINUS) for name in ("ci_low", "ci_high"))
    return _("{low} to {high}", low=low, high=high)


def _place(panels: pd.Series) -> dict[str, int]:
    return {name: number for number, name in enumerate(dict.fromkeys(panels))}
