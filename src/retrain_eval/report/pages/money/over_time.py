"""What training has brought by each period, next to what it cost."""

from __future__ import annotations

import pandas as pd

from retrain_eval.estimators.figures.pieces import BLUE, GREY, ZERO, Plot, chart, p9
from retrain_eval.estimators.money.accounts import SAVED, SOCIETY, TRAINING
from retrain_eval.estimators.money.net_benefit import BEYOND
from retrain_eval.report.drawing import Figure, amounts
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.page import Study
from retrain_eval.report.pages.money.accounts import account_rows, periods_counted, words_of
from retrain_eval.report.words import sentence
from retrain_eval.tables.ledger import TAXPAYERS


def rows_over_time(study: Study) -> pd.DataFrame:
    """Return the benefits added up to each period, with ``perspective``, ``panel``, and whether extrapolated."""
    rows = study.result("benefit_over_time")
    rows = rows[rows["estimate"].notna()]
    beyond = rows["estimand"].str.endswith(BEYOND)
    names = rows["estimand"].str.removesuffix(BEYOND)
    titles = {SOCIETY: _("gained by society"), TAXPAYERS: _("got back by taxpayers")}
    return rows.assign(perspective=names, beyond=beyond, panel=names.map(titles)).reset_index(drop=True)


def costs_of(study: Study) -> dict[str, float]:
    """Return what each perspective pays, net of savings elsewhere; empty where it is withheld."""
    rows = account_rows(study)
    paid = rows[rows["item"].isin([TRAINING, SAVED])].groupby("perspective")["estimate"].sum()
    return {str(name): -float(paid.get(name, 0.0)) for name in set(rows["perspective"])}


def draw_over_time(study: Study) -> Figure:
    """Draw the discounted benefit up to each period, next to the cost: of society, and of taxpayers."""
    data, words = rows_over_time(study), words_of(study)
    paid = costs_of(study)
    panels = data.drop_duplicates("perspective")[["perspective", "panel"]]
    lines = panels[panels["perspective"].isin(paid)]
    lines = lines.assign(
        cost=[paid[name] for name in lines["perspective"]],
        label=[_("cost {amount}", amount=words.amount(paid[name])) for name in lines["perspective"]],
    )
    observed, beyond = data[~data["beyond"]], data[data["beyond"]]
    if len(beyond):  # the dashed line goes on from the last point that is observed
        last = observed.loc[observed.groupby("panel")["event_time"].idxmax()]
        beyond = pd.concat([last, beyond])

    def plot(narrow: bool) -> Plot:
        found = (
            chart(data, x="event_time", y="estimate")
            + p9.geom_hline(yintercept=0, **ZERO)
            + p9.geom_ribbon(p9.aes(ymin="band_low", ymax="band_high"), fill=BLUE, alpha=0.14, na_rm=True)
            + p9.geom_line(data=observed, color=BLUE, size=1)
            + p9.geom_point(data=observed, color=BLUE, size=2 if narrow else 2.4)
            + p9.facet_wrap("panel", ncol=1, scales="free_y")
            + p9.scale_y_continuous(labels=amounts(words), expand=(0.05, 0, 0.14, 0))
            + p9.labs(
                x=_("{periods} from the start of training", periods=words.several),
                y="",
                subtitle=_("for each person trained, discounted and added up"),
            )
        )
        if len(beyond):
            found += p9.geom_line(data=beyond, color=BLUE, size=1, linetype="dashed")
        if len(lines):
            found += p9.geom_hline(p9.aes(yintercept="cost"), data=lines, linetype="dotted", color=GREY, size=0.9)
            found += p9.geom_text(
                p9.aes(y="cost", label="label"), x=0, data=lines, ha="left", va="bottom", size=8.5, color=GREY
            )
        return found

    ends = data.sort_values("event_time").groupby("perspective").last()
    told = [
        _(
            "{who}: {amount} by the end ({interval})",
            who=str(row["panel"]),
            amount=words.amount(row["estimate"]),
            interval=words.interval(row["ci_low"], row["ci_high"]),
        )
        for _i, row in ends.iterrows()
    ]
    alt = _(
        "Benefits of training, discounted and added up over {periods}. {told}.",
        periods=words.periods(periods_counted(study)),
        told=sentence(_("; ").join([*told, *(f"{row['panel']}: {row['label']}" for _i, row in lines.iterrows())])),
    )
    columns = ["estimand", "event_time", "estimate", "ci_low", "ci_high", "band_low", "band_high"]
    return Figure(plot, alt, data[columns], height=5.2, narrow_height=5.6)
