"""The registered plan: ``study.toml`` frozen before outcomes are opened, and what departed from it since.

``plan.json`` in the study folder holds registrations in the order in which they were made. None is ever changed: an
amended plan is a new registration that names the one before by its hash, so a changed past is found. A
registration says which record files a run had read by then. It binds a release only if that release rests on records
that had not been read, because a plan made after the results are known registers nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from retrain_eval.errors import InputError, ReleaseError
from retrain_eval.files import write_text
from retrain_eval.study import StudyFile
from retrain_eval.untrusted import read_json

PLAN = "plan.json"
PLAN_VERSION = 1
SCRIPT_FIELD = "run.py"  # how a changed script stands among the deviations
_CHECKS = ("base_moved_back", "placebo_starts")  # their levels are periods, no groups of people
_SHOWN_ONLY = ("report.",)  # decides how results are shown, none of them


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """One registration of a plan.

    Attributes
    ----------
    time : str
        When it was made, UTC.
    version : str
        Version of this package.
    study_sha256, script_sha256 : str
        Canonical hash of the study file, and hash of ``run.py``.
    study : dict
        The study file, every default spelt out.
    opened : tuple of str
        SHA-256 of the record files that a run had read by then: their outcomes were known.
    amends : str
        Hash of the registration before; empty for the first.
    reason : str
        Why it was amended.
    """

    time: str
    version: str
    study_sha256: str
    script_sha256: str
    study: dict[str, Any]
    opened: tuple[str, ...] = ()
    amends: str = ""
    reason: str = ""

    @property
    def sha256(self) -> str:
        """The hash to quote: it covers everything above, and by ``amends`` all registrations before."""
        canonical = json.dumps(msgspec.to_builtins(self), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def plan(self) -> StudyFile:
        """The study file as registered; what this version of the package adds has its default."""
        try:
            return msgspec.convert(self.study, StudyFile, strict=True)
        except msgspec.ValidationError as error:
            raise ReleaseError(
                f"the plan registered with version {self.version} cannot be read by this one: {error}"
            ) from None

    def binds(self, records: Iterable[str]) -> bool:
        """Whether it was made before the outcomes in these record files, given by their SHA-256, were opened."""
        return not set(records) <= set(self.opened)


def register(
    folder: Path, study: StudyFile, script_sha256: str, *, opened: Collection[str] = (), reason: str = ""
) -> tuple[Registration, bool]:
    """Freeze the study file as it stands; do nothing where it is registered already.

    Parameters
    ----------
    folder : Path
        The study folder, which holds ``plan.json``.
    study : StudyFile
        The plan.
    script_sha256 : str
        Hash of the script that carries it out.
    opened : collection of str
        SHA-256 of the record files that a run has read.
    reason : str
        Why the plan is amended. Asked for where there is a plan that differs.

    Returns
    -------
    registration : Registration
        The latest one.
    new : bool
        Whether it was made now.

    Raises
    ------
    InputError
        If the plan differs from the one registered and no reason is given.
    ReleaseError
        If ``plan.json`` was changed by another hand.

    Examples
    --------
    >>> import tempfile
    >>> from retrain_eval.study import About
    >>> folder = Path(tempfile.mkdtemp())
    >>> about = About(name="x", title="T", question="Q", data="D")
    >>> first, new = register(folder, StudyFile(study=about, records={"person": "p.csv"}), "0" * 64)
    >>> new, register(folder, first.plan, "0" * 64)[1], len(read_plan(folder))
    (True, False, 1)
    """
    made = read_plan(folder)
    last = made[-1] if made else None
    if last is not None:
        if (last.study_sha256, last.script_sha256) == (study.sha256(), script_sha256):
            return last, False
        if not reason.strip():
            changed = ", ".join(deviations(last, study, script_sha256)["field"]) or "the words of the study file"
            raise InputError(
                f"the plan registered on {last.time} differs from the study: {changed}",
                file=folder / PLAN,
                fix='a registered plan stays; amend it with: --reason "what changed, and why"',
            )
    registration = Registration(
        time=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        version=metadata.version("retrain-eval"),
        study_sha256=study.sha256(),
        script_sha256=script_sha256,
        study=json.loads(msgspec.json.encode(study)),
        opened=tuple(sorted(set(opened))),
        amends=last.sha256 if last else "",
        reason=reason.strip(),
    )
    entries = [{**msgspec.to_builtins(one), "sha256": one.sha256} for one in (*made, registration)]
    text = json.dumps({"plan_version": PLAN_VERSION, "registrations": entries}, indent=1, ensure_ascii=False)
    write_text(folder / PLAN, text + "\n")
    return registration, True


def read_plan(folder: Path) -> tuple[Registration, ...]:
    """Return the registrations in a folder, oldest first; none where there is no ``plan.json``.

    Raises
    ------
    ReleaseError
        If the file cannot be read, or a registration is not as it was made.
    """
    path = folder / PLAN
    if not path.exists():
        return ()
    try:
        raw: Mapping[str, Any] = read_json(folder, PLAN)
        if raw["plan_version"] != PLAN_VERSION:
            raise ReleaseError(f"{path} is of version {raw['plan_version']}, this program reads {PLAN_VERSION}")
        hashes = [str(entry["sha256"]) for entry in raw["registrations"]]
        made = msgspec.convert(raw["registrations"], tuple[Registration, ...])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, msgspec.ValidationError) as error:
        raise ReleaseError(f"{path} cannot be read: {error}") from None
    before = ""
    for registration, digest in zip(made, hashes, strict=True):
        if registration.sha256 != digest or registration.amends != before:
            raise ReleaseError(f"the plan registered on {registration.time} in {path} is not as it was registered")
        before = digest
    return made


def in_force(made: Sequence[Registration], records: Collection[str]) -> Registration | None:
    """Return the latest registration made before the outcomes in these record files were opened, if there is one."""
    binding = [registration for registration in made if registration.binds(records)]
    return binding[-1] if binding else None


def deviations(registration: Registration, used: StudyFile, script_sha256: str = "") -> pd.DataFrame:
    """Return what differs between a plan and what was done, field by field.

    Parameters
    ----------
    registration : Registration
        The plan.
    used : StudyFile
        The study file as run.
    script_sha256 : str
        Hash of the script as run; empty where it is not known.

    Returns
    -------
    DataFrame
        ``field, planned, used``; what only decides how a report looks is not among them.

    Examples
    --------
    >>> from retrain_eval.study import About, Release
    >>> plan = StudyFile(study=About(name="x", title="T", question="Q", data="D"), records={"person": "p.csv"})
    >>> made = Registration(time="", version="", study_sha256="", script_sha256="", study=msgspec.to_builtins(plan))
    >>> deviations(made, msgspec.structs.replace(plan, release=Release(min_cell=20))).to_dict("records")
    [{'field': 'release.min_cell', 'planned': '10', 'used': '20'}]
    """
    found = differences(registration.plan, used)
    if script_sha256 and script_sha256 != registration.script_sha256:
        found.loc[len(found)] = [SCRIPT_FIELD, registration.script_sha256[:16], script_sha256[:16]]
    return found


def differences(planned: StudyFile, used: StudyFile) -> pd.DataFrame:
    """Return the fields in which two study files differ, ``field, planned, used``, but for what decides only looks."""
    one, other = _flat(msgspec.to_builtins(planned)), _flat(msgspec.to_builtins(used))
    rows = [
        (field, one.get(field, ""), other.get(field, ""))
        for field in {**one, **other}
        if one.get(field) != other.get(field) and not field.startswith(_SHOWN_ONLY)
    ]
    return pd.DataFrame(rows, columns=["field", "planned", "used"])


def exploratory(effects: pd.DataFrame, plan: StudyFile) -> set[str]:
    """Return the results whose outcome or subgroup the plan does not name.

    Parameters
    ----------
    effects : DataFrame
        Columns ``result, outcome, subgroup``.
    plan : StudyFile
        The plan in force.
    """
    outcomes = {"", *plan.plan.outcomes} | ({plan.did.outcome} if plan.did else set())
    outcomes |= {plan.survival.duration} if plan.survival else set()
    # arms are what is compared, no groups looked at beside
    groups = {"", "arm", *plan.strata, *plan.plan.subgroups}
    found = set()
    for result, outcome, group in effects[["result", "outcome", "subgroup"]].fillna("").itertuples(index=False):
        if str(outcome) not in outcomes or (str(result) not in _CHECKS and str(group) not in groups):
            found.add(str(result))
    return found


def _flat(value: Any, place: str = "") -> dict[str, str]:
    """Return every leaf with its dotted place, as text; what is not there has no place."""
    if isinstance(value, Mapping) and (value or not place):
        leaves: dict[str, str] = {}
        for key, item in value.items():
            leaves |= _flat(item, f"{place}.{key}" if place else str(key))
        return leaves
    if value is None or value in ({}, ""):
        return {}
    return {place: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
