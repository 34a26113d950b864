"""What the design costs: coverage of 95% intervals and standard errors, exact next to protected.

``python benchmarks/disclosure_design/costs.py [draws]`` prints the tables. Two arms of n people, 21 quarters, training
at quarter 8; the effect is the mean over quarters 13 to 20 less quarter 7 of the treated, less that of the others.
Truth is known: pay of the treated rises by 800 a quarter where they work, and no one's employment changes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parent))
import design as de

Array = npt.NDArray[np.float64]
PERIODS, BASE, AFTER = 21, 7, slice(13, 21)
SIZES = (60, 150, 700)
EFFECT = 800.0
WEIGHTS = np.zeros(PERIODS)
WEIGHTS[AFTER], WEIGHTS[BASE] = 1 / 8, -1.0


def change(cell: de.Cell, counted: bool = False, v: float = de.V) -> tuple[float, float]:
    """Return an arm's change after − base and its variance; with ``counted``, plus that of perturbed counts."""
    mean = cell.mean()
    variance = float(WEIGHTS @ cell.scatter() @ WEIGHTS) / cell.n**2
    # S/ñ: the delta method on ñ, whose variance is v
    variance += v * float(WEIGHTS @ mean) ** 2 / cell.n**2 if counted or v else 0.0
    variance += v * float(WEIGHTS @ WEIGHTS) / cell.n**2 if counted else 0.0
    return float(WEIGHTS @ mean), variance


def effect(arms: list[de.Cell], **options: float | bool) -> tuple[float, float]:
    """Return a difference-in-differences and its standard error."""
    (one, var_one), (two, var_two) = (change(arm, **options) for arm in arms)  # type: ignore[arg-type]
    return one - two, float(np.sqrt(var_one + var_two))


EARNINGS: dict[str, tuple[de.Sign, de.Sign, dict[str, float]]] = {
    "sign by period": ("period", "period", {}),
    "sign by job": ("job", "period", {}),
    "sign by job, one ghost": ("job", "period", {"ghosts": 1}),
    "sign by person": ("person", "period", {}),
    "sign and size by person": ("person", "person", {}),
    "the same, Wishart h = 6": ("person", "person", {"spectrum": 6.0}),
}
REGISTERS: dict[str, dict[str, float]] = {
    "earnings": {},
    "earnings, stable": de.STABLE,
    "earnings, very stable": de.VERY_STABLE,
}


def earnings(n: int, draws: int, register: str = "earnings", *, a: float = de.A, b: float = de.B) -> pd.DataFrame:
    """Return coverage, standard errors and shifts of the effect on earnings, by variant of the design."""
    errors: dict[str, list[tuple[float, float]]] = {}
    for r in range(draws):
        p = de.people(2 * n, PERIODS, seed=r, secret=f"key {r}".encode(), **REGISTERS[register])
        pay = p.pay.copy()
        pay[:n, 8:] += EFFECT * (pay[:n, 8:] > 0)
        share = p.employed[:n, AFTER].mean()  # of the treated, so that the truth is EFFECT · share in this draw
        truth = EFFECT * share
        arms = [slice(0, n), slice(n, 2 * n)]
        estimate, se = effect([de.cell(pay[arm]) for arm in arms], v=0.0)
        errors.setdefault("exact", []).append((estimate - truth, se))
        for label, (sign, size, options) in EARNINGS.items():
            noisy = pay * de.noise(p.keys, p.jobs, sign, size, a, b)
            cells = []
            for arm in arms:
                key = de.key_sum(p.keys[arm], np.ones((n, 1), int))
                published = int(de.perturb([n], key)[0])
                cells.append(de.protected_cell(noisy[arm], int(key[0]), published, **options))  # type: ignore[arg-type]
            estimate, se = effect(cells)
            errors.setdefault(label, []).append((estimate - truth, se))
    return _table(errors, n, register)


def employment(n: int, draws: int) -> pd.DataFrame:
    """Return the same for the effect on employment: counts by cell keys, with and without v in the standard error."""
    errors: dict[str, list[tuple[float, float]]] = {}
    for r in range(draws):
        p = de.people(2 * n, PERIODS, seed=r, secret=f"key {r}".encode())
        exact, cells, redrawn = [], [], []
        for arm in (slice(0, n), slice(n, 2 * n)):
            exact.append(de.cell(p.employed[arm].astype(float)))
            key = de.key_sum(p.keys[arm], np.ones((n, 1), int))
            published = int(de.perturb([n], key)[0])
            cells.append(de.binary_cell(p.employed[arm], p.keys[arm], published))
            redrawn.append(de.binary_cell(p.employed[arm], p.keys[arm], published, spectrum=6.0))
        errors.setdefault("exact", []).append(effect(exact, v=0.0))
        errors.setdefault("cell keys, v not counted", []).append(effect(cells, v=0.0))
        errors.setdefault("cell keys, v counted", []).append(effect(cells, counted=True))
        errors.setdefault("counts by keys, scatter + v·I redrawn, h = 6", []).append(effect(redrawn))
    return _table(errors, n, "employment")


def _table(errors: dict[str, list[tuple[float, float]]], n: int, outcome: str) -> pd.DataFrame:
    """Summarise (error, standard error) of each draw; ratios are to the exact table of the same draw."""
    exact = np.array(errors["exact"])
    rows = []
    for label, pairs in errors.items():
        error, se = np.array(pairs).T
        cover = np.abs(error) <= stats.norm.ppf(0.975) * se
        rows.append(
            {
                "outcome": outcome,
                "n per arm": n,
                "variant": label,
                "coverage": cover.mean(),
                "mc_se": np.sqrt(cover.mean() * (1 - cover.mean()) / len(cover)),
                "se ratio": np.median(se / exact[:, 1]),
                "sd ratio": error.std() / exact[:, 0].std(),
                "median shift / se": np.median(np.abs(error - exact[:, 0]) / exact[:, 1]),
                "bias / se": (error.mean() - exact[:, 0].mean()) / exact[:, 1].mean(),
            }
        )
    return pd.DataFrame(rows)


def smaller_samples(k: int = 10) -> pd.DataFrame:
    """Return what it costs to leave out k people by key, so that two cells differ by at least k: √(n/(n − k))."""
    return pd.DataFrame({"n per arm": SIZES, "se ratio": [np.sqrt(n / (n - k)) for n in SIZES]})


def life_tables(n: int, draws: int) -> pd.DataFrame:
    """Return errors of the median, RMST(12) and the log-rank z from nested, monotone survivor counts, as shares of se.

    Durations are geometric with a hazard of .08 a quarter, censored at 20.
    """
    grid = np.arange(0.0, 21.0)
    shift, rmst_error, z_moves, covered, covered_with_v = [], [], [], [], []
    exact_z, moved_z, counted_z = [], [], []
    for r in range(draws):
        rng = np.random.default_rng(r)
        durations = rng.geometric(0.08, 2 * n).astype(float)
        keys = de.person_keys(f"key {r}".encode(), [str(i) for i in range(2 * n)])
        curves = []
        for arm in (slice(0, n), slice(n, 2 * n)):
            exact = (durations[arm, None] > grid).sum(0)
            curves.append((exact, de.survivors(durations[arm], keys[arm], grid)))
        for exact, changed in curves:
            s, t = exact / exact[0], changed / max(changed[0], 1)
            rmst, rmst_changed = s[:12].sum(), t[:12].sum()
            kept = np.minimum(np.arange(13), 12)[:-1] + 1  # RMST is the mean of min(T, 12)
            ending = -np.diff(np.r_[s[:12], 0.0])
            se = np.sqrt(max((kept**2 * ending).sum() - (kept * ending).sum() ** 2, 1e-9) / n)
            rmst_error.append((rmst_changed - rmst) / se)
            shift.append(int((t > 0.5).sum()) - int((s > 0.5).sum()))
            truth = sum(0.92**x for x in range(12))
            covered.append(abs(rmst_changed - truth) <= 1.96 * se)
            wider = np.sqrt(se**2 + de.V * (11 + (rmst_changed - 1) ** 2) / n**2)
            covered_with_v.append(abs(rmst_changed - truth) <= 1.96 * wider)
        (exact_one, one), (exact_two, two) = curves
        exact_z.append(log_rank(exact_one, exact_two))
        moved_z.append(log_rank(one, two))
        counted_z.append(log_rank(one, two, v=de.V))
        z_moves.append(abs(counted_z[-1] - exact_z[-1]))
    size = [float((np.abs(z) > 1.96).mean()) for z in (exact_z, moved_z, counted_z)]
    return pd.DataFrame(
        [
            {
                "n per arm": n,
                "median moves": np.mean(np.array(shift) != 0),
                "by more than 1": np.mean(np.abs(shift) > 1),
                "RMST error / se, sd": np.std(rmst_error),
                "RMST bias / se": np.mean(rmst_error),
                "RMST coverage": np.mean(covered),
                "with v": np.mean(covered_with_v),
                "log-rank size exact": size[0],
                "size protected": size[1],
                "size, v counted": size[2],
                "mc_se": np.sqrt(0.05 * 0.95 / draws),
                "z moves, 95%": np.quantile(z_moves, 0.95),
            }
        ]
    )


def log_rank(one: npt.NDArray[np.int64], two: npt.NDArray[np.int64], v: float = 0.0) -> float:
    """Return the log-rank z of two sequences of survivors on a common grid (Mantel 1966).

    Without censoring in between, O − E = Σ_t r_{t+1}·r1_t/r_t − r1_{t+1}; with ``v``, the variance has its
    derivatives by each changed count as well.
    """
    risk = np.array([one, two], dtype=float)
    risk = risk[:, : max(int((risk.sum(0) > 1).sum()), 2)]
    total = risk.sum(0)
    share, ended = risk[0, :-1] / total[:-1], -np.diff(total)
    variance = float((ended * share * (1 - share) * total[1:] / (total[:-1] - 1)).sum())
    statistic = float((total[1:] * share - risk[0, 1:]).sum())
    slopes = np.zeros_like(risk)
    slopes[:, :-1] += np.array([1.0, -1.0])[:, None] * total[1:] * risk[::-1, :-1] / total[:-1] ** 2
    slopes[:, 1:] += np.array([share - 1, share])
    variance += v * float((slopes**2 * (risk > 0)).sum())
    return statistic / float(np.sqrt(variance))


def medians(n: int, draws: int, width: float = 500.0) -> pd.DataFrame:
    """Return how far a median of noisy pay from cell-key counts below registered band edges is from the exact one."""
    edges, pairs = np.arange(0.0, 60000.0, width), []
    for r in range(draws):
        p = de.people(n, 1, seed=r, secret=f"key {r}".encode(), out=0.0)
        noisy = (p.pay * de.noise(p.keys, p.jobs))[:, 0]
        above = de.survivors(noisy, p.keys, edges)
        pairs.append((np.median(p.pay), np.median(noisy), float(np.interp(-above[0] / 2, -above, edges))))
    exact, noise_only, banded = np.array(pairs).T
    return pd.DataFrame(
        [
            {
                "n": n,
                "sd of exact": exact.std(),
                "shift by noise / sd": (noise_only - exact).std() / exact.std(),
                "shift by noise and bands / sd": (banded - exact).std() / exact.std(),
                "sd ratio": banded.std() / exact.std(),
                "bias / sd": (banded - exact).mean() / exact.std(),
            }
        ]
    )


def run(draws: int = 400) -> dict[str, pd.DataFrame]:
    """Return the tables of costs."""
    moments = [earnings(n, draws, register) for register in REGISTERS for n in SIZES]
    for register in REGISTERS:
        wider = earnings(700, draws, register, a=0.10, b=0.20)
        moments.append(wider.assign(outcome=f"{register}, a = .10, b = .20"))
    return {
        "moments": pd.concat([*moments, *(employment(n, draws) for n in SIZES)], ignore_index=True),
        "life tables": pd.concat([life_tables(n, max(draws, 1000)) for n in SIZES], ignore_index=True),
        "medians": pd.concat([medians(n, max(draws, 1000)) for n in SIZES], ignore_index=True),
        "left out": smaller_samples(),
    }


if __name__ == "__main__":
    with pd.option_context("display.width", 200, "display.max_columns", 20, "display.max_rows", 100):
        for name, table in run(int(sys.argv[1]) if len(sys.argv) > 1 else 400).items():
            print(name, table.round(3).to_string(index=False), sep="\n", end="\n\n")
