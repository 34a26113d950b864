"""Providers: coverage, size and mean squared error against known true effects, at the level of tables.

Each draw makes matched pairs of providers whose true effects are known, sums them to outcome moments and answers the
question from these, as a release would: ``python benchmarks/questions_providers.py [draws]``. It prints a line per
check: the spread of true effects as a multiple of a typical standard error, and what was found. Without a spread, one
should be found in 2.5% of draws at most, however few people a provider has.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from retrain_eval.estimators.outcome_moments import outcome_moments
from retrain_eval.plan.designs import Calendar
from retrain_eval.plan.questions import Providers as Options
from retrain_eval.plan.study_file import About, Did, StudyFile
from retrain_eval.questions.answers import Answer, Answers
from retrain_eval.questions.catalogue import QUESTIONS
from retrain_eval.questions.protocol import Inquiry
from retrain_eval.questions.providing.providers import PAIRS
from retrain_eval.questions.tables import Tables

NOISE = 1.0  # standard deviation of the gain of one person
# trained, and controls, of each provider: from, to; some trainees may have lost their control
USUAL, SMALL, FEW_CONTROLS = ((15, 60), (15, 60)), ((10, 15), (10, 15)), ((15, 25), (4, 16))


@dataclass
class Found:
    """What the draws of one spread of true effects gave, one item per draw."""

    covered: list[float] = field(default_factory=list)
    spread: list[bool] = field(default_factory=list)
    spread_found: list[bool] = field(default_factory=list)
    rejected: list[bool] = field(default_factory=list)
    ranks: list[bool] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)
    shrunken: list[float] = field(default_factory=list)
    outer: list[float] = field(default_factory=list)


def sizes_of(providers: int, people: tuple[int, int] = USUAL[0]) -> np.ndarray:
    """Return the people in one arm of each provider: from the fewest to the most."""
    return np.linspace(*people, providers).round().astype(int)


def draw(
    rng: np.random.Generator, providers: int, spread: float, arms: tuple[tuple[int, int], tuple[int, int]] = USUAL
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a row per person and period of matched pairs, and the true effect of each provider."""
    sizes, controls = (sizes_of(providers, people) for people in arms)
    true = 0.5 + spread * rng.standard_normal(providers)
    of = np.repeat(np.arange(providers), sizes)
    n = len(of)
    shared = rng.normal(0, 0.5, n)  # what a trainee and the control have in common
    matched = np.concatenate([np.arange(size) < most for size, most in zip(sizes, controls, strict=True)])
    first, gain = rng.normal(0, 2, (2, n)), rng.normal(0, NOISE, (2, n)) + shared
    gain[0] += true[of]
    rows = [
        pd.DataFrame({"id": np.arange(n) * 2 + arm, "pair": np.arange(n), "provider": [f"P{j:03d}" for j in of],
                      "t": time, "g": 1 if arm == 0 else 0, "y": first[arm] + time * gain[arm]})[(arm == 0) | matched]
        for arm in (0, 1) for time in (0, 1)
    ]  # fmt: skip
    return pd.concat(rows, ignore_index=True), true


def answers_of(rows: pd.DataFrame) -> Answers:
    """Return all that the question answers."""
    moments = outcome_moments(rows, unit="id", time="t", cohort="g", outcome="y", by="provider", cluster="pair")
    design = Calendar(start=2020, before=1, after=0, history=1)
    study = StudyFile(
        study=About(name="s", title="T", question="Q", data="D"),
        records={},
        did=Did(outcome="y"),
        designs={"d": design},
    )
    return QUESTIONS["providers"].answer(Tables({PAIRS: moments}), Inquiry(study, "d", Options()))


def answered(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tables that the question prints."""
    return {item.name: item.result for item in answers_of(rows).items if isinstance(item, Answer)}  # type: ignore[misc]


def check(
    draws: int, providers: int, spread: float, arms: tuple[tuple[int, int], tuple[int, int]] = USUAL, seed: int = 1
) -> Found:
    """Return what was found in so many draws.

    Parameters
    ----------
    draws, providers : int
    spread : float
        Standard deviation of the true effects, as a multiple of the standard error of a provider of middling size.
    arms : tuple of two (fewest, most)
        The trained, and the controls, of a provider.
    seed : int
    """
    rng, found = np.random.default_rng(seed), Found()
    sd = spread * NOISE * np.sqrt(2 / np.median(sizes_of(providers, arms[0])))
    for _ in range(draws):
        rows, true = draw(rng, providers, sd, arms)
        tables = answered(rows)
        table = tables["providers"].assign(number=lambda frame: frame["level"].str[1:].astype(int))
        mine = true[table["number"]]
        gap = mine - mine.mean()
        rank = (mine[None, :] > mine[:, None]).sum(axis=1) + 1
        [facts] = tables["provider_spread"].to_dict("records")
        found.covered.append(float(((table["shrunken_low"] <= gap) & (gap <= table["shrunken_high"])).mean()))
        found.spread.append(facts["spread_low"] <= sd <= facts["spread_high"])
        found.spread_found.append(facts["spread_low"] > 0)
        found.rejected.append(float(tables["tests"]["p_value"].iloc[0]) < 0.05)
        found.ranks.append(spread == 0 or bool(((table["rank_low"] <= rank) & (rank <= table["rank_high"])).all()))
        found.raw.append(float(((table["deviation"] - gap) ** 2).mean()))
        found.shrunken.append(float(((table["shrunken"] - gap) ** 2).mean()))
        found.outer.append(float((table["limit"] == "99.8%").mean()))
    return found


def line(providers: int, spread: float, found: Found) -> str:
    """Return a line that says what was found."""
    better = np.mean(np.array(found.shrunken) < np.array(found.raw))
    return (
        f"{providers:4d} providers, spread {spread:.1f} s.e.: intervals cover {np.mean(found.covered):.1%}, "
        f"spread covered {np.mean(found.spread):.1%} and found {np.mean(found.spread_found):.1%}, "
        f"equal effects rejected {np.mean(found.rejected):.1%}, all ranks covered {np.mean(found.ranks):.1%}, "
        f"squared error {np.mean(found.shrunken) / np.mean(found.raw):.2f} of raw (less in {better:.0%} of draws), "
        f"outside 99.8% {np.mean(found.outer):.2%}"
    )


def main(draws: int) -> None:
    """Print a line per number of providers and spread, the first ones without a spread and with few people."""
    for providers in (12, 60):
        for name, arms in (("10 to 15 pairs", SMALL), ("15 to 25 trained, 4 to 16 controls", FEW_CONTROLS)):
            print(f"{name}: {line(providers, 0.0, check(draws, providers, 0.0, arms))}")
    for providers in (12, 60):
        for spread in (0.0, 0.5, 1.0, 2.0):
            began = time.perf_counter()
            print(line(providers, spread, check(draws, providers, spread)), f"({time.perf_counter() - began:.0f} s)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
