"""What outside attackers recover over 200 keys from tables of a register of 2,000 people, exact and protected.

python benchmarks/disclosure_attacks.py [KEYS]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from attackers import ATTACKS, recovered


def main() -> None:
    """Print one row per attack."""
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print("| attack | exact tables | protected | promised at most |")
    print("|---|---|---|---|")
    for name, (attack, most) in ATTACKS.items():
        exact, released = recovered(attack, keys)
        print(f"| {name} | {exact:.3f} | {released:.3f} | {most} |", flush=True)


if __name__ == "__main__":
    main()
