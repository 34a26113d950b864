"""Small synthetic release bundles, written by hand to the layout of a release: numbers are made up."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from retrain_eval.release.manifest import spelt

COLUMNS = [
    *("result", "outcome", "estimator", "estimand", "cohort", "time", "event_time", "subgroup", "level", "estimate"),
    *("std_error", "ci_low", "ci_high", "band_low", "band_high", "p_value", "n_treated", "n_control", "note"),
]


def effect(result: str, estimate: float | None, se: float | None, **keys: Any) -> dict[str, Any]:
    """Return one row of effects.csv with its interval and a band half as wide again."""
    row: dict[str, Any] = {
        "result": result,
        "outcome": "earnings",
        "estimand": "att",
        "estimate": estimate,
        "std_error": se,
    }
    if estimate is not None and se is not None:
        row |= {"ci_low": estimate - 1.96 * se, "ci_high": estimate + 1.96 * se, "p_value": 0.04}
        row |= {"band_low": estimate - 2.4 * se, "band_high": estimate + 2.4 * se}
    return row | {"estimator": "moments", "n_treated": 185, "n_control": 185} | keys


def training_effects() -> pd.DataFrame:
    """Return the effects of a matched study with an experiment beside it."""
    rows = [
        effect("unadjusted", -8497.5, 712.0, estimator="difference in means", n_control=15992),
        effect("att_matched", 1706.81, 678.24),
        effect("att_matched", 1706.81, 678.24, estimator="pyfixest"),
        effect("did", 1581.0, 810.0, estimand="simple"),
        effect("benchmark", 1794.34, 632.85, estimator="difference in means", n_control=260),
    ]
    for name, shift in (("event_study", 0.0), ("benchmark_event_study", 120.0)):
        rows += [
            effect(name, 310.0 + shift, 420.0, event_time=-4.0),
            effect(name, 0.0, None, event_time=-3.0),
            effect(name, 1581.0 + shift, 810.0, event_time=0.0),
            effect(name, 1581.0 + shift, 810.0),
        ]
    for result, levels in {"base_moved_back": ("0 before", "1 before"), "placebo_starts": ("1 before",)}.items():
        rows += [
            effect(result, 1581.0 - 700.0 * i, 810.0, subgroup=result, level=level) for i, level in enumerate(levels)
        ]
    for e, share in ((-4.0, 0.012), (-3.0, 0.0), (0.0, -0.08), (3.0, 0.046)):
        row = effect("event_study_employed", share, 0.021 if share else None, event_time=e)
        rows.append(row | {"outcome": "employed"})
    for e, total in enumerate((-420.0, 180.0, 1761.0)):
        rows.append(effect("payback", total, 90.0 * (e + 1), event_time=float(e), estimand="cumulative effect"))
    milestones = {"lock-in depth": (-420.0, -590.0, -240.0), "break-even": (1.0, 1.0, 2.0), "payback": (2.0, 2.0, None)}
    for estimand, (estimate, low, high) in milestones.items():
        row = effect("payback", estimate, None, event_time=0.0 if estimand == "lock-in depth" else None)
        rows.append(row | {"estimand": estimand, "ci_low": low, "ci_high": high})
    rows.append(effect("payback", 1500.0, None, estimand="cost per participant"))
    groups = {"age_band": ("<25", "25+"), "education": ("no degree", "degree")}
    for (group, (low, high)), (a, b) in zip(groups.items(), ((410.0, 2842.0), (1294.0, 2349.0)), strict=True):
        for result, add in (("att_by", -150.0), ("benchmark_by", 0.0)):
            rows += [
                effect(f"{result}_{group}", a + add, 1100.0, subgroup=group, level=low, n_treated=97, n_control=97),
                effect(f"{result}_{group}", b + add, 1250.0, subgroup=group, level=high, n_treated=88, n_control=88),
            ]
        rows.append(effect(f"difference_by_{group}", b - a, 1660.0, subgroup=group, level=f"{high} minus {low}"))
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def spell_effects() -> pd.DataFrame:
    """Return survival curves of two groups, and of three, one of them suppressed at the end."""
    rows = []
    for result, group, rates in (
        ("km_ui", "unemployment_insurance", {"filed a claim": 0.07, "filed no claim": 0.13}),
        ("km_age_band", "age_band", {"<25": 0.12, "25–54": 0.10, "55+": 0.06}),
    ):
        for level, rate in rates.items():
            for time in range(1, 29):
                share = (1 - rate) ** time
                row = effect(result, share, 0.012, time=float(time), subgroup=group, level=level)
                rows.append(row | {"estimator": "Kaplan-Meier", "estimand": "survival", "outcome": "duration"})
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def grant_effects() -> pd.DataFrame:
    """Return a regression by two packages and group-time effects."""
    table = {"d88": (-0.080, 0.109), "d89": (-0.247, 0.133), "grant": (-0.252, 0.151), "grant_1": (-0.422, 0.210)}
    rows = [
        effect(f"example_14_1_{engine}", b, se, outcome="log_scrap_rate", estimator=engine, estimand=name)
        for engine in ("linearmodels", "pyfixest")
        for name, (b, se) in table.items()
    ]
    for cohort, time, b, se in ((1988, 1988, -0.379, 0.186), (1988, 1989, -0.461, 0.286), (1989, 1989, -0.060, 0.153)):
        rows.append(effect("att_gt", b, se, outcome="log_scrap_rate", cohort=float(cohort), time=float(time)))
    rows += [
        effect("event_study", b, 0.19, outcome="log_scrap_rate", event_time=float(e))
        for e, b in ((0, -0.26), (1, -0.46))
    ]
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def sensitivity_tables() -> dict[str, pd.DataFrame]:
    """Return verdicts on groups, bounds of the mean effect and power of the pre-test."""
    verdicts = pd.DataFrame(
        [
            ("age_band", "<25", 0.41, 1.0, 1996.0, 88, "inconclusive", 1694.0),
            ("age_band", "25+", 0.002, 0.99, 3311.0, 97, "effect", None),
            ("education", "no degree", 0.6, 0.01, 264.0, 131, "equivalent to none", None),
            ("education", "degree", 0.043, 0.9, 3540.0, 54, "effect", None),
        ],
        columns=["subgroup", "level", "p_romano_wolf", "p_equivalence", "mde", "n_treated", "verdict", "n_needed"],
    ).assign(result=lambda d: "att_by_" + d["subgroup"], smallest_worthwhile=500.0, n_control=97, p_holm=0.5)
    bounds = pd.DataFrame(
        [
            ("relative magnitude", 0.0, 1581.0, 1581.0, 135.0, 2819.0, False),
            ("relative magnitude", 0.5, 1418.0, 1744.0, -273.0, 3159.0, True),
            ("smoothness", 0.0, 1358.0, 1358.0, -1051.0, 3767.0, True),
        ],
        columns=["restriction", "m", "low", "high", "ci_low", "ci_high", "includes_zero"],
    ).assign(result="event_study")
    power = pd.DataFrame(
        [("event_study", 0.5, 647.0, 1940.0, 1973.0), ("event_study", 0.8, 926.0, 2779.0, 2828.0)],
        columns=["result", "power", "slope", "bias", "bias_if_passed"],
    )
    return {"verdicts": verdicts, "bounds": bounds, "pretest_power": power}


def hidden_bias_tables() -> dict[str, pd.DataFrame]:
    """Return who was matched, paths before the programme, and bounds on hidden bias."""
    matching = pd.DataFrame(
        [(None, None, 185, 185, 15992, 185, 185.0), ("age_band", "25+", 97, 97, 11863, 56, 56.0),
         ("age_band", "<25", 88, 88, 4129, 129, 129.0)],
        columns=["subgroup", "level", "n_treated", "n_treated_matched", "n_control", "n_control_matched",
                 "ess_control"],
    ).assign(reuse_mean=1.0)  # fmt: skip
    means = {"treated": (2096, 1532), "treated matched": (2096, 1532), "control before": (14017, 13651),
             "control matched": (1905, 1302)}  # fmt: skip
    paths = pd.DataFrame(
        [("earnings", group, time, mean, 185) for group, path in means.items()
         for time, mean in zip((1974, 1975), path, strict=True)],
        columns=["outcome", "group", "time", "mean", "n"],
    )  # fmt: skip
    rosenbaum = pd.DataFrame({"gamma": [1.0, 1.15, 1.2], "p_value": [0.007, 0.05, 0.08], "n_pairs": 172})
    e_values = {"estimate": 1706.8, "std_error": 678.2, "sd": 6906.0, "risk_ratio": 1.252, "e_value": 1.814}
    oster = pd.DataFrame({"r2_max": [0.62, 1.0], "delta": [-0.228, -0.062], "beta_star": [3863.0, 13254.0]})
    oster = oster.assign(beta_uncontrolled=-8497.5, r2_uncontrolled=0.01, beta_controlled=699.0, r2_controlled=0.47)
    oster = oster.assign(var_outcome=9.35e7, var_treatment=0.0113, var_residual=0.0101)
    ties = pd.DataFrame({"result": [None, "att_matched"], "n_choices": 185, "n_tied": 21, "share": 21 / 185})
    ties = ties.assign(relabellings=[0, 25], sd=[None, 74.0], spread=[None, 300.0])
    return {
        "matching": matching,
        "baseline_paths": paths,
        "rosenbaum": rosenbaum.assign(result="att_matched"),
        "e_values": pd.DataFrame([{"result": "att_matched", **e_values, "e_value_limit": 1.284}]),
        "oster": oster.assign(result="att_matched", n=16177),
        "ties": ties,
    }


def training_tables() -> dict[str, pd.DataFrame]:
    """Return every table of a matched study."""
    covariates = ("distance", "age", "educ", "black", "married", "nodegree", "re74", "re75")
    before, after = (1.79, -0.8, -0.68, 2.4, -1.2, 0.9, -1.6, -1.75), (0.02, 0.05, -0.04, 0.0, 0.01, 0.03, -0.11, -0.02)
    balance = pd.DataFrame(
        {
            "covariate": covariates,
            "mean_treated": 1.2,
            "mean_treated_after": 1.2,
            "mean_control_before": 3.456,
            "mean_control_after": 1.25,
        }
    )
    balance = balance.assign(smd_before=before, smd_after=after, variance_ratio_before=0.4, variance_ratio_after=0.97)
    for measure, at in (("ecdf_mean", 0.3), ("ecdf_max", 0.5)):
        balance = balance.assign(**{f"{measure}_before": at, f"{measure}_after": at / 10})
    balance = balance.assign(effect_size_before=before, effect_size_after=after)
    balance["wwc"] = ["satisfied" if abs(size) <= 0.05 else "needs adjustment" for size in after]
    bins = [round(0.1 * i, 1) for i in range(11)]
    overlap = pd.DataFrame(
        [
            {"bin_low": low, "bin_high": high, "group": group, "n": n}
            for group, counts in {
                "treated": (12, 14, 15, 18, 20, 22, 25, 24, 20, 15),
                "control before": (15100, 400, 180, 90, 70, 50, 40, 30, 20, 12),
                "control matched": (14, 15, 15, 18, 21, 21, 24, 23, 20, 14),
            }.items()
            for low, high, n in zip(bins, bins[1:], counts, strict=False)
        ]
    )
    flow = pd.DataFrame(
        [
            ("submitted", "treated", 185, ""), ("submitted", "control", 15992, ""),
            ("complete records", "treated", 185, ""), ("complete records", "control", 15990, "no earnings in one year"),
            ("matched", "treated", 185, ""), ("matched", "control", 185, "not the nearest to anyone"),
        ],
        columns=["step", "group", "n", "reason"],
    )  # fmt: skip
    paths = {"treated": (2096, 1532, 6349), "control": (2107, 1620, 4642)}
    means = pd.DataFrame(
        [
            {"outcome": "earnings", "group": group, "time": time, "mean": mean, "n": 185}
            for group, path in paths.items()
            for time, mean in zip((1974, 1975, 1978), path, strict=True)
        ]
    )
    dictionary = pd.DataFrame(
        [
            ("person", "person_id", "Person", "string", "", True, "pattern \\S+", "Key of the person."),
            ("person", "age", "Age", "integer", "years", True, "14 to 99", "Age at entry."),
            (
                "wage_record",
                "earnings",
                "Annual earnings",
                "number",
                "USD per year",
                True,
                "0 or more",
                "Earnings in the year.",
            ),
        ],
        columns=["resource", "column", "title", "type", "unit", "required", "constraints", "description"],
    )
    effects = training_effects()
    return {
        **hidden_bias_tables(),
        "effects": effects,
        "balance": balance,
        "overlap": overlap,
        "flow": flow,
        "means": means,
        "dictionary": dictionary,
        **sensitivity_tables(),
    }


def spell_tables() -> dict[str, pd.DataFrame]:
    """Return the tables of a study of spells."""
    tests = [("km_ui", "log-rank", 83.2, 1, 0.0), ("km_age_band", "log-rank", 12.4, 2, 0.002)]
    columns = ["resource", "column", "title", "type", "unit", "required", "constraints", "description"]
    spell = ("spell", "duration", "Length of the spell", "integer", "two-week intervals", True, "", "Length.")
    return {
        "effects": spell_effects(),
        "tests": pd.DataFrame(tests, columns=["result", "test", "statistic", "df", "p_value"]),
        "dictionary": pd.DataFrame([spell], columns=columns),
    }


def write_bundle(folder: Path, tables: dict[str, pd.DataFrame], study: dict[str, Any], toml: str = "",
                 extra: Mapping[str, str] = MappingProxyType({}), edition: str = "2026",
                 **manifest_facts: Any) -> Path:  # fmt: skip
    """Write tables, study file, further files and manifest as a release does."""
    folder.mkdir(parents=True)
    for name, frame in tables.items():
        frame.to_csv(folder / f"{name}.csv", index=False, float_format="%.10g", lineterminator="\n")
    for name, text in {"study.toml": toml, **extra}.items():
        (folder / name).write_text(text, encoding="utf-8")
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    manifest = {
        "bundle_version": 1, "edition": edition, "study": study, "files": files, "study_sha256": "0" * 64,
        "inputs": [{"name": "person", "file": "person.csv", "sha256": "a" * 64, "rows_in": 16177, "rows_rejected": 0}],
        "packages": {"duckdb": "2.0.0", "pandas": "3.0.0"}, "python": "3.11.7", "seed": 20260101,
        "rules": {"min_cell": 10}, "protection": ["durations merged: 3"],
    }  # fmt: skip
    manifest |= manifest_facts
    (folder / "manifest.json").write_text(spelt(manifest), encoding="utf-8")
    return folder


def write_release(root: Path) -> list[Path]:
    """Write a main study and its two companions; return their folders, the main one first."""
    common = {"frequency": "year", "citation": "A citation of the data."}
    main = {"name": "demo", "title": "Did training raise earnings?", "question": "Did training raise earnings?",
            "data": "Made-up people.", "unit": "person", "currency": "USD", "synthetic": True,
            "limitations": ["Annual points, not quarters: nothing is seen within a year.", "Men only."]}  # fmt: skip
    spells = {"name": "spells", "title": "Spells without a job", "question": "How long?", "data": "Other people.",
              "unit": "person", "currency": "", "limitations": ["One survey."]}  # fmt: skip
    grants = {"name": "grants", "title": "Training grants", "question": "Less scrap?", "data": "Made-up firms.",
              "unit": "firm", "currency": "", "limitations": []}  # fmt: skip
    strata = "".join(
        f'[strata.{name}]\ncolumn = "{name}"\ntitle = "{title}"\n'
        for name, title in (("age_band", "Age"), ("education", "Education"))
    )
    return [
        write_bundle(root / "demo", training_tables(), common | main, strata + '[match]\nformula = "treat ~ age"\n'),
        write_bundle(root / "spells", spell_tables(), common | spells, strata + '[survival]\nduration = "duration"\n'),
        write_bundle(root / "grants", {"effects": grant_effects()}, common | grants),
    ]


def write_earlier(root: Path) -> list[Path]:
    """Write an earlier edition of the main study; return its folder."""
    study = {"name": "demo", "title": "Did training raise earnings?", "question": "Did training raise earnings?",
             "data": "Made-up people.", "unit": "person", "currency": "USD", "synthetic": True, "frequency": "year",
             "citation": "", "limitations": []}  # fmt: skip
    return [write_bundle(root / "2025", {"effects": training_effects()}, study, edition="2025")]
