"""Sensitivity of a matched sample's effect to hidden bias: the sums it is computed from, and the resulting tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.sources import Source, as_relation, query, require_columns, sql_name
from retrain_eval.common.sql import scratch
from retrain_eval.estimators.inference.hidden_bias_bounds import (
    ALPHA,
    GAMMAS,
    EValue,
    OsterBounds,
    Regressions,
    RosenbaumBounds,
    e_value,
    oster_bounds,
    rank_bounds,
    signed_ranks,
)
from retrain_eval.sample.composition import bring
from retrain_eval.sample.followup.censoring import by_role
from retrain_eval.sample.hidden_bias.cross_products import cross_products, regressions_of
from retrain_eval.sample.hidden_bias.pooled_sd import deviation, spread
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.tables.noise.cell_keys import key_sums
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys
from retrain_eval.tables.recipe import recorded
from retrain_eval.tables.statistics import CrossProducts, SignedRanks, Spread, Statistic

ROSENBAUM = ("result", "gamma", "p_value", "n_pairs")
E_VALUES = ("result", "estimate", "std_error", "sd", "risk_ratio", "e_value", "e_value_limit")
OSTER = (
    "result",
    "r2_max",
    "beta_uncontrolled",
    "r2_uncontrolled",
    "beta_controlled",
    "r2_controlled",
    "var_outcome",
    "var_treatment",
    "var_residual",
    "delta",
    "beta_star",
    "n",
)


@dataclass(frozen=True)
class HiddenBias:
    """Sensitivity of an estimate to hidden bias; a part is None if it does not apply to the design.

    Attributes
    ----------
    ranks : SignedRanks, optional
        For one-to-one pairs without replacement: the sums behind Rosenbaum's bounds.
    spread : Spread
        Sums of the outcome within the matched arms, behind the E-value.
    products : CrossProducts, optional
        Sums over all candidates, behind Oster's bounds.
    estimate, std_error : float
        The effect in question.
    notes : tuple of str
        Why a part is missing.
    """

    ranks: SignedRanks | None
    spread: Spread
    products: CrossProducts | None
    estimate: float
    std_error: float
    notes: tuple[str, ...]

    @property
    def alternative(self) -> str:
        """The direction of the estimate, in which Rosenbaum's bounds test."""
        return "less" if self.estimate < 0 else "greater"

    @property
    def rosenbaum(self) -> RosenbaumBounds | None:
        """Bounds on the p-value by strength of hidden bias."""
        return None if self.ranks is None else rank_bounds(self.ranks, alternative=self.alternative)

    @property
    def sd(self) -> float:
        """The standard deviation used by the E-value."""
        return deviation(self.spread)

    @property
    def e_value(self) -> EValue:
        """The strength of unmeasured confounding that would explain the effect away."""
        return e_value(self.estimate, self.std_error, self.sd)

    @property
    def regressions(self) -> Regressions | None:
        """The regressions of the outcome on the treatment, without and with the covariates."""
        return None if self.products is None else regressions_of(self.products)

    @property
    def oster(self) -> OsterBounds | None:
        """Selection on unobservables at the usual R² max."""
        return None if (found := self.regressions) is None else oster_bounds(found)

    def statistics(self) -> Iterator[tuple[str, Statistic, Mapping[str, Any]]]:
        """Yield each table that follows from a statistic: its name, the statistic and the options used."""
        yield "e_values", self.spread, {}
        if self.ranks is not None:
            yield "rosenbaum", self.ranks, {"alternative": self.alternative}
        if self.products is not None:
            yield "oster", self.products, {}

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the published tables by name, without the column of the result's name."""
        found = {name: MAKE[name](statistic, **options) for name, statistic, options in self.statistics()}
        effect = {"estimate": self.estimate, "std_error": self.std_error, **asdict(self.e_value)}
        return found | {"e_values": found["e_values"].assign(**effect)}


@recorded
def rosenbaum_table(ranks: SignedRanks, alternative: str = "greater", gammas: Sequence[float] = GAMMAS) -> pd.DataFrame:
    """Return ``gamma, p_value, n_pairs``, with one more row for the Γ at which the conclusion changes.

    Examples
    --------
    >>> ranks = signed_ranks([5.0, 4, -1, 3, 6, 2, 7, 8])
    >>> rosenbaum_table(ranks, gammas=[1, 2]).round(3).values.tolist()
    [[1.0, 0.009, 8.0], [1.976, 0.05, 8.0], [2.0, 0.051, 8.0]]
    """
    found = rank_bounds(ranks, gammas, alternative=alternative)
    if not np.isfinite(found.critical):
        return found.table
    at = found.table.head(1).assign(gamma=found.critical, p_value=ALPHA)
    rows = pd.concat([found.table, at])
    return rows.drop_duplicates("gamma").sort_values("gamma", ignore_index=True)


@recorded
def e_value_table(spread: Spread) -> pd.DataFrame:
    """Return one row with ``sd`` filled in; a release fills the columns that depend on the published effect."""
    return pd.DataFrame([{name: np.nan for name in E_VALUES[1:]} | {"sd": deviation(spread)}])


@recorded
def oster_table(products: CrossProducts) -> pd.DataFrame:
    """Return the regressions, and Oster's bounds at the usual R² max and at the most conservative one, 1.

    Raises
    ------
    InputError, DesignError
        See `retrain_eval.estimators.inference.hidden_bias_bounds.oster_bounds`.
    """
    found = regressions_of(products)
    usual = oster_bounds(found)
    bounds = [oster_bounds(found, r2_max) for r2_max in dict.fromkeys((usual.r2_max, 1.0))]
    return pd.DataFrame([{**asdict(found), **asdict(bound)} for bound in bounds])[list(OSTER[1:])]


MAKE: Mapping[str, Any] = {"rosenbaum": rosenbaum_table, "e_values": e_value_table, "oster": oster_table}


def hidden_bias(
    people: Source, sample: MatchedSample, outcome: str, *, estimate: float, std_error: float, winsorise: float = 1.0
) -> HiddenBias:
    """Compute how much hidden bias would overturn the effect estimated on a matched sample.

    Parameters
    ----------
    people : DuckDB relation, DataFrame, Arrow table or path
        The people the sample was drawn from, one row each, with the columns of the formula and the outcome. With risk
        sets, one row per ``match_id`` with ``treat`` and the outcome, as they follow from `follow_outcomes`.
    sample : MatchedSample
        What `match` returned for them.
    outcome : str
        Column whose difference in means the estimate is: earnings in a period, or their mean over several.
    estimate, std_error : float
        As published.
    winsorise : float
        Values of a number above this quantile are set to it in sums, but not in ranks, as in outcome moments.

    Returns
    -------
    HiddenBias
        Rosenbaum's bounds test in the direction of the estimate. The E-value's standard deviation is that within the
        matched arms, weighted. Oster's bounds compare the raw difference over all candidates with the one adjusted
        for the covariates of the matching formula. With risk sets there are none, because unmatched people have no
        period from which to follow their outcomes.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.sample.match import match
    >>> people = pd.DataFrame({"id": range(8), "treat": [1, 0] * 4, "age": [20, 21, 30, 31, 40, 42, 50, 50],
    ...                        "pay": [9.0, 7, 8, 5, 9, 6, 7, 6]})
    >>> sample = match(people, "treat ~ age", "id")
    >>> found = hidden_bias(people, sample, "pay", estimate=2.25, std_error=0.7)
    >>> float(found.rosenbaum.table["p_value"][0].round(4)), round(found.e_value.e_value, 1)
    (0.0328, 19.5)
    """
    relation = as_relation(people, numbers=outcome, keys=str(sample.audit["unit"]))
    require_columns(relation, [outcome])
    ranks, products, notes = None, None, []
    waiting = sample.audit["method"] == "riskset"
    sample = by_role(sample) if waiting else sample
    try:
        ranks = pair_ranks(relation, sample, outcome)
        rank_bounds(ranks)
    except DesignError as error:
        ranks = None
        notes.append(f"no Rosenbaum bounds: {error}")
    within = spread(relation, sample, outcome, winsorise=winsorise)
    try:
        if waiting:
            raise DesignError("with risk sets, who was not matched has no period from which outcomes count")
        products = cross_products(relation, sample, outcome, winsorise=winsorise)
        oster_table(products)
    except (DesignError, InputError) as error:
        products = None
        notes.append(f"no Oster bounds: {error}")
    found = HiddenBias(ranks, within, products, float(estimate), float(std_error), tuple(notes))
    e_value(found.estimate, found.std_error, found.sd)  # refuses what is not finite
    return found


def pair_ranks(people: Source, sample: MatchedSample, outcome: str) -> SignedRanks:
    """Return the sums of the signed ranks of pairs; where people have keys, also those of noisy amounts.

    Raises
    ------
    DesignError, InputError
        As `pair_differences`.
    """
    compared = _compared(people, sample, outcome)
    ranks = signed_ranks(_numbers(compared, "d"))
    if "noisy" not in compared.column_names:
        return ranks
    if np.isin(_numbers(compared, "d"), (-1.0, 0.0, 1.0)).all():  # of a 0/1 outcome, ranks are counts
        return replace(ranks, keys=np.zeros(1, np.uint64))
    noisy = _numbers(compared, "noisy")
    made = signed_ranks(noisy)
    record = np.concatenate([compared.column(name).to_numpy()[noisy != 0] for name in ("record", "other")])
    keys = key_sums(np.zeros(len(record), np.int64), record.astype(np.uint64), 1)
    return replace(ranks, noisy_n=made.n, noisy_positive=made.positive, keys=keys)


def pair_differences(people: Source, sample: MatchedSample, outcome: str) -> Floats:
    """Return the outcome of each treated person less that of the control, pair by pair.

    Raises
    ------
    DesignError
        If a treated person has several controls or a control serves several: pairs would not be independent.
    InputError
        If an outcome is missing.
    """
    return _numbers(_compared(people, sample, outcome), "d")


def _numbers(compared: pa.Table, name: str) -> Floats:
    numbers: Floats = compared.column(name).to_numpy()
    return numbers


def _compared(people: Source, sample: MatchedSample, outcome: str) -> pa.Table:
    """Return the pairs in their order: ``d`` and, where people have keys, ``noisy`` and the records of both."""
    relation = as_relation(people, numbers=outcome, keys=str(sample.audit["unit"]))
    counts = query(
        sample.pairs, "SELECT count(*), count(DISTINCT treated_id), count(DISTINCT control_id) FROM source"
    ).fetchall()[0]
    if counts[0] == 0:
        raise DesignError(
            "they are for pairs, and weighting makes none",
            public="they are for pairs, and here people are compared with several or in few comparisons",
        )
    if len(set(counts)) > 1:
        raise DesignError(
            f"they are for pairs, and here {counts[1]} treated people are compared with {counts[2]} controls "
            f"in {counts[0]} comparisons",
            public="they are for pairs, and here people are compared with several or in few comparisons",
        )
    unit, y = sql_name(str(sample.audit["unit"])), sql_name(outcome)
    noisy = ""
    if has_keys(relation):
        of = f"CAST({{0}}.{y} AS DOUBLE) * {{0}}.{PERSON_KEY}.factor"
        noisy = f", {of.format('a')} - {of.format('b')} AS noisy, a.{PERSON_KEY}.record AS record"
        noisy += f", b.{PERSON_KEY}.record AS other"
    with scratch(relation) as tables:
        pairs = tables.name("match_pairs")
        bring(relation, sample.pairs, "SELECT subclass, treated_id, control_id FROM source", pairs)
        compared = query(
            relation,
            f"SELECT CAST(a.{y} AS DOUBLE) - CAST(b.{y} AS DOUBLE) AS d{noisy} FROM {pairs} p JOIN source a ON "
            f"a.{unit} = p.treated_id JOIN source b ON b.{unit} = p.control_id ORDER BY p.subclass ASC",
        ).to_arrow_table()
    if compared.num_rows != counts[0] or compared.column("d").null_count:
        raise InputError(
            f"{counts[0] - compared.num_rows + compared.column('d').null_count} pair(s) have no difference",
            column=outcome,
            rule="an outcome for every matched person",
            fix="leave out people without an outcome before matching",
        )
    return compared
