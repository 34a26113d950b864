"""Trainees against matched controls: read it, then change what your study needs."""

import retrain_eval as rte


def analyse(run: rte.Run) -> None:
    """From loaded records to published results."""
    study, con = run.study, run.con
    rte.build_panel(con, no_record=study.panel.no_record)
    outcome = study.did.outcome
    # a person whose outcome is unknown in any period is no candidate, and counted in the sample flow
    complete = con.sql(f"SELECT person_id FROM panel GROUP BY person_id HAVING count({outcome}) = count(*)")
    people = rte.baseline(con, study.strata, periods=study.match_periods()).join(complete, "person_id")
    people = run.keyed(people)  # what is summed over them can then be protected, and released

    run.say("matching")
    sample = rte.match(people, unit="person_id", **study.match_options())
    sample.weights.create_view("weights")
    run.publish_sample(people, sample, before={period: f"{outcome}_{period}" for period in study.match_periods()})
    run.publish("flow", rte.count_sample_flow(con, people, sample, keyed=run.keyed))

    # what the records cannot give is listed as withheld, with the reason, and the other results are kept
    run.say("effects")
    with run.attempt("did", "event_study"):
        moments = outcome_moments(run, "weights", sample.cluster, by=())
        effects = moments.att_gt(**study.did_options())
        event_study = effects.aggregate("dynamic")
        run.publish("matched", moments)
        run.publish("means", rte.mean_paths(moments))
        run.publish("did", effects.aggregate("simple"))
        run.publish("event_study", event_study)
        run.publish("tests", rte.pretrend_test(event_study), of="event_study")

    for name in study.strata:
        run.say(f"effects by {name}, trainees and controls matched within each group")
        with run.attempt(f"att_by_{name}", f"difference_by_{name}"):
            options = {**study.match_options(), "exact": (*study.match.exact, name)}
            within = rte.match(people, unit="person_id", **options)
            within.weights.create_view("weights_within")
            moments = outcome_moments(run, "weights_within", within.cluster, by=(name,))
            run.publish(f"matched_by_{name}", moments)
            run.publish_levels(name, moments.att_gt(**study.did_options()).by(name).aggregate("simple"))


def outcome_moments(run: rte.Run, weights: str, cluster: str | None, by: tuple[str, ...]) -> rte.OutcomeMoments:
    """Sum the panel of the people in ``weights`` to outcome moments."""
    rows = run.con.sql(f"FROM panel JOIN {weights} USING (person_id) JOIN baseline USING (person_id, treat)")
    return rte.outcome_moments(
        rows,
        unit="person_id",
        time="period",
        cohort="cohort",
        outcome=run.study.did.outcome,
        by=by,
        covariates=run.study.did.covariates,
        weights="weight",
        cluster=cluster,  # matched sets, or None: each person
        **run.study.outcome_options(run.study.did.outcome),  # its kind, and the cap on amounts
    )
