"""Trainees against matched controls: read it, then change what your study needs."""

import retrain_eval as rte
from retrain_eval.did.diagnostics import pretrend_test
from retrain_eval.did.means import mean_paths
from retrain_eval.flow import Run

BEFORE_ENTRY = (2018, 2019)  # periods before anybody entered, used to match


def analyse(run: Run) -> None:
    """From loaded records to published results."""
    study, con = run.study, run.con
    strata = list(study.strata)
    rte.build_panel(con)
    people = rte.baseline(con, study.strata, periods=BEFORE_ENTRY)

    run.say("matching")
    sample = rte.match(people, unit="person_id", **study.match_options())
    sample.weights.create_view("weights")
    run.results.add_table("balance", sample.balance())
    run.results.add_table("overlap", sample.overlap())

    run.say("outcome moments")
    columns = ", ".join(["person_id", "period", "earnings", "cohort", *strata, "weight", "subclass"])
    matched = con.sql(f"SELECT {columns} FROM panel JOIN baseline USING (person_id) JOIN weights USING (person_id)")
    moments = rte.outcome_moments(
        matched,
        unit="person_id",
        time="period",
        cohort="cohort",
        outcome=study.did.outcome,
        by=strata,
        weights="weight",
        # matched sets are independent; a control used in several sets belongs to none
        cluster=None if study.match.replace else "subclass",
    )
    run.results.moments["matched"] = moments
    run.results.add_table("means", mean_paths(moments))

    run.say("effects")
    effects = moments.att_gt(**study.did_options())
    event_study = effects.aggregate("dynamic")
    run.publish("did", effects.aggregate("simple"))
    run.publish("event_study", event_study)
    run.results.add_table("tests", pretrend_test(event_study).assign(result="event_study"))
    for name in strata:
        by_level = effects.by(name).aggregate("simple")
        run.publish(f"att_by_{name}", by_level)
        run.publish(f"difference_by_{name}", by_level.difference())
