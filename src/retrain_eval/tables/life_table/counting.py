"""Count spells by cell, inside DuckDB, to make a life table.

`retrain_eval.tables.life_table.spell_table` describes the counts and what is computed from them.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.sources import Source, as_relation
from retrain_eval.tables.life_table.cluster_sums import count_clusters, count_products
from retrain_eval.tables.life_table.event_codes import Codes
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.life_table.spell_cells import COUNTS, SpellColumns, count_cells, count_people
from retrain_eval.tables.life_table.spell_table import ENDING, KEY, NOISE, PRODUCTS
from retrain_eval.tables.noise.person_keys import has_keys
from retrain_eval.tables.stamps import levels_of


def life_table(
    source: Source,
    id: str,
    duration: str,
    cause: str,
    entry: str | None = None,
    by: str | Sequence[str] = (),
    weights: str | None = None,
    weight_type: str | None = None,
    cluster: str | None = None,
    *,
    event: Codes | None = None,
    censored: Codes | None = None,
    memory_limit: str | None = None,
) -> LifeTable:
    """Count spells by cell, inside DuckDB.

    Parameters
    ----------
    source : DuckDB relation, DataFrame, Arrow table or path
        One row per spell. With a column ``person_key`` (`retrain_eval.tables.noise.person_keys.with_keys`), cells have
        keys, from which a release protects the counts.
    id : str
        Column of the person. A person may have several spells.
    duration, cause : str
        Columns of the spell's length (any unit, above zero) and of the code of its ending. Codes 0/1 and true/false are
        read as they are, and NULL means censored; any other codes need ``event`` or ``censored``.
    entry : str, optional
        Column of the duration at which the spell comes under observation (left truncation); the risk set is
        ``(entry, duration]``.
    by : str or sequence of str
        Columns of levels. A missing level is the level ``"(missing)"``.
    weights, weight_type : str, optional
        Column of weights, and ``"probability"`` (from sampling or matching) or ``"frequency"`` (the number of identical
        spells that the row represents). Both must be given together. Spells of weight zero are dropped.
    cluster : str, optional
        Column to cluster standard errors by: the person, the provider, the matched set.
    event : code or sequence of codes, optional
        The codes that are events, each a separate cause; as ``failure(status == 2)`` in Stata. Codes 0, false and NULL
        then mean censored, and so does a single other code, such as 1 in R's 1/2 coding. Further codes must be named in
        ``censored``, because a competing cause is not the same as censoring.
    censored : code or sequence of codes, optional
        The codes that mean censored; as ``status(0)`` in SAS. All other codes are events, each a separate cause. With
        ``()``, only 0, false and NULL mean censored. Codes such as "NA" or "no" are not assumed to be causes and must
        be named here or in ``event``. If both keywords are given, they must name every code.
    memory_limit : str, optional
        DuckDB's limit where the source is not a relation with its own connection.

    Returns
    -------
    LifeTable

    Raises
    ------
    InputError
        See `retrain_eval.tables.life_table.spell_cells.count_cells`; or for weights without their type, or frequency
        weights of rows with keys of people. If the codes
        are ambiguous, or one that is named does not occur: the message lists those that do.

    Examples
    --------
    >>> import pandas as pd
    >>> spells = pd.DataFrame({"id": [1, 2, 3, 4], "quarters": [1, 2, 2, 3], "cause": ["job", "job", "job", None]})
    >>> table = life_table(spells, id="id", duration="quarters", cause="cause", event="job")
    >>> table.cells[["duration", "cause", "n"]].to_dict("list")
    {'duration': [1.0, 2.0, 3.0], 'cause': ['job', 'job', '0'], 'n': [1, 2, 1]}
    """
    levels = (by,) if isinstance(by, str) else tuple(by)
    columns = SpellColumns(id, duration, cause, entry, levels, weights, weight_type, cluster, event, censored)
    _check_choices(columns)
    relation = as_relation(source, memory_limit, numbers=(duration, entry, weights), keys=(id, cluster), codes=cause)
    if weight_type == "frequency" and has_keys(relation):
        raise InputError(
            "frequency weights do not say whose spells a row repeats, and the rows have keys of people",
            column=weights,
            fix="repeat the rows, each with its person's keys",
        )
    cells, n_rows, ascending, causes, keys = count_cells(relation, columns)
    n_ids = n_rows if ascending else count_people(relation, columns)
    products, totals, clusters = None, None, None
    if cluster is not None:
        alone = n_ids == n_rows
        products, totals = count_products(relation, columns, cluster, cells, causes, one_each=alone)
        clusters = count_clusters(relation, columns, cells, causes, one_each=alone)
    n_spells = int(cells["n"].sum())
    return LifeTable(
        duration=duration,
        by=levels,
        cells=cells,
        weighted=weight_type == "probability",
        cluster=cluster,
        products=products,
        totals=totals,
        clusters=clusters,
        n_people=n_spells if n_ids == n_rows else n_ids,
        keys=keys,
        stamp=levels_of(relation, levels),
    )


def _check_choices(columns: SpellColumns) -> None:
    """Refuse keywords that do not go together, before any row is read."""
    if columns.weight_type not in {None, "probability", "frequency"}:
        raise unknown("weight_type", columns.weight_type, ("probability", "frequency"))
    if (columns.weights is None) != (columns.weight_type is None):
        raise InputError(
            "weights and weight_type go together",
            rule="a standard error depends on what the weights mean",
            fix='give weights=... and weight_type="probability" or "frequency"',
        )
    if columns.weight_type == "frequency" and columns.cluster is not None:
        raise InputError("frequency weights do not say which cluster each repeated spell is in", fix="repeat the rows")
    for name in columns.by:
        if name in {*ENDING, *COUNTS, *PRODUCTS, *NOISE, KEY} or columns.by.count(name) > 1:
            raise InputError(
                f"{name!r} cannot be a column of levels here", column="by", fix="name it once, under another name"
            )
