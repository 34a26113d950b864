"""Group-time effects and their averages: simple, dynamic, group, calendar (Callaway and Sant'Anna 2021, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Floats, Index
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.did.few_clusters import CellInfluence, infer
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.tables.moments.moments import MomentTable
from retrain_eval.tables.recipe import Recipe, recorded

KINDS = ("simple", "dynamic", "group", "calendar")
# kind → the column that identifies its rows and over which the overall row averages
_KEY = {"dynamic": "event_time", "group": "cohort", "calendar": "time"}


@summarised
@dataclass(frozen=True)
class GroupTimeEffects:
    """ATT(g, t) with influence coefficients; made by `att_gt`.

    Attributes
    ----------
    moments : MomentTable, or a substitute computed from rows of people
        The table behind all estimates; with rows of people, products of influence functions.
    facts : mapping
        How they were estimated, for ``meta`` of results.
    rows : DataFrame, K rows
        ``subgroup, level, cohort, time, event_time, estimate, n_treated, n_control, weight``; ``weight`` is
        the Σw of the cohort, which aggregations use as its share.
    influence : sparse array, shape (K, C · (1 + T))
        φ of each row; see `OutcomeMoments.covariance`.
    cohort_influence : sparse array, shape (K, C · (1 + T))
        φ of each row's ``weight``: aggregations carry the sampling error of the shares too.
    notes : tuple of str
        What could not be estimated, and why.
    estimator : str
        Name that results carry.
    df : float, optional
        Degrees of freedom of Student's t; None uses the normal distribution.
    common : (sparse array (K, R), ndarray (R, C · (1 + T))), optional
        A part of ``influence`` that many rows share, as a product that is never multiplied out.
    names : tuple of str
        Strata within whose levels effects are estimated.
    seed : int
        Seed of the draws behind the critical value of bands.
    within : callable, optional
        What estimates again within the levels of named strata.
    redo, at_once : callable, optional
        What estimates again without a cluster, by its number; and without each at once, where sums of cells do.
    leads : (DataFrame, sparse array), optional
        Rows of leads of treatment and their influence, where a regression of their own was asked for.
    """

    moments: CellInfluence
    facts: Mapping[str, object]
    rows: pd.DataFrame
    influence: sparse.csr_array
    cohort_influence: sparse.csr_array
    notes: tuple[str, ...]
    estimator: str = "att_gt"
    df: float | None = None
    common: tuple[sparse.csr_array, Floats] | None = None
    names: tuple[str, ...] = ()
    seed: int = 20260101
    within: Callable[[tuple[str, ...]], GroupTimeEffects] | None = field(default=None, compare=False, repr=False)
    redo: Callable[[int], GroupTimeEffects | None] | None = field(default=None, compare=False, repr=False)
    at_once: Callable[[], tuple[Floats, Floats]] | None = field(default=None, compare=False, repr=False)
    leads: tuple[pd.DataFrame, sparse.csr_array] | None = None
    recipe: Recipe | None = field(default=None, init=False, compare=False, repr=False)

    def reads_people(self, _: Mapping[str, object]) -> bool:
        """Whether rows of people were read, because cell moments are not sufficient."""
        return not isinstance(self.moments, MomentTable)

    def combine(self, effects: sparse.csr_array, shares: sparse.csr_array | None = None) -> sparse.csr_array:
        """Return the influence coefficients of linear combinations of effects and of cohort weights, (J, K) each."""
        out = effects @ self.influence
        if shares is not None:
            out = out + shares @ self.cohort_influence
        if self.common is not None:
            out = out + sparse.csr_array((effects @ self.common[0]) @ self.common[1])
        return sparse.csr_array(out)

    @recorded
    def to_effects(self) -> EffectTable:
        """Return the group-time effects as an EffectTable, with a simultaneous band over all rows."""
        frame = self.rows.drop(columns="weight").assign(
            outcome=self.moments.outcome, estimator=self.estimator, estimand="ATT(g,t)"
        )
        influence = self.combine(sparse.csr_array(sparse.eye_array(len(frame))))
        found = infer(self.moments, influence, frame, lambda: self.without[0])
        meta = found.meta({**self.facts, "notes": self.notes})
        band = np.ones(len(frame), dtype=bool)
        df = self.df if found.df is None else found.df
        n, scale = found.n_clusters, found.scale
        return EffectTable.build(
            frame, found.vcov, band=band, df=df, n_clusters=n, scale=scale, seed=self.seed, meta=meta
        )

    @cached_property
    def without(self) -> tuple[Floats, Floats]:
        """The leave-one-cluster-out effects and their Σw, each of shape (G, K); NaN if an effect is not identified."""
        if self.at_once is not None:
            return self.at_once()
        pairs = [aligned(self, effects) for effects in self.redone]
        return np.array([att for att, _ in pairs]), np.array([weight for _, weight in pairs])

    @cached_property
    def redone(self) -> list[GroupTimeEffects | None]:
        """What is estimated without each cluster."""
        clusters = self.moments.clusters
        return [self.redo(number) for number in range(len(clusters.count))] if clusters and self.redo else []

    def to_frame(self) -> pd.DataFrame:
        """Return the tidy frame of `to_effects`."""
        return self.to_effects().to_frame()

    @recorded
    def by(self, *names: str) -> GroupTimeEffects:
        """Estimate within each level of the named strata; several names give their combinations.

        The levels keep their joint covariance, so differences between them are exact.
        """
        if self.within is None:
            raise InputError("these effects cannot be estimated by subgroup", value=self.estimator, fix="use att_gt")
        return self.within(names)

    @recorded
    def aggregate(
        self, kind: str = "dynamic", min_event: int | None = None, max_event: int | None = None
    ) -> EffectTable:
        """Average the group-time effects; see `retrain_eval.estimators.did.group_time.aggregate`."""
        return aggregate(self, kind, min_event=min_event, max_event=max_event)


def aligned(whole: GroupTimeEffects, part: GroupTimeEffects | None) -> tuple[Floats, Floats]:
    """Return effects and Σw of the rows of ``whole`` as they are in ``part``, without some cluster.

    A cohort that lies in that cluster alone has a Σw of zero. If it still has people and an effect cannot be estimated,
    both are NaN, because an average of the effects that are left would be one of something else. The rows of a level
    that the cluster does not lie in are as they were.
    """
    if part is None:
        return np.full(len(whole.rows), np.nan), np.full(len(whole.rows), np.nan)
    rows = zip(*(part.rows[name] for name in ("level", "cohort", "time", "estimate", "weight")), strict=True)
    found = {(str(level), cohort, time): (estimate, weight) for level, cohort, time, estimate, weight in rows}
    cells = part.moments.cells
    level = [" × ".join(map(str, of)) if of else str(pd.NA) for of in cells[list(whole.names)].to_numpy().tolist()]
    present = set(zip(level, cells["cohort"].to_numpy(dtype=float, na_value=np.inf).tolist(), strict=True))
    att, weight = (whole.rows[name].to_numpy(dtype=float).copy() for name in ("estimate", "weight"))
    keys = zip(*(whole.rows[name] for name in ("level", "cohort", "time")), strict=True)
    inside = set(level)
    for k, (of, cohort, time) in enumerate(keys):
        if str(of) not in inside and whole.names:
            continue
        missing = (np.nan, np.nan if (str(of), cohort) in present else 0.0)
        att[k], weight[k] = found.get((str(of), cohort, time), missing)
    return att, weight


@summarised
@dataclass(frozen=True)
class _Average:
    """A linear combination of group-time effects whose weights may themselves be estimated.

    ``effects`` and ``shares`` are its coefficients on the rows' effects and on their Σw, over all K rows; ``value`` is
    the average itself, of effects and Σw of shape (G, K).
    """

    keys: dict[str, object]
    estimate: float
    effects: Floats
    shares: Floats
    members: Index
    value: Callable[[Floats, Floats], Floats]


def aggregate(
    effects: GroupTimeEffects, kind: str = "dynamic", min_event: int | None = None, max_event: int | None = None
) -> EffectTable:
    """Average group-time effects, carrying the sampling error of the cohort shares.

    Parameters
    ----------
    effects : GroupTimeEffects
        From `att_gt`, or from its ``by``: then each level is averaged, and the covariance is joint.
    kind : {"simple", "dynamic", "group", "calendar"}
        One overall average; by event time; by cohort; by calendar period. The last three end with their
        own overall row, whose key is NA: over event times ≥ 0, over cohorts by size, over periods.
    min_event, max_event : int, optional
        Event times kept.

    Returns
    -------
    EffectTable
        Simultaneous bands cover all rows but the overall ones; over all levels at once after ``by``.

    Raises
    ------
    InputError
        For an unknown kind.
    DesignError
        If no period after treatment is left to average.

    Notes
    -----
    With P_g the share of cohort g, θ = Σ P_g ATT(g, t) / Σ P_g over the cells averaged. The influence
    function has one term for the effects and one for the shares (their Corollary 2); both are constant
    or linear in the path within a cell, so the moments still suffice.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], "t": [1, 2, 3] * 4,
    ...                      "g": [2] * 6 + [0] * 6, "y": [1.0, 4.0, 5.0] * 2 + [1.0, 2.0, 2.0] * 2})
    >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    >>> m.att_gt().aggregate("dynamic").to_frame()["estimate"].tolist()
    [0.0, 2.0, 3.0, 2.5]
    """
    return tabulate(effects, kind, *averages(effects, kind, min_event=min_event, max_event=max_event))


def averages(
    effects: GroupTimeEffects, kind: str, *, min_event: int | None = None, max_event: int | None = None
) -> tuple[pd.DataFrame, sparse.csr_array, Callable[[], Floats]]:
    """Return the rows of `aggregate` without inference, their influence, and what gives them without each cluster."""
    if kind not in KINDS:
        raise InputError(f"unknown kind={kind!r}", fix=f"use one of {', '.join(KINDS)}")
    rows = effects.rows
    event = rows["event_time"].to_numpy(dtype=float)
    keep = np.ones(len(rows), dtype=bool)
    if min_event is not None:
        keep &= event >= min_event
    if max_event is not None:
        keep &= event <= max_event

    found: list[_Average] = []
    for _, block in rows[keep].groupby(["subgroup", "level"], dropna=False, sort=False):
        found += _level(effects, block, kind)
    if not found:
        raise DesignError("no period after treatment is left to average")

    estimand = {"simple": "ATT", "dynamic": "ATT(e)", "group": "ATT(g)", "calendar": "ATT(t)"}[kind]
    counts = rows[["cohort", "n_treated", "n_control"]].to_numpy(dtype=float)
    frame = pd.DataFrame(
        [
            {
                "outcome": effects.moments.outcome,
                "estimator": effects.estimator,
                "estimand": estimand,
                **average.keys,
                "estimate": average.estimate,
                **_counts(counts, average.members),
            }
            for average in found
        ]
    )
    on_effects = sparse.csr_array(np.vstack([average.effects for average in found]))
    on_shares = sparse.csr_array(np.vstack([average.shares for average in found]))

    def without() -> Floats:
        return np.column_stack([average.value(*effects.without) for average in found])

    return frame, effects.combine(on_effects, on_shares), without


def tabulate(
    effects: GroupTimeEffects,
    kind: str,
    frame: pd.DataFrame,
    influence: sparse.csr_array,
    without: Callable[[], Floats],
) -> EffectTable:
    """Add inference to rows of averages; one band over all but the overall ones."""
    found = infer(effects.moments, influence, frame, without)
    band = None if kind == "simple" else frame[_KEY[kind]].notna().to_numpy()
    meta = found.meta({**effects.facts, "aggregation": kind, "notes": effects.notes})
    df = effects.df if found.df is None else found.df
    n, scale = found.n_clusters, found.scale
    return EffectTable.build(
        frame, found.vcov, band=band, df=df, n_clusters=n, scale=scale, seed=effects.seed, meta=meta
    )


def _level(effects: GroupTimeEffects, block: pd.DataFrame, kind: str) -> list[_Average]:
    """Averages within one level of a subgroup, the overall one last."""
    index = block.index.to_numpy()
    event = block["event_time"].to_numpy(dtype=float)
    post = index[event >= 0]
    level = {"subgroup": block["subgroup"].iloc[0], "level": block["level"].iloc[0]}
    if kind == "simple":
        return [_by_share(effects, post, level)] if len(post) else []

    key = _KEY[kind]
    used = index if kind == "dynamic" else post
    values = effects.rows[key].to_numpy(dtype=float)[used]
    parts, post_parts = [], []
    for value in np.unique(values):
        members = used[values == value]
        average = _evenly if kind == "group" else _by_share
        parts.append(average(effects, members, {**level, key: value}))
        if kind != "dynamic" or value >= 0:
            post_parts.append(parts[-1])
    if not post_parts:
        return parts
    if kind == "group":
        overall = _overall_by_share(effects, post_parts, level)
    else:
        overall = _combine(post_parts, np.full(len(post_parts), 1 / len(post_parts)), level)
    return [*parts, overall]


def _evenly(effects: GroupTimeEffects, members: Index, keys: dict[str, object]) -> _Average:
    on_effects = _place(effects, members, np.full(len(members), 1 / len(members)))
    estimate = float(on_effects @ effects.rows["estimate"].to_numpy())
    return _Average(
        keys, estimate, on_effects, np.zeros(len(on_effects)), members, lambda att, _: att[:, members].mean(axis=1)
    )


def _by_share(effects: GroupTimeEffects, members: Index, keys: dict[str, object]) -> _Average:
    weight = effects.rows["weight"].to_numpy()[members]
    att = effects.rows["estimate"].to_numpy()[members]
    total = weight.sum()
    estimate = float(weight @ att / total)
    # the derivative of a ratio Σ W ATT / Σ W with respect to W
    shares = _place(effects, members, (att - estimate) / total)
    return _Average(
        keys,
        estimate,
        _place(effects, members, weight / total),
        shares,
        members,
        lambda att, weight: mean_by_share(att[:, members], weight[:, members]),
    )


def mean_by_share(att: Floats, weight: Floats) -> Floats:
    """Return the weighted mean over columns; what has no weight may have no effect either."""
    total = weight.sum(axis=1)
    summed = np.where(weight == 0, 0.0, att * weight).sum(axis=1)
    mean: Floats = np.divide(summed, total, out=np.full(len(total), np.nan), where=total != 0)
    return mean


def _overall_by_share(effects: GroupTimeEffects, parts: list[_Average], keys: dict[str, object]) -> _Average:
    """Average of cohort effects by cohort size, the weights' own error carried."""
    first = np.array([part.members[0] for part in parts])
    weight = effects.rows["weight"].to_numpy()[first]
    total = weight.sum()
    overall = _combine(parts, weight / total, keys)
    att = np.array([part.estimate for part in parts])
    return replace(
        overall,
        shares=overall.shares + _place(effects, first, (att - overall.estimate) / total),
        value=lambda att, weight: mean_by_share(
            np.column_stack([part.value(att, weight) for part in parts]), weight[:, first]
        ),
    )


def _combine(parts: list[_Average], share: Floats, keys: dict[str, object]) -> _Average:
    return _Average(
        keys,
        float(share @ [part.estimate for part in parts]),
        share @ np.vstack([part.effects for part in parts]),
        share @ np.vstack([part.shares for part in parts]),
        np.concatenate([part.members for part in parts]),
        lambda att, weight: np.column_stack([part.value(att, weight) for part in parts]) @ share,
    )


def _place(effects: GroupTimeEffects, members: Index, values: Floats) -> Floats:
    out = np.zeros(len(effects.rows))
    out[members] = values
    return out


def _counts(counts: Floats, members: Index) -> dict[str, int]:
    """People behind an average: its distinct cohorts added up; its smallest control group."""
    cohort, treated, control = counts[members].T
    _, once = np.unique(cohort, return_index=True)
    return {"n_treated": int(treated[once].sum()), "n_control": int(control.min())}
