"""EffectTable: the one tidy result type, whatever the estimator.

Difference-in-differences, survival and matched contrasts all return it, so that every table, figure and
disclosure rule is written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse, special
from scipy.sparse import csgraph
from threadpoolctl import threadpool_limits

from retrain_eval.errors import InputError
from retrain_eval.recipe import Recipe, recorded

if TYPE_CHECKING:
    from retrain_eval.heterogeneity import Heterogeneity

Array = npt.NDArray[np.float64]

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
_SINGULAR = 1e-12  # a standard error below this share of the largest one is a constant, not an estimate


@dataclass(frozen=True)
class EffectTable:
    """Estimates with intervals, simultaneous bands and their full covariance.

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
    vcov: Array
    meta: Mapping[str, object] = field(default_factory=dict)
    recipe: Recipe | None = field(default=None, init=False, compare=False, repr=False)

    @classmethod
    def build(
        cls,
        rows: pd.DataFrame | Sequence[Mapping[str, object]],
        vcov: Array,
        *,
        band: npt.NDArray[np.bool_] | None = None,
        level: float = 0.95,
        df: float | None = None,
        seed: int = 20260101,
        meta: Mapping[str, object] | None = None,
    ) -> EffectTable:
        """Complete rows that carry keys and ``estimate`` with standard errors, intervals and bands.

        Parameters
        ----------
        rows : DataFrame or sequence of mappings
            Keys, ``estimate``, ``n_treated`` and ``n_control``; any other column is an error.
        vcov : ndarray, shape (k, k)
            Covariance of the estimates.
        band : bool ndarray, shape (k,), optional
            Rows that share one simultaneous band; the others get NaN. None: no band.
        level : float
            Confidence level of intervals and bands.
        df : float, optional
            Degrees of freedom of Student's t; None uses the normal distribution.
        seed : int
            Seed of the draws behind the critical value of the band.

        Notes
        -----
        An estimate that is constant by construction (the reference period) has standard error NaN.
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
        vcov = np.asarray(vcov, dtype=float).reshape(len(given), len(given))

        variance = np.clip(np.diag(vcov), 0, None)
        std_error = np.sqrt(variance)
        scale = std_error.max(initial=0.0)
        std_error = np.where(std_error <= _SINGULAR * scale, np.nan, std_error)
        # of scipy.special: scipy.stats would cost every process 50 MB and half a second
        quantile = float(special.ndtri(0.5 + level / 2) if df is None else special.stdtrit(df, 0.5 + level / 2))
        estimate = np.asarray(columns["estimate"])
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.abs(estimate) / std_error
        columns["std_error"] = std_error
        columns["ci_low"], columns["ci_high"] = estimate - quantile * std_error, estimate + quantile * std_error
        columns["p_value"] = 2 * (special.ndtr(-t) if df is None else special.stdtr(df, -t))

        facts: dict[str, object] = {"level": level, "df": df, **(meta or {})}
        if band is not None:
            critical = simultaneous_critical_value(vcov[np.ix_(band, band)], level=level, seed=seed)
            half = np.where(band, critical * std_error, np.nan)
            columns["band_low"], columns["band_high"] = estimate - half, estimate + half
            facts |= {"band_critical_value": critical, "seed": seed}
        return cls(pd.DataFrame(columns), vcov, facts)

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of the tidy frame, columns ``COLUMNS``."""
        return self.frame.copy()

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        """Return the rows as a console shows them, without the columns that hold nothing."""
        wide = ("display.max_columns", None, "display.width", 160, "display.precision", 4, "display.max_rows", 40)
        with pd.option_context(*wide):
            return f"EffectTable, {len(self)} rows\n{self.frame.dropna(axis='columns', how='all')}"

    def _repr_html_(self) -> str:
        """Return the rows as a notebook shows them."""
        return str(self.frame.dropna(axis="columns", how="all").to_html(index=False, na_rep=""))

    @recorded
    def difference(self) -> EffectTable:
        """Contrast the levels of a subgroup with the first one, using the joint covariance.

        Returns
        -------
        EffectTable
            One row per later level and per combination of the other keys; ``level`` reads
            ``"later minus first"``. Wald inference with the full covariance, so levels that share
            controls are handled, and with the confidence level and degrees of freedom of this table.

        Raises
        ------
        InputError
            If the table has fewer than two levels of exactly one subgroup.
        """
        grouped = self.frame[self.frame["level"].notna()]
        if len(set(grouped["subgroup"])) != 1 or len(set(grouped["level"])) < 2:
            raise InputError(
                "difference() needs one subgroup with at least two levels",
                fix='make the table with .by("age_band") first',
            )
        others = [key for key in KEYS if key != "level"]
        records = self.frame.to_dict("records")
        rows: list[dict[str, object]] = []
        contrasts: list[Array] = []
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
        level, df = self.meta.get("level", 0.95), self.meta.get("df")
        return EffectTable.build(
            rows,
            matrix @ self.vcov @ matrix.T,
            level=float(str(level)),
            df=None if df is None else float(str(df)),
            meta={**self.meta, "contrast": "level minus first"},
        )

    # ---- reading further: the modules sit above this one, the methods only give them a familiar place --------------

    def heterogeneity(
        self, smallest_worthwhile: float, *, level: float = 0.95, power: float = 0.8, seed: int = 20260101
    ) -> Heterogeneity:
        """Judge effects by subgroup together; see `retrain_eval.heterogeneity.heterogeneity`."""
        from retrain_eval.heterogeneity import heterogeneity

        return heterogeneity(self, smallest_worthwhile, level=level, power=power, seed=seed)

    def relative_magnitude(
        self, m: Sequence[float] = (0.5, 1.0, 1.5, 2.0), *, event_time: int | None = None, level: float = 0.95
    ) -> pd.DataFrame:
        """Bound an effect when trends diverge; see `retrain_eval.did.honest.relative_magnitude`."""
        from retrain_eval.did.honest import relative_magnitude

        return relative_magnitude(self, m, event_time=event_time, level=level)

    def smoothness(
        self, m: Sequence[float] = (0.0,), *, event_time: int | None = None, level: float = 0.95
    ) -> pd.DataFrame:
        """Bound an effect when trends diverge smoothly; see `retrain_eval.did.honest.smoothness`."""
        from retrain_eval.did.honest import smoothness

        return smoothness(self, m, event_time=event_time, level=level)

    def plot(self, title: str = "") -> Any:
        """Draw the table: an event study where it has event times, else a forest plot.

        Parameters
        ----------
        title : str

        Returns
        -------
        plotnine.ggplot
            Points, pointwise intervals and, where the table has one, the simultaneous band.

        Raises
        ------
        InputError
            If the table has no rows.

        Examples
        --------
        >>> table = EffectTable.build([{"event_time": 0, "estimate": 1.0}], np.array([[0.04]]))
        >>> type(table.plot()).__name__
        'ggplot'
        """
        from retrain_eval.effect_plots import plot

        return plot(self, title)


def _typed(rows: pd.DataFrame, name: str) -> Any:
    """Return a column as an array of its type; one that is absent holds nothing."""
    kind = DTYPES[name]
    if name in rows:
        return rows[name].astype(kind).array
    return np.full(len(rows), np.nan) if kind == "float64" else pd.array([None] * len(rows), dtype=kind)


def symmetric_root(matrix: Array) -> Array:
    """Return the symmetric square root of a covariance, with directions that are only rounding left out.

    Unlike eigenvectors times roots of eigenvalues it is unique, so that draws from it agree between processors.

    Examples
    --------
    >>> symmetric_root(np.array([[4.0, 0.0], [0.0, 9.0]])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    values, vectors = np.linalg.eigh(matrix)
    kept = np.where(values > _SINGULAR * values.max(initial=0.0), values, 0.0)
    root: Array = (vectors * np.sqrt(kept)) @ vectors.T
    return root


def simultaneous_critical_value(
    vcov: Array, *, level: float = 0.95, draws: int = 100_000, seed: int = 20260101
) -> float:
    """Return the ``level`` quantile of max|t| over the rows of ``vcov``.

    Parameters
    ----------
    vcov : ndarray, shape (k, k)
        Covariance of the estimates. Rows with zero variance are ignored.
    level : float
        Simultaneous coverage wanted.
    draws, seed : int
        Size and seed of the Gaussian sample; from seed to seed the value has a standard deviation near 0.005.

    Notes
    -----
    Gaussian multipliers applied to influence functions give exactly N(0, vcov), so drawing from the
    covariance is the multiplier bootstrap without its noise (Montiel Olea and Plagborg-Møller 2019, sup-t).

    Examples
    --------
    >>> round(simultaneous_critical_value(np.eye(1)), 1)
    2.0
    """
    variance = np.diag(vcov)
    keep = variance > (_SINGULAR**2) * variance.max(initial=0.0)
    pointwise = float(special.ndtri(0.5 + level / 2))
    if keep.sum() == 0:
        return pointwise
    kept = vcov[np.ix_(keep, keep)]
    scale = np.sqrt(np.diag(kept))
    correlation = kept / np.outer(scale, scale)
    # groups that share nobody are independent: the same draws serve each, in an order of its own
    _, block = csgraph.connected_components(sparse.csr_array(correlation), directed=False)
    generator = np.random.default_rng(seed)
    largest = np.zeros(draws)
    # small matrices: more threads cost more than they save, and change the last bit
    with threadpool_limits(1, user_api="blas"):
        roots = [symmetric_root(correlation[np.ix_(block == b, block == b)]) for b in np.unique(block)]
        size = max(len(root) for root in roots)
        for part in np.array_split(largest, -(-draws // 10_000)):  # views, so that memory stays small
            normal = generator.standard_normal((len(part), size))
            for i, root in enumerate(roots):
                drawn = root @ normal[:, : len(root)].T
                drawn = np.abs(drawn, out=drawn).max(axis=0)
                np.maximum(part, drawn if i == 0 else drawn[generator.permutation(len(part))], out=part)
    return max(float(np.quantile(largest, level)), pointwise)
