"""What bounds on hidden bias need to know of a matched sample: pairs, spread and regressions, from SQL."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

from retrain_eval.confounding import (
    ALPHA,
    EValue,
    OsterBounds,
    Regressions,
    RosenbaumBounds,
    e_value,
    oster_bounds,
    rosenbaum_bounds,
)
from retrain_eval.errors import DesignError, InputError
from retrain_eval.sample.censoring import by_role
from retrain_eval.sample.composition import people_sql, stored, treated_sql
from retrain_eval.sample.formula import TreatmentFormula, parse_formula
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sources import Source, as_relation, query, require_columns, sql_name

Floats = npt.NDArray[np.float64]

ROSENBAUM = ("result", "gamma", "p_value", "n_pairs")
E_VALUES = ("result", "estimate", "std_error", "sd", "risk_ratio", "e_value", "e_value_limit")
OSTER = (
    "result",
    "r2_max",
    "beta_uncontrolled",
    "r2_uncontrolled",
    "beta_controlled",
    "r2_controlled",
    "var_outcome",
    "var_treatment",
    "var_residual",
    "delta",
    "beta_star",
    "n",
)


@dataclass(frozen=True)
class HiddenBias:
    """How much hidden bias an estimate bears; a part is None where the design has none.

    Attributes
    ----------
    rosenbaum : RosenbaumBounds, optional
        Of one-to-one pairs without replacement.
    e_value : EValue
    sd : float
        The standard deviation that the E-value stands on.
    oster : OsterBounds, optional
    regressions : Regressions, optional
        What Oster's bounds stand on.
    estimate, std_error : float
        The effect that is asked about.
    notes : tuple of str
        Why a part is missing.
    """

    rosenbaum: RosenbaumBounds | None
    e_value: EValue
    sd: float
    oster: OsterBounds | None
    regressions: Regressions | None
    estimate: float
    std_error: float
    notes: tuple[str, ...]

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return what is published, by name of the table, but for the name of the result.

        Rosenbaum's table has a row more, for the Γ at which the conclusion falls.
        """
        e = self.e_value
        found = {
            "e_values": pd.DataFrame(
                {
                    "estimate": [self.estimate],
                    "std_error": [self.std_error],
                    "sd": [self.sd],
                    "risk_ratio": [e.risk_ratio],
                    "e_value": [e.e_value],
                    "e_value_limit": [e.e_value_limit],
                }
            )
        }
        if self.rosenbaum is not None:
            found["rosenbaum"] = self.rosenbaum.table
            if np.isfinite(self.rosenbaum.critical):
                at = self.rosenbaum.table.head(1).assign(gamma=self.rosenbaum.critical, p_value=ALPHA)
                rows = pd.concat([self.rosenbaum.table, at])
                found["rosenbaum"] = rows.drop_duplicates("gamma").sort_values("gamma", ignore_index=True)
        if self.regressions is not None and self.oster:
            # beyond the usual R² max, the most sceptical one
            bounds = [oster_bounds(self.regressions, r2_max) for r2_max in dict.fromkeys((self.oster.r2_max, 1.0))]
            numbers = {key: value for key, value in asdict(self.regressions).items() if key in OSTER}
            found["oster"] = pd.DataFrame([{**numbers, **asdict(bound)} for bound in bounds])
        return found


def hidden_bias(
    people: Source, sample: MatchedSample, outcome: str, *, estimate: float, std_error: float
) -> HiddenBias:
    """Ask how much hidden bias would overturn the effect estimated on a matched sample.

    Parameters
    ----------
    people : DuckDB relation, DataFrame, Arrow table or path
        The people the sample was drawn from, one row each, with the columns of the formula and the outcome. With risk
        sets, one row per ``match_id`` with ``treat`` and the outcome, as they follow from `follow_outcomes`.
    sample : MatchedSample
        What `match` returned for them.
    outcome : str
        Column whose difference in means the estimate is: earnings in a period, or their mean over several.
    estimate, std_error : float
        As published.

    Returns
    -------
    HiddenBias
        Rosenbaum's bounds test in the direction of the estimate. The E-value's standard deviation is that within the
        matched arms, by their weights. Oster's bounds set the raw difference over all candidates against that with
        the covariates of the matching formula; with risk sets there are none, since nobody who was not matched has
        a period from which outcomes count.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.sample.match import match
    >>> people = pd.DataFrame({"id": range(8), "treat": [1, 0] * 4, "age": [20, 21, 30, 31, 40, 42, 50, 50],
    ...                        "pay": [9.0, 7, 8, 5, 9, 6, 7, 6]})
    >>> sample = match(people, "treat ~ age", "id")
    >>> found = hidden_bias(people, sample, "pay", estimate=2.25, std_error=0.7)
    >>> float(found.rosenbaum.table["p_value"][0].round(4)), round(found.e_value.e_value, 1)
    (0.0328, 19.5)
    """
    relation = as_relation(people)
    require_columns(relation, [outcome])
    rosenbaum, oster, fitted, notes = None, None, None, []
    waiting = sample.audit["method"] == "riskset"
    sample = by_role(sample) if waiting else sample
    try:
        found = pair_differences(relation, sample, outcome)
        rosenbaum = rosenbaum_bounds(found, alternative="less" if estimate < 0 else "greater")
    except DesignError as error:
        notes.append(f"no Rosenbaum bounds: {error}")
    spread = deviation(relation, sample, outcome)
    try:
        if waiting:
            raise DesignError("with risk sets, who was not matched has no period from which outcomes count")
        fitted = regressions(relation, sample, outcome)
        oster = oster_bounds(fitted)
    except (DesignError, InputError) as error:
        notes.append(f"no Oster bounds: {error}")
    strength = e_value(estimate, std_error, spread)
    return HiddenBias(rosenbaum, strength, spread, oster, fitted, float(estimate), float(std_error), tuple(notes))


def pair_differences(people: Source, sample: MatchedSample, outcome: str) -> Floats:
    """Return the outcome of each treated person less that of the control, pair by pair.

    Raises
    ------
    DesignError
        If a treated person has several controls or a control serves several: pairs would not be independent.
    InputError
        If somebody's outcome is missing.
    """
    relation = as_relation(people)
    counts = query(
        sample.pairs, "SELECT count(*), count(DISTINCT treated_id), count(DISTINCT control_id) FROM source"
    ).fetchall()[0]
    if counts[0] == 0:
        raise DesignError("they are for pairs, and weighting makes none")
    if len(set(counts)) > 1:
        raise DesignError(
            f"they are for pairs, and here {counts[1]} treated people are compared with {counts[2]} controls "
            f"in {counts[0]} comparisons"
        )
    unit, y = sql_name(str(sample.audit["unit"])), sql_name(outcome)
    pairs = stored(relation, sample.pairs, "SELECT subclass, treated_id, control_id FROM source")
    try:
        found = query(
            relation,
            f"SELECT CAST(a.{y} AS DOUBLE) - CAST(b.{y} AS DOUBLE) AS d FROM {pairs} p JOIN source a ON "
            f"a.{unit} = p.treated_id JOIN source b ON b.{unit} = p.control_id ORDER BY p.subclass ASC",
        ).to_arrow_table()
    finally:
        query(relation, f"DROP TABLE IF EXISTS {pairs}")
    if found.num_rows != counts[0] or found.column("d").null_count:
        raise InputError(
            f"{counts[0] - found.num_rows + found.column('d').null_count} pair(s) have no difference",
            column=outcome,
            rule="an outcome for every matched person",
            fix="leave out people without an outcome before matching",
        )
    differences: Floats = found.column("d").to_numpy()
    return differences


def deviation(people: Source, sample: MatchedSample, outcome: str) -> float:
    """Return the pooled standard deviation of an outcome within the matched arms, by their weights."""
    relation, y = as_relation(people), sql_name(outcome)
    with people_sql(relation, sample, [outcome]) as everyone:
        found = query(
            relation,
            f"""
            WITH arms AS (
              SELECT treated, w, CAST({y} AS DOUBLE) AS y, fsum(w * CAST({y} AS DOUBLE)) OVER (PARTITION BY treated)
                / fsum(w) OVER (PARTITION BY treated) AS middle
              FROM (
                SELECT true AS treated, _weight_treated AS w, {y} FROM ({everyone})
                UNION ALL SELECT false, _weight_control, {y} FROM ({everyone})
              ) WHERE w > 0 AND {y} IS NOT NULL
            )
            SELECT treated, count(*), fsum(w), fsum(w ** 2), fsum(w * (y - middle) ** 2) FROM arms GROUP BY treated
            ORDER BY treated ASC
            """,
        ).fetchall()
    pooled, freedom = 0.0, 0
    for _, n, weight, squares, deviations in found:
        if n > 1:
            pooled, freedom = pooled + (n - 1) * deviations / (weight - squares / weight), freedom + n - 1
    return float(np.sqrt(pooled / freedom)) if freedom else float("nan")


def regressions(people: Source, sample: MatchedSample, outcome: str) -> Regressions:
    """Regress the outcome on the treatment, without and with the covariates of the matching formula.

    Everybody with an outcome counts once, matched or not: the raw comparison and the adjusted one are over the same
    people. Rows with equal covariates are summed in SQL first.
    """
    relation, formula = as_relation(people), parse_formula(str(sample.audit["formula"]))
    cells, treated, n, total, within = _cells(relation, sample, formula, outcome)
    x = formula.design(cells)[1]
    scale = np.sqrt((x**2).sum(axis=0))
    x = x / np.where(scale > 0, scale, 1.0)
    root = np.sqrt(n)
    mean = total / n
    both = np.column_stack([treated, mean]) * root[:, None]
    left = both - (root[:, None] * x) @ np.linalg.lstsq(root[:, None] * x, both, rcond=None)[0]
    count = float(n.sum())

    def centred(column: Floats) -> Floats:
        return column - (n @ column) / count

    t, y = centred(treated), centred(mean)
    s_tt, s_ty, s_yy = float(n @ t**2), float(n @ (t * y)), float(n @ y**2) + within
    tau, tau_y, left_y = float(left[:, 0] @ left[:, 0]), float(left[:, 0] @ left[:, 1]), float(left[:, 1] @ left[:, 1])
    if min(s_tt, s_yy) <= 0 or tau <= 1e-10 * s_tt:
        raise DesignError("the outcome or the treatment does not vary, or not beyond the covariates")
    return Regressions(
        beta_uncontrolled=s_ty / s_tt,
        r2_uncontrolled=s_ty**2 / s_tt / s_yy,
        beta_controlled=tau_y / tau,
        r2_controlled=1 - (left_y + within - tau_y**2 / tau) / s_yy,
        var_outcome=s_yy / count,
        var_treatment=s_tt / count,
        var_residual=tau / count,
        n=int(count),
    )


def _cells(
    relation: duckdb.DuckDBPyRelation, sample: MatchedSample, formula: TreatmentFormula, outcome: str
) -> tuple[pd.DataFrame, Floats, Floats, Floats, float]:
    """Return each distinct row of covariates and treatment: covariates, treatment, count, sum of the outcome.

    Last comes the sum of squares of the outcome within these cells. The outcome is taken about its mean.
    """
    require_columns(relation, formula.covariates)
    y, names = f"CAST({sql_name(outcome)} AS DOUBLE)", list(formula.covariates)
    types = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
    kinds = ["VARCHAR" if types[name].startswith(("VARCHAR", "ENUM")) else "DOUBLE" for name in names]
    keys = [f"CAST({sql_name(name)} AS {kind})" for name, kind in zip(names, kinds, strict=True)]
    listed = "".join(f", {key} AS k{i}" for i, key in enumerate(keys))
    table = query(
        relation,
        f"""
        WITH rows AS (
          SELECT CAST({treated_sql(sample)} AS INTEGER) AS treated, {y} AS y{listed} FROM source WHERE {y} IS NOT NULL
        ),
        centre AS (SELECT fsum(y) / count(*) AS middle FROM rows)
        SELECT treated, {"".join(f"k{i}, " for i in range(len(names)))}count(*) AS n,
          fsum(y - middle) AS total, fsum((y - middle) ** 2) AS squares
        FROM rows, centre GROUP BY ALL ORDER BY ALL
        """,
    ).df()
    if table.empty:
        raise DesignError(f"nobody has a value of {outcome!r}")
    n, total = table["n"].to_numpy(dtype=float), table["total"].to_numpy(dtype=float)
    within = float((table["squares"].to_numpy(dtype=float) - total**2 / n).sum())
    cells = table[[f"k{i}" for i in range(len(names))]].set_axis(names, axis="columns")
    return cells, table["treated"].to_numpy(dtype=float), n, total, max(within, 0.0)
