"""Spells and jobs on random histories: they partition coverage, agree with plain Python, and do not mind order."""

from __future__ import annotations

import itertools

import duckdb
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from histories import FIRST_JOB, SECOND_JOB, START, Link, Spell, load, spells_of
from retrain_eval.common.errors import InputError
from retrain_eval.panel.jobs import build_jobs
from retrain_eval.panel.panel import build_panel
from retrain_eval.panel.spells import build_spells

QUARTERS = 8
FIRST = st.text("AABBC..?", min_size=QUARTERS, max_size=QUARTERS).filter(lambda line: set(line) != {"?"})
SECOND = st.text("ABC.....", min_size=QUARTERS, max_size=QUARTERS)
PEOPLE = st.dictionaries(st.sampled_from(["p", "q", "Zoë"]), st.lists(FIRST, min_size=1, max_size=1).flatmap(
    lambda first: st.tuples(st.just(first[0]), SECOND).map(list)), min_size=1)  # fmt: skip
LINKS = st.lists(st.builds(Link, st.sampled_from("ABC"), st.sampled_from("ABC"), st.integers(2, QUARTERS)).filter(
    lambda link: link.old != link.new), max_size=2, unique_by=lambda link: link.old)  # fmt: skip
SETTINGS = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


def reference(person: str, lines: list[str], recall_within: int = 4) -> list[Spell]:
    """Follow the rules of spells.md for one person without successor firms, in plain Python."""
    covered = [t for t, mark in enumerate(lines[0]) if mark != "?"]
    pay = {t: {} for t in covered}
    for line, amount in zip(lines, (FIRST_JOB, SECOND_JOB), strict=False):
        for t, mark in enumerate(line):
            if mark not in ".?" and t in pay:
                pay[t][mark] = pay[t].get(mark, 0) + amount
    jobs = []
    for firm in sorted({firm for paid in pay.values() for firm in paid}):
        quarters = [t for t in covered if firm in pay[t]]
        for _, run in itertools.groupby(enumerate(quarters), lambda pair: pair[1] - pair[0]):
            spell = [t for _, t in run]
            jobs.append((-sum(pay[t][firm] for t in spell), spell[0], firm, spell[-1]))
    jobs.sort()
    state = {t: next((j for j in jobs if j[1] <= t <= j[3]), None) for t in covered}
    stretches = itertools.groupby(enumerate(covered), lambda pair: pair[1] - pair[0])
    runs = [[t for _, t in stretch] for _, stretch in stretches]
    found: list[Spell] = []
    for stretch in runs:
        parts = [(job, [t for t in run]) for job, run in itertools.groupby(stretch, key=lambda t: state[t])]
        recalls = [
            job is None
            and 0 < i < len(parts) - 1
            and len(run) <= recall_within
            and parts[i - 1][0][2] == parts[i + 1][0][2]
            for i, (job, run) in enumerate(parts)
        ]
        for i, (job, run) in enumerate(parts):
            if i == len(parts) - 1:
                cause = "censored"
            elif job is None:
                cause = "recall" if recalls[i] else "new_job"
            elif parts[i + 1][0] is not None:
                cause = "job_to_job"
            else:
                cause = "recall" if recalls[i + 1] else "nonemployment"
            name = "nonemployed" if job is None else "employed"
            found.append((person, len(found) + 1, name, job and job[2], run[0] + 1, run[-1] + 1, cause, i == 0))
    return found


@SETTINGS
@given(PEOPLE, st.integers(0, 5))
def test_sql_follows_the_rules_as_plain_python_does(people: dict[str, list[str]], recall_within: int) -> None:
    expected = [spell for person in sorted(people) for spell in reference(person, people[person], recall_within)]
    found = spells_of(duckdb.connect(), people, [], recall_within)
    assert sorted(found, key=lambda s: (s[0], s[1])) == sorted(expected, key=lambda s: (s[0], s[1]))


@SETTINGS
@given(PEOPLE, LINKS)
def test_spells_partition_the_covered_quarters(people: dict[str, list[str]], links: list[Link]) -> None:
    spells = spells_of(duckdb.connect(), people, links)
    for person, lines in people.items():
        mine = [spell for spell in spells if spell[0] == person]
        held = [t for spell in mine for t in range(spell[4], spell[5] + 1)]
        assert held == [t + 1 for t, mark in enumerate(lines[0]) if mark != "?"]
        for one, other in itertools.pairwise(mine):
            apart = other[4] > one[5] + 1
            assert (one[6] == "censored") == apart == other[7]
        assert not mine or (mine[0][7] and mine[-1][6] == "censored")


@pytest.mark.slow
@SETTINGS
@given(PEOPLE, LINKS, st.randoms())
def test_order_of_rows_changes_nothing(people: dict[str, list[str]], links: list[Link], random: object) -> None:
    con = duckdb.connect()
    first = spells_of(con, people, links)
    rows = con.sql("FROM wage_record").fetchall()
    random.shuffle(rows)
    con.execute("DELETE FROM wage_record")
    for row in rows:
        con.execute("INSERT INTO wage_record VALUES ($1, $2, $3, $4)", list(row))
    con.execute("SET threads = 1")
    build_panel(con)
    build_spells(con)
    again = con.sql(
        f"SELECT person_id, spell, state, employer_id, entry - {START - 1}, exit - {START - 1}, cause, left_truncated "
        "FROM spells ORDER BY person_id, spell"
    ).fetchall()
    assert again == first


@pytest.mark.slow
@SETTINGS
@given(FIRST, st.integers(2, QUARTERS))
def test_a_firm_that_only_changes_its_name_changes_no_spell(line: str, quarter: int) -> None:
    assume(any(mark.isalpha() for mark in line))  # without any employer there is no table of jobs
    renamed = "".join("Z" if mark == "A" and t + 1 >= quarter else mark for t, mark in enumerate(line))
    plain = spells_of(duckdb.connect(), {"p": [line]}, [])
    found = spells_of(duckdb.connect(), {"p": [renamed]}, [Link("A", "Z", quarter)])
    shape = [(s[2], s[4], s[5], s[6], s[7]) for s in plain]
    assert [(s[2], s[4], s[5], s[6], s[7]) for s in found] == shape


def test_a_record_without_coverage_or_pay_is_no_job() -> None:
    con = duckdb.connect()
    load(con, {"p": ["A?A."]}, [])
    con.execute(f"INSERT INTO wage_record VALUES ('p', {START + 1}, 'A', 1000), ('p', {START + 3}, 'A', 0)")
    jobs = build_jobs(con).order("job").project(f"first_period - {START - 1}, last_period - {START - 1}").fetchall()
    assert jobs == [(1, 1), (3, 3)]


def test_jobs_are_refused_where_an_employer_is_not_named() -> None:
    con = duckdb.connect()
    load(con, {"p": ["AA"]}, [])
    con.execute(f"INSERT INTO wage_record VALUES ('Zoë', {START}, NULL, 5)")
    con.execute("INSERT INTO person VALUES ('Zoë', 'p')")
    with pytest.raises(InputError, match="1 wage records do not name an employer, so the end"):
        build_jobs(con)
    with pytest.raises(InputError, match="successor_share is a share"):
        build_jobs(con, successor_share=0)


def test_spells_need_a_panel_with_jobs() -> None:
    con = duckdb.connect()
    with pytest.raises(InputError, match="there is no table panel"):
        build_spells(con)
    load(con, {"p": ["A."]}, [])
    con.execute("UPDATE wage_record SET employer_id = NULL")
    build_panel(con)
    with pytest.raises(InputError, match="there is no table job"):
        build_spells(con)
    with pytest.raises(InputError, match="recall_within"):
        build_spells(con, recall_within=-1)
