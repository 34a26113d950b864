"""The release bundle: one folder from which every published number follows, and nothing else is needed.

A bundle is written once, whole, by `retrain_eval.release.writing` and only ever read afterwards. The book, `verify` and
any outside reader go through `Bundle`, which refuses a folder whose files do not match its manifest.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import msgspec
import pandas as pd

from retrain_eval.common.errors import ReleaseError
from retrain_eval.common.files import sha256
from retrain_eval.common.untrusted import read_bytes, read_toml, shown
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.designs import with_kinds
from retrain_eval.plan.keys import check_keys
from retrain_eval.plan.registered import Registration, read_plan
from retrain_eval.plan.rules import Release, shipped_profiles, with_names_of_today
from retrain_eval.plan.study_file import FILE, StudyFile
from retrain_eval.release.layout import ADDITIVE, read_table
from retrain_eval.release.manifest import manifest_problems, read_manifest
from retrain_eval.release.opening import MANIFEST, SIGNATURE, check_files, inventory, limit_of
from retrain_eval.release.results import Results
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.counts import SampleCounts
from retrain_eval.tables.covariates.covariates import CovariateMoments
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.statistics import Statistic


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
    retrain_eval.common.errors.ReleaseError: no release bundle at no/such/edition: it has no manifest.json
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
        present = set(inventory(self.path))
        found = manifest_problems(self.path, self.manifest)
        found += [f"missing: {name}" for name in sorted(set(listed) - present)]
        found += [
            f"not in the manifest: {shown(name)}" for name in sorted(present - set(listed) - {MANIFEST, SIGNATURE})
        ]
        altered = [
            f"altered: {name}"
            for name, digest in sorted(listed.items())
            if name in present and hashlib.sha256(read_bytes(self.path, name, limit_of(name))).hexdigest() != digest
        ]
        if not altered:  # files that match their hashes may still be built to exhaust memory
            check_files(self.path, {name: None for name in listed if name in present})
        return found + altered

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
        return read_toml(self.path, FILE, limit_of(FILE))

    @cached_property
    def study_file(self) -> StudyFile:
        """The study file as run, under the rules of the manifest; no profile file is read."""
        raw, path = with_kinds(self.study), self.path / FILE
        raw["release"] = with_names_of_today(raw.get("release", {}))
        check_keys(raw, StudyFile, "", path)
        raw["release"] = {**shipped_rules(raw["release"]), **with_names_of_today(self.manifest.get("rules") or {})}
        try:
            return msgspec.convert(raw, StudyFile, strict=True)
        except msgspec.ValidationError as error:
            raise ReleaseError(f"{path} is not valid: {shown(error)}") from None

    @property
    def effects(self) -> pd.DataFrame | None:
        """Every published estimate: `result`, the columns of an EffectTable, and the note of a suppression."""
        return self._table("effects.csv")

    @cached_property
    def withheld(self) -> dict[str, str]:
        """Withheld results with their reasons; a withheld table about a result has the key ``result: table``."""
        listed = self._table("withheld.csv")
        return {} if listed is None else Results(tables={"withheld": listed}).withheld()

    @property
    def balance(self) -> pd.DataFrame | None:
        """Covariate balance before and after matching."""
        return self._table("balance.csv")

    @cached_property
    def withheld_covariates(self) -> tuple[str, ...]:
        """Covariates missing from the balance table because one of their values has too few people."""
        of = (table for table in self.tables().values() if isinstance(table, CovariateMoments))
        return tuple(name for moments in of for name in moments.withheld)

    @property
    def overlap(self) -> pd.DataFrame | None:
        """Counts by propensity score bin and group."""
        return self._table("overlap.csv")

    @property
    def matching(self) -> pd.DataFrame | None:
        """Counts of matched people, in total and by stratum."""
        return self._table("matching.csv")

    @property
    def baseline_paths(self) -> pd.DataFrame | None:
        """Mean outcome before the programme by period and group."""
        return self._table("baseline_paths.csv")

    @property
    def linkage(self) -> pd.DataFrame | None:
        """Share of people found in the wage records, in total and by stratum."""
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
    def cells(self) -> pd.DataFrame | None:
        """Adjusted p-values and a verdict by cell of several strata together."""
        return self._table("cells.csv")

    @property
    def groups(self) -> pd.DataFrame | None:
        """Tests of equivalence to none in the groups that the plan names."""
        return self._table("groups.csv")

    @property
    def allocation(self) -> pd.DataFrame | None:
        """The leaves of the rules whom to offer which programme."""
        return self._table("allocation.csv")

    @property
    def providers(self) -> pd.DataFrame | None:
        """Effects of providers relative to their mean, shrunken, with ranks."""
        return self._table("providers.csv")

    @property
    def provider_spread(self) -> pd.DataFrame | None:
        """Mean and spread of the true effects of providers."""
        return self._table("provider_spread.csv")

    @property
    def shares(self) -> pd.DataFrame | None:
        """Shares of trainees who completed, and who were employed, by provider."""
        return self._table("shares.csv")

    @property
    def bounds(self) -> pd.DataFrame | None:
        """Bounds on the mean effect if trends are not parallel."""
        return self._table("bounds.csv")

    @property
    def pretest_power(self) -> pd.DataFrame | None:
        """Differences in trends that a pre-trend test would have detected."""
        return self._table("pretest_power.csv")

    @property
    def rosenbaum(self) -> pd.DataFrame | None:
        """Bounds on the p-value under hidden bias of each strength."""
        return self._table("rosenbaum.csv")

    @property
    def e_values(self) -> pd.DataFrame | None:
        """Strength of confounding that would explain an estimate away."""
        return self._table("e_values.csv")

    @property
    def oster(self) -> pd.DataFrame | None:
        """Selection on unobservables, relative to observables, that would explain an estimate away."""
        return self._table("oster.csv")

    @property
    def ties(self) -> pd.DataFrame | None:
        """Choices between equally near controls, and how much effects change with the order of identifiers."""
        return self._table("ties.csv")

    @property
    def ledger(self) -> pd.DataFrame | None:
        """What training cost, by funder and component."""
        return self._table("ledger.csv")

    @property
    def ratios(self) -> pd.DataFrame | None:
        """Benefit–cost ratio and marginal value of public funds."""
        return self._table("ratios.csv")

    @property
    def dictionary(self) -> pd.DataFrame | None:
        """Data dictionary of the records the study was made from."""
        return self._table("dictionary.csv")

    @cached_property
    def plan(self) -> tuple[Registration, ...]:
        """The registrations of the study's plan, oldest first; none where no plan was registered."""
        return read_plan(self.path, released=True)

    @cached_property
    def rules(self) -> Release:
        """The disclosure rules under which it was released."""
        try:
            return msgspec.convert(with_names_of_today(self.manifest.get("rules") or {}), Release)
        except msgspec.ValidationError as error:
            raise ReleaseError(f"the rules in the manifest of {self.path} are not valid: {shown(error)}") from None

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
        """Return all additive tables, by the names of their files without the suffix."""
        names = [name.removesuffix(".parquet") for name in self.manifest["files"] if name.endswith(".parquet")]
        return {name: self._additive(name) for name in names}

    def moments(self, name: str) -> OutcomeMoments:
        """Return the outcome moments released under ``name``."""
        return cast(OutcomeMoments, self._additive(f"moments/{name}"))

    def life_table(self, name: str) -> LifeTable:
        """Return the life table released under ``name``."""
        return cast(LifeTable, self._additive(f"life_tables/{name}"))

    def covariate_moments(self, name: str) -> CovariateMoments:
        """Return the covariate moments released under ``name``."""
        return cast(CovariateMoments, self._additive(f"covariates/{name}"))

    def sample_counts(self, kind: str) -> SampleCounts:
        """Return the counts of people released: ``flow``, ``matching``, ``overlap`` or ``linkage``."""
        return cast(SampleCounts, self._additive(f"counts/{kind}"))

    def statistic(self, name: str) -> Statistic:
        """Return the sums of a test or a bound released under ``name``."""
        return cast(Statistic, self._additive(f"statistics/{name}"))

    def _additive(self, name: str) -> Additive:
        return ADDITIVE[name.partition("/")[0]](self._file(f"{name}.parquet"))

    def _file(self, name: str) -> Path:
        if name not in self.manifest["files"]:
            have = ", ".join(sorted(self.manifest["files"]))
            raise ReleaseError(f"the bundle {self.path} has no {name}; it has: {have}")
        return self.path / name

    def _table(self, name: str) -> pd.DataFrame | None:
        if name not in self.manifest["files"]:
            return None
        return read_table(self.path / name)


def shipped_rules(release: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rules of a section ``[release]``: those of the shipped profile it names, and what it overrides.

    A profile file next to the study file is not looked for: a bundle does not have one.
    """
    file = shipped_profiles().get(str(release.get("profile", "default")))
    return {**(tomllib.loads(file.read_text(encoding="utf-8")) if file else {}), **with_names_of_today(release)}
