"""What a bundle states twice: study file, rules, dictionary, inputs and files, compared with the manifest.

An alteration of one of the two places is detected. An alteration of both, under a recomputed seal, is not: only a
signature proves who wrote an edition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

import msgspec
import pandas as pd

from retrain_eval.common.arrays import Objects
from retrain_eval.common.errors import InputError, ReleaseError
from retrain_eval.common.resources import resource
from retrain_eval.common.untrusted import in_a_line, shown
from retrain_eval.plan.registered import PLAN
from retrain_eval.plan.rules import Release, shipped_profiles, with_names_of_today
from retrain_eval.plan.stamp import FACTS, stamp_of
from retrain_eval.plan.study_file import About
from retrain_eval.records.schema.dictionary import dictionary, load_package
from retrain_eval.release.bundle import Bundle, shipped_rules
from retrain_eval.release.protection.protect import artefacts
from retrain_eval.release.results import Results
from retrain_eval.release.verification.terms import other_terms

_NEW_IN_2 = {
    "seal": "whether a byte of the manifest was changed",
    "made_of": "whether a result was left out, or made of another table",
    "own_schemas": "the texts of the dictionary, which may be the study's own",
}
_TEXT = ["column", "title", "type", "unit", "required", "constraints", "description"]


def disagreements(bundle: Bundle, published: Results) -> list[str]:
    """Return what two places of a bundle state differently, one line each.

    Parameters
    ----------
    bundle : Bundle
    published : Results
        What its tables hold.
    """
    lines: list[str] = []
    for check in (_study, _rules, _inputs, _files, _stamps, _dictionary, _required, _plan, other_terms):
        try:
            lines += check(bundle, published)
        except (InputError, ReleaseError) as error:
            lines.append(in_a_line(error))
    return list(dict.fromkeys(lines))


def _study(bundle: Bundle, _published: Results) -> Iterator[str]:
    """Compare [study] with the manifest, its seed, and the hash of the study file."""
    study = msgspec.to_builtins(bundle.study_file.study)
    try:
        in_manifest = msgspec.to_builtins(msgspec.convert(bundle.manifest["study"], About, strict=True))
    except msgspec.ValidationError as error:
        raise ReleaseError(f"the study in the manifest is not valid: {shown(error)}") from None
    for key, value in study.items():
        if in_manifest[key] != value:
            yield f"study.toml, {key} in [study]: {_short(value)}, and the manifest has {_short(in_manifest[key])}"
    if bundle.manifest.get("seed", study["seed"]) != study["seed"]:
        yield f"study.toml, seed in [study]: {study['seed']}, and the manifest has {bundle.manifest['seed']}"
    if _this_program(bundle) and bundle.manifest.get("study_sha256") != bundle.study_file.sha256():
        yield "study.toml is not the study file whose hash the manifest has (study_sha256)"


def _rules(bundle: Bundle, _published: Results) -> Iterator[str]:
    """Compare [release], with the profile it names if the package ships it, with the rules in the manifest."""
    rules = with_names_of_today(bundle.study.get("release", {}))
    profile = str(rules.get("profile", "default"))
    if profile in shipped_profiles() and not _before_noise(bundle):
        rules = shipped_rules(rules)
        rules = msgspec.to_builtins(msgspec.convert(rules, Release, strict=False))
    applied = msgspec.to_builtins(bundle.rules)
    for key, value in {"profile": profile, **rules}.items():
        if applied.get(key) != value:
            in_manifest = _short(applied.get(key))
            yield f"study.toml, {shown(key)} in [release]: {_short(value)}, and the manifest has {in_manifest}"


def _inputs(bundle: Bundle, _published: Results) -> Iterator[str]:
    """Check that the manifest lists a file for each record type of the study, and for no other."""
    names = {str(item["name"]) for item in bundle.manifest.get("inputs", [])}
    records = set(bundle.study_file.records)
    for name in sorted(records - names):
        yield f"the manifest lists no input for {shown(name)}, which study.toml names in [records]"
    for name in sorted(names - records) if not bundle.study_file.sources else ():  # layouts make others
        yield f"the manifest lists an input for {shown(name)}, which study.toml does not name in [records]"


# what editions made before noise was attached to people say of their files
_EARLIER_RULES = (
    "steps of the minimum or more", "cells of the minimum or more", "made again from the protected tables",
)  # fmt: skip


def _files(bundle: Bundle, published: Results) -> Iterator[str]:
    """Compare the tables with their descriptions in the manifest: which there are, and the fewest people in each."""
    listed: Mapping[str, Any] = bundle.manifest.get("artefacts", {})
    present = artefacts(published, bundle.rules)
    for name in sorted(set(listed) - set(present)):
        yield f"missing: {shown(name)}: the manifest describes it"
    for name in sorted(set(present) - set(listed)):
        yield f"{name}: the manifest does not describe it"
    for name in sorted(set(present) & set(listed)):
        for key, value in present[name].items():
            older = _before_noise(bundle) and listed[name].get(key) in _EARLIER_RULES
            if listed[name].get(key) != value and not older:
                yield f"{name}, {key}: {_short(value)}, and the manifest has {_short(listed[name].get(key))}"


def _stamps(bundle: Bundle, _published: Results) -> Iterator[str]:
    """Compare the stamps of the additive tables with the study file; tables of earlier versions have none."""
    if not _this_program(bundle):
        return
    expected = stamp_of(bundle.study_file)
    for name, table in bundle.tables().items():
        stated = {fact for fact in table.stamp if fact in FACTS or fact.startswith("[")}
        for fact in sorted({*stated, *expected}) if stated else []:
            here, there = table.stamp.get(fact), expected.get(fact)
            if here != there:
                yield f"{name}, {shown(fact)} in its stamp: {_short(here)}, and study.toml has {_short(there)}"


def _dictionary(bundle: Bundle, published: Results) -> Iterator[str]:
    """Compare the dictionary with the shared record types, apart from the study's own."""
    frame = published.tables.get("dictionary")
    if frame is None or not _this_program(bundle) or _older_without(bundle, "own_schemas"):
        return
    own, shared = set(bundle.manifest.get("own_schemas", [])), _shared()
    for name, rows in frame.groupby("resource", sort=False):
        if name not in own:
            yield from _differences(str(name), rows, shared)
    for name in sorted(set(bundle.study_file.records) - set(frame["resource"])):
        yield f"dictionary: no columns of {shown(name)}, which study.toml names in [records]"


def _differences(name: str, rows: pd.DataFrame, shared: pd.DataFrame) -> Iterator[str]:
    """Yield where the dictionary of a record type differs from that of the shared one."""
    expected = shared[shared["resource"] == name]
    if len(expected) != len(rows):
        yield f"dictionary, {shown(name)}: {len(rows)} columns, and the shared record type has {len(expected)}"
        return
    for column in _TEXT:
        different = _texts(rows, column) != _texts(expected, column)
        if different.any():
            row = rows.iloc[int(different.argmax())]
            yield (
                f"dictionary, {shown(name)} {shown(row['column'])}, {column}: {_short(row[column])} is not that of "
                "the shared record type"
            )


def _required(bundle: Bundle, published: Results) -> Iterator[str]:
    """List missing results that the study file or a registered plan requires."""
    wanted = dict.fromkeys(bundle.study_file.plan.required)
    for registration in bundle.plan[-1:]:
        wanted |= dict.fromkeys(registration.plan.plan.required)
    for line in published.lacking(wanted):
        yield f"the plan requires it: {line}"


def _plan(bundle: Bundle, _published: Results) -> Iterator[str]:
    """Compare the registrations listed in the manifest with those in the plan."""
    present = [one.sha256 for one in bundle.plan]
    listed = [str(one.get("sha256")) for one in bundle.manifest.get("plan", [])]
    if listed != present and ("plan" in bundle.manifest or bundle.manifest["bundle_version"] > 1):
        yield f"{PLAN} has {len(present)} registration(s), and the manifest lists {len(listed)}, or different ones"


def unchecked(bundle: Bundle) -> list[str]:
    """Return what was not checked, with the reason.

    An attacker who recomputes the seal can turn these checks off, so the output reports that they are off.
    """
    manifest, lines = bundle.manifest, list[str]()
    lines += [
        f"{what}: an edition of bundle version 1 does not record it"
        for key, what in _NEW_IN_2.items()
        if _older_without(bundle, key)
    ]
    if _before_noise(bundle):
        lines.append("the rules of its profile: it was made before noise was attached to people, under other profiles")
    own = [shown(name) for name in manifest.get("own_schemas", [])]
    if not _this_program(bundle):
        version = manifest.get("packages", {}).get("retrain-eval")
        lines.append(
            "the meaning of study.toml (study_sha256) and the texts of the dictionary: according to the manifest, "
            f"{'version ' + shown(version) if version else 'an unnamed version'} of retrain-eval wrote them"
            + ("" if _before_noise(bundle) else f", and this is {metadata.version('retrain-eval')}")
        )
    elif own:
        lines.append(
            f"the dictionary of {', '.join(own)}: according to the manifest, these record types are the study's own"
        )
    for one in bundle.plan:
        if one.withheld_sha256:
            lines.append(
                f"the plan registered on {shown(one.time)}: its hash covers SHA-256 of record files, which an edition "
                "does not contain"
            )
    return lines


def own_schemas(frame: pd.DataFrame | None) -> list[str]:
    """Return the record types of a dictionary whose columns are not those that this package ships."""
    if frame is None:
        return []
    shared = _shared()
    types = frame.groupby("resource", sort=False)
    return [str(name) for name, rows in types if any(_differences(str(name), rows, shared))]


def _texts(rows: pd.DataFrame, column: str) -> Objects:
    return rows[column].fillna("").astype(str).to_numpy(dtype=object)


def _shared() -> pd.DataFrame:
    return dictionary(load_package(resource("data_schemas")))


def _before_noise(bundle: Bundle) -> bool:
    """Whether the edition was made before noise was attached to people, under profiles that are no longer shipped."""
    return "count_variance" not in (bundle.manifest.get("rules") or {})


def _this_program(bundle: Bundle) -> bool:
    """Whether the edition was written by this version: texts and defaults of another may differ."""
    if _before_noise(bundle):
        return False
    return bool(bundle.manifest.get("packages", {}).get("retrain-eval") == metadata.version("retrain-eval"))


def _older_without(bundle: Bundle, key: str) -> bool:
    return bool(bundle.manifest["bundle_version"] < 2 and key not in bundle.manifest)


def _short(value: object) -> str:
    return shown(repr(value) if not isinstance(value, str) else f"“{value}”")
