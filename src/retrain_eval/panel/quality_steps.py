"""The steps from the panel to employment quality, in SQL: what can be known of a dimension, and who is deprived in it.

A dimension is judged in two steps of `QualitySteps`: ``facts`` holds the rule of each dimension (`QualitySteps.rules`),
and ``judged`` lets a person have scores in all periods in which there can be any, or in none.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrain_eval.common.sql import no_rows
from retrain_eval.common.sql_steps import Pipeline, intermediate, step, table


@dataclass(frozen=True)
class QualitySteps(Pipeline):
    """Employment quality of each person and period.

    Attributes
    ----------
    dimensions : tuple of str
        Which to count.
    persons, displacements : str
        SELECTs of ``person_id, region`` (for earnings alone) and of ``person_id, displaced_on, isco``.
    year : int
        Periods of a year, over which stability is measured.
    min_tenure : int
    max_cv, cutoff_k : float
        See `retrain_eval.build_quality`.
    jobless : {"1.0", "NULL"}
        Value of every dimension of a person without a job.
    """

    dimensions: tuple[str, ...]
    persons: str
    displacements: str
    year: int
    min_tenure: int
    max_cv: float
    cutoff_k: float
    jobless: str

    @intermediate
    def _occupation_pay(self) -> str:
        """An occupation: mean log real earnings of the person-periods with one employer."""
        if "occupation" not in self.dimensions:
            return no_rows("isco", "pay")
        return """
            SELECT substr(isco, 1, 2) AS isco, round(avg(ln(earnings)), 6) AS pay
            FROM panel WHERE employed = 1 AND n_employers = 1 AND isco IS NOT NULL GROUP BY 1"""

    @step
    def nominal_pay(self) -> str:
        """A person and a period with a wage record: the sum of wages as paid."""
        return "SELECT person_id, period, sum(wages) AS nominal FROM wage_record GROUP BY person_id, period"

    @step
    def living_wage(self) -> str:
        """A person and a known period: the living wage of their region, else of all; nominal earnings less it."""
        if "earnings" not in self.dimensions:
            return no_rows("person_id", "period", "nominal_gap", "living_wage")
        return f"""
            SELECT person_id, period, coalesce(local.living_wage, everywhere.living_wage) AS living_wage,
              nominal - coalesce(local.living_wage, everywhere.living_wage) AS nominal_gap
            FROM (SELECT person_id, period FROM panel WHERE earnings IS NOT NULL)
            LEFT JOIN nominal_pay USING (person_id, period)
            LEFT JOIN ({self.persons}) home USING (person_id)
            LEFT JOIN (SELECT region, period, living_wage FROM price WHERE region IS NOT NULL) local
              USING (region, period)
            LEFT JOIN (SELECT period, living_wage FROM price WHERE region IS NULL) everywhere USING (period)"""

    @step
    def occupations(self) -> str:
        """A person and a period with an occupation: what it pays."""
        if "occupation" not in self.dimensions:
            return no_rows("person_id", "period", "pay")
        return """
            SELECT person_id, period, pay
            FROM panel JOIN _occupation_pay ON _occupation_pay.isco = substr(panel.isco, 1, 2)"""

    @step
    def lost(self) -> str:
        """A displaced person: the occupation that the first displacement ended."""
        return f"""
            SELECT person_id, first(isco ORDER BY displaced_on) AS isco
            FROM ({self.displacements}) GROUP BY person_id"""

    @step
    def former(self) -> str:
        """A person: what the occupation before displacement pays, or before entry without a displacement."""
        if "occupation" not in self.dimensions:
            return no_rows("person_id", "former_pay")
        return """
            SELECT person_id, pay AS former_pay
            FROM (
              SELECT panel.person_id, substr(coalesce(any_value(lost.isco), max_by(panel.isco, period)
                FILTER (coalesce(to_displacement, to_entry) < 0 AND panel.isco IS NOT NULL)), 1, 2) AS isco
              FROM panel LEFT JOIN lost USING (person_id) GROUP BY panel.person_id
            ) JOIN _occupation_pay USING (isco)"""

    @step
    def recent(self) -> str:
        """A person and a known period, with the lowest earnings of the last year and their coefficient of variation.

        `whole`: the last year is known; `settled`: so are as many periods as a tenure needs not to be deprived.
        """
        before, settled = self.year - 1, self.min_tenure - 1
        return f"""
            SELECT *, lag(period, {before}) OVER w = period - {before} AS whole,
              lag(period, {settled}) OVER w = period - {settled} AS settled,
              CASE WHEN whole THEN min(earnings) OVER last END AS lowest,
              CASE WHEN whole THEN stddev_pop(earnings) OVER last / nullif(avg(earnings) OVER last, 0) END AS swing
            FROM panel WHERE earnings IS NOT NULL
            WINDOW w AS (PARTITION BY person_id ORDER BY period),
              last AS (PARTITION BY person_id ORDER BY period ROWS {before} PRECEDING)"""

    def rules(self) -> dict[str, tuple[str, str]]:
        """Return the rules of each dimension: whether it can be known in a period, and whether a job is deprived."""
        rules = {
            "earnings": ("w.living_wage IS NOT NULL", "CAST(w.nominal_gap < 0 AS DOUBLE)"),
            "tenure": (
                "coalesce(settled, false)",
                f"CASE WHEN tenure >= {self.min_tenure} THEN 0.0 WHEN NOT tenure_censored THEN 1.0 END",
            ),
            "stability": (
                "coalesce(whole, false)",
                f"CASE WHEN lowest = 0 THEN 1.0 ELSE CAST(round(swing, 9) > {self.max_cv!r} AS DOUBLE) END",
            ),
            "occupation": ("true", "CAST(now.pay < f.former_pay AS DOUBLE)"),
        }
        return {name: rules[name] for name in self.dimensions}

    @step
    def facts(self) -> str:
        """A person and a known period: of each dimension, whether it can be known, and whether a job is deprived."""
        facts = [f"{can} AS possible_{name}, {job} AS job_{name}" for name, (can, job) in self.rules().items()]
        return f"""
            SELECT r.person_id, r.period, employed, f.former_pay, {", ".join(facts)},
              {" AND ".join(f"possible_{name}" for name in self.dimensions)} AS possible
            FROM recent r
            LEFT JOIN living_wage w ON w.person_id = r.person_id AND w.period = r.period
            LEFT JOIN occupations now ON now.person_id = r.person_id AND now.period = r.period
            LEFT JOIN former f ON f.person_id = r.person_id"""

    @step
    def judged(self) -> str:
        """The same, with whether a dimension is known wherever it can be: otherwise it is unknown in all periods.

        Without an occupation before, no occupation can be judged, and neither can being without one.
        """
        known = {name: f"(employed = 0 OR job_{name} IS NOT NULL)" for name in self.dimensions}
        if "occupation" in known:
            known["occupation"] = f"former_pay IS NOT NULL AND {known['occupation']}"
        judged = [
            f"bool_and(NOT possible OR ({rule})) OVER (PARTITION BY person_id) AS known_{name}"
            for name, rule in known.items()
        ]
        return f"SELECT *, {', '.join(judged)} FROM facts"

    @step
    def flagged(self) -> str:
        """A person and a known period: deprived in each dimension (1), not (0), or unknown (NULL)."""
        flags = [
            f"CAST(CASE WHEN possible_{name} AND known_{name} THEN "
            f"CASE WHEN employed = 0 THEN {self.jobless} ELSE job_{name} END END AS DOUBLE) AS d_{name}"
            for name in self.dimensions
        ]
        return f"SELECT person_id, period, {', '.join(flags)} FROM judged"

    @step
    def counted(self) -> str:
        """The same, with the number of deprivations; unknown if any dimension is."""
        total = " + ".join(f"d_{name}" for name in self.dimensions)
        return f"SELECT *, CAST({total} AS INTEGER) AS deprivations FROM flagged"

    @table
    def quality(self) -> str:
        """The same, with whether their share reaches the cut-off, and that share if it does."""
        count = len(self.dimensions)
        reached = f"deprivations >= {self.cutoff_k!r} * {count} - 1e-9"
        return f"""
            SELECT *, CAST({reached} AS DOUBLE) AS deprived,
              CASE WHEN {reached} THEN deprivations / {count}.0::DOUBLE WHEN deprivations IS NOT NULL THEN 0.0 END AS m0
            FROM counted ORDER BY person_id, period"""
