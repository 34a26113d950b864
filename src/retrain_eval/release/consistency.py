"""What a bundle says twice: study file, rules, dictionary, inputs and files, held against the manifest.

Whoever alters one of two places is found. Whoever alters both, and makes the seal again, is not: only a signature
proves who wrote an edition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

import msgspec
import pandas as pd

from retrain_eval.errors import InputError, ReleaseError
from retrain_eval.release.bundle import Bundle, shipped_rules
from retrain_eval.release.protect import artefacts
from retrain_eval.resources import resource
from retrain_eval.results import Results
from retrain_eval.schemas import dictionary, load_package
from retrain_eval.study import PROFILES, About, Release
from retrain_eval.untrusted import shown

_TEXT = ["column", "title", "type", "unit", "required", "constraints", "description"]


def disagreements(bundle: Bundle, published: Results) -> list[str]:
    """Name what two places of a bundle say differently.

    Parameters
    ----------
    bundle : Bundle
    published : Results
        What its tables hold.
    """
    found: list[str] = []
    for check in (_study, _rules, _inputs, _files, _words, _required):
        try:
            found += check(bundle, published)
        except (InputError, ReleaseError) as error:
            found.append(" ".join(line.strip() for line in str(error).splitlines()))
    return list(dict.fromkeys(found))


def _study(bundle: Bundle, _published: Results) -> Iterator[str]:
    """Hold [study] against the manifest, its seed, and the hash of the study file."""
    told = msgspec.to_builtins(bundle.study_file.study)
    try:
        written = msgspec.to_builtins(msgspec.convert(bundle.manifest["study"], About, strict=True))
    except msgspec.ValidationError as error:
        raise ReleaseError(f"the manifest's study does not hold: {shown(error)}") from None
    for key, value in told.items():
        if written[key] != value:
            yield f"study.toml, {key} in [study]: {_short(value)}, and the manifest has {_short(written[key])}"
    if bundle.manifest.get("seed", told["seed"]) != told["seed"]:
        yield f"study.toml, seed in [study]: {told['seed']}, and the manifest has {bundle.manifest['seed']}"
    if _this_program(bundle) and bundle.manifest.get("study_sha256") != bundle.study_file.sha256():
        yield "study.toml is not the study file whose hash the manifest has (study_sha256)"


def _rules(bundle: Bundle, _published: Results) -> Iterator[str]:
    """Hold [release], and the profile that it names where this package ships it, against the rules of the manifest."""
    told = shipped_rules(bundle.study.get("release", {}))
    used = msgspec.to_builtins(bundle.rules)
    profile = str(told.get("profile", "default"))
    if (PROFILES / f"{profile}.toml").name in {file.name for file in PROFILES.glob("*.toml")}:
        told = msgspec.to_builtins(msgspec.convert(told, Release, strict=False))
    for key, value in {"profile": profile, **told}.items():
        if used.get(key) != value:
            other = _short(used.get(key))
            yield f"study.toml, {shown(key)} in [release]: {_short(value)}, and the manifest has {other}"


def _inputs(bundle: Bundle, _published: Results) -> Iterator[str]:
    """See that the manifest lists a file for each record type, and none for another."""
    names = {str(item["name"]) for item in bundle.manifest.get("inputs", [])}
    records = set(bundle.study_file.records)
    for name in sorted(records - names):
        yield f"the manifest lists no input for {shown(name)}, which study.toml names in [records]"
    for name in sorted(names - records):
        yield f"the manifest lists an input for {shown(name)}, which study.toml does not name in [records]"


def _files(bundle: Bundle, published: Results) -> Iterator[str]:
    """Hold the tables against what the manifest says of each: which there are, and the fewest people in it."""
    listed: Mapping[str, Any] = bundle.manifest.get("artefacts", {})
    there = artefacts(published)
    for name in sorted(set(listed) - set(there)):
        yield f"missing: {shown(name)}: the manifest describes it"
    for name in sorted(set(there) - set(listed)):
        yield f"{name}: the manifest does not describe it"
    for name in sorted(set(there) & set(listed)):
        for key, value in there[name].items():
            if listed[name].get(key) != value:
                yield f"{name}, {key}: {_short(value)}, and the manifest has {_short(listed[name].get(key))}"


def _words(bundle: Bundle, published: Results) -> Iterator[str]:
    """Hold the dictionary against the shared record types, but for those of the study's own."""
    frame = published.tables.get("dictionary")
    if frame is None or not _this_program(bundle) or bundle.manifest["bundle_version"] < 2:
        return
    own = set(bundle.manifest.get("own_schemas", []))
    shared = _shared()
    for name, rows in frame.groupby("resource", sort=False):
        if name in own:
            continue
        known = shared[shared["resource"] == name]
        if len(known) != len(rows):
            yield f"dictionary, {shown(name)}: {len(rows)} columns, and the shared record type has {len(known)}"
            continue
        for column in _TEXT:
            different = (
                rows[column].fillna("").astype(str).to_numpy() != known[column].fillna("").astype(str).to_numpy()
            )
            if different.any():
                row = rows.iloc[int(different.argmax())]
                yield (
                    f"dictionary, {shown(name)} {shown(row['column'])}, {column}: {_short(row[column])} is not that of "
                    "the shared record type"
                )
    for name in sorted(set(bundle.study_file.records) - set(frame["resource"])):
        yield f"dictionary: no columns of {shown(name)}, which study.toml names in [records]"


def _required(bundle: Bundle, published: Results) -> Iterator[str]:
    """List results that the study file, or a registered plan, cannot do without, and that are missing."""
    wanted = dict.fromkeys(bundle.study_file.plan.required)
    for registration in bundle.plan[-1:]:
        wanted |= dict.fromkeys(registration.plan.plan.required)
    for line in published.lacking(wanted):
        yield f"the plan requires it: {line}"


def own_schemas(frame: pd.DataFrame | None) -> list[str]:
    """Return the record types of a dictionary whose columns are not those that this package ships."""
    if frame is None:
        return []
    shared = _shared()
    found = []
    for name, rows in frame.groupby("resource", sort=False):
        known = shared[shared["resource"] == name]
        same = len(known) == len(rows) and all(
            (rows[column].fillna("").astype(str).to_numpy() == known[column].fillna("").astype(str).to_numpy()).all()
            for column in _TEXT
        )
        if not same:
            found.append(str(name))
    return found


def _shared() -> pd.DataFrame:
    return dictionary(load_package(resource("data_schemas")))


def _this_program(bundle: Bundle) -> bool:
    """Whether the edition was written by this version: texts and defaults of another may differ."""
    return bool(bundle.manifest.get("packages", {}).get("retrain-eval") == metadata.version("retrain-eval"))


def _short(value: object) -> str:
    return shown(repr(value) if not isinstance(value, str) else f"“{value}”")
