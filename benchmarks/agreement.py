"""Group-time effects beside another implementation: the largest differences, over every combination of options.

    python benchmarks/agreement.py                                          # against the figures kept in tests/oracles
    python benchmarks/agreement.py --peer-python /path/to/python --keep     # computes these anew, with moderndid ≥ 0.4

Two real panels and a simulated one; {reg, ipw, dr} × {never, not yet treated} × {universal, varying base} ×
{anticipation 0, 1} × {unweighted, weighted}, with covariates and without. Then R's own figures on the simulated panel:
unbalanced, repeated cross sections, weights, clusters. Ends with an error where a difference exceeds 1e-7.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

LIMIT = 1e-7
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

import did_panels  # noqa: E402  # the panels that the tests use

PEER = """
import itertools, sys, warnings
import moderndid, polars
warnings.simplefilter("ignore")
panel, formula, out = sys.argv[1:4]
data = polars.read_parquet(panel)
rows = []
for method, control, base, anticipation, weighted in itertools.product(
    ("reg", "ipw", "dr"), ("never_treated", "not_yet_treated"), ("universal", "varying"), (0, 1), (False, True)
):
    fit = moderndid.att_gt(
        data=data, yname="y", tname="t", idname="id", gname="g", xformla=formula or None, est_method=method,
        control_group=control.replace("_", ""), base_period=base, anticipation=anticipation,
        weightsname="w" if weighted else None, boot=False)
    for g, t, estimate, std_error in zip(fit.groups, fit.times, fit.att_gt, fit.se_gt):
        rows.append((method, control, base, anticipation, weighted, float(g), float(t), float(estimate),
                     float(std_error)))
polars.DataFrame(rows, orient="row", schema=["method", "control", "base_period", "anticipation", "weighted", "cohort",
    "time", "estimate", "std_error"]).write_parquet(out)
"""


def peer_figures(python: str) -> pd.DataFrame:
    """Run the peer on each panel and formula, in its own Python."""
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        for name, panel in did_panels.PANELS.items():
            data, out = Path(folder) / "panel.parquet", Path(folder) / "out.parquet"
            panel.data().to_parquet(data)
            for covariates in ((), panel.covariates):
                formula = "~ " + " + ".join(covariates) if covariates else ""
                subprocess.run([python, "-c", PEER, str(data), formula, str(out)], check=True)
                parts.append(pd.read_parquet(out).assign(panel=name, covariates="+".join(covariates)))
    return pd.concat(parts, ignore_index=True)


def differences(reference: pd.DataFrame) -> pd.DataFrame:
    """Return the largest relative differences by panel, covariates, method and control group."""
    rows: list[dict[str, Any]] = []
    for key, block in reference.groupby(did_panels.OPTIONS, sort=False):
        both = did_panels.beside(dict(zip(did_panels.OPTIONS, key, strict=True)), block)
        rows.append(
            {
                **dict(zip(did_panels.OPTIONS, key, strict=True)),
                "rows": len(both),
                "only one has": int(both[["estimate", "estimate_peer"]].isna().any(axis=1).sum()),
                "estimate": did_panels.largest(both, "estimate"),
                "std_error": did_panels.largest(both, "std_error"),
            }
        )
    found = pd.DataFrame(rows)
    groups = found.groupby(["panel", "covariates", "method", "control"], sort=False)
    return groups.agg({"rows": "sum", "only one has": "sum", "estimate": "max", "std_error": "max"}).reset_index()


def differences_from_r() -> pd.DataFrame:
    """Return the largest relative differences from R by case; it prints ten decimals, so zeros are left out."""
    rows: list[dict[str, Any]] = []
    for case in did_panels.R_CASES:
        both = did_panels.beside_r(case)
        both = both[both["std_error_peer"].notna()]
        row = {column: did_panels.largest(both, column) for column in ("estimate", "std_error")}
        rows.append({"case": case, "rows": len(both), "only one has": int(both["std_error"].isna().sum()), **row})
    return pd.DataFrame(rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="a Python ≥ 3.12 that has moderndid and polars")
    parser.add_argument("--keep", action="store_true", help="write the peer's figures to tests/oracles")
    options = parser.parse_args()
    reference = peer_figures(options.peer_python) if options.peer_python else pd.read_parquet(did_panels.FIGURES)
    if options.keep:
        reference.to_parquet(did_panels.FIGURES, index=False)
    table = differences(reference)
    pd.set_option("display.width", 160)
    print("largest difference from moderndid, relative to the larger of the two (combinations of base × anticipation")
    print("× weights within each row)")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.1e}"))
    print(f"\n{len(reference):,} group-time effects\n")
    from_r = differences_from_r()
    print("largest difference from R did 2.5.1 with DRDID 1.2.3, which prints ten decimals")
    print(from_r.to_string(index=False, float_format=lambda value: f"{value:.1e}"))
    worst = max(float(found[["estimate", "std_error"]].to_numpy().max()) for found in (table, from_r))
    alone = sum(int(found["only one has"].sum()) for found in (table, from_r))
    print(f"\nlargest of all: {worst:.1e}; figures that only one of two has: {alone}")
    if not worst < LIMIT or alone:
        sys.exit(1)


if __name__ == "__main__":
    main()
