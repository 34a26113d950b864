"""The synthetic agency: its records, its questions, and what training changed. With your own data, drop this file."""

from pathlib import Path

import retrain_eval as rte


def prepare(folder: Path) -> None:
    """Write synthetic records. With your own data, put the files there and drop this function."""
    agency = rte.simulate(people=20_000, quarters=40, start="2016Q1", seed=20260101)
    agency.write(folder, format="parquet")
    agency.con.table("effect").write_parquet(str(folder / "effect.parquet"))


def analyse(run: rte.Run) -> None:
    """Ask the questions of study.toml, and publish the truth: what training changed for those who were matched."""
    cohort = run.cohort()
    run.ask(cohort)
    for outcome in ("earnings", "employed"):
        effects = run.con.sql(
            f"SELECT person_id, event_time + 1 AS clock, 1 AS cohort, on_{outcome} AS {outcome} FROM effect "
            f"WHERE event_time BETWEEN {-cohort.design.before} AND {cohort.design.after}"
        )
        trained = effects.join(cohort.trained(), "person_id", how="semi")
        keyed = run.keyed(trained)
        moments = rte.outcome_moments(keyed, unit="person_id", time="clock", cohort="cohort", outcome=outcome)
        run.publish(f"truth_{outcome}", moments)
        main = outcome == run.study.did.outcome
        run.publish("truth_event_study" if main else f"truth_event_study_{outcome}", rte.known_effects(moments))
        if main:
            run.publish("truth", rte.known_effects(moments, mean_from=0))
