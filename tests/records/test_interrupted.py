"""Killed at any moment, in memory or while it spills to disk: the store shows a complete vintage and can go on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retrain_eval.records.store import Store

PEOPLE, PERIODS = 20_000, 10

LOAD = """
import sys
from retrain_eval.records.store import Store
path, memory, *deliveries = sys.argv[1:]
with Store.open(path, memory_limit=memory) as store:
    print("open", flush=True)
    store.ingest_all({"wage_record": deliveries}, mode="update")
    print("loaded", flush=True)
"""


def deliver(folder: Path, name: str, first: int, wage: int) -> Path:
    """Write the records of ten periods, one for each person and period."""
    rows = [f"P{i},{first + t},{wage}" for i in range(PEOPLE) for t in range(PERIODS)]
    path = folder / name
    path.write_text("person_id,period,wages\n" + "\n".join(rows) + "\n")
    return path


def state(store: Store) -> tuple[int, int, int]:
    """Return the vintage, the number of wage records in force and the sum of wages."""
    found = store.con.sql("SELECT count(*), sum(wages)::BIGINT FROM wage_record").fetchall()[0]
    return store.vintage, int(found[0]), int(found[1])


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["2GB", "64MB"], ids=["in memory", "spilling"])
def test_killed_updates_leave_a_complete_vintage_8_times(tmp_path: Path, memory: str) -> None:
    """Two deliveries at once: one adds five periods and corrects five, the next corrects half of those again."""
    first, second = deliver(tmp_path, "1.csv", 7900, 1), deliver(tmp_path, "2.csv", 7905, 100)
    third = deliver(tmp_path, "3.csv", 7900, 10_000)
    half = PEOPLE * PERIODS // 2
    before = (1, 2 * half, 2 * half)
    after = (2, 3 * half, half * 10_000 * 2 + half * 100)
    people = tmp_path / "person.csv"
    people.write_text("person_id\n" + "".join(f"P{i}\n" for i in range(PEOPLE)))
    chance = random.Random(20261124)
    died = spilled = 0
    longest = 2.0
    for number in range(9):
        path = tmp_path / f"{number}.duckdb"
        with Store.open(path) as store:
            store.ingest_all({"person": people, "wage_record": first})
            assert state(store) == before
        command = [sys.executable, "-c", LOAD, str(path), memory, str(second), str(third)]
        start = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            if number == 0:  # how long it takes
                assert process.wait(120) == 0
                longest = time.monotonic() - start
                continue
            time.sleep(chance.uniform(0, longest))
            spilled += any(Path(f"{path}.tmp").glob("*"))
            process.send_signal(signal.SIGKILL)
            said = process.stdout.read()
            died += process.wait(30) == -signal.SIGKILL
        with Store.open(path, create=False) as store:
            stands = state(store)
            assert stands in (before, after)
            assert stands == after or "loaded" not in said
            store.ingest_all({"wage_record": [second, third]}, mode="update")
            assert state(store) == after
            assert not any(Path(f"{path}.tmp").glob("duckdb_temp_*"))
        with Store.open(path, as_of=1) as store:
            assert state(store) == before
    assert died > 2  # the others had ended
    assert spilled > 0 or memory != "64MB"
