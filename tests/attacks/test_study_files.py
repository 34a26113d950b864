"""SQL in a study file and in records: names, labels, headers, file names, identifiers; and files of others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import small_study
from retrain_eval.common.errors import InputError, RetrainEvalError
from retrain_eval.study.folder import Study

STRATUM = """
[strata.{name}]
column = {column}
title = "Age"
cuts = [40]
labels = [{one}, {other}]
"""
SHADOW = "root:$6$secret$hash:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n"
PLAIN = {"name": "age_band", "column": '"age"', "one": '"a"', "other": '"b"'}


def study(folder: Path, change: Callable[[Path], object] = lambda _: None, wages: str = "", **stratum: str) -> Study:
    """Make a study whose stratum, wage file or folder an attacker has written."""
    text = small_study.STUDY.replace("data/wage_record.csv", wages or "data/wage_record.csv")
    made = small_study.make(folder, study=text, more=STRATUM.format(**{**PLAIN, **stratum}))
    change(made)
    return Study.open(made)


@pytest.fixture(autouse=True)
def _nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.chdir(tmp_path)
    yield
    assert not [path for name in ("pwned", "~pwned~") for path in tmp_path.rglob(name)]


def test_labels_with_sql_are_labels(tmp_path: Path) -> None:
    one = "\"a' || (SELECT max(wages) FROM wage_record)::VARCHAR || '\""
    other = "\"\\\"b'); COPY (SELECT 1) TO 'pwned'; --\""
    results = study(tmp_path / "s", one=one, other=other).run()
    levels = set(results.tables["effects"]["level"].dropna())
    assert levels >= {
        "a' || (SELECT max(wages) FROM wage_record)::VARCHAR || '",
        "\"b'); COPY (SELECT 1) TO 'pwned'; --",
    }


@pytest.mark.parametrize(
    "column", ["'age); COPY (SELECT 1) TO \"pwned\"; --'", "'age + 0*(SELECT count(*) FROM wage_record)'"]
)
def test_a_column_is_a_name_and_never_an_expression(tmp_path: Path, column: str) -> None:
    with pytest.raises(InputError, match="unknown column"):
        study(tmp_path / "s", column=column).run()


def test_a_header_with_sql_is_an_unknown_column(tmp_path: Path) -> None:
    def header(folder: Path) -> None:
        file = folder / "data" / "person.csv"
        file.write_text(
            file.read_text().replace("education\n", '"education""); COPY (SELECT 1) TO \'pwned\'; --"\n', 1)
        )

    with pytest.raises(InputError, match="unknown column of person"):
        study(tmp_path / "s", header).run()


def test_the_name_of_a_stratum_is_a_name(tmp_path: Path) -> None:
    name = "a\"; COPY (SELECT 1) TO 'pwned'; --"
    results = study(tmp_path / "s", name='"' + name.replace('"', '\\"') + '"').run()
    assert name in set(results.tables["effects"]["subgroup"])


def test_the_name_of_a_stratum_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot name a result"):
        study(tmp_path / "s", name='"../../x"').run()
    assert {path.name for path in tmp_path.iterdir()} == {"s"}


@pytest.mark.parametrize("name", ["w'); COPY (SELECT 1) TO '~pwned~'; --.csv", "w[1]{a,b}?.csv"])
def test_a_file_name_with_sql_or_a_pattern_is_that_one_file(tmp_path: Path, name: str) -> None:
    def rename(folder: Path) -> None:
        os.rename(folder / "data" / "wage_record.csv", folder / "data" / name)

    made = study(tmp_path / "s", rename, wages="data/w*.csv")
    assert len(made.run().tables["effects"]) > 0
    os.rename(made.folder / "data" / name, made.folder / "data" / "w.csv")  # its name is no trace of an attack


def test_identifiers_and_names_with_sql_are_texts(tmp_path: Path) -> None:
    tables = small_study.records()
    odd = "P'; DROP TABLE person; COPY (SELECT 1) TO 'pwned'; --"
    for name in ("person", "enrolment", "wage_record"):
        tables[name]["person_id"] = tables[name]["person_id"].replace("P00000", odd)
    tables["programme"] = pd.DataFrame(
        [{"programme_id": "G1", "name": "=cmd|'/c calc'!A1", "provider": "=HYPERLINK(1)"}]
    )
    folder = small_study.make(tmp_path / "s", tables=tables)
    with Study.open(folder).ingest() as store:
        assert store.tables()["person"] == 160
        assert store.con.execute("SELECT count(*) FROM person WHERE person_id = $1", [odd]).fetchall() == [(1,)]


# --- records elsewhere: a path in the study file is the user's choice; the network is never used


@pytest.mark.parametrize("absolute", [False, True])
def test_records_outside_the_study_folder_are_read(tmp_path: Path, absolute: bool) -> None:
    def outside(folder: Path) -> None:
        (tmp_path / "outside").mkdir()
        shutil.move(folder / "data" / "wage_record.csv", tmp_path / "outside" / "wage_1.csv")

    where = f"{tmp_path}/outside/wage_*.csv" if absolute else "../outside/wage_*.csv"
    with study(tmp_path / "s", outside, wages=where).ingest() as store:
        assert store.tables()["wage_record"] == 160 * 6


def test_a_symbolic_link_to_records_is_followed(tmp_path: Path) -> None:
    def link(folder: Path) -> None:
        file = folder / "data" / "wage_record.csv"
        shutil.move(file, tmp_path / "real.csv")
        file.symlink_to(tmp_path / "real.csv")

    with study(tmp_path / "s", link).ingest() as store:
        assert store.tables()["wage_record"] == 160 * 6


@pytest.mark.parametrize("address", ["https://example.org/w.csv", "s3://bucket/w.csv", "http://127.0.0.1:9/w.parquet"])
def test_an_address_is_no_file_and_nothing_is_fetched(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match="file not found"):
        study(tmp_path / "s", wages=address).run()


def test_no_connection_loads_what_reads_from_a_network(tmp_path: Path) -> None:
    with study(tmp_path / "s").ingest() as store:
        settings = "autoinstall_known_extensions", "autoload_known_extensions"
        assert [store.con.execute(f"SELECT current_setting('{name}')").fetchall() for name in settings] == [
            [(False,)]
        ] * 2


@pytest.mark.parametrize("how", ["as it is", "by a link that looks like records"])
def test_another_file_is_refused_without_a_line_of_it(tmp_path: Path, how: str) -> None:
    (tmp_path / "shadow").write_text(SHADOW)
    (tmp_path / "looks.csv").symlink_to(tmp_path / "shadow")
    with pytest.raises(RetrainEvalError) as refused:
        study(tmp_path / "s", wages="../shadow" if how == "as it is" else "../looks.csv").run()
    for word in ("$6$", "secret", "daemon", "19000"):
        assert word not in str(refused.value)


@pytest.mark.parametrize(
    "more", ["x = " + "[" * 20_000, ".".join(["a"] * 20_000) + " = 1", "[" + ".".join(["a"] * 20_000) + "]"]
)
def test_a_study_file_or_a_profile_nested_too_deeply_is_refused(tmp_path: Path, more: str) -> None:
    for file, rules in (("study.toml", ""), ("rules.toml", '\n[release]\nprofile = "rules.toml"\n')):
        made = small_study.make(tmp_path / file, study=small_study.STUDY.split("[release]")[0] + rules)
        (made / "rules.toml").write_text("", encoding="utf-8")
        with (made / file).open("a", encoding="utf-8") as out:
            out.write(f"\n{more}\n")
        with pytest.raises(InputError, match="nested too deeply"):
            Study.open(made)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
@pytest.mark.parametrize("name", ["study.toml", "data_schemas/own.json"])
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    made = small_study.make(tmp_path / "s")
    (made / name).parent.mkdir(exist_ok=True)
    (made / name).unlink(missing_ok=True)
    os.mkfifo(made / name)
    with pytest.raises(
        InputError, match=r"^the (study file|schema) cannot be read\n.*\n  rule:   a plain file, not a pipe"
    ):
        Study.open(made).package  # noqa: B018 - record types are read when they are asked for


def test_a_study_file_of_more_than_a_study_is_refused(tmp_path: Path) -> None:
    made = small_study.make(tmp_path / "s")
    with (made / "study.toml").open("a", encoding="utf-8") as out:
        out.write("#" * 2**20)
    with pytest.raises(InputError, match="too large"):
        Study.open(made)


def test_a_schema_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    made = small_study.make(tmp_path / "s")
    (made / "data_schemas").mkdir(exist_ok=True)
    (made / "data_schemas" / "own.json").write_text('{"fields": [], "x": ' + "[" * 100_000, encoding="utf-8")
    with pytest.raises(InputError, match="the schema does not hold"):
        Study.open(made).package  # noqa: B018
