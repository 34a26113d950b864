"""Every check of a question against known truth: runs all ``questions_*.py`` next to it, with the same draws.

python benchmarks/questions.py [draws] > benchmarks/questions.md
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main(draws: int) -> int:
    """Print what each script prints, and how long it took; return how many failed."""
    failed = 0
    print(f"# Questions against known truth: {draws:,} draws\n")
    for script in sorted(HERE.glob("questions_*.py")):
        option = ["--draws"] if "argparse" in script.read_text(encoding="utf-8") else []
        begun = time.monotonic()
        ran = subprocess.run([sys.executable, script, *option, str(draws)], capture_output=True, text=True)
        print(f"## {script.stem.removeprefix('questions_')}\n\n```text\n{ran.stdout}{ran.stderr}```\n")
        print(f"{time.monotonic() - begun:,.0f} s\n", flush=True)
        failed += ran.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
