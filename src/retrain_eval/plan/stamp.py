"""What the numbers of a study's additive tables mean, as a stamp that two tables must share to be added."""

from __future__ import annotations

import json

import msgspec

from retrain_eval.plan.study_file import Match, Panel, Quality, StudyFile

FACTS = ("unit", "frequency", "currency")  # of every study; further ones are named after their section


def stamp_of(study: StudyFile) -> dict[str, str]:
    """Return the facts of a study file that its tables depend on.

    Of the sections that define outcomes, strata and the sample, only keys that differ from their defaults: a key that a
    later version adds does not part two editions.

    Examples
    --------
    >>> from retrain_eval.plan.study_file import About
    >>> about = About(name="s", title="T", question="Q", data="D", currency="USD", frequency="quarter")
    >>> records = {"person": "person.csv"}
    >>> stamp_of(StudyFile(study=about, records=records, panel=Panel(base_period="2016Q1")))
    {'unit': 'person', 'frequency': 'quarter', 'currency': 'USD', '[panel] base_period': '2016Q1'}
    """
    about = study.study
    facts = {
        "unit": about.unit,
        "frequency": about.frequency,
        **({"currency": about.currency} if about.currency else {}),
    }
    facts |= _given("panel", study.panel, Panel()) | _given("quality", study.quality, Quality())
    if study.match is not None:
        facts |= _given("match", study.match, Match(formula=""))
    for name, stratum in study.strata.items():
        facts[f"[strata.{name}]"] = _text({"column": stratum.column, "cuts": stratum.cuts, "labels": stratum.labels})
    return facts


def _given(section: str, values: msgspec.Struct, defaults: msgspec.Struct) -> dict[str, str]:
    """Return the keys of a section that differ from their defaults."""
    given, default = msgspec.to_builtins(values), msgspec.to_builtins(defaults)
    return {f"[{section}] {key}": _text(value) for key, value in given.items() if value != default.get(key)}


def _text(value: object) -> str:
    return (
        value if isinstance(value, str) else json.dumps(msgspec.to_builtins(value), ensure_ascii=False, sort_keys=True)
    )
