"""Inverse-probability-of-censoring weights for controls whose follow-up ends when they enter training."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import numpy as np

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.sources import Source, as_relation, query, require_columns, sql_name
from retrain_eval.common.sql import scratch
from retrain_eval.sample.balance.balance import effective_size
from retrain_eval.sample.followup.censoring import bring_weights, matched_unit
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.models.formula import parse_formula
from retrain_eval.sample.models.propensity import fit_propensity
from retrain_eval.sample.scratch import keep_table, store_table, weights_hash
from retrain_eval.sample.units import load_units

DIGITS = 6  # of a factor: sums of logarithms differ in the last bits between processors


def weight_for_censoring(
    sample: MatchedSample, at_risk: Source, formula: str, *, time: str, follow: int
) -> MatchedSample:
    r"""Weight each control by the inverse probability of remaining untrained while outcomes are followed.

    A control who enters training later is lost from then on. They were out of work, so the remaining controls are a
    favourable selection, and their plain mean overstates what trainees would have earned. Each remaining control is
    therefore weighted by

    .. math:: w_i \prod_{p_i < t \le p_i + F} \{1 - h_t(x_i)\}^{-1}

    over the periods :math:`t` in which they could have entered, :math:`p_i` being the period from which they are
    followed and :math:`F` = ``follow``. Controls who enter within these periods get weight 0.

    Parameters
    ----------
    sample : MatchedSample
        From ``match(method="riskset")``.
    at_risk : DuckDB relation, DataFrame, Arrow table or path
        One row per person and period in which the person could enter training: untrained, and out of work for all that
        is known when the period begins. It covers everyone, matched or not.
    formula : str
        Hazard of entry, such as ``"enters ~ C(elapsed) + education + age"``: on the left whether the person enters in
        this period (0/1 or boolean), on the right what is known of them when it begins.
    time : str
        The period, on the calendar of the sample's.
    follow : int
        Periods after ``period`` for which outcomes are wanted.

    Returns
    -------
    MatchedSample
        The same pairs; ``weights`` with the new weights of controls. The audit gains ``remaining``: the coefficients,
        the number of controls lost, the largest factor, and the effective number of those left.

    Raises
    ------
    InputError
        If the sample is not from risk sets, a column does not exist or has no usable value, a person is twice at risk
        in a period, or a matched control entered training in a period in which ``at_risk`` does not have them.
    DesignError
        If covariates predict entry perfectly, or every control enters training.

    Notes
    -----
    Valid if, among people alike on the right of the formula, entry in a period does not depend on what would follow
    without it. The estimated chance is treated as known in standard errors, which is conservative (Robins and
    Finkelstein 2000). Outcomes are weighted for the whole window, so paths stay balanced and one weight serves all.

    References
    ----------
    Robins, J. and Finkelstein, D. (2000), Biometrics 56(3), 779-788.
    van den Berg, G. and Vikström, J. (2022), Econometrica 90(3), 1337-1354 (long-run effects of training on earnings).

    Examples
    --------
    Of four similar people who wait in period 10, one enters. The three others represent all four.

    >>> import pandas as pd, retrain_eval as rte
    >>> people = pd.DataFrame({"id": [1, 2, 3, 4, 5], "x": 0.0, "began": 8, "ended": 14,
    ...                        "entry": pd.array([9, 10, None, None, None], dtype="Int64")})
    >>> sample = rte.match(people, "trained ~ x", unit="id", method="riskset", distance="x",
    ...                    start="began", entry="entry", end="ended", ratio=4, caliper=None)
    >>> waiting = pd.DataFrame({"id": [2, 3, 4, 5], "quarter": 10, "enters": [1, 0, 0, 0], "x": 0.0})
    >>> weighted = weight_for_censoring(sample, waiting, "enters ~ x", time="quarter", follow=4)
    >>> weighted.weights.filter("treat = 0").project("id, round(weight, 4) AS weight").fetchall()
    [(2, 0.0), (3, 1.3333), (4, 1.3333), (5, 1.3333)]
    """
    unit = matched_unit(sample)
    parsed = parse_formula(formula)
    relation = as_relation(at_risk, numbers=(time, parsed.treat), keys=unit, covariates=parsed.by_type)
    require_columns(relation, [unit, time, parsed.treat, *parsed.covariates])
    person, period = sql_name(unit), sql_name(time)
    listed = ", ".join(dict.fromkeys(map(sql_name, (unit, time, parsed.treat, *parsed.covariates))))
    with scratch(relation) as tables:
        rows, chances, weights = (tables.name(what) for what in ("at_risk", "match_chances", "remaining"))
        query(
            relation,
            f"CREATE TEMP TABLE {rows} AS SELECT row_number() OVER (ORDER BY {person}, {period}) AS retrain_row, "
            f"{listed} FROM source",
        )
        units = load_units(query(relation, f"FROM {rows}"), "retrain_row", parsed.treat, parsed.covariates, ())
        n = len(units.cells)
        entering = np.bincount(units.cell[units.treated], minlength=n).astype(float)
        fit = fit_propensity(parsed, units.cells, entering, np.bincount(units.cell, minlength=n).astype(float))
        store_table(relation, {"retrain_row": units.ids, "hazard": fit.score[units.cell]}, chances)
        matched = bring_weights(sample, relation)
        query(
            relation,
            f"""
            CREATE TEMP TABLE {weights} AS
            SELECT m.match_id, any_value(m.{person}) AS person, any_value(m.censored_at) AS censored_at,
              coalesce(any_value(m.censored_at) <= any_value(m.period) + {int(follow)}, false) AS lost,
              coalesce(bool_or(r.{period} = m.censored_at AND CAST(r.{sql_name(parsed.treat)} AS BOOLEAN)), false)
                AS seen,
              exp(coalesce(sum(-ln(1 - hazard) ORDER BY r.{period}), 0)) AS factor,
              count(r.{period}) - count(DISTINCT r.{period}) AS twice
            FROM {matched} m LEFT JOIN ({rows} r JOIN {chances} c ON c.retrain_row = r.retrain_row)
              ON r.{person} = m.{person} AND r.{period} > m.period AND r.{period} <= m.period + {int(follow)}
            WHERE m.treat = 0 GROUP BY m.match_id
            """,
        )
        _check(relation, weights, unit, time)
        found = query(
            relation,
            f"SELECT m.*, CASE WHEN treat = 1 THEN 1 WHEN lost THEN 0 ELSE round(factor, {DIGITS}) END AS factor "
            f"FROM {matched} m LEFT JOIN {weights} USING (match_id) ORDER BY match_id",
        ).to_arrow_table()
    control = found["treat"].to_numpy() == 0
    factor, weight = found["factor"].to_numpy().astype(float), found["weight"].to_numpy()
    lost = control & (factor == 0)
    if lost.sum() == control.sum():
        raise DesignError(
            f"every control enters training within {follow} periods, so no one is left to show outcomes without it. "
            "Follow for a shorter time, or compare with waiting longer (follow_outcomes with censor=False)."
        )
    table = {name: found[name] for name in found.column_names if name not in ("_row", "factor")}
    remaining = {
        "formula": formula,
        "coefficients": fit.coefficients,
        "follow": int(follow),
        "n_control_lost": int(lost.sum()),
        "largest_factor": float(factor[control].max()),
        "ess_control": effective_size((weight * factor)[control & ~lost]),
    }
    return replace(
        sample,
        _again=None,
        weights=keep_table(sample.weights, {**table, "weight": weight * factor}, "weights"),
        audit={
            **sample.audit,
            "remaining": remaining,
            "weights_sha256": weights_hash(found[unit], weight * factor),
        },
    )


def _check(relation: duckdb.DuckDBPyRelation, weights: str, unit: str, time: str) -> None:
    """Refuse controls whose periods at risk contradict the sample."""
    rules = (
        ("twice > 0", "a person is at risk once a period", "keep one row per person and period"),
        (
            "lost AND NOT seen",
            "who enters training is at risk in that period",
            "give every person and period in which entry is possible, with the entry itself",
        ),
    )
    for broken, rule, fix in rules:
        [(n,)] = query(relation, f"SELECT count(*) FROM {weights} WHERE {broken}").fetchall()
        if n:
            raise InputError(
                f"the periods at risk of {n} control(s) do not fit the sample",
                row=f"the rows of at_risk whose {unit} is in sample.weights",
                column=time,
                rule=rule,
                fix=fix,
            )
