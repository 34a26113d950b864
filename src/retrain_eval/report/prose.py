"""Sentences of the inner pages, computed from the release: pages hold no number of their own."""

from __future__ import annotations

import pandas as pd

from retrain_eval.common.levels import missing
from retrain_eval.estimators.survival.risk import is_event
from retrain_eval.report import views
from retrain_eval.report.findings import excludes_zero, main_effect, median_time
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import p_value, percent, plain
from retrain_eval.report.page import Release, Study
from retrain_eval.report.words import WITHHELD, listed, sentence
from retrain_eval.tables.life_table.life_table import LifeTable


def analysed(study: Study) -> list[tuple[str, str]]:
    """Return the key counts of the sample: submitted and analysed, by group."""
    flow = study.bundle.flow
    if flow is None:
        return []
    if set(flow["group"]) == {"treated"}:  # a study without a comparison, of spells for example
        first = flow["n"].iloc[0]
        return [(WITHHELD if pd.isna(first) else f"{int(first):,}", _("{units} followed", units=study.words.units))]
    counts = []
    for group, name in {"treated": _("trained"), "control": _("controls")}.items():
        rows = flow[flow["group"] == group]
        if len(rows):
            first, last = (WITHHELD if pd.isna(n) else f"{int(n):,}" for n in rows["n"].iloc[[0, -1]])
            counts += [(first, _("{name}, submitted", name=name)), (last, _("{name}, analysed", name=name))]
    return counts


def sample(study: Study) -> str:
    """Say how many came in and how many are analysed."""
    flow, words = study.bundle.flow, study.words
    assert flow is not None
    if set(flow["group"]) == {"treated"}:
        first = flow["n"].iloc[0]
        people = (
            _("{units}, whose number is {withheld}", units=words.units, withheld=_(WITHHELD))
            if pd.isna(first)
            else words.count(first)
        )
        return _("The study follows {people}.", people=people)
    says = []
    for group, name in {"treated": _("trained"), "control": _("possible controls")}.items():
        rows = flow[flow["group"] == group]
        if rows.empty:
            continue
        first, last = rows["n"].iloc[0], rows["n"].iloc[-1]
        if pd.isna(first) or pd.isna(last):
            says.append(_("a number of {name} that is withheld", name=name))
            continue
        share = percent(last / first, 0 if last / first > 0.1 else 1)
        says.append(
            _(
                "{last:,} of {count} submitted as {name} ({share})",
                last=int(last),
                count=words.count(first),
                name=name,
                share=share,
            )
        )
    return _("The estimates rest on {listed}.", listed=listed(says))


def suppressed(study: Study) -> str:
    """Say how many rows of results are withheld."""
    number, rows = study.suppressed, len(study.effects)
    return (
        _("{number} of {rows} rows of results", number=number, rows=rows)
        if number
        else _("none of the {rows} rows of results", rows=rows)
    )


def paths(study: Study) -> str:
    """Say how the mean paths run."""
    means, words = study.means(), study.words
    wide = means.pivot_table(index="time", columns="group", values="mean")
    gap = wide["treated"] - wide["control"]
    first, last = gap.index.min(), gap.index.max()
    dated = words.calendar(list(gap.index))
    return _(
        "{sentence}, the mean of the trained was {amount} {side} that of their {controls}; {at}, {amount_2} {side_2}.",
        sentence=sentence(words.at(first, dated)),
        amount=words.amount(abs(gap[first])),
        side=_side(gap[first]),
        controls=words.controls,
        at=words.at(last, dated),
        amount_2=words.amount(abs(gap[last])),
        side_2=_side(gap[last]),
    )


def _side(gap: float) -> str:
    return _("above") if gap >= 0 else _("below")


def overall(study: Study) -> str:
    """Say the average effect with its interval."""
    row = main_effect(study)
    if row is None:
        return _("The average effect is suppressed, because too few people stand behind it.")
    words = study.words
    return _(
        "The average effect on the trained is {amount}{per_period} (standard error {amount_2}, 95% "
        "interval {interval}).",
        amount=words.amount(row["estimate"]),
        per_period=words.per_period(),
        amount_2=words.amount(row["std_error"]),
        interval=words.interval(row["ci_low"], row["ci_high"]),
    )


def before_training(study: Study) -> str:
    """Say whether the groups were drifting apart before training."""
    rows = study.own("event_study")
    before = rows[(rows["event_time"] < 0) & rows["std_error"].notna()]
    if before.empty:
        return _("There is only one period before training, so earlier drift cannot be checked.")
    low, high = before["band_low"].fillna(before["ci_low"]), before["band_high"].fillna(before["ci_high"])
    outside = int(((low > 0) | (high < 0)).sum())
    if outside:
        return _(
            "In {outside} of {before} periods before training the band excludes zero: the groups were "
            "not on the same path, and the effects are to be read with caution.",
            outside=outside,
            before=len(before),
        )
    told = _("Before training, every band includes zero")
    # where matching made the groups alike, likeness is no sign of anything
    told += _(".") if study.matched_periods else _(": no sign that the groups were on different paths.")
    for _i, row in study.test("event_study").iterrows():
        told += _(" A joint test of the periods before training gives {p_value}.", p_value=p_value(row["p_value"]))
    if study.matched_periods:
        periods = study.words_before.times(study.matched_periods)
        told += _(
            " The controls were chosen to be alike in {periods}, so agreement there is by "
            "construction, and no evidence that the paths would have stayed together.",
            periods=periods,
        )
    return told


def engines(study: Study) -> str:
    """Say how closely two independent programs agree."""
    pairs = views.engines(study).groupby("label", sort=False)
    errors = pairs["std_error"].agg(lambda values: (values.max() - values.min()) / values.max())
    spreads = pairs["estimate"].agg(lambda values: values.max() - values.min()) / pairs["std_error"].max()
    return _(
        "Over {pairs} estimates, the largest difference between the two is {tiny} of a standard "
        "error; that between the standard errors is {tiny_2} of their size.",
        pairs=len(pairs),
        tiny=_tiny(float(spreads.max())),
        tiny_2=_tiny(float(errors.max())),
    )


def _tiny(value: float) -> str:
    return _("less than a millionth") if abs(value) < 1e-6 else f"{value:.2g}"


def benchmark(study: Study) -> str:
    """Say where the matched estimate stands against the experiment."""
    words, trial, own = study.words, study.result("benchmark").iloc[0], main_effect(study)
    assert own is not None
    gap = float(own["estimate"] - trial["estimate"])
    inside = trial["ci_low"] <= own["estimate"] <= trial["ci_high"]
    return _(
        "The experiment, which compared the same trained {units} with randomly assigned controls, "
        "found {amount} ({interval}). The matched comparison gives {amount_2}, {amount_3} {side} "
        "it and {word} the experiment's interval.",
        units=words.units,
        amount=words.amount(trial["estimate"]),
        interval=words.interval(trial["ci_low"], trial["ci_high"]),
        amount_2=words.amount(own["estimate"]),
        amount_3=words.amount(abs(gap)),
        side=_side(gap),
        word=_("inside") if inside else _("outside"),
    )


def truth(study: Study) -> str:
    """Say where the estimate stands against the effect that synthetic data were made with."""
    words, true, own = study.words, study.result("truth").iloc[0], main_effect(study)
    assert own is not None
    inside = own["ci_low"] <= true["estimate"] <= own["ci_high"]
    return _(
        "The data are synthetic, so the true average effect on the trained who are compared is known: "
        "{amount}{per_period}. The estimate is {amount_2}, and its 95% interval {interval} {word} the truth.",
        amount=words.amount(true["estimate"]),
        per_period=words.per_period(),
        amount_2=words.amount(own["estimate"]),
        interval=words.interval(own["ci_low"], own["ci_high"]),
        word=_("covers") if inside else _("does not cover"),
    )


def outcome(study: Study, name: str) -> str:
    """Say what training did to another outcome: at its lowest and highest, and at the end."""
    rows = study.own(f"event_study_{name}")
    after = rows[(rows["event_time"] >= 0) & rows["estimate"].notna()].sort_values("event_time")
    if after.empty:
        return _("Every estimate rests on too few people to be published.")
    words, last = study.words.about(name), after.iloc[-1]
    by_size = after.sort_values("estimate")
    low, high = by_size.iloc[0], by_size.iloc[-1]
    told = [
        _(
            "{amount} ({at})",
            amount=words.amount(row["estimate"], signed=True),
            at=words.at(row["event_time"], calendar=False),
        )
        for row in (low, high)
    ]
    return _(
        "The effect on the {name} is lowest at {told} and highest at {told_2}. At the end of "
        "follow-up, {at}, it is {amount} ({interval}).",
        name=words.name(name),
        told=told[0],
        told_2=told[1],
        at=words.at(last["event_time"], calendar=False),
        amount=words.amount(last["estimate"], signed=True),
        interval=words.interval(last["ci_low"], last["ci_high"]),
    )


def raw_comparison(study: Study) -> str:
    """Say what a comparison without matching would have concluded."""
    rows, words = study.result("unadjusted"), study.words
    if rows.empty:
        return ""
    row = rows.iloc[0]
    return _(
        "Without matching, the trained {units} would have been compared with the whole pool: a "
        "difference of {amount} ({interval}).",
        units=words.units,
        amount=words.amount(row["estimate"]),
        interval=words.interval(row["ci_low"], row["ci_high"]),
    )


def benchmark_by_group(study: Study) -> str:
    """Say in which groups matching and the experiment part."""
    rows = views.subgroups(study)
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
            "{name} ({amount} against {amount_2})",
            name=words.name(row["level"]),
            amount=words.amount(row["estimate"]),
            amount_2=words.amount(row["estimate_trial"]),
        )
        for _i, row in pairs[~inside].iterrows()
    ]
    return _("The matched estimate falls outside the experiment's interval for {listed}.", listed=listed(parted))


def group_differences(study: Study) -> str:
    """Say which differences between groups are clear."""
    rows = views.differences(study)
    rows = rows[rows["std_error"].notna()]
    if rows.empty:
        return _("Every difference rests on a group that is too small to publish.")
    clear = [row for _i, row in rows.iterrows() if excludes_zero(row)]
    if not clear:
        which = (
            _("None of the {rows} differences excludes", rows=len(rows))
            if len(rows) > 1
            else _("The difference does not exclude")
        )
        return _("{which} zero: these data cannot tell the groups' effects apart.", which=which)
    apart: dict[str, list[str]] = {}
    for row in clear:
        group, told = study.words.name(row["subgroup"]), study.words.name(row["level"])
        apart.setdefault(group, []).append(f"{told} ({study.words.amount(row['estimate'])})")
    names = _("; ").join(
        _("by {group}, {differences}", group=group, differences=listed(told)) for group, told in apart.items()
    )
    verb = _("excludes") if len(clear) == 1 else _("exclude")
    return _(
        "{clear} of {rows} differences {verb} zero: {names}.", clear=len(clear), rows=len(rows), verb=verb, names=names
    )


def verdicts(study: Study) -> str:
    """Say for which groups there is an answer."""
    rows, words = views.verdicts(study), study.words
    worth = words.amount(float(rows["smallest_worthwhile"].iloc[0]))
    told = [
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
            told.append(f"{says} {listed(names)}.")
    needed = rows[rows["n_needed"].notna()]
    if len(needed):
        most = needed.sort_values("n_needed").iloc[-1]
        told.append(
            _(
                "For an effect of that size to be found four times in five, {name} would need "
                "{n_needed:,} trained {units}.",
                n_needed=int(most["n_needed"]),
                units=words.units,
                name=words.name(most["level"]),
            )
        )
    return " ".join(told)


def curves(study: Study, result: str) -> str:
    """Say the median durations and the log-rank test of one set of curves."""
    words, rows, says = study.words, study.result(result), []
    for level in study.in_order(rows["level"], str(rows["subgroup"].iloc[0])):
        median = median_time(rows[rows["level"] == level])
        says.append(f"{f'{median:g}' if median is not None else _('not reached')} ({words.name(level)})")
    told = _(
        "Half of the spells had ended by this number of {durations}: {listed}.",
        durations=words.durations,
        listed=listed(says),
    )
    for _i, row in study.test(result, "log-rank").iterrows():
        degrees = _("1 degree") if row["df"] == 1 else _("{df:g} degrees", df=row["df"])
        told += _(
            " The log-rank test gives χ²\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{plain} on {degrees} of freedom",
            plain=plain(row["statistic"], 1),
            degrees=degrees,
        )
        told += f", {p_value(row['p_value'])}."
    if _none_censored(study, result):
        told += _(" No spell is censored: every one was followed until it ended.")
    return told


def _none_censored(study: Study, result: str) -> bool:
    """Whether the life table behind curves was released, and holds no censored spell."""
    name = f"life_tables/{result.removeprefix('km_')}"
    table = study.bundle.tables().get(name)
    return isinstance(table, LifeTable) and bool(is_event(table).all())


def replicated(study: Study) -> str:
    """Say how closely the packages agree on the textbook example."""
    frame = views.replication(study)
    spread = 0.0
    for kind in ("estimate", "std. error"):
        columns = frame[[column for column in frame.columns if column.endswith(kind)]]
        spread = max(spread, float((columns.max(axis=1) - columns.min(axis=1)).max()))
    return _(
        "The largest difference between the packages, over every coefficient and standard error, is {tiny}.",
        tiny=_tiny(spread),
    )


def different_people(release: Release, study: Study) -> str:
    """Say plainly that a companion study is about others than the main one."""
    if study is release.main:
        return ""
    return _(
        "The {units} on this page are not those of the main study. {data}",
        units=study.words.units,
        data=study.facts["data"],
    )
