"""Write a release bundle: protect the results, check them, and put the complete folder in place, or nothing."""

from __future__ import annotations

import dataclasses
import platform
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from retrain_eval.common.errors import ReleaseError
from retrain_eval.common.files import new_folder, sha256, write_text
from retrain_eval.estimators.effects.same_estimates import check_same_estimates
from retrain_eval.plan.registered import PLAN, plan_standing, public_plan, read_plan
from retrain_eval.plan.study_file import FILE, StudyFile
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.derive import Deriver
from retrain_eval.release.manifest import BUNDLE_VERSION, SEAL, read_manifest, sealed, spelt
from retrain_eval.release.opening import MANIFEST
from retrain_eval.release.protection.agreement import contradictions
from retrain_eval.release.protection.completing import FOLLOWING
from retrain_eval.release.protection.protect import artefacts, protect
from retrain_eval.release.results import Results, standing_effects
from retrain_eval.release.verification.comparison import compare
from retrain_eval.release.verification.consistency import own_schemas
from retrain_eval.release.verification.labels import made_of
from retrain_eval.tables.noise.released_sets import ReleasedSet

_DIGITS_OF_RECIPES = 6
DRAFT: Mapping[str, object] = {"approved_by": "", "corrects": {}}  # approval fields of an edition not yet approved


# the packages whose version can change a number or a page
_PACKAGES = (
    "retrain-eval",
    "duckdb",
    "numpy",
    "pandas",
    "scipy",
    "pyarrow",
    "pyfixest",
    "linearmodels",
    "plotnine",
    "jupyter-book",
)


def write(
    results: Results,
    study_folder: Path,
    study: StudyFile,
    target: Path,
    *,
    inputs: Sequence[Mapping[str, object]],
    standing: Mapping[str, object] | None = None,
    opened: Mapping[str, Collection[str]] = {},
    replace: bool = False,
    earlier: Sequence[ReleasedSet] = (),
    published: Mapping[int, int] = {},
    keep: Callable[[Results], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Protect the results and write them as an edition, completely or not at all.

    Parameters
    ----------
    results : Results
        The results of the run.
    study_folder : Path
        Folder of the study; its ``study.toml``, and ``plan.json`` if there is one, are copied unchanged.
    study : StudyFile
        The study as run.
    target : Path
        Folder of the new edition.
    inputs : sequence of mapping
        Name, file, SHA-256 and row counts of every file that was loaded. No SHA-256 goes into the edition, and rows in
        tens unless the rules are exact.
    standing : mapping, optional
        Further fields of the manifest: ``approved_by``, ``corrects``, ``script_sha256``. A draft by default.
    opened : mapping
        Hash of a registered plan → the SHA-256 of the record files that had been read by then.
    replace : bool
        Overwrite a draft that differs. A draft that differs only in its approval is always overwritten, and an
        approved edition never is.
    earlier : sequence of ReleasedSet
        Sets of people behind earlier editions (`retrain_eval.release.editions.kept_sets.earlier_sets`).
    published : mapping of int → int
        Cell key → count, as earlier editions published them (`retrain_eval.release.editions.kept_sets.earlier_counts`).
    keep : callable
        Called with the protected results of this edition, their sets and counts, before it becomes visible.
    say : callable
        Called with the reason why a table cannot be published. The text is for the agency only.

    Returns
    -------
    Bundle
        The opened edition; an edition that already holds the same bytes is left unchanged.

    Raises
    ------
    ReleaseError
        If the edition exists and differs, and is approved or ``replace`` is not set; if tables contradict each other;
        or if a result that ``[plan] required`` names is withheld.
    DisclosureError
        If nothing is left to publish.
    """
    _check_recipes(results)
    order = {name: stratum.levels() for name, stratum in study.all_strata.items()}
    safe, record = protect(results, study.release, order, say, earlier, published)
    if lines := safe.lacking(study.plan.required):
        raise ReleaseError("a result that [plan] requires cannot be published:\n  " + "\n  ".join(lines))
    if found := contradictions(safe, study.release):
        raise ReleaseError("tables say different things of the same people:\n  " + "\n  ".join(found))
    made = read_plan(study_folder)
    digests = [str(item["sha256"]) for item in inputs if "sha256" in item]
    with suppress(_Unchanged), new_folder(target) as work:
        safe.write(work, study.release.significant_figures)
        shutil.copyfile(study_folder / FILE, work / FILE)
        if made:
            write_text(work / PLAN, public_plan(made))
        manifest = _manifest(work, target.name, study, inputs, record, safe) | dict(standing or DRAFT)
        if made:
            binding = plan_standing(made, digests, opened)
            manifest["plan"] = [{"sha256": of, "binds": binds, "opened": n} for of, (binds, n) in binding.items()]
        write_text(work / MANIFEST, spelt(sealed(manifest)))
        if target.exists():
            if (target / MANIFEST).exists() and sha256(target / MANIFEST) == sha256(work / MANIFEST):
                raise _Unchanged
            _check_overwriting(target, read_manifest(work), replace=replace)
        keep(safe)
    return Bundle.open(target)


class _Unchanged(Exception):
    """Raised if an edition already holds the same bytes, so that it is left unchanged."""


def _check_recipes(results: Results) -> None:
    """Refuse a result that its recipe does not reproduce, because it was changed after it was computed."""
    deriver = Deriver(results.kept())
    for part, rows in results.blocks():
        if part.covariance is not None:
            if part.estimates is not None:
                again = deriver.rows(dataclasses.replace(part, derivation=part.estimates))
                check_same_estimates(str(part.result), rows, again)
            deriver.tables.setdefault(f"effects/{part.result}", standing_effects(part, rows))
        elif part.derivation is not None:
            # results are kept to ten digits, and numbers computed from them can lose a few of these
            own = rows.drop(columns=list(FOLLOWING.get(part.table, ())))
            found = compare(own, deriver.rows(part), _DIGITS_OF_RECIPES)
            if found:
                raise ReleaseError(f"{part.table} {part.result or ''} is not what its recipe makes: {found[0]}")


def _check_overwriting(target: Path, new: Mapping[str, Any], *, replace: bool) -> None:
    """Refuse to write over an edition that is approved, or over a draft that differs in more than its approval."""
    old = read_manifest(target) if (target / MANIFEST).exists() else {}
    differs = f"the edition {target} exists and differs from what would be written"
    if old.get("approved_by"):
        raise ReleaseError(
            f"{differs}; it was approved by {old['approved_by']} and stays as it is. "
            f"Correct it in a new edition: --edition {target.name}-1 --corrects {target.name}"
        )
    if not replace and _without_standing(old) != _without_standing(new):
        raise ReleaseError(f"{differs}; release under a new name, or replace a draft with --replace")


def _without_standing(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest without what an approval changes."""
    return {key: value for key, value in manifest.items() if key not in (*DRAFT, SEAL)}


def _public(item: Mapping[str, object], *, rounded: bool) -> dict[str, object]:
    """Return what an edition says of a record file: no hash and, where people are protected, rows in tens."""
    return {
        key: round(value, -1) if rounded and key.startswith("rows") and isinstance(value, int) else value
        for key, value in item.items()
        if key != "sha256"
    }


def _manifest(
    folder: Path,
    edition: str,
    study: StudyFile,
    inputs: Sequence[Mapping[str, object]],
    record: list[str],
    safe: Results,
) -> dict[str, Any]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        "bundle_version": BUNDLE_VERSION,
        "edition": edition,
        "study": msgspec.to_builtins(study.study),
        "study_sha256": study.sha256(),
        "files": {file.relative_to(folder).as_posix(): sha256(file) for file in files},
        "inputs": [_public(item, rounded=study.release.noisy) for item in inputs],
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "seed": study.study.seed,
        "rules": msgspec.to_builtins(study.release),
        "artefacts": artefacts(safe, study.release),
        "protection": record,
        "made_of": made_of(safe.parts),
        "own_schemas": own_schemas(safe.tables.get("dictionary")),
    }
