"""Which results the pages show: a result of another name is published, and seen by no reader of the report."""

from __future__ import annotations

from collections.abc import Iterable

NAMES = frozenset(
    {
        "att_matched", "did", "group", "event_study", "unadjusted", "truth", "truth_event_study",
        "benchmark", "benchmark_event_study", "base_moved_back", "placebo_starts", "att_gt",
        "lock_in", "cox", "cox_by_period", "cox_full-time", "cox_part-time", "mean_difference", "first_job_ends",
        "first_job_ends_difference", "jobless_by_age_group", "jobless_by_age_group_difference",
        "indicators_employed", "indicators_ever", "indicators_first_job", "indicators_since_exit", "indicators_recall",
        "indicators_since_displacement", "indicators_retained", "jobless_since_start", "first_job",
        *(f"{name}_{part}" for name in ("jobless_since_start", "first_job")
          for part in ("difference", "mean", "mean_difference")),
        "payback", "net_benefit", "benefit_over_time",  # money
        "provider_effects", "provider_effects_adjusted",  # providers
        "policy",  # not_retrainable
        "wage_path", "wage_path_bounds", "wage_path_fixed", "wage_path_random", "wage_path_correlated_random",
        "wage_path_first_differences",
    }
)  # fmt: skip
PREFIXES = (
    "event_study_", "truth_event_study_", "att_by_", "difference_by_", "benchmark_by_", "km_", "kinds", "example_",
    "jobless_since_start_by_", "first_job_by_",
    "programme_ends", "entrants_by_", "completers",  # digital_divide
    "cells_by_", "programmes_in_", "alternative_by_",  # for_whom and not_retrainable
)  # fmt: skip


def not_shown(results: Iterable[str]) -> list[str]:
    """Return the results that no page shows, each once.

    Examples
    --------
    >>> not_shown(["did", "evnt_study", "att_by_age_band"])
    ['evnt_study']
    """
    return [name for name in dict.fromkeys(results) if name not in NAMES and not name.startswith(PREFIXES)]


def say_not_shown(results: Iterable[str]) -> str:
    """Return the line that names results which no page shows, to follow a line of text; empty if there are none."""
    unseen = not_shown(results)
    return f"\nno page of the report shows: {', '.join(unseen)}" if unseen else ""
