"""Tables of how long spells last: differences between arms, hazard ratios, the indicators that agencies report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from math import exp

import pandas as pd

from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import MINUS, percent, plain, short_p
from retrain_eval.report.page import Study
from retrain_eval.report.pages.durations import CAUSES
from retrain_eval.report.tables import SUPPRESSED, Table
from retrain_eval.report.words import Words, in_sentence, listed, sentence


def contrasts(
    rows: pd.DataFrame, labels: Sequence[str], words: Words, heading: str, groups: str | None = None
) -> Table:
    """Tabulate differences between two arms, shares in percentage points and durations in their unit."""
    shown = pd.DataFrame({"label": list(labels)})
    if groups:
        shown[groups] = rows[groups].to_numpy()
    texts = [_texts(row, words) for _i, row in rows.iterrows()]
    shown["estimate"], shown["interval"] = zip(*texts, strict=True)
    shown["p"] = [short_p(value) for value in rows["p_value"]]
    for name in ("n_treated", "n_control"):
        shown[name] = ["—" if pd.isna(n) else f"{int(n):,}" for n in rows[name]]
    one, other = str(rows["estimand"].iloc[0]).rpartition(": ")[2].split(" minus ")
    heads = {"label": heading, "estimate": _("Difference"), "interval": _("95% interval"), "p": _("p‑value"),
             "n_treated": words.name(one).capitalize(), "n_control": words.name(other).capitalize()}  # fmt: skip
    return Table(shown, rows.dropna(axis=1, how="all"), labels=heads, groups=groups)


def _texts(row: pd.Series, words: Words) -> tuple[str, str]:
    share = "restricted mean" not in str(row["estimand"])
    numbers = [float(row[name]) for name in ("estimate", "ci_low", "ci_high")]
    if pd.isna(numbers[0]):
        return SUPPRESSED, "—"
    said = [f"{100 * x:+.1f}" if share else f"{x:+.2f}" for x in numbers]
    unit = _(" points") if share else f" {words.durations}"
    return (said[0] + unit).replace("-", MINUS), _("{said} to {said_2}", said=said[1], said_2=said[2]).replace(
        "-", MINUS
    )


def ratios(rows: pd.DataFrame, labels: Sequence[str]) -> Table:
    """Tabulate hazard ratios."""
    shown = pd.DataFrame(
        {
            "label": list(labels),
            "ratio": [plain(exp(value), 2) for value in rows["estimate"]],
            "interval": [
                _("{plain} to {plain_2}", plain=plain(exp(low), 2), plain_2=plain(exp(high), 2))
                for low, high in zip(rows["ci_low"], rows["ci_high"], strict=True)
            ],
            "p": [short_p(value) for value in rows["p_value"]],
        }
    )
    heads = {"label": _("Compared"), "ratio": _("Hazard ratio"), "interval": _("95% interval"), "p": _("p‑value")}
    return Table(shown, rows.dropna(axis=1, how="all"), labels=heads)


def indicators(study: Study) -> Table:
    """Tabulate what agencies report: one row per indicator, trained and controls side by side."""
    words, blocks, sources = study.words, [], []
    for result, name in _INDICATORS.items():
        rows = study.result(result)
        if rows.empty:
            continue
        sources.append(rows)
        for (estimand, time), block in rows.groupby(["estimand", "time"], sort=False, dropna=False):
            when = f"{time:g}"
            told = name.get(re.sub(r"^(same employer since) \w.*$", r"\1", str(estimand)), "")
            first = re.search(r" (\d+)$", str(estimand))
            title = _(told).format(
                time=when, durations=words.durations, period=_(words.period), first=first[1] if first else ""
            )
            block = block.assign(level=block["level"].replace("", "trained"))
            line = {"indicator": title, "group": _(name["group"])}
            for level in ("trained", "matched controls"):
                own = block[block["level"] == level]
                line[level] = _value(own.iloc[0], words) if len(own) and title else "—"
            if title:
                blocks.append(line)
    shown = pd.DataFrame(blocks)
    heads = {"indicator": _("Indicator"), "trained": _("Trained"), "matched controls": _("Matched controls")}
    return Table(shown, pd.concat(sources).dropna(axis=1, how="all"), labels=heads, groups="group")


def _value(row: pd.Series, words: Words) -> str:
    if pd.isna(row["estimate"]):
        return _(SUPPRESSED) if str(row["note"]).startswith("withheld") else _("not reached")
    if row["estimand"] == "median":
        return f"{row['estimate']:g}"
    digits = 1 if row["estimate"] < 0.1 else 0
    return _(
        "{percent} ({removesuffix} to {percent_2})",
        percent=percent(row["estimate"], digits),
        removesuffix=percent(row["ci_low"], digits).removesuffix("%"),
        percent_2=percent(row["ci_high"], digits),
    )


_INDICATORS = {
    "indicators_employed": {
        "group": N_("Employment after the start of training"),
        "employed": N_("Employed in {period} {time}"),
        "same employer since": N_("Of those employed in {period} {first}, with the same employer in {period} {time}"),
    },
    "indicators_ever": {"group": N_("Finding work"), "ended": N_("Found a job within {time} {durations}")},
    "indicators_first_job": {
        "group": N_("Finding work"),
        "median": N_("Median {durations} to the first job, from the start"),
    },
    "indicators_since_exit": {
        "group": N_("Finding work"),
        "median": N_("Median {durations} to the first job, from leaving the programme"),
    },
    "indicators_recall": {
        "group": N_("Finding work"),
        "share(recall)": N_("Of jobs found within {time} {durations}, back with the former employer"),
    },
    "indicators_retained": {
        "group": N_("Keeping work"),
        "retained by the same employer": N_("Job found lasts longer than {time} {durations}"),
    },
}


def cause_labels(rows: pd.DataFrame, words: Words) -> list[str]:
    """Return the causes of ending in words, of rows whose estimand names them."""
    causes = rows["estimand"].str.extract(r"CIF\((.*?)\)")[0]
    return [_(CAUSES.get(str(cause), words.name(cause))) for cause in causes]


def stratified(study: Study, name: str) -> pd.DataFrame:
    """Return the differences between arms in each level of each stratum, then how far levels differ in them."""
    strata = study.bundle.study.get("strata", {})
    blocks = []
    for stratum in strata:
        rows = study.result(f"{name}_by_{stratum}").set_index("level", drop=False)
        blocks += [rows.loc[study.in_order(rows["level"], stratum)], study.result(f"{name}_by_{stratum}_difference")]
    found = pd.concat(blocks, ignore_index=True)
    return found.assign(panel=found["subgroup"].map(study.words.name).map(sentence))


def horizon(study: Study, name: str) -> str:
    """Return at which duration each stratum's differences are taken: as far as the released curves are whole."""
    rows = stratified(study, name)
    times = {str(panel): block["time"].iloc[0] for panel, block in rows.groupby("panel", sort=False)}
    said = listed(
        [
            _("{time:g} {durations} by {panel}", time=time, durations=study.words.durations, panel=in_sentence(panel))
            for panel, time in times.items()
        ]
    )
    mean = "restricted mean" in str(rows["estimand"].iloc[0])
    what = _("Means over the first {said}", said=said) if mean else _("Shares after {said}", said=said)
    return _("{what}, as far as the released curves go without merging.", what=what)


def no_money(study: Study) -> Words:
    """Return the vocabulary for durations and shares, which are no money."""
    return replace(study.words, currency="")
