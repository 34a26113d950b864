"""Check that a release bundle is what was released, and that its numbers follow from its tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from retrain_eval.effects import KEYS
from retrain_eval.errors import RetrainEvalError
from retrain_eval.release.bundle import Bundle, read_manifest
from retrain_eval.release.comparison import agree, compare
from retrain_eval.release.protect import publish
from retrain_eval.results import Part, Results

Floats = npt.NDArray[np.float64]

_SHOWN = 20  # numbers that differ, named one by one


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes
    ----------
    path : Path
    n_files : int
        Files checked against the manifest.
    problems : tuple of str
        One line for each file, and each number, that is not as it should be.
    n_rederived : int
        Numbers that were computed again from the additive tables of the bundle.
    on_covariance : dict of str → int
        Numbers of results that rest on the covariance released with them, by result.
    primary : dict of str → int
        Numbers that are themselves what was counted, by table.
    """

    path: Path
    n_files: int
    problems: tuple[str, ...]
    n_rederived: int = 0
    on_covariance: dict[str, int] = field(default_factory=dict)
    primary: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every file is as released and every number follows."""
        return not self.problems

    def __str__(self) -> str:
        """Return what was found, as the command line prints it."""
        if self.problems:
            return f"{self.path} is not as it was released:\n" + "\n".join(f"  {line}" for line in self.problems)
        lines = [f"all {self.n_files} files of {self.path} are as they were released"]
        lines.append(f"all {self.n_rederived:,} numbers re-derived from its moments and life tables")
        for found, what in (
            (self.on_covariance, "rest on the covariance released with them"),
            (self.primary, "are primary: what was counted or measured, released as it is"),
        ):
            if found:
                names = ", ".join(f"{name} {count:,}" for name, count in found.items())
                lines.append(f"{sum(found.values()):,} numbers {what}: {names}")
        return "\n".join(lines)


def verify(path: str | Path) -> Verification:
    """Re-derive every published number of a bundle, and compare.

    Parameters
    ----------
    path : str or Path
        Folder of an edition. Nothing else is read.

    Returns
    -------
    Verification
        First every file is held against the SHA-256 in the manifest: missing, altered and extra files, by name. If
        all are sound, every row that follows from a moments or life table is made again, the disclosure
        rules and the rounding are applied again, and what differs is named.

    Raises
    ------
    ReleaseError
        If there is no manifest, or it cannot be read.

    Examples
    --------
    >>> verify("no/such/edition")
    Traceback (most recent call last):
    ...
    retrain_eval.errors.ReleaseError: no release bundle at no/such/edition: it has no manifest.json
    """
    bundle = Bundle(Path(path), read_manifest(Path(path)))
    n_files, problems = len(bundle.manifest["files"]), bundle.problems()
    if problems:
        return Verification(bundle.path, n_files, tuple(problems))
    try:
        published = Results.read(bundle.path)
        derived = rederive(bundle, published)
    except (RetrainEvalError, KeyError, TypeError, ValueError) as error:
        # a file may be hashed and still hold anything
        return Verification(bundle.path, n_files, (f"cannot be re-derived: {str(error).splitlines()[0]}",))
    differences: list[str] = []
    digits = bundle.rules.significant_figures
    numbers: Counter[str] = Counter()
    on_covariance: Counter[str] = Counter()
    primary: Counter[str] = Counter()
    differences += _not_accounted_for(published)
    # a row too many or too few is among what is not accounted for, so that no pair is lost unseen
    for (part, rows), (again, expected) in zip(published.blocks(), derived.blocks(), strict=False):
        name = part.table if part.result is None else f"{part.table} {part.result}"
        if (part.table, part.result, len(rows)) != (again.table, again.result, len(expected)):
            differences.append(f"{name}: {len(rows)} row(s) published, {len(expected)} re-derived")
            continue
        differences += [f"{name}, {difference}" for difference in compare(rows, expected, digits)]
        said = rows.drop(columns=list(KEYS), errors="ignore").select_dtypes("number")
        count = int(said.notna().to_numpy().sum())
        if again.derivation is not None:
            numbers[part.table] += count
        elif part.covariance is not None:
            differences += [f"{name}, {difference}" for difference in _on_covariance(part, rows, digits)]
            on_covariance[str(part.result)] += count
        elif part.table == "effects" and rows["estimate"].notna().any():
            differences.append(f"{name}: recipes.json says neither what it follows from nor its covariance")
        elif count:
            primary[part.table] += count
    if len(differences) > _SHOWN:
        differences[_SHOWN:] = [f"and {len(differences) - _SHOWN} more"]
    return Verification(bundle.path, n_files, tuple(differences), numbers.total(), dict(on_covariance), dict(primary))


def _not_accounted_for(published: Results) -> list[str]:
    """Name the tables with rows that no part of the recipes speaks of."""
    told = Counter({name: 0 for name in published.tables})
    for part in published.parts:
        told[part.table] += part.rows
    return [
        f"{name}: recipes.json speaks of {rows} row(s), and there are {len(published.tables.get(name, ()))}"
        for name, rows in told.items()
        if rows != len(published.tables.get(name, ()))
    ]


def rederive(bundle: Bundle, published: Results | None = None) -> Results:
    """Return the results of a bundle, made again from its tables and not rounded.

    Parameters
    ----------
    bundle : Bundle
    published : Results, optional
        What the bundle holds, where it has been read already.

    Returns
    -------
    Results
        Tables and parts; rows that follow from no table stand as they were published.
    """
    published = Results.read(bundle.path) if published is None else published
    again, _ = publish(published, published.kept(), bundle.rules)
    return again


def _on_covariance(part: Part, rows: pd.DataFrame, digits: int) -> list[str]:
    """Name standard errors that are not those of the covariance released with them."""
    variance = np.diag(np.array(part.covariance, dtype=float).reshape(len(rows), len(rows)))
    error = rows["std_error"].to_numpy(dtype=float)
    expected = np.sqrt(np.clip(variance, 0, None))
    same = agree(error, expected, digits) | np.isnan(error)
    return [
        f"row {row + 1}, std_error: published {error[row]}, of the covariance {expected[row]}"
        for row in np.flatnonzero(~same)
    ]
