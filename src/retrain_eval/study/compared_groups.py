"""What a run keeps of a matched sample: balance, common support, who was matched, and paths before the programme."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sources import Source
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.release.results import Results
from retrain_eval.sample.composition import baseline_paths, count_matched, count_overlap
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.ties import count_ties
from retrain_eval.tables.covariates.covariates import covariate_balance, covariate_paths
from retrain_eval.tables.statistics import Ties


class Keeps(Protocol):
    """What is needed of a `retrain_eval.study.run.Run`."""

    @property
    def study(self) -> StudyFile:
        """The typed study file."""

    @property
    def results(self) -> Results:
        """What is published."""

    @property
    def say(self) -> Callable[[str], None]:
        """Prints a line."""

    def publish(self, name: str, result: Any) -> None:
        """Keep a result."""

    def keep_ties(self, of: str, ties: Ties, result: str | None) -> None:
        """Keep how many choices were ties."""


def publish_sample(
    run: Keeps,
    candidates: Source,
    sample: MatchedSample,
    before: Mapping[int, str],
    amounts: Sequence[str],
    implied: Sequence[str],
) -> None:
    """Keep how alike the groups are; see `retrain_eval.study.run.Run.publish_sample`."""
    cuts: dict[str, tuple[float, ...]] = {}
    for stratum in run.study.strata.values():
        cuts[stratum.column] = (*cuts.get(stratum.column, ()), *stratum.bounds())
    covariates = sample.covariates
    # earlier amounts of the main outcome are cut where the outcome is: a difference would be of the few beyond the cap
    main = run.study.did and run.study.outcomes.get(run.study.did.outcome)
    caps = dict.fromkeys(before.values(), main.cap) if main and main.cap else {}
    moments = sample.covariate_moments(
        winsorise=run.study.release.winsorise,
        cuts=cuts,
        caps=caps,
        amounts=[name for name in dict.fromkeys([*before.values(), *amounts]) if name in covariates],
        implied=implied,
    )
    run.publish("matched", moments)
    run.publish("balance", covariate_balance(moments))
    try:
        run.publish("overlap", count_overlap(sample))
    except DesignError as error:
        run.say(f"no common support to show: {error}")
    run.publish("matching", count_matched(candidates, sample, by=list(run.study.strata)))
    if (ties := count_ties(sample)) is not None:
        run.keep_ties("matched", ties, None)
    if before and run.study.did:
        columns = {column: time for time, column in before.items()}
        if set(columns) <= set(moments.cells["covariate"]):
            run.publish("baseline_paths", covariate_paths(moments, outcome=run.study.did.outcome, columns=columns))
        elif run.study.release.noisy:  # from people, means would be exact
            why = "its periods are not among the covariates that people are matched on"
            run.results.withhold("baseline_paths", why, "baseline_paths")
        else:
            run.publish("baseline_paths", baseline_paths(candidates, sample, run.study.did.outcome, before))
