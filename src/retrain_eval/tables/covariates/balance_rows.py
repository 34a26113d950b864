"""One row of a balance table: standardised differences, variance ratios and effect sizes from means and variances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

COLUMNS = (
    "covariate",
    "mean_treated",
    "mean_treated_after",
    "mean_control_before",
    "mean_control_after",
    "smd_before",
    "smd_after",
    "variance_ratio_before",
    "variance_ratio_after",
    "ecdf_mean_before",
    "ecdf_mean_after",
    "ecdf_max_before",
    "ecdf_max_after",
    "effect_size_before",
    "effect_size_after",
    "wwc",
)
SATISFIED, ADJUST, FAILED = "satisfied", "needs adjustment", "not satisfied"
WWC_SATISFIED, WWC_ADJUST = 0.05, 0.25  # What Works Clearinghouse (2022), table 7: absolute effect sizes
_LOGITS_PER_SD = 1.65  # of the Cox index
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Summary:
    """Summary of a covariate in one arm, as needed for balance.

    Attributes
    ----------
    n : int
        Rows with a weight.
    mean : float
        Σwx / Σw.
    variance : float
        Σw(x − x̄)² / (Σw − Σw²/Σw), which is the sample variance if all weights are 1; NaN for a single row.
    """

    n: int
    mean: float
    variance: float


def effect_size(treated: Summary, control: Summary, *, binary: bool) -> float:
    """Return the standardised difference as the What Works Clearinghouse computes it.

    Parameters
    ----------
    treated, control : Summary
        The covariate in the two arms of the sample that is analysed.
    binary : bool
        Whether its values are 0 and 1.

    Returns
    -------
    float
        Hedges' g: the difference in means over the pooled standard deviation of the two arms; for shares p and q
        the Cox index, (logit p − logit q) / 1.65. Both are multiplied by 1 − 3/(4N − 9). If one share, but not the
        other, is 0 or 1, the Cox index does not exist, and g of the 0/1 variable is used. NaN if neither arm varies and
        their means differ, or if an arm is a single unit.
    """
    n = treated.n + control.n
    small = 1 - 3 / (4 * n - 9)
    p, q = treated.mean, control.mean
    if _difference(p, q) == 0:
        return 0.0
    if binary and min(p, q) > 0 and max(p, q) < 1:
        return float(small * (np.log(p / (1 - p)) - np.log(q / (1 - q))) / _LOGITS_PER_SD)
    if n <= 2:
        return float("nan")
    pooled = sum((arm.n - 1) * arm.variance for arm in (treated, control) if arm.n > 1) / (n - 2)
    return float(small * (p - q) / np.sqrt(pooled)) if pooled > 0 else float("nan")


def equivalence(size: float) -> str:
    """Return the What Works Clearinghouse category of an effect size at baseline.

    Examples
    --------
    >>> equivalence(-0.05), equivalence(0.2), equivalence(0.3), equivalence(float("nan"))
    ('satisfied', 'needs adjustment', 'not satisfied', 'not satisfied')
    """
    size = abs(size)
    return SATISFIED if size <= WWC_SATISFIED else ADJUST if size <= WWC_ADJUST else FAILED


def balance_row(name: str, stages: Mapping[str, tuple[Summary, Summary]], *, binary: bool) -> dict[str, object]:
    """Return a row of the balance table; for numbers, without the distances between distribution functions.

    Parameters
    ----------
    name : str
    stages : mapping
        ``before`` and ``after`` → the covariate among treated units and among controls.
    binary : bool
        Whether its values are 0 and 1.
    """
    before, after = stages["before"], stages["after"]
    mean = before[0].mean
    variance = mean * (1 - mean) if binary else before[0].variance
    row: dict[str, object] = {
        "covariate": name,
        "mean_treated": mean,
        "mean_treated_after": after[0].mean,
        "mean_control_before": before[1].mean,
        "mean_control_after": after[1].mean,
    }
    sizes = {stage: effect_size(treated, control, binary=binary) for stage, (treated, control) in stages.items()}
    for stage, (treated, control) in stages.items():
        difference = _difference(treated.mean, control.mean)
        row[f"smd_{stage}"] = _ratio(difference, float(np.sqrt(max(variance, 0.0))))
        row[f"variance_ratio_{stage}"] = float("nan") if binary else _ratio(treated.variance, control.variance)
        row[f"ecdf_mean_{stage}"] = row[f"ecdf_max_{stage}"] = abs(difference) if binary else float("nan")
        row[f"effect_size_{stage}"] = sizes[stage]
    row["wwc"] = equivalence(sizes["after"])
    return row


def _difference(a: float, b: float) -> float:
    """Return a − b, or zero if the difference is only rounding error of two weighted means of one value."""
    return 0.0 if abs(a - b) <= _ROUNDING * max(abs(a), abs(b)) else a - b


def _ratio(value: float, unit: float) -> float:
    """Divide a difference by its unit; zero divided by anything is zero."""
    if unit > 0:
        return value / unit
    return 0.0 if value == 0 else float("nan")
