"""Displaced workers who were trained against displaced workers who were not: the pattern for quarterly wage records."""

from collections.abc import Sequence
from pathlib import Path

import duckdb

import retrain_eval as rte

BEFORE, AFTER = 8, 12  # quarters before the first of training, and after it
WAIT = range(2, 7)  # quarters after displacement in which training may start
HISTORY = 8  # quarters of earnings up to displacement that people are matched on
FOLLOWED = 12  # quarters that joblessness is followed for
SOON, HELD = 4, 8  # jobs begun within so many quarters of the start are followed for so many: everybody is observed
WORTH_QUARTERS, WORTH_SHARE = 0.5, 0.05  # less joblessness, or a smaller share that keeps its job, would not matter
ENTRY = 1  # the period of entry on the clock of `follow_outcomes`
OUTCOMES = ("earnings", "employed", "full_quarter", "m0")


def prepare(folder: Path) -> None:
    """Write synthetic records. With your own data, put the files there and drop this function."""
    agency = rte.simulate(people=20_000, quarters=40, start="2016Q1", seed=20260101)
    agency.write(folder, format="parquet")
    agency.con.table("effect").write_parquet(str(folder / "effect.parquet"))


def analyse(run: rte.Run) -> None:
    """From wage records to effects on earnings, employment and its quality."""
    study, con = run.study, run.con
    run.say("panel, employment quality and spells")
    rte.build_panel(con, **study.panel_options())
    if left_out := rte.uncovered_records(con):
        run.say(f"{left_out:,} wage records do not count: no coverage, person not linked, not observed, or incomplete")
    rte.build_quality(con, **study.quality_options())
    rte.build_spells(con, recall_within=study.panel.recall_within)
    build_candidates(run)

    displaced = run.keyed(con.sql("FROM candidate WHERE displaced IS NOT NULL"))
    run.publish("linkage", rte.count_linked(displaced, "linked", by=list(study.strata)))

    run.say("matching trainees with people still jobless and untrained after as many quarters")
    candidates = run.keyed(con.sql("FROM candidate WHERE eligible"))
    sample = rte.match(candidates, unit="person_id", **study.match_options())
    run.publish_sample(candidates, sample, before={-k: f"earnings_m{k}" for k in range(HISTORY)})
    run.publish("flow", flow(run, sample))
    followed = follow(run, sample, OUTCOMES)

    # what the records cannot give is listed as withheld with the reason, and the other results are kept
    moments: dict[str, rte.OutcomeMoments] = {}
    for outcome in OUTCOMES:
        run.say(f"effect on {outcome} over time")
        name = "event_study" if outcome == study.did.outcome else f"event_study_{outcome}"
        with run.attempt(name):
            moments[outcome] = event_moments(run, followed, outcome)
            run.publish(f"matched_{outcome}", moments[outcome])
            run.publish(name, moments[outcome].att_gt(**study.did_options()).aggregate("dynamic"))
            run.publish("means", rte.mean_paths(moments[outcome], shift=-ENTRY))
    with run.attempt("did", "payback"):
        publish_main(run, sample, moments[study.did.outcome])

    for name in ("tier", "delivery"):
        run.say(f"effects by {name}, each pair by the programme of its trainee")
        with run.attempt(f"att_by_{name}", f"difference_by_{name}"):
            publish_levels(run, name, followed, "pairs_by")
    for name in study.strata:
        run.say(f"effects by {study.strata[name].title.lower()}, matched within each group")
        with run.attempt(f"att_by_{name}", f"difference_by_{name}"):
            options = {**study.match_options(), "exact": (*study.match.exact, name)}
            within = rte.match(candidates, unit="person_id", **options)
            publish_levels(run, name, follow(run, within, [study.did.outcome], f"weights_{name}"), "matched_by")

    stability(run)
    truth(run)
    # where many controls are equally near, the effect under other orders of identifiers too
    run.publish_ties("did", sample, lambda other: main_effect(run, other))


def publish_main(run: rte.Run, sample: rte.MatchedSample, moments: rte.OutcomeMoments) -> None:
    """Publish the mean effect on the main outcome, what it owes to its design, and whether it repays its cost."""
    outcome = run.study.did.outcome
    effects = moments.att_gt(**run.study.did_options())
    event_study = effects.aggregate("dynamic")
    run.publish("did", effects.aggregate("simple"))
    run.publish("tests", lambda: rte.pretrend_test(event_study), of="event_study")
    run.publish_robustness("event_study", moments)
    run.publish("payback", lambda: rte.payback(event_study, cost_per_trainee(run)))
    panel = run.con.table("panel")
    waited = rte.follow_outcomes(sample, panel, time="period", outcomes=[outcome], between=(0, AFTER), censor=False)
    keys = ", any_value(person_key) AS person_key" if run.key else ""
    cap = run.study.outcomes[outcome].cap
    after = waited.aggregate(f"match_id, treat, avg(least({outcome}, {cap})) AS after{keys}")
    run.publish_hidden_bias("did", after, sample, "after")


def build_candidates(run: rte.Run) -> None:
    """Make one row per person: displacement, training, the next job, history before them, and strata."""
    history = ", ".join(f"max(earnings) FILTER (to_displacement = {-k}) AS earnings_m{k}" for k in range(HISTORY))
    strata = ", ".join(f"{stratum.sql()} AS {name}" for name, stratum in run.study.strata.items())
    first, last = WAIT[0] - BEFORE, WAIT[-1] + AFTER  # quarters from displacement that anybody's outcomes may come from
    run.con.execute(
        f"""
        CREATE OR REPLACE TABLE candidate AS
        WITH programmes AS (
          SELECT person_id, CAST(min_by(tier, entry) AS ENUM('foundation', 'transition', 'substitution')) AS tier,
            CAST(min_by(delivery, entry) AS ENUM('public', 'employer', 'mixed')) AS delivery
          FROM enrolment JOIN programme USING (programme_id) GROUP BY person_id
        ),
        history AS (
          SELECT person_id, any_value(period - to_displacement) AS displaced, any_value(cohort) AS training,
            -- training in a quarter is decided before a job is found in it, so waiting ends in the quarter after
            1 + min(period) FILTER (employed = 1 AND to_displacement > 0) AS back_at_work, {history},
            count(earnings) > 0 AS linked,
            count(earnings) FILTER (to_displacement BETWEEN {first} AND {last}) = {last - first + 1} AS complete
          FROM panel GROUP BY person_id
        )
        SELECT *, {strata}, coalesce(training < coalesce(back_at_work, training + 1), false) AS trainee,
          -- training in the quarter after a job was found is no entry from waiting; with neither, both are unknown
          complete AND coalesce(training <> back_at_work, true) AS eligible
        FROM (
          SELECT history.*, programmes.* EXCLUDE (person_id), person.education, person.disability,
            person.sex = 'female' AS female, displaced // 4 - person.birth_year AS age
          FROM history JOIN person USING (person_id) LEFT JOIN programmes USING (person_id)
        )
        """
    )


def follow(
    run: rte.Run, sample: rte.MatchedSample, outcomes: Sequence[str], weights: str = "weights"
) -> duckdb.DuckDBPyRelation:
    """Bring outcomes to the matched people; controls who stay untrained stand for those whom later training cuts."""
    at_risk = run.con.sql(
        f"""
        SELECT candidate.*, now.period, now.to_displacement AS elapsed, coalesce(now.period = training, false) AS enters
        FROM panel now JOIN panel before ON before.person_id = now.person_id AND before.period = now.period - 1
        JOIN candidate ON candidate.person_id = now.person_id
        WHERE complete AND now.to_displacement BETWEEN {WAIT[0]} AND {WAIT[-1]} AND before.employed = 0
          AND (training IS NULL OR now.period <= training)
        """
    )
    covariates = run.study.match.formula.partition("~")[2]
    weighted = rte.weight_for_censoring(
        sample, at_risk, f"enters ~ C(elapsed) + {covariates}", time="period", follow=AFTER
    )
    weighted.weights.create_view(weights)
    panel = run.con.sql("FROM panel LEFT JOIN quality USING (person_id, period)")
    rows = rte.follow_outcomes(weighted, panel, time="period", outcomes=outcomes, between=(-BEFORE, AFTER))
    sample.pairs.create_view("pairs")
    # a pair belongs to the group, and to the programme, of its trainee
    levels = ", ".join(f"candidate.{name}" for name in (*run.study.strata, "tier", "delivery"))
    rows.query(
        "rows",
        f"""
        CREATE OR REPLACE TEMP TABLE followed AS
        SELECT rows.*, {levels} FROM rows JOIN pairs USING (subclass) JOIN candidate ON candidate.person_id = treated_id
        """,
    )
    return run.con.table("followed")


def main_effect(run: rte.Run, sample: rte.MatchedSample) -> float:
    """Return the effect on the main outcome of a sample."""
    outcome = run.study.did.outcome
    moments = event_moments(run, follow(run, sample, [outcome], "weights_of_others"), outcome)
    found: float = moments.att_gt(**run.study.did_options()).aggregate("simple").to_frame()["estimate"].item()
    return found


def cost_per_trainee(run: rte.Run) -> float:
    """Return what training cost for each person who entered it, in prices of the base quarter, to two digits.

    With a public budget, more digits would tell how many people entered.
    """
    left = rte.people_left_out(run.con)  # their training was paid for as well
    found: float = run.con.execute(
        """
        WITH prices AS (SELECT period, avg(cpi) AS cpi FROM price GROUP BY period)
        SELECT round(sum(CAST(amount AS DOUBLE) / cpi * (SELECT cpi FROM prices WHERE period = $base)) /
          ((SELECT count(DISTINCT person_id) FROM enrolment) + $left))
        FROM cost JOIN prices USING (period)
        """,
        {
            "base": run.study.panel_options()["base_period"],
            "left": int(left.loc[left["group"] == "treated", "n"].sum()),
        },
    ).fetchall()[0][0]
    return float(f"{found:.2g}")


def event_moments(run: rte.Run, followed: duckdb.DuckDBPyRelation, outcome: str, by: str = "") -> rte.OutcomeMoments:
    """Sum the matched people's paths around the start of training to outcome moments."""
    return rte.outcome_moments(
        run.keyed(followed),
        unit="match_id",
        time="clock",
        cohort="cohort",
        outcome=outcome,
        by=by or (),
        weights="weight",
        cluster="subclass",
        unbalanced="drop",
        **run.study.outcome_options(outcome),
    )


def publish_levels(run: rte.Run, name: str, followed: duckdb.DuckDBPyRelation, kind: str) -> None:
    """Publish the effect in each level, the differences between levels, and verdicts."""
    moments = event_moments(run, followed, run.study.did.outcome, name)
    run.publish(f"{kind}_{name}", moments)
    run.publish_levels(name, moments.att_gt(**run.study.did_options()).by(name).aggregate("simple"))


def stability(run: rte.Run) -> None:
    """How long joblessness and jobs last: after displacement, and of trainees beside their matched controls."""
    joblessness_after_displacement(run)
    run.say("time to a job, job stability and causes of ending, trainees beside their matched controls")
    follow_matched(run)
    for name in ("jobless_since_start", "first_job"):
        curves = (name, f"{name}_difference", f"{name}_mean", f"{name}_mean_difference")
        with run.attempt(*curves):
            compare_durations(run, name)
        for stratum in run.study.strata:
            levels = f"{name}_by_{stratum}"
            with run.attempt(levels, f"{levels}_difference"):
                compare_within(run, name, stratum)
    with run.attempt("first_job_ends", "first_job_ends_difference"):
        paired, released = count_spells(run, "first_job", "arm", causes=True)
        run.publish("first_job_ends", released.cumulative_incidence(conf_type=run.study.survival.conf_type))
        run.publish("first_job_ends_difference", paired.incidence_difference(times=(HELD,)))
    indicators(run)


def compare_durations(run: rte.Run, name: str) -> None:
    """Publish curves by arm, their differences, mean durations and the indicators that agencies report."""
    paired, released = count_spells(run, name, "arm")
    tau = FOLLOWED if name == "jobless_since_start" else HELD
    run.publish(name, released.kaplan_meier(conf_type=run.study.survival.conf_type))
    run.publish(f"{name}_difference", lambda: paired.survival_difference(times=(2, 4, HELD)))
    run.publish(f"{name}_mean", lambda: released.rmst(tau=tau))
    run.publish(f"{name}_mean_difference", lambda: paired.rmst_difference(tau=tau))
    with run.attempt(name):
        scores = rte.logrank_scores(paired.table)
        run.publish(f"{name}_tests", scores)
        run.publish("tests", lambda: rte.score_test(scores), of=name)
    if name == "jobless_since_start":
        run.publish("lock_in", lambda: paired.discrete_hazard("arm:period", bins=(1, 2, 4, 8)))
        run.publish("indicators_ever", lambda: released.ever_ended(times=(2, 4, 8, FOLLOWED)))
        run.publish("indicators_first_job", lambda: released.quantile(0.5))
    else:
        run.publish("indicators_retained", lambda: released.retention(quarters=(2, 4, HELD)))


def compare_within(run: rte.Run, name: str, stratum: str) -> None:
    """Publish differences between the arms in each level of a stratum."""
    paired, _ = count_spells(run, name, "arm", stratum)
    if name == "jobless_since_start":
        levels, worth = paired.rmst_difference(tau=HELD), WORTH_QUARTERS
    else:
        levels, worth = paired.survival_difference(times=(HELD,)), WORTH_SHARE
    run.publish_levels(stratum, levels, of=name, smallest_worthwhile=worth)


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
          JOIN candidate USING (person_id) WHERE state = 'nonemployed' AND entry BETWEEN displaced AND displaced + 1
          GROUP BY person_id
        ) JOIN candidate USING (person_id)
        WHERE person_id IN (
          SELECT person_id FROM panel WHERE to_displacement BETWEEN 0 AND {FOLLOWED} + 2
          GROUP BY person_id HAVING count(earnings) = {FOLLOWED} + 3
        )
        """
    )
    for name in run.study.strata:
        with run.attempt(f"km_{name}"):
            jobless = run.keyed(run.con.table("jobless"))
            spells = rte.Spells(jobless, id="person_id", by=name, **run.study.survival_options())
            run.publish(name, spells)
            run.publish(f"km_{name}", spells.kaplan_meier(conf_type=run.study.survival.conf_type))
            run.publish("tests", lambda table=spells.table: rte.logrank_test(table), of=f"km_{name}")


def follow_matched(run: rte.Run) -> None:
    """Make one row per matched person and set of weights: time to a job since the start, and the first job since.

    Everybody is without a job in the quarter before the start. A job found in the quarter of the start ends joblessness
    after one quarter. Jobs are those begun within ``SOON`` quarters, so that all can be followed for ``HELD``.
    """
    made = {name for (name,) in run.con.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()}
    arm = "CAST(CASE WHEN treat = 1 THEN 'trained' ELSE 'matched controls' END AS ENUM('matched controls', 'trained'))"
    samples = " UNION ALL ".join(
        f"SELECT '{name}' AS sample, * FROM {view}"
        for name, view in {"": "weights", **{name: f"weights_{name}" for name in run.study.strata}}.items()
        if view in made  # within some strata there may have been no one to match
    )
    run.con.execute(
        f"""
        CREATE OR REPLACE TABLE matched AS
        SELECT sample, match_id, person_id, subclass, weight, {arm} AS arm, period AS start,
          {", ".join(run.study.strata)}
        FROM candidate JOIN ({samples}) USING (person_id) WHERE weight > 0;

        CREATE OR REPLACE TABLE jobless_since_start AS
        SELECT matched.*, least(exit - start + 2, {FOLLOWED}) AS quarters,
          CASE WHEN exit - start + 2 <= {FOLLOWED} AND cause <> 'censored' THEN cause END AS cause
        FROM matched JOIN spells s ON s.person_id = matched.person_id
          AND s.state = 'nonemployed' AND start - 1 BETWEEN s.entry AND s.exit;

        CREATE OR REPLACE TABLE first_job AS
        WITH job AS (
          SELECT sample, match_id, min_by(quarters, entry) AS quarters, min_by(cause, entry) AS cause
          FROM matched m JOIN spells s ON s.person_id = m.person_id
            AND s.state = 'employed' AND s.entry BETWEEN start AND start + {SOON}
          GROUP BY sample, match_id
        )
        SELECT matched.*, least(quarters, {HELD}) AS quarters,
          CASE WHEN quarters <= {HELD} AND cause <> 'censored' THEN cause END AS cause
        FROM matched JOIN job USING (sample, match_id)
        """
    )


def count_spells(run: rte.Run, source: str, *by: str, causes: bool = False) -> tuple[rte.Spells, rte.Spells]:
    """Count spells by arm: clustered by matched set, and as they are released, without the sets.

    Sets reach over both arms, so they count in differences; the curve of one arm needs the released table only. Without
    ``causes`` any end counts.
    """
    strata = [name for name in by if name != "arm"]
    rows = run.con.table(source).filter(f"sample = '{strata[0] if strata else ''}'")
    if not causes:
        rows = rows.project("* EXCLUDE (cause), CAST(cause IS NOT NULL AS INTEGER) AS cause")
    weighted = {"weights": "weight", "weight_type": "probability", "cluster": "subclass"}
    # only NULL and 0 mean censored
    spells = rte.Spells(run.keyed(rows), id="match_id", by=by, censored=(), **weighted)
    name = "_by_".join([source, *strata]) + ("_causes" if causes else "")
    released = rte.Spells.from_table(spells.table.without_clusters())
    run.publish(name, released)
    return spells, released


def indicators(run: rte.Run) -> None:
    """Publish the figures that agencies report: employment, the same employer, ever re-employed, medians."""
    con, quarters = run.con, (2, 4, 8)
    since = con.sql(
        "SELECT panel.* EXCLUDE (to_entry), period - start AS to_entry, arm, weight, subclass "
        "FROM panel JOIN matched USING (person_id) WHERE sample = ''"
    )
    since = run.keyed(since)
    weighted = {"weights": "weight", "weight_type": "probability", "cluster": "subclass"}
    with run.attempt("indicators_employed"):
        shares = rte.employment_shares(since, "to_entry", quarters, by="arm", **weighted)
        run.publish("indicators_employed", shares)
        employed = rte.employment_after(since, "to_entry", quarters, by="arm", **weighted)
        run.publish("indicators_employed", employed, estimates=rte.share_effects(shares))
    for event in ("exit", "displacement"):
        with run.attempt(f"indicators_since_{event}"):
            rows = rte.first_job_spells(con.table("panel"), f"to_{event}")
            spells = rte.Spells(run.keyed(rows), id="person_id", censored=())
            run.publish(f"first_job_since_{event}", spells)
            run.publish(f"indicators_since_{event}", spells.quantile(0.5))


def truth(run: rte.Run) -> None:
    """Publish what training changed for those who were matched. With your own data, drop this function."""
    for outcome in ("earnings", "employed"):
        rows = run.con.sql(
            f"""
            SELECT person_id, event_time + {ENTRY} AS clock, {ENTRY} AS cohort, on_{outcome} AS {outcome}
            FROM effect SEMI JOIN (FROM weights WHERE treat = 1) USING (person_id)
            WHERE event_time BETWEEN {-BEFORE} AND {AFTER}
            """
        )
        keyed = run.keyed(rows)
        moments = rte.outcome_moments(keyed, unit="person_id", time="clock", cohort="cohort", outcome=outcome)
        run.publish(f"truth_{outcome}", moments)
        main = outcome == run.study.did.outcome
        run.publish("truth_event_study" if main else f"truth_event_study_{outcome}", rte.known_effects(moments))
        if main:
            run.publish("truth", rte.known_effects(moments, mean_from=0))


def flow(run: rte.Run, sample: rte.MatchedSample) -> rte.SampleCounts:
    """Count people from the register to the analysis, with the reason for each loss."""
    steps = {
        "On the register": ("true", ""),
        "Displaced": ("displaced IS NOT NULL", "never displaced"),
        "Linked": ("displaced IS NOT NULL AND linked", "not found in the wage records"),
        "Whole span observed": ("complete", "the span runs out of the records, or has a gap in coverage"),
    }
    left_out = run.keyed(run.con.table("left_out")) if len(rte.people_left_out(run.con)) else None
    # whoever trains may have been a control before
    return rte.count_flow(
        run.keyed(run.con.table("candidate")),
        steps,
        sample,
        groups={"treated": "trainee", "control": "true"},
        refused=left_out,
        refused_groups={"treated": "enrolled", "control": "true"},
        reasons={"control": "back at work before training could start"},
    )
