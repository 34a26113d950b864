"""The page on providers: which of them do better than expected, and how sure that is."""

from __future__ import annotations

import textwrap

import pandas as pd

from retrain_eval.common.levels import MISSING_LEVEL, OTHERS, missing
from retrain_eval.estimators.figures.pieces import BLUE, GREY, VERMILION, ZERO, Plot, chart, p9, round_ticks
from retrain_eval.estimators.inference.providers import FEWEST_PEOPLE
from retrain_eval.report.drawing import Figure, amounts
from retrain_eval.report.estimates import tabulate_estimates
from retrain_eval.report.language.catalogue import _, ngettext
from retrain_eval.report.numerals import percent, short_p
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import Words

EFFECTS, ADJUSTED = "provider_effects", "provider_effects_adjusted"
NAMED = 40  # providers whose names fit into a figure and a table; of more, the first and the last are printed
ENDS = 15
INNER, OUTER = 1.96, 3.09  # standard errors of the limits of 95% and 99.8%


def provider_rows(study: Study, result: str = EFFECTS) -> pd.DataFrame:
    """Return the providers, the largest shrunken effect first; none where they are too few to be compared."""
    found = study.bundle.providers
    if found is None:
        return pd.DataFrame({"result": [], "level": []})
    return found[found["result"] == result].reset_index(drop=True)


def provider_name(level: object) -> str:
    """Return what a provider is called; a name is the agency's text, and is not translated."""
    if level == OTHERS:
        return _("other providers")
    return _("(missing)") if level == MISSING_LEVEL else str(level)


def words_of(study: Study) -> Words:
    """Return the vocabulary for the outcome of the effects."""
    rows = study.result(EFFECTS)
    return study.words if rows.empty else study.words.about(rows["outcome"].iloc[0])


def say_providers(study: Study) -> str:
    """Say how many providers do better and worse than the mean of all, or why that cannot be said."""
    rows, words = provider_rows(study), words_of(study)
    if rows.empty:
        return _why_not(study)
    spread = study.bundle.provider_spread
    assert spread is not None
    [facts] = spread[spread["result"] == EFFECTS].to_dict("records")
    mean = _(
        "With the average provider, trained {units} gain {mean}{per_period} ({interval}).",
        units=words.units,
        mean=words.amount(facts["mean"]),
        per_period=words.per_period(),
        interval=words.interval(facts["mean_low"], facts["mean_high"]),
    )
    if facts["spread"] == 0:
        return _(
            "There is no evidence that the {providers} providers differ in their effect: their estimates are no "
            "further apart than chance would have them{test}. {mean} The true effects have a standard deviation of at "
            "most {high} (95% confidence).",
            providers=len(rows),
            test=_test(study),
            mean=mean,
            high=words.amount(facts["spread_high"]),
        )
    above = int((rows["shrunken_low"] > 0).sum())
    below = int((rows["shrunken_high"] < 0).sum())
    return _(
        "Of {providers} providers, {above} did better and {below} did worse than the average provider by more than "
        "chance would explain (95% intervals); the others cannot be told from it. {mean} The true effects of providers "
        "have a standard deviation of {spread} ({interval}){test}.",
        providers=len(rows),
        above=above,
        below=below,
        mean=mean,
        spread=words.amount(facts["spread"]),
        interval=words.interval(facts["spread_low"], facts["spread_high"]),
        test=_test(study),
    )


def _test(study: Study) -> str:
    """Return the p-value of the test that all are equal, in brackets; empty if it is not published."""
    tests = study.test(EFFECTS)
    if tests.empty:
        return ""
    return _(" (test that all are equal: p {p})", p=_equals(short_p(float(tests["p_value"].iloc[0]))))


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def _why_not(study: Study) -> str:
    """Say why providers are not compared."""
    rows = study.result(EFFECTS)
    known = rows[rows["estimate"].notna() & ~missing(rows["level"]) & (rows["level"] != OTHERS)]
    if len(known):
        return ngettext(
            "The effect of one provider can be shown; whether providers differ cannot be judged from it.",
            "Effects of {known} providers can be shown: too few to say how far providers are apart, or which does "
            "better than expected.",
            len(known),
            known=len(known),
        )
    reasons = [why for name, why in study.bundle.withheld.items() if name in (EFFECTS, "providers")]
    if reasons:
        return _("Providers cannot be compared here: {reason}.", reason=reasons[0])
    return _(
        "Providers cannot be compared here: none has enough trainees, with enough controls, for a number to be shown."
    )


def say_what_it_does_not_show(study: Study) -> str:
    """Say what the comparison of providers does not show, and who is not in it."""
    if study.result(EFFECTS).empty:
        return ""
    sentences = [
        _(
            "Each trained {unit} is compared with {controls} who were like them before, so a provider is not credited "
            "with whom it admits. Why a provider does better is not shown: its teaching, the trades it teaches and the "
            "jobs nearby are all part of its effect.",
            unit=study.words.one,
            controls=study.words.controls,
        )
    ]
    sentences.append(
        _(
            "A provider with fewer than {fewest} trained {units}, or fewer than {fewest} {controls}, who can be "
            "compared is not shown separately: its effect could not be distinguished from chance.",
            fewest=FEWEST_PEOPLE,
            units=study.words.units,
            controls=study.words.controls,
        )
    )
    if (study.result(EFFECTS)["level"] == OTHERS).any():
        sentences.append(_("Providers with too few trainees for a number of their own are taken together."))
    return " ".join(sentences)


def say_adjusted(study: Study) -> str:
    """Say whether the comparison takes into account that some people gain more than others, wherever they train."""
    if study.result(EFFECTS).empty:
        return ""
    stratum = study.bundle.study.get("questions", {}).get("providers", {}).get("adjust")
    if not stratum:
        return _(
            "It is not taken into account that some people may gain more than others wherever they are trained: a "
            "provider that trains more of them looks better."
        )
    name, rows, own = study.words.name(stratum), provider_rows(study, ADJUSTED), provider_rows(study)
    both = own.merge(rows, on="level", suffixes=("", "_alike"))
    if both.empty:
        return _(
            "Effects could not be adjusted for differences between providers in the {name} of the people they train, "
            "because too few people of each group train with each provider.",
            name=name,
        )
    moved = float((both["deviation_alike"] - both["deviation"]).abs().median())
    return _(
        "For {both} of {own} providers the effect could also be calculated as if all trained people of the same "
        "{name}: half of them move by less than {moved} relative to the average provider.",
        both=len(both),
        own=len(own),
        name=name,
        moved=words_of(study).amount(moved),
    )


def draw_providers(study: Study) -> Figure:
    """Draw the shrunken effects with their intervals, in order."""
    rows, words = provider_rows(study), words_of(study)
    named = len(rows) <= NAMED
    data = rows.assign(
        place=range(len(rows), 0, -1),
        clear=["clear" if low > 0 or high < 0 else "not"
               for low, high in zip(rows["shrunken_low"], rows["shrunken_high"], strict=True)],
    )  # fmt: skip
    title = _("effect on {name}, relative to the average provider", name=study.words.name(_outcome(study)))

    def draw(narrow: bool) -> Plot:
        labels = {"breaks": data["place"].tolist(), "labels": [_in_figure(name, narrow) for name in data["level"]]}
        scale = p9.scale_y_continuous(**labels) if named else p9.scale_y_continuous(breaks=[], labels=[])
        return (
            chart(data, x="shrunken", y="place", color="clear")
            + p9.geom_vline(xintercept=0, **ZERO)
            + p9.geom_segment(p9.aes(x="shrunken_low", xend="shrunken_high", yend="place"), size=0.8 if named else 0.4)
            + p9.geom_point(p9.aes(shape="clear"), size=2.2 if named else 1.2)
            + p9.scale_color_manual({"clear": BLUE, "not": GREY})
            + p9.scale_shape_manual({"clear": "o", "not": "s"})
            + p9.scale_x_continuous(
                labels=amounts(words), breaks=lambda limits: round_ticks(limits, 4 if narrow else 6)
            )
            + scale
            + p9.labs(x=textwrap.fill(title, 30) if narrow else title, y="")
            + p9.theme(panel_grid_major_y=p9.element_blank())
        )

    first, last = rows.iloc[0], rows.iloc[-1]
    alt = _(
        "Shrunken effects of {providers} providers relative to their mean, with 95% intervals, from {high} to {low}; "
        "{clear} intervals exclude zero.",
        providers=len(rows),
        high=words.amount(first["shrunken"]),
        low=words.amount(last["shrunken"]),
        clear=int((data["clear"] == "clear").sum()),
    )
    height = 0.9 + (0.24 * len(rows) if named else 0.022 * len(rows) + 2.5)
    return Figure(draw, alt, rows[["level", "shrunken", "shrunken_low", "shrunken_high"]], height, height + 0.3)


def draw_funnel(study: Study) -> Figure:
    """Draw the estimates by their standard error, with control limits."""
    rows, words = provider_rows(study), words_of(study)
    data = rows.assign(beyond=["" if pd.isna(limit) else str(limit) for limit in rows["limit"]])
    widest = 1.05 * float(data["std_error"].max())
    lines = pd.DataFrame(
        [
            {"std_error": x, "deviation": sign * by * x, "line": f"{sign * by}", "of": of}
            for by, of in ((INNER, "inner"), (OUTER, "outer"))
            for sign in (-1, 1)
            for x in (0.0, widest)
        ]
    )
    errors = _("standard error: providers with more trainees are on the left")
    ends = lines[(lines["std_error"] > 0) & (lines["deviation"] > 0)].assign(label=["95%", "99.8%"])

    def draw(narrow: bool) -> Plot:
        return (
            chart(data, x="std_error", y="deviation")
            + p9.geom_hline(yintercept=0, **ZERO)
            + p9.geom_line(p9.aes(group="line", linetype="of"), data=lines, color=GREY, size=0.6)
            + p9.geom_text(p9.aes(label="label"), data=ends, ha="left", nudge_x=0.01 * widest, size=8, color=GREY)
            + p9.geom_point(p9.aes(color="beyond", shape="beyond"), size=2)
            + p9.scale_linetype_manual({"inner": "dashed", "outer": "solid"})
            + p9.scale_color_manual({"": GREY, "95%": BLUE, "99.8%": VERMILION})
            + p9.scale_shape_manual({"": "o", "95%": "s", "99.8%": "D"})
            + p9.scale_x_continuous(
                labels=amounts(words), breaks=lambda limits: round_ticks(limits, 3 if narrow else 6),
                expand=(0.01, 0, 0.16 if narrow else 0.08, 0),
            )
            + p9.scale_y_continuous(labels=amounts(words))
            + p9.labs(
                x=textwrap.fill(errors, 34) if narrow else errors,
                y="",
                subtitle=_("effect relative to the average provider"),
            )
        )  # fmt: skip

    outer = int((data["beyond"] == "99.8%").sum())
    alt = _(
        "Funnel plot of {providers} providers: {inner} are outside the limits of 95%, {outer} of them outside those of "
        "99.8%. If providers did not differ, about {expected} would be outside the limits of 95%.",
        providers=len(rows),
        inner=int((data["beyond"] != "").sum()),
        outer=outer,
        expected=round(0.05 * len(rows)),
    )
    return Figure(draw, alt, rows[["level", "deviation", "std_error", "limit"]], 4.0, 4.2)


def tabulate_providers(study: Study) -> Table:
    """Tabulate providers with completion and employment alongside: all, or of many the first and the last."""
    rows, words = provider_rows(study), words_of(study)
    shown = rows if len(rows) <= NAMED else pd.concat([rows.head(ENDS), rows.tail(ENDS)])
    cells = pd.DataFrame(
        {
            "provider": shown["level"].map(provider_name),
            "estimate": [words.amount(value) for value in shown["estimate"]],
            "shrunken": [words.amount(value, signed=True) for value in shown["shrunken"]],
            "interval": [
                words.interval(low, high)
                for low, high in zip(shown["shrunken_low"], shown["shrunken_high"], strict=True)
            ],
            "ranks": [
                _("{low} to {high}", low=int(low), high=int(high)) if low < high else str(int(low))
                for low, high in zip(shown["rank_low"], shown["rank_high"], strict=True)
            ],
        }
    )
    data = rows
    for name in ("completed", "employed"):
        share = _shares(study, name)
        if len(share):
            cells[name] = [percent(share[level]) if level in share else "—" for level in shown["level"]]
            data = data.assign(**{f"share_{name}": rows["level"].map(share)})
    for name in ("n_treated", "n_control"):
        cells[name] = ["—" if pd.isna(n) else f"{int(n):,}" for n in shown[name]]
    labels = {
        "provider": _("Provider"),
        "estimate": _("Effect"),
        "shrunken": _("Difference, shrunken"),
        "interval": _("95% interval"),
        "ranks": _("Ranks"),
        "completed": _("Completed"),
        "employed": _("Employed, {when}", when=_placed(study)),
        "n_treated": _("Trained"),
        "n_control": _("Controls"),
    }
    note = ""
    if len(shown) < len(rows):
        note = _(
            "The first and the last {ends} of {providers} providers; the file has all.", ends=ENDS, providers=len(rows)
        )
    return Table(cells.reset_index(drop=True), data, stub="provider", labels=labels, note=note)


def tabulate_effects(study: Study) -> Table:
    """Tabulate the effects of providers that are too few to be compared."""
    rows = study.result(EFFECTS)
    rows = rows.assign(label=rows["level"].map(provider_name))
    return tabulate_estimates(rows, words_of(study), heading=_("Provider"))


def _shares(study: Study, outcome: str) -> dict[str, float]:
    """Return a published share by provider."""
    shares = study.bundle.shares
    if shares is None:
        return {}
    rows = shares[(shares["outcome"] == outcome) & shares["mean"].notna()]
    return dict(zip(rows["level"].astype(str), rows["mean"].astype(float), strict=True))


def _placed(study: Study) -> str:
    """Return when employment is counted."""
    after = study.bundle.study_file.questions.providers
    return study.words.at(float(after.placed_after if after is not None else 0), calendar=False)


def _outcome(study: Study) -> str:
    rows = study.result(EFFECTS)
    return str(rows["outcome"].iloc[0]) if len(rows) else ""


def _in_figure(level: object, narrow: bool) -> str:
    """Return a provider's name for a figure: cut where it is long, and no sign of it is read as a formula."""
    name, most = provider_name(level), 18 if narrow else 36
    name = name if len(name) <= most else f"{name[: most - 1].rstrip()}…"
    return name.replace("$", r"\$")
