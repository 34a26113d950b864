"""What a bundle says twice: study file, rules, dictionary, inputs and files, held against the manifest.

Whoever alters one of two places is found. Whoever alters both, and makes the seal again, is not: only a signature
proves who wrote an edition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from retrain_eval.errors import InputError, ReleaseError
from retrain_eval.plan import PLAN
from retrain_eval.release.bundle import Bundle, shipped_rules
from retrain_eval.release.protect import artefacts
from retrain_eval.resources import resource
from retrain_eval.results import Results
from retrain_eval.schemas import dictionary, load_package
from retrain_eval.study import PROFILES, About, Release
from retrain_eval.untrusted import in_a_line, shown

_NEW_IN_2 = {
    "seal": "whether a byte of the manifest was changed",
    "made_of": "whether a result was left out, or made of another table",
    "own_schemas": "the texts of the dictionary, which may be the study's own",
}
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
    for check in (_study, _rules, _inputs, _files, _words, _required, _plan):
        try:
            found += check(bundle, published)
        except (InputError, ReleaseError) as error:
            found.append(in_a_line(error))
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
    if frame is None or not _this_program(bundle) or _older_without(bundle, "own_schemas"):
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
            different = _texts(rows, column) != _texts(known, column)
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


def _plan(bundle: Bundle, _published: Results) -> Iterator[str]:
    """Hold the registrations that the manifest judges against those in the plan."""
    there = [one.sha256 for one in bundle.plan]
    listed = [str(one.get("sha256")) for one in bundle.manifest.get("plan", [])]
    if listed != there and ("plan" in bundle.manifest or bundle.manifest["bundle_version"] > 1):
        yield f"{PLAN} has {len(there)} registration(s), and the manifest judges {len(listed)} or other ones"


def unchecked(bundle: Bundle) -> list[str]:
    """Return what was not held against anything, with the reason.

    Whoever alters an edition and makes its seal again can turn these checks off: so that they are off is reported.
    """
    manifest, found = bundle.manifest, list[str]()
    found += [
        f"{what}: an edition of bundle version 1 does not say it"
        for key, what in _NEW_IN_2.items()
        if _older_without(bundle, key)
    ]
    own = [shown(name) for name in manifest.get("own_schemas", [])]
    if not _this_program(bundle):
        wrote = manifest.get("packages", {}).get("retrain-eval")
        found.append(
            "the meaning of study.toml (study_sha256) and the texts of the dictionary: the manifest says that "
            f"{'version ' + shown(wrote) if wrote else 'an unnamed version'} of retrain-eval wrote them, and this is "
            f"{metadata.version('retrain-eval')}"
        )
    elif own:
        found.append(f"the dictionary of {', '.join(own)}: by the manifest, these record types are the study's own")
    for one in bundle.plan:
        if one.withheld_sha256:
            found.append(
                f"the plan registered on {shown(one.time)}: its hash covers SHA-256 of record files, which an edition "
                "does not hold"
            )
    return found


def own_schemas(frame: pd.DataFrame | None) -> list[str]:
    """Return the record types of a dictionary whose columns are not those that this package ships."""
    if frame is None:
        return []
    shared = _shared()
    found = []
    for name, rows in frame.groupby("resource", sort=False):
        known = shared[shared["resource"] == name]
        same = len(known) == len(rows) and all(
            (_texts(rows, column) == _texts(known, column)).all() for column in _TEXT
        )
        if not same:
            found.append(str(name))
    return found


def _texts(rows: pd.DataFrame, column: str) -> npt.NDArray[np.object_]:
    return rows[column].fillna("").astype(str).to_numpy(dtype=object)


def _shared() -> pd.DataFrame:
    return dictionary(load_package(resource("data_schemas")))


def _this_program(bundle: Bundle) -> bool:
    """Whether the edition was written by this version: texts and defaults of another may differ."""
    return bool(bundle.manifest.get("packages", {}).get("retrain-eval") == metadata.version("retrain-eval"))


def _older_without(bundle: Bundle, key: str) -> bool:
    return bool(bundle.manifest["bundle_version"] < 2 and key not in bundle.manifest)


def _short(value: object) -> str:
    return shown(repr(value) if not isinstance(value, str) else f"“{value}”")
