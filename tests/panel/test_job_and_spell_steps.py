"""Where a job ends, how a spell gets its cause, and when quality is known, step by step: small tables in, rows out.

The rules as a whole are in ``tests/spec/spells.md``.
"""

from __future__ import annotations

import pytest

from retrain_eval.panel.jobs import JobSteps
from retrain_eval.panel.quality_steps import QualitySteps
from retrain_eval.panel.spells import SpellSteps
from text_tables import run, table

JOBS = JobSteps(records="FROM wage_record", shares="FROM employer_link", successor_share=0.8)
SPELLS = SpellSteps(successions="FROM employer_link", recall_within=4, quarterly=True)


# ---- jobs -----------------------------------------------------------------------------------------------------


def test_a_period_without_pay_ends_a_run_and_another_employer_starts_one() -> None:
    paid = """
        person_id  employer_id  period  wages
        p          X            1       10
        p          X            2       10
        p          X            4       10
        p          Y            2       5
    """
    expected = """
        employer_id  first_period  last_period  wages
        X            1             2            20
        X            4             4            10
        Y            2             2            5
    """
    assert run(JOBS, "_employer_run", expected, paid=paid) == table(expected)


def test_an_employer_is_a_successor_of_another_from_the_share_of_its_workers() -> None:
    employer_link = """
        from_employer_id  to_employer_id  period  share
        X                 Y               2       0.8
        X                 Z               2       0.79
    """
    expected = """
        from_employer_id  to_employer_id
        X                 Y
    """
    assert run(JOBS, "links", expected, employer_link=employer_link) == table(expected)


def test_a_successor_continues_a_run_that_ends_when_it_takes_over() -> None:
    runs = """
        person_id  employer_id  first_period  last_period  wages
        next       X            1             2            20
        next       Y            3             6            50
        same       X            1             2            20
        same       Y            2             6            50
        pause      X            1             2            20
        pause      Y            4             6            50
        before     X            1             3            20
        before     Y            4             6            50
        after      X            1             2            20
        after      Z            3             6            50
    """
    links = """
        from_employer_id  to_employer_id  period
        X                 Y               2
        X                 Z               4
    """
    expected = """
        person_id  employer_id  next_employer  next_period
        next       X            Y              3
        same       X            Y              2
    """
    assert run(JOBS, "pairs", expected, _employer_run=runs, links=links) == table(expected)


def test_a_chain_of_successors_is_one_job_from_its_first_run_to_its_last() -> None:
    runs = """
        person_id  employer_id  first_period  last_period  wages
        p          X            1             2            20
        p          Y            3             4            30
        p          Z            5             6            40
        p          W            5             5            1
    """
    single = """
        person_id  employer_id  first_period  next_employer  next_period
        p          X            1             Y              3
        p          Y            3             Z              5
    """
    expected = """
        job  employer_id  last_employer_id  first_period  last_period  wages  successor
        1    X            Z                 1             6            90.0   true
        2    W            W                 5             5            1.0    false
    """
    assert run(JOBS, "job", expected, _employer_run=runs, single=single) == table(expected)


# ---- spells ---------------------------------------------------------------------------------------------------


def test_the_cause_of_an_end_is_the_first_rule_that_applies() -> None:
    followed = """
        spell  rank  has_next  next_rank  recall  next_recall
        1      1     false     -          false   -
        2      0     false     -          false   -
        3      0     true      1          true    false
        4      0     true      1          false   false
        5      1     true      2          false   false
        6      1     true      0          false   true
        7      1     true      0          false   false
    """
    expected = """
        spell  cause
        1      censored
        2      censored
        3      recall
        4      new_job
        5      job_to_job
        6      recall
        7      nonemployment
    """
    assert run(SPELLS, "cause", expected, followed=followed) == table(expected)


def test_a_recall_is_a_return_to_the_employer_or_its_successor_soon_enough() -> None:
    neighbours = """
        person_id   spell  rank  entry  exit  has_last  has_next  left_employer  next_employer  left_in  back_in
        same        2      0     5      8     true      true      X              X              4        9
        late        2      0     5      9     true      true      X              X              4        10
        other       2      0     5      6     true      true      X              Y              4        7
        taken_over  2      0     5      6     true      true      A              B              4        7
        gap         2      0     5      6     false     true      X              X              3        7
        job         2      1     5      6     true      true      X              X              4        7
    """
    links = """
        from_employer_id  to_employer_id  period
        A                 B               3
        X                 Y               2
    """
    expected = """
        person_id   spell
        same        2
        taken_over  2
    """
    assert run(SPELLS, "recalled", expected, neighbours=neighbours, links=links) == table(expected)


def test_an_unknown_period_has_no_state_and_ends_a_spell() -> None:
    panel = """
        person_id  period  earnings
        p          1       0
        p          2       0
        p          3       -
        p          4       0
        p          5       70
    """
    paid = """
        person_id  period  rank
        p          5       1
    """
    expected = """
        entry  exit  rank
        1      2     0
        4      4     0
        5      5     1
    """
    assert run(SPELLS, "_state_run", expected, panel=panel, paid=paid) == table(expected)


# ---- quality --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("jobless", "score"), [("1.0", "1.0"), ("NULL", "-")])
def test_a_dimension_that_is_unknown_in_one_period_is_unknown_in_all(jobless: str, score: str) -> None:
    facts = """
        person_id  period  employed  possible_tenure  job_tenure  possible
        a          1       1         false            -           false
        a          2       1         true             1.0         true
        a          3       0         true             -           true
        b          2       1         true             -           true
        b          3       0         true             -           true
    """
    expected = f"""
        person_id  period  d_tenure
        a          1       -
        a          2       1.0
        a          3       {score}
        b          2       -
        b          3       -
    """
    quality = QualitySteps(("tenure",), "", "FROM displacement", 4, 4, 0.5, 0.5, jobless)
    assert run(quality, "flagged", expected, facts=facts) == table(expected)
