"""The balance rating of a matched sample, green, amber or red, from the tables that a release publishes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrain_eval.common.shown import summarised
from retrain_eval.tables.covariates.balance_rows import WWC_ADJUST, WWC_SATISFIED

GREEN, AMBER, RED = LIGHTS = ("green", "amber", "red")
SPREAD = 2.0  # a variance ratio outside 1/2 to 2 is too far from one (Rubin 2001)
FOUND = 0.9  # share of trainees with a control; below it, the estimand is a different one
EFFECTIVE = 0.5  # effective controls per matched trainee; below it, the comparison rests on a few controls


@summarised
@dataclass(frozen=True)
class BalanceVerdict:
    """The balance rating of a matched sample.

    Attributes
    ----------
    light : str
        ``green``, ``amber`` or ``red``: the worst rating of the checks.
    checks : DataFrame
        ``check, value, where, light``: one row per check; ``where`` names the covariate that determines it.
    failed : tuple of str
        Covariates whose effect size is beyond .25, the largest first.
    """

    light: str
    checks: pd.DataFrame
    failed: tuple[str, ...]


def balance_verdict(balance: pd.DataFrame, matching: pd.DataFrame | None = None) -> BalanceVerdict:
    """Rate the balance of a matched sample.

    Parameters
    ----------
    balance : DataFrame
        As `MatchedSample.balance` returns it, or as released.
    matching : DataFrame, optional
        As `matching_table` returns it; only its row for all people is used. Withheld counts are not rated.

    Returns
    -------
    BalanceVerdict
        Checks: ``difference``, the largest effect size at baseline after matching (green to .05, amber to .25; the
        score in the row ``distance`` is not a covariate and is ignored); ``spread``, the variance ratio farthest
        from 1 (amber outside 1/2 to 2); ``found``, the share of treated units with a control (amber below .9, because
        the effect is then that on a part of the treated); ``effective``, effective controls per matched treated unit
        (amber below .5).

    References
    ----------
    What Works Clearinghouse (2022), Procedures and Standards Handbook 5.0; Rubin, D. (2001), Health Services and
    Outcomes Research Methodology 2, 169-188.

    Examples
    --------
    >>> balance = pd.DataFrame({
    ...     "covariate": ["age", "wage"], "effect_size_after": [0.02, -0.31], "variance_ratio_after": [1.1, 0.9]})
    >>> verdict = balance_verdict(balance)
    >>> verdict.light, verdict.failed
    ('red', ('wage',))
    """
    rows = balance[balance["covariate"] != "distance"]
    size = rows["effect_size_after"].abs().fillna(np.inf)  # NaN if neither arm varies but their means differ
    worst = int(size.to_numpy().argmax())
    checks: list[tuple[str, float, str, str]] = [
        ("difference", float(size.iloc[worst]), str(rows["covariate"].iloc[worst]), _light(float(size.iloc[worst])))
    ]
    spread = rows.dropna(subset="variance_ratio_after")
    if len(spread):
        ratio = spread["variance_ratio_after"].to_numpy(dtype=float)
        with np.errstate(divide="ignore"):
            far = int(np.abs(np.log(ratio)).argmax())
        within = 1 / SPREAD <= ratio[far] <= SPREAD
        name = str(spread["covariate"].iloc[far])
        checks.append(("spread", float(ratio[far]), name, GREEN if within else AMBER))
    if matching is not None:
        checks += _counts(matching)
    lights = [light for *_, light in checks]
    order = np.argsort(-size.to_numpy(), kind="stable")
    return BalanceVerdict(
        light=max(lights, key=LIGHTS.index),
        checks=pd.DataFrame(checks, columns=["check", "value", "where", "light"]),
        failed=tuple(str(rows["covariate"].iloc[i]) for i in order if size.iloc[i] > WWC_ADJUST),
    )


def _light(size: float) -> str:
    return GREEN if size <= WWC_SATISFIED else AMBER if size <= WWC_ADJUST else RED


def _counts(matching: pd.DataFrame) -> list[tuple[str, float, str, str]]:
    everybody = matching[matching["subgroup"].isna()].iloc[0]
    all_treated, treated, effective = (
        float(value) if pd.notna(value) else float("nan")
        for value in everybody[["n_treated", "n_treated_matched", "ess_control"]]
    )
    found = [
        ("found", treated / all_treated, "", GREEN if treated / all_treated >= FOUND else AMBER),
        ("effective", effective / treated, "", GREEN if effective / treated >= EFFECTIVE else AMBER),
    ]
    return [check for check in found if np.isfinite(check[1])]
