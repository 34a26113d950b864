"""The page on money: who pays for training, who gains from it, and whether it is worth its cost."""

from __future__ import annotations

import msgspec
import pandas as pd

from retrain_eval.estimators.figures.pieces import BLUE, GREY, ZERO, Plot, chart, p9
from retrain_eval.estimators.money.accounts import (
    BENEFITS,
    EARNINGS,
    EMPLOYER_TAX,
    FRINGE,
    INCOME_TAX,
    NET,
    SALES_TAX,
    SAVED,
    SOCIETY,
    STIPENDS,
    TRAINING,
)
from retrain_eval.estimators.money.net_benefit import BEYOND, EXTRAPOLATED
from retrain_eval.estimators.money.ratios import (
    ALL_OF_IT,
    BCR,
    BOUNDED,
    MVPF,
    NO_COST,
    NO_LOWER,
    NO_RATIO,
    NO_UPPER,
    PAYS_FOR_ITSELF,
    RATIO,
    UNBOUNDED,
)
from retrain_eval.plan.questions import Money
from retrain_eval.report.drawing import Figure, amounts
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import MINUS, percent, plain
from retrain_eval.report.page import Study
from retrain_eval.report.tables import SUPPRESSED, Table
from retrain_eval.report.words import Words, sentence
from retrain_eval.tables.ledger import OTHERS, PARTICIPANTS, TAXPAYERS

PERSPECTIVE_NAMES = {
    PARTICIPANTS: N_("those who took part"),
    TAXPAYERS: N_("taxpayers"),
    OTHERS: N_("employers and other funders"),
    SOCIETY: N_("society"),
}
ITEM_NAMES = {
    EARNINGS: N_("earnings"),
    FRINGE: N_("fringe benefits"),
    INCOME_TAX: N_("taxes on earnings"),
    EMPLOYER_TAX: N_("taxes paid by employers"),
    SALES_TAX: N_("taxes on spending"),
    BENEFITS: N_("benefits withdrawn"),
    STIPENDS: N_("payments during training"),
    TRAINING: N_("cost of training"),
    SAVED: N_("other services not used"),
    NET: N_("net benefit"),
}
COMPONENT_NAMES = {
    "tuition": N_("tuition"),
    "stipend": N_("stipends"),
    "support": N_("support"),
    "administration": N_("administration"),
    "other": N_("other costs"),
}
RATIO_NAMES = {MVPF: N_("marginal value of public funds"), BCR: N_("benefit–cost ratio")}


def account_rows(study: Study) -> pd.DataFrame:
    """Return the lines of the accounts with their ``perspective`` and ``item``; those that are withheld are left out."""
    rows = study.result("net_benefit")
    rows = rows[rows["estimate"].notna() & rows["estimand"].str.contains(": ", regex=False)]
    parts = rows["estimand"].str.split(": ", n=1, expand=True).reindex(columns=[0, 1])
    return rows.assign(perspective=parts[0], item=parts[1]).reset_index(drop=True)


def net_benefits(study: Study) -> dict[str, pd.Series]:
    """Return the row of the net benefit of each perspective."""
    rows = account_rows(study)
    return {str(row["perspective"]): row for _i, row in rows[rows["item"] == NET].iterrows()}


def words_of(study: Study) -> Words:
    """Return the vocabulary of the outcome that is added up."""
    rows = pd.concat([study.result("net_benefit"), study.result("benefit_over_time")])
    return study.words if rows.empty else study.words.about(rows["outcome"].iloc[0])


def say_worth(study: Study) -> str:
    """Say whether training is worth its cost: to society, to those who took part, and to taxpayers."""
    nets, words = net_benefits(study), words_of(study)
    if SOCIETY not in nets:
        reason = study.bundle.withheld.get("net_benefit") or _("its numbers are withheld")
        return _("What training is worth cannot be said: {reason}.", reason=reason)
    row = nets[SOCIETY]
    told = {
        "amount": words.amount(row["estimate"]),
        "interval": words.interval(row["ci_low"], row["ci_high"]),
        "periods": words.periods(periods_counted(study)),
    }
    if pd.isna(row["ci_low"]):
        first = _(
            "Over {periods} from its start, the net benefit of training to society is put at {amount} for each person "
            "trained; its interval is not known.",
            **told,
        )
    elif row["ci_low"] > 0:
        first = _(
            "Training is worth more than it costs: over {periods} from its start, the net benefit to society is {amount} for "
            "each person trained (95% interval {interval}).",
            **told,
        )
    elif row["ci_high"] < 0:
        first = _(
            "Training has cost more than it has brought: over {periods} from its start, the net benefit to society is {amount} "
            "for each person trained (95% interval {interval}).",
            **told,
        )
    else:
        first = _(
            "Whether training is worth its cost is not settled: over {periods} from its start, the net benefit to society "
            "is put at {amount} for each person trained, with a 95% interval of {interval}.",
            **told,
        )
    return " ".join([first, *_others_told(nets, words)])


def _others_told(nets: dict[str, pd.Series], words: Words) -> list[str]:
    """Return what the others gain or lose."""
    told = []
    for name in (PARTICIPANTS, TAXPAYERS, OTHERS):
        if name in nets and nets[name]["estimate"] != 0:
            row = nets[name]
            values = {"who": _(PERSPECTIVE_NAMES[name]), "amount": words.amount(row["estimate"])}
            if pd.isna(row["std_error"]):
                told.append(_("To {who} it is {amount}, which is known.", **values))
            else:
                interval = words.interval(row["ci_low"], row["ci_high"])
                told.append(_("To {who} it is {amount} ({interval}).", interval=interval, **values))
    return told


def say_limits(study: Study) -> str:
    """Say what the net benefits do not show: what is extrapolated, and what is not counted."""
    rows, words = study.result("net_benefit"), words_of(study)
    beyond = rows[(rows["estimand"] == EXTRAPOLATED) & rows["estimate"].notna()]
    sentences = []
    if len(beyond):
        sentences.append(
            _(
                "Of the earnings that are added up, {amount} lie beyond the follow-up: they are assumed, not observed, and "
                "the intervals do not contain the error of that assumption.",
                amount=words.amount(beyond["estimate"].iloc[0]),
            )
        )
    else:
        sentences.append(_("What training changes after the follow-up is not counted."))
    sentences.append(
        _(
            "Nor is anything but earnings and what follows from them by the rates below: not health, crime or the worth of "
            "time, and not what people who were not trained may lose to those who were."
        )
    )
    return " ".join(sentences)


def say_rates(study: Study) -> str:
    """Say at which rates earnings are taxed and discounted: they are the study's, and taken as known."""
    options = _options(study)
    if options is None:
        return ""
    named = {
        _("taxes on earnings {rate}", rate=_rate(options.tax_rate)): options.tax_rate,
        _("taxes paid by employers {rate}", rate=_rate(options.employer_tax_rate)): options.employer_tax_rate,
        _("benefits withdrawn {rate}", rate=_rate(options.benefit_withdrawal)): options.benefit_withdrawal,
        _("taxes on spending {rate}", rate=_rate(options.spending_tax_rate)): options.spending_tax_rate,
        _("fringe benefits {rate}", rate=_rate(options.fringe)): options.fringe,
    }
    rates = [text for place, (text, rate) in enumerate(named.items()) if rate or place == 0]
    return _(
        "The study sets the rates, as shares of additional earnings: {rates}. Amounts are discounted at {discount} a year "
        "from the start of training, and what training cost is taken as known and as paid at the start.",
        rates=_("; ").join(rates),
        discount=_rate(options.discount_rate),
    )


def _rate(value: float) -> str:
    """Return a rate as a percentage with the digits that the study gives."""
    return f"{100 * value:.4g}%".replace("-", MINUS)


def periods_counted(study: Study) -> int:
    """Return the number of periods whose effects are added up."""
    times = study.result("benefit_over_time")["event_time"]
    if times.notna().any():
        return int(times.max()) + 1
    options = _options(study)
    return options.horizon or 0 if options else 0


def _options(study: Study) -> Money | None:
    """Return the section ``[questions.money]`` of the study file, if it has one."""
    given = study.bundle.study.get("questions", {}).get("money")
    return None if given is None else msgspec.convert(given, Money)


# ---- the ledger --------------------------------------------------------------------------------------------------


def say_ledger(study: Study) -> str:
    """Say what training cost in all and per person, and who paid the most."""
    rows, words = study.bundle.ledger, study.words
    assert rows is not None
    total, each = int(rows["cents"].sum()), int(rows["cents_per_person"].sum())
    if total == 0:
        return _("The records state no cost of training.")
    payers = rows.groupby("payer")["cents"].sum().sort_values(ascending=False)
    return _(
        "Training cost {total}, which is {each} for each person who entered; {share} of it was paid on the account of "
        "{payer}.",
        total=_money(words, total),
        each=_money(words, each),
        share=percent(payers.iloc[0] / total),
        payer=_(PERSPECTIVE_NAMES[str(payers.index[0])]),
    )


def tabulate_ledger(study: Study) -> Table:
    """Tabulate what was paid, by payer, funder and component, with a total that is the sum of its lines."""
    rows, words = study.bundle.ledger, study.words
    assert rows is not None
    order = {name: place for place, name in enumerate((TAXPAYERS, PARTICIPANTS, OTHERS))}
    rows = rows.sort_values("payer", key=lambda names: names.map(order), kind="stable").reset_index(drop=True)
    cells = pd.DataFrame(
        {
            "payer": [sentence(_(PERSPECTIVE_NAMES[str(name)])) for name in rows["payer"]],
            "line": [
                _("{funder}, {component}", funder=words.name(funder), component=_component(words, component))
                for funder, component in zip(rows["funder"], rows["component"], strict=True)
            ],
            "amount": [_money(words, cents) for cents in rows["cents"]],
            "each": [_money(words, cents) for cents in rows["cents_per_person"]],
        }
    )
    total = {
        "payer": _("All"),
        "line": _("Total"),
        "amount": _money(words, int(rows["cents"].sum())),
        "each": _money(words, int(rows["cents_per_person"].sum())),
    }
    cells = pd.concat([cells, pd.DataFrame([total])], ignore_index=True)
    labels = {"line": _("Funder and component"), "amount": _("Amount"), "each": _("For each person who entered")}
    rounded = (rows["cents"] == 0).any() and rows["cents"].any()
    note = (
        _("Lines are rounded to the last digit of the total for each person: a line of zero is too small to show.")
        if rounded
        else ""
    )
    return Table(cells, rows, stub="line", labels=labels, groups="payer", note=note)


def _component(words: Words, name: object) -> str:
    known = COMPONENT_NAMES.get(str(name))
    return _(known) if known else words.name(name)


def _money(words: Words, cents: int) -> str:
    """Return an amount of cents: to the cent unless it is whole."""
    text = words.amount(abs(cents) // 100)
    fraction = abs(int(cents)) % 100
    return f"{MINUS if cents < 0 else ''}{text}{f'.{fraction:02d}' if fraction else ''}"


# ---- who gains ---------------------------------------------------------------------------------------------------


def tabulate_accounts(study: Study) -> Table:
    """Tabulate the lines of each perspective's account, with intervals."""
    rows, words = account_rows(study), words_of(study)
    cells = pd.DataFrame(
        {
            "who": [sentence(_(PERSPECTIVE_NAMES[str(name)])) for name in rows["perspective"]],
            "line": [sentence(_(ITEM_NAMES[str(item)])) for item in rows["item"]],
            "amount": [words.amount(value, signed=True) for value in rows["estimate"]],
            "interval": [
                "—" if pd.isna(error) else words.interval(low, high)
                for error, low, high in zip(rows["std_error"], rows["ci_low"], rows["ci_high"], strict=True)
            ],
        }
    )
    labels = {"line": _("Line"), "amount": _("For each person trained"), "interval": _("95% interval")}
    columns = ["perspective", "item", "estimate", "std_error", "ci_low", "ci_high"]
    return Table(cells, rows[columns], stub="line", labels=labels, groups="who")


def say_ratios(study: Study) -> str:
    """Say what taxpayers get for their money."""
    rows = study.bundle.ratios
    assert rows is not None
    return " ".join(_said_of(row) for _i, row in rows.iterrows())


def _said_of(row: pd.Series) -> str:
    values = {"estimate": _estimate(row), "interval": _interval(row)}
    public = row["ratio"] == MVPF
    if row["verdict"] == NO_COST:
        return (
            _("Taxpayers paid nothing for training, so there is no marginal value of public funds.")
            if public
            else _("Nothing was spent on training, so there is no benefit–cost ratio.")
        )
    if row["verdict"] == PAYS_FOR_ITSELF:
        return _paid_for(row) if public else _("Society spends nothing on net, so there is no benefit–cost ratio.")
    if row["verdict"] == NO_RATIO:
        return _("Money is saved at the expense of others, so that a ratio would mislead.")
    if public:
        return _(
            "For each unit of money that it costs taxpayers on net, those who took part gain {estimate} (95% interval "
            "{interval}): the marginal value of public funds.",
            **values,
        )
    return _(
        "For each unit of money that society spends, it gains {estimate} (95% interval {interval}): the benefit–cost "
        "ratio.",
        **values,
    )


def _paid_for(row: pd.Series) -> str:
    """Say how sure it is that the programme pays for itself."""
    if row["interval"] == ALL_OF_IT:
        return _(
            "The programme pays for itself: taxpayers get back more than they spend, throughout the 95% interval, so that "
            "there is no ratio to state."
        )
    if row["interval"] == NO_UPPER:
        return _(
            "By the estimates the programme pays for itself: taxpayers get back what they spend. The 95% interval runs from "
            "a ratio of {low} to where it pays for itself.",
            low=plain(row["ci_low"], 2),
        )
    return _("By the estimates the programme pays for itself, but the 95% interval excludes no ratio.")


def tabulate_ratios(study: Study) -> Table:
    """Tabulate the benefit–cost ratio and the marginal value of public funds."""
    rows, words = study.bundle.ratios, words_of(study)
    assert rows is not None
    cells = pd.DataFrame(
        {
            "name": [sentence(_(RATIO_NAMES[str(name)])) for name in rows["ratio"]],
            "benefit": [words.amount(value) for value in rows["benefit"]],
            "cost": [words.amount(value) for value in rows["cost"]],
            "estimate": [_estimate(row) for _i, row in rows.iterrows()],
            "interval": [_interval(row) for _i, row in rows.iterrows()],
        }
    )
    labels = {
        "name": _("Ratio"),
        "benefit": _("Benefit"),
        "cost": _("Cost on net"),
        "estimate": _("Benefit by cost"),
        "interval": _("95% interval"),
    }
    return Table(cells, rows, labels=labels)


def _estimate(row: pd.Series) -> str:
    texts = {PAYS_FOR_ITSELF: _("pays for itself"), NO_COST: _("no cost"), NO_RATIO: _("no ratio")}
    if row["verdict"] != RATIO:
        return texts[str(row["verdict"])]
    return _(SUPPRESSED) if pd.isna(row["estimate"]) else plain(row["estimate"], 2)


def _interval(row: pd.Series) -> str:
    low, high = plain(row["ci_low"], 2), plain(row["ci_high"], 2)
    return {
        BOUNDED: _("{low} to {high}", low=low, high=high),
        NO_UPPER: _("from {low} to where it pays for itself", low=low),
        NO_LOWER: _("up to {high}, without a lower limit", high=high),
        UNBOUNDED: _("without limits: the cost on net may be zero"),
        ALL_OF_IT: _("pays for itself throughout"),
    }.get(str(row["interval"]), "—")


# ---- over time ---------------------------------------------------------------------------------------------------


def rows_over_time(study: Study) -> pd.DataFrame:
    """Return the benefits added up to each period, with ``perspective``, ``panel`` and whether they are extrapolated."""
    rows = study.result("benefit_over_time")
    rows = rows[rows["estimate"].notna()]
    beyond = rows["estimand"].str.endswith(BEYOND)
    names = rows["estimand"].str.removesuffix(BEYOND)
    titles = {SOCIETY: _("gained by society"), TAXPAYERS: _("got back by taxpayers")}
    return rows.assign(perspective=names, beyond=beyond, panel=names.map(titles)).reset_index(drop=True)


def costs_of(study: Study) -> dict[str, float]:
    """Return what each perspective pays, on net of what it saves elsewhere; empty where it is withheld."""
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
