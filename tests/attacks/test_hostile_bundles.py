"""A bundle may come from anyone: it is opened, or refused with a message; no code is run and nothing is written."""

# ruff: noqa: E501

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attacked import Change, changed, in_manifest, in_recipes, in_table, set_cell, written
from retrain_eval.common.errors import ReleaseError, RetrainEvalError
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.manifest import read_manifest
from retrain_eval.release.results import read_parts
from retrain_eval.release.verification.verify import Verification, verify
from retrain_eval.release.verification.within import verify_within

LIFE = "life_tables/arm.parquet"
DEEP = "[" * 200_000 + "]" * 200_000


def _link(name: str, to: str) -> Change:
    def apply(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return apply


def _pipe(folder: Path) -> None:
    (folder / "effects.csv").unlink()
    os.mkfifo(folder / "effects.csv")


def _bomb(folder: Path) -> None:
    """Write a small file of forty million rows."""
    table = pq.read_table(folder / LIFE)
    rows = {
        name: pa.array([table[name][0].as_py()] * 1_000_000, table.schema.field(name).type)
        for name in table.column_names
    }
    with pq.ParquetWriter(folder / LIFE, table.schema, compression="zstd") as out:
        for _ in range(40):
            out.write_table(pa.table(rows, schema=table.schema))


def _many_files(folder: Path) -> None:
    for number in range(1_100):
        (folder / f"{number}.csv").touch()


def _binary(folder: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([b"x"], pa.binary())}), folder / LIFE)


def _folders(folder: Path) -> None:
    (folder / "moments" / "a" / "b").mkdir(parents=True)
    (folder / "moments" / "a" / "b" / "c.parquet").touch()


# not hashed again: the manifest itself, and what is not a file
RAW: dict[str, tuple[Change, str]] = {
    "a deep manifest": (written("manifest.json", '{"a":' + DEEP + "}"), "nested too deeply"),
    "a list": (written("manifest.json", "[]"), "lacks 'bundle_version'"),
    "no text": (written("manifest.json", b"\xff\xfe{}"), "not UTF-8"),
    "no JSON": (written("manifest.json", "{"), "cannot be read as JSON"),
    "a key twice": (written("manifest.json", '{"edition": "1", "edition": "2"}'), "appears twice"),
    "no number": (written("manifest.json", '{"bundle_version": NaN}'), "NaN is not a number"),
    "too large a number": (written("manifest.json", '{"bundle_version": 1e999}'), "is not a number"),
    "a long number": (written("manifest.json", '{"bundle_version": ' + "9" * 10_000 + "}"), "cannot be read as JSON"),
    "no files": (in_manifest(lambda m: m.update(files=None)), "$.files"),
    "files that are a list": (in_manifest(lambda m: m.update(files=["a"])), "$.files"),
    "a version that is a text": (in_manifest(lambda m: m.update(bundle_version="2")), "is of version 2"),
    "a version that is true": (in_manifest(lambda m: m.update(bundle_version=True)), "is of version True"),
    "a key of its own": (in_manifest(lambda m: m.update(run="rm")), "unknown field `run`"),
    "a file above": (in_manifest(lambda m: m["files"].update({"../../x": "0" * 64})), "'../../x' is not a file of a bundle"),
    "a file elsewhere": (in_manifest(lambda m: m["files"].update({"/etc/passwd": "0" * 64})), "is not a file of a bundle"),
    "a file of a shell": (in_manifest(lambda m: m["files"].update({".ssh/authorized_keys": "0" * 64})), "is not a file"),
    "a table above": (in_manifest(lambda m: m["files"].update({"moments/../../x.parquet": "0" * 64})), "is not a file"),
    "a study above": (in_manifest(lambda m: m["study"].update(name="../../ESC")), "cannot name the study"),
    "an edition above": (in_manifest(lambda m: m.update(edition="..")), "cannot name the edition"),
    "a study that is a text": (in_manifest(lambda m: m.update(study="x")), "$.study"),
    "a hidden edition": (in_manifest(lambda m: m.update(edition=".ssh")), "cannot name the edition"),
    "a colour": (in_manifest(lambda m: m.update(edition="\x1b[31m")), r"\x1b[31m"),
    "a link to a file": (_link("effects.csv", "/etc/passwd"), "a symbolic link"),
    "a link to a table": (_link(LIFE, "/etc/passwd"), "a symbolic link"),
    "a link to itself": (_link("loop", "."), "a symbolic link"),
    "a link to a folder": (_link("etc", "/etc"), "a symbolic link"),
    "a link to a device": (_link("effects.csv", "/dev/zero"), "a symbolic link"),
    "a link for a manifest": (_link("manifest.json", "/etc/passwd"), "links are refused"),
    "a pipe": (_pipe, "not a plain file"),
    "many files": (_many_files, "more than 1,000 files"),
    "folders in folders": (_folders, "a folder within a folder"),
    "a large file": (lambda b: os.truncate(b / "effects.csv", 2**40), "at most 16,777,216 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_bundle_is_refused(edition: Path, tmp_path: Path, name: str) -> None:
    change, said = RAW[name]
    copy = changed(edition, tmp_path / "2026", change, hashes=False)
    with pytest.raises(ReleaseError) as refusal:
        verify(copy)
    assert said in str(refusal.value)
    assert "\x1b" not in str(refusal.value)
    with pytest.raises(ReleaseError):
        Bundle.open(copy)


def _steps(change: Callable[[dict[str, Any]], object]) -> Change:
    def every(parts: list[dict[str, Any]]) -> None:
        for part in parts:
            for _, options in part.get("derivation", {}).get("steps", []):
                change(options)

    return in_recipes(every)


def _verbs(verb: str, **options: object) -> Change:
    def every(parts: list[dict[str, Any]]) -> None:
        for part in parts:
            if "derivation" in part:
                part["derivation"]["steps"] = [[verb, options]]

    return in_recipes(every)


HASHED: dict[str, tuple[Change, str]] = {
    "no rules": (in_manifest(lambda m: m.pop("rules")), "profile in [release]: “open”, and the manifest has"),
    "rules that are texts": (in_manifest(lambda m: m["rules"].update(min_contributors="ten")), "min_contributors"),
    "deep recipes": (written("recipes.json", DEEP), "nested too deeply"),
    "infinite recipes": (written("recipes.json", '[{"table": "effects", "rows": Infinity}]'), "Infinity"),
    "recipes of nothing": (written("recipes.json", '[{"table":"effects","rows":NaN}]'), "recipes.json is not valid"),
    "rows below zero": (in_recipes(lambda r: [{**p, "rows": -1} for p in r]), "recipes.json is not valid"),
    "recipes that are a dict": (written("recipes.json", "{}"), "recipes.json is not valid"),
    "recipes that are texts": (written("recipes.json", '["x"]'), "recipes.json is not valid"),
    "no steps": (in_recipes(lambda r: r[0]["derivation"].update(steps=[])), "recipes.json is not valid"),
    "many steps": (in_recipes(lambda r: r[0]["derivation"].update(steps=[["by", {}]] * 99)), "recipes.json is not valid"),
    "a private verb": (_verbs("__class__"), "its recipe does not reproduce it"),
    "a verb that writes": (_verbs("to_parquet", path="pwned"), "its recipe does not reproduce it"),
    "a verb that reads": (_verbs("read_parquet", path="/etc/passwd"), "its recipe does not reproduce it"),
    "another's verb": (_verbs("oster_table"), "its recipe does not reproduce it"),
    "an unknown table": (in_recipes(lambda r: [{**p, "table": "nonsense"} for p in r]), "recipes.json speaks of"),
    "an unknown option": (_steps(lambda o: o.update(shell="rm")), "its recipe does not reproduce it"),
    "a billion draws": (_steps(lambda o: "draws" in o and o.update(draws=10**9)), "pretest_power"),
    "endless times": (_steps(lambda o: "times" in o and o.update(times=list(range(300_000)))), "km_arm"),
    "no level": (_steps(lambda o: "level" in o and o.update(level=1.5)), "its recipe does not reproduce it"),
    "bad TOML": (written("study.toml", "a = [[["), "cannot be read as TOML"),
    "deep TOML": (written("study.toml", "a = " + "[" * 50_000 + "]" * 50_000), "nested too deeply"),
    "TOML of many names": (written("study.toml", "a." * 400_000 + "a = 1"), "nested too deeply"),
    "a profile elsewhere": (written("study.toml", '[study]\n[release]\nprofile = "../../x.toml"\n'), "study.toml"),
    "no Parquet": (written(LIFE, b"\0" * 1_000), "cannot be read as Parquet"),
    "empty Parquet": (written(LIFE, b""), "cannot be read as Parquet"),
    "a large Parquet": (_bomb, "declares 40,000,000 rows; at most 200,000"),
    "bytes in Parquet": (_binary, "has the type binary"),
    "a CSV of zeros": (written("effects.csv", b"\0\0\0"), "a null byte"),
    "an empty CSV": (written("effects.csv", b""), "the table cannot be read"),
    "a CSV of one line": (written("effects.csv", "a" * 200_000), "a line is too long"),
    "a CSV of many lines": (written("flow.csv", "\n" * 300_000), "300,000 lines"),
    "a file of no table": (written("run.py", "import os"), "not a file of a bundle"),
    "no result": (in_table("effects.csv", set_cell("did", "result", "'; DROP TABLE")), "effects"),
}  # fmt: skip


def _said(path: Path) -> str:
    try:
        found = verify(path)
    except ReleaseError as error:
        return str(error)
    assert not found.ok
    return "\n".join(found.problems)


@pytest.mark.parametrize("name", HASHED)
def test_what_a_bundle_does_not_hold_is_named(
    edition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change, said = HASHED[name]
    monkeypatch.chdir(tmp_path)
    assert said in _said(changed(edition, tmp_path / "2026", change))
    assert [path.name for path in tmp_path.iterdir()] == ["2026"]


def test_memory_and_time_are_bounded(edition: Path) -> None:
    with pytest.raises(ReleaseError, match=r"was stopped after 0\.01 seconds"):
        verify_within(edition, seconds=0.01)


def test_a_program_that_needs_more_memory_than_it_may_is_stopped(edition: Path) -> None:
    """Where the system limits memory, a bundle that needs more than there is ends in a message."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the system does not say how much memory a process has reserved")
    try:
        said = "\n".join(verify_within(edition, memory=2**20).problems)
    except ReleaseError as error:
        said = str(error)
    assert "memory" in said or "was stopped" in said or "cannot be" in said


def test_a_folder_of_the_same_name_as_a_package_runs_nothing(
    edition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pandas.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)
    assert verify_within(edition).ok


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FUZZ = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


def _altered(data: st.DataObject, value: Any) -> Any:
    """Put any JSON in place of something inside."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 9)):
        key = data.draw(st.sampled_from(sorted(value)))
        return {**value, key: _altered(data, value[key])}
    if isinstance(value, list) and value and data.draw(st.integers(0, 9)):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], _altered(data, value[place]), *value[place + 1 :]]
    return data.draw(JSON)


def _read_altered(data: st.DataObject, edition: Path, folder: Path, name: str) -> None:
    whole = json.loads((edition / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(_altered(data, whole)), encoding="utf-8")
    with suppress(RetrainEvalError):  # a refusal is the package's own
        read_manifest(folder) if name == "manifest.json" else read_parts(folder)
    assert {path.name for path in folder.iterdir()} <= {"manifest.json", "recipes.json"}


@pytest.mark.parametrize("name", ["manifest.json", "recipes.json"])
@given(data=st.data())
@settings(max_examples=100, **_FUZZ)
def test_any_manifest_and_any_recipes_are_read_or_refused(
    edition: Path, tmp_path: Path, name: str, data: st.DataObject
) -> None:
    _read_altered(data, edition, tmp_path, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["manifest.json", "recipes.json"])
@given(data=st.data())
@settings(max_examples=4_000, **_FUZZ)
def test_thousands_of_manifests_and_recipes_are_read_or_refused(
    edition: Path, tmp_path: Path, name: str, data: st.DataObject
) -> None:
    _read_altered(data, edition, tmp_path, name)


def _fuzzed(edition: Path, target: Path, rng: np.random.Generator) -> Path:
    """Alter a few places of a few files: bytes, JSON or whole columns, and recompute hashes and seal."""
    names = sorted(file.relative_to(edition).as_posix() for file in edition.rglob("*") if file.is_file())
    names.remove("manifest.json")

    def scramble(folder: Path) -> None:
        for name in rng.choice(names, rng.integers(1, 4)):
            content = bytearray((folder / name).read_bytes())
            for _ in range(rng.integers(1, 12)):
                place = int(rng.integers(len(content)))
                kind = rng.integers(3)
                if kind == 0:
                    content[place] = int(rng.integers(256))
                elif kind == 1:
                    del content[place : place + int(rng.integers(1, 40))]
                else:
                    content[place:place] = bytes(content[place : place + int(rng.integers(1, 40))])
                if not content:
                    break
            (folder / name).write_bytes(content)

    return changed(edition, target, scramble)


def _verified(edition: Path, target: Path, number: int) -> None:
    try:
        found = verify(_fuzzed(edition, target / "2026", np.random.default_rng(number)))
    except RetrainEvalError:
        pass  # a refusal is the package's own
    else:
        assert isinstance(found, Verification)
        assert str(found)
    assert [path.name for path in target.iterdir()] == ["2026"]


@pytest.mark.parametrize("number", range(6))
def test_a_fuzzed_bundle_is_verified_or_refused(edition: Path, tmp_path: Path, number: int) -> None:
    _verified(edition, tmp_path, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1_000, 1_200))
def test_two_hundred_fuzzed_bundles_are_verified_or_refused(edition: Path, tmp_path: Path, number: int) -> None:
    _verified(edition, tmp_path, number)
