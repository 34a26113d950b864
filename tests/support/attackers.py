"""Outside attackers on tables of outcome moments: what they recover from exact tables, and from protected ones.

Each attacker has the tables of one key and the background knowledge that its docstring states, and returns whether it
succeeded, once or several times. People have usual pay: levels, shocks and spells out of work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

import retrain_eval as rte
from keyed_panels import RULES
from retrain_eval.common.errors import DisclosureError
from retrain_eval.release.protection.moments import protect_moments
from retrain_eval.release.protection.rules import changes_of
from retrain_eval.tables.noise.person_keys import ReleaseKey, with_keys
from retrain_eval.tables.noise.register import Register

Array = npt.NDArray[np.float64]
PERIODS = 12
LIKELY = 1.10  # the noise is most often near 1 ± .08: sums divided by this are within 5% if the sign is plus


@dataclass(frozen=True)
class Tables:
    """The same tables, exact and protected; None where the release withholds them."""

    exact: rte.OutcomeMoments
    released: rte.OutcomeMoments | None


class Records:
    """The pay of 2,000 people, and tables of any of them under one key."""

    def __init__(self, secret: bytes, *, people: int = 2_000, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        level = np.exp(rng.normal(8.9, 0.5, people))[:, None]
        pay = level * np.exp(rng.normal(0, 0.12, (people, PERIODS)))
        self.pay: Array = np.round(np.where(rng.random((people, PERIODS)) < 0.15, 0.0, pay), 2)
        self.key, self.register = ReleaseKey(secret), Register(changes_of(RULES))
        self.con = duckdb.connect(config={"threads": 1})
        self._made: dict[object, Tables] = {}

    def tables(self, members: npt.ArrayLike, pay: Array | None = None, outcome: str = "pay", **options: Any) -> Tables:
        """Return the moments of some people as the trained, and of the last 500 as controls."""
        chosen = np.asarray(members)
        what = (chosen.tobytes(), None if pay is None else pay.tobytes(), outcome, tuple(options.items()))
        if what not in self._made:
            self._made[what] = self._tables(chosen, pay, outcome, options)
        return self._made[what]

    def _tables(self, chosen: npt.NDArray[Any], pay: Array | None, outcome: str, options: dict[str, Any]) -> Tables:
        controls = np.arange(len(self.pay) - 500, len(self.pay))
        who, of = np.concatenate([chosen, controls]), self.pay if pay is None else pay
        person = np.repeat(who, PERIODS)
        frame = pd.DataFrame(
            {
                "person": np.char.add("P", person.astype(str)),
                "time": np.tile(np.arange(PERIODS), len(who)),
                "cohort": np.repeat(np.where(np.arange(len(who)) < len(chosen), 6, 0), PERIODS),
                "pay": of[who].ravel(),
                "employed": (of[who].ravel() > 0).astype(int),
            }
        )
        self.con.register("rows_of_people", frame)
        self.con.execute("CREATE OR REPLACE TABLE r AS FROM rows_of_people")
        keyed = with_keys(self.con, self.con.table("r"), "person", self.key)
        exact = rte.outcome_moments(keyed, "person", "time", "cohort", outcome, **options)
        try:
            released, _ = protect_moments("x", exact, RULES, self.register, {})
        except DisclosureError:
            released = None
        return Tables(exact, released)


def totals(moments: rte.OutcomeMoments) -> Array:
    """Return the sums of the trained people's paths, as an attacker computes them from a bundle."""
    return np.asarray(moments.first[0, 1:] + moments.first[0, 0] * moments.reference)


def within(guess: Array | float, truth: Array | float, share: float = 0.05) -> npt.NDArray[np.bool_]:
    """Return where a guess is within a share of the truth; where both are zero, nothing is learnt."""
    truth = np.asarray(truth, dtype=float)
    return np.asarray(np.abs(np.asarray(guess) - truth) <= share * np.abs(truth))[truth != 0]


def newcomer(of: Records, released: bool) -> npt.NDArray[np.bool_]:
    """Two tables that differ by one person, whose sums are subtracted (a release refuses the second)."""
    one, two = of.tables(np.arange(400)), of.tables(np.arange(401))
    tables = [t.released if released else t.exact for t in (one, two)]
    assert tables[0] is not None
    assert tables[1] is not None
    return within((totals(tables[1]) - totals(tables[0])) / (LIKELY if released else 1.0), of.pay[400])


def corrected(of: Records, released: bool) -> npt.NDArray[np.bool_]:
    """One quarter's pay of one person was corrected: the change in the sum (a release refuses the second)."""
    pay = of.pay.copy()
    pay[7, 3] += 3_000.0
    tables = [of.tables(np.arange(400), p) for p in (of.pay, pay)]
    both = [t.released if released else t.exact for t in tables]
    assert both[0] is not None
    assert both[1] is not None
    return within((totals(both[1]) - totals(both[0]))[3:4] / (LIKELY if released else 1.0), 3_000.0)


def path_in_products(of: Records, released: bool) -> npt.NDArray[np.bool_]:
    """The same two tables: the difference of second moments has the newcomer's path, one quarter of which is known."""
    one, two = of.tables(np.arange(400)), of.tables(np.arange(401))
    tables = [t.released if released else t.exact for t in (one, two)]
    blocks = []
    for table in tables:
        assert table is not None
        about = np.eye(1 + PERIODS)
        about[1:, 0] = table.reference
        blocks.append((about @ table.second[0, 0] @ about.T)[1:, 1:])
    known = int(of.pay[400].argmax())
    guess = (blocks[1] - blocks[0])[known] / of.pay[400, known]
    return within(np.delete(guess, known), np.delete(of.pay[400], known))


def rounding(of: Records, released: bool) -> npt.NDArray[np.bool_]:
    """Which number of people near the published one makes sums whole cents, or a quarter of zeros vanish?"""
    n = 83
    tables = of.tables(np.arange(n))
    table = tables.released if released else tables.exact
    assert table is not None
    published = int(table.cells["n"][0])
    candidates = np.arange(published - 5, published + 6)
    cents = table.means()[0][:, None] * candidates * 100
    guess = candidates[np.abs(cents - np.rint(cents)).max(axis=0).argmin()]
    return np.array([guess == n])


def error_of_a_share(of: Records, released: bool) -> npt.NDArray[np.bool_]:
    """The variance of a share employed is p (1 − p) / n: n from the second moments of a yes or no."""
    n = 300
    tables = of.tables(np.arange(n), outcome="employed")
    table = tables.released if released else tables.exact
    assert table is not None
    about = np.eye(1 + PERIODS)
    about[1:, 0] = -(table.means()[0] - table.reference)
    scatter = np.diag(about @ table.second[0, 0] @ about.T)[1:]
    p = table.means()[0]
    guesses = scatter / (p * (1 - p))
    return np.array([round(float(np.median(guesses))) == n])


def few_earners(of: Records, released: bool) -> npt.NDArray[np.bool_]:
    """Of 60 people three have pay in a quarter, and two of them are known."""
    pay = of.pay.copy()
    pay[3:60, 5] = 0.0
    pay[:3, 5] = [9_000.0, 11_000.0, 12_500.0]
    tables = of.tables(np.arange(60), pay)
    table = tables.released if released else tables.exact
    if table is None:
        return np.array([False])
    return within(totals(table)[5] - 9_000 - 11_000, 12_500.0)


def everyone_but_one(of: Records, released: bool) -> npt.NDArray[np.bool_]:
    """An insider knows the pay of all of twelve people but one."""
    tables = of.tables(np.arange(12))
    table = tables.released if released else tables.exact
    if table is None:
        return np.array([False])
    return within(totals(table) - of.pay[1:12].sum(axis=0), of.pay[0])


def high_earner(of: Records, released: bool) -> npt.NDArray[np.bool_]:
    """One of 60 people earns nine tenths of the sum, and the attacker knows that; the plan caps amounts."""
    pay = of.pay.copy()
    pay[0] = 9 * pay[1:60].sum(axis=0)
    options = {"cap": 40_000.0} if released else {}
    tables = of.tables(np.arange(60), pay, **options)
    table = tables.released if released else tables.exact
    if table is None:
        return np.array([False])
    return within(0.9 * totals(table) / (LIKELY if released else 1.0), pay[0])


def small_count(of: Records, released: bool) -> npt.NDArray[np.bool_]:
    """Of 150 people two have work in a quarter: the count from the mean."""
    pay = of.pay.copy()
    pay[2:150, 5] = 0.0
    tables = of.tables(np.arange(150), pay, outcome="employed")
    table = tables.released if released else tables.exact
    if table is None:
        return np.array([False])
    return np.array([round(float(table.means()[0, 5] * table.cells["n"][0])) == int((pay[:150, 5] > 0).sum())])


def count_of_workers(of: Records, released: bool) -> npt.NDArray[np.bool_]:
    """The number of people at work in each quarter, from means of a yes or no."""
    tables = of.tables(np.arange(300), outcome="employed")
    table = tables.released if released else tables.exact
    assert table is not None
    guess = np.rint(table.means()[0] * table.cells["n"][0])
    return np.asarray(guess == (of.pay[:300] > 0).sum(axis=0))


def average_over_quarters(of: Records, released: bool) -> npt.NDArray[np.bool_]:
    """A person with stable pay, isolated by subtraction in every quarter: the mean over all quarters."""
    pay = of.pay.copy()
    pay[400] = 8_000.0
    one, two = of.tables(np.arange(400), pay), of.tables(np.arange(401), pay)
    tables = [t.released if released else t.exact for t in (one, two)]
    assert tables[0] is not None
    assert tables[1] is not None
    guess = float((totals(tables[1]) - totals(tables[0])).mean()) / (LIKELY if released else 1.0)
    return within(guess, 8_000.0)


Attack = Callable[[Records, bool], npt.NDArray[np.bool_]]
ATTACKS: Mapping[str, tuple[Attack, float]] = {
    # attack → the largest share of successes that the promise, or the design, allows
    "a newcomer's pay": (newcomer, 0.5),
    "a corrected amount": (corrected, 0.5),
    "stable pay, averaged over quarters": (average_over_quarters, 0.5),
    "people at work in a quarter": (count_of_workers, 0.5),
    "a path in products": (path_in_products, 0.1),
    "all but one of twelve known": (everyone_but_one, 0.2),
    "two of three earners known": (few_earners, 0.0),
    "one who stands out": (high_earner, 0.0),
    "n from whole cents": (rounding, 0.2),
    "n from the error of a share": (error_of_a_share, 0.2),
    "a count of two": (small_count, 0.3),
}


def recovered(attack: Attack, keys: int) -> tuple[float, float]:
    """Return the share of successes over so many keys, from exact and from protected tables."""
    exact, released = [], []
    for key in range(keys):
        records = Records(f"attacked key {key:06d}".encode(), seed=key)
        exact.append(attack(records, False))
        released.append(attack(records, True))
    return float(np.concatenate(exact).mean()), float(np.concatenate(released).mean())
