"""Named results: a run keeps them inside the agency, a release publishes them, and both use one layout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.common.files import write_text
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import COLUMNS, DTYPES
from retrain_eval.estimators.effects.same_estimates import check_same_estimates
from retrain_eval.estimators.effects.stated import KEYS_OF_PEOPLE
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.release.layout import (
    ADDITIVE,
    SIGNIFICANT_DIGITS,
    TABLES,
    check_name,
    check_table,
    effects_frame,
    read_table,
    round_significant,
    write_table,
)
from retrain_eval.release.question_file import Answered, read_answered, write_answered
from retrain_eval.release.recipe_file import RECIPES, read_recipes
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.counts import KEYS as COUNTED
from retrain_eval.tables.counts import SampleCounts, counted
from retrain_eval.tables.covariates.covariates import CovariateMoments
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.noise.released_sets import ReleasedSet
from retrain_eval.tables.recipe import Derivation, Recipe, trace
from retrain_eval.tables.statistics import Statistic

FROM_SUMS = "from_sums_by_cluster"  # fact about effects: they and their errors follow from a table's sums by cluster
# the facts about estimates that inference needs; others may be counts, which a release rounds
_FACTS = (
    "level", "df", "n_clusters", "seed", "band_critical_value", "conf_type", "variance", "cluster", "contrast",
    "anticipation", KEYS_OF_PEOPLE,
)  # fmt: skip


@summarised
@dataclass(frozen=True)
class Part:
    """Consecutive rows of one table that were made by one call.

    Attributes
    ----------
    table : str
        Name of the table.
    rows : int
        Number of rows.
    result : str or None
        Name of the result that the rows belong to or describe.
    derivation : Derivation or None
        How the rows follow from a kept table; None if they were counted or estimated from people.
    covariance : list of list of float or None
        Covariance of the estimates, if it does not follow from a table.
    estimates : Derivation or None
        How the estimates follow from a kept table, if their covariance does not.
    meta : dict or None
        Facts about the estimates that later computations need: confidence level, degrees of freedom.
    recipe : Recipe or None
        Source of ``derivation``, which is resolved once the run has named the tables it keeps.
    same_as : Recipe or None
        Source of ``estimates``, if the rows were computed from single records.
    effects : EffectTable or None
        The table of effects itself, during a run; other results may be derived from it.
    """

    table: str
    rows: int
    result: str | None = None
    derivation: Derivation | None = None
    covariance: list[list[float]] | None = None
    estimates: Derivation | None = None
    meta: dict[str, Any] | None = None
    recipe: Recipe | None = None
    same_as: Recipe | None = None
    effects: EffectTable | None = None


@summarised
@dataclass
class Results:
    """All results of a study, by name.

    Attributes
    ----------
    tables : dict of DataFrame
        Keys and columns as in ``TABLES``.
    moments : dict of OutcomeMoments
    life_tables : dict of LifeTable
    covariates : dict of CovariateMoments
    counts : dict of SampleCounts
    statistics : dict of Statistic
        Sums that single tests and bounds need.
    parts : list of Part
        How the rows of the tables were made, in the order of the rows. A table without parts is kept as it is.
    answered : list of Answered
        The questions that were answered.
    sets : list of ReleasedSet
        Of protected results, the sets of people behind sums of amounts and counts; never written with them.
    published : dict of int → int
        Of protected results, the published count of each set by its key; never written with them.

    Examples
    --------
    >>> results = Results()
    >>> flow = pd.DataFrame({"step": ["enrolled"], "group": ["treated"], "n": [185], "reason": [""]})
    >>> results.add_table("flow", flow)
    >>> list(results.tables)
    ['flow']
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    moments: dict[str, OutcomeMoments] = field(default_factory=dict)
    life_tables: dict[str, LifeTable] = field(default_factory=dict)
    covariates: dict[str, CovariateMoments] = field(default_factory=dict)
    counts: dict[str, SampleCounts] = field(default_factory=dict)
    statistics: dict[str, Statistic] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    sets: list[ReleasedSet] = field(default_factory=list, repr=False)
    published: dict[int, int] = field(default_factory=dict, repr=False)

    def add_effects(self, name: str, effects: EffectTable, estimates: EffectTable | None = None) -> None:
        """Keep an EffectTable under a name; several calls with one name append.

        Parameters
        ----------
        name : str
        effects : EffectTable
        estimates : EffectTable, optional
            The same estimates and counts, computed from a kept table, if ``effects`` were computed from single records.

        Raises
        ------
        InputError
            If the two differ, or ``estimates`` has no recipe.
        """
        check_name(name)
        if estimates is not None:
            if estimates.recipe is None:
                raise InputError(
                    f"the estimates of {name!r} do not say what they follow from", fix="make them with a verb"
                )
            check_same_estimates(name, effects.frame, estimates.frame)
        same_as = None if estimates is None else estimates.recipe
        part = Part("effects", len(effects), name, recipe=effects.recipe, same_as=same_as, effects=effects)
        self._append(part, effects_frame(name, effects))

    def withhold(self, result: str, reason: str, table: str = "effects") -> None:
        """List a result that cannot be published, with the reason; once per result and table.

        Parameters
        ----------
        result : str
        reason : str
            Publishable text, without small counts.
        table : str
            The table that would hold its rows.

        Examples
        --------
        >>> results = Results()
        >>> results.withhold("km_age", "no duration leaves every count at 10 or more")
        >>> results.withheld()
        {'km_age': 'no duration leaves every count at 10 or more'}
        """
        row = pd.DataFrame([{"result": result, "table": table, "reason": reason}], dtype="str")
        known = self.tables.get("withheld")
        if known is None or not ((known["result"] == result) & (known["table"] == table)).any():
            self._append(Part("withheld", 1), row)

    def withheld(self) -> dict[str, str]:
        """Return the withheld results with their reasons; rows about a result are listed as ``result: table``."""
        rows = self.tables.get("withheld", pd.DataFrame(columns=list(TABLES["withheld"])))
        return {
            str(result) if table == "effects" else f"{result}: {table}": str(reason)
            for result, table, reason in rows[list(TABLES["withheld"])].itertuples(index=False)
        }

    def lacking(self, required: Iterable[str]) -> list[str]:
        """Return a line for each required result that is withheld, in whole or in part, or was never published."""
        effects = self.tables.get("effects")
        names = [] if effects is None else effects["result"].astype(str).tolist()
        hidden = set() if effects is None else set(effects.loc[is_withheld(effects), "result"].astype(str))
        withheld, lines = self.withheld(), []
        for name in required:
            if name in withheld:
                lines.append(f"{name} is withheld: {withheld[name]}")
            elif name in hidden:
                lines.append(f"{name} is withheld in part")
            elif name not in names:
                lines.append(f"{name} was not published; known: {', '.join(dict.fromkeys(names)) or 'none'}")
        return lines

    def add_additive(self, name: str, table: Additive) -> None:
        """Keep an additive table, from which a release makes results again, under a name of its own.

        Raises
        ------
        InputError
            If the name is taken, or cannot be that of a file; if the table is of no kind that a release can hold.
        """
        check_name(name)
        kinds = dict(moments=OutcomeMoments, life_tables=LifeTable, covariates=CovariateMoments, statistics=Statistic)
        for kind, of in kinds.items():
            if isinstance(table, of):
                tables: dict[str, Additive] = getattr(self, kind)
                if tables.setdefault(name, table) is not table:
                    raise InputError(f"{kind.replace('_', ' ')} {name!r} are published already", fix="use another name")
                return
        raise InputError(f"{table.noun} cannot be kept by themselves", value=name, fix="publish the table they give")

    def add_counts(self, counts: SampleCounts) -> None:
        """Keep counts of people, and the table printed from them, under the name of their kind."""
        self.counts[counts.kind] = counts
        self.add_table(counts.kind, counted(counts))

    def add_table(
        self, name: str, frame: pd.DataFrame, result: str | None = None, recipe: Recipe | None = None
    ) -> None:
        """Keep a table; several calls with one name append.

        For the sample flow, common support and linkage rates, the additive counts of people are kept, and the table is
        derived from them.

        Parameters
        ----------
        name : str
        frame : DataFrame
            A frame returned by a `recorded` function carries its recipe, and a release re-derives it; any other frame
            is kept as it is.
        result : str, optional
            The result that the rows describe; fills the column ``result``.
        recipe : Recipe, optional
            How the frame was made, if it does not carry a recipe itself.

        Raises
        ------
        InputError
            If the name is not one of ``TABLES``, or the columns are not its columns; or if a step of a flow has more
            people than the one before.

        Examples
        --------
        >>> from retrain_eval.estimators.did.means import mean_paths
        >>> from retrain_eval.estimators.outcome_moments import outcome_moments
        >>> long = pd.DataFrame({"id": [1, 1, 2, 2], "t": [1, 2] * 2, "g": [2, 2, 0, 0], "y": [1.0, 3.0, 1.0, 1.5]})
        >>> results = Results()
        >>> results.moments["all"] = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
        >>> results.add_table("means", mean_paths(results.moments["all"]))
        >>> results.resolved()[0].derivation
        Derivation(of='moments/all', steps=(('mean_paths', {'shift': 0}),))
        """
        recipe = recipe or getattr(frame, "recipe", None)
        if name in COUNTED and recipe is None:
            return self.add_counts(SampleCounts.of(name, frame))
        frame = frame if result is None else frame.assign(result=result)
        check_table(name, frame)
        return self._append(Part(name, len(frame), result, recipe=recipe), frame[list(TABLES[name])])

    def resolved(self) -> list[Part]:
        """Return the parts with their recipes resolved against the kept tables.

        Effects that follow from no table are kept with their covariance; later results may follow from them.
        """
        known = {id(table): name for name, table in self.kept().items()}
        clustered = {
            id(table.recipe.of): name
            for name, table in self.kept().items()
            if table.recipe is not None and table.recipe.verb == "without_clusters"
        }
        found = []
        for part in self.parts:
            derivation = part.derivation if part.recipe is None else trace(part.recipe, known)
            again = derivation is not None and _rests_on_sums(part.effects) and not derivation.of.startswith("effects/")
            standing = part.effects if derivation is None or again else None
            if standing is not None:
                facts = {key: standing.meta[key] for key in _FACTS if standing.meta.get(key) is not None}
                if again:  # what the sums by cluster give; a release may hold them, and makes everything again
                    facts, derivation = facts | {FROM_SUMS: True}, None
                made = part.same_as or part.recipe
                estimates = None if made is None else trace(made, known | clustered)
                if part.same_as is not None and estimates is None:
                    raise InputError(
                        f"the estimates of {part.result!r} are said to follow from a table, which is not kept",
                        fix="publish that table too: run.publish(name, moments)",
                    )
                part = replace(part, covariance=standing.vcov.tolist(), meta=facts, estimates=estimates)
                if (name := f"effects/{part.result}") not in known.values():
                    known[id(standing)] = name
            found.append(replace(part, derivation=derivation, recipe=None, same_as=None, effects=None))
        return found

    def kept(self) -> dict[str, Additive]:
        """Return the additive tables by the names of their files, such as ``"moments/matched"``."""
        return {f"{kind}/{name}": table for kind in ADDITIVE for name, table in getattr(self, kind).items()}

    def blocks(self) -> Iterator[tuple[Part, pd.DataFrame]]:
        """Yield each part with its rows; a table without parts is one part."""
        parts, place = self.resolved(), dict.fromkeys(self.tables, 0)
        for name in self.tables:
            if all(part.table != name for part in parts):
                parts.append(Part(name, len(self.tables[name])))
        for part in parts:
            start = place[part.table]
            place[part.table] = start + part.rows
            yield part, self.tables[part.table].iloc[start : start + part.rows]

    def _append(self, part: Part, frame: pd.DataFrame) -> None:
        known = [self.tables[part.table]] if part.table in self.tables else []
        if known and all(other.table != part.table for other in self.parts):
            self.parts.append(Part(part.table, len(known[0])))  # what was set by hand
        self.parts.append(part)
        self.tables[part.table] = pd.concat([*known, frame], ignore_index=True)

    def write(self, folder: Path, digits: int = SIGNIFICANT_DIGITS) -> None:
        """Write the layout into an existing, empty folder, with numbers other than counts and keys rounded.

        Raises
        ------
        InputError
            If a table is not one of ``TABLES`` or lacks a column, or a name cannot be that of a file.
        """
        for name, frame in self.tables.items():
            check_table(name, frame)
            write_table(round_significant(frame, digits), folder / f"{name}.csv")
        for kind in ADDITIVE:
            objects: dict[str, Additive] = getattr(self, kind)
            if objects:
                (folder / kind).mkdir()
            for name, item in objects.items():
                check_name(name)
                item.to_parquet(folder / kind / f"{name}.parquet")
        if self.parts:
            parts = [{k: v for k, v in asdict(part).items() if v is not None} for part in self.resolved()]
            write_text(folder / RECIPES, json.dumps(parts, indent=1, ensure_ascii=False) + "\n")
        write_answered(folder, self.answered)

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Read what `write` wrote."""
        additive: dict[str, Any] = {
            kind: {file.stem: read(file) for file in sorted((folder / kind).glob("*.parquet"))}
            for kind, read in ADDITIVE.items()
        }
        return cls(
            tables={name: read_table(folder / f"{name}.csv") for name in TABLES if (folder / f"{name}.csv").exists()},
            parts=read_parts(folder),
            answered=read_answered(folder),
            **additive,
        )


def is_withheld(effects: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows of a table of effects are marked as withheld."""
    return effects["note"].astype("str").str.startswith("withheld").fillna(value=False).astype(bool)


def standing_effects(part: Part, rows: pd.DataFrame) -> EffectTable:
    """Return the EffectTable whose rows and covariance a part holds."""
    frame = rows.reindex(columns=list(COLUMNS)).astype(DTYPES).reset_index(drop=True)
    return EffectTable(frame, np.array(part.covariance).reshape(len(frame), len(frame)), part.meta or {})


def _rests_on_sums(effects: EffectTable | None) -> bool:
    """Whether errors come from the jackknife, which needs a table with sums by cluster."""
    return effects is not None and effects.meta.get("variance") == "CV3"


def read_parts(folder: Path) -> list[Part]:
    """Return the parts in a folder's ``recipes.json``; see `retrain_eval.release.recipe_file.read_recipes`."""
    return [
        Part(
            table=item.table,
            rows=item.rows,
            result=item.result,
            derivation=None if item.derivation is None else item.derivation.derivation(),
            covariance=item.covariance,
            estimates=None if item.estimates is None else item.estimates.derivation(),
            meta=item.meta,
        )
        for item in read_recipes(folder)
    ]
