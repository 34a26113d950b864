"""The release bundle: one folder from which every published number follows, and nothing else is needed.

A bundle is written once, whole, by `write` and only ever read afterwards. The book, `verify` and any
outside reader go through `Bundle`, which refuses a folder whose files do not match its manifest.
"""

from __future__ import annotations

import json
import platform
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from retrain_eval.errors import DisclosureError, ReleaseError
from retrain_eval.files import new_folder, sha256, write_text
from retrain_eval.lifetable import LifeTable
from retrain_eval.moments import OutcomeMoments
from retrain_eval.plan import PLAN, Registration, read_plan
from retrain_eval.release.agreement import contradictions
from retrain_eval.release.attack import differences
from retrain_eval.release.comparison import compare
from retrain_eval.release.derive import Deriver
from retrain_eval.release.protect import artefacts, protect
from retrain_eval.results import ADDITIVE, Additive, Results, read_table, standing_effects
from retrain_eval.sample.covariates import CovariateMoments
from retrain_eval.study import FILE, Release, StudyFile

BUNDLE_VERSION = 1
MANIFEST = "manifest.json"
_DIGITS_OF_RECIPES = 6
DRAFT: Mapping[str, object] = {"approved_by": "", "corrects": {}}  # the standing of an edition nobody approved


# the packages whose version decides a number or a page
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
    "great-tables",
    "jupyter-book",
)


@dataclass(frozen=True)
class Bundle:
    """A release bundle opened for reading.

    Attributes
    ----------
    path : Path
        Folder of the edition.
    manifest : dict
        The parsed manifest: edition, study, file hashes, inputs, package versions, rules.

    Examples
    --------
    >>> Bundle.open("no/such/edition")
    Traceback (most recent call last):
    ...
    retrain_eval.errors.ReleaseError: no release bundle at no/such/edition: it has no manifest.json
    """

    path: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Open a bundle and check every file against the manifest.

        Raises
        ------
        ReleaseError
            If the folder is not a bundle, is of a later version, or any file is missing, altered or extra.
        """
        path = Path(path)
        bundle = cls(path, read_manifest(path))
        problems = bundle.problems()
        if problems:
            raise ReleaseError(f"the bundle {path} is not as it was released:\n  " + "\n  ".join(problems))
        return bundle

    def problems(self) -> list[str]:
        """Return what differs between the folder and its manifest, one line per file; empty when sound."""
        listed: dict[str, str] = self.manifest["files"]
        present = {file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file()}
        found = [f"missing: {name}" for name in sorted(set(listed) - present)]
        found += [f"not in the manifest: {name}" for name in sorted(present - set(listed) - {MANIFEST})]
        found += [
            f"altered: {name}"
            for name, digest in sorted(listed.items())
            if name in present and sha256(self.path / name) != digest
        ]
        return found

    @property
    def name(self) -> str:
        """Short name of the study."""
        return str(self.manifest["study"]["name"])

    @property
    def edition(self) -> str:
        """Name of the edition, such as ``"2026"``."""
        return str(self.manifest["edition"])

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the manifest, which holds the SHA-256 of everything else: the identity of the edition."""
        return sha256(self.path / MANIFEST)

    @cached_property
    def study(self) -> dict[str, Any]:
        """The study file as run."""
        return tomllib.loads((self.path / "study.toml").read_text(encoding="utf-8"))

    @property
    def effects(self) -> pd.DataFrame | None:
        """Every published estimate: `result`, the columns of an EffectTable, and the note of a suppression."""
        return self._table("effects.csv")

    @property
    def balance(self) -> pd.DataFrame | None:
        """Covariate balance before and after matching."""
        return self._table("balance.csv")

    @cached_property
    def withheld_covariates(self) -> tuple[str, ...]:
        """Covariates that balance does not show, because a value of theirs is of too few people."""
        of = (table for table in self.tables().values() if isinstance(table, CovariateMoments))
        return tuple(name for moments in of for name in moments.withheld)

    @property
    def overlap(self) -> pd.DataFrame | None:
        """Counts by propensity score bin and group."""
        return self._table("overlap.csv")

    @property
    def matching(self) -> pd.DataFrame | None:
        """Who was matched, over all people and by stratum."""
        return self._table("matching.csv")

    @property
    def baseline_paths(self) -> pd.DataFrame | None:
        """Mean outcome before the programme by period and group."""
        return self._table("baseline_paths.csv")

    @property
    def linkage(self) -> pd.DataFrame | None:
        """Share of people found in the wage records, over all and by stratum."""
        return self._table("linkage.csv")

    @property
    def flow(self) -> pd.DataFrame | None:
        """Sample flow from submitted to analysed."""
        return self._table("flow.csv")

    @property
    def means(self) -> pd.DataFrame | None:
        """Mean outcome path by group."""
        return self._table("means.csv")

    @property
    def tests(self) -> pd.DataFrame | None:
        """Test statistics: log-rank, pre-trend."""
        return self._table("tests.csv")

    @property
    def verdicts(self) -> pd.DataFrame | None:
        """Adjusted p-values, equivalence and a verdict by level of each subgroup."""
        return self._table("verdicts.csv")

    @property
    def bounds(self) -> pd.DataFrame | None:
        """Bounds of the mean effect when trends are not parallel."""
        return self._table("bounds.csv")

    @property
    def pretest_power(self) -> pd.DataFrame | None:
        """Differences in trends that a look at the pre-trends would have found."""
        return self._table("pretest_power.csv")

    @property
    def rosenbaum(self) -> pd.DataFrame | None:
        """Bounds of the p-value under hidden bias of each strength."""
        return self._table("rosenbaum.csv")

    @property
    def e_values(self) -> pd.DataFrame | None:
        """Strength of confounding that would explain an estimate away."""
        return self._table("e_values.csv")

    @property
    def oster(self) -> pd.DataFrame | None:
        """Selection on what is not seen, relative to what is, that would explain an estimate away."""
        return self._table("oster.csv")

    @property
    def dictionary(self) -> pd.DataFrame | None:
        """Data dictionary of the records the study was made from."""
        return self._table("dictionary.csv")

    @cached_property
    def plan(self) -> tuple[Registration, ...]:
        """The registrations of the study's plan, oldest first; none where no plan was registered."""
        return read_plan(self.path)

    @cached_property
    def rules(self) -> Release:
        """The disclosure rules it was released under."""
        return msgspec.convert(self.manifest["rules"], Release)

    @property
    def approved_by(self) -> str:
        """Who approved the edition; empty for a draft."""
        return str(self.manifest.get("approved_by", ""))

    @property
    def corrects(self) -> Mapping[str, str]:
        """The edition this one corrects: ``edition, sha256, reason``; empty where it corrects none."""
        corrects: Mapping[str, str] = self.manifest.get("corrects") or {}
        return corrects

    def tables(self) -> dict[str, Additive]:
        """Return all moments and life tables, by the names of their files without the suffix."""
        names = [name.removesuffix(".parquet") for name in self.manifest["files"] if name.endswith(".parquet")]
        return {name: ADDITIVE[name.split("/", 1)[0]].read_parquet(self._file(f"{name}.parquet")) for name in names}

    def moments(self, name: str) -> OutcomeMoments:
        """Return the outcome moments released under ``name``."""
        return OutcomeMoments.read_parquet(self._file(f"moments/{name}.parquet"))

    def life_table(self, name: str) -> LifeTable:
        """Return the life table released under ``name``."""
        return LifeTable.read_parquet(self._file(f"life_tables/{name}.parquet"))

    def covariate_moments(self, name: str) -> CovariateMoments:
        """Return the covariate moments released under ``name``."""
        return CovariateMoments.read_parquet(self._file(f"covariates/{name}.parquet"))

    def _file(self, name: str) -> Path:
        if name not in self.manifest["files"]:
            have = ", ".join(sorted(self.manifest["files"]))
            raise ReleaseError(f"the bundle {self.path} has no {name}; it has: {have}")
        return self.path / name

    def _table(self, name: str) -> pd.DataFrame | None:
        if name not in self.manifest["files"]:
            return None
        return read_table(self.path / name)


def write(
    results: Results,
    study_folder: Path,
    study: StudyFile,
    target: Path,
    *,
    inputs: Sequence[Mapping[str, object]],
    standing: Mapping[str, object] | None = None,
    replace: bool = False,
) -> Bundle:
    """Protect the results and write them as an edition, whole or not at all.

    Parameters
    ----------
    results : Results
        What the run found.
    study_folder : Path
        Folder of the study; its ``study.toml``, and ``plan.json`` if there is one, go into the bundle as they stand.
    study : StudyFile
        The study as run.
    target : Path
        Folder of the new edition.
    inputs : sequence of mapping
        Name, file, SHA-256 and row counts of every file that was loaded.
    standing : mapping, optional
        What the manifest is to say beside: ``approved_by``, ``corrects``, ``script_sha256``. A draft by default.
    replace : bool
        Overwrite a draft that differs. A draft that differs only in its approval needs no such leave, and an
        approved edition is never overwritten.

    Returns
    -------
    Bundle
        The edition, opened; an edition that already holds the same bytes is left as it is.

    Raises
    ------
    ReleaseError
        If the edition exists and differs, and is approved or ``replace`` is not set; or if tables contradict each
        other.
    DisclosureError
        If something cannot be protected.
    """
    _check_recipes(results)
    order = {
        name: tuple(stratum.labels.values() if isinstance(stratum.labels, dict) else stratum.labels)
        for name, stratum in study.strata.items()
    }
    safe, record = protect(results, study.release, order)
    if found := contradictions(safe, study.release):
        raise ReleaseError("tables say different things of the same people:\n  " + "\n  ".join(found))
    _check_earlier(safe, target, study.release)
    with new_folder(target.with_name(f".{target.name}.staged")) as work:
        safe.write(work, study.release.significant_figures)
        shutil.copyfile(study_folder / FILE, work / FILE)
        if (study_folder / PLAN).exists():
            shutil.copyfile(study_folder / PLAN, work / PLAN)
        manifest = _manifest(work, target.name, study, inputs, record, safe) | dict(standing or DRAFT)
        write_text(work / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    staged = target.with_name(f".{target.name}.staged")
    try:
        if target.exists():
            if (target / MANIFEST).exists() and sha256(target / MANIFEST) == sha256(staged / MANIFEST):
                return Bundle.open(target)
            _check_overwriting(target, read_manifest(staged), replace=replace)
        with new_folder(target) as work:
            shutil.copytree(staged, work, dirs_exist_ok=True)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return Bundle.open(target)


def _check_recipes(results: Results) -> None:
    """Refuse a result that is not what its recipe makes: something was changed on the way."""
    deriver = Deriver(results.kept())
    for part, rows in results.blocks():
        if part.covariance is not None:
            deriver.tables.setdefault(f"effects/{part.result}", standing_effects(part, rows))
        elif part.derivation is not None:
            # results are kept to ten digits, and what is made of them can lose a few
            found = compare(rows, deriver.rows(part, rows), _DIGITS_OF_RECIPES)
            if found:
                raise ReleaseError(f"{part.table} {part.result or ''} is not what its recipe makes: {found[0]}")


def _check_earlier(safe: Results, target: Path, rules: Release) -> None:
    """Refuse tables that differ from those of a published edition by few people."""
    for folder in sorted(target.parent.glob("[!.]*")):
        if folder == target or not (folder / MANIFEST).exists():
            continue
        earlier = Bundle.open(folder)
        if not earlier.approved_by:
            continue
        if found := differences(safe.kept(), earlier.tables(), rules.min_cell, rules.round_counts):
            raise DisclosureError(
                f"with the edition {folder.name}, this one would give away what is of few people:\n  "
                + "\n  ".join(found)
                + "\nround counts (round_counts in [release]), or run on the vintage of that edition: run --as-of"
            )


def _check_overwriting(target: Path, new: Mapping[str, Any], *, replace: bool) -> None:
    """Refuse to write over an edition that is approved, or over a draft that differs in more than its approval."""
    old = read_manifest(target) if (target / MANIFEST).exists() else {}
    differs = f"the edition {target} exists and differs from what would be written"
    if old.get("approved_by"):
        raise ReleaseError(
            f"{differs}; it was approved by {old['approved_by']} and stays as it is. "
            f"Correct it in a new edition: --edition {target.name}-1 --corrects {target.name}"
        )
    if not replace and {**old, **DRAFT} != {**new, **DRAFT}:
        raise ReleaseError(f"{differs}; release under a new name, or replace a draft with --replace")


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
        "inputs": [dict(item) for item in inputs],
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "seed": study.study.seed,
        "rules": msgspec.to_builtins(study.release),
        "artefacts": artefacts(safe),
        "protection": record,
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of an edition without checking the files it lists."""
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReleaseError(f"no release bundle at {path}: it has no {MANIFEST}") from None
    except ValueError as error:
        raise ReleaseError(f"the manifest of {path} cannot be read: {error}") from None
    for key in ("bundle_version", "edition", "study", "files"):
        if not isinstance(manifest, dict) or key not in manifest:
            raise ReleaseError(f"the manifest of {path} lacks {key!r}")
    if manifest["bundle_version"] != BUNDLE_VERSION:
        raise ReleaseError(
            f"the bundle {path} is of version {manifest['bundle_version']}, this program reads {BUNDLE_VERSION}"
        )
    return manifest
