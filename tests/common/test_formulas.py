"""Formulas: read by our own grammar, coded as formulaic codes them, and written anew as they were read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from formulaic import Formula as Reference
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import InputError
from retrain_eval.common.formulas.matrix import MOST_COLUMNS, model_matrix, model_spec
from retrain_eval.common.formulas.parser import HIGHEST_POWER, MOST_OPERATORS, read_formula
from retrain_eval.estimators.rows.regression import event_study_rows, fixed_effects, mean_difference_rows
from retrain_eval.sample.models.formula import parse_formula

PEOPLE = pd.DataFrame(
    {
        "age": [21.0, 34.5, 55.0, 40.0, 18.0, 61.0],
        "children": [0, 2, 1, 3, 1, 2],
        "married": [True, False, True, True, False, False],
        "trade": ["clerk", "miner", "driver", "clerk", "miner", "driver"],
        "odd name": [1.5, 2.5, 0.5, 3.5, 2.0, 1.0],
    }
)
NUMBERS = ("age", "children", "`odd name`")
IN_REFERENCE = {"log1p": np.log1p, "sqrt": np.sqrt, "abs": np.abs}


def same_as_reference(text: str) -> None:
    """Hold names and values against formulaic's own reading of the text."""
    matrix = Reference(text).get_model_matrix(PEOPLE, context=IN_REFERENCE, na_action="ignore", output="numpy")
    read = read_formula(text)
    names, values = model_matrix(read, PEOPLE, model_spec(read, PEOPLE))
    assert names == tuple(matrix.model_spec.column_names)
    assert values == pytest.approx(np.asarray(matrix, dtype=float), rel=1e-15, nan_ok=True)


@pytest.mark.parametrize(
    "text",
    [
        "age + I(age**2) + C(children) + trade:age + I(age > 30) + married",
        "C(children)*trade",
        "(age + trade + married)**3 - age:trade",
        "age*trade:married",
        "exp(age/100) + 0 + trade",
        "-1 + age",
        "age - 1 + children + 1",
        "trade:age + age + age:trade",
        "C(age > 30) + (age + children):(trade + married)",
        "I(-age**2 + 3*(age - 1)/2) + I((-age)**2) + I(-(age*2)) + I(age - (children - 1)) + I(2**children**.5)",
        "I(age // 2 % 3) + I((age > 20)*(children < 2)) + abs(age - 40) + log10(`odd name`) + I(1 + 5e0*age)",
        "C(trade) + C(`odd name`) + C(married)",
        "I(age**-1)",
    ],
)
def test_coded_as_formulaic_codes_it(text: str) -> None:
    same_as_reference(text)


_operand = st.one_of(st.sampled_from(NUMBERS), st.integers(0, 9).map(str), st.sampled_from(["0.5", "1e2", ".25"]))
_arithmetic = st.recursive(
    _operand,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(" ".join),
        inner.map(lambda text: f"-({text})"),
        inner.map(lambda text: f"abs({text})"),
    ),
    max_leaves=6,
)
_factor = st.one_of(
    st.sampled_from([*NUMBERS, "trade", "married", "C(children)", "C(trade)"]),
    st.tuples(_arithmetic, st.sampled_from(NUMBERS)).map(lambda parts: f"I({parts[0]} + {parts[1]})"),
)
_sum = st.lists(
    st.tuples(st.sampled_from([" + ", " + ", " - "]), st.lists(_factor, min_size=1, max_size=3).map(":".join)),
    min_size=1,
    max_size=5,
).map(lambda terms: "age" + "".join(sign + term for sign, term in terms))


@settings(max_examples=80, deadline=None)
@given(_sum)
def test_any_sum_of_products_is_coded_as_formulaic_codes_it(text: str) -> None:
    same_as_reference(text)


@settings(max_examples=150, deadline=None)
@given(_sum)
def test_what_was_read_reads_as_itself(text: str) -> None:
    again = read_formula(str(read_formula(text)))
    assert (again.terms, str(again)) == (read_formula(text).terms, str(read_formula(text)))


def test_numbers_are_computed_in_double_precision() -> None:
    """Small integers would wrap around: 200**2 is 64 in eight bits."""
    small = pd.DataFrame({"age": np.array([200, 3], dtype=np.uint8)})
    names, values = parse_formula("t ~ I(age**2) + I(age - 210)").design(small)
    assert dict(zip(names, values[0].tolist(), strict=True)) == {
        "Intercept": 1,
        "I(age ** 2)": 40_000,
        "I(age - 210)": -10,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age +", "term is missing before the end"),
        ("age education", "'education' is not allowed there"),
        ("age / education", "'/' is not allowed there"),
        ("2:age", "2 is not a term"),
        ("1:age", "a number is multiplied"),
        ("age**2", r"write I\(age\*\*2\)"),
        (f"(age + education)**{HIGHEST_POWER + 1}", "not a power of a sum"),
        ("I(race == 'black')", "a quoted string"),
        ("log(age, 2)", "',' is not allowed"),
        ("log()", "has no argument"),
        ("I(1 < age < 3)", "comparisons are chained"),
        ("log(C(age))", "inside another function"),
        ("C(2)", "no column in it"),
        ("I(1e999)", "too large"),
        ("age.mean()", "unknown function"),
        ("a\x00b", "not allowed"),
        ("`a", "not allowed"),
        ("(" * 200 + "age" + ")" * 200, "nested brackets"),
        ("I(" + "-" * 200 + "age)", "nested brackets"),
        ("I(" + "2**" * 200 + "age)", "nested brackets"),
        ("I(age" + "+1" * (MOST_OPERATORS + 1) + ")", "operators within functions"),
        ("*".join(f"x{i}" for i in range(30)), "factors|terms"),
        ("(" + "+".join(f"x{i}" for i in range(60)) + ")**5", "terms"),
        ("+".join(f"x{i}" for i in range(2_500)), "terms"),
        ("age" + " " * 30_000 + "+ x", "longer than"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_formula(text)


def test_a_design_too_wide_is_refused_before_it_is_made() -> None:
    wide = pd.DataFrame({"a": [f"a{i}" for i in range(300)], "b": [f"b{i}" for i in range(300)], "t": 0})
    with pytest.raises(InputError, match=f"more than {MOST_COLUMNS:,}"):
        parse_formula("t ~ a:b").design(wide)


def test_a_text_column_in_arithmetic_is_named() -> None:
    with pytest.raises(InputError, match="'trade' is not of numbers"):
        parse_formula("t ~ log(trade)").design(PEOPLE)


def test_a_term_that_is_not_finite_is_named_without_anybodys_values() -> None:
    with pytest.raises(InputError, match="'log\\(children\\)' is not a finite number") as refused:
        parse_formula("t ~ age + log(children)").design(PEOPLE)
    assert "21" not in str(refused.value)


def test_columns_of_any_name_are_safe_in_regressions(tmp_path: object) -> None:
    """A package evaluates the names in its formulas; it is given names of ours."""
    hostile = "__import__('os').abort()"
    rows = pd.DataFrame(
        {
            "unit 1": [1, 1, 2, 2, 3, 3, 4, 4],
            "t+1": [1, 2] * 4,
            hostile: [1, 1, 1, 1, 0, 0, 0, 0],
            "exp(pay)": [1.0, 4.0, 2.0, 5.5, 1.0, 2.0, 2.0, 3.5],
        }
    )
    study = event_study_rows(rows, "exp(pay)", unit="unit 1", time="t+1", treated=hostile, cohort=2, reference=1)
    assert study.to_frame()["estimate"].round(6).tolist() == [0, 2]
    last = rows[rows["t+1"] == 2]
    assert mean_difference_rows(last, "exp(pay)", hostile).to_frame()["estimate"].item() == pytest.approx(2)
    rows["late:treated"] = (rows["t+1"] == 2) * rows[hostile]
    rows["late"] = (rows["t+1"] == 2) * 1
    for engine in ("pyfixest", "linearmodels"):
        found = fixed_effects(rows, "exp(pay)", ["late", "late:treated"], unit="unit 1", time="t+1", engine=engine)
        assert found.to_frame()["estimand"].tolist() == ["late", "late:treated"]
        assert found.to_frame()["estimate"].tolist() == pytest.approx([1.25, 2.0])
