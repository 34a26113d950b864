"""Employment quality by the counting method of Alkire and Foster."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pandas as pd

from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.periods import a_year
from retrain_eval.common.sources import Source, as_relation, query, require_columns, sql_name
from retrain_eval.common.sql import loaded, optional, select
from retrain_eval.panel.calendar import frequency_of
from retrain_eval.panel.outcome_paths import mark_built
from retrain_eval.panel.quality_steps import QualitySteps

DIMENSIONS = ("earnings", "tenure", "stability", "occupation")
NON_EMPLOYED = ("deprived", "excluded")


def build_quality(
    con: duckdb.DuckDBPyConnection,
    *,
    dimensions: Sequence[str] = DIMENSIONS,
    min_tenure: int | None = None,
    max_cv: float = 0.5,
    cutoff_k: float = 0.5,
    non_employed: str = "deprived",
) -> duckdb.DuckDBPyRelation:
    """Create the table ``quality``: deprivations of each person and covered period.

    Parameters
    ----------
    con : DuckDBPyConnection
        Connection on which `retrain_eval.build_panel` has run.
    dimensions : sequence of str
        Which to count, with equal weights. *earnings*: below the living wage of ``price``. *tenure*: fewer than
        ``min_tenure`` periods with one employer or its successors. *stability*: the coefficient of variation of the
        earnings of the last year is above ``max_cv``, or one of them is zero. *occupation*: the occupation pays
        less than the one held before displacement (before entry, for a person who was not displaced).
    min_tenure : int, optional
        Periods with one employer from which on a job is not deprived; by default those of a year: 4 quarters, 12
        months, 52 weeks, 26 two-week intervals. In an annual study a year says nothing, and both defaults are 4 years.
    max_cv : float
        Largest coefficient of variation (population standard deviation over mean) that is not deprived.
    cutoff_k : float
        Share of the dimensions from which on a person counts as deprived (the poverty cut-off k/d).
    non_employed : {"deprived", "excluded"}
        Without a job a person is deprived in every dimension, so that trained and controls are compared over the same
        people; or has no score, as where only the employed are studied (Sehnbruch et al. 2020).

    Returns
    -------
    DuckDBPyRelation
        ``person_id, period, d_<dimension>`` (1.0, 0.0 or NULL), ``deprivations`` (their number), ``deprived`` (1.0 if
        their share reaches the cut-off), ``m0`` (that share if deprived, else 0.0). With any dimension unknown, all
        three are NULL: nothing is counted over fewer dimensions. Whether there is a score does not depend on whether
        a person is employed: see Notes.

    Raises
    ------
    InputError
        For an unknown dimension or keyword.
    DesignError
        If the records that a dimension needs are not loaded.

    Notes
    -----
    Without a job every dimension is deprived, so a dimension that is unknown only in employment would leave a person's
    worst quarters as the only ones with a score. Therefore a person has scores in all quarters in which there can be
    any, or in none. There can be none, with or without a job, in the first ``min_tenure`` − 1 quarters of coverage
    (tenure) and in the first three (stability), and where there is no living wage for region and period. In the other
    quarters a dimension that is unknown in one, or for want of an occupation before displacement or entry in all,
    is NULL in all of them.

    Occupations are ranked by their mean log real earnings over the person-periods with one employer, at the first two
    digits of ISCO. Alkire and Foster (2011), *Journal of Public Economics* 95(7–8), section 3; applied to employment by
    Sehnbruch, González, Apablaza, Méndez and Arriagada (2020), *World Development* 127.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE panel AS SELECT 'a' AS person_id, 8076 + i AS period, e AS earnings, "
    ...     "CAST(e > 0 AS DOUBLE) AS employed, i AS tenure, false AS tenure_censored "
    ...     "FROM (VALUES (1, 100.0), (2, 100.0), (3, 100.0), (4, 110.0), (5, 110.0)) AS t(i, e)")
    >>> quality = build_quality(con, dimensions=("tenure", "stability"))
    >>> quality.project("period, d_tenure, d_stability, deprivations, deprived, m0").order("period").fetchall()[2:]
    [(8079, None, None, None, None, None), (8080, 0.0, 0.0, 0, 0.0, 0.0), (8081, 0.0, 0.0, 0, 0.0, 0.0)]
    """
    names = tuple(dimensions)
    for name in names:
        if name not in DIMENSIONS:
            raise unknown("dimension of employment quality", name, DIMENSIONS)
    if not names or len(set(names)) < len(names):
        raise InputError("dimensions are named once, and there is at least one", value=", ".join(names))
    if non_employed not in NON_EMPLOYED:
        raise unknown("non_employed", non_employed, NON_EMPLOYED)
    if not 0 < cutoff_k <= 1:
        raise InputError("cutoff_k is a share of the dimensions", column="cutoff_k", value=cutoff_k, rule="0 < k <= 1")
    if not loaded(con, "panel"):
        raise InputError("there is no panel", fix="build_panel comes first")
    _check_sources(con, names)
    year = a_year(frequency_of(con, "panel"))
    QualitySteps(
        dimensions=names,
        persons=select(con, "person", "person_id", "region VARCHAR") if "earnings" in names else "",
        displacements=optional(con, "displacement", "person_id", "displaced_on", "isco VARCHAR"),
        year=year,
        min_tenure=year if min_tenure is None else int(min_tenure),
        max_cv=float(max_cv),
        cutoff_k=float(cutoff_k),
        jobless="1.0" if non_employed == "deprived" else "NULL",
    ).build(con)
    mark_built(con, "quality")
    return con.table("quality")


def alkire_foster(source: Source, by: str | Sequence[str] = ()) -> pd.DataFrame:
    """Return the headcount ratio H, the intensity A, M0 = H·A and what each dimension contributes to it.

    Parameters
    ----------
    source : DuckDB relation, DataFrame, Arrow table or path
        Rows of ``quality``, with further columns where ``by`` names them. Rows without a score are left out.
    by : str or sequence of str
        Columns to group by.

    Returns
    -------
    DataFrame
        The columns of ``by``, ``n`` (person-periods with a score), ``H, A, M0``, ``share_<dimension>`` (of M0; they sum
        to 1; NaN where no one is deprived, as is A).

    Raises
    ------
    InputError
        If a column is missing, or the rows are none of ``quality``.

    Notes
    -----
    Alkire and Foster (2011), section 3: with c the deprivations of the deprived and d dimensions, H = q/n,
    A = Σc/(qd), M0 = Σc/(nd); a dimension's share is its censored headcount over Σc.

    Examples
    --------
    >>> rows = pd.DataFrame({"d_tenure": [1.0, 0.0, 1.0], "d_earnings": [1.0, 0.0, 0.0], "deprivations": [2, 0, 1],
    ...                      "deprived": [1.0, 0.0, 1.0], "m0": [1.0, 0.0, 0.5]})
    >>> alkire_foster(rows).round(3).to_dict("records")
    [{'n': 3, 'H': 0.667, 'A': 0.75, 'M0': 0.5, 'share_tenure': 0.667, 'share_earnings': 0.333}]
    """
    relation = as_relation(source, numbers=("deprived", "m0"))
    names = (by,) if isinstance(by, str) else tuple(by)
    require_columns(relation, [*names, "deprived", "m0"])
    dimensions = [column.removeprefix("d_") for column in relation.columns if column.startswith("d_")]
    if not dimensions:
        raise InputError("the source has no dimension d_...", fix="give the table that build_quality makes")
    keys = "".join(f"{sql_name(name)}, " for name in names)
    counts = " + ".join(f"sum(d_{name}) FILTER (deprived = 1)" for name in dimensions)
    shares = ", ".join(
        f"sum(d_{name}) FILTER (deprived = 1) / nullif({counts}, 0) AS share_{name}" for name in dimensions
    )
    ratios = "avg(deprived) AS H, sum(m0) / nullif(sum(deprived), 0) AS A, avg(m0) AS M0"
    rows = f"SELECT {keys} count(*) AS n, {ratios}, {shares} FROM source WHERE m0 IS NOT NULL GROUP BY ALL ORDER BY ALL"
    ratios_by_group: pd.DataFrame = query(relation, rows).df()
    return ratios_by_group


def _check_sources(con: duckdb.DuckDBPyConnection, names: tuple[str, ...]) -> None:
    """Refuse a dimension that the records cannot show."""
    columns = con.table("panel").columns

    def some(column: str) -> bool:
        return column in columns and con.execute(f"SELECT count({column}) > 0 FROM panel").fetchall()[0][0]

    wages = loaded(con, "price") and "living_wage" in con.table("price").columns
    if "earnings" in names and not wages:
        raise DesignError("employment quality counts earnings below the living wage, and no price records are loaded; "
                          "load them, or leave earnings out of [quality] dimensions")  # fmt: skip
    if "tenure" in names and not some("tenure"):
        raise DesignError("employment quality counts tenure, and the wage records name no employer; "
                          "leave tenure out of [quality] dimensions")  # fmt: skip
    if "occupation" in names and not some("isco"):
        raise DesignError("employment quality counts occupations, and the wage records have none; "
                          "leave occupation out of [quality] dimensions")  # fmt: skip
