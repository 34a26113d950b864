"""National Supported Work: trainees against matched survey controls, with the experiment as the answer key."""

from pathlib import Path

import duckdb
import pandas as pd
from causaldata import cps_mixtape, nsw_mixtape

import retrain_eval as rte

YEARS = (1974, 1975, 1978)
BEFORE, ENTRY, AFTER = 1975, 1976, 1978
FROM_PROGRAMME, FROM_SURVEY = ("NSW trainee", "NSW control"), "CPS-1"


def prepare(folder: Path) -> None:
    """Write the raw files from the data packages. With your own data, put the files there and drop this function."""
    nsw, cps = (module.load_pandas().data for module in (nsw_mixtape, cps_mixtape))
    people = pd.concat([nsw[nsw["treat"] == 1], nsw[nsw["treat"] == 0], cps], ignore_index=True)
    people["source"] = [FROM_PROGRAMME[0]] * 185 + [FROM_PROGRAMME[1]] * 260 + [FROM_SURVEY] * len(cps)
    number = people.groupby("source").cumcount() + 1
    # ids sort as the published file lists people, because ties are settled in the order of scores and ids
    prefix = people["source"].map({FROM_PROGRAMME[0]: "NSW-T", FROM_PROGRAMME[1]: "NSW-U", FROM_SURVEY: "POOL-CPS"})
    people["person_id"] = prefix + number.astype(str).str.zfill(5)

    renamed = {"educ": "education_years", "nodegree": "no_degree", "hisp": "hispanic", "marr": "married"}
    person = people.rename(columns=renamed).assign(sex="male")
    for flag in ("no_degree", "black", "hispanic", "married"):
        person[flag] = person[flag].map({1: "true", 0: "false"})
    columns = ["person_id", "source", "age", "sex", "education_years", "no_degree", "black", "hispanic", "married"]
    person[columns].to_csv(folder / "person.csv", index=False)

    programme = {"programme_id": "NSW", "name": "National Supported Work demonstration", "provider": "MDRC"}
    pd.DataFrame([programme]).to_csv(folder / "programme.csv", index=False)
    trainees = people.loc[people["treat"] == 1, ["person_id"]]
    trainees.assign(programme_id="NSW", entry=ENTRY).to_csv(folder / "enrolment.csv", index=False)

    earnings = [
        people[["person_id"]].assign(period=year, wages=people[f"re{year % 100}"].astype(float).round(2))
        for year in YEARS
    ]
    pd.concat(earnings).to_csv(folder / "wage_record.csv", index=False)


def analyse(run: rte.Run) -> None:
    """Match, estimate, and hold the answer against the experiment."""
    study, con = run.study, run.con
    strata = list(study.strata)
    rte.build_panel(con, no_record=study.panel.no_record)
    rte.baseline(con, study.strata, periods=study.match_periods())

    run.say("matching trainees with survey respondents")
    candidates = con.sql(f"FROM baseline WHERE treat = 1 OR source = '{FROM_SURVEY}'")
    sample = rte.match(candidates, unit="person_id", **study.match_options())
    sample.weights.create_view("weights")
    run.publish_sample(candidates, sample, before={year: f"earnings_{year}" for year in study.match_periods()})
    run.publish("flow", flow(con, sample))

    run.say("outcome moments of the matched sample, the pool and the experiment")
    matched = con.sql("FROM panel JOIN weights USING (person_id)")
    pool = con.sql(f"FROM panel JOIN baseline USING (person_id) WHERE treat = 1 OR source = '{FROM_SURVEY}'")
    trial = con.sql(f"FROM panel JOIN baseline USING (person_id) WHERE source <> '{FROM_SURVEY}'")
    names = {"unit": "person_id", "time": "period", "cohort": "cohort", "outcome": study.did.outcome}
    names["covariates"] = study.did.covariates
    moments = {
        "matched": rte.outcome_moments(matched, **names, weights="weight", cluster=sample.cluster),
        "pool": rte.outcome_moments(pool, **names),
        "experiment": rte.outcome_moments(trial, **names, by=strata),
    }
    for name, table in moments.items():
        run.publish(name, table)
    run.publish("means", rte.mean_paths(moments["matched"]))

    run.say("effects")
    run.publish("unadjusted", rte.mean_difference(moments["pool"], AFTER, vce="iid"))
    run.publish("att_matched", rte.mean_difference(moments["matched"], AFTER))
    run.publish("benchmark", rte.mean_difference(moments["experiment"], AFTER))
    effects, truth = (moments[name].att_gt(**study.did_options()) for name in ("matched", "experiment"))
    run.publish("did", effects.aggregate("simple"))
    run.publish("event_study", effects.aggregate("dynamic"))
    run.publish("benchmark_event_study", truth.aggregate("dynamic"))
    run.publish("tests", rte.pretrend_test(effects.aggregate("dynamic")), of="event_study")
    run.publish_robustness("event_study", moments["matched"])
    later = con.sql(f"SELECT person_id, earnings AS earnings_after FROM panel WHERE period = {AFTER}")
    run.publish_hidden_bias("att_matched", candidates.join(later, "person_id"), sample, "earnings_after")

    for name in strata:
        run.say(f"effects by {study.strata[name].title.lower()}, trainees and controls matched within each group")
        with run.attempt(f"att_by_{name}", f"difference_by_{name}"):
            within = rte.match(candidates, unit="person_id", **{**study.match_options(), "exact": (name,)})
            within.weights.create_view("weights_within")
            rows = con.sql("FROM panel JOIN weights_within USING (person_id) JOIN baseline USING (person_id, treat)")
            by_group = rte.outcome_moments(rows, **names, by=name, weights="weight", cluster=within.cluster)
            run.publish(f"matched_by_{name}", by_group)
            run.publish_levels(name, by_group.att_gt(**study.did_options()).by(name).aggregate("simple"))
        run.publish(f"benchmark_by_{name}", lambda name=name: truth.by(name).aggregate("simple"))

    run.say("the same estimates from rows, with pyfixest")
    rows = matched.order("person_id, period").df().assign(treated=lambda d: d["cohort"].notna().astype(int))
    after = rows[rows["period"] == AFTER]
    difference = rte.mean_difference_rows(after, "earnings", "treated", cluster="subclass", weights="weight")
    run.publish("att_matched", difference, estimates=rte.mean_difference(moments["matched"], AFTER))
    options = {"unit": "person_id", "time": "period", "treated": "treated", "cluster": "subclass", "weights": "weight"}
    by_year = rte.event_study_rows(rows, "earnings", **options, cohort=ENTRY, reference=BEFORE)
    run.publish("event_study", by_year, estimates=effects.aggregate("dynamic"))


def flow(con: duckdb.DuckDBPyConnection, sample: rte.MatchedSample) -> pd.DataFrame:
    """Count people from valid records to the analysis."""
    trained, others = con.sql("SELECT sum(treat), count(*) - sum(treat) FROM baseline").fetchall()[0]
    records = pd.DataFrame({"step": "Valid records", "group": ["treated", "control"], "n": [trained, others]})
    matching = sample.flow()
    candidates = (matching["step"] == "Candidates for matching") & (matching["group"] == "control")
    matching.loc[candidates, "reason"] = "the experiment's own controls are set aside as the answer key"
    return pd.concat([records.assign(reason=""), matching])
