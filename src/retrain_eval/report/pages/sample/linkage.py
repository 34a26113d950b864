"""The part of the page on the sample that says who could be found in the wage records."""

from __future__ import annotations

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from retrain_eval.common.levels import missing
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import percent
from retrain_eval.report.page import Study
from retrain_eval.report.tables import SUPPRESSED, Table
from retrain_eval.report.words import sentence

APART = 0.05  # difference in rates that a reader should know of


def linkage_rows(study: Study) -> pd.DataFrame:
    """Return the rates, over all first, levels in the order of the study file."""
    frame = study.bundle.linkage
    assert frame is not None
    blocks = [frame[frame["subgroup"].isna()]]
    for subgroup, block in frame[frame["subgroup"].notna()].groupby("subgroup", sort=False):
        blocks.append(block.set_index("level").loc[study.in_order(block["level"], str(subgroup))].reset_index())
    return pd.concat(blocks, ignore_index=True)[list(frame.columns)]


def say_linkage(study: Study) -> str:
    """Say how many were found, and where the share differs."""
    rates, words = linkage_rows(study), study.words
    whole = rates.iloc[0]
    if pd.isna(whole["rate"]):
        text = _("How many could be found is withheld.")
    else:
        text = _(
            "Of {count} looked for, {share} were found. Who was not is left out of every outcome.",
            count=words.count(whole["n"]),
            share=percent(whole["rate"], 1),
        )
    widest, where = 0.0, None
    named = rates[rates["subgroup"].notna() & ~missing(rates["level"])]
    for subgroup, block in named.groupby("subgroup", sort=False):
        spread = float(block["rate"].max() - block["rate"].min())
        if spread > widest:
            widest, where = spread, (str(subgroup), block)
    if where is None:
        return text
    name, block = where
    block = block[block["rate"].notna()].sort_values("rate", kind="stable")
    ends = [f"{percent(row['rate'], 1)} ({words.name(row['level'])})" for _i, row in block.iloc[[0, -1]].iterrows()]
    span = _("from {low} to {high}", low=ends[0], high=ends[1])
    if widest < APART:
        return _(
            "{rates} The share differs little between groups: most by {name}, {span}.",
            rates=text,
            name=words.name(name),
            span=span,
        )
    return _(
        "{rates} The share differs by {name}, {span}: those missing are not like those found, and "
        "an effect over all is one on the people found.",
        rates=text,
        name=words.name(name),
        span=span,
    )


def tabulate_linkage(study: Study) -> Table:
    """Tabulate who was looked for and found, over all and by group; a group that is withheld is not there."""
    rates, words = linkage_rows(study), study.words
    hidden = rates["rate"].isna()
    cells = pd.DataFrame(
        {
            "level": [_("All") if pd.isna(level) else words.name(level) for level in rates["level"]],
            "group": [_("Everybody") if pd.isna(name) else sentence(words.name(name)) for name in rates["subgroup"]],
            "n": [_(SUPPRESSED) if pd.isna(n) else f"{int(n):,}" for n in rates["n"]],
            "n_linked": [_(SUPPRESSED) if pd.isna(n) else f"{int(n):,}" for n in rates["n_linked"]],
            "rate": [
                _(SUPPRESSED) if gone else percent(rate, 1) for gone, rate in zip(hidden, rates["rate"], strict=True)
            ],
            "interval": [
                "—"
                if gone
                else _(" to ").join(percent(limit, 1) for limit in proportion_confint(k, n, method="wilson"))
                for gone, k, n in zip(hidden, rates["n_linked"], rates["n"], strict=True)
            ],
        }
    )
    labels = {
        "level": _("Group"),
        "n": _("Looked for"),
        "n_linked": _("Found"),
        "rate": _("Share"),
        "interval": _("95% interval"),
    }
    return Table(cells, rates, stub="level", labels=labels, groups="group")
