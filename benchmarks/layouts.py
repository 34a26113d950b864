"""Wage lines of fixed width through a layout beside the same rows in our own format, each in a process of its own.

    python benchmarks/layouts.py 20000000

prints seconds, seconds of processors, and the largest memory of: our own CSV; the layout us-ui-wages on fixed width;
and on CSV. All rows are of people of the study, so that all are stored.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

PEOPLE = 500_000
WAYS = ("own", "fixed_width", "csv")


def write(folder: Path, rows: int) -> None:
    """Write people, and the wage lines in three formats, with DuckDB alone."""
    con = duckdb.connect()
    con.execute(
        f"""
        CREATE TABLE line AS
        SELECT 'A' || lpad(CAST(i % {PEOPLE} AS VARCHAR), 8, '0') AS person,
          2017 + (i // {PEOPLE}) // 4 % 10 AS year, (i // {PEOPLE}) % 4 + 1 AS quarter,
          lpad(CAST(hash(i) % 60000 AS VARCHAR), 10, '0') AS account,
          CAST(100000 + hash(i, 7) % 2000000 AS BIGINT) AS cents
        FROM range({rows}) t(i);
        COPY (SELECT DISTINCT person AS person_id FROM line) TO '{folder}/person.csv' (HEADER);
        COPY (SELECT person AS person_id, year || 'Q' || quarter AS period, account AS employer_id,
          CAST(cents * 0.01::DECIMAL(2,2) AS DECIMAL(12,2)) AS wages FROM line) TO '{folder}/own.csv' (HEADER);
        COPY (SELECT person AS ssn, account, year, quarter, cents AS wage FROM line) TO '{folder}/csv.csv' (HEADER);
        COPY (SELECT person || repeat(' ', 36) || '99' || account || '00000000000000' || year || quarter
          || lpad(CAST(cents AS VARCHAR), 10, ' ') FROM line)
          TO '{folder}/fixed_width.txt' (HEADER false, QUOTE '', ESCAPE '', DELIMITER '\x01');
        """
    )


def load(folder: Path, way: str) -> None:
    """Load the wage records in one way, and print rows, seconds and memory."""
    from retrain_eval.common.resources import resource as shipped
    from retrain_eval.plan.sources import Source
    from retrain_eval.records.layouts.sources import open_sources
    from retrain_eval.records.schema.table_schema import load_package
    from retrain_eval.records.store import Store

    package = load_package(shipped("data_schemas"))
    start = time.perf_counter()
    with Store.open(folder / f"{way}.duckdb", memory_limit="4GB", frequency="quarter") as store:
        if way == "own":
            reports = store.ingest_all({"person": folder / "person.csv", "wage_record": folder / "own.csv"})
        else:
            file = "csv.csv" if way == "csv" else "fixed_width.txt"
            sources = {"wages": Source(layout="us-ui-wages", file=file, options={"unit": "cents"})}
            people = [folder / "person.csv"]
            with open_sources(folder, sources, package, people) as opened:
                reports = store.ingest_all(opened.with_files({"person": people}))
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    rows, cpu = f"{reports[-1].rows_loaded:>12,} rows", used.ru_utime + used.ru_stime
    print(f"{way:<12}{rows}{seconds:>9.1f} s{cpu:>9.1f} s of processors{used.ru_maxrss / 2**20:>7.2f} GB")


def main() -> None:
    """Write the files and load them, each way in a process of its own."""
    if len(sys.argv) == 3:
        load(Path(sys.argv[1]), sys.argv[2])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, int(sys.argv[1]))
        for way in WAYS:
            subprocess.run([sys.executable, __file__, name, way], check=True)
            (folder / f"{way}.duckdb").unlink()


if __name__ == "__main__":
    main()
