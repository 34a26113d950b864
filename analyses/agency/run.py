"""Displaced workers who were trained against displaced workers who were not: the pattern for quarterly wage records."""

from pathlib import Path

import pandas as pd

import retrain_eval as rte
from retrain_eval.coverage import uncovered_records
from retrain_eval.did.diagnostics import pretrend_test
from retrain_eval.did.means import mean_paths
from retrain_eval.did.payback import payback
from retrain_eval.heterogeneity import equal_effects, verdicts
from retrain_eval.survival.followup import employment_after, first_job_spells
from retrain_eval.survival.logrank import logrank_test

BEFORE, AFTER = 8, 12  # quarters before the start of training, and after it
WAIT = range(2, 7)  # quarters after displacement in which training may start
FOLLOWED = 12  # quarters that joblessness is followed for
SOON, HELD = 4, 8  # jobs begun within so many quarters of the start are followed for so many: everybody is observed
WORTH_QUARTERS, WORTH_SHARE = 0.5, 0.05  # less joblessness, or a smaller share that keeps its job, would not matter
QUARTERS = range(1 - BEFORE, AFTER + 2)  # counted from training: its first quarter is 1, the last one before it 0
OUTCOMES = ("earnings", "employed", "full_quarter", "m0")


def prepare(folder: Path) -> None:
    """Write synthetic records. With your own data, put the files there and drop this function."""
    agency = rte.simulate(people=20_000, quarters=40, start="2016Q1", seed=20260101)
    agency.write(folder, format="parquet")
    agency.truth.to_csv(folder / "truth.csv", index=False)


def analyse(run: rte.Run) -> None:
    """From wage records to effects on earnings, employment and its quality."""
    study, con = run.study, run.con
    run.say("panel, employment quality, spells and outcome paths")
    rte.build_panel(con, **study.panel_options())
    if left_out := uncovered_records(con):
        run.say(f"{left_out:,} wage records lie under no coverage, or are of people not linked; they do not count")
    rte.build_quality(con, **study.quality_options())
    rte.build_spells(con, recall_within=study.panel.recall_within)
    rte.build_outcome_paths(con, outcomes=OUTCOMES)
    build_candidates(run)

    displaced = con.sql("FROM candidate WHERE displaced IS NOT NULL")
    run.results.add_table("linkage", rte.linkage_rates(displaced, "covered", by=list(study.strata)))

    run.say("matching trainees with displaced workers of the same quarter")
    candidates = con.sql("FROM candidate WHERE eligible")
    sample = rte.match(candidates, unit="person_id", **study.match_options())
    sample.weights.create_view("weights")
    run.publish_sample(candidates, sample, before={-k: f"earnings_m{k}" for k in range(2, BEFORE + 1)})
    run.results.add_table("flow", flow(run, sample))

    for outcome in OUTCOMES:
        main = outcome == study.did.outcome
        run.say(f"effect on {outcome} over time")
        moments = event_moments(run, outcome)
        effects = moments.att_gt(**study.did_options())
        event_study = effects.aggregate("dynamic")
        run.results.moments[f"matched_{outcome}"] = moments
        run.publish("event_study" if main else f"event_study_{outcome}", event_study)
        # moments count from the first quarter of training, the report from its start
        run.publish_table("means", mean_paths, moments, shift=-1)
        if main:
            run.publish("did", effects.aggregate("simple"))
            run.publish_table("tests", pretrend_test, event_study, "event_study")
            run.publish_robustness("event_study", moments)
            run.publish("payback", payback(event_study, cost_per_trainee(run)))
            after = candidates.project(f"*, list_avg(earnings[{BEFORE + 1}:]) AS earnings_after")
            run.publish_hidden_bias("did", after, sample, "earnings_after")

    for name in study.strata:
        run.say(f"effects by {study.strata[name].title.lower()}, matched within each group")
        options = {**study.match_options(), "exact": (*study.match.exact, name)}
        rte.match(candidates, unit="person_id", **options).weights.create_view(f"weights_{name}")
        publish_levels(run, name, event_moments(run, study.did.outcome, name, f"weights_{name}"), "matched_by")
    for name in ("tier", "delivery"):
        run.say(f"effects by {name}, each pair by the programme of its trainee")
        publish_levels(run, name, event_moments(run, study.did.outcome, name), "pairs_by")

    stability(run)
    truth(run)


def build_candidates(run: rte.Run) -> None:
    """Make one row per displaced worker: when training started or could have, history before it, and strata."""
    history = ", ".join(f"earnings[start - {k} - first + 1] AS earnings_m{k}" for k in range(2, BEFORE + 1))
    strata = ", ".join(f"{stratum.sql()} AS {name}" for name, stratum in run.study.strata.items())
    low, high = f"start - {BEFORE} - first + 1", f"start + {AFTER} - first + 1"
    windows = ", ".join(f"{y}[{low}:{high}] AS {y}" for y in OUTCOMES)
    run.con.execute(
        f"""
        CREATE OR REPLACE TABLE started AS
        -- whoever never trained is followed from one of these quarters, by a hash of the id
        SELECT person_id, any_value(cohort) AS cohort, any_value(period - to_displacement) AS displaced,
          CAST(md5_number_lower(person_id) % {len(WAIT)} AS INTEGER) + displaced + {WAIT[0]} AS could_start,
          coalesce(any_value(cohort), could_start) AS start,
          min(period) AS first, count(earnings) > 0 AS covered
        FROM panel GROUP BY person_id
        """
    )
    build_waiting(run)
    run.con.execute(
        f"""
        CREATE OR REPLACE TABLE candidate AS
        WITH programmes AS (
          SELECT person_id, CAST(min_by(tier, entry) AS ENUM('foundation', 'transition', 'substitution')) AS tier,
            CAST(min_by(delivery, entry) AS ENUM('public', 'employer', 'mixed')) AS delivery
          FROM enrolment JOIN programme USING (programme_id) GROUP BY person_id
        ),
        history AS (
          SELECT person_id, displaced, start, covered, CAST(started.cohort IS NOT NULL AS INTEGER) AS treat,
            start - {BEFORE} >= first AND start + {AFTER} <= first + len(earnings) - 1 AS inside,
            employed[start - first] AS employed_m1, {history}, {windows}
          FROM started JOIN paths USING (person_id)
        )
        SELECT *, {strata}, covered AND inside AND list_count(earnings) = {len(QUARTERS)} AS complete,
          complete AND employed_m1 = 0 AS eligible
        FROM (
          SELECT history.*, programmes.* EXCLUDE (person_id), person.education, person.disability,
            person.sex = 'female' AS female, displaced // 4 - person.birth_year AS age,
            coalesce(waiting.weight, 1.0) AS waiting
          FROM history JOIN person USING (person_id) LEFT JOIN programmes USING (person_id)
          LEFT JOIN waiting USING (person_id)
        )
        """
    )


def build_waiting(run: rte.Run) -> None:
    """Weigh whoever never trained by one over the chance to have remained untrained after the start.

    Who finds work soon has no further occasion to enter training, so those who never trained are the luckier ones. Each
    stands for all like them who entered later: Robins and Finkelstein (2000), Biometrics 56. The chance to enter
    in a quarter is the share of those without a job who did, by time since displacement, schooling, age and earnings.
    """
    run.con.execute(
        f"""
        CREATE OR REPLACE TABLE waiting AS
        WITH described AS (
          SELECT person_id, education >= 5 AS tertiary, education < 3 AS short,
            displaced // 4 - birth_year >= 55 AS older, ntile(4) OVER (ORDER BY before, person_id) AS quarter
          FROM person JOIN started USING (person_id) JOIN (
            SELECT person_id, avg(earnings) AS before FROM panel WHERE to_displacement BETWEEN -8 AND -1
            GROUP BY person_id
          ) USING (person_id)
        ),
        at_risk AS (
          SELECT p.person_id, p.period, p.to_displacement AS elapsed, tertiary, short, older, quarter,
            coalesce(p.cohort = p.period, false) AS enters
          FROM panel p JOIN panel b ON b.person_id = p.person_id AND b.period = p.period - 1 AND b.employed = 0
          JOIN described d ON d.person_id = p.person_id
          WHERE p.to_displacement BETWEEN {WAIT[0]} AND {WAIT[-1]} AND (p.cohort IS NULL OR p.period <= p.cohort)
        ),
        chance AS (
          SELECT *, avg(enters::INTEGER) OVER (PARTITION BY elapsed, tertiary, short, older, quarter) AS chance
          FROM at_risk
        )
        SELECT person_id, round(exp(sum(-ln(1 - chance) ORDER BY period)), 6) AS weight
        FROM chance JOIN started USING (person_id)
        WHERE cohort IS NULL AND period > start GROUP BY person_id
        """
    )


def cost_per_trainee(run: rte.Run) -> float:
    """Return what training cost for each person who entered it, in prices of the base quarter, to the dollar."""
    found: float = run.con.execute(
        """
        WITH prices AS (SELECT period, avg(cpi) AS cpi FROM price GROUP BY period)
        SELECT round(sum(CAST(amount AS DOUBLE) / cpi * (SELECT cpi FROM prices WHERE period = $base)) /
          (SELECT count(DISTINCT person_id) FROM enrolment))
        FROM cost JOIN prices USING (period)
        """,
        {"base": run.study.panel_options()["base_period"]},
    ).fetchall()[0][0]
    return found


def event_moments(run: rte.Run, outcome: str, by: str = "", weights: str = "weights") -> rte.OutcomeMoments:
    """Sum the matched people's paths around the start of training to outcome moments."""
    # controls keep their number in each quarter of displacement and start
    weight = "round(weight * waiting / avg(waiting) OVER (PARTITION BY treat, displaced, start), 6) AS weight"
    # a pair belongs to the programme of its trainee
    levels = f", any_value({by}) FILTER (treat = 1) OVER (PARTITION BY subclass) AS by_level" if by else ""
    rows = run.con.sql(
        f"""
        SELECT person_id, subclass, CASE WHEN treat = 1 THEN 1 END AS cohort,
          CAST({outcome} AS DOUBLE[{len(QUARTERS)}]) AS {outcome}, {weight} {levels}
        FROM candidate JOIN {weights} USING (person_id, treat)
        """
    )
    if by:
        rows = rows.project(f"* EXCLUDE (by_level), by_level AS {by}")
    return rte.outcome_moments(
        rows,
        unit="person_id",
        time=QUARTERS,
        cohort="cohort",
        outcome=outcome,
        by=by or (),
        weights="weight",
        cluster="subclass",
        unbalanced="drop",
        winsorise=run.study.release.winsorise if outcome == "earnings" else None,
    )


def publish_levels(run: rte.Run, name: str, moments: rte.OutcomeMoments, kind: str) -> None:
    """Publish the effect in each level, the differences between levels, and verdicts."""
    run.results.moments[f"{kind}_{name}"] = moments
    run.publish_levels(name, moments.att_gt(**run.study.did_options()).by(name).aggregate("simple"))


def stability(run: rte.Run) -> None:
    """How long joblessness and jobs last: after displacement, and of trainees beside their matched controls."""
    joblessness_after_displacement(run)
    run.say("time to a job, job stability and causes of ending, trainees beside their matched controls")
    follow_matched(run)
    conf_type = run.study.survival.conf_type
    for name in ("jobless_since_start", "first_job"):
        paired, released = count_spells(run, name, "arm")
        whole = unmerged(paired)
        run.publish(name, released.kaplan_meier(conf_type=conf_type))
        run.publish(f"{name}_difference", paired.survival_difference(times=on_grid(paired, (2, 4, 8))))
        run.publish(f"{name}_mean", released.rmst(tau=whole))
        run.publish(f"{name}_mean_difference", paired.rmst_difference(tau=whole))
        run.publish_table("tests", logrank_test, paired.table, name)
        if name == "jobless_since_start":
            run.publish("lock_in", paired.discrete_hazard("arm:period", bins=on_grid(paired, (1, 2, 4, 8))))
            run.publish("indicators_ever", released.ever_ended(times=on_grid(released, (2, 4, 8, 12))))
            run.publish("indicators_first_job", released.quantile(0.5))
        else:
            run.publish("indicators_retained", released.retention(quarters=on_grid(released, (2, 4, 8))))
        for stratum in run.study.strata:
            paired, _ = count_spells(run, name, "arm", stratum)
            if name == "jobless_since_start":
                publish_by(run, name, stratum, paired.rmst_difference(tau=unmerged(paired)), WORTH_QUARTERS)
            else:
                publish_by(run, name, stratum, paired.survival_difference(times=paired.table.grid[-1:]), WORTH_SHARE)
    paired, released = count_spells(run, "first_job", "arm", causes=True)
    run.publish("first_job_ends", released.cumulative_incidence(conf_type=conf_type))
    run.publish("first_job_ends_difference", paired.incidence_difference(times=paired.table.grid[-1:]))
    indicators(run)


def publish_by(run: rte.Run, name: str, stratum: str, effects: rte.EffectTable, worth: float) -> None:
    """Publish a difference between the arms in each level, the differences between levels, and verdicts."""
    result = f"{name}_by_{stratum}"
    run.publish(result, effects)
    run.publish(f"{result}_difference", effects.difference())
    seed = run.study.study.seed
    run.publish_table("verdicts", verdicts, effects, result, smallest_worthwhile=worth, seed=seed)
    run.publish_table("tests", equal_effects, effects, result)


def joblessness_after_displacement(run: rte.Run) -> None:
    """How long those without a job after displacement are without one, by age and by education.

    Only people whose records are whole for as long as they are followed: a gap in coverage comes by region and quarter.
    """
    duration, cause = run.study.survival.duration, run.study.survival.cause
    run.con.execute(
        f"""
        CREATE OR REPLACE TABLE jobless AS
        SELECT person_id, least(quarters, {FOLLOWED}) AS {duration},
          CAST(cause <> 'censored' AND quarters <= {FOLLOWED} AS INTEGER) AS {cause}, {", ".join(run.study.strata)}
        FROM (
          SELECT person_id, min_by(quarters, entry) AS quarters, min_by(cause, entry) AS cause FROM spells
          JOIN started USING (person_id) WHERE state = 'nonemployed' AND entry BETWEEN displaced AND displaced + 1
          GROUP BY person_id
        ) JOIN candidate USING (person_id)
        WHERE person_id IN (
          SELECT person_id FROM panel WHERE to_displacement BETWEEN 0 AND {FOLLOWED} + 2
          GROUP BY person_id HAVING count(earnings) = {FOLLOWED} + 3
        )
        """
    )
    for name in run.study.strata:
        spells = rte.Spells(run.con.table("jobless"), id="person_id", duration=duration, cause=cause, by=name)
        safe = rte.Spells.from_table(spells.table.coarsen(run.study.release.min_cell))
        run.results.life_tables[name] = safe.table
        run.publish(f"km_{name}", safe.kaplan_meier(conf_type=run.study.survival.conf_type))
        run.publish_table("tests", logrank_test, safe.table, f"km_{name}")


def follow_matched(run: rte.Run) -> None:
    """Make one row per matched person and set of weights: time to a job since the start, and the first job since.

    Everybody is without a job in the quarter before the start. A job found in the quarter of the start ends joblessness
    after one quarter. Jobs are those begun within ``SOON`` quarters, so that all can be followed for ``HELD``.
    """
    arm = "CAST(CASE WHEN treat = 1 THEN 'trained' ELSE 'matched controls' END AS ENUM('matched controls', 'trained'))"
    samples = " UNION ALL ".join(
        f"SELECT '{name}' AS sample, * FROM {view}"
        for name, view in {"": "weights", **{name: f"weights_{name}" for name in run.study.strata}}.items()
    )
    run.con.execute(
        f"""
        CREATE OR REPLACE TABLE matched AS
        SELECT sample, person_id, {arm} AS arm, start, {", ".join(run.study.strata)}, subclass,
          -- controls keep their number in each quarter of displacement and start
          round(weight * waiting / avg(waiting) OVER (PARTITION BY sample, treat, displaced, start), 6) AS weight
        FROM candidate JOIN ({samples}) USING (person_id, treat);

        CREATE OR REPLACE TABLE jobless_since_start AS
        SELECT matched.*, least(exit - start + 2, {FOLLOWED}) AS quarters,
          CASE WHEN exit - start + 2 <= {FOLLOWED} AND cause <> 'censored' THEN cause END AS cause
        FROM matched JOIN spells s ON s.person_id = matched.person_id
          AND s.state = 'nonemployed' AND start - 1 BETWEEN s.entry AND s.exit;

        CREATE OR REPLACE TABLE first_job AS
        WITH job AS (
          SELECT sample, m.person_id, min_by(quarters, entry) AS quarters, min_by(cause, entry) AS cause
          FROM matched m JOIN spells s ON s.person_id = m.person_id
            AND s.state = 'employed' AND s.entry BETWEEN start AND start + {SOON}
          GROUP BY sample, m.person_id
        )
        SELECT matched.*, least(quarters, {HELD}) AS quarters,
          CASE WHEN quarters <= {HELD} AND cause <> 'censored' THEN cause END AS cause
        FROM matched JOIN job USING (sample, person_id)
        """
    )


def count_spells(run: rte.Run, source: str, *by: str, causes: bool = False) -> tuple[rte.Spells, rte.Spells]:
    """Count spells by arm, safe to publish: clustered by matched set, and as the release keeps them, without the sets.

    Sets reach over both arms, so they count in differences; the curve of one arm needs the released table only. Without
    ``causes`` any end counts, so that fewer durations have to be merged.
    """
    strata = [name for name in by if name != "arm"]
    rows = run.con.table(source).filter(f"sample = '{strata[0] if strata else ''}'")
    if not causes:
        rows = rows.project("* EXCLUDE (cause), CAST(cause IS NOT NULL AS INTEGER) AS cause")
    spells = rte.Spells(rows, id="person_id", by=by, weights="weight", weight_type="probability", cluster="subclass")
    table = spells.table.coarsen(run.study.release.min_cell)
    name = "_by_".join([source, *strata]) + ("_causes" if causes else "")
    run.results.life_tables[name] = table.without_clusters()
    return rte.Spells.from_table(table), rte.Spells.from_table(run.results.life_tables[name])


def on_grid(spells: rte.Spells, wanted: tuple[int, ...]) -> tuple[float, ...]:
    """Return the durations wanted that the coarsened table still tells apart."""
    return tuple(float(quarter) for quarter in wanted if quarter in (spells.table.grid or ()))


def unmerged(spells: rte.Spells) -> int:
    """Return the last quarter until which no two are merged: up to there, areas under the curve are exact."""
    grid = spells.table.grid or ()
    return next((n for n in range(1, len(grid)) if grid[n] != n + 1), len(grid))


def indicators(run: rte.Run) -> None:
    """Publish the figures that agencies report: employment, the same employer, ever re-employed, recalls, medians."""
    con, quarters = run.con, (2, 4, 8)
    since = con.sql(
        "SELECT panel.* EXCLUDE (to_entry), period - start AS to_entry, arm, weight, subclass "
        "FROM panel JOIN matched USING (person_id) WHERE sample = ''"
    )
    weighted = {"weights": "weight", "weight_type": "probability", "cluster": "subclass"}
    run.publish("indicators_employed", employment_after(since, "to_entry", quarters, by="arm", **weighted))
    _, causes = count_spells(run, "jobless_since_start", "arm", causes=True)
    run.publish("indicators_recall", causes.cause_share("recall", times=on_grid(causes, (8,))))
    for event in ("exit", "displacement"):
        rows = first_job_spells(con.table("panel"), f"to_{event}")
        safe = rte.Spells(rows, id="person_id", by=()).table.coarsen(run.study.release.min_cell)
        run.results.life_tables[f"first_job_since_{event}"] = safe
        run.publish(f"indicators_since_{event}", rte.Spells.from_table(safe).quantile(0.5))


def truth(run: rte.Run) -> None:
    """Publish the effects that the synthetic data were made with. With your own data, drop this function."""
    known = run.con.sql(
        f"""
        SELECT outcome, event_time, CAST(sum(att * n) / sum(n) AS DOUBLE) AS estimate,
          CAST(sum(n) AS BIGINT) AS n_treated
        FROM truth WHERE subgroup IS NULL AND event_time BETWEEN {-BEFORE} AND {AFTER} GROUP BY ALL ORDER BY ALL
        """
    ).df()
    for outcome, rows in known.groupby("outcome"):
        main = outcome == run.study.did.outcome
        path = rows.assign(estimator="truth", estimand="ATT")
        run.publish("truth_event_study" if main else f"truth_event_study_{outcome}", effects_without_error(path))
        if main:
            after = path[path["event_time"] >= 0]
            whole = after.head(1).assign(event_time=pd.NA, estimate=after["estimate"].mean())
            run.publish("truth", effects_without_error(whole))


def effects_without_error(rows: pd.DataFrame) -> rte.EffectTable:
    """Return known numbers as an EffectTable: their variance is zero."""
    return rte.EffectTable.build(rows.to_dict("records"), [[0.0] * len(rows)] * len(rows))


def flow(run: rte.Run, sample: rte.MatchedSample) -> pd.DataFrame:
    """Count people from the register to the analysis, with the reason for each loss."""
    steps = {
        "On the register": ("true", ""),
        "Displaced": ("displaced IS NOT NULL", "never displaced"),
        "Linked": ("displaced IS NOT NULL AND covered", "not found in the wage records"),
        "Whole span observed": ("complete", "the span runs out of the records, or has a gap in coverage"),
        "Without a job before training": ("eligible", "in a job in the quarter before training started or could have"),
    }
    counts = [
        {"step": step, "group": group, "n": n, "reason": reason}
        for step, (condition, reason) in steps.items()
        for group, n in run.con.sql(
            f"SELECT CASE treat WHEN 1 THEN 'treated' ELSE 'control' END AS g, count(*) FILTER ({condition}) "
            "FROM candidate GROUP BY g ORDER BY g DESC"
        ).fetchall()
    ]
    return pd.concat([pd.DataFrame(counts), sample.flow()], ignore_index=True)
