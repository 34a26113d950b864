"""Where a quarter becomes zero or unknown, step by step: small tables in, rows out.

The rules as a whole are in ``tests/spec/panel.md``.
"""

from __future__ import annotations

import pytest

from retrain_eval.panel.coverage import CoverageSteps, GapSteps
from retrain_eval.panel.panel_steps import PanelSteps
from text_tables import run, table

GAPS = GapSteps(refused="FROM refused_row", observations="FROM observation", enrolments="FROM enrolment", links=True)


def steps(no_record: str = "coverage", gaps: tuple[int, int] | None = None) -> PanelSteps:
    return PanelSteps(no_record, records="FROM wage_record", employers=False, gaps=gaps)


# ---- zero or unknown ------------------------------------------------------------------------------------------

COVERED = """
    class  period  here  before  after
    7      1       true  false   true
    7      2       true  true    true
    7      3       true  true    false
"""
RECORDED = """
    n  class  period  wages
    1  7      1       1000
    1  7      2       -
    1  7      3       -
    1  7      4       500
"""
UNKNOWN = """
    n  period
    1  3
"""


def test_a_covered_quarter_is_known_and_one_without_coverage_or_in_a_gap_is_not() -> None:
    expected = """
        period  known  wages
        1       true   1000
        2       true   -
        3       false  -
        4       false  500
    """
    given = {"covered": COVERED, "recorded": RECORDED, "unknown": UNKNOWN}
    assert run(steps(), "zero_or_unknown", expected, **given) == table(expected)


def test_what_is_known_of_a_neighbour_ends_at_coverage_and_at_gaps() -> None:
    expected = """
        period  before  after
        1       false   true
        2       true    false
        3       true    false
        4       false   false
    """
    given = {"covered": COVERED, "recorded": RECORDED, "unknown": UNKNOWN}
    assert run(steps(), "zero_or_unknown", expected, **given) == table(expected)


ALWAYS_ZERO = """
    period  known
    1       true
    2       true
    3       false
    4       true
"""
ALWAYS_MISSING = """
    period  known
    1       true
    2       false
    3       false
    4       true
"""


@pytest.mark.parametrize(("no_record", "expected"), [("zero", ALWAYS_ZERO), ("missing", ALWAYS_MISSING)])
def test_without_records_of_coverage_the_study_says_what_no_record_means(no_record: str, expected: str) -> None:
    given = {"periods": PERIODS, "recorded": RECORDED, "unknown": UNKNOWN}
    assert run(steps(no_record), "zero_or_unknown", expected, **given) == table(expected)


PEOPLE = """
    n  person_id  region  class  displaced  cohort  left_in
    1  a          N       7      -          -       -
"""
PERIODS = """
    period
    1
    2
    3
    4
"""


def test_a_known_quarter_without_a_record_has_no_earnings_and_those_of_an_unknown_one_are_missing() -> None:
    prices = """
        region  period  factor
        N       1       1.5
        N       2       1.0
        N       3       1.0
        N       4       1.0
    """
    wage_record = """
        person_id  period  wages  employer_id  hours  naics  isco
        a          1       1000   -            -      -      -
        a          4       500    -            -      -      -
    """
    expected = """
        period  earnings  employed
        1       1500.0    1.0
        2       0.0       0.0
        3       0.0       0.0
        4       -         -
    """
    given = {"people": PEOPLE, "periods": PERIODS, "covered": COVERED, "prices": prices, "wage_record": wage_record}
    assert run(steps(), "panel", expected, **given) == table(expected)


# ---- covered: when no record means zero -----------------------------------------------------------------------


def test_coverage_says_what_no_record_means_in_a_quarter_and_in_its_neighbours() -> None:
    coverage = """
        class  period
        7      1
        7      2
        7      4
    """
    expected = """
        class  period  here  before  after
        7      1       true  false   true
        7      2       true  true    false
        7      4       true  false   false
    """
    assert run(steps(), "covered", expected, _coverage_periods=coverage) == table(expected)


def test_the_row_of_a_region_comes_before_that_of_all_regions_and_a_refused_row_covers_nothing() -> None:
    classes = """
        class  region  sources
        1      N       -
        2      S       -
    """
    reported = """
        source  region  period  available  refused
        ui      -       1       true       false
        ui      N       1       false      false
        ui      -       2       false      false
        ui      N       2       true       false
        ui      -       3       true       false
        ui      N       3       false      true
    """
    expected = """
        class  period  available
        1      1       false
        1      2       true
        1      3       false
        2      1       true
        2      2       false
        2      3       true
    """
    coverage = CoverageSteps("FROM person", links=False, refused="FROM refused_row")
    assert run(coverage, "source_periods", expected, classes=classes, reported=reported) == table(expected)


# ---- unknown: gaps, whatever the source holds -----------------------------------------------------------------


def test_every_quarter_of_a_gap_is_unknown() -> None:
    gaps = """
        person_id  since  until
        a          0      1
        a          4      2000000000
        b          2      3
    """
    expected = """
        n  period
        1  0
        1  1
        1  4
        1  5
    """
    assert run(steps(gaps=(0, 5)), "unknown", expected, people=PEOPLE, _coverage_gaps=gaps) == table(expected)


def test_a_person_is_unknown_before_between_and_after_their_windows_of_observation() -> None:
    windows = """
        person_id  a  b
        p          3  5
        p          8  9
    """
    expected = """
        person_id  since  until
        p          0      2
        p          6      7
        p          10     2000000000
    """
    assert run(GAPS, "unobserved", expected, windows=windows) == table(expected)


def test_a_person_is_unknown_after_leaving_for_good_unless_they_came_back_or_have_a_window() -> None:
    enrolment = """
        person_id  entry  exit  exit_reason
        moved      1      3     moved
        back       1      3     moved
        back       5      6     completed
        seen       1      3     deceased
        done       1      3     completed
    """
    windows = """
        person_id  a  b
        seen       0  9
    """
    expected = """
        person_id  since  until
        moved      4      2000000000
    """
    assert run(GAPS, "left_for_good", expected, enrolment=enrolment, windows=windows) == table(expected)


def test_a_refused_wage_record_makes_its_period_unknown_or_all_where_that_cannot_be_read() -> None:
    refused = """
        resource     person_id  period
        wage_record  a          5
        wage_record  b          -
        wage_record  -          6
        person       c          7
    """
    expected = """
        person_id  since  until
        a          5      5
        b          0      2000000000
    """
    assert run(GAPS, "refused_records", expected, refused_row=refused) == table(expected)


def test_a_person_who_is_linked_to_no_source_is_always_unknown() -> None:
    person = """
        person_id
        a
        b
        c
    """
    linkage = """
        person_id  source  status
        a          ui      linked
        b          ui      ambiguous
    """
    expected = """
        person_id  since  until
        b          0      2000000000
        c          0      2000000000
    """
    assert run(GAPS, "unlinked", expected, person=person, linkage=linkage) == table(expected)
