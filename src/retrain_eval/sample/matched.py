"""The result of matching: pairs, weights, balance and the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.shown import summarised
from retrain_eval.common.sources import Source
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.sample.balance.balance import effective_size, overlap_table
from retrain_eval.sample.compared import Compared
from retrain_eval.sample.drawn import Drawn
from retrain_eval.sample.effect.att import att
from retrain_eval.sample.models.formula import TreatmentFormula
from retrain_eval.sample.pairs import Pairs
from retrain_eval.sample.scratch import keep_table, pairs_hash, weights_hash
from retrain_eval.sample.units import Units
from retrain_eval.tables.covariates.covariates import CovariateMoments
from retrain_eval.tables.noise.person_keys import PERSON_KEY

_NEIGHBOUR = ("no control within reach", "not the nearest neighbour of any trainee")
_STRATUM = ("no control in the same stratum", "no trainee in the same stratum")
_LOST = {"nearest": _NEIGHBOUR, "riskset": _NEIGHBOUR, **dict.fromkeys(("cem", "ebal", "ipw"), _STRATUM)}


@dataclass(frozen=True, eq=False)
class MatchedSample:
    """Who is compared with whom. Made by `match`.

    Attributes
    ----------
    pairs : DuckDBPyRelation
        ``subclass, treated_id, control_id, distance, weight``: one row per pair; none where the method makes sets
        (``cem``) or weights (``ebal``, ``ipw``) without pairs. ``subclass`` numbers the matched treated units in id
        order; ``distance`` is the difference of the scores; ``weight`` is the share of the control in its treated
        unit's comparison, so it adds to 1 within a subclass.
    weights : DuckDBPyRelation
        One row per matched unit: the unit column, ``treat`` (0/1), ``weight`` and, where there are sets,
        ``subclass``. A treated unit weighs 1 (except for the estimands ATE and ATO). A control of pairs weighs the sum
        of their weights, times matched controls / matched treated. Whatever the method, the weights of controls add up
        to their number (MatchIt's scale). ``subclass`` is NULL for a control in several. If the source has keys
        (`with_keys`), ``person_key`` comes along, so that what is joined to the weights has them.
        Samples from risk sets have more columns in both; see `retrain_eval.sample.methods.riskset.match_riskset`.
    audit : mapping
        Options, counts, propensity coefficients and the SHA-256 of pairs and weights; plain numbers and text, ready
        for JSON.

    Notes
    -----
    Both relations are temporary tables on the source's own connection, so they join with its tables and can be kept
    with ``sample.pairs.create("pairs")``. If the source is not a relation, use ``sample.weights.df()`` for pandas.

    ``audit["pairs_sha256"]`` is the hash of the UTF-8 lines ``treated_id <TAB> control_id <LF>`` in the order of
    ``pairs``: by treated id, then in the order matched. ``audit["weights_sha256"]`` is that of ``id <TAB> weight <LF>``
    in the order of ``weights``, which are rounded to 12 significant digits.
    """

    pairs: duckdb.DuckDBPyRelation
    weights: duckdb.DuckDBPyRelation
    audit: Mapping[str, object]
    _compared: Compared
    _score: Callable[[], Floats] | None
    _groups: Callable[[], dict[str, Ints]]
    _drawn: Drawn
    _again: Callable[[Ints], MatchedSample] | None = None  # the sample with units in another order

    @property
    def cluster(self) -> str | None:
        """Column of `weights` that identifies independent clusters; None if each unit is independent.

        Pass it to `retrain_eval.outcome_moments`. Matched sets without replacement and the cells of ``cem`` are
        clusters; after matching with replacement, and with weights, units are independent.
        """
        cluster = self.audit["cluster"]
        return None if cluster is None else str(cluster)

    @property
    def covariates(self) -> list[str]:
        """Columns whose balance is shown."""
        return list(self._compared.covariates)

    def count(self, name: str) -> int:
        """Return a count of the audit."""
        n = self.audit[name]
        if not isinstance(n, int):
            raise InputError("the audit's count is not a number", column=name, value=n)
        return n

    def att(
        self,
        outcome: str | Sequence[str],
        source: Source | None = None,
        *,
        vce: str | None = None,
        bias_adjust: bool = False,
        level: float = 0.95,
    ) -> EffectTable:
        """Return the effect on an outcome, with the standard error the design asks for; see `att`."""
        return att(self, outcome, source, vce=vce, bias_adjust=bias_adjust, level=level)

    def balance(self) -> pd.DataFrame:
        """Return the balance of covariates before and after matching; see `balance_table` for the columns."""
        return self._compared.balance.copy()

    def covariate_moments(
        self,
        *,
        winsorise: float = 1.0,
        cuts: Mapping[str, Sequence[float]] = MappingProxyType({}),
        caps: Mapping[str, float] = MappingProxyType({}),
        amounts: Sequence[str] = (),
        implied: Sequence[str] = (),
    ) -> CovariateMoments:
        """Return the sums over people from which `balance` can be computed, for a release.

        Parameters
        ----------
        winsorise : float
            Amounts beyond this quantile of either tail, or beyond the third largest, are set to it; 1 leaves them.
        cuts : mapping of str to sequence of float
            Column → the values at which it is cut into published strata. Its distribution function is then computed
            at these values too.
        caps : mapping of str to float
            Column → the amount that larger ones are set to, as ``cap`` of `outcome_moments`, instead of ``winsorise``.
        amounts : sequence of str
            Covariates that are amounts of money, such as earlier earnings: if the source has keys, their sums get each
            person's noise. Other numbers are protected as counts of people below round values.
        implied : sequence of str
            Covariates of which the sample's definition says that all, or no one, have a value, as if everyone is out
            of work before the start. Otherwise a covariate that all or no one have is withheld from a release.

        Examples
        --------
        >>> from retrain_eval.sample.match import match
        >>> people = pd.DataFrame({"id": range(4), "treat": [1, 0] * 2, "age": [20, 21, 30, 31]})
        >>> rows = match(people, "treat ~ age", "id").covariate_moments().cells
        >>> rows.loc[rows["covariate"] == "age", ["arm", "stage", "people"]].values.tolist()[:2]
        [['treated', 'before', 2], ['treated', 'after', 2]]
        """
        return self._compared.moments(winsorise, cuts, caps, amounts, implied)

    def flow(self) -> pd.DataFrame:
        """Return the people before and after matching: ``step, group`` (treated | control), ``n, reason``."""
        a = self.audit
        alone, left = _LOST[str(a["method"])]
        alone = alone if a["n_treated_unmatched"] else ""
        if a.get("n_treated_discarded"):
            alone = "no control within reach, or outside the common support"
        steps = [
            ("Candidates for matching", "treated", a["n_treated"], ""),
            ("Candidates for matching", "control", a["n_control"], ""),
            ("Matched and analysed", "treated", a["n_treated_matched"], alone),
            (
                "Matched and analysed",
                "control",
                a["n_control_matched"],
                left if a["n_control"] != a["n_control_matched"] else "",
            ),
        ]
        return pd.DataFrame(steps, columns=["step", "group", "n", "reason"])

    def overlap(self, bins: int = 20, *, treated_matched: bool = False) -> pd.DataFrame:
        """Return how many units lie in each of ``bins`` equal bins of the score.

        Groups are ``treated`` (all), ``control before`` (all), ``control matched`` and, on request, ``treated
        matched``, which replaces ``treated`` in a release if only few were not matched. These are raw counts; the
        release protects small ones.
        """
        if self._score is None:
            raise DesignError(f"{self.audit['distance']} has no score whose support could be compared")
        groups = self._groups()
        if not treated_matched:
            groups = {name: n for name, n in groups.items() if name != "treated matched"}
        return overlap_table(self._score(), groups, bins)

    def __repr__(self) -> str:
        a = self.audit
        sets = f"{a['n_pairs']} pairs" if a["n_pairs"] else f"method {a['method']}"
        return (
            f"MatchedSample({a['n_treated_matched']} of {a['n_treated']} treated with {a['n_control_matched']} of "
            f"{a['n_control']} controls, {sets})"
        )


@summarised
@dataclass(frozen=True)
class _Sets:
    """Matched sets as arrays over the matched units: membership and weights."""

    rows: Ints  # numbers of the units matched, ascending
    share: Floats  # of a pair within its treated unit's comparison
    subclass: Ints  # of a pair
    weight: Floats  # of a unit
    member: Ints  # subclass of a unit, 0 = several
    uses: Ints  # pairs of a control

    @classmethod
    def build(cls, pairs: Pairs) -> _Sets:
        rows = np.union1d(pairs.treated, pairs.control)
        treated, control = np.searchsorted(rows, pairs.treated), np.searchsorted(rows, pairs.control)
        n = len(rows)
        per_treated, uses = np.bincount(treated, minlength=n), np.bincount(control, minlength=n)
        matched = np.flatnonzero(per_treated)
        member = np.zeros(n, dtype=np.int64)
        member[matched] = np.arange(1, len(matched) + 1)
        subclass = member[treated]
        member[control] = np.where(uses[control] == 1, subclass, 0)
        share = 1.0 / per_treated[treated]
        weight = np.bincount(control, weights=share, minlength=n) * (np.count_nonzero(uses) / len(matched))
        weight[matched] = 1.0
        return cls(rows, share, subclass, weight, member, uses)


def assemble(
    relation: duckdb.DuckDBPyRelation,
    unit: str,
    formula: TreatmentFormula,
    units: Units,
    score: Floats | None,
    pairs: Pairs,
    choices: Mapping[str, object],
    again: Callable[[Ints], Pairs] | None = None,
) -> MatchedSample:
    """Turn pairs into the tables, balance and audit of a matched sample.

    Parameters
    ----------
    relation : DuckDBPyRelation
        The source; the tables are stored on its connection.
    unit : str
        Name of the id column.
    formula : TreatmentFormula
    units : Units
    score : ndarray, shape (C,), optional
        By cell; None where units were compared by their covariates.
    pairs : Pairs
        At least one.
    choices : mapping
        The options and estimates with which the audit begins.
    again : callable, optional
        Returns the pairs for another order of the units.
    """
    sets = _Sets.build(pairs)
    treated_ids, control_ids = units.ids.take(pa.array(pairs.treated)), units.ids.take(pa.array(pairs.control))
    pair_table = {
        "subclass": sets.subclass,
        "treated_id": treated_ids,
        "control_id": control_ids,
        "distance": pairs.distance,
        "weight": sets.share,
    }
    facts = {
        "cluster": None if choices["replace"] else "subclass",
        "n_pairs": len(pairs.treated),
        "control_reuse_max": int(sets.uses.max()),
        "control_reuse_mean": len(pairs.treated) / np.count_nonzero(sets.uses),
        "n_choices": pairs.choices,
        "ties_broken": pairs.ties_broken,
        "pairs_sha256": pairs_hash(treated_ids, control_ids),
    }
    drawn = Drawn(
        relation, unit, formula, units, sets.rows, units.treated[sets.rows], sets.weight, sets.member, pairs,
        score=None if score is None else lambda: score,
    )  # fmt: skip
    sample = finish(drawn, score, choices, facts, pair_table)
    if again is None:
        return sample

    def reordered(order: Ints) -> MatchedSample:
        return assemble(relation, unit, formula, units, score, again(order), choices)

    return replace(sample, _again=reordered)


def assemble_weighted(
    drawn: Drawn, score: Floats | None, choices: Mapping[str, object], facts: Mapping[str, object]
) -> MatchedSample:
    """Turn weights that come without pairs into a sample.

    Parameters
    ----------
    drawn : Drawn
    score : ndarray, shape (C,), optional
        By cell, for the first row of the balance table.
    choices, facts : mapping
        Beginning and end of the audit.
    """
    nobody = drawn.units.ids.slice(0, 0)
    no_pairs = {
        "subclass": pa.array([], pa.int64()),
        "treated_id": nobody,
        "control_id": nobody,
        "distance": pa.array([], pa.float64()),
        "weight": pa.array([], pa.float64()),
    }
    return finish(drawn, score, choices, {"n_pairs": 0, **facts}, no_pairs)


def finish(
    drawn: Drawn,
    score: Floats | None,
    choices: Mapping[str, object],
    facts: Mapping[str, object],
    pair_table: Mapping[str, object],
) -> MatchedSample:
    """Store the tables; balance and overlap are computed on first access."""
    units, n_cells = drawn.units, len(drawn.units.cells)
    all_treated, all_control = np.flatnonzero(units.treated), np.flatnonzero(~units.treated)
    matched_control = drawn.rows[~drawn.treated]
    ids = units.ids.take(pa.array(drawn.rows))
    weight_table: dict[str, object] = {
        drawn.unit: ids,
        "treat": drawn.treated.astype(np.int8),
        "weight": drawn.weight,
    }
    if drawn.subclass is not None:
        weight_table["subclass"] = pa.array(drawn.subclass, mask=drawn.subclass == 0)
    if units.keys is not None:
        weight_table[PERSON_KEY] = units.keys.take(drawn.rows).column()
    exact = choices["exact"]
    covariates = list(dict.fromkeys([*drawn.formula.covariates, *(exact if isinstance(exact, list) else [])]))

    compared = Compared(
        units,
        covariates,
        score,
        {"treated": all_treated, "control": all_control},
        {
            "treated": (drawn.rows[drawn.treated], drawn.weight[drawn.treated]),
            "control": (matched_control, drawn.weight[~drawn.treated]),
        },
    )

    @cache
    def groups() -> dict[str, Ints]:
        people = {
            "treated": all_treated,
            "treated matched": drawn.rows[drawn.treated],
            "control before": all_control,
            "control matched": matched_control,
        }
        return {name: np.bincount(units.cell[who], minlength=n_cells) for name, who in people.items()}

    n_matched = int(drawn.treated.sum())
    audit = {
        **choices,
        "n_treated": len(all_treated),
        "n_control": len(all_control),
        "n_treated_matched": n_matched,
        "n_control_matched": len(matched_control),
        "n_treated_unmatched": len(all_treated) - n_matched,
        "ess_control": effective_size(drawn.weight[~drawn.treated]),
        **facts,
        "weights_sha256": weights_hash(ids, drawn.weight),
    }
    return MatchedSample(
        pairs=keep_table(drawn.relation, pair_table, "pairs"),
        weights=keep_table(drawn.relation, weight_table, "weights"),
        audit=audit,
        _compared=compared,
        _score=drawn.score,
        _groups=groups,
        _drawn=drawn,
    )
