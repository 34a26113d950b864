from __future__ import annotations

import pytest

from retrain_eval.report.page import Study
from retrain_eval.report.words import Words


@pytest.mark.parametrize(
    ("currency", "value", "shown"),
    [
        ("USD", 1706.8137, "$1,707"),
        ("USD", -8497.5, "−$8,498"),
        ("USD", -0.2, "$0"),  # never a negative zero
        ("SEK", 1200.0, "SEK\xa01,200"),
        ("", -0.3791, "−0.379"),
        ("", -0.0001, "0.000"),
        ("", 12.345, "12.3"),
        ("USD", float("nan"), "not available"),
    ],
)
def test_amounts_are_rounded_to_what_a_reader_can_use(currency: str, value: float, shown: str) -> None:
    assert Words(currency=currency).amount(value) == shown


def test_quarters_are_written_as_quarters() -> None:
    assert Words(period="quarter").time(2024 * 4 + 2) == "2024 Q3"
    assert Words(period="year").time(1978.0) == "1978"


def test_words_come_from_the_bundle(study: Study) -> None:
    words = study.words
    assert words.name("age_band") == "age"  # title of the stratum in study.toml
    assert words.name("earnings") == "annual earnings"  # title in the data dictionary
    assert words.name("never_declared") == "never declared"
    assert words.units == "people"


def test_duration_unit_comes_from_the_dictionary(release) -> None:
    assert release.companions[0].words.durations == "two-week intervals"
