"""Estimates with their covariance: the fields, columns and arithmetic of `EffectTable`.

Difference-in-differences, survival and matched contrasts all return it, so that every table, figure and
disclosure rule is written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from retrain_eval.common.arrays import AnyArray, Bools, Floats, Ints
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.levels import missing
from retrain_eval.common.numerics.jackknife import REPORTED
from retrain_eval.common.numerics.joint import SINGULAR, critical_values, t_quantile, t_upper
from retrain_eval.tables.recipe import Recipe, recorded

KEYS = ("outcome", "estimator", "estimand", "cohort", "time", "event_time", "subgroup", "level")
NUMBERS = ("estimate", "std_error", "ci_low", "ci_high", "band_low", "band_high", "p_value")
COUNTS = ("n_treated", "n_control")
COLUMNS = KEYS + NUMBERS + COUNTS

DTYPES: dict[str, Any] = {
    **dict.fromkeys(("outcome", "estimator", "estimand", "subgroup", "level"), "str"),
    **dict.fromkeys(("cohort", "time", "event_time"), "Float64"),
    **dict.fromkeys(NUMBERS, "float64"),
    **dict.fromkeys(COUNTS, "Int64"),
}
_ROUNDING = 1e-14  # a variance below this share of what it is made of is what is left of a difference by rounding
FEWEST_CLUSTERS = 3  # of fewer, the spread between clusters says nothing


@dataclass(frozen=True)
class EstimateTable:
    """Estimates with intervals, simultaneous bands and their full covariance; see `EffectTable`, which reads them.

    Attributes
    ----------
    frame : DataFrame
        One row per estimate, columns ``COLUMNS``; absent keys are NA. Estimates and standard errors are in
        the outcome's unit.
    vcov : ndarray, shape (k, k)
        Covariance of ``frame.estimate``, in row order.
    meta : mapping
        How the numbers were made: confidence level, critical value of the band, seed, conventions.
    """

    frame: pd.DataFrame
    vcov: Floats
    meta: Mapping[str, object] = field(default_factory=dict)
    recipe: Recipe | None = field(default=None, init=False, compare=False, repr=False)

    @classmethod
    def build(
        cls,
        rows: pd.DataFrame | Sequence[Mapping[str, object]],
        vcov: Floats,
        *,
        band: Bools | None = None,
        level: float = 0.95,
        df: float | npt.ArrayLike | None = None,
        n_clusters: npt.ArrayLike | None = None,
        scale: npt.ArrayLike = 0.0,
        seed: int = 20260101,
        meta: Mapping[str, object] | None = None,
    ) -> Self:
        """Complete rows that carry keys and ``estimate`` with standard errors, intervals and bands.

        Parameters
        ----------
        rows : DataFrame or sequence of mappings
            Keys, ``estimate``, ``n_treated`` and ``n_control``; any other column is an error.
        vcov : ndarray, shape (k, k)
            Covariance of the estimates.
        band : bool ndarray, shape (k,), optional
            Rows that share one simultaneous band; the others, and levels that are missing, get NaN. None: no band.
        level : float
            Confidence level of intervals and bands.
        df : float or array of shape (k,), optional
            Degrees of freedom of Student's t, of all rows or of each. None: one less than the clusters, or the normal
            distribution where there are none.
        n_clusters : int or array of shape (k,), optional
            Clusters in the rows of data that each estimate uses. None: standard errors are not clustered.
        scale : float or array of shape (k,), optional
            How large the numbers are of which estimates are differences. What is below 1e-12 of them is rounding: an
            estimate is then zero, and a standard error NaN.
        seed : int
            Seed of the draws behind the critical value of the band.

        Raises
        ------
        InputError
            For a column that does not exist, or a confidence level outside 0 to 1.
        DesignError
            If no estimate rests on three clusters. Where some do, the others get no standard error, and a note.

        Notes
        -----
        An estimate that is constant by construction (the reference period), or a difference between groups of which
        all are alike, has standard error NaN, and so neither an interval nor a p-value.
        The band's critical value is the ``level`` quantile of max|t| under N(0, corr), as in Callaway and
        Sant'Anna (2021, Algorithm 1), drawn from the covariance itself rather than by a bootstrap of people.
        """
        if not 0 < level < 1:
            raise InputError(f"level must lie between 0 and 1, not {level}", column="level", value=level)
        given = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
        extra = [column for column in given.columns if column not in COLUMNS]
        if extra:
            raise InputError(f"an EffectTable has no column {extra[0]!r}", fix=f"columns are {', '.join(COLUMNS)}")
        # column by column: changing types in a frame takes longer than all the rest
        columns: dict[str, Any] = {name: _typed(given, name) for name in COLUMNS}
        vcov = np.array(vcov, dtype=float).reshape(len(given), len(given))
        facts: dict[str, object] = {"level": level, **(meta or {})}
        clusters = None if n_clusters is None else np.broadcast_to(np.asarray(n_clusters, dtype=int), len(given))
        if clusters is not None:
            few = (*_without_few_clusters(vcov, clusters, columns), *_number_of_clusters(vcov, clusters, columns))
            facts["notes"] = tuple(dict.fromkeys([*_notes(facts), *few]))
            df = np.maximum(clusters - 1.0, 1.0) if df is None else df
        of_t = np.broadcast_to(np.asarray(np.inf if df is None else df, dtype=float), len(given))
        facts |= {"df": plain_or_list(of_t), "n_clusters": None if clusters is None else plain_or_list(clusters)}

        variance = np.clip(np.diag(vcov), 0, None)
        std_error = np.sqrt(variance)
        estimate = np.asarray(columns["estimate"])
        sizes = np.fmax(np.fmax(np.abs(estimate), scale), np.nanmax(std_error, initial=0.0))
        std_error = np.where(std_error <= SINGULAR * sizes, np.nan, std_error)
        quantile = t_quantile(of_t, 0.5 + level / 2)
        # what is zero by construction may have been rounded away from it
        largest = np.fmax.reduce(np.abs([*estimate, *std_error]), initial=0.0)
        size = np.fmax(np.where(np.isnan(std_error), largest, std_error), scale)
        estimate = columns["estimate"] = np.where(np.abs(estimate) <= SINGULAR * size, 0.0, estimate)
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.abs(estimate) / std_error
        columns["std_error"] = std_error
        columns["ci_low"], columns["ci_high"] = estimate - quantile * std_error, estimate + quantile * std_error
        columns["p_value"] = 2 * t_upper(of_t, t)

        if band is not None:
            band = band & ~missing(columns["level"])
            critical = critical_values(
                vcov[np.ix_(band, band)], of_t[band], together=clusters is None, level=level, seed=seed
            )
            half = np.full(len(given), np.nan)
            half[band] = critical * std_error[band]
            columns["band_low"], columns["band_high"] = estimate - half, estimate + half
            facts |= {"band_critical_value": plain_or_list(critical), "seed": seed}
        return cls(pd.DataFrame(columns), vcov, facts)

    @property
    def confidence_level(self) -> float:
        """Confidence level of intervals and bands."""
        return self.number("level", 0.95)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the estimates, such as those left out."""
        return _notes(self.meta)

    def number(self, name: str, default: float) -> float:
        """Return a fact of ``meta`` that is a number."""
        value = self.meta.get(name, default)
        if not isinstance(value, (int, float)):
            raise InputError(f"{name} is not a number", column=name, value=value)
        return float(value)

    @property
    def df(self) -> Floats:
        """Degrees of freedom of each estimate's Student's t, shape (k,); infinite: the normal distribution."""
        df = np.asarray(self.meta.get("df"), dtype=float)
        return np.broadcast_to(np.where(np.isnan(df), np.inf, df), len(self.frame))

    @property
    def n_clusters(self) -> Ints | None:
        """Clusters in the rows of data that each estimate uses, shape (k,); None where errors are not clustered."""
        n: Any = self.meta.get("n_clusters")
        return None if n is None else np.broadcast_to(np.asarray(n, dtype=np.int64), len(self.frame))

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of the tidy frame, columns ``COLUMNS``."""
        return self.frame.copy()

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        """Return the rows as a console shows them, without the columns that hold nothing."""
        wide = ("display.max_columns", None, "display.width", 160, "display.precision", 4, "display.max_rows", 40)
        with pd.option_context(*wide):
            rows = f"{type(self).__name__}, {len(self)} rows\n{self.frame.dropna(axis='columns', how='all')}"
        return "\n".join([rows, *map(str, self.notes)])

    def _repr_html_(self) -> str:
        """Return the rows as a notebook shows them."""
        rows = str(self.frame.dropna(axis="columns", how="all").to_html(index=False, na_rep=""))
        return rows + "".join(f"<p>{escape(str(note))}</p>" for note in self.notes)

    @recorded
    def difference(self) -> Self:
        """Contrast the levels of a subgroup with the first one, using the joint covariance.

        Returns
        -------
        EffectTable
            One row per later level and per combination of the other keys; ``level`` reads
            ``"later minus first"``; the level of those whose value is missing has no part. Wald inference with the
            full covariance, so levels that share controls are handled, and with the confidence level and degrees of
            freedom of this table.

        Raises
        ------
        InputError
            If the table has fewer than two levels of exactly one subgroup.
        """
        grouped = self.frame[self.frame["level"].notna() & ~missing(self.frame["level"])]
        if len(set(grouped["subgroup"])) != 1 or len(set(grouped["level"])) < 2:
            raise InputError(
                "difference() needs one subgroup with at least two levels",
                fix='make the table with .by("age_band") first',
            )
        others = [key for key in KEYS if key != "level"]
        records = self.frame.to_dict("records")
        rows: list[dict[str, object]] = []
        contrasts: list[Floats] = []
        for _, block in grouped.groupby(others, dropna=False, sort=False):
            first, *later = (int(index) for index in block.index)
            for index in later:
                contrast = np.zeros(len(self.frame))
                contrast[index], contrast[first] = 1.0, -1.0
                one, base = records[index], records[first]
                smaller = self.frame.loc[[first, index], list(COUNTS)].min(skipna=False)
                rows.append(
                    {
                        **{key: one[key] for key in others},
                        "level": f"{one['level']} minus {base['level']}",
                        "estimate": one["estimate"] - base["estimate"],
                        **{count: smaller[count] for count in COUNTS},
                    }
                )
                contrasts.append(contrast)
        matrix = np.vstack(contrasts)
        return self.build(
            rows,
            self.vcov_of(matrix),
            level=self.confidence_level,
            **self.inference_of(matrix),
            meta={**self.meta, "contrast": "level minus first"},
        )

    def vcov_of(self, contrast: Floats) -> Floats:
        """Return the covariance of contrasts, shape (J, k); NaN where one uses an estimate that has none."""
        unknown_spread = np.isnan(np.diag(self.vcov))
        vcov = np.where(unknown_spread | unknown_spread[:, None], 0.0, self.vcov)
        out: Floats = contrast @ vcov @ contrast.T
        # what cancels but for rounding does not vary
        constant = np.diag(out) <= _ROUNDING * (np.abs(contrast) @ np.sqrt(np.clip(np.diag(vcov), 0, None))) ** 2
        out[constant] = out[:, constant] = 0.0
        uses = (contrast[:, unknown_spread] != 0).any(axis=1)
        out[uses] = out[:, uses] = np.nan
        return out

    def inference_of(self, contrast: Floats) -> dict[str, Any]:
        """Return ``df``, ``n_clusters`` and ``scale`` of contrasts, shape (J, k).

        The fewest of the estimates that each uses, and the largest of them.
        """
        uses, n = contrast != 0, self.n_clusters
        df = np.where(uses, self.df, np.inf).min(axis=1, initial=np.inf)
        size = np.abs(self.frame["estimate"].fillna(0.0).to_numpy(dtype=float))
        scale = np.where(uses, size, 0.0).max(axis=1, initial=0.0)
        if n is None:
            return {"df": df, "n_clusters": None, "scale": scale}
        return {"df": df, "scale": scale, "n_clusters": np.where(uses, n, np.iinfo(np.int64).max).min(axis=1)}


def _notes(facts: Mapping[str, object]) -> tuple[str, ...]:
    notes: Any = facts.get("notes", ())
    return tuple(notes)


def plain_or_list(values: AnyArray) -> object:
    """Return one number where all are the same, else a list; infinite degrees of freedom are None."""
    plain = [None if np.isinf(value) else value.item() for value in values]
    return (plain[0] if plain else None) if len(set(plain)) < 2 else plain


def _without_few_clusters(vcov: Floats, clusters: Ints, columns: Mapping[str, Any]) -> list[str]:
    """Blank the covariances of estimates that rest on too few clusters; return a note for each level concerned."""
    varies = np.diag(vcov) > 0
    few = varies & (clusters < FEWEST_CLUSTERS)
    why = f"at least {FEWEST_CLUSTERS} are needed for a standard error"
    if few.any() and not (varies & ~few).any():
        raise DesignError(
            f"the standard errors rest on {clusters[few].min()} cluster(s); {why}",
            public="there are too few clusters for a standard error",
        )
    vcov[few] = vcov[:, few] = np.nan
    named = [str(columns["level"][row]) for row in np.flatnonzero(few)]
    counts = [int(n) for n in clusters[few]]
    notes = [f"{name}: {n} cluster(s); {why}" for name, n in zip(named, counts, strict=True)]
    return list(dict.fromkeys(notes))


def _number_of_clusters(vcov: Floats, clusters: Ints, columns: Mapping[str, Any]) -> list[str]:
    """Return notes of how many clusters standard errors rest on, by level, where they are few."""
    few = np.flatnonzero((np.diag(vcov) > 0) & (clusters < REPORTED))
    named = {(columns["level"][row] if pd.notna(columns["level"][row]) else "", int(clusters[row])) for row in few}
    return [f"{level}{': ' if level else ''}standard errors rest on {n} clusters" for level, n in sorted(named)]


def _typed(rows: pd.DataFrame, name: str) -> Any:
    """Return a column as an array of its type; one that is absent holds nothing."""
    kind = DTYPES[name]
    if name in rows:
        return rows[name].astype(kind).array
    return np.full(len(rows), np.nan) if kind == "float64" else pd.array([None] * len(rows), dtype=kind)
