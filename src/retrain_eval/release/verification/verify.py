"""Check that a release bundle is unaltered and that its numbers follow from its tables."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from retrain_eval.common.errors import RetrainEvalError
from retrain_eval.common.untrusted import in_a_line
from retrain_eval.estimators.effects.estimates import COUNTS, KEYS
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.layout import OPTIONS
from retrain_eval.release.manifest import read_manifest
from retrain_eval.release.opening import MANIFEST
from retrain_eval.release.protection.agreement import contradictions
from retrain_eval.release.protection.completing import FOLLOWING
from retrain_eval.release.protection.publishing import publish
from retrain_eval.release.results import Part, Results
from retrain_eval.release.signing import UNPROVED, check_origin
from retrain_eval.release.verification.answering import answers_differ
from retrain_eval.release.verification.comparison import compare
from retrain_eval.release.verification.consistency import disagreements, unchecked
from retrain_eval.release.verification.labels import label_problems, untied

STATED = (
    "who approved it, what it corrects, its record files and their numbers of rows, whether a plan was registered "
    "before they were read, run.py, the packages, notes on protection; in recipes.json, the options with which a "
    "result was made, its table where its name does not say so, and the texts of the sample flow"
)
_SHOWN = 20  # numbers that differ, named one by one


@dataclass(frozen=True)
class Verification:
    """The outcome of `verify`.

    Attributes
    ----------
    path : Path
    n_files : int
        Files checked against the manifest.
    problems : tuple of str
        One line for each file and each number that is wrong.
    n_rederived : int
        Numbers re-derived from the additive tables of the bundle, or from other printed numbers.
    on_covariance : dict of str → int
        Errors, intervals and p-values re-derived from a covariance that is itself only stated, by result.
    stated : dict of str → int
        Numbers that follow from nothing in the bundle, by table or result.
    withheld : dict of str → str
        Results that the bundle lists as withheld, with their reasons.
    untied : dict of str → str
        Stated results that a recipe makes from a different table than their label names, with the reason.
    unchecked : tuple of str
        What was not checked, with the reason. Editions written by an earlier version contain less.
    origin : str
        Who signed the edition, or a statement that its origin is not proved.
    """

    path: Path
    n_files: int
    problems: tuple[str, ...]
    n_rederived: int = 0
    on_covariance: dict[str, int] = field(default_factory=dict)
    stated: dict[str, int] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)
    untied: dict[str, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()
    origin: str = ""

    @property
    def ok(self) -> bool:
        """Whether every file is unaltered and every number follows."""
        return not self.problems

    def __str__(self) -> str:
        """Return the report that the command line prints."""
        if self.problems:
            listed = [*self.problems[:_SHOWN]]
            if (more := len(self.problems) - _SHOWN) > 0:
                listed.append(f"and {more} more")
            return f"{self.path} is not as it was released:\n" + "\n".join(f"  {line}" for line in listed)
        lines = [f"all {self.n_files} files of {self.path} are as the manifest lists them"]
        lines.append(f"re-derived: {self.n_rederived:,} numbers, computed again from the tables in the bundle")
        for found, what in (
            (self.on_covariance, "re-derived on a released covariance: {n:,} errors, intervals and p-values"),
            (self.stated, "stated: {n:,} numbers that nothing else in the bundle proves"),
        ):
            names = ", ".join(f"{name} {count:,}" for name, count in found.items())
            lines.append(
                f"{what.format(n=sum(found.values()))}: {names}" if found else f"{what.partition(':')[0]}: none"
            )
        lines += [f"  stated, though it has a recipe: {name}: {reason}" for name, reason in self.untied.items()]
        lines.append(f"stated in the manifest, and not proved by any number: {STATED}")
        lines += [f"not checked: {line}" for line in self.unchecked]
        if self.withheld:
            lines.append(f"{len(self.withheld)} results are withheld:")
            lines += [f"  {name}: {reason}" for name, reason in self.withheld.items()]
        if self.origin:
            lines.append(self.origin)
        return "\n".join(lines)


def verify(path: str | Path, *, signed_by: str | Path | None = None) -> Verification:
    """Re-derive every published number of a bundle, compare, and check who signed it.

    Parameters
    ----------
    path : str or Path
        Folder of an edition. Nothing else is read.
    signed_by : str or Path, optional
        File of the public key that the edition must be signed with. If omitted, only consistency is proved, not who
        released the edition.

    Returns
    -------
    Verification
        First, every file is compared with its SHA-256 in the manifest; missing, altered and extra files are named. If
        all files match, every row that follows from an additive table is re-derived, the disclosure rules and the
        rounding are applied again, and all differences are listed, as are contradictions between tables.

    Raises
    ------
    ReleaseError
        If there is no manifest, or it cannot be read.
    InputError
        If the public key cannot be read.

    Examples
    --------
    >>> verify("no/such/edition")
    Traceback (most recent call last):
    ...
    retrain_eval.common.errors.ReleaseError: no release bundle at no/such/edition: it has no manifest.json
    """
    verification, origin = _verify(Path(path)), check_origin(Path(path), signed_by)
    problems = (origin.text, *verification.problems) if origin.problem else verification.problems
    text = origin.text if problems else origin.text.replace(UNPROVED, "consistency is proved, origin is not")
    return replace(verification, problems=problems, origin=text)


def _verify(path: Path) -> Verification:
    bundle = Bundle(path, read_manifest(path))
    n_files, problems = len(bundle.manifest["files"]), bundle.problems()
    if any(not line.startswith(f"altered: {MANIFEST}") for line in problems):
        return Verification(bundle.path, n_files, tuple(problems))
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            verification = _verified(bundle, n_files)
    except Exception as error:  # a file with the right hash may still hold anything
        verification = Verification(bundle.path, n_files, (_not_rederived(error),))
    return replace(verification, problems=(*problems, *verification.problems))


def _not_rederived(error: Exception) -> str:
    """Return why a bundle cannot be re-derived; an error of another kind may be a bug in the program."""
    if isinstance(error, MemoryError):
        return "cannot be re-derived: it needs more memory than is available"
    report = "" if isinstance(error, RetrainEvalError) else "; if the bundle is sound, please report this error"
    return f"cannot be re-derived: {in_a_line(error)}{report}"


def _verified(bundle: Bundle, n_files: int) -> Verification:
    """Compare the contents of a bundle whose files match the manifest with what follows from its tables."""
    published = Results.read(bundle.path)
    differences = [
        *_not_accounted_for(published),
        *label_problems(published.parts, bundle.manifest),
        *disagreements(bundle, published),
    ]
    try:
        derived = rederive(bundle, published)
    except (RetrainEvalError, KeyError, TypeError, ValueError) as error:
        return Verification(bundle.path, n_files, (*differences, _not_rederived(error)))
    differences += contradictions(published, bundle.rules)
    other_answers, not_answered = answers_differ(bundle, published)
    differences += other_answers
    digits = bundle.rules.significant_figures
    tally = {kind: Counter[str]() for kind in ("rederived", "on_covariance", "stated")}
    tables, strata, loose = list(published.kept()), list(bundle.study_file.strata), dict[str, str]()
    why_not = derived.withheld()
    rederived = _by_label(derived)
    for label, (part, rows) in _by_label(published).items():
        name = part.table if part.result is None else f"{part.table} {part.result}"
        if label not in rederived:
            differences.append(f"{name}: published but not re-derived")
            continue
        again, expected = rederived[label]
        if len(rows) != len(expected):
            differences.append(f"{name}: {len(rows)} row(s) published, {len(expected)} re-derived")
            continue
        if part.derivation is not None and again.derivation is None:
            key = str(part.result or part.table)
            reason = why_not.get(key if part.table == "effects" else f"{key}: {part.table}", "")
            differences.append(f"{name}: its recipe does not reproduce it: {reason or 'the rules withhold it'}")
            continue
        differences += [
            f"{name}, {difference}" for difference in compare(rows, expected, digits, by_row=part.table == "balance")
        ]
        if part.table == "effects" and rows["estimate"].notna().any() and not (again.derivation or part.covariance):
            differences.append(f"{name}: recipes.json says neither what it follows from nor its covariance")
        if part.estimates is not None and again.estimates is None:
            differences.append(f"{name}: its table does not give its estimates, as recipes.json says")
        kinds = _kinds(again, rows)
        if reason := untied(part, rows, published.parts, tables, strata):
            loose[name], kinds = reason, Counter({"stated": kinds.total()})
        for kind, count in kinds.items():
            if count:
                tally[kind][str(part.result) if part.covariance is not None else part.table] += count
    return Verification(
        bundle.path,
        n_files,
        tuple(differences),
        tally["rederived"].total(),
        dict(tally["on_covariance"]),
        dict(tally["stated"]),
        published.withheld(),
        loose,
        (*unchecked(bundle), *not_answered),
    )


def _by_label(results: Results) -> dict[tuple[str, str | None, int], tuple[Part, pd.DataFrame]]:
    """Return each part with its rows, by table, result and number of earlier parts with the same label."""
    seen: Counter[tuple[str, str | None]] = Counter()
    labelled = {}
    for part, rows in results.blocks():
        label = (part.table, part.result)
        labelled[(*label, seen[label])] = (part, rows)
        seen[label] += 1
    return labelled


def _kinds(part: Part, rows: pd.DataFrame) -> Counter[str]:
    """Count the numbers of a part by what they rest on."""
    columns = rows.drop(columns=[name for name in (*KEYS, *OPTIONS) if name in rows]).select_dtypes("number")
    counts = columns.notna().sum()
    found: Counter[str] = Counter()
    for name, count in counts.items():
        kind = "stated"
        if part.derivation is not None or name in FOLLOWING.get(part.table, ()):
            kind = "rederived"
        elif part.covariance is not None:
            own = name in ("estimate", *COUNTS)
            kind = "on_covariance" if not own else "rederived" if part.estimates is not None else "stated"
        found[kind] += int(count)
    return found


def _not_accounted_for(published: Results) -> list[str]:
    """Return the tables whose number of rows differs from that in the recipes."""
    told = Counter({name: 0 for name in published.tables})
    for part in published.parts:
        told[part.table] += part.rows
    return [
        f"{name}: recipes.json speaks of {rows} row(s), and there are {len(published.tables.get(name, ()))}"
        for name, rows in told.items()
        if rows != len(published.tables.get(name, ()))
    ]


def rederive(bundle: Bundle | str | Path, published: Results | None = None) -> Results:
    """Return the results of a bundle, re-derived from its tables and not rounded.

    Parameters
    ----------
    bundle : Bundle or path
    published : Results, optional
        The contents of the bundle, if they have been read already.

    Returns
    -------
    Results
        Tables and parts; rows that follow from no table are those that were published.

    Raises
    ------
    ReleaseError
        If the folder is not a bundle, or was altered.
    """
    if not isinstance(bundle, Bundle):
        bundle = Bundle.open(bundle)
    published = Results.read(bundle.path) if published is None else published
    again, _ = publish(published, published.kept(), bundle.rules)
    return again
