"""The page on groups for whom retraining may not work, the alternative for them, and a rule whom to offer what."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pandas as pd

from retrain_eval.estimators.effects.allocation import (
    ALTERNATIVE,
    FOR_ALL,
    GAIN,
    NOTHING,
    PROGRAMMES,
    REGRET,
    RETRAINING,
    RULE,
)
from retrain_eval.estimators.effects.cells import BETWEEN, INCONCLUSIVE, NONE, SOME, WORTHWHILE
from retrain_eval.estimators.figures.pieces import GREY, Plot, p9
from retrain_eval.report.drawing import Figure
from retrain_eval.report.estimates import draw_estimates, excludes_zero, tabulate_estimates
from retrain_eval.report.language.catalogue import N_, _, ngettext
from retrain_eval.report.numerals import short_p
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import Words, listed, sentence

_NAMES = {
    RETRAINING: N_("retraining"),
    ALTERNATIVE: N_("the alternative"),
    NOTHING: N_("no programme"),
    "difference": N_("the alternative compared with retraining"),
    RULE: N_("the rule"),
    RETRAINING + FOR_ALL: N_("retraining for all"),
    ALTERNATIVE + FOR_ALL: N_("the alternative for all"),
    GAIN: N_("the rule compared with one choice for all"),
    REGRET: N_("the best rule compared with this one, at most"),
}


# ---- the groups --------------------------------------------------------------------------------------------------


def group_rows(study: Study) -> pd.DataFrame:
    """Return the tests of each group that the plan names, with its name as ``label``."""
    rows = study.bundle.groups
    assert rows is not None
    rows = rows.reset_index(drop=True)
    rows["label"] = [study.words.name(str(level).split(BETWEEN)[0]) for level in rows["level"]]
    rows["stratum"] = [study.words.name(str(name).split(BETWEEN)[0]) for name in rows["subgroup"]]
    rows["panel"] = [
        sentence(study.marked(str(result), name)) for result, name in zip(rows["result"], rows["stratum"], strict=True)
    ]
    return rows


def say_groups(study: Study) -> str:
    """Say in which groups any effect of retraining is too small to matter, and in which there is no answer."""
    rows, words = group_rows(study), study.words
    family = int(rows["family"].iloc[0])
    worth = words.amount(float(rows["smallest_worthwhile"].iloc[0]))
    none = rows[rows["verdict"] == NONE]
    sentences = [
        ngettext(
            "In the group that the plan names, an effect of retraining that matters, of {worth}{per_period} or more in "
            "either direction, cannot be ruled out.",
            "In none of the {family} groups that the plan names can an effect of retraining that matters, of "
            "{worth}{per_period} or more in either direction, be ruled out.",
            family,
            family=family,
            worth=worth,
            per_period=words.per_period(),
        )
        if none.empty
        else ngettext(
            "In {n} of the {family} groups that the plan names, any effect of retraining is too small to matter: "
            "smaller than {worth}{per_period} in either direction.",
            "In {n} of the {family} groups that the plan names, any effect of retraining is too small to matter: "
            "smaller than {worth}{per_period} in either direction.",
            len(none),
            n=len(none),
            family=family,
            worth=worth,
            per_period=words.per_period(),
        )
    ]
    gains = rows["estimate"] > 0
    for of, says in (
        (rows["verdict"] == NONE, N_("That is so for {groups}.")),
        (rows["verdict"] == WORTHWHILE, N_("Retraining brings a gain that matters for {groups}.")),
        ((rows["verdict"] == SOME) & gains, N_("Retraining brings some gain for {groups}.")),
        ((rows["verdict"] == SOME) & ~gains, N_("Retraining brings a loss for {groups}.")),
        (rows["verdict"] == INCONCLUSIVE, N_("For {groups} there is no answer yet.")),
    ):
        if of.any():
            sentences.append(_(says, groups=_("; ").join(_with_interval(rows[of], words))))
    if len(rows) < family:
        sentences.append(
            ngettext(
                "{n} group has too few people to be published.",
                "{n} groups have too few people to be published.",
                family - len(rows),
                n=family - len(rows),
            )
        )
    sentences.append(
        _(
            "These are averages for groups. Within each group some people gain and others do not, and it is not known "
            "who does."
        )
    )
    return " ".join(sentences)


def _with_interval(rows: pd.DataFrame, words: Words) -> Iterable[str]:
    return [
        _(
            "{name} ({amount}, 90% interval {interval})",
            name=_("{stratum}: {level}", stratum=row["stratum"], level=row["label"]),
            amount=words.amount(row["estimate"], signed=True),
            interval=words.interval(row["ci_low"], row["ci_high"]),
        )
        for _i, row in rows.iterrows()
    ]


def draw_groups(study: Study) -> Figure:
    """Draw the effect in each group with its 90% interval, and the smallest effect that would matter."""
    rows = group_rows(study)
    rows = rows.assign(outcome=study.result(str(rows["result"].iloc[0]))["outcome"].iloc[0])
    worth = float(rows["smallest_worthwhile"].iloc[0])
    figure = draw_estimates(rows, study.words, panel="panel")

    def draw(narrow: bool) -> Plot:
        lines = p9.geom_vline(xintercept=[-worth, worth], color=GREY, linetype="dashed", size=0.5)
        return figure.draw(narrow) + lines

    alt = _("Estimates with 90% intervals: {join}.", join=_("; ").join(_with_interval(rows, study.words)))
    return Figure(draw, alt, figure.data, figure.height, figure.narrow_height)


def tabulate_groups(study: Study) -> Table:
    """Tabulate the test of each group."""
    rows, words = group_rows(study), study.words
    cells = pd.DataFrame(
        {
            "label": rows["label"],
            "panel": rows["panel"],
            "estimate": [words.amount(value) for value in rows["estimate"]],
            "interval": [words.interval(low, high) for low, high in zip(rows["ci_low"], rows["ci_high"], strict=True)],
            "p": [short_p(value) for value in rows["p_holm"]],
            "verdict": rows["verdict"].map(_),
            "n_treated": [f"{int(n):,}" for n in rows["n_treated"]],
            "n_needed": ["—" if pd.isna(n) else f"{int(n):,}" for n in rows["n_needed"]],
        }
    )
    labels = {
        "label": _("Group"),
        "estimate": _("Estimate"),
        "interval": _("90% interval"),
        "p": _("p, matters"),
        "verdict": _("Verdict"),
        "n_treated": _("Trained"),
        "n_needed": _("Needed"),
    }
    data = rows.drop(columns=["label", "panel", "stratum"])
    return Table(cells, data, stub="label", labels=labels, groups="panel", left=("verdict",))


# ---- the alternative ---------------------------------------------------------------------------------------------


def alternative_rows(study: Study) -> pd.DataFrame:
    """Return the effects of retraining and of the alternative in the groups in which people overlap."""
    rows = pd.concat([study.result(name) for name in study.results("alternative_by_")], ignore_index=True)
    rows = rows[rows["estimate"].notna()].reset_index(drop=True)
    rows["label"] = [sentence(_(_NAMES[name])) for name in rows["estimand"]]
    rows["panel"] = [sentence(study.words.name(level)) for level in rows["level"]]
    return rows


def say_alternative(study: Study) -> str:
    """Say whether the alternative does more than retraining for the groups in which the two can be compared."""
    rows, words = alternative_rows(study), study.words
    rows = rows[rows["estimand"] == "difference"]
    sentences = []
    for _i, row in rows.iterrows():
        given = {
            "name": words.name(row["level"]),
            "amount": words.amount(abs(row["estimate"])),
            "interval": words.interval(row["ci_low"], row["ci_high"]),
            "per_period": words.per_period(),
        }
        if not excludes_zero(row):
            text = _(
                "For {name} these data show no clear difference between the alternative and retraining: the "
                "difference is {difference} ({interval}).",
                difference=words.amount(row["estimate"], signed=True),
                **given,
            )
        elif row["estimate"] > 0:
            text = _(
                "For {name} the alternative brings {amount}{per_period} more than retraining ({interval}).", **given
            )
        else:
            text = _(
                "For {name} the alternative brings {amount}{per_period} less than retraining ({interval}).", **given
            )
        sentences.append(text)
    return " ".join(sentences)


def tabulate_alternative(study: Study) -> Table:
    """Tabulate the effects of retraining and of the alternative, and their difference."""
    return tabulate_estimates(alternative_rows(study), study.words, groups="panel", heading=_("Programme"))


# ---- the rule ----------------------------------------------------------------------------------------------------


def policy_rows(study: Study) -> pd.DataFrame:
    """Return the value per person of the rule, and of what it is compared with."""
    rows = study.result("policy")
    rows = rows[rows["estimate"].notna()].reset_index(drop=True)
    rows["label"] = [sentence(_(_NAMES[level])) for level in rows["level"]]
    return rows


def say_policy(study: Study) -> str:
    """Say what the rule is worth per person, and whether that is more than one choice for all gives."""
    rows, words = policy_rows(study), study.words
    by_level = {str(row["level"]): row for row in rows.to_dict("records")}
    rule = by_level[RULE]
    sentences = [
        _(
            "Offering programmes by this rule would be worth {amount} per person net of cost ({interval}) over the "
            "follow-up.",
            amount=words.amount(rule["estimate"], signed=True),
            interval=words.interval(rule["ci_low"], rule["ci_high"]),
        )
    ]
    whole = study.main_effect
    if whole is not None and pd.notna(whole["n_treated"]) and rule["n_treated"] < whole["n_treated"]:
        sentences.append(
            _(
                "It covers {n:,} of the {all:,} trained {units}: the others are in groups with too few people for an "
                "estimate in both halves.",
                n=int(rule["n_treated"]),
                all=int(whole["n_treated"]),
                units=words.units,
            )
        )
    if GAIN in by_level:
        gain = by_level[GAIN]
        given = {
            "amount": words.amount(gain["estimate"], signed=True),
            "interval": words.interval(gain["ci_low"], gain["ci_high"]),
        }
        if gain["ci_low"] > 0:
            text = N_("That is {amount} ({interval}) more than the best single choice for everyone.")
        elif gain["ci_high"] < 0:
            text = N_("The best single choice for everyone is worth more: the difference is {amount} ({interval}).")
        else:
            text = N_(
                "These data do not show that the rule does better than the best single choice for everyone: the "
                "difference is {amount} ({interval})."
            )
        sentences += [
            _(text, **given),
            _("A single choice for everyone means the same programme for everyone, or no programme for anyone."),
        ]
    away = leaf_rows(study)
    away = away[away["action"] == NOTHING]
    if len(away):
        halves = away["half"].nunique()
        sentences.append(
            _("Under the rule of each half, some people would be offered no programme: the table says who.")
            if halves == 2
            else _("Under the rule of one half, some people would be offered no programme; under the other, no one.")
        )
    else:
        sentences.append(_("Under the rule no one would be turned away."))
    return " ".join(sentences)


def tabulate_policy(study: Study) -> Table:
    """Tabulate the value of the rule, of one choice for all, and the regret."""
    return tabulate_estimates(policy_rows(study), study.words, heading=_("Value per person"), counts=False)


def leaf_rows(study: Study) -> pd.DataFrame:
    """Return the leaves of the rule of each half, with their conditions in words as ``label``."""
    rows = study.bundle.allocation
    assert rows is not None
    rows = rows.reset_index(drop=True)
    rows["label"] = [_condition(str(rule), study.words) for rule in rows["rule"]]
    rows["panel"] = rows["half"].map({"first": _("Chosen on the first half"), "second": _("Chosen on the second half")})
    return rows


def _condition(rule: str, words: Words) -> str:
    """Return the condition of a leaf in words.

    Examples
    --------
    >>> _condition('{"age_band": ["25 to 39", "40 to 54"]}', Words()), _condition("{}", Words())
    ('age band: 25 to 39 or 40 to 54', 'everyone')
    """
    parts = [
        _("{stratum}: {level}", stratum=words.name(name), level=_(" or ").join(words.name(level) for level in given))
        for name, given in json.loads(rule).items()
    ]
    return _("; ").join(parts) or _("everyone")


def tabulate_leaves(study: Study) -> Table:
    """Tabulate who would be offered what under the rule of each half, and what each programme brings them."""
    rows, words = leaf_rows(study), study.words
    cells = pd.DataFrame({"label": rows["label"], "panel": rows["panel"]})
    cells["action"] = [sentence(_(_NAMES[action])) for action in rows["action"]]
    cells["n"] = ["—" if pd.isna(n) else f"{int(n):,}" for n in rows["n"]]
    for programme in PROGRAMMES:
        cells[programme] = [
            "—"
            if pd.isna(gain)
            else _("{gain} (std. error {error})", gain=words.amount(gain), error=words.amount(error))
            for gain, error in zip(rows[f"gain_{programme}"], rows[f"se_{programme}"], strict=True)
        ]
    labels = {
        "label": _("People"),
        "action": _("Would be offered"),
        "n": _("Trained"),
        RETRAINING: _("Gain from retraining"),
        ALTERNATIVE: _("Gain from the alternative"),
    }
    data = rows.drop(columns=["label", "panel"])
    return Table(cells, data, stub="label", labels=labels, groups="panel", left=("action",))


def say_covariates(study: Study) -> str:
    """Say what the rule may depend on."""
    named = [study.words.name(name) for name in study.bundle.study["questions"]["not_retrainable"]["covariates"]]
    return _(
        "The rule may depend on {names}, in at most two steps, and offers retraining, the alternative or no programme.",
        names=listed(named),
    )
