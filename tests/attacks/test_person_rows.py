"""No person is printed by accident: not by an object at the end of a notebook cell, nor by an error.

People are planted whose identifiers, employers, names and earnings occur nowhere else, and the output of objects and
errors is searched for them. A frame, a relation or a file of people that a user asks for is not searched: it is the
people.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import retrain_eval as rte
from retrain_eval import cli
from retrain_eval.common.errors import InputError, RetrainEvalError
from retrain_eval.common.shown import described, summarised, summary
from retrain_eval.common.text.csv_lines import Part
from retrain_eval.records.linkage.quality import linkage_rates
from retrain_eval.records.store import Store
from retrain_eval.release.results import Results
from retrain_eval.study.run import Run
from retrain_eval.study.template import new_study
from retrain_eval.tables.recipe import Recipe

N = 60
IDS = [f"zqid{n:03d}" for n in range(N)]
NUMBERS = [730_411_001 + 7 * n for n in range(N)]  # identifiers that are numbers
EMPLOYERS = [f"zqfirm{n % 7}" for n in range(N)]
NAMES = [f"zqname{n:03d}" for n in range(N)]
PAY = [41_017.13 + 100 * n for n in range(N)]
CANARY = re.compile(r"zq(id|firm|name)|7304\d{5}|730[_,]4|4[1-7][_,]?\d\d7\.13")


def texts(shown: Any) -> Iterator[str]:
    """Yield everything that a console, a log and a notebook show of an object."""
    yield repr(shown)
    yield str(shown)
    yield f"{shown}"
    for name in ("_repr_html_", "_repr_markdown_", "_repr_pretty_"):
        if callable(show := getattr(shown, name, None)) and name == "_repr_html_":
            yield str(show())


def holders(found: Any, seen: dict[int, Any] | None = None) -> Iterator[Any]:
    """Yield the objects of the package that can be reached from one, through fields, sequences and mappings."""
    seen = {} if seen is None else seen
    if id(found) in seen:
        return
    seen[id(found)] = found
    if isinstance(found, Mapping):
        parts: list[Any] = list(found.values())
    elif isinstance(found, (tuple, list)):
        parts = list(found)
        if type(found).__module__.startswith("retrain_eval"):
            yield found
    elif type(found).__module__.startswith("retrain_eval") and not isinstance(found, functools.partial):
        yield found
        parts = list(getattr(found, "__dict__", {}).values())
    elif isinstance(found, functools.partial):
        yield found
        parts = [*found.args, *found.keywords.values()]
    else:
        return
    for part in parts:
        yield from holders(part, seen)


def check(found: Any) -> int:
    """Search all that can be reached from an object; return how many objects of the package these were."""
    reached = list(holders(found))
    for one in reached:
        for text in texts(one):
            hit = CANARY.search(text)
            assert hit is None, f"{type(one).__name__} shows {text[max(hit.start() - 40, 0) : hit.end() + 40]!r}"
    return len(reached)


@pytest.fixture
def people() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    treat = np.tile([1, 0, 0], N // 3)
    return pd.DataFrame(
        {
            "person": IDS, "number": NUMBERS, "employer": EMPLOYERS, "name": NAMES, "treat": treat,
            "age": rng.integers(20, 50, N), "sex": rng.choice(["f", "m"], N), "pay": PAY,
        }
    )  # fmt: skip


@pytest.fixture
def panel(people: pd.DataFrame) -> pd.DataFrame:
    rows = pd.concat([people.assign(year=year, pay=people["pay"] + 10 * year) for year in (1, 2, 3)])
    return rows.assign(cohort=np.where(rows["treat"] == 1, 2, 0), x=rows["age"] / 7 + rows["number"] % 5)


# ---- every class ---------------------------------------------------------------------------------------------------

# of what their fields can hold, these are plain: numbers, names, and classes that are checked themselves
PLAIN = {"str", "int", "float", "bool", "None", "tuple", "list", "dict", "frozenset", "set", "Path", "Codes",
         "Cutpoints", "Mapping", "Grouping", "Levels", "Literal"}  # fmt: skip
BY_HAND = {"EffectTable", "EstimateTable", "Linkage", "MatchedSample"}  # tested below with people in them
PUBLIC = {"Bundle", "Derivation", "Formula", "Operation", "Call"}  # a manifest, recipes and formulas: plain values


def classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(rte.__path__, "retrain_eval."):
        if module.name.endswith("__main__") or ".templates" in module.name or ".book" in module.name:
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(kind) and kind.__module__ == module.name:
                yield kind


def could_hold_people(kind: type, known: set[str]) -> list[str]:
    """Return the fields that are shown and whose types are not plain."""
    if dataclasses.is_dataclass(kind):
        shown = {field.name: str(field.type) for field in dataclasses.fields(kind) if field.repr}
    else:
        shown = {
            name: getattr(given, "__forward_arg__", str(given)) for name, given in inspect.get_annotations(kind).items()
        }
    return [name for name, given in shown.items() if set(re.findall(r"[A-Za-z_][\w.]*", given)) - PLAIN - known]


def test_every_class_that_could_hold_people_is_summarised() -> None:
    kinds = [kind for kind in classes() if dataclasses.is_dataclass(kind)]
    known = {kind.__name__ for kind in classes()}
    assert len(kinds) > 80
    wrong = {
        f"{kind.__module__}.{kind.__name__}": fields
        for kind in kinds
        if (fields := could_hold_people(kind, known))
        and kind.__repr__ is not summary  # a dataclass made of a summarised one has a new one
        and kind.__name__ not in BY_HAND | PUBLIC
    }
    assert wrong == {}, "decorate them with @summarised (retrain_eval.common.shown)"


def test_tuples_of_the_package_hold_nothing_but_plain_values_or_say_little() -> None:
    known = {kind.__name__ for kind in classes()}
    tuples = [kind for kind in classes() if issubclass(kind, tuple)]
    assert tuples
    wrong = {kind: fields for kind in tuples if (fields := could_hold_people(kind, known))}
    assert set(wrong) == {Part}, wrong  # lines of a file
    assert repr(Part(b"zqid001,5\n", 7, np.arange(1), np.arange(0), None)) == "Part(10 bytes from line 7)"


def test_what_a_notebook_draws_of_a_class_is_written_in_few_places() -> None:
    html = {kind.__name__ for kind in classes() if "_repr_html_" in vars(kind) and not issubclass(kind, msgspec.Struct)}
    assert html == {"EstimateTable", "Html"}  # EffectTable is one


def test_a_class_that_is_not_summarised_is_noticed(people: pd.DataFrame) -> None:
    @dataclasses.dataclass(frozen=True)
    class Careless:
        people: pd.DataFrame

    assert could_hold_people(Careless, set()) == ["people"]
    assert "zqid" in repr(Careless(people))
    assert "<DataFrame of 60 rows: person, number, employer, name, treat" in repr(summarised(Careless)(people))


def test_a_summary_shows_no_value_of_any_container(people: pd.DataFrame) -> None:
    import pyarrow as pa

    table = pa.Table.from_pandas(people)
    for value in (
        people, people["person"], people["person"].to_numpy(), table, table["person"], duckdb.from_df(people),
        dict.fromkeys(IDS, 1.0), set(IDS), tuple(NUMBERS), IDS, lambda: people, people.itertuples(),
    ):  # fmt: skip
        assert CANARY.search(described(value)) is None, described(value)[:100]


# ---- objects with people in them -----------------------------------------------------------------------------------


def test_linkage_says_how_many_and_not_who() -> None:
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE a AS FROM (VALUES ('zqid001', '12-34', 'zqname1'), ('zqid002', NULL, 'b')) t(person_id, tax, n)"
    )
    con.execute("CREATE TABLE b AS FROM (VALUES ('zqid077', '1234', 'zqname1')) t(record_id, tax, n)")
    linked = rte.link_exactly(con, "a", "b", {"by number": {"tax": "identifier"}})
    assert repr(linked) == "Linkage of 1 people by 1 pass(es) (by number: 1)"
    assert check(linked) == 1
    assert CANARY.search(str(linkage_rates)) is None


@pytest.mark.parametrize("options", [{"method": "nearest"}, {"method": "cem"}, {"method": "ebal"}, {"method": "ipw"}])
@pytest.mark.parametrize("unit", ["person", "number"])
def test_samples(people: pd.DataFrame, options: dict[str, str], unit: str) -> None:
    sample = rte.match(
        people, "treat ~ age" + (" + sex" if options["method"] == "nearest" else ""), unit=unit, **options
    )
    assert check(sample) >= 5
    assert check([sample.att("pay", people), sample.covariate_moments()]) >= 2
    assert check(Recipe(sample, "att", {"source": people, "ids": IDS})) >= 2


def test_tables_and_effects(panel: pd.DataFrame) -> None:
    names = {"unit": "person", "time": "year", "cohort": "cohort", "outcome": "pay"}
    reached = 0
    for more in ({}, {"cluster": "employer"}, {"covariates": ("x",)}):
        moments = rte.outcome_moments(panel, **names, **more)
        effects = moments.att_gt() if not more.get("covariates") else rte.att_gt(panel, **names, covariates=("x",))
        assert moments.source is None or repr(moments.source) == "<function _people>"
        reached += check([moments, effects, effects.to_effects(), effects.aggregate("dynamic"), moments.twfe()])
        reached += check(effects.by("sex") if more.get("covariates") else rte.outcome_moments(panel, **names, by="sex"))
    assert reached > 20
    assert CANARY.search(repr(effects.aggregate("simple").meta)) is None


def test_spells(people: pd.DataFrame) -> None:
    rows = people.assign(quarters=people["age"] % 7 + 1, cause=np.where(people["age"] % 3 == 0, None, "job"))
    spells = rte.Spells(rows, id="person", duration="quarters", by="sex", event="job", cluster="employer")
    km = spells.kaplan_meier()
    assert check([spells, spells.table, km, spells.logrank()]) >= 4
    assert check(spells.cox("sex")) >= 1


def test_stores_runs_and_simulations(tmp_path: Path) -> None:
    new_study(tmp_path / "study")
    study = rte.Study.open(tmp_path / "study")
    files = records(tmp_path)
    with Store.open(tmp_path / "s.duckdb") as store:
        reports = store.ingest_all(files)
        run = Run(study.file, store, print, Results(tables={"people": pd.DataFrame({"person": IDS})}))
        assert check([study, store, run, reports]) >= 6
        assert CANARY.search(described(store.con.table("person"))) is None
    simulation = rte.simulate(people=100, quarters=32, seed=1)
    first = simulation.con.sql("SELECT min(person_id) FROM person").fetchall()[0][0]
    assert str(first) not in repr(simulation)


# ---- errors --------------------------------------------------------------------------------------------------------


def fails(call: Callable[[], object]) -> str:
    """Return what Python prints of an error of the package and of those it came from, without lines of code."""
    with pytest.raises(RetrainEvalError) as caught:
        call()
    told, error = [str(caught.value)], caught.value.with_traceback(None)
    part: traceback.TracebackException | None = traceback.TracebackException.from_exception(error)
    while part is not None:
        told += part.format_exception_only()
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)
    return "".join(told)


DID = {"unit": "person", "time": "year", "cohort": "cohort", "outcome": "pay"}


@pytest.mark.parametrize("read", [rte.outcome_moments, rte.att_gt])
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda p: pd.concat([p, p.iloc[[0, 1]]]), r"2 unit\(s\) have more than one row for a period.*HAVING count"),
        (lambda p: p.iloc[1:], r"1 unit\(s\) are not observed in all 3 periods.*listed by: SELECT \"person\""),
        (lambda p: p.assign(cohort=np.where(p["year"] == 3, 3, 2)), r"60 unit\(s\) change where they must not"),
        (lambda p: p.assign(pay=np.where(p["age"] > 0, np.inf, 0)), r"180 row\(s\) break a rule.*WHERE .*isfinite"),
        (lambda p: p.assign(year=p["year"] + 0.5), r"row\(s\) break a rule"),
    ],
)
def test_panels_that_are_refused(panel: pd.DataFrame, read: Any, broken: Any, said: str) -> None:
    text = fails(lambda: read(broken(panel), **DID))
    assert re.search(said, text, re.DOTALL), text
    assert CANARY.search(text) is None, text


def test_the_query_of_a_message_lists_those_that_are_meant(panel: pd.DataFrame) -> None:
    source = pd.concat([panel, panel.iloc[[0, 1]]])
    with pytest.raises(InputError) as caught:
        rte.outcome_moments(source, **DID)
    assert sorted(duckdb.sql(str(caught.value.row)).fetchall()) == [("zqid000",), ("zqid001",)]
    source = panel.assign(pay=panel["pay"].where(panel["person"] != "zqid007", np.inf))
    with pytest.raises(InputError) as caught:
        rte.outcome_moments(source, **DID)
    assert {row[0] for row in duckdb.sql(str(caught.value.row)).fetchall()} == {"zqid007"}


@pytest.mark.parametrize(
    ("broken", "options", "said"),
    [
        (lambda p: pd.concat([p, p.iloc[[0]]]), {}, r"1 row\(s\) repeat a unit id"),
        (lambda p: p.assign(age=p["age"].where(p["age"] > 30)), {}, r"unit\(s\) break a rule.*WHERE \"age\" IS NULL"),
        (lambda p: p.assign(treat=p["treat"] * 2), {}, r"20 unit\(s\) break a rule.*\"treat\" NOT IN \(0, 1\)"),
        (lambda p: p, {"formula": "treat ~ name"}, ""),
        (lambda p: p, {"formula": "treat ~ wages"}, "unknown column 'wages'"),
        (lambda p: p, {"distance": "name"}, ""),
    ],
)
def test_samples_that_are_refused(people: pd.DataFrame, broken: Any, options: dict[str, str], said: str) -> None:
    given = {"formula": "treat ~ age", "unit": "person", **options}
    many = pd.concat(
        [people.assign(person=people["person"] + f"-{i}", name=people["name"] + f"-{i}") for i in range(20)]
    )
    source = broken(many if options else people)
    text = fails(lambda: rte.match(source, given.pop("formula"), **given))
    assert re.search(said, text, re.DOTALL), text
    assert CANARY.search(text) is None, text


def test_an_outcome_that_some_people_of_a_sample_lack(people: pd.DataFrame) -> None:
    sample = rte.match(people, "treat ~ age", unit="person")
    for source in (people.iloc[:9], pd.concat([people, people]), people.assign(pay=np.nan)):
        text = fails(lambda source=source: sample.att("pay", source))
        assert re.search(r"\d+ unit\(s\) of the sample have", text)
        assert CANARY.search(text) is None, text


def test_spells_and_registers_that_are_refused(people: pd.DataFrame) -> None:
    rows = people.assign(quarters=people["age"] - 25, cause="job")
    text = fails(lambda: rte.Spells(rows, id="person", duration="quarters", by="sex", event="job"))
    assert "row(s) break a rule" in text
    told = [text, fails(lambda: rte.Spells(rows, id="person", duration="age", cause="name", by="sex"))]
    told += [fails(lambda: rte.Spells(rows, id="person", duration="age", cause="name", by="sex", event="left"))]
    con = duckdb.connect()
    con.register("a", pd.concat([people, people.iloc[:3]]))
    con.register("b", people.assign(record_id=people["number"], born=people["name"]))
    for who, forms in (("a", {"name": "name"}), ("b", {"born": "date"})):
        told.append(fails(lambda who=who, forms=forms: rte.link_exactly(con, who, "b", {"p": forms}, person="person")))
    for text in told:
        assert CANARY.search(text) is None, text


# ---- records -------------------------------------------------------------------------------------------------------


def records(folder: Path, **changed: str) -> dict[str, Path]:
    files = {
        "person": "person_id,age\n" + "".join(f"{who},31\n" for who in IDS[:5]),
        "wage_record": "person_id,period,employer_id,wages\n"
        + "".join(f"{who},2019,{firm},41017.13\n" for who, firm in zip(IDS[:5], EMPLOYERS, strict=False)),
        **changed,
    }
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.csv" for name in files}


WAGES = "person_id,period,employer_id,wages\nzqid000,2019,zqfirm0,5\n"


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize(
    ("changed", "line", "column"),
    [
        ({"wage_record": WAGES + "zqid000,2019,zqfirm0,6\n"}, 2, "person_id, period, employer_id, unit_id"),
        ({"wage_record": WAGES + "zqid999,2019,zqfirm0,6\n"}, 3, "person_id"),
        ({"wage_record": WAGES + "zqid001 ,2019,zqfirm0,6\n"}, 3, "person_id"),
        ({"wage_record": WAGES + "zqid001,2019, zqfirm0,6\n"}, 3, "employer_id"),
        ({"person": "person_id,age\nzqid000,31\nzqid000,32\n"}, 2, "person_id"),
    ],
)
def test_refused_rows_are_named_by_file_line_and_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashed: bool, changed: dict[str, str], line: int, column: str
) -> None:
    if hashed:
        monkeypatch.setenv("RETRAIN_EVAL_KEY", "775f38c45fbbe0b4793757b97bc84b7863342ca84daf38048e8f658816fceb98")
    refusals = tmp_path / "refusals.csv"
    with Store.open(tmp_path / "s.duckdb", identifiers="hmac" if hashed else "plain") as store:
        files = records(tmp_path, **changed)
        with pytest.raises(InputError) as caught:
            store.ingest_all(files, refusals=refusals)
        rejected = store.rejects()
    listed = pd.read_csv(refusals, dtype=str)
    assert (str(line), column) in set(zip(listed["line"], listed["column"], strict=True))
    assert (caught.value.row, caught.value.column) == (line, column)
    assert f"line {line}" in str(caught.value)
    for text in (
        str(caught.value),
        refusals.read_text(),
        rejected.to_csv(),
        *map(str, traceback.format_exception(caught.value)),
    ):
        assert not re.search(r"zqid|zqfirm|[0-9a-f]{12}…", text), text


def test_pay_is_shown_with_its_line_and_without_its_person(tmp_path: Path) -> None:
    files = records(tmp_path, wage_record=WAGES.replace(",5\n", ",-3.5\n"))
    with Store.open(tmp_path / "s.duckdb") as store, pytest.raises(InputError, match=r"line 2: wages '-3.5' must be"):
        store.ingest_all(files)


def test_files_without_a_header_show_nobody(tmp_path: Path, people: pd.DataFrame) -> None:
    files = records(tmp_path, person="zqid000,31,zqname000\nzqid001,32,zqname001\n")
    with Store.open(tmp_path / "s.duckdb") as store, pytest.raises(InputError) as caught:
        store.ingest_all(files)
    assert "the first line holds values" in str(caught.value)
    assert CANARY.search(str(caught.value)) is None
    path = tmp_path / "people.csv"
    people[["number", "age"]].to_csv(path, header=False, index=False)
    text = fails(lambda: rte.match(path, "treat ~ age", unit="person"))
    assert CANARY.search(text) is None, text


@pytest.mark.parametrize("broken", ['zqid001,2019,"zqfirm0,5\n', "zqid001,2019,zqfirm0,5,6,7,8,9\n", "zqid001,2019\n"])
def test_lines_that_cannot_be_read_are_not_quoted(tmp_path: Path, broken: str) -> None:
    files = records(tmp_path, wage_record=WAGES + broken)
    with Store.open(tmp_path / "s.duckdb") as store:
        text = fails(lambda: store.ingest_all(files))
    assert "3" in text
    assert CANARY.search(text) is None, text
    (tmp_path / "people.csv").write_text("person,treat,age\nzqid000,1,5\n" + broken, encoding="utf-8")
    text = fails(lambda: rte.match(tmp_path / "people.csv", "treat ~ age", unit="person"))
    assert CANARY.search(text) is None, text


def test_a_store_that_would_lose_people_says_how_many(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.duckdb") as store:
        store.ingest_all(records(tmp_path))
        (tmp_path / "person.csv").write_text("person_id,age\nzqid000,31\n", encoding="utf-8")
        text = fails(lambda: store.ingest_all({"person": tmp_path / "person.csv"}))
    assert "4 rows of wage_record in the store refer to a person" in text
    assert CANARY.search(text) is None, text


def test_the_command_line_prints_no_locals_and_json_holds_nobody(tmp_path: Path) -> None:
    assert not cli.app.pretty_exceptions_enable
    assert not cli.app.pretty_exceptions_show_locals
    new_study(tmp_path / "study")
    records(tmp_path / "study" / "data", wage_record=WAGES + "zqid999,2019,zqfirm0,6\n")
    for options in ([], ["--json"], ["--dry-run"]):
        told = CliRunner().invoke(cli.app, ["ingest", str(tmp_path / "study"), *options])
        assert told.exit_code != 0
        assert CANARY.search(told.output + str(told.exception)) is None, told.output
