"""Tables, rules and dictionary follow from the schemas; a schema that does not hold is refused."""

from __future__ import annotations

import copy
import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.errors import InputError
from retrain_eval.resources import resource
from retrain_eval.schemas import Package, checks, ddl, dictionary, load_package, typed

ROOT = Path(__file__).parents[1]
STUDIES = [ROOT / "analyses" / name / "data_schemas" for name in ("training_grants", "joblessness")]
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


def test_every_rule_runs_and_none_refuses_a_missing_optional_value(package: Package) -> None:
    with duckdb.connect() as con:
        for item in package:
            nothing = ", ".join(f"NULL::VARCHAR AS {column}" for column in item.columns)
            for check in checks(item):
                broken = con.execute(f"SELECT {check.condition} FROM (SELECT {nothing})").fetchall()[0][0]
                assert bool(broken) == (check.rule == "required"), check


def accepted(field_type: str, text: str, **more: Any) -> tuple[bool, object]:
    """Say whether a text passes the rules of a field, and what it becomes."""
    schema = copy.deepcopy(SCHEMA)
    schema["fields"][1] = {"name": "amount", "type": field_type, "title": "A", "description": "A.", **more}
    item = _read(schema)
    broken = [f"coalesce({check.condition}, false)" for check in checks(item) if check.column == "amount"]
    sql = f"SELECT NOT ({' OR '.join(broken)}), {typed(item.fields[1])} FROM (SELECT $1 AS amount)"
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
        (changed(field={"description": ""}), "description"),
        (changed(field={"name": "Amount Paid"}), r"fields\[1\].name"),
        (changed(field={"name": "key"}), "each with a name of its own"),
        (changed(field={"constraints": {"minimum": "a"}}), "bound does not suit"),
        (changed(field={"constraints": {"enum": ["a"]}}), "enum value does not suit"),
        (changed(field={"constraints": {"pattern": "a"}}), "do not suit"),
        (changed(field={"type": "string", "constraints": {"pattern": "("}}), "not a regular expression"),
        (changed(field={"precision": 12}), "go together"),
        (changed(field={"precision": 2, "scale": 3}), "exceeds"),
        (changed(primaryKey=["kee"]), "did you mean 'key'"),
        (changed(fieldsMatch="exact"), "exact"),
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
    ],
)
def test_schema_that_does_not_hold_is_refused_by_name(tmp_path: Path, schema: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_package(write(tmp_path / "schemas", thing=schema))
    assert "thing.json" in str(caught.value)


def test_record_types_are_declared_once_and_not_under_a_name_of_the_store(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", thing=SCHEMA), write(tmp_path / "two", thing=SCHEMA)
    with pytest.raises(InputError, match="declared twice"):
        load_package(one, two)
    with pytest.raises(InputError, match="cannot be called 'rejects'"):
        load_package(write(tmp_path / "three", rejects=SCHEMA))
    with pytest.raises(InputError, match="cannot be called 'Thing'"):
        load_package(write(tmp_path / "four", Thing=SCHEMA))


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
