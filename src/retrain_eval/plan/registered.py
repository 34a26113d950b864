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

from retrain_eval.common.errors import InputError, ReleaseError
from retrain_eval.common.files import write_text
from retrain_eval.common.untrusted import read_json
from retrain_eval.plan.questions import PLANNED
from retrain_eval.plan.rules import rename_rules
from retrain_eval.plan.study_file import StudyFile

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
        In a plan of an earlier version: SHA-256 of the record files that a run had read by then. Now the store keeps
        them (`retrain_eval.release.provenance`), because a plan may be published.
    opened_files : int
        How many record files a run had read by then: their outcomes were known.
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
    opened_files: int = 0
    amends: str = ""
    reason: str = ""
    withheld_sha256: str = ""  # in an edition: the hash of a registration whose `opened` is not released

    @property
    def sha256(self) -> str:
        """The hash to quote: it covers everything above, and by ``amends`` all registrations before."""
        if self.withheld_sha256:
            return self.withheld_sha256
        facts = msgspec.to_builtins(self)
        del facts["withheld_sha256"]
        if not self.opened_files:  # earlier versions do not have it
            del facts["opened_files"]
        canonical = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def n_opened(self) -> int:
        """How many record files a run had read by then."""
        return self.opened_files or len(self.opened)

    @property
    def plan(self) -> StudyFile:
        """The study file as registered; what this version of the package adds has its default."""
        try:
            study = dict(self.study)
            rename_rules(study)
            return msgspec.convert(study, StudyFile, strict=True)
        except msgspec.ValidationError as error:
            raise ReleaseError(
                f"the plan registered with version {self.version} cannot be read by this one: {error}"
            ) from None


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
        SHA-256 of the record files that a run has read; their number is kept.
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
    >>> from retrain_eval.plan.study_file import About
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
        opened_files=len(set(opened)),
        amends=last.sha256 if last else "",
        reason=reason.strip(),
    )
    write_text(folder / PLAN, _text((*made, registration)))
    return registration, True


def _text(made: Iterable[Registration]) -> str:
    entries = [{**msgspec.to_builtins(one), "sha256": one.sha256} for one in made]
    unset = {"opened_files": 0, "withheld_sha256": ""}
    entries = [{key: value for key, value in one.items() if unset.get(key) != value} for one in entries]
    return json.dumps({"plan_version": PLAN_VERSION, "registrations": entries}, indent=1, ensure_ascii=False) + "\n"


def public_plan(made: Sequence[Registration]) -> str:
    """Return ``plan.json`` as released in an edition: without the SHA-256 of any record file."""
    return _text(
        msgspec.structs.replace(one, opened=(), opened_files=len(one.opened), withheld_sha256=one.sha256)
        if one.opened
        else one
        for one in made
    )


def read_plan(folder: Path, *, released: bool = False) -> tuple[Registration, ...]:
    """Return the registrations in a folder, oldest first; none where there is no ``plan.json``.

    Parameters
    ----------
    folder : Path
        A study folder, or an edition.
    released : bool
        Whether it is an edition: only there may a registration of an earlier version lack fields that its hash covers
        (`public_plan`). In a study folder every hash is recomputed.

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
        hidden = bool(registration.withheld_sha256)
        if hidden and not (released and registration.opened_files and not registration.opened):
            raise ReleaseError(
                f"the plan registered on {registration.time} in {path} lacks fields that its hash covers; only an "
                "edition leaves them out"
            )
        if registration.sha256 != digest or registration.amends != before:
            raise ReleaseError(f"the plan registered on {registration.time} in {path} is not as it was registered")
        before = digest
    return made


Standing = dict[str, tuple[bool, int]]


def plan_standing(
    made: Sequence[Registration], records: Collection[str], opened: Mapping[str, Collection[str]] = {}
) -> Standing:
    """Return, by hash of a registration, whether it binds and how many of the record files a run had read by then.

    A registration binds if it was made before the outcomes in some of these files were opened.

    Parameters
    ----------
    made : sequence of Registration
    records : collection of str
        SHA-256 of the record files behind the results.
    opened : mapping
        By hash of a registration: SHA-256 of the files that had been read, which the store keeps. If a registration
        counts such files and their list is missing, it does not bind: all could have been read.

    Examples
    --------
    >>> facts = {"time": "", "version": "", "study_sha256": "", "script_sha256": "", "study": {}}
    >>> made = [Registration(**facts, opened_files=number) for number in (0, 1)]
    >>> standing = plan_standing(made, ["a", "b"], {made[1].sha256: ["a"]})
    >>> standing[made[0].sha256], standing[made[1].sha256], plan_standing(made, ["a", "b"])[made[1].sha256]
    ((True, 0), (True, 1), (False, 2))
    """
    wanted = set(records)
    standing: Standing = {}
    for one in made:
        known = set(opened.get(one.sha256, one.opened))
        lost = len(known) < one.n_opened
        standing[one.sha256] = (not lost and not wanted <= known, len(wanted if lost else wanted & known))
    return standing


def stated_standing(made: Sequence[Registration], manifest: Mapping[str, Any]) -> Standing:
    """Return what an edition's manifest states about its registrations; see `plan_standing`."""
    if "plan" not in manifest:  # an edition of an earlier version, whose manifest has the hashes
        return plan_standing(made, [str(item["sha256"]) for item in manifest["inputs"] if "sha256" in item])
    none: Standing = {one.sha256: (False, 0) for one in made}
    try:
        return none | {str(one["sha256"]): (bool(one["binds"]), int(one["opened"])) for one in manifest["plan"]}
    except (KeyError, TypeError, ValueError):
        raise ReleaseError(
            "the manifest does not state which registered plan binds: each item of plan needs sha256, binds and opened"
        ) from None


def in_force(made: Sequence[Registration], standing: Standing) -> Registration | None:
    """Return the latest registration made before the outcomes were opened, if there is one."""
    binding = [registration for registration in made if standing.get(registration.sha256, (False, 0))[0]]
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
    >>> from retrain_eval.plan.study_file import About, Release
    >>> plan = StudyFile(study=About(name="x", title="T", question="Q", data="D"), records={"person": "p.csv"})
    >>> made = Registration(time="", version="", study_sha256="", script_sha256="", study=msgspec.to_builtins(plan))
    >>> deviations(made, msgspec.structs.replace(plan, release=Release(min_contributors=20))).to_dict("records")
    [{'field': 'release.min_contributors', 'planned': '10', 'used': '20'}]
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
    groups |= {" × ".join(names) for names in (plan.questions.for_whom.together if plan.questions.for_whom else ())}
    if plan.questions.not_retrainable is not None:
        groups |= {f"{name} × programme_kind" for name in plan.questions.not_retrainable.groups} | {"allocation"}
    found = set()
    asked = tuple(start for name, _ in plan.questions.asked() for start in PLANNED.get(name, ()))
    for result, outcome, group in effects[["result", "outcome", "subgroup"]].fillna("").itertuples(index=False):
        if asked and str(result).startswith(asked):
            continue
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
