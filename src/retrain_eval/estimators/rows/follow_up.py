"""Employment in the quarters after an event, from the panel.

This needs the panel, not spells: who is employed in the second quarter after leaving a programme, whatever happened
in between. A person is counted by the pattern of what is known of the quarters asked for, so that the result comes
from a table of patterns that is as small and additive as a life table, and is one: of a single period, in which the
pattern takes the place of the cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
from scipy import sparse

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.numerics.joint import t_quantile
from retrain_eval.common.sources import Source, as_relation, query, require_columns, sql_name
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.rows.first_jobs import EVENT_DEFAULTS, EVENTS, require_constant
from retrain_eval.estimators.survival.clustering import clustering
from retrain_eval.estimators.survival.curves import variance_name, with_interval
from retrain_eval.estimators.survival.risk import group_name
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.noise.cell_keys import Keys
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys
from retrain_eval.tables.recipe import recorded
from retrain_eval.tables.statistics import Shares

_Row = tuple[dict[str, Any], Bools, Bools]

_ONE = "_one"
_PATTERN = "_pattern"
_OPENING = "pattern "  # so that no pattern looks like the code of a censored spell
_SHARE = {"outcome": "employed", "estimator": "share"}


def employment_after(
    panel: Source,
    since: str = "to_exit",
    quarters: Sequence[int] = (2, 4, 8),
    id: str = "person_id",
    by: str | Sequence[str] = (),
    weights: str | None = None,
    weight_type: str | None = None,
    cluster: str | None = None,
    level: float = 0.95,
    period: str = "quarter",
) -> EffectTable:
    """Return the shares employed, and with the same employer, in quarters after an event.

    Parameters
    ----------
    panel : DuckDB relation, DataFrame, Arrow table or path
        One row per person and quarter with the columns ``id``, ``since``, ``employed`` and ``main_employer``, as
        `retrain_eval.build_panel` makes them, and those of ``by``, ``weights`` and ``cluster``, which do not change
        within a person.
    since : {"to_exit", "to_entry", "to_displacement"}
        Column of the quarters since the event; people for whom it is NULL have no part.
    quarters : sequence of int
        Quarters after the event, ascending; or whatever the panel's periods are.
    id, by, weights, weight_type, cluster
        As in `retrain_eval.tables.life_table.counting.life_table`.
    level : float
        Confidence level.
    period : str
        What a period of the panel is: a word of the estimand, "same employer since month 6".

    Returns
    -------
    EffectTable
        Per group, with the quarter in ``time``: "employed", the share employed in the quarter of those whose
        employment in it is known; and for each quarter but the first "same employer since quarter 2", the
        share whose main employer is that of the first quarter, of those employed in the first quarter and known
        in both. ``n_treated`` is the denominator, in people. Intervals are symmetric on the logit scale; ``vcov``
        covers all rows, clustered by ``cluster``, else by person.

    Raises
    ------
    InputError
        If a column is missing, a keyword unknown, a column of levels, weights or cluster changes within a person,
        or a person has two rows for one quarter.
    DesignError
        If a share has no denominator.

    Notes
    -----
    With quarters 2 and 4 after exit, "same employer since quarter 2" is the measure of retention of the US Workforce
    Innovation and Opportunity Act (20 CFR 677.155(a)(1)(vi)): of the participants employed in the second quarter after
    exit, the share employed by the same employer in the fourth. The panel's main employer is used as the
    employer, so that a person who keeps a job that has become a side job is not counted, and a
    successor employer is another one.

    Examples
    --------
    >>> import pandas as pd
    >>> panel = pd.DataFrame({"person_id": [1, 1, 2, 2, 3, 3], "to_exit": [2, 4] * 3,
    ...     "employed": [1.0, 1.0, 1.0, 0.0, 0.0, 1.0], "main_employer": ["A", "A", "B", None, None, "C"]})
    >>> found = employment_after(panel, quarters=(2, 4)).to_frame()
    >>> found[["estimand", "time", "estimate", "n_treated"]].round(3).to_numpy().tolist()
    [['employed', 2.0, 0.667, 3], ['employed', 4.0, 0.667, 3], ['same employer since quarter 2', 4.0, 0.5, 2]]
    """
    table, rows = _count(panel, since, quarters, id, by, weights, weight_type, cluster, period)
    groups = table.groups()
    found, influence = [], []
    for keys, counted, successes in rows:
        total = table.cells["sum_w"].to_numpy()[counted].sum()
        share = table.cells["sum_w"].to_numpy()[successes].sum() / total
        influence.append((successes - share * counted) / total)
        n = table.cells["n"].to_numpy()[counted].sum()
        found.append({**_SHARE, **keys, "estimate": share, "n_treated": n})
    by_cluster = clustering(
        table,
        np.array([row["estimate"] for row in found]),
        [{groups[number] for number in np.unique(table.group_numbers()[counted])} for _, counted, _ in rows],
        lambda part: _again(table, part, rows),
    )
    vcov = by_cluster.vcov
    if vcov is None:
        vcov = table.covariance(sparse.csr_array(np.vstack(influence)))
    variance = by_cluster.name or _variance(table)
    meta = {"variance": variance, "conf_type": "logit", "people": table.n_people, "since": since}
    effects = EffectTable.build(found, vcov, level=level, n_clusters=by_cluster.n, meta=meta)
    return with_logit_interval(effects, level)


def _again(table: LifeTable, part: LifeTable, rows: Sequence[_Row]) -> Floats:
    """Return the shares in a part of the people; NaN where it has no denominator."""
    keys = [*table.by, "entry", "duration", "cause"]
    whole = list(table.cells[keys].itertuples(index=False, name=None))
    left = dict(zip(part.cells[keys].itertuples(index=False, name=None), part.cells["sum_w"], strict=True))
    weight = np.array([left.get(key, 0.0) for key in whole])
    with np.errstate(invalid="ignore"):
        return np.array([weight[successes].sum() / weight[counted].sum() for _, counted, successes in rows])


def employment_shares(
    panel: Source,
    since: str = "to_exit",
    quarters: Sequence[int] = (2, 4, 8),
    id: str = "person_id",
    by: str | Sequence[str] = (),
    weights: str | None = None,
    weight_type: str | None = None,
    cluster: str | None = None,
    period: str = "quarter",
) -> Shares:
    """Return the sums that the shares of `employment_after` are ratios of; they add up over agencies.

    Parameters
    ----------
    panel, since, quarters, id, by, weights, weight_type, cluster, period
        As in `employment_after`, which raises what this raises.

    Examples
    --------
    >>> import pandas as pd
    >>> panel = pd.DataFrame({"person_id": [1, 1, 2, 2, 3, 3], "to_exit": [2, 4] * 3,
    ...     "employed": [1.0, 1.0, 1.0, 0.0, 0.0, 1.0], "main_employer": ["A", "A", "B", None, None, "C"]})
    >>> found = employment_shares(panel, quarters=(2, 4))
    >>> found.estimand, found.n.tolist(), found.sum_wx.tolist()
    (('employed', 'employed', 'same employer since quarter 2'), [3, 3, 2], [2.0, 2.0, 1.0])
    """
    table, rows = _count(panel, since, quarters, id, by, weights, weight_type, cluster, period)
    n, weight = table.cells["n"].to_numpy(), table.cells["sum_w"].to_numpy()
    keys, counted, successes = zip(*rows, strict=True)
    return Shares(
        outcome=_SHARE["outcome"],
        subgroup=keys[0]["subgroup"] or "",
        level=tuple(key["level"] or "" for key in keys),
        estimand=tuple(key["estimand"] for key in keys),
        time=np.array([key["time"] for key in keys]),
        n=np.array([n[who].sum() for who in counted]),
        sum_w=np.array([weight[who].sum() for who in counted]),
        sum_wx=np.array([weight[who].sum() for who in successes]),
        hits=np.array([n[who].sum() for who in successes]),
        keys=_keys(table, counted),
        hit_keys=_keys(table, successes),
    )


def _keys(table: LifeTable, cells: Sequence[Bools]) -> Keys | None:
    """Return the cell keys of sums of cells, modulo 2⁶⁴."""
    if table.keys is None:
        return None
    return np.array([table.keys.key[who].sum(dtype=np.uint64) for who in cells], dtype=np.uint64)


@recorded
def share_effects(shares: Shares) -> EffectTable:
    """Return the shares as effects without errors, which need the people: how their weights and clusters lie.

    Examples
    --------
    >>> one = np.array([20])
    >>> shares = Shares("employed", "", ("",), ("employed",), np.array([2]), one, np.array([18.0]), np.array([9.0]))
    >>> share_effects(shares).to_frame()[["time", "estimate", "n_treated"]].values.tolist()
    [[2.0, 0.5, 20]]
    """
    columns = zip(shares.level, shares.estimand, shares.time, shares.n, shares.sum_wx / shares.sum_w, strict=True)
    rows = [
        {**_SHARE, "subgroup": shares.subgroup or None, "level": level or None, "estimand": estimand}
        | {"time": int(quarter), "estimate": share, "n_treated": int(n)}
        for level, estimand, quarter, n, share in columns
    ]
    return EffectTable.build(rows, np.full((len(rows), len(rows)), np.nan))


def _count(
    panel: Source,
    since: str,
    quarters: Sequence[int],
    id: str,
    by: str | Sequence[str],
    weights: str | None,
    weight_type: str | None,
    cluster: str | None,
    period: str,
) -> tuple[LifeTable, list[_Row]]:
    """Return the table of patterns and, of each share, its keys, the cells that count, and those with the property."""
    if since not in EVENTS:
        raise unknown("event", since, EVENTS)
    asked = [int(quarter) for quarter in quarters]
    if not asked or asked != sorted(set(asked)) or asked != list(quarters):
        raise InputError("quarters must be whole numbers, ascending", column="quarters", value=list(quarters))
    levels = (by,) if isinstance(by, str) else tuple(by)
    relation = as_relation(panel, numbers=(since, "employed", weights), keys=(id, cluster))
    patterns = _patterns(relation, since, asked, id, levels, weights, cluster)
    table = life_table(patterns, id, _ONE, _PATTERN, None, levels, weights, weight_type, cluster, censored=())
    group, weight = table.group_numbers(), table.cells["sum_w"].to_numpy()
    known = table.cells["cause"].str.removeprefix(_OPENING).str.split(",")
    rows: list[_Row] = []
    for number, name in enumerate(table.groups()):
        for estimand, quarter, base, hit in _shares(asked, period):
            counted = (group == number) & np.array([base(pattern) for pattern in known])
            if weight[counted].sum() == 0:
                raise DesignError(
                    f"no one in {group_name(name) or 'all'} counts for {estimand!r}, quarter {quarter}",
                    public="in one of the groups no one is followed for so long",
                )
            keys = {"subgroup": group_name(levels) or None, "level": group_name(name) or None}
            successes = counted & np.array([hit(pattern) for pattern in known])
            rows.append(({**keys, "estimand": estimand, "time": quarter}, counted, successes))
    return table, rows


def _patterns(
    relation: duckdb.DuckDBPyRelation,
    since: str,
    quarters: list[int],
    id: str,
    levels: tuple[str, ...],
    weights: str | None,
    cluster: str | None,
) -> duckdb.DuckDBPyRelation:
    """Return one row per person with the pattern of its quarters, items joined by commas.

    After the opening, the item of a quarter is "1" or "0", or "-" if not known; then comes one item for each quarter
    but the first: "s" same employer as in the first quarter, "d" not, "-" not known or not employed in the first.
    """
    keep = list(dict.fromkeys([*levels, *(name for name in (weights, cluster) if name is not None and name != id)]))
    require_columns(relation, [id, since, "employed", "main_employer", *keep], EVENT_DEFAULTS)
    require_constant(relation, since, id, keep)
    person, quarter = sql_name(id), sql_name(since)
    groups = ", ".join([person, *(sql_name(name) for name in keep)])
    known = "CAST(employed AS DOUBLE)"
    work = [f"max({known}) FILTER ({quarter} = {q} AND NOT isnan({known}))" for q in quarters]
    firm = [f"max(CAST(main_employer AS VARCHAR)) FILTER ({quarter} = {q})" for q in quarters]
    columns = ", ".join(
        [f"{sql} AS work_{q}" for q, sql in zip(quarters, work, strict=True)]
        + [f"{sql} AS firm_{q}" for q, sql in zip(quarters, firm, strict=True)]
    )
    first = quarters[0]
    items = [f"CASE WHEN work_{q} IS NULL THEN '-' WHEN work_{q} > 0 THEN '1' ELSE '0' END" for q in quarters] + [
        f"CASE WHEN NOT coalesce(work_{first} > 0, false) OR work_{q} IS NULL THEN '-' WHEN work_{q} = 0 THEN 'd' "
        f"WHEN firm_{first} IS NULL OR firm_{q} IS NULL THEN '-' WHEN firm_{first} = firm_{q} THEN 's' ELSE 'd' END"
        for q in quarters[1:]
    ]
    key, own = (f", any_value({PERSON_KEY}) AS {PERSON_KEY}", f", {PERSON_KEY}") if has_keys(relation) else ("", "")
    return query(
        relation,
        f"WITH wide AS (SELECT {groups}, {columns}{key} FROM source WHERE {quarter} IS NOT NULL GROUP BY {groups}) "
        f"SELECT {groups}{own}, 1 AS {_ONE}, "
        f"concat('{_OPENING}', concat_ws(',', {', '.join(items)})) AS {_PATTERN} FROM wide",
    )


def _shares(quarters: list[int], period: str) -> list[tuple[str, int, _Rule, _Rule]]:
    """Return each share: its estimand, quarter, and what counts in its denominator and numerator."""
    shares: list[tuple[str, int, _Rule, _Rule]] = [
        ("employed", quarter, _Rule(place, "01"), _Rule(place, "1")) for place, quarter in enumerate(quarters)
    ]
    shares += [
        (f"same employer since {period} {quarters[0]}", quarter, _Rule(place, "sd"), _Rule(place, "s"))
        for place, quarter in enumerate(quarters[1:], start=len(quarters))
    ]
    return shares


class _Rule:
    """Whether the item of a pattern at a place is one of some."""

    def __init__(self, place: int, items: str) -> None:
        self.place, self.items = place, items

    def __call__(self, pattern: list[str]) -> bool:
        return pattern[self.place] in self.items


def _variance(table: LifeTable) -> str:
    return variance_name(table, "by person").replace("by spell", "by person")


def with_logit_interval(table: EffectTable, level: float) -> EffectTable:
    """Return shares with intervals that are symmetric on the logit scale, and no p-value."""
    share, error = table.frame["estimate"].to_numpy(), table.frame["std_error"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        centre, half = (
            np.log(share / (1 - share)),
            t_quantile(table.df, 0.5 + level / 2) * error / (share * (1 - share)),
        )
        low, high = (1 / (1 + np.exp(-(centre + sign * half))) for sign in (-1, 1))
    return with_interval(table, low, high)
