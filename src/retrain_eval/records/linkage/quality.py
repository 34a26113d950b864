"""How good a linkage is: weights, estimated precision and recall, pairs for clerical review, and rates by group."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.common.levels import MISSING_LEVEL
from retrain_eval.common.sources import Source, as_relation, query, require_columns, sql_name, sql_text

RATES = ("subgroup", "level", "n", "n_linked", "rate")
THRESHOLDS = (0.5, 0.8, 0.9, 0.95, 0.99)


def weight_distribution(pairs: Source, width: float = 2.0) -> pd.DataFrame:
    """Count candidate pairs by match weight, log₂ of the odds that they are of one person.

    Parameters
    ----------
    pairs : DuckDB relation, DataFrame, Arrow table or path
        With the column ``match_probability``.
    width : float
        Of a bin.

    Returns
    -------
    DataFrame
        ``weight_low, weight_high, n, expected_matches``: the last is the sum of the probabilities. Two clear humps
        mean that matches and others come apart; much between them is what a threshold gets wrong.

    Examples
    --------
    >>> weight_distribution(pd.DataFrame({"match_probability": [0.5, 0.6, 0.999]}), width=4.0)["n"].tolist()
    [2, 1]
    """
    relation = _pairs(pairs)
    if not width > 0:
        raise InputError("a bin needs a width", column="width", value=width, rule="above 0")
    found: pd.DataFrame = query(
        relation,
        f"""
        WITH w AS (
          SELECT match_probability AS p,
            log2(greatest(match_probability, 1e-12) / greatest(1 - match_probability, 1e-12)) AS weight FROM source
        )
        SELECT floor(weight / {width}) * {width} AS weight_low, weight_low + {width} AS weight_high,
          count(*) AS n, sum(p) AS expected_matches
        FROM w GROUP BY ALL ORDER BY weight_low ASC
        """,
    ).df()
    return found


def match_quality(pairs: Source, thresholds: Sequence[float] = THRESHOLDS) -> pd.DataFrame:
    """Estimate precision and recall at each threshold from the model's own probabilities.

    Parameters
    ----------
    pairs : DuckDB relation, DataFrame, Arrow table or path
        All candidate pairs that were compared, with ``match_probability``.
    thresholds : sequence of float
        Least probabilities of a link.

    Returns
    -------
    DataFrame
        ``threshold, n_links, precision, recall, expected_missed``. Precision is the mean probability of the links;
        recall the sum of theirs over that of all candidates. Both believe the model, and recall knows nothing of pairs
        that no blocking rule compared: check both against pairs reviewed by a clerk.

    References
    ----------
    Fellegi, I. and Sunter, A. (1969), Journal of the American Statistical Association 64, 1183-1210.

    Examples
    --------
    >>> match_quality(pd.DataFrame({"match_probability": [0.9, 0.99, 0.2]}), [0.5]).round(3).values.tolist()
    [[0.5, 2.0, 0.945, 0.904, 0.2]]
    """
    relation = _pairs(pairs)
    rows = []
    for threshold in thresholds:
        if not 0 < threshold <= 1:
            raise InputError("a threshold is a probability", column="thresholds", value=threshold, rule="0 to 1")
        n, inside, total = query(
            relation,
            f"SELECT count(*) FILTER (match_probability >= {threshold}), coalesce(fsum(match_probability) FILTER "
            f"(match_probability >= {threshold}), 0), coalesce(fsum(match_probability), 0) FROM source",
        ).fetchall()[0]
        precision = inside / n if n else float("nan")
        rows.append((threshold, n, precision, inside / total if total else float("nan"), total - inside))
    return pd.DataFrame(rows, columns=["threshold", "n_links", "precision", "recall", "expected_missed"])


def clerical_review(pairs: Source, low: float, high: float, limit: int = 100) -> pd.DataFrame:
    """Return candidate pairs that a person should look at: not clearly one person, nor clearly two.

    Parameters
    ----------
    pairs : DuckDB relation, DataFrame, Arrow table or path
        Candidate pairs, with ``match_probability``.
    low, high : float
        Ends of the band, ``low`` included.
    limit : int
        At most so many, those nearest to even odds first.

    Examples
    --------
    >>> clerical_review(pd.DataFrame({"match_probability": [0.9, 0.55, 0.2]}), 0.3, 0.95)["match_probability"].tolist()
    [0.55, 0.9]
    """
    if not 0 <= low < high <= 1:
        raise InputError("the band of review goes from a probability up to another", value=(low, high))
    relation = _pairs(pairs)
    order = ", ".join(f"{sql_name(column)} ASC" for column in relation.columns)
    found: pd.DataFrame = query(
        relation,
        f"FROM source WHERE match_probability >= {low} AND match_probability < {high} "
        f"ORDER BY abs(match_probability - 0.5) ASC, {order} LIMIT {int(limit)}",
    ).df()
    return found


def linkage_rates(people: Source, linked: str, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return the share of people who were found, over all and by group.

    Parameters
    ----------
    people : DuckDB relation, DataFrame, Arrow table or path
        One row per person.
    linked : str
        Column that is true for whoever was found.
    by : sequence of str
        Columns of groups.

    Returns
    -------
    DataFrame
        ``subgroup, level, n, n_linked, rate``; the first row is over all. People who were not found are left out of
        every outcome: where rates differ, effects over all people weigh the groups otherwise than the people do.

    References
    ----------
    Bohensky, M. et al. (2010), BMC Health Services Research 10, 346.

    Examples
    --------
    >>> people = pd.DataFrame({"found": [True, True, False, True], "sex": ["f", "f", "m", "m"]})
    >>> linkage_rates(people, "found", ["sex"]).values.tolist()
    [[None, None, 4, 3, 0.75], ['sex', 'f', 2, 2, 1.0], ['sex', 'm', 2, 1, 0.5]]
    """
    relation = as_relation(people)
    require_columns(relation, [linked, *by])
    broken = query(
        relation, f"SELECT count(*) FROM source WHERE TRY_CAST({sql_name(linked)} AS BOOLEAN) IS NULL"
    ).fetchall()[0][0]
    if broken:
        raise InputError(
            f"{broken} people are neither found nor not", column=linked, rule="true or false for everybody"
        )
    parts: list[pd.DataFrame] = []
    for name, level in [
        ("NULL", "NULL"),
        *((sql_text(name), f"coalesce(CAST({sql_name(name)} AS VARCHAR), '{MISSING_LEVEL}')") for name in by),
    ]:
        parts.append(
            query(
                relation,
                f"""
                FROM (SELECT CAST({name} AS VARCHAR) AS subgroup, CAST({level} AS VARCHAR) AS level, count(*) AS n,
                  count(*) FILTER (CAST({sql_name(linked)} AS BOOLEAN)) AS n_linked, n_linked / n AS rate
                FROM source GROUP BY ALL) ORDER BY level = '{MISSING_LEVEL}', level ASC NULLS LAST
                """,
            ).df()
        )
    table: pd.DataFrame = pd.concat(parts, ignore_index=True)[list(RATES)]
    return table


def _pairs(pairs: Source) -> duckdb.DuckDBPyRelation:
    relation = as_relation(pairs, numbers="match_probability")
    require_columns(relation, ["match_probability"])
    broken = query(
        relation,
        "SELECT count(*) FROM source WHERE match_probability IS NULL OR NOT (match_probability BETWEEN 0 AND 1)",
    ).fetchall()[0][0]
    if broken:
        raise InputError(
            f"{broken} pair(s) have no probability", column="match_probability", rule="a number from 0 to 1"
        )
    return relation
