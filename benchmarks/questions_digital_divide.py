"""Whether the question `digital_divide` finds what is true, over draws of its additive tables from known distributions.

    python benchmarks/questions_digital_divide.py --draws 1000 --people 2000

Draws are of tables, not of people's records: how people leave programmes is drawn from hazards that are known, by
access, literacy and delivery, and outcomes from means that are known, by access and completion. A line per check:
the share of draws in which an interval covers the truth, or in which an effect is found where there is none.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict

import numpy as np
import pandas as pd

from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.designs import Observed
from retrain_eval.plan.questions import ACCESS, LITERACY, WITH_ACCESS, WITHOUT_ACCESS, DigitalDivide, Questions
from retrain_eval.plan.rules import Release
from retrain_eval.plan.study_file import About, Did, StudyFile
from retrain_eval.questions.access.digital_divide import DELIVERY, GROUPS, completed_by, ends_by, entered_by
from retrain_eval.questions.access.programme_ends import DID_COMPLETE, DID_NOT, NOT_TRAINED, STATUS
from retrain_eval.questions.answers import Withheld
from retrain_eval.questions.catalogue import QUESTIONS
from retrain_eval.questions.protocol import Inquiry
from retrain_eval.questions.tables import LIFE, Tables
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.life_table.spell_table import merge_cells

BANDS = DigitalDivide().strata()[LITERACY].levels()
DELIVERIES = ("public", "employer", "mixed")
CAUSES = ("completed", "dropped_out", "employed")
LEAVES = np.array([[0.03, 0.03, 0.06], [0.30, 0.03, 0.06], [0.45, 0.03, 0.06], [0.90, 0.03, 0.07]])  # by quarter, cause
GONE = 0.02  # chance that records of a person end, each quarter
SHARE_WITHOUT, PAY_SD = 0.3, 3.0
GAINS = {WITH_ACCESS: (2.0, 0.5), WITHOUT_ACCESS: (1.0, 0.2)}  # of completers, of those who do not complete
COMPLETE = {WITH_ACCESS: 0.8, WITHOUT_ACCESS: 0.5}
STUDY = StudyFile(
    study=About(name="s", title="T", question="Q", data="D", frequency="quarter"),
    records={"person": "p.csv"},
    did=Did(outcome="earnings"),
    designs={"observed": Observed()},
    questions=Questions(digital_divide=DigitalDivide()),
    release=Release(exact=True, profile="open"),
)


def hazards(access: str, band: int, strength: float) -> np.ndarray:
    """Return the chance to leave in each way, by quarter: dropping out takes from the others."""
    found = LEAVES.copy()
    extra = strength * (0.15 * (access == WITHOUT_ACCESS) + 0.05 * (2 - band))
    found *= 1 - extra
    found[:, 1] += extra
    return found


def incidence(of: np.ndarray) -> np.ndarray:
    """Return the true cumulative incidence, by quarter and cause."""
    before = np.concatenate([[1.0], np.cumprod(1 - of.sum(axis=1))[:-1]])
    return np.cumsum(before[:, None] * of, axis=0)


def draw_ends(rng: np.random.Generator, people: int, strength: float) -> dict[str, LifeTable]:
    """Draw how time in programmes ended, as the seven tables of the question."""
    rows = []
    shares = {WITH_ACCESS: 1 - SHARE_WITHOUT, WITHOUT_ACCESS: SHARE_WITHOUT}
    groups = list(itertools.product(shares, range(3), DELIVERIES))
    sizes = rng.multinomial(people, [shares[access] / 9 for access, _, _ in groups])
    for (access, band, delivery), size in zip(groups, sizes, strict=True):
        left = int(size)
        for quarter, of in enumerate(hazards(access, band, strength), start=1):
            *ends, stay = rng.multinomial(left, [*of, max(0.0, 1 - of.sum())])
            gone = rng.binomial(stay, GONE if quarter < len(LEAVES) else 1.0)
            left = stay - gone
            counts = zip((*CAUSES, "0"), (*ends, gone), strict=True)
            rows += [(access, BANDS[band], delivery, float(quarter), cause, n) for cause, n in counts if n]
    cells = pd.DataFrame(rows, columns=[ACCESS, LITERACY, DELIVERY, "duration", "cause", "n"])
    cells = cells.assign(entry=0.0, sum_w=cells["n"].astype(float), sum_w2=cells["n"].astype(float))
    cells["cause"] = cells["cause"].astype("str")
    by = (ACCESS, LITERACY, DELIVERY)
    empty = LifeTable(duration="quarters", by=by, cells=cells, n_people=int(cells["n"].sum()))
    whole = merge_cells(empty, cells, by)
    found = {}
    for names in GROUPS:
        table = whole
        for name in by:
            if name not in names:
                table = table.collapse(name)
        found[LIFE + ends_by(names)] = table
    return found


def draw_moments(rng: np.random.Generator, people: int, strength: float) -> dict[str, OutcomeMoments]:
    """Draw paths of the outcome of trained and untrained, and sum them as the question does."""
    n = people // 2
    access = np.where(rng.random(2 * n) < SHARE_WITHOUT, WITHOUT_ACCESS, WITH_ACCESS)
    trained = np.arange(2 * n) < n
    chance = np.where(access == WITH_ACCESS, COMPLETE[WITH_ACCESS], COMPLETE[WITHOUT_ACCESS])
    completed = trained & (rng.random(2 * n) < chance)
    level = np.where(completed, DID_COMPLETE, np.where(trained, DID_NOT, NOT_TRAINED))
    gain = np.zeros(2 * n)
    for name, gains in GAINS.items():
        for which, amount in ((completed, gains[0]), (trained & ~completed, gains[1])):
            gain[which & (access == name)] = strength * amount
    base = rng.gamma(2.0, 4.0, 2 * n)
    paths = base[:, None] + rng.normal(0, PAY_SD, (2 * n, 3)) * (1 + (access == WITHOUT_ACCESS))[:, None]
    paths[:, 1:] += gain[:, None] + np.array([0.3, 0.6])
    band = np.array(BANDS)[rng.integers(0, 3, 2 * n)]
    columns = {ACCESS: access, LITERACY: band, STATUS: level}
    found = {completed_by(""): summed(paths, trained, {STATUS: level})}
    for by in (ACCESS, LITERACY):
        found[entered_by(by)] = summed(paths, trained, {by: columns[by]})
        found[completed_by(by)] = summed(paths, trained, {by: columns[by], STATUS: level})
    return found


def summed(paths: np.ndarray, trained: np.ndarray, strata: dict[str, np.ndarray]) -> OutcomeMoments:
    """Sum paths to moments: the clock of the question starts in period 1."""
    frame = pd.DataFrame({"cohort": np.where(trained, 1.0, np.nan), **strata})
    group = frame.groupby(["cohort", *strata], dropna=False, sort=True).ngroup().to_numpy()
    reference = paths.mean(axis=0).round(2)
    z = np.column_stack([np.ones(len(paths)), paths - reference])
    first = np.zeros((group.max() + 1, z.shape[1]))
    np.add.at(first, group, z)
    cells = frame.assign(group=group).drop_duplicates("group").sort_values("group").drop(columns="group")
    cells = cells.reset_index(drop=True).assign(n=np.bincount(group))
    cells["cohort"] = cells["cohort"].astype("Float64")
    second = {(c, c): z[group == c].T @ z[group == c] for c in range(len(first))}
    return OutcomeMoments("earnings", (0, 1, 2), tuple(strata), cells, first, second, reference, n_clusters=len(paths))


def truth(strength: float) -> dict[tuple[str, str, str], float]:
    """Return the true values, by result, estimand and level."""
    known: dict[tuple[str, str, str], float] = {}
    drops = {}
    for access in GAINS:
        curves = np.mean([incidence(hazards(access, band, strength)) for band in range(3)], axis=0)
        drops[access] = curves[-1, 1]
        known["programme_ends_by_access_level", "CIF(dropped_out)", access] = drops[access]
    apart = f"difference in CIF(dropped_out): {WITHOUT_ACCESS} minus {WITH_ACCESS}"
    known["programme_ends_by_access_level_difference", apart, ""] = drops[WITHOUT_ACCESS] - drops[WITH_ACCESS]
    within = [
        incidence(hazards(WITHOUT_ACCESS, band, strength))[-1, 1]
        - incidence(hazards(WITH_ACCESS, band, strength))[-1, 1]
        for band in range(3)
    ]
    known["programme_ends_by_access_level_and_literacy_band_difference", apart, BANDS[0]] = within[0]
    gap = f"{BANDS[2]} minus {BANDS[0]}"
    known["programme_ends_by_access_level_and_literacy_band_gap", apart, gap] = within[2] - within[0]
    everyone = {}
    for access, (one, other) in GAINS.items():
        share = COMPLETE[access]
        everyone[access] = strength * (share * one + (1 - share) * other)
        known["entrants_by_access_level", "ATT", access] = everyone[access]
        difference = strength * (1 - share) * (one - other)
        known["completers_by_access_level", "among the selected minus ATT", access] = difference
    contrast = f"{WITHOUT_ACCESS} minus {WITH_ACCESS}"
    known["entrants_by_access_level_difference", "ATT", contrast] = everyone[WITHOUT_ACCESS] - everyone[WITH_ACCESS]
    without = SHARE_WITHOUT * COMPLETE[WITHOUT_ACCESS]
    completing = without + (1 - SHARE_WITHOUT) * COMPLETE[WITH_ACCESS]
    whole = SHARE_WITHOUT * everyone[WITHOUT_ACCESS] + (1 - SHARE_WITHOUT) * everyone[WITH_ACCESS]
    alone = strength * (without * GAINS[WITHOUT_ACCESS][0] + (completing - without) * GAINS[WITH_ACCESS][0])
    known["completers", "among the selected minus ATT", ""] = alone / completing - whole
    return known


def answers_of(rng: np.random.Generator, people: int, strength: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the effects and the tests that the question answers from one draw of its tables."""
    tables = Tables(draw_ends(rng, people, strength) | draw_moments(rng, people, strength))
    found = QUESTIONS["digital_divide"].answer(tables, Inquiry(STUDY, "observed", DigitalDivide()))
    effects, tests = [], []
    for item in found.items:
        if isinstance(item, Withheld):
            continue
        if isinstance(item.result, pd.DataFrame):
            tests.append(item.result.assign(result=item.of))
        else:
            effects.append(item.result.to_frame().assign(result=item.name))
    return pd.concat(effects, ignore_index=True), pd.concat(tests, ignore_index=True)


def checks(draws: int = 1_000, people: int = 2_000, seed: int = 20260101) -> list[tuple[str, float, float, float]]:
    """Return a line per check: what, the share of draws, and the range in which it should lie.

    The range is that of the question's rules, 93% to 97% and at most 7%, and 3 standard errors of the simulation wider.
    """
    rng, lines = np.random.default_rng(seed), []
    for strength in (1.0, 0.0):
        hits: dict[str, list[bool]] = defaultdict(list)
        known = truth(strength)
        for _ in range(draws):
            effects, tests = answers_of(rng, people, strength)
            effects["level"] = effects["level"].fillna("").astype(str)
            for (result, estimand, level), value in known.items():
                rows = effects[(effects["result"] == result) & (effects["estimand"] == estimand)]
                rows = rows[rows["level"] == level]
                [row] = rows[rows["time"].isna() | (rows["time"] == rows["time"].max())].to_dict("records")
                name = f"{result}, {estimand}{', ' if level else ''}{level}"
                hits[f"covers: {name}"].append(row["ci_low"] <= value <= row["ci_high"])
                if value == 0:
                    hits[f"found where there is none: {name}"].append(row["p_value"] < 0.05)
            if strength == 0:
                for row in tests.to_dict("records"):
                    hits[f"found where there is none: {row['test']}, {row['result']}"].append(row["p_value"] < 0.05)
        wider = 3 * np.sqrt(0.05 * 0.95 / draws)
        for name, found in hits.items():
            covers = name.startswith("covers")
            low, high = (0.93 - wider, 0.97 + wider) if covers else (0.0, 0.07 + wider)
            lines.append((f"strength {strength:g}, {name}", float(np.mean(found)), low, high))
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--people", type=int, default=2_000)
    given = parser.parse_args()
    for name, share, low, high in checks(given.draws, given.people):
        print(f"{share:6.1%}  {'' if low <= share <= high else 'OUTSIDE '}{name}")
