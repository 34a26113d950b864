"""Probabilistic linkage: pairs scored by Splink (extra ``link``), links chosen from any scored pairs.

Scoring needs Splink; choosing and judging links do not.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import duckdb
import pandas as pd

from retrain_eval.common.errors import DesignError, InputError, StoreError
from retrain_eval.common.sources import require_columns, sql_name, sql_text
from retrain_eval.common.sql import scratch
from retrain_eval.records.linkage.exact import NOTHING, Linkage
from retrain_eval.records.linkage.normal import normalise

RULE = "probability"
TIE = "several records are as likely"
OTHER = "the likeliest record fits somebody else as well or better"
UNLIKELY = "no record is likely enough"
# of the EM algorithm: a level of agreement that no match has loses many orders of magnitude in each
ITERATIONS = 15
SAMPLED_PAIRS = 2_000_000  # for the chance that strangers agree


def score_pairs(
    con: duckdb.DuckDBPyConnection,
    people: str,
    records: str,
    comparisons: Mapping[str, str],
    blocks: Sequence[Sequence[str]],
    *,
    certain: Sequence[Sequence[str]],
    recall: float,
    person: str = "person_id",
    record: str = "record_id",
    missing: Sequence[str] = (),
    seed: int = 20260101,
) -> duckdb.DuckDBPyRelation:
    """Estimate how likely each pair of a person and a record is one human being, with Splink.

    Parameters
    ----------
    con, people, records, person, record, missing
        As in `retrain_eval.records.linkage.exact.link_exactly`.
    comparisons : mapping of str to str
        Field → normal form: names are compared by Jaro–Winkler similarity, dates and identifiers by equality or
        one typing error (Damerau–Levenshtein distance), everything else by equality.
    blocks : sequence of sequence of str
        Pairs are compared only if they agree in every field of one of these; the model is trained within each in turn,
        so no field may be in all of them.
    certain : sequence of sequence of str
        Agreement in every field of one of these makes a match almost surely; with ``recall`` it says how many matches
        there are.
    recall : float
        Share of true matches that ``certain`` finds, as you judge it.
    seed : int
        Of the sample of pairs that tells how often strangers agree.

    Returns
    -------
    DuckDBPyRelation
        ``person_id, record_id, match_weight, match_probability``, a temporary table.

    Raises
    ------
    StoreError
        If Splink is not installed.
    DesignError
        If the model cannot be trained on these registers.
    InputError
        As `link_exactly`, or if a block names no compared field, or one field is in every block.

    References
    ----------
    Fellegi, I. and Sunter, A. (1969), Journal of the American Statistical Association 64, 1183-1210; Enamorado, T.,
    Fifield, B. and Imai, K. (2019), American Political Science Review 113, 353-371.
    """
    _check_blocks(comparisons, blocks, certain, recall)
    splink, library = _splink()
    with scratch(con) as tables:
        left, right, scored_pairs = (tables.name("link") for _ in range(3))
        normalise(con, people, person, comparisons, missing, left)
        normalise(con, records, record, comparisons, missing, right)
        there = set(con.execute("SHOW TABLES").fetchall())
        api = splink.DuckDBAPI(connection=con)
        try:
            rules = [splink.block_on(*fields) for fields in blocks]
            settings = splink.SettingsCreator(
                link_type="link_only",
                unique_id_column_name="id",
                comparisons=[_comparison(library, field, form) for field, form in comparisons.items()],
                blocking_rules_to_generate_predictions=rules,
                retain_matching_columns=False,
                max_iterations=ITERATIONS,
            )
            registers = [
                api.register(left, dataset_display_name="a_people"),
                api.register(right, dataset_display_name="b_records"),
            ]
            linker = splink.Linker(registers, settings, log_level=logging.ERROR)
            linker.training.estimate_probability_two_random_records_match(
                [splink.block_on(*fields) for fields in certain], recall=recall
            )
            linker.training.estimate_u_using_random_sampling(max_pairs=SAMPLED_PAIRS, seed=seed)
            for rule in rules:
                _train(linker, rule)
            scored = linker.inference.predict()
            con.execute(
                f"CREATE TEMP TABLE {scored_pairs} AS SELECT id_l AS person_id, id_r AS record_id, match_weight, "
                f"match_probability FROM {scored.physical_name}"
            )
        finally:
            api.delete_tables_created_by_splink_from_db()
            for (name,) in set(con.execute("SHOW TABLES").fetchall()) - there:
                if name == "result_df":  # a view that Splink leaves
                    con.unregister(name)
        tables.keep(scored_pairs)
    return con.sql(f"FROM {scored_pairs} ORDER BY person_id ASC, record_id ASC")


def choose_links(
    con: duckdb.DuckDBPyConnection,
    people: str,
    pairs: duckdb.DuckDBPyRelation,
    threshold: float,
    *,
    person: str = "person_id",
) -> Linkage:
    """Link each person to the likeliest record, if it is likely enough and fits nobody else as well.

    Parameters
    ----------
    con : DuckDBPyConnection
    people : str
        Table or view with one row per person.
    pairs : DuckDBPyRelation
        ``person_id, record_id, match_probability`` of every pair compared, on the same connection.
    threshold : float
        Least probability of a link.
    person : str
        Key of ``people``.

    Returns
    -------
    Linkage
        A link is the one likeliest record of its person and has that person as its own likeliest. ``ambiguous`` are
        those with a pair beyond the threshold that is not so.

    Raises
    ------
    InputError
        If the threshold is no probability, or a column is not there.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> con.execute("CREATE TABLE trainee AS FROM (VALUES (1), (2), (3)) t(person_id)") and None
    >>> pairs = con.sql("FROM (VALUES (1, 7, 0.99), (1, 8, 0.6), (2, 8, 0.4)) "
    ...                 "t(person_id, record_id, match_probability)")
    >>> found = choose_links(con, "trainee", pairs, threshold=0.9)
    >>> found.links.project("person_id, record_id, score").fetchall()
    [(1, 7, 0.99)]
    >>> found.unresolved.project("person_id, status, reason").fetchall()
    [(2, 'unlinked', 'no record is likely enough'), (3, 'unlinked', 'no record agrees')]
    """
    if not 0 < threshold <= 1:
        raise InputError("a threshold is a probability", column="threshold", value=threshold, rule="above 0, up to 1")
    require_columns(pairs, ("person_id", "record_id", "match_probability"))
    require_columns(con.table(people), (person,), {"person_id": "person"})
    with scratch(con) as tables:
        links, rest, ranked = (tables.name("link") for _ in range(3))
        key = sql_name(person)
        pairs.query(
            "pairs",
            f"""
            CREATE TEMP TABLE {ranked} AS
            SELECT person_id, record_id, CAST(match_probability AS DOUBLE) AS score,
              max(match_probability) OVER (PARTITION BY person_id) AS best_of_person,
              max(match_probability) OVER (PARTITION BY record_id) AS best_of_record,
              count(*) OVER (PARTITION BY person_id, match_probability) AS as_likely_records,
              count(*) OVER (PARTITION BY record_id, match_probability) AS as_likely_people
            FROM pairs
            """,
        )
        mutual = "score = best_of_person AND score = best_of_record AND as_likely_records = 1 AND as_likely_people = 1"
        con.execute(
            f"CREATE TEMP TABLE {links} AS SELECT person_id, record_id, 1 AS step, {sql_text(RULE)} AS rule, score, "
            f"'' AS disagrees FROM {ranked} WHERE score >= {threshold} AND {mutual}"
        )
        con.execute(
            f"""
            CREATE TEMP TABLE {rest} AS
            WITH best AS (
              SELECT person_id, max(score) AS score, count(*) FILTER (score >= {threshold}) AS n_candidates,
                max(as_likely_records) FILTER (score = best_of_person) AS as_likely FROM {ranked} GROUP BY person_id
            )
            SELECT p.{key} AS person_id, CASE WHEN n_candidates > 0 THEN 'ambiguous' ELSE 'unlinked' END AS status,
              CASE WHEN b.person_id IS NULL THEN {sql_text(NOTHING)} WHEN n_candidates = 0 THEN {sql_text(UNLIKELY)}
                WHEN as_likely > 1 THEN {sql_text(TIE)} ELSE {sql_text(OTHER)} END AS reason,
              coalesce(n_candidates, 0) AS n_candidates
            FROM {sql_name(people)} p LEFT JOIN best b ON b.person_id = p.{key}
            WHERE NOT EXISTS (FROM {links} k WHERE k.person_id = p.{key})
            """
        )
        tables.keep(links, rest)
    counts = con.execute(
        f"SELECT (SELECT count(*) FROM {sql_name(people)}), (SELECT count(*) FROM {links}), "
        f"(SELECT count(*) FROM {rest} WHERE status = 'ambiguous')"
    ).fetchall()[0]
    steps = pd.DataFrame(
        [(1, RULE, *counts, 0)],
        columns=["step", "rule", "n_complete", "n_linked", "n_ambiguous", "n_disagreeing"],
    )
    return Linkage(
        links=con.sql(f"FROM {links} ORDER BY person_id ASC"),
        unresolved=con.sql(f"FROM {rest} ORDER BY person_id ASC"),
        steps=steps,
        _con=con,
        _tables=(links, rest),
    )


def _check_blocks(
    comparisons: Mapping[str, str], blocks: Sequence[Sequence[str]], certain: Sequence[Sequence[str]], recall: float
) -> None:
    if not blocks or not certain:
        raise InputError("no rule for which pairs are compared, or surely match", column="blocks", value=blocks)
    for field in (field for rule in (*blocks, *certain) for field in rule):
        if field not in comparisons:
            raise InputError(f"{field!r} is not compared", column="blocks", fix=", ".join(comparisons))
    everywhere = set(blocks[0]).intersection(*blocks[1:])
    if everywhere:
        raise InputError(
            f"{sorted(everywhere)[0]!r} is in every block, so how often it agrees could not be learnt",
            column="blocks",
            rule="each field is left out of one block at least",
            fix="add a block of other fields",
        )
    if not 0 < recall <= 1:
        raise InputError("recall is a share", column="recall", value=recall, rule="above 0, up to 1")


def _comparison(library: Any, field: str, form: str) -> Any:
    if form == "name":
        return library.NameComparison(field)
    if form in ("date", "identifier"):
        return library.DamerauLevenshteinAtThresholds(field, 1)
    return library.ExactMatch(field)


def _train(linker: Any, rule: Any) -> None:
    no_pairs = import_module("splink.internals.exceptions").EMTrainingException
    try:
        linker.training.estimate_parameters_using_expectation_maximisation(rule)
    except (no_pairs, ValueError) as error:  # a block without pairs, or a probability that fell to nothing
        raise DesignError(
            f"the model cannot be trained: {str(error).splitlines()[0]} Every block must hold pairs, and a field that "
            "never differs between two records of one person teaches nothing: leave it out of the comparisons"
        ) from error


def _splink() -> tuple[Any, Any]:
    """Import Splink where it is used: it is an extra, and takes a while."""
    try:
        return import_module("splink"), import_module("splink.comparison_library")
    except ModuleNotFoundError as error:
        raise StoreError("probabilistic linkage needs Splink: pip install 'retrain-eval[link]'") from error
