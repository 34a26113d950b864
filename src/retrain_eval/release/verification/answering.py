"""Answer a released question again, from the tables of its bundle and the study file alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.untrusted import shown
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import KEYS
from retrain_eval.questions.answers import EFFECTS, Answer, Withheld
from retrain_eval.questions.catalogue import QUESTIONS
from retrain_eval.questions.protocol import Inquiry
from retrain_eval.questions.tables import Tables
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.layout import effects_frame
from retrain_eval.release.question_file import ANSWERED, Answered, read_answered
from retrain_eval.release.results import Results
from retrain_eval.release.verification.comparison import agree
from retrain_eval.tables.additive import Additive


def answer(bundle: Bundle | str | Path, question: str) -> pd.DataFrame:
    """Answer a released question again.

    Parameters
    ----------
    bundle : Bundle, str or Path
        A bundle, or its folder.
    question : str
        A question of its study file, such as ``"effect_over_time"``.

    Returns
    -------
    DataFrame
        The rows of ``effects.csv`` that the question publishes, as they follow from the tables and the options in
        ``study.toml``. Errors of comparisons between arms of matched sets are those without the sets, which stay at the
        agency. What the tables do not give has a ``note`` and no numbers.

    Raises
    ------
    InputError
        If the study does not ask this question, or the edition answers it by another version of the question.

    Examples
    --------
    ::

        rte.answer("my_study/release/2026", "for_whom")[["result", "level", "estimate"]]
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    asked = dict(opened.study_file.questions.asked())
    if question not in asked:
        raise unknown(f"question of the study {opened.name}", question, asked)
    made = {one.question: one for one in read_answered(opened.path)}.get(question)
    if made is not None and made.version != QUESTIONS[question].version:
        raise InputError(
            f"the edition answers {question} by version {made.version} of the question",
            rule=f"this program has version {QUESTIONS[question].version}, which may answer differently",
            fix="use the version of retrain-eval that the manifest names in `packages`",
        )
    return _again(opened, question, opened.tables() if made is None else _tables(opened, made))


def answers_differ(bundle: Bundle, published: Results) -> tuple[list[str], list[str]]:
    """Answer all released questions again, from the tables and options that they are said to follow from.

    Parameters
    ----------
    bundle : Bundle
    published : Results
        What its tables hold.

    Returns
    -------
    list of str
        Where an answer is not the published one, or the bundle states two things about a question.
    list of str
        What was not checked, with the reason.
    """
    found, left = list[str](), list[str]()
    asked, digits = dict(bundle.study_file.questions.asked()), bundle.rules.significant_figures
    for one in published.answered:
        label = f"the question {shown(one.question)}"
        if one.question not in QUESTIONS or one.question not in asked:
            found.append(f"{label}: {ANSWERED} has it, and study.toml does not ask it")
        elif _spelt(asked[one.question]) != _spelt(one.options):
            found.append(f"{label}: {ANSWERED} has other options than study.toml")
        elif one.design != (asked[one.question].design or next(iter(bundle.study_file.designs), "")):
            found.append(f"{label}: {ANSWERED} has another design than study.toml")
        elif one.version != (version := QUESTIONS[one.question].version):
            left.append(f"{label}: version {one.version} of it was asked, and this program has version {version}")
        else:
            again = _again(bundle, one.question, _tables(bundle, one))
            found += [f"{label}, {line}" for line in _other_estimates(published, again, digits)]
    listed = {one.question for one in published.answered}
    found += [
        f"the question {name}: study.toml asks it, and {ANSWERED} does not have it"
        for name in asked
        if published.answered and name not in listed and name not in published.withheld()
    ]
    return found, left


def _again(bundle: Bundle, question: str, tables: Mapping[str, Additive]) -> pd.DataFrame:
    study = bundle.study_file
    options = dict(study.questions.asked())[question]
    inquiry = Inquiry(study, options.design or next(iter(study.designs)), options)
    rows = []
    for item in QUESTIONS[question].answer(Tables(tables), inquiry).items:
        if isinstance(item, Answer) and isinstance(item.result, EffectTable):
            rows.append(effects_frame(item.name, item.result))
        elif isinstance(item, Withheld) and item.table == EFFECTS:
            rows.append(pd.DataFrame([{"result": item.name, "note": f"withheld: {item.error.public}"}]))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["result", "note"])


def _tables(bundle: Bundle, made: Answered) -> dict[str, Additive]:
    """Return the tables that a question is said to be answered from; those that are not released are left out."""
    return {name: table for name, table in bundle.tables().items() if name in made.tables}


def _other_estimates(published: Results, again: pd.DataFrame, digits: int) -> Iterator[str]:
    """Yield the results whose estimates are not those of the answer, or that are neither published nor withheld."""
    effects, withheld = published.tables.get("effects"), published.withheld()
    if effects is None or "estimate" not in again:
        return
    theirs = effects[effects["estimate"].notna()]
    for name, rows in again[again["estimate"].notna()].groupby("result", sort=False):
        there = theirs[theirs["result"] == name]
        if there.empty:
            if name not in withheld:
                yield f"{name}: it gives this result, which the edition does not have"
            continue
        keys = [key for key in KEYS if key in rows and key in there]
        both = _keyed(rows, keys, "again").join(_keyed(there, keys, "published")).dropna()  # rows may be withheld
        one, other = both["published"].to_numpy(float), both["again"].to_numpy(float)
        same = agree(one, other, digits) | (np.abs(one - other) <= _rounding_of_source(published, str(name), digits))
        if not same.all():
            yield f"{name}: {int((~same).sum())} of {len(both)} estimates are not those of the answer"


def _rounding_of_source(published: Results, name: str, digits: int) -> float:
    """Return by how much a result made from printed effects may differ from the same of unrounded ones; else 0."""
    of = {part.result: part.derivation.of for part in published.parts if part.table == EFFECTS and part.derivation}
    kind, _, source = of.get(name, "").partition("/")
    effects = published.tables[EFFECTS]
    sizes = effects.loc[effects["result"] == source, "estimate"].abs() if kind == EFFECTS else effects["estimate"][:0]
    largest = float(sizes.max()) if sizes.notna().any() else 0.0
    return 0.0 if largest == 0 else 10 ** (np.floor(np.log10(largest)) + 1 - digits) * (1 + 1e-6)


def _keyed(rows: pd.DataFrame, keys: list[str], name: str) -> pd.DataFrame:
    """Return the estimates of rows by their keys as texts, numbered where keys repeat."""
    texts = rows[keys].astype("string").fillna("")
    texts["number"] = texts.groupby(keys, sort=False).cumcount()
    return rows[["estimate"]].set_axis([name], axis="columns").set_axis(pd.MultiIndex.from_frame(texts))


def _spelt(options: object) -> bytes:
    """Return options as the file has them, where lists and tuples are the same."""
    return msgspec.json.encode(options, order="sorted")
