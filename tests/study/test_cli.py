"""The command line as a user meets it: the whole path, and every bad input that must be met with one clear screen."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pandas as pd
import pytest

import own_study
from retrain_eval import cli
from retrain_eval.common.resources import resource
from retrain_eval.plan.registered import PLAN_VERSION, Registration
from retrain_eval.plan.study_file import read_study
from retrain_eval.study.folder import Study

SCREEN = 24  # lines of a terminal


class Shell:
    """Runs `retrain-eval` in this process; keeps the exit code and what was printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *args: object) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["retrain-eval", *map(str, args)])
        self.capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = self.capsys.readouterr()
        return code, printed.out, printed.err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that has been run and released once."""
    folder = own_study.make(tmp_path_factory.mktemp("studies") / "mine")
    study = Study.open(folder)
    study.run()
    study.release("2026")
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "mine"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- the path ------------------------------------------------------------------------------------------------------


def test_a_new_study_from_the_template_finds_the_effect_it_was_given(finished: Path) -> None:
    effects = Study.open(finished).bundle("2026").effects
    assert effects is not None
    did = effects[effects["result"] == "did"].iloc[0]
    assert did["ci_low"] < own_study.EFFECT < did["ci_high"]
    assert did["std_error"] < own_study.EFFECT / 4
    assert set(effects["result"]) == {"did", "event_study", "att_by_age_band", "difference_by_age_band"}


def test_running_twice_does_nothing_twice(shell: Shell, study: Path) -> None:
    stamp = (study / "store" / "results" / "key.json").stat().st_mtime_ns
    code, _, said = shell("run", study)
    assert code == 0
    assert "nothing has changed" in said
    assert (study / "store" / "results" / "key.json").stat().st_mtime_ns == stamp


def test_releasing_the_same_twice_is_fine_and_another_content_is_not(shell: Shell, study: Path) -> None:
    manifest = (study / "release" / "2026" / "manifest.json").read_bytes()
    assert shell("release", study, "--edition", "2026", "--draft")[0] == 0
    assert (study / "release" / "2026" / "manifest.json").read_bytes() == manifest
    toml = study / "study.toml"
    toml.write_text(toml.read_text().replace("min_contributors = 10", "min_contributors = 20"))
    code, _, said = shell("release", study, "--edition", "2026", "--draft")
    assert code == 1
    assert "has changed since the last run" in said
    assert shell("run", study)[0] == 0
    code, _, said = shell("release", study, "--edition", "2026", "--draft")
    assert code == 1
    assert "exists and differs" in said
    assert (study / "release" / "2026" / "manifest.json").read_bytes() == manifest
    assert shell("release", study, "--edition", "2026b", "--draft")[0] == 0


def test_results_of_another_script_are_not_released(shell: Shell, study: Path) -> None:
    with (study / "run.py").open("a") as file:
        file.write("# another analysis\n")
    code, _, said = shell("release", study, "--edition", "2026b", "--draft")
    assert code == 1
    assert "run.py has changed since the last run" in said


@pytest.mark.slow
def test_verify_names_every_file_that_differs(shell: Shell, study: Path) -> None:
    edition = study / "release" / "2026"
    assert shell("verify", edition)[0] == 0
    with (edition / "effects.csv").open("a") as file:
        file.write(" ")
    (edition / "means.csv").unlink()
    (edition / "extra.txt").write_text("x")
    code, _, said = shell("verify", edition)
    assert code == 1
    for line in ("altered: effects.csv", "missing: means.csv", "not in the manifest: extra.txt"):
        assert line in said


def test_machines_get_json(shell: Shell, study: Path, tmp_path: Path) -> None:
    for args in (["ingest", study], ["run", study], ["verify", study / "release" / "2026"], ["schema"]):
        code, printed, _ = shell(*args, "--json")
        assert code == 0
        assert isinstance(json.loads(printed), dict)
    code, printed, _ = shell("run", tmp_path / "nowhere", "--json")
    assert code == 1
    assert "no study folder" in json.loads(printed)["error"]


def test_schema_prints_the_dictionary(shell: Shell) -> None:
    code, printed, _ = shell("schema", "wage_record")
    assert code == 0
    assert "wages" in printed
    code, _, said = shell("schema", "wage_rec")
    assert code == 1
    assert "did you mean 'wage_record'" in said


def test_init_never_overwrites(shell: Shell, study: Path) -> None:
    code, _, said = shell("init", study)
    assert code == 1
    assert "exists already" in said


@pytest.mark.parametrize("verb", ["init", "ingest", "plan", "run", "release", "report", "verify", "schema"])
def test_help_shows_an_example(shell: Shell, verb: str) -> None:
    code, printed, _ = shell(verb, "--help")
    assert code == 0
    assert f"Example: retrain-eval {verb}" in " ".join(printed.split())


def test_the_agency_template_is_its_study_under_another_name(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "Ministry 2026"
    code, printed, _ = shell("init", folder, "--template", "agency", "--json")
    assert code == 0
    files = ["data_schemas/effect.json", "run.py", "study.toml"]
    assert json.loads(printed)["files"] == files == sorted(contents(folder))
    plan = read_study(folder)
    assert plan.study.name == "ministry_2026"
    shipped = resource("analyses/agency")
    for name in files[:2]:
        assert (folder / name).read_bytes() == (shipped / name).read_bytes()
    assert plan.sha256() != read_study(shipped).sha256()
    assert (folder / "study.toml").read_text().replace('"ministry_2026"', '"agency"') == (
        shipped / "study.toml"
    ).read_text()
    code, _, said = shell("init", tmp_path / "other", "--template", "agencies")
    assert code == 1
    assert "did you mean 'agency'" in said
    assert not (tmp_path / "other").exists()


def test_the_agency_template_writes_its_records_only_when_it_is_run(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shell("init", folder, "--template", "agency")
    before = contents(folder)
    code, _, said = shell("ingest", folder, "--dry-run")
    assert code == 1
    assert "run the study once: its run.py writes them" in said
    assert contents(folder) == before


@pytest.mark.slow
def test_the_agency_template_runs_as_it_is(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shell("init", folder, "--template", "agency")
    for args in (["run", folder], ["ingest", folder, "--dry-run"], ["release", folder, "--edition", "2026", "--draft"]):
        code, _, said = shell(*args)
        assert code == 0, said
    assert shell("verify", folder / "release" / "2026")[0] == 0
    code, _, said = shell("run", folder)
    assert code == 0
    assert "nothing has changed" in said


def test_a_dry_run_says_what_would_be_loaded_and_writes_refusals_alone(shell: Shell, study: Path) -> None:
    wages = pd.read_csv(study / "data" / "wage_record.csv").head(3)
    wages.assign(wages=1).to_csv(study / "data" / "correction.csv", index=False)
    toml = study / "study.toml"
    toml.write_text(
        toml.read_text().replace('"data/wage_record.csv"', '["data/wage_record.csv", "data/correction.csv"]')
    )
    before = contents(study)
    code, printed, said = shell("ingest", study, "--dry-run")
    assert code == 0
    assert "3 rows would be loaded from correction.csv, 3 earlier rows superseded" in said
    assert "nothing was loaded; the store is at vintage 1" in printed
    code, printed, _ = shell("ingest", study, "--dry-run", "--json")
    facts = json.loads(printed)
    assert (code, facts["dry_run"], facts["vintage"]) == (0, True, 1)
    wages.assign(wages=-1).to_csv(study / "data" / "correction.csv", index=False)
    before["data/correction.csv"] = (study / "data" / "correction.csv").read_bytes()
    code, _, said = shell("ingest", study, "--dry-run")
    assert code == 1
    assert "3 of 3 rows" in said
    listed = contents(study)
    refusals = listed.pop("store/refusals.csv").decode().splitlines()  # all that it writes
    assert listed == before
    assert refusals[1:] == [f"wage_record,correction.csv,{n},wages,-1,minimum,must be at least 0" for n in (2, 3, 4)]


def test_a_dry_run_needs_no_store_and_makes_none(shell: Shell, study: Path) -> None:
    shutil.rmtree(study / "store")
    before = contents(study)
    code, printed, said = shell("ingest", study, "--dry-run")
    assert code == 0
    assert "680 rows would be loaded from person.csv" in said
    assert "nothing was loaded; the store is empty" in printed
    assert contents(study) == before
    assert not (study / "store").exists()


def test_ingest_lists_the_vintages_whether_it_made_one_or_not(shell: Shell, study: Path) -> None:
    code, printed, said = shell("ingest", study)
    assert code == 0
    assert "already loaded (680 rows, vintage 1), nothing to do" in said
    assert "UTC: 4,841 rows of person: person.csv, programme: programme.csv, enrolment" in " ".join(printed.split())
    edit("wage_record", put(0, "wages", "1.00"))(study)
    code, printed, said = shell("ingest", study, "--json")
    assert code == 0
    facts = json.loads(printed)
    assert facts["vintage"] == 2
    assert [(one["vintage"], one["rows_loaded"]) for one in facts["vintages"]] == [(1, 4841), (2, 4080)]


def test_run_as_of_a_vintage_reads_the_records_of_then(shell: Shell, study: Path) -> None:
    code, _, said = shell("run", study, "--as-of", "1")
    assert code == 0
    assert "records as of vintage 1" in said
    assert "nothing has changed" in said  # the last run was of this vintage too
    edit("wage_record", put(0, "wages", "1.00"))(study)
    assert shell("run", study)[0] == 0
    inputs = (study / "store" / "results" / "inputs.json").read_text()
    code, _, said = shell("run", study, "--as-of", "1")
    assert code == 0
    assert "nothing has changed" not in said
    assert (study / "store" / "results" / "inputs.json").read_text() != inputs
    results = contents(study / "store" / "results")
    for vintage, words in (("3", "no vintage 3; it has 1 to 2"), ("0", "no vintage 0")):
        code, _, said = shell("run", study, "--as-of", vintage)
        assert code != 0
        assert words in said
    assert contents(study / "store" / "results") == results
    shutil.rmtree(study / "store")
    code, _, said = shell("run", study, "--as-of", "1")
    assert code == 1
    assert "there is no store" in said
    assert not (study / "store").exists()


# ---- bad input -----------------------------------------------------------------------------------------------------


def edit(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def apply(study: Path) -> None:
        file = study / "data" / f"{name}.csv"
        change(pd.read_csv(file, dtype=str)).to_csv(file, index=False)

    return apply


def put(row: int, column: str, value: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row, column] = value
        return frame

    return change


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda study: (study / name).write_bytes(content) and None


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    return lambda study: (study / name).write_text((study / name).read_text().replace(old, new)) and None


def keep_enrolled(n: int) -> Callable[[Path], None]:
    return edit("enrolment", lambda frame: frame.head(n))


def enrol_everybody(study: Path) -> None:
    people = pd.read_csv(study / "data" / "person.csv", dtype=str)
    people[["person_id"]].assign(programme_id="T1", entry=2020).to_csv(study / "data" / "enrolment.csv", index=False)


BAD = {
    "missing column": (edit("wage_record", lambda f: f.drop(columns="wages")), ["wage_record.csv", "wages"]),
    "misspelt column": (edit("person", lambda f: f.rename(columns={"age": "agee"})), ["person.csv", "agee", "age"]),
    "text in a number": (edit("wage_record", put(4, "wages", "n/a")), ["wage_record.csv", "6", "wages", "n/a"]),
    "duplicate": (
        edit("wage_record", lambda f: pd.concat([f, f.iloc[[2]].assign(wages=1.0)])),
        ["wage_record.csv", "4", str(2 + 6 * 680), "person_id"],
    ),
    "negative wage": (edit("wage_record", put(0, "wages", "-5.00")), ["wage_record.csv", "2", "wages", "-5"]),
    "orphan": (edit("enrolment", put(1, "person_id", "P-99999")), ["enrolment.csv", "3", "person_id", "(withheld)"]),
    "empty file": (write("data/person.csv", b""), ["person.csv", "empty"]),
    "header only": (write("data/person.csv", b"person_id,age\n"), ["person.csv"]),
    "not UTF-8": (write("data/person.csv", "person_id,age\nJosé,30\n".encode("latin-1")), ["person.csv", "UTF-8", "2"]),
    "no file": (lambda study: (study / "data" / "person.csv").unlink(), ["person.csv"]),
    "misspelt key": (replace("study.toml", "caliper", "calliper"), ["study.toml", "calliper", "caliper"]),
    "no controls": (enrol_everybody, ["control"]),
    "nobody treated": (write("data/enrolment.csv", b"person_id,programme_id,entry\n"), ["enrolment"]),
    "one treated person": (keep_enrolled(1), ["1"]),
    "nine treated people": (keep_enrolled(9), ["9", "10"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_clear_screen_and_changes_nothing(shell: Shell, study: Path, name: str) -> None:
    before = Study.open(study)
    with before.ingest() as store:
        records = store.con.sql("SELECT * FROM person JOIN wage_record USING (person_id) ORDER BY ALL").fetchall()
    edition = (study / "release" / "2026" / "manifest.json").read_bytes()
    results = (study / "store" / "results" / "key.json").read_bytes()

    spoil, words = BAD[name]
    spoil(study)
    code, _, said = shell("run", study)
    if code == 0:  # some designs are only refused when they would be published
        code, _, said = shell("release", study, "--edition", "2027", "--draft")
    else:
        assert (study / "store" / "results" / "key.json").read_bytes() == results

    assert code == 1
    assert "Traceback" not in said
    message = said[said.index("error") :]
    assert len(message.splitlines()) <= SCREEN
    for word in words:
        assert word in message, message
    assert not (study / "release" / "2027").exists()
    assert (study / "release" / "2026" / "manifest.json").read_bytes() == edition
    if name in {
        "no controls",
        "nobody treated",
        "one treated person",
        "nine treated people",
        "no file",
        "misspelt key",
    }:
        return
    from retrain_eval.records.store import Store

    with Store.open(before.store_path, package=before.package) as store:
        held = store.con.sql("SELECT * FROM person JOIN wage_record USING (person_id) ORDER BY ALL").fetchall()
    assert held == records


# ---- plan and approval ---------------------------------------------------------------------------------------------


def test_a_plan_is_registered_before_the_first_run_and_said_to_be_late_after(shell: Shell, tmp_path: Path) -> None:
    folder = own_study.make(tmp_path / "mine")
    code, printed, _ = shell("plan", folder, "--json")
    first = json.loads(printed)
    assert (code, first["new"], first["opened"]) == (0, True, 0)
    assert json.loads(shell("plan", folder, "--json")[1]) == {**first, "new": False}
    Study.open(folder).run()
    with (folder / "run.py").open("a") as file:
        file.write("# another analysis\n")
    code, _, said = shell("plan", folder)
    assert code == 1
    assert "differs from the study: run.py" in said
    assert "--reason" in said
    code, printed, _ = shell("plan", folder, "--reason", "a remark in the script")
    assert code == 0
    assert f"amends the plan with SHA-256 {first['sha256']}" in printed
    assert "4 record files had been read by a run before" in printed


def test_an_edition_needs_a_name_behind_it_or_is_a_draft(
    shell: Shell, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, printed, _ = shell("release", study, "--edition", "2026c")
    assert code == 0
    assert "a draft (--approved-by publishes it)" in printed
    assert Study.open(study).bundle("2026c").approved_by == ""
    code, _, said = shell("release", study, "--edition", "2027", "--draft", "--approved-by", "A. Name")
    assert code == 1
    assert "a draft is approved by nobody" in said
    code, printed, _ = shell("release", study, "--edition", "2027", "--approved-by", "A. Name", "--json")
    assert code == 0
    assert json.loads(printed)["approved_by"] == "A. Name"
    assert Study.open(study).bundle("2027").approved_by == "A. Name"


def test_at_a_terminal_the_name_is_asked_for(shell: Shell, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(cli.typer, "prompt", lambda text, **_: asked.append(text) or "B. Name")
    assert shell("release", study, "--edition", "2028")[0] == 0
    assert len(asked) == 1
    assert Study.open(study).bundle("2028").approved_by == "B. Name"


def test_a_report_is_not_built_in_a_language_that_is_not_there(shell: Shell, study: Path) -> None:
    code, _, said = shell("report", study, "--language", "fr")
    assert code == 1
    assert "unknown language 'fr'" in said
    assert "known: en, zh" in said
    assert not (study / "report").exists()


# ---- study files of earlier versions -------------------------------------------------------------------------------


def test_rules_of_earlier_versions_get_a_clear_word(shell: Shell, tmp_path: Path) -> None:
    """``public_use`` meant exact numbers once, and ``max_leverage`` does nothing any more."""
    folder = own_study.make(tmp_path / "mine")
    replace("study.toml", 'profile = "default"', 'profile = "public_use"\nmax_leverage = 0.9')(folder)
    replace("study.toml", "min_contributors = 10", "min_cell = 10")(folder)
    code, _, said = shell("run", folder)
    assert code == 0, said
    assert "max_leverage no longer does anything" in said
    assert 'profile = "public_use": it attaches noise' in said
    assert 'which is profile = "open" now' in said
    replace("study.toml", "max_leverage = 0.9", "")(folder)
    _, _, said = shell("run", folder, "--force")  # there is a release key: what the profile means is known
    assert "max_leverage" not in said
    assert "public_use" not in said


@pytest.mark.parametrize("made", ["edition", "plan"])
def test_public_use_of_before_is_refused_where_numbers_were_exact(shell: Shell, tmp_path: Path, made: str) -> None:
    folder = own_study.make(tmp_path / "mine")
    replace("study.toml", 'profile = "default"', 'profile = "public_use"')(folder)
    old = {"profile": "public_use", "min_cell": 10, "max_leverage": 0.9, "round_counts": 1}
    if made == "edition":
        (folder / "release" / "2020").mkdir(parents=True)
        (folder / "release" / "2020" / "manifest.json").write_text(json.dumps({"rules": old}))
    else:
        study = Study.open(folder)
        stated = {**msgspec.to_builtins(study.file), "release": old}
        one = Registration(time="2020-01-01", version="0", study_sha256="", script_sha256="", study=stated)
        entry = {**msgspec.to_builtins(one), "sha256": one.sha256}
        (folder / "plan.json").write_text(json.dumps({"plan_version": PLAN_VERSION, "registrations": [entry]}))
    code, _, said = shell("run", folder)
    assert code == 1
    for word in ("study.toml", "public_use", "exact numbers", 'write profile = "open"', "2020"):
        assert word in said
    assert not (folder / "store" / "release.key").exists()
    if made == "plan":
        assert shell("plan", folder, "--reason", "noise is wanted from now on")[0] == 0
        assert shell("run", folder)[0] == 0
    replace("study.toml", 'profile = "public_use"', 'profile = "open"')(folder)
    assert shell("run", folder)[0] == 0
