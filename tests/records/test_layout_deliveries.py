"""Layouts: deliveries in their order, people who come in later, hostile files, and the same figures in plain Python."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import msgspec
import pytest
from typer.testing import CliRunner

from raw_files import lehd_line, loaded, values, write_csv, write_people
from retrain_eval.cli import app
from retrain_eval.common.errors import InputError
from retrain_eval.common.resources import resource
from retrain_eval.plan.sources import Crosswalk, Source
from retrain_eval.plan.study_file import read_study
from retrain_eval.records.layouts.headers import find_fields
from retrain_eval.records.layouts.library import read_layout, read_shipped, shipped_layouts
from retrain_eval.records.layouts.sources import open_sources
from retrain_eval.records.layouts.steps import LayoutSteps, Making
from retrain_eval.records.schema.table_schema import load_package
from retrain_eval.records.store import Store
from retrain_eval.study.folder import Study

KEY = "5bd1e995c2b2ae3d27d4eb4f165667c5"
WAGES = Source(layout="us-ui-wages", file="w_*.txt", options={"unit": "cents"})


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# ---- deliveries --------------------------------------------------------------------------------------------------


def test_what_is_loaded_is_not_read_again_and_a_new_delivery_comes_on_top(tmp_path: Path) -> None:
    people = write_people(tmp_path, "A00000001")
    write_lines(tmp_path / "w_2018.txt", lehd_line("A00000001", "5", "2018Q1", "500000"))
    with loaded(tmp_path, {"w": WAGES}, people) as (store, _):
        assert values(store, "wage_record.wages") == ["5000.00"]
    write_lines(tmp_path / "w_2019.txt", lehd_line("A00000001", "5", "2018Q1", "-100000"))
    with loaded(tmp_path, {"w": WAGES}, people) as (store, reports):
        assert [report.already_loaded for report in reports] == [True, True, False]
        assert reports[2].rows_superseded == 1
        assert values(store, "wage_record.wages") == ["4000.00"]
        assert store.vintage == 2
    with loaded(tmp_path, {"w": WAGES}, people) as (store, reports):
        assert all(report.already_loaded for report in reports)
        assert store.vintage == 2


def test_wages_are_read_again_when_people_come_in(tmp_path: Path) -> None:
    write_lines(tmp_path / "w_2018.txt", *(lehd_line(f"A0000000{i}", "5", "2018Q1", "500000") for i in (1, 2)))
    with loaded(tmp_path, {"w": WAGES}, write_people(tmp_path, "A00000001")) as (store, _):
        assert values(store, "wage_record.person_id") == ["A00000001"]
    with loaded(tmp_path, {"w": WAGES}, write_people(tmp_path, "A00000001", "A00000002")) as (store, _):
        assert values(store, "wage_record.person_id") == ["A00000001", "A00000002"]


def test_two_files_whose_names_leave_their_order_open_are_not_loaded(tmp_path: Path) -> None:
    people = write_people(tmp_path, "A00000001")
    for name, cents in (("w_2018_orig.txt", "500000"), ("w_2018_fix.txt", "400000")):
        write_lines(tmp_path / name, lehd_line("A00000001", "5", "2018Q1", cents))
    with pytest.raises(InputError, match="is the later delivery is not clear"), loaded(tmp_path, {"w": WAGES}, people):
        pass
    listed = msgspec.structs.replace(WAGES, file=("w_2018_orig.txt", "w_2018_fix.txt"))
    with loaded(tmp_path, {"w": listed}, people) as (store, _):
        assert values(store, "wage_record.wages") == ["4000.00"]


def test_another_option_or_layout_reads_the_files_again(tmp_path: Path) -> None:
    people = write_people(tmp_path, "A00000001")
    write_lines(tmp_path / "w_1.txt", lehd_line("A00000001", "5", "2018Q1", "5000"))
    with loaded(tmp_path, {"w": WAGES}, people) as (store, _):
        assert values(store, "wage_record.wages") == ["50.00"]
    dollars = Source(layout="us-ui-wages", file="w_*.txt", options={"unit": "dollars"})
    with loaded(tmp_path, {"w": dollars}, people) as (store, _):
        assert values(store, "wage_record.wages") == ["5000.00"]


def test_hashed_identifiers_are_netted_over_deliveries_and_nowhere_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_EVAL_KEY", KEY)
    write_csv(tmp_path / "pirl.csv", [{"PIRL100": "X1", "PIRL900": "20180501", "PIRL1300": "1", "PIRL1303": "06"}])
    write_csv(tmp_path / "ids.csv", [{"PIRL100": "X1", "SSN": "730-41-1001"}])
    write_lines(tmp_path / "w_1.txt", lehd_line("730411001", "5", "2018Q1", "500000"))
    write_lines(tmp_path / "w_2.txt", lehd_line("730411001", "5", "2018Q1", "-100000"))
    pirl = Source(layout="us-pirl", file="pirl.csv", crosswalk=Crosswalk(file="ids.csv"))
    with loaded(tmp_path, {"pirl": pirl, "w": WAGES}, identifiers="hmac") as (store, _):
        assert values(store, "wage_record.wages") == ["4000.00"]
        assert values(store, "enrolment.person_id") == values(store, "wage_record.person_id")
    content = (tmp_path / "store.duckdb").read_bytes()
    assert b"730411001" not in content
    assert b"730-41-1001" not in content


def test_refused_rows_that_are_tolerated_keep_their_raw_line(tmp_path: Path) -> None:
    people = write_people(tmp_path, "A00000001", "A00000002")
    write_lines(
        tmp_path / "w_1.txt",
        lehd_line("A00000001", "5", "2018Q1", "500000"),
        "",
        lehd_line("A00000002", "5", "2018Q1", "5x0000"),
    )
    with loaded(tmp_path, {"w": WAGES}, people, tolerate=0.5) as (store, reports):
        assert reports[-1].rows_rejected == 1
        [reject] = store.rejects().itertuples()
        assert (reject.file, reject.line, reject.column, reject.rule) == ("w_1.txt", 3, "wages", "layout")
        assert "positions 77-86" in reject.message
        assert store.con.execute("SELECT _record FROM archive.refused").fetchall() == [(3,)]
        facts = dict(store.con.execute("SELECT what, records FROM imports WHERE layout = 'us-ui-wages'").fetchall())
        assert facts == {"in": 2, "records": 2, "stored": 1, "refused": 1}


def test_no_message_or_report_names_a_person(tmp_path: Path) -> None:
    row = {"PIRL100": "zqid001", "PIRL200": "1975x315", "PIRL201": "7", "PIRL900": "2018x501", "PIRL1300": "1",
           "PIRL1301": "zqprovider", "PIRL1303": "06", "COUNTY": "zqcounty"}  # fmt: skip
    write_csv(tmp_path / "pirl.csv", [row, {**row, "PIRL100": "zqid002", "PIRL201": "Zqname Jones"}])
    said: list[str] = []
    with (
        pytest.raises(InputError) as caught,
        loaded(tmp_path, {"s": Source(layout="us-pirl", file="pirl.csv")}, say=said),
    ):
        pass
    with Store.open(tmp_path / "store.duckdb", frequency="quarter") as store:
        rejects = store.rejects().to_csv()
    assert "PIRL201" in str(caught.value)
    assert "2018x501" in rejects
    for text in (str(caught.value), "\n".join(said), rejects):
        assert "zqid" not in text
        assert "1975x315" not in text
        assert "Jones" not in text


def test_a_person_of_two_sources_is_as_the_first_one_says(tmp_path: Path) -> None:
    write_csv(tmp_path / "pirl.csv", [{"PIRL100": "X1", "PIRL201": "1", "PIRL900": "20180501", "PIRL1300": "0"}])
    write_csv(tmp_path / "wp.csv", [{"SSN": who, "REG_DATE": "05/01/2018", "SEX": "F"} for who in ("X1", "X2")])
    sources = {
        "pirl": Source(layout="us-pirl", file="pirl.csv"),
        "wp": Source(layout="us-wagner-peyser", file="wp.csv"),
    }
    for _ in range(2):
        with loaded(tmp_path, sources) as (store, _reports):
            found = store.con.execute("SELECT person_id, sex FROM person ORDER BY ALL").fetchall()
            assert found == [("X1", "male"), ("X2", "female")]


# ---- the same figures in plain Python ----------------------------------------------------------------------------


def test_netted_wages_equal_those_of_a_plain_loop(tmp_path: Path) -> None:
    rng, everyone = random.Random(11), [f"A{number:08d}" for number in range(40)]
    people = write_people(tmp_path, *everyone[:30])
    expected: dict[tuple[str, str, str], Decimal] = {}
    for place in range(3):
        lines: list[tuple[str, str, str, int]] = []
        for _ in range(300):
            key = (rng.choice(everyone), str(rng.randrange(1, 4)), f"2018Q{rng.randrange(1, 5)}")
            lines.append((*key, rng.randrange(100_000, 900_000)))
            if rng.random() < 0.1:
                lines.append(lines[-1])
            if rng.random() < 0.1 and place:
                lines.append((*key, -rng.randrange(1_000, 50_000)))
        known = sorted(set(expected) - {line[:3] for line in lines})
        lines += [(*key, -rng.randrange(100, 5_000)) for key in rng.sample(known, min(10, len(known)))]
        rng.shuffle(lines)
        write_lines(tmp_path / f"w_{place}.txt", *(lehd_line(who, firm, when, str(cents))
                                                   for who, firm, when, cents in lines))  # fmt: skip
        by_key: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for who, firm, when, cents in dict.fromkeys(lines):  # exact duplicates count once
            if who in everyone[:30]:
                by_key[who, firm, when].append(cents)
        for key, amounts in by_key.items():
            positive = [cents for cents in amounts if cents >= 0]
            start = Decimal(sum(positive)) / 100 if positive else expected[key]
            expected[key] = start + Decimal(sum(cents for cents in amounts if cents < 0)) / 100
    with loaded(tmp_path, {"w": WAGES}, people) as (store, _):
        quarter = "period // 4 || 'Q' || (period % 4 + 1)"
        found = store.con.execute(f"SELECT person_id, employer_id, {quarter}, wages FROM wage_record").fetchall()
    assert {(who, firm.lstrip("0"), when): pay for who, firm, when, pay in found} == expected


@pytest.mark.parametrize("frequency", ["month", "quarter", "year"])
def test_spells_equal_those_of_a_loop_over_days(tmp_path: Path, frequency: str) -> None:
    rng, rows = random.Random(5), []
    expected: dict[tuple[str, int, str], Decimal] = defaultdict(Decimal)
    for person in range(12):
        for _ in range(6):
            begin = date(2018, 1, 1) + timedelta(days=rng.randrange(900))
            end = begin + timedelta(days=rng.randrange(200))
            firm, daily = str(rng.randrange(3)), Decimal(rng.randrange(2_000, 20_000)) / 100
            rows.append({"persnr": f"P{person}", "betnr": firm, "begepi": begin.isoformat(), "endepi": end.isoformat(),
                         "erwstat": rng.choice("12"), "tentgelt": str(daily), "isco": "9333"})  # fmt: skip
            day = begin
            while day <= end:
                period = {"month": day.year * 12 + day.month - 1, "quarter": day.year * 4 + (day.month - 1) // 3,
                          "year": day.year}[frequency]  # fmt: skip
                expected[f"P{person}", period, firm] += daily
                day += timedelta(days=1)
    write_csv(tmp_path / "spells.csv", rows, ";")
    people = write_people(tmp_path, *(f"P{person}" for person in range(12)))
    source = Source(layout="spell-register", file="spells.csv")
    with loaded(tmp_path, {"s": source}, people, frequency=frequency) as (store, _):
        found = store.con.execute("SELECT person_id, period, employer_id, wages FROM wage_record").fetchall()
    assert {(who, when, firm): pay for who, when, firm, pay in found} == dict(expected)


# ---- layouts as untrusted text -----------------------------------------------------------------------------------


def own_layout(folder: Path, **changed: str) -> Path:
    """Write a layout of a study's own, with some of its lines changed."""
    parts = {"names": '["id"]', "field": "", "columns": 'person_id = "id"', "more": ""} | changed
    path = folder / "own.toml"
    path.write_text(
        f'name = "own"\ntitle = "T"\norigins = [{{title = "O"}}]\n[fields.id]\nnames = {parts["names"]}\n'
        f'required = true\n[fields.sex]\nnames = ["sex"]\n{parts["field"]}\n[records.person]\n{parts["more"]}\n'
        f"[records.person.columns]\n{parts['columns']}\n",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"field": 'sql = "DROP TABLE loads"'}, "the layout does not hold"),
        ({"columns": 'person_id = "nobody"'}, "a record refers to a field that the layout does not declare"),
        ({"columns": 'person_id = "id"\nnothing = "id"'}, "unknown column of person 'nothing'"),
        ({"field": 'date = ["%Y; DROP"]'}, "the layout does not hold"),
        ({"field": 'element = "1"'}, "an element needs [file] spellings"),
        ({"field": 'lookup = "../../etc/passwd"'}, "a lookup is the name of a reference table, without .csv"),
        ({"field": 'number = "plain"\nrecode = {a = "b"}'}, "a field is a date, a number or a code"),
        ({"columns": 'person_id = {field = "id", part = "year"}'}, "column person_id: the year is that of a date"),
        ({"more": 'one_per = ["age"]'}, "columns that the record does not have: age"),
        ({"columns": 'person_id = {field = "id", text = "x"}'}, "column person_id: exactly one of"),
        ({"more": "repeat = 1000"}, "the layout does not hold"),
        ({"field": f"missing = {'[' * 50}{']' * 50}"}, "the layout is not valid TOML"),
        ({"columns": 'person_id = "$choice"'}, "unknown option '$choice'"),
    ],
)
def test_what_no_layout_can_say(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    own_layout(tmp_path, **changed)
    write_csv(tmp_path / "raw.csv", [{"id": "P1", "sex": "1"}])
    with pytest.raises(InputError) as caught, loaded(tmp_path, {"s": Source(layout="own.toml", file="raw.csv")}):
        pass
    assert str(caught.value).startswith(message), str(caught.value)


def test_texts_of_a_layout_and_of_a_header_are_never_run(tmp_path: Path) -> None:
    evil = "x' || (SELECT 1/0) || '\"; DROP TABLE loads; --"
    own_layout(
        tmp_path,
        names=json.dumps([evil]),
        field=f'recode = {{{json.dumps(evil)} = "female", "1" = "male"}}\nmissing = [{json.dumps(evil + "m")}]',
        columns='person_id = "id"\nsex = "sex"\nregion = {text = ' + json.dumps("R' || 1 || '") + "}",
    )
    write_csv(tmp_path / "raw.csv", [{evil: "P1", "sex": evil}, {evil: "P2", "sex": evil + "m"}])
    with loaded(tmp_path, {"s": Source(layout="own.toml", file="raw.csv")}) as (store, _):
        rows = store.con.execute("SELECT person_id, sex, region FROM person ORDER BY ALL").fetchall()
        assert rows == [("P1", "female", "R' || 1 || '"), ("P2", None, "R' || 1 || '")]


def test_a_reference_table_translates_codes_and_what_it_lacks_is_missing_and_counted(tmp_path: Path) -> None:
    own_layout(tmp_path, field='lookup = "regions"', columns='person_id = "id"\nregion = "sex"')
    table = tmp_path / "regions.csv"
    table.write_text("# a source\ncode,region\n01,North\n02,South\n", encoding="utf-8")
    write_csv(tmp_path / "raw.csv", [{"id": f"P{i}", "sex": code} for i, code in enumerate(("01", "02", "03", ""))])
    said: list[str] = []
    with loaded(tmp_path, {"s": Source(layout="own.toml", file="raw.csv")}, say=said) as (store, _):
        assert values(store, "person.region") == ["-", "-", "North", "South"]
        assert any("01 → North (1), 02 → South (1), codes that are not listed (1)" in line for line in said)
    table.write_text("code,region\n01,North\n03,East\n", encoding="utf-8")  # another table reads the file again
    with loaded(tmp_path, {"s": Source(layout="own.toml", file="raw.csv")}) as (store, _):
        assert values(store, "person.region") == ["-", "-", "East", "North"]
    table.write_text("code,region\n01,North\n01,East\n", encoding="utf-8")
    with (
        pytest.raises(InputError, match="a row of the reference table does not hold"),
        loaded(tmp_path, {"s": Source(layout="own.toml", file="raw.csv")}),
    ):
        pass


def test_an_option_that_does_not_exist_and_a_value_that_it_cannot_have(tmp_path: Path) -> None:
    path = shipped_layouts()["us-ui-wages"]
    with pytest.raises(InputError, match="unknown option of the layout us-ui-wages 'units'"):
        read_layout(path, {"units": "cents"})
    with pytest.raises(InputError, match="unknown value of the option unit 'pennies'"):
        read_layout(path, {"unit": "pennies"})
    with (
        pytest.raises(InputError, match="unknown layout 'us-wages'"),
        loaded(tmp_path, {"w": Source(layout="us-wages", file="x")}),
    ):
        pass


@pytest.mark.parametrize("name", sorted(shipped_layouts()))
def test_every_layout_names_its_public_source_and_explains_its_options(name: str) -> None:
    layout = read_shipped(shipped_layouts()[name])
    assert layout.name == name
    assert all(origin.title and origin.licence for origin in layout.origins)
    assert any(origin.address.startswith("https://") for origin in layout.origins)
    assert all(option.says.strip() for option in layout.options.values())


def test_the_steps_print_and_run_alone(tmp_path: Path) -> None:
    write_csv(tmp_path / "raw.csv", [{"id": "P1", "sex": "1"}])
    own_layout(tmp_path, field='recode = {"1" = "male"}', columns='person_id = "id"\nsex = "sex"')
    source = Source(layout="own.toml", file="raw.csv")
    with open_sources(tmp_path, {"s": source}, load_package(resource("data_schemas"))) as opened:
        [file] = opened.files
        making = Making(
            file.layout, "person", find_fields(file.layout, file.raw, {}), file.raw, "quarter", ("person_id",)
        )
        steps = LayoutSteps(making)
        con = duckdb.connect()
        con.execute("CREATE TEMP TABLE repeated AS SELECT 1 AS _line, false AS _ragged, false AS _unmatched, 0 AS _i, "
                    "'P1' AS id, unnest(['1', '2']) AS sex")  # fmt: skip
        read = steps.relation("read", con, ["_layout_raw", "lines", "translated", "repeated"])
        assert read.project("_v_sex").fetchall() == [("male",), (None,)]
        assert "-- Return a row with the value of each field" in str(steps)


# ---- the command -------------------------------------------------------------------------------------------------


def new_study(folder: Path) -> Path:
    study = folder / "study"
    study.mkdir()
    (study / "study.toml").write_text(
        '[study]\nname = "x"\ntitle = "T"\nquestion = "Q"\ndata = "D"\nfrequency = "quarter"\n\n'
        '[records]\nperson = "person.csv"\n', encoding="utf-8")  # fmt: skip
    (study / "run.py").write_text("def analyse(run):\n    pass\n", encoding="utf-8")
    write_people(study, "A00000001")
    write_lines(study / "w_1.txt", lehd_line("A00000001", "5", "2018Q1", "500000"))
    return study


def test_import_reports_stores_and_enters_the_source(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    command = ["import", str(study), "us-ui-wages", str(study / "w_1.txt"), "--option", "unit=cents", "--json"]
    dry = CliRunner().invoke(app, [*command, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    facts = json.loads(dry.output)
    assert any("1 row (5,000.00)" in line for line in facts["report"])
    assert not read_study(study).sources
    assert not (study / "store" / "study.duckdb").exists()
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    [(name, source)] = read_study(study).sources.items()
    assert (name, source.layout, source.file) == ("us_ui_wages", "us-ui-wages", "w_1.txt")
    assert source.options == {"unit": "cents"}
    with Study.open(study).ingest() as store:
        assert values(store, "wage_record.wages") == ["5000.00"]
        assert store.vintage == 1


def test_import_changes_nothing_where_a_line_is_refused(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    write_lines(study / "w_1.txt", lehd_line("A00000001", "5", "2018Q1", "5x0000"))
    before = (study / "study.toml").read_text()
    done = CliRunner().invoke(
        app, ["import", str(study), "us-ui-wages", str(study / "w_1.txt"), "--option", "unit=cents"]
    )
    assert done.exit_code == 1
    assert (study / "study.toml").read_text() == before
    assert "w_1.txt" in (study / "store" / "refusals.csv").read_text()


def test_import_lists_layouts() -> None:
    listed = CliRunner().invoke(app, ["import", "--list"])
    assert all(name in listed.output for name in shipped_layouts())
    one = CliRunner().invoke(app, ["import", "--list", "us-ui-wages"])
    assert "positions 77-86" in one.output
    assert "bls.gov" in one.output


def test_the_hash_of_a_study_without_sources_is_what_it_was(tmp_path: Path) -> None:
    study = read_study(new_study(tmp_path))
    stated = msgspec.to_builtins(study)
    del stated["sources"]
    canonical = json.dumps(stated, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert study.sha256() == hashlib.sha256(canonical.encode()).hexdigest()
    another = msgspec.structs.replace(study, sources={"w": WAGES})
    assert another.sha256() != study.sha256()


def test_one_file_in_sas_format(tmp_path: Path) -> None:
    pyreadstat = pytest.importorskip("pyreadstat")
    import pandas as pd

    frame = pd.DataFrame(
        {"SSN": ["A00000001"], "account": [5.0], "year": [2018.0], "quarter": [1.0], "wage": [500000.0]}
    )
    pyreadstat.write_xport(frame, str(tmp_path / "w_1.xpt"), file_format_version=5)
    source = Source(layout="us-ui-wages", file="w_1.xpt", options={"unit": "cents"})
    with loaded(tmp_path, {"w": source}, write_people(tmp_path, "A00000001")) as (store, _):
        assert values(store, "wage_record.wages") == ["5000.00"]
