"""What a propensity formula may say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from retrain_eval.common.errors import InputError
from retrain_eval.sample.models.formula import parse_formula


def test_covariates_in_order_of_appearance() -> None:
    parsed = parse_formula("t ~ b + log1p(a) + I(`odd name`**2) + C(c):b")
    assert (parsed.treat, parsed.covariates) == ("t", ("b", "a", "odd name", "c"))


def test_terms_mean_what_they_say() -> None:
    cells = pd.DataFrame({"x": [1.0, 2.0, 4.0], "odd name": [3.0, 1.0, 2.0], "g": ["é", "a", "b"]})
    names, values = parse_formula("t ~ x + I(x**2) + sqrt(x) + I(`odd name` > 1) + g").design(cells)
    table = dict(zip(names, values.T, strict=True))
    assert table["I(x ** 2)"].tolist() == [1, 4, 16]
    assert table["sqrt(x)"].tolist() == np.sqrt([1.0, 2.0, 4.0]).tolist()
    assert [name for name in names if name.startswith("g")] == ["g[T.b]", "g[T.é]"]
    assert table["g[T.é]"].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age + educ", "needs one ~"),
        ("~ age", "needs one ~"),
        ("treat ~ age | educ", "parts separated by"),
        ("treat + other ~ age", "left of ~ must be one"),
        ("log(treat) ~ age", "left of ~ must be one"),
        ("treat ~ (age", "cannot be read"),
        ("treat ~ .", "cannot be read"),
        ("treat ~ age + treat", "treatment is also a covariate"),
        ("treat ~ scale(age)", "unknown function in a formula 'scale'"),
        ("treat ~ poly(age, 2)", "unknown function in a formula 'poly'"),
        ("treat ~ I(age - age.mean())", "unknown function in a formula 'age.mean'"),
        ("treat ~ I(age^2)", r"write powers as age\*\*2"),
        ("treat ~ I(age[0])", "cannot be read"),
        ("treat ~ C(age, contr.sum)", "cannot be read"),
        ("treat ~ I(__import__('os').getpid())", "unknown function in a formula"),
        ("treat ~ age**2", r"write I\(age\*\*2\)"),
        ("", "needs one ~|cannot be read"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_formula(text)
