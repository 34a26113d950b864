"""The synthetic agency beside the published moments that it was calibrated to; exit status 1 if one lies outside.

python benchmarks/calibration.py --people 20000
"""

from __future__ import annotations

import argparse
import sys

import retrain_eval as rte


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20_000)
    table = rte.simulate(people=parser.parse_args().people).calibration()
    width = max(map(len, table["moment"]))
    print(f"{'moment':<{width}}{'published':>11}{'tolerance':>11}{'simulated':>11}  source")
    for row in table.itertuples():
        mark = "" if row.ok else "  OUTSIDE"
        print(
            f"{row.moment:<{width}}{row.target:>11.3f}{row.tolerance:>11.3f}{row.simulated:>11.3f}  {row.source}{mark}"
        )
    return 0 if table["ok"].all() else 1


if __name__ == "__main__":
    sys.exit(main())
