"""Tables, rules and dictionary follow from the schemas; a schema that does not hold is refused."""

from __future__ import annotations

import copy
import importlib
import json
import pkgutil
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrain_eval.panel
from places import ROOT
from retrain_eval.common.errors import InputError
from retrain_eval.common.periods import BOUNDS, FREQUENCIES, parse_period
from retrain_eval.common.resources import resource
from retrain_eval.common.sql_steps import Pipeline, Step
from retrain_eval.records.identifiers import use_key
from retrain_eval.records.schema.dictionary import Package, Reading, checks, ddl, dictionary, load_package, typed
from retrain_eval.records.schema.table_schema import RESERVED
from retrain_eval.records.store import Store

STUDIES = [ROOT / "analyses" / name / "data_schemas" for name in ("training_grants", "joblessness")]
READINGS = [Reading(), *map(Reading, FREQUENCIES), Reading("quarter", hashed=True)]
SCHEMA: dict[str, Any] = {
    "fieldsMatch": "superset",
    "fields": [
        {"name": "key", "type": "string", "title": "Key", "description": "A key."},
        {"name": "amount", "type": "number", "title": "Amount", "description": "An amount."},
    ],
    "primaryKey": ["key"],
}


@pytest.fixture(scope="module")
def package() -> Package:
    return load_package(resource("data_schemas"), *STUDIES)


def write(folder: Path, **schemas: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, schema in schemas.items():
        text = schema if isinstance(schema, str) else json.dumps(schema)
        (folder / f"{name}.json").write_text(text)
    return folder


def test_shipped_and_study_schemas_load_in_order_of_reference(package: Package) -> None:
    records = load_package(resource("data_schemas")).names
    assert records[:3] == ["person", "displacement", "programme"]
    assert package.names == [*records, "firm_year", "spell"]


def test_dictionary_describes_every_column(package: Package) -> None:
    frame = dictionary(package)
    assert list(frame.columns) == [
        "resource",
        "column",
        "title",
        "type",
        "unit",
        "required",
        "constraints",
        "description",
    ]
    assert len(frame) == sum(len(item.fields) for item in package)
    assert frame["description"].str.endswith(".").all()
    numbers = frame[frame["type"].isin(["integer", "number"])]
    assert (numbers["unit"] != "").all()
    wages = frame.set_index(["resource", "column"]).loc[("wage_record", "wages")]
    assert wages["required"]
    assert wages["constraints"] == "at least 0; at most 2 decimals"


def test_dictionary_says_of_every_common_column_that_may_be_missing_what_that_means() -> None:
    common = load_package(resource("data_schemas"))
    frame = dictionary(common)
    optional = frame[~frame["required"]]
    assert optional["description"].str.contains("[Mm]issing ").all()
    assert all(item.description.count(".") == 1 and item.description.endswith(".") for item in common)


def test_dictionary_words() -> None:
    words = dictionary(load_package(resource("data_schemas"))).set_index(["resource", "column"])["constraints"]
    assert words["price", "cpi"] == "above 0"
    assert words["employer_link", "share"] == "at most 1; above 0"
    assert words["employer_link", "from_employer_id"].startswith(
        "primary key (from_employer_id, to_employer_id, period); differs from to_employer_id"
    )
    assert words["enrolment", "exit"] == "a period; not before entry"
    assert words["enrolment", "start"] == "not after end"
    assert "no social-security number" in words["person", "person_id"]


def test_ddl_makes_the_declared_table_with_comments(package: Package) -> None:
    with duckdb.connect() as con:
        for item in package:
            con.execute(ddl(item))
            made = con.execute(
                "SELECT column_name, data_type, is_nullable, comment FROM duckdb_columns() "
                "WHERE table_name = $1 ORDER BY column_index",
                [item.name],
            ).fetchall()
            assert made == [
                (field.name, field.sql_type, not item.required(field.name), field.description) for field in item.fields
            ]
        types = dict(con.execute("SELECT column_name, data_type FROM duckdb_columns()").fetchall())
    assert types["period"] == "INTEGER"
    assert types["wages"] == "DECIMAL(12,2)"


def test_ddl_makes_another_table_with_columns_before_the_declared_ones(package: Package) -> None:
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA archive")
        con.execute(ddl(package["price"], 'archive."price_1"', ("_load INTEGER NOT NULL", "_record BIGINT NOT NULL")))
        assert con.table("archive.price_1").columns == ["_load", "_record", *package["price"].columns]


@pytest.mark.parametrize("reading", READINGS, ids=str)
def test_every_rule_runs_and_none_refuses_a_missing_optional_value(package: Package, reading: Reading) -> None:
    with duckdb.connect() as con:
        use_key(con, b"a key for the tests")
        for item in package:
            nothing = ", ".join(f"NULL::VARCHAR AS {column}" for column in item.columns)
            for check in checks(item, reading):
                [(broken, value)] = con.execute(
                    f"SELECT {check.condition}, {check.value} FROM (SELECT {nothing})"
                ).fetchall()
                assert bool(broken) == (check.rule == "required"), check
                assert value in (None, "(withheld)", "(withheld), (withheld)")


def test_every_person_id_is_an_identifier_and_every_period_a_period(package: Package) -> None:
    for item in package:
        for field in item.fields:
            assert field.identifier == (field.name == "person_id")
            assert (field.format == "period") == (field.name in ("period", "entry", "exit", "from", "to")), (
                item.name,
                field.name,
            )


def test_names_of_the_store_s_own_tables_are_reserved() -> None:
    made = re.compile(
        r"CREATE (?:OR REPLACE )?(?:TEMP )?(?:TABLE|VIEW)(?: IF NOT EXISTS)? (?:temp\.|archive\.)?([a-z]\w*)"
    )
    # the rooms whose tables have fixed names in a store
    rooms = [ROOT / "src/retrain_eval" / room for room in ("records", "records/loading", "records/schema", "panel")]
    files = [file for room in rooms for file in room.glob("*.py")]
    names = {name for file in files for name in made.findall(file.read_text(encoding="utf-8"))}
    names |= {one.name for one in made_by_steps() if one.makes == "TABLE"}
    records = {*load_package(resource("data_schemas")).names}  # in examples
    assert names > {"loads", "rejects", "panel", "job", "spells"}
    assert names - records <= {*RESERVED}


def test_a_temporary_table_of_a_step_has_a_name_that_no_record_type_can_have(tmp_path: Path) -> None:
    temporary = {one.name for one in made_by_steps() if one.makes == "TEMP TABLE"}
    assert temporary > {"_panel_person", "_coverage_gaps", "_employer_run"}
    assert all(name.startswith("_") for name in temporary)
    with pytest.raises(InputError, match="cannot be called '_panel_person'"):
        load_package(write(tmp_path / "schemas", _panel_person=SCHEMA))


def made_by_steps() -> list[Step]:
    """Return the steps of the room `panel` that make a table."""
    for module in pkgutil.iter_modules(retrain_eval.panel.__path__, "retrain_eval.panel."):
        importlib.import_module(module.name)
    pipelines = [one for one in Pipeline.__subclasses__() if one.__module__.startswith("retrain_eval.panel.")]
    return [one for pipeline in pipelines for one in pipeline.steps if one.makes]


def accepted(field_type: str, text: str, reading: Reading = READINGS[0], **more: Any) -> tuple[bool, object]:
    """Say whether a text passes the rules of a field, and what it becomes."""
    schema = copy.deepcopy(SCHEMA)
    schema["fields"][1] = {"name": "amount", "type": field_type, "title": "A", "description": "A.", **more}
    item = _read(schema)
    broken = [f"coalesce({check.condition}, false)" for check in checks(item, reading) if check.column == "amount"]
    sql = f"SELECT NOT ({' OR '.join(broken)}), {typed(item.fields[1], reading)} FROM (SELECT $1 AS amount)"
    with duckdb.connect() as con:
        [row] = con.execute(sql, [text]).fetchall()
    return row


def _read(schema: dict[str, Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return load_package(write(Path(folder), thing=schema))["thing"]


numerals = st.from_regex(r"[+-]?[0-9]{1,5}(\.[0-9]{0,4})?(e[0-3])?", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(numerals)
def test_whole_numbers_are_kept_or_refused_but_never_rounded(text: str) -> None:
    number = Decimal(text)
    assert accepted("integer", text)[0] == (number == number.to_integral_value())
    if number == number.to_integral_value():
        assert accepted("integer", text)[1] == int(number)


@settings(max_examples=60, deadline=None)
@given(numerals)
def test_money_is_kept_or_refused_but_never_rounded(text: str) -> None:
    number = Decimal(text)
    fits = number == number.quantize(Decimal("0.01"))
    passed, value = accepted("number", text, precision=12, scale=2)
    assert passed == fits
    if fits:
        assert value == number


@pytest.mark.parametrize(
    ("field_type", "text", "passes"),
    [
        ("date", "2024-02-29", True),
        ("date", "2023-02-29", False),
        ("date", "2024-2-9", False),
        ("date", "29.02.2024", False),
        ("date", "2024-02-29 00:00:00", True),
        ("date", "2024-02-29 10:00:00", False),
        ("date", "infinity", False),
        ("year", "1978", True),
        ("year", "1978.5", False),
        ("boolean", "TRUE", True),
        ("boolean", "yes", False),
        ("number", "1.5e3", True),
        ("number", "1,5", False),
        ("number", "NaN", False),
        ("integer", "99999999999999999999", False),
        ("integer", "٣", False),
    ],
)
def test_types(field_type: str, text: str, passes: bool) -> None:
    assert accepted(field_type, text)[0] is passes


@pytest.mark.parametrize(
    ("text", "plain", "year", "quarter", "month", "week"),
    [
        ("2019Q1", 8076, None, 8076, None, None),
        ("2019-Q4", 8079, None, 8079, None, None),
        ("8076", 8076, None, 8076, None, 8076),
        ("1978", 1978, 1978, None, None, 1978),
        ("1978.0", 1978, 1978, None, None, 1978),
        ("1900Q1", 7600, None, 7600, None, None),
        ("2100Q4", 8403, None, 8403, None, None),
        ("1899Q4", None, None, None, None, None),
        ("2101Q1", None, None, None, None, None),
        ("0475Q1", None, None, None, None, None),
        ("2019Q0", None, None, None, None, None),
        ("2019Q11", None, None, None, None, None),
        ("2019q1", None, None, None, None, None),
        ("2019-03", 24230, None, None, 24230, None),
        ("2019M03", 24230, None, None, 24230, None),
        ("2019-M03", 24230, None, None, 24230, None),
        ("201903", 24230, None, None, 24230, None),
        ("24230", 24230, None, None, 24230, 24230),
        ("2019-12", 24239, None, None, 24239, None),
        ("1900-01", 22800, None, None, 22800, None),
        ("2100-12", 25211, None, None, 25211, None),
        ("2019-13", None, None, None, None, None),
        ("2019-00", None, None, None, None, None),
        ("201913", None, None, None, None, None),
        ("2019-3", None, None, None, None, None),
        ("2019M3", None, None, None, None, None),
        ("2019/03", None, None, None, None, None),
        ("Mar 2019", None, None, None, None, None),
        ("201903.0", None, None, None, None, None),
        ("1", 1, None, None, None, 1),
        ("104", 104, None, None, None, 104),
        ("0", None, None, None, None, None),
        ("99999", 99999, None, None, None, 99999),
        ("100000", None, None, None, None, None),
        ("2019-W03", None, None, None, None, None),
        ("Q1 2019", None, None, None, None, None),
        ("٢٠١٩Q1", None, None, None, None, None),
        ("٢٠١٩-03", None, None, None, None, None),
        ("-8076", None, None, None, None, None),
        ("8076.5", None, None, None, None, None),
        ("99999999999", None, None, None, None, None),
        ("x", None, None, None, None, None),
    ],
)
def test_periods(
    text: str, plain: int | None, year: int | None, quarter: int | None, month: int | None, week: int | None
) -> None:
    stored = {None: plain, "year": year, "quarter": quarter, "month": month, "week": week, "two-week interval": week}
    for frequency, expected in stored.items():
        passed, value = accepted("integer", text, Reading(frequency), format="period")
        assert (passed, value if passed else None) == (expected is not None, expected), frequency
        if "." not in text:  # a study file writes periods as files do
            assert parsed(text, frequency) == expected, frequency


def parsed(text: str, frequency: str | None) -> int | None:
    try:
        found = parse_period(text, frequency)
    except InputError:
        return None
    low, high = BOUNDS[frequency or "week"]  # nothing is known of a number without a frequency
    return found if low <= found <= high else None


@settings(max_examples=40, deadline=None)
@given(st.integers(1900, 2100), st.integers(1, 12), st.sampled_from(["{}-{:02}", "{}M{:02}", "{}{:02}", "{}-M{:02}"]))
def test_months_are_read_as_they_are_stored(year: int, month: int, written: str) -> None:
    assert accepted("integer", written.format(year, month), Reading("month"), format="period") == (
        True,
        year * 12 + month - 1,
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1900, 2100), st.integers(1, 4), st.sampled_from(["", "-"]))
def test_quarters_are_read_as_they_are_stored(year: int, quarter: int, mark: str) -> None:
    more: dict[str, Any] = {"format": "period", "constraints": {"minimum": 1900, "maximum": 8403}}
    stored = year * 4 + quarter - 1
    assert accepted("integer", f"{year}{mark}Q{quarter}", Reading("quarter"), **more) == (True, stored)
    assert accepted("integer", str(stored), Reading("quarter"), **more) == (True, stored)
    assert accepted("integer", f"{year}{mark}Q{quarter}", Reading("year"), **more)[0] is False


def test_a_narrower_bound_on_periods_holds() -> None:
    more: dict[str, Any] = {"format": "period", "constraints": {"minimum": 8000, "maximum": 8100}}
    for text, passes in (("1999Q4", False), ("2000Q1", True), ("8100", True), ("8101", False)):
        assert accepted("integer", text, Reading("quarter"), **more)[0] is passes


@pytest.mark.parametrize(
    ("text", "passes"), [("0", False), ("1e-9", True), ("0.999", True), ("1", False), ("nan", False), ("-inf", False)]
)
def test_exclusive_bounds(text: str, passes: bool) -> None:
    limits = {"exclusiveMinimum": 0, "exclusiveMaximum": 1}
    assert accepted("number", text, constraints=limits)[0] is passes


def test_what_is_not_finite_breaks_no_bound() -> None:
    schema = changed(field={"constraints": {"minimum": 0, "maximum": 1}})
    with duckdb.connect() as con:
        for text in ("nan", "inf", "-inf"):
            broken = [
                check.rule
                for check in checks(_read(schema))
                if con.execute(f"SELECT {check.condition} FROM (SELECT 'k' AS key, $1 AS amount)", [text]).fetchall()
                == [(True,)]
            ]
            assert broken == ["finite"]


def test_identifiers_that_are_compared_are_not_shown() -> None:
    fields = [
        {"name": name, "type": "string", "title": "P", "description": "P.", "identifier": True} for name in ("a", "b")
    ]
    item = _read({"fieldsMatch": "superset", "fields": fields, "distinct": [["a", "b"]]})
    rows = "(SELECT $1 AS a, $2 AS b)"
    with duckdb.connect() as con:
        use_key(con, b"a key for the tests")
        [plain] = [check for check in checks(item) if check.rule == "distinct"]
        [hashed] = [check for check in checks(item, Reading(hashed=True)) if check.rule == "distinct"]
        seen = [
            con.execute(f"SELECT {check.condition}, {check.value} FROM {rows}", [first, second]).fetchall()[0]
            for check, first, second in (
                (plain, "P1", "P1"),
                (plain, "123456789", "123456789"),
                (plain, "123456789", "123-45-6789"),
                (hashed, "123456789", "123-45-6789"),
                (hashed, "P1", "P2"),
            )
        ]
    assert seen == [
        (True, "(withheld), (withheld)"),
        (True, "(withheld), (withheld)"),
        (False, "(withheld), (withheld)"),
        (True, "(withheld), (withheld)"),
        (False, "(withheld), (withheld)"),
    ]


def changed(**changes: Any) -> dict[str, Any]:
    schema = copy.deepcopy(SCHEMA)
    for path, value in changes.items():
        place = schema if path != "field" else schema["fields"][1]
        place.update(value if path == "field" else {path: value})
    return schema


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{", "does not hold"),
        ("[]", "does not hold"),
        (changed(field={"type": "money"}), "money"),
        (changed(field={"contraints": {}}), "contraints"),
        (changed(field={"constraints": {"min": 0}}), "unknown field `min`"),
        (changed(field={"name": "Amount Paid"}), r"fields\[1\].name"),
        (changed(field={"name": "key"}), "each with a name of its own"),
        (changed(field={"constraints": {"minimum": "a"}}), "bound does not suit"),
        (changed(field={"constraints": {"enum": ["a"]}}), "enum value does not suit"),
        (changed(field={"constraints": {"pattern": "a"}}), "do not suit"),
        (changed(field={"type": "string", "constraints": {"pattern": "("}}), "not a regular expression"),
        (changed(field={"precision": 12}), "go together"),
        (changed(field={"precision": 2, "scale": 3}), "exceeds"),
        (changed(primaryKey=["kee"]), "did you mean 'key'"),
        (changed(fieldsMatch="subset"), "subset"),
        (changed(fields=[]), "needs fields"),
        (changed(foreignKeys=[{"fields": ["key"], "reference": {"resource": "things", "fields": ["key"]}}]), "thing"),
        (
            changed(foreignKeys=[{"fields": ["key"], "reference": {"resource": "thing", "fields": ["amount"]}}]),
            "not a key",
        ),
        (
            changed(foreignKeys=[{"fields": ["amount"], "reference": {"resource": "thing", "fields": ["key"]}}]),
            "differ in type",
        ),
        (changed(field={"format": "periods"}), "periods"),
        (changed(field={"format": "period"}), "a period is an integer"),
        (changed(field={"identifier": True}), "an identifier is a string"),
        (changed(field={"type": "string", "identifier": True, "constraints": {"enum": ["a"]}}), "not listed"),
        (changed(field={"constraints": {"exclusiveMinimum": "0"}}), "exclusiveMinimum"),
        (changed(field={"type": "date", "constraints": {"exclusiveMaximum": 0}}), "bound does not suit"),
        (changed(order=[["key"]]), "order"),
        (changed(order=[["kee", "amount"]]), "did you mean 'key'"),
        (changed(order=[["amount", "amount"]]), "compared with itself"),
        (changed(distinct=[["key", "amount"]]), "of one type"),
        (changed(field={"type": "string"}, order=[["key", "amount"]]), "have no order"),
    ],
)
def test_schema_that_does_not_hold_is_refused_by_name(tmp_path: Path, schema: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_package(write(tmp_path / "schemas", thing=schema))
    assert "thing.json" in str(caught.value)


def test_record_types_are_declared_once_and_not_under_a_name_of_the_store(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", thing=SCHEMA), write(tmp_path / "two", thing=changed(field={"unit": "USD"}))
    with pytest.raises(InputError, match="declared twice"):
        load_package(one, two)
    assert load_package(one, write(tmp_path / "copy", thing=SCHEMA)).names == ["thing"]
    with pytest.raises(InputError, match="cannot be called 'rejects'"):
        load_package(write(tmp_path / "three", rejects=SCHEMA))
    with pytest.raises(InputError, match="cannot be called 'ingest_thing'"):
        load_package(write(tmp_path / "scratch", ingest_thing=SCHEMA))
    with pytest.raises(InputError, match="cannot be called 'Thing'"):
        load_package(write(tmp_path / "four", Thing=SCHEMA))


def test_ends_of_a_reference_are_identifiers_both_or_neither(tmp_path: Path) -> None:
    study = changed(foreignKeys=[{"fields": ["key"], "reference": {"resource": "person", "fields": ["person_id"]}}])
    with pytest.raises(InputError, match="one end of a foreign key is an identifier") as refused:
        load_package(resource("data_schemas"), write(tmp_path / "a", visit=study))
    assert '"identifier": true' in str(refused.value)
    study["fields"][0]["identifier"] = True
    assert "visit" in load_package(resource("data_schemas"), write(tmp_path / "b", visit=study)).names


def test_circle_of_references_is_refused(tmp_path: Path) -> None:
    def refers(target: str) -> dict[str, Any]:
        return changed(foreignKeys=[{"fields": ["key"], "reference": {"resource": target, "fields": ["key"]}}])

    with pytest.raises(InputError, match="circle"):
        load_package(write(tmp_path / "a", one=refers("two"), two=refers("one")))
    assert load_package(write(tmp_path / "b", one=refers("two"), two=SCHEMA)).names == ["two", "one"]
    assert load_package(write(tmp_path / "c", one=refers("one"))).names == ["one"]


def test_folder_and_record_type_that_do_not_exist(tmp_path: Path, package: Package) -> None:
    with pytest.raises(InputError, match="no folder of schemas"):
        load_package(tmp_path / "none")
    with pytest.raises(InputError, match="holds no schema"):
        load_package(tmp_path)
    with pytest.raises(InputError, match="did you mean 'person'"):
        package["persons"]
    (tmp_path / "datapackage.json").write_text(
        json.dumps(
            {
                "name": "p",
                "resources": [{"name": "a", "title": "A", "description": "", "path": "a", "schema": "a.json"}],
            }
        )
    )
    with pytest.raises(InputError, match="no schema file"):
        load_package(tmp_path)


def test_schema_hash_ignores_layout_and_notices_a_change(tmp_path: Path) -> None:
    first = load_package(write(tmp_path / "a", thing=SCHEMA))["thing"]
    spaced = load_package(write(tmp_path / "b", thing=json.dumps(SCHEMA, indent=4)))["thing"]
    other = load_package(write(tmp_path / "c", thing=changed(field={"unit": "USD"})))["thing"]
    assert first.sha256 == spaced.sha256 != other.sha256


def test_what_table_schema_allows_is_accepted(tmp_path: Path) -> None:
    plain = {
        "$schema": "https://datapackage.org/profiles/2.0/tableschema.json",
        "name": "things",
        "title": "All things",
        "description": "What there is.",
        "fields": [
            {"name": "key", "type": "string", "example": "a", "rdfType": "http://schema.org/identifier"},
            {"name": "parent", "type": "string"},
        ],
        "primaryKey": "key",
        "foreignKeys": [{"fields": "parent", "reference": {"fields": "key"}}],
    }
    thing = load_package(write(tmp_path / "a", thing=plain))["thing"]
    assert (thing.title, thing.description) == ("All things", "What there is.")
    assert (thing.primary_key, thing.fields_match) == (("key",), "superset")
    assert thing.foreign_keys[0].reference.resource == "thing"
    assert [field.title for field in thing.fields] == ["Key", "Parent"]
    bare = {key: value for key, value in plain.items() if key not in ("name", "title", "description")}
    again = load_package(write(tmp_path / "b", thing={**bare, "primaryKey": ["key"], "fieldsMatch": "superset"}))
    assert again["thing"].sha256 == thing.sha256  # the same rows hold


def test_a_schema_may_ask_for_all_of_its_columns_or_for_their_order(tmp_path: Path) -> None:
    (tmp_path / "thing.csv").write_text("amount,key\n1,a\n")
    (tmp_path / "part.csv").write_text("key\na\n")
    for match, file, told in (
        ("equal", "thing", ""),
        ("superset", "part", ""),
        ("equal", "part", "column 'amount' of thing is missing"),
        ("exact", "thing", "another order"),
    ):
        package = load_package(write(tmp_path / match, thing=changed(fieldsMatch=match)))
        with Store.in_memory(package) as store:
            if told:
                with pytest.raises(InputError, match=told):
                    store.ingest("thing", tmp_path / f"{file}.csv")
            else:
                assert store.ingest("thing", tmp_path / f"{file}.csv").rows_loaded == 1


def test_an_emptied_folder_of_a_study_leaves_the_schemas_that_ship(tmp_path: Path) -> None:
    shipped = load_package(resource("data_schemas")).names
    assert load_package(resource("data_schemas"), tmp_path).names == shipped
    for name in ("person", "price"):  # a copy of some of them
        (tmp_path / f"{name}.json").write_bytes((resource("data_schemas") / f"{name}.json").read_bytes())
    write(tmp_path, thing=SCHEMA)
    assert load_package(resource("data_schemas"), tmp_path).names == [*shipped, "thing"]
    write(tmp_path, price=SCHEMA)
    with pytest.raises(InputError, match="declared twice"):
        load_package(resource("data_schemas"), tmp_path)


def test_a_schema_that_a_package_names_and_does_not_hold_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "datapackage.json").write_text('{"resources": [{"name": "a", "schema": "a.json"}]}')
    with pytest.raises(InputError, match=r"no schema file(.|\n)*drop its entry from .*datapackage.json"):
        load_package(tmp_path)
