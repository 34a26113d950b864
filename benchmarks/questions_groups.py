"""The questions for_whom (several strata together) and not_retrainable against known truth, at the level of tables.

Tables are drawn from a known distribution and answered as the questions answer them. ``python
benchmarks/questions_groups.py [draws]`` prints a line per check; 1,000 draws take about three minutes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import pandas as pd

from retrain_eval.estimators.effects.allocation import HALF, HALVES, KIND, PROGRAMMES, REGRET, RULE
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.designs import Calendar
from retrain_eval.plan.questions import ForWhom, NotRetrainable, Questions
from retrain_eval.plan.strata import Stratum
from retrain_eval.plan.study_file import About, Did, Match, StudyFile
from retrain_eval.questions.answers import Answer, Answers
from retrain_eval.questions.catalogue import QUESTIONS
from retrain_eval.questions.protocol import Inquiry
from retrain_eval.questions.tables import Tables

Floats = npt.NDArray[np.float64]
Levels = Mapping[str, Sequence[str]]
AGE, EDUCATION = ("under 40", "40 to 54", "55 and over"), ("low", "middle", "high")
WORTH, SD, PERIODS = 1.0, 6.0, 10
COSTS = (5.0, 8.0)


def drawn_moments(
    rng: np.random.Generator,
    strata: Levels,
    effects: Mapping[tuple[str, ...], float],
    people: Mapping[tuple[str, ...], int],
) -> OutcomeMoments:
    """Draw people of two periods in each cell, as many controls as trained, and sum them to moments.

    Parameters
    ----------
    rng : Generator
    strata : mapping of str → sequence of str
    effects : mapping of cell → float
        The true effect.
    people : mapping of cell → int
        The trained; a cell of fewer than three is left out.
    """
    rows: list[tuple[object, ...]] = []
    first, second = [], {}
    for cohort, cell in product((1.0, None), product(*strata.values())):
        n = people[cell]
        if n < 3:
            continue
        before = rng.normal(100.0, 10.0, n)
        after = before + rng.normal(0.0, SD, n) + (effects[cell] if cohort else 0.0)
        z = np.column_stack([np.ones(n), before - 100.0, after - 100.0])
        second[len(rows), len(rows)] = z.T @ z
        first.append(z.sum(axis=0))
        rows.append((cohort, *cell, n))
    cells = pd.DataFrame(rows, columns=["cohort", *strata, "n"]).astype({"cohort": "Float64"})
    reference = np.array([100.0, 100.0])
    return OutcomeMoments(
        "earnings", (0, 1), tuple(strata), cells, np.array(first), second, reference, n_clusters=int(cells["n"].sum())
    )


def inquiry(asked: ForWhom | NotRetrainable) -> Inquiry:
    """Return a question as a study of two periods, of which one is after the start, asks it."""
    strata = {
        "age": Stratum(column="age", cuts=(40, 55), labels=AGE),
        "education": Stratum(column="education", cuts=(3, 5), labels=EDUCATION),
        "spell": Stratum(column="spell", cuts=(4,), labels=("short", "long")),
        "capacity": Stratum(column="disability", labels={"false": "not limited", "true": "limited"}),
    }
    study = StudyFile(
        study=About(name="s", title="T", question="Q", data="D"),
        records={"person": "person.csv"},
        match=Match(formula="trained ~ age"),
        did=Did(outcome="earnings", smallest_worthwhile=WORTH),
        strata=strata,
        designs={"d": Calendar(start=1, before=1, after=PERIODS - 1, history=1)},
        questions=Questions(),
    )
    return Inquiry(study, "d", asked)


def table_of(answers: Answers, name: str) -> pd.DataFrame:
    """Return the rows of a printed table."""
    found = [item.result for item in answers.items if isinstance(item, Answer) and item.name == name]
    return pd.concat([rows for rows in found if isinstance(rows, pd.DataFrame)], ignore_index=True)


def effects_of(answers: Answers, name: str) -> EffectTable:
    """Return the effects of a result."""
    [found] = [item.result for item in answers.items if isinstance(item, Answer) and item.name == name]
    assert isinstance(found, EffectTable)
    return found


def cells_together(draws: int, effect: float = 0.0, seed: int = 1) -> dict[str, float]:
    """Answer for_whom by age × education, with one effect everywhere; return shares of draws."""
    rng, strata = np.random.default_rng(seed), {"age": AGE, "education": EDUCATION}
    asked = inquiry(ForWhom(strata=("age",), together=(("age", "education"),)))
    every = list(product(AGE, EDUCATION))
    people = {cell: 30 + 15 * number for number, cell in enumerate(every)}
    counts = dict.fromkeys(("covered", "an effect in any", "equal effects", "no interaction", "worthwhile in any"), 0.0)
    for _ in range(draws):
        tables = Tables({"moments/cells_by_age_and_education": drawn_moments(
            rng, strata, dict.fromkeys(every, effect), people)})  # fmt: skip
        answers = QUESTIONS["for_whom"].answer(tables, asked)
        frame = effects_of(answers, "cells_by_age_and_education").frame
        counts["covered"] += float(frame.eval("ci_low <= @effect <= ci_high").mean())
        cells, tests = table_of(answers, "cells"), table_of(answers, "tests").set_index("test")["p_value"]
        counts["an effect in any"] += bool((cells["p_holm"] < 0.05).any())
        counts["worthwhile in any"] += bool((cells["verdict"] == "worthwhile").any())
        for test in ("equal effects", "no interaction"):
            counts[test] += bool(tests[test] < 0.05)
    return {name: count / draws for name, count in counts.items()}


def groups(draws: int, effect: float, seed: int = 2) -> dict[str, float]:
    """Answer not_retrainable in three groups with one effect; return how often any, and each, is equivalent to none."""
    rng = np.random.default_rng(seed)
    named = {"age": ("55 and over",), "spell": ("long",), "capacity": ("limited",)}
    asked = inquiry(NotRetrainable(groups=named))
    any_, each = 0, 0.0
    for _ in range(draws):
        tables = Tables()
        for name in named:
            strata = {name: asked.study.strata[name].levels(), KIND: PROGRAMMES}
            every = list(product(*strata.values()))
            tables[f"moments/programmes_in_{name}"] = drawn_moments(
                rng, strata, dict.fromkeys(every, effect), dict.fromkeys(every, 700)
            )
        rows = table_of(QUESTIONS["not_retrainable"].answer(tables, asked), "groups")
        found = rows["verdict"] == "equivalent to none"
        any_, each = any_ + bool(found.any()), each + float(found.mean())
    return {"any": any_ / draws, "each": each / draws}


def policy(draws: int, spread: float, people: int = 6_000, seed: int = 3) -> dict[str, float]:
    """Answer not_retrainable with a rule; return how often the interval covers the value of the rules as chosen.

    Parameters
    ----------
    draws : int
    spread : float
        Standard deviation of effects between cells; 0: programmes do the same everywhere.
    people, seed : int
    """
    rng, covariates = np.random.default_rng(seed), {"age": AGE, "education": EDUCATION}
    strata = {**covariates, KIND: PROGRAMMES, HALF: HALVES}
    asked = inquiry(NotRetrainable(
        groups={"age": ("55 and over",)}, covariates=("age", "education"), cost_retraining=COSTS[0],
        cost_alternative=COSTS[1]))  # fmt: skip
    every = list(product(AGE, EDUCATION))
    truth = {
        (*cell, kind): 0.6 + 0.1 * a + spread * rng.normal() for cell in every for a, kind in enumerate(PROGRAMMES)
    }
    share = rng.dirichlet(np.full(len(every), 8.0))
    gain = {
        "no programme": np.zeros(len(every)),
        **{
            kind: np.array([truth[*cell, kind] for cell in every]) * PERIODS - cost
            for kind, cost in zip(PROGRAMMES, COSTS, strict=True)
        },
    }
    best = _best_value(gain, share, every)
    covered, errors, regrets, of_regret = 0, [], [], []
    for _ in range(draws):
        n = rng.multinomial(people, np.repeat(share, 4) / 4)
        cells = [(*cell, kind, half) for cell in every for kind in PROGRAMMES for half in HALVES]
        size = dict(zip(cells, n.tolist(), strict=True))
        moments = drawn_moments(rng, strata, {cell: truth[cell[:3]] for cell in cells}, size)
        answers = QUESTIONS["not_retrainable"].answer(Tables({"moments/allocation": moments}), asked)
        leaves, rows = table_of(answers, "allocation"), effects_of(answers, "policy").frame.set_index("level")
        values = [_value(leaves[leaves["half"] == half], gain, share, every) for half in HALVES]
        value, rule = float(np.mean(values)), rows.loc[RULE]
        covered += bool(rule["ci_low"] <= value <= rule["ci_high"])
        errors.append(rule["estimate"] - value)
        regrets.append(best - value)
        of_regret.append(rows.loc[REGRET, "estimate"])
    return {
        "covered": covered / draws,
        "bias": float(np.mean(errors)),
        "true regret": float(np.mean(regrets)),
        "stated regret": float(np.mean(of_regret)),
    }


def _value(leaves: pd.DataFrame, gain: Mapping[str, Floats], share: Floats, every: list[tuple[str, str]]) -> float:
    """Return the true value of a rule."""
    total = 0.0
    for rule, action in zip(leaves["rule"].map(json.loads), leaves["action"], strict=True):
        inside = [
            all(level in rule.get(name, [level]) for name, level in zip(("age", "education"), cell, strict=True))
            for cell in every
        ]
        total += float((gain[action] * share)[inside].sum())
    return total


def _best_value(gain: Mapping[str, Floats], share: Floats, every: list[tuple[str, str]]) -> float:
    from retrain_eval.estimators.effects.policy_tree import best_tree

    place = np.array([[AGE.index(age), EDUCATION.index(school)] for age, school in every])
    return best_tree(np.column_stack(list(gain.values())) * share[:, None], place, [3, 3]).gain


CHECKS: Mapping[str, tuple[Callable[[int], dict[str, float]], str]] = {
    "cells, no effect": (lambda draws: cells_together(draws), "covered .93–.97; others at most .07"),
    "cells, an effect of the smallest worthwhile size": (
        lambda draws: cells_together(draws, WORTH, seed=4), "covered .93–.97; worthwhile in any at most .07"),
    "groups, an effect of the smallest worthwhile size": (
        lambda draws: groups(draws, WORTH), "any at most .07"),
    "groups, a loss of that size": (lambda draws: groups(draws, -WORTH, seed=5), "any at most .07"),
    "groups, no effect": (lambda draws: groups(draws, 0.0, seed=6), "power"),
    "policy, effects differ": (lambda draws: policy(draws, 0.5), "covered .90–.99"),
    "policy, effects are alike": (lambda draws: policy(draws, 0.0, seed=7), "covered .90–.99"),
}  # fmt: skip


def main(draws: int = 1_000) -> None:
    """Print a line per check."""
    for name, (check, wanted) in CHECKS.items():
        figures = ", ".join(f"{what} {value:.3f}" for what, value in check(draws).items())
        print(f"{name}: {figures} (wanted: {wanted})", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
