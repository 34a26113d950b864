"""Attacks on the design, each as the outside attacker: recovery without protection, with the design, with the rule.

``python benchmarks/disclosure_design/attacks.py`` prints one table. A figure is a share of successes over secrets or
people, with its Monte Carlo standard error. The attacker knows a, b, v, js and every line of `design.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parent))
import design as de
import membership as me
from design import KEYS, Row, row

Array = npt.NDArray[np.float64]


def within(guess: Array, truth: Array, c: float = de.C) -> npt.NDArray[np.bool_]:
    """Return whether a guess is within c of the truth."""
    return np.asarray(np.abs(guess / truth - 1) <= c)


# ---- 1 and 5: the path of one person ---------------------------------------------------------------------------


def decoded(noisy: Array, jobs: npt.NDArray[np.int64], *, parts: int) -> Array:
    """Return the best guess of stable pay from noisy pay: signs per job by the smoothest log path.

    E log(1 ± d) is subtracted for each of the 2^parts patterns of signs; the pattern that leaves the smallest variance
    wins. A pattern and its opposite differ by the ramp only.
    """
    d = de.ramp(np.linspace(0.0005, 0.9995, 1000))
    level = np.array([np.log(1 - d).mean(), np.log(1 + d).mean()])
    log, best, guess = np.log(noisy), np.full(len(noisy), np.inf), np.zeros_like(noisy)
    for pattern in product((0, 1), repeat=parts):
        path = log - level[np.array(pattern)[jobs]]
        variance = path.var(1)
        better = variance < best
        best, guess = np.where(better, variance, best), np.where(better[:, None], np.exp(path), guess)
    return guess


def one_path(n: int = 4000, periods: int = 21) -> list[Row]:
    """Two tables that differ by one person, so that the sums differ by y·δ: how near is the best guess of y?"""
    out = []
    rng = np.random.default_rng(1)
    keys = de.person_keys(b"one path", [str(i) for i in range(n)])
    for n_jobs, step in ((1, 0.0), (2, 0.02), (3, 0.02), (4, 0.02), (3, 0.10)):
        jobs = np.broadcast_to(np.arange(periods) * n_jobs // periods, (n, periods))
        level = 9 + np.cumsum(rng.normal(0, step, (n, n_jobs)), 1)
        pay = np.exp(np.take_along_axis(level, jobs, 1) + rng.normal(0, 0.02, (n, periods)))
        stable = f"pay stable (2%), {n_jobs} job(s), ±{step:.0%} at a move"
        if n_jobs == 1:
            out.append(row("1 path of one person", "unprotected", np.ones(n)))
        every = (n_jobs, step) in ((1, 0.0), (3, 0.02))
        designs: tuple[tuple[de.Sign, de.Sign], ...] = (("job", "period"),)
        if every:
            designs = (("period", "period"), *designs, ("person", "period"), ("person", "person"))
        for sign, size in designs:
            noisy = pay * de.noise(keys, jobs, sign, size)
            label = f"sign by {sign}, size by {size}: {stable}"
            if n_jobs == 1:
                out.append(row("1 path of one person", f"{label}, y·δ itself", within(noisy, pay).mean(1)))
                out.append(row("1 path of one person", f"{label}, y·δ/1.10", within(noisy / 1.10, pay).mean(1)))
            if sign == "period":
                guess = np.repeat(noisy.mean(1, keepdims=True), periods, 1)
            else:
                one = np.zeros_like(jobs) if sign == "person" else jobs
                guess = decoded(noisy, one, parts=int(one.max()) + 1)
            out.append(row("5 average over 21 quarters", label, within(guess, pay).mean(1)))
            if n_jobs == 1:
                known = within(noisy * (pay / noisy)[:, :1], pay)[:, 1:].mean(1)
                out.append(row("1 path, pay of its first quarter known", label, known))
                near = within(guess.mean(1), pay.mean(1), 0.01)
                out.append(row("5 average over 21 quarters", f"{label}, average pay within 1%", near))
    return out


def known_others(sizes: Iterable[int] = (1, 2, 5, 10, 40), repeats: int = 4000) -> list[Row]:
    """A set of k people, where the attacker knows all pay but one: the rest of the sum is a guess of it."""
    out = []
    for k in sizes:
        p = de.people(k * repeats, 1, seed=k, out=0.0)
        noisy = (p.pay * de.noise(p.keys, p.jobs)).reshape(repeats, k)
        pay = p.pay.reshape(repeats, k)
        guess = noisy.sum(1) - pay[:, 1:].sum(1)
        best = max((within(guess / f, pay[:, 0]).mean(), f) for f in np.arange(0.85, 1.16, 0.01))[1]
        label = f"sum of {k}, pay of {k - 1} known"
        out.append(row("6 insider who knows all but one", label, within(guess / best, pay[:, 0])))
    return out


def high_earner(repeats: int = 4000) -> list[Row]:
    """One of 40 earns f times the others' total: the sum is taken for theirs."""
    out = []
    for ratio in (0.5, 2.0, 10.0):
        p = de.people(40 * repeats, 1, seed=11, out=0.0)
        pay = p.pay.reshape(repeats, 40).copy()
        pay[:, 0] = ratio * pay[:, 1:].sum(1)
        noisy = pay * de.noise(p.keys, p.jobs).reshape(repeats, 40)
        known = ratio / (1 + ratio)  # the attacker knows the share
        for label, total, f in (("unprotected", pay.sum(1), 1.0), ("noise", noisy.sum(1), 1.10)):
            variant = f"{label}, {known:.0%} of the sum is theirs"
            out.append(row("4 high earner in a cell of 40", variant, within(total * known / f, pay[:, 0])))
    return out


# ---- 2: the number of people from the sums ---------------------------------------------------------------------


def undo_rounding(repeats: int = KEYS) -> list[Row]:
    """Which n within 5 of the published one makes mean × n whole cents, or makes a sum of zeros vanish?"""
    successes: dict[str, list[bool]] = {}
    reference = np.linspace(7000.0, 8000.0, 21).round(2)
    for r in range(repeats):
        p = de.people(60 + r % 40, seed=r, secret=f"key {r}".encode())
        p = replace(p, pay=np.where(np.arange(21) == 4, 0.0, p.pay))  # all out of work in one quarter
        n, noisy = len(p.pay), p.pay * de.noise(p.keys, p.jobs)
        key = de.key_sum(p.keys, np.ones((n, 1), int))
        published = int(de.perturb([n], key)[0])
        candidates = np.arange(max(published - 5, 1), published + 6)

        def by_cents(mean: Array, candidates: npt.NDArray[np.int64] = candidates) -> int:
            cents = mean[:, None] * candidates * 100
            return int(candidates[np.abs(cents - np.rint(cents)).max(0).argmin()])

        shape = de.protected_cell(noisy, int(key[0]), published)
        # S centred with the true n, as decision 2 leaves it: where Y is 0, S = −n·reference
        centred = noisy.sum(0) - n * reference
        other = noisy.sum(0) - n * (reference + 100)
        zeros = shape.first[1:] - published * reference  # centred with ñ
        tries = {
            "unprotected: mean·n is whole cents": by_cents(p.pay.mean(0)) == n,
            "noise: the same, S/n": by_cents(noisy.mean(0)) == n,
            "noise, ñ in the mean": by_cents(shape.mean()) == n,
            "S − n·reference, a quarter of zeros": round(-centred[4] / reference[4]) == n,
            "S − n·reference, two references": round(float((centred - other)[0]) / 100) == n,
            "S − ñ·reference, a quarter of zeros": round(-zeros[4] / reference[4]) == n,
        }
        for label, hit in tries.items():
            successes.setdefault(label, []).append(bool(hit))
    return [row("2 exact n from sums", label, hits) for label, hits in successes.items()]


# ---- 3: averaging counts ---------------------------------------------------------------------------------------


def averaging(repeats: int = KEYS, n: int = 700) -> list[Row]:
    """K stratifications of one set; E editions with known newcomers; K pairs of cells that differ by one small set."""
    out = []
    for k in (1, 5, 20, 60):
        plain, kept, withheld = [], [], 0
        for r in range(repeats):
            rng = np.random.default_rng(r)
            keys = de.person_keys(f"key {r}".encode(), [str(i) for i in range(n)])
            register = de.Register()
            total_key = int(de.key_sum(keys, np.ones((n, 1), int))[0])
            total = register.publish(n, total_key)
            free, fitted = [], []
            for _ in range(k):
                members = np.eye(3, dtype=np.int64)[rng.integers(0, 3, n)]
                cells = de.key_sum(keys, members)
                free.append(int(de.perturb(members.sum(0), cells).sum()))
                values = register.publish_cells(total, members.sum(0).tolist(), cells)
                withheld += values is None
                fitted += [sum(values)] if values else []
            plain.append(round(float(np.mean(free))) == n)
            kept.append(round(float(np.mean([total, *fitted]))) == n)
        out.append(row("3 total over K stratifications", f"K = {k}, no register", plain))
        label = f"K = {k}, register ({withheld / repeats / k:.1%} of stratifications withheld)"
        out.append(row("3 total over K stratifications", label, kept))
    for k in (1, 5, 20, 60):
        pairs, editions = [], []
        for r in range(repeats):
            rng = np.random.default_rng(r)
            keys = de.person_keys(f"key {r}".encode(), [str(i) for i in range(n)])
            small = int(rng.integers(0, 6))  # none to five people are in A ∪ S but not in A
            inside = rng.random((n, k)) < 0.4
            inside[:small] = False
            joint = inside.copy()
            joint[:small] = True
            counts = [de.perturb(m.sum(0), de.key_sum(keys, m)) for m in (joint, inside)]
            pairs.append(round(float((counts[0] - counts[1]).mean())) == small)
            growing = np.arange(n)[:, None] < 400 + 10 * np.arange(min(k, 20))
            estimate = (de.perturb(growing.sum(0), de.key_sum(keys, growing)) - 10 * np.arange(min(k, 20))).mean()
            editions.append(round(float(estimate)) == 400)
        out.append(row("3 small set S from A ∪ S less A", f"K = {k} pairs, with the register", pairs))
        if k <= 20:
            out.append(row("3 count over E editions", f"E = {k}, ten known newcomers in each", editions))
    return out


# ---- 4: small counts and zeros ---------------------------------------------------------------------------------


def posterior(prior: Array, table: Array = de.TABLE_DEFAULT) -> Array:
    """Return P(count | published), shape (published, count), for a prior over counts 0, 1, …"""
    d, top = table.shape[1] // 2, len(prior)
    joint = np.zeros((top + d, top))
    for count in range(top):
        for place, p in enumerate(table[min(count, len(table) - 1)]):
            if p > 0:
                joint[count + place - d, count] += p * prior[count]
    return np.asarray(joint / joint.sum(1, keepdims=True).clip(1e-300))


def small_counts() -> list[Row]:
    """Return the certainty that one published number below 10 gives at most, by what is known beforehand."""
    out = []
    flat, poisson = np.ones(40), np.exp(-3.0) * np.cumprod(np.r_[1.0, 3.0 / np.arange(1, 40)])
    mostly_zero = np.where(np.arange(40) == 0, 9.0, 1.0)
    for v, d in ((2.0, 5), (3.0, 6), (4.0, 8)):
        table = de.change_table(v, de.JS, d)
        for label, prior in (
            ("flat prior", flat),
            ("Poisson(3)", poisson),
            ("a zero nine times as likely", mostly_zero),
        ):
            p = posterior(prior, table)
            at = f"v = {v:g}, D = {d}, {label}"
            attack = "4 small counts, largest posterior"
            out.append({"attack": attack, "variant": f"{at}: of 1..9", "success": p[:10, 1:10].max(), "mc_se": 0.0})
            out.append({"attack": attack, "variant": f"{at}: none has it", "success": p[0, 0], "mc_se": 0.0})
    return out


def cross_counts(repeats: int = KEYS, n: int = 60) -> list[Row]:
    """How many work in quarter s and not in t, where these are 1 to 9? Two counts less one another, rounded."""
    hits: dict[str, list[float]] = {}
    for r in range(repeats):
        p = de.people(n, seed=r, secret=f"key {r}".encode())
        key = de.key_sum(p.keys, np.ones((n, 1), int))
        published = int(de.perturb([n], key)[0])
        works = p.employed.astype(float)
        for label, cell in (
            ("unprotected", de.cell(works)),
            ("cell keys", de.binary_cell(p.employed, p.keys, published)),
            ("scatter + v·I redrawn, h = 6", de.binary_cell(p.employed, p.keys, published, spectrum=6.0)),
        ):
            truth = np.diag(works.T @ works)[:, None] - works.T @ works
            guess = np.rint(np.diag(cell.second)[1:, None] - cell.second[1:, 1:])
            small = (truth > 0) & (truth < 10)
            hits.setdefault(label, []).append(float((guess == truth)[small].mean()))
    return [row("4 small cross-counts of a 0/1 outcome", label, shares) for label, shares in hits.items()]


def corrected_row(repeats: int = KEYS) -> list[Row]:
    """A correction of one quarter: the difference of two editions' sums is δ times the change, with the person's δ."""
    hits = []
    for r in range(repeats):
        p = de.people(60, seed=r, secret=f"key {r}".encode(), out=0.0)
        delta = de.noise(p.keys, p.jobs)[0, 10]
        change = 0.2 * p.pay[0, 10]
        hits.append(bool(abs(change * delta / 1.10 / change - 1) <= de.C))
    return [row("5 corrected row: the change within 5%", "permanent noise, y·δ/1.10", hits)]


def promise(people: int = 2000, repeats: int = KEYS) -> list[Row]:
    """Return the promise over 200 keys on 2,000 ordinary people, in the design as changed: sign and size by person."""
    hits: dict[str, list[float]] = {}
    table = de.TABLE_DEFAULT
    guess = posterior(np.ones(40), table).argmax(1)
    for r in range(repeats):
        p = de.people(people, seed=r, secret=f"key {r}".encode())
        noisy = p.pay * de.noise(p.keys, p.jobs)
        works = p.pay > 0
        usual = noisy.sum(1)[:, None] / works.sum(1).clip(1)[:, None] + 0 * noisy  # the mean of the quarters worked
        sets, sums = p.pay[:, 10].reshape(-1, 10), noisy[:, 10].reshape(-1, 10).sum(1)
        worked = sets[:, 0] > 0
        rest = (sums - sets[:, 1:].sum(1))[worked]
        counts = 1 + np.arange(people) % 9
        published = de.perturb(counts, de.mix(p.keys, r))
        shares_by_label = {
            "pay of one isolated person, each quarter": within(noisy[works] / 1.10, p.pay[works]).mean(),
            "the same, from their mean over 21 quarters": within(usual[works] / 1.0833, p.pay[works]).mean(),
            "pay within a set of 10, pay of 9 known": within(rest, sets[worked, 0]).mean(),
            "a count of 1..9, most likely value": (guess[published] == counts).mean(),
        }
        for label, share in shares_by_label.items():
            hits.setdefault(label, []).append(float(share))
    rows = [row("promise, 200 keys × 2,000 people", label, shares) for label, shares in hits.items()]
    return [r | {"largest of 200": max(hits[str(r["variant"])])} for r in rows]


def run() -> pd.DataFrame:
    """Run every attack and return one row per figure."""
    rows: list[Row] = []
    for attack in (
        promise,
        one_path,
        known_others,
        high_earner,
        me.membership,
        me.same_or_not,
        undo_rounding,
        averaging,
        small_counts,
        cross_counts,
        corrected_row,
    ):
        rows += attack()
    return pd.DataFrame(rows)


if __name__ == "__main__":
    with pd.option_context("display.max_colwidth", 90, "display.width", 160, "display.max_rows", 200):
        print(run().round(3).to_string(index=False))
