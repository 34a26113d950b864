"""Attacks written from SECURITY.md and the guide alone, before the author had seen the program.

An attack that succeeded when it was written is an expected failure, with the promise as its reason.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519

import retrain_eval as rte
import small_study
from attacked import STUDY, changed, in_manifest, in_recipes, in_table, written
from retrain_eval.common.errors import RetrainEvalError
from retrain_eval.common.resources import resource
from retrain_eval.estimators.survival.endings import spell_flow
from retrain_eval.plan.study_file import read_study
from retrain_eval.records.schema.dictionary import dictionary, load_package
from retrain_eval.release import writing
from retrain_eval.release.results import Results
from retrain_eval.release.verification.verify import verify
from tampering import rehash

SSN = "219-09-9999"  # never issued: an advertisement of 1940


@pytest.fixture(scope="module")
def spells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an edition about spells that end in two kinds of jobs, none of whose numbers is only stated."""
    folder = tmp_path_factory.mktemp("spells")
    rng = np.random.default_rng(5)
    rows = pd.DataFrame({"id": range(600), "quarters": rng.integers(1, 5, 600), "arm": rng.choice(["x", "y"], 600),
                         "kind": rng.choice(["full", "part", "none"], 600, p=[0.5, 0.3, 0.2]), "step": 1})  # fmt: skip
    rows["job"] = (rows["kind"] != "none").astype(int)
    found = Results()
    kinds = rte.Spells(rows, id="id", duration="quarters", cause="kind", censored="none", by="arm").table.coarsen(10)
    found.life_tables["kinds"] = kinds
    life = rte.Spells.from_table(kinds)
    found.add_effects("cox_full", life.cox("arm", cause="full", reference={"arm": "x"}))
    found.add_effects("cox_part", life.cox("arm", cause="part", reference={"arm": "x"}))
    found.life_tables["endings"] = rte.Spells(rows, id="id", duration="step", cause="job", by=()).table
    censored = ("Censored", "still jobless, or (102 spells) the source does not say")
    ended = ("Ended in a job", "any job")
    found.add_table("flow", spell_flow(found.life_tables["endings"], ended=ended, censored=censored))
    shared = dictionary(load_package(resource("data_schemas")))
    found.add_table("dictionary", shared[shared["resource"] == "person"].reset_index(drop=True))
    (folder / "study.toml").write_text(STUDY.replace('required = ["did"]', "required = []"), encoding="utf-8")
    inputs = [{"name": "person", "file": "p.csv", "rows_in": 600, "rows_rejected": 0, "vintage": 1}]
    return writing.write(found, folder, read_study(folder), folder / "release" / "2026", inputs=inputs).path


def make_consistent(folder: Path) -> Path:
    """Put the numbers that follow from altered recipes into the tables, as a forger would, with new hashes."""
    pattern = re.compile(r"(\w+) (\S+), row (\d+), (\w+): published .*, re-derived (.*)")
    rehash(folder)
    for _ in range(3):
        found = [match for match in map(pattern.fullmatch, verify(folder).problems) if match]
        for name in {match[1] for match in found}:
            frame = pd.read_csv(folder / f"{name}.csv", dtype="str", keep_default_na=False)
            for match in found:
                if match[1] == name:
                    row = frame.index[frame["result"] == match[2]][int(match[3]) - 1]
                    frame.loc[row, match[4]] = f"{float(match[5]):.10g}"
            frame.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        rehash(folder)
    return folder


def tiny(folder: Path, rows: str, more: str = "") -> Path:
    """Write a study with some wage records."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "person.csv").write_text("person_id,age\nA,30\nB,30\n", encoding="utf-8")
    (folder / "data" / "wage_record.csv").write_text("person_id,period,wages,hours\n" + rows, encoding="utf-8")
    study = re.sub(r"(?m)^(programme|enrolment) = .*\n", "", small_study.STUDY)
    (folder / "study.toml").write_text(study + more, encoding="utf-8")
    (folder / "run.py").write_text(small_study.RUN, encoding="utf-8")
    return folder


def test_the_edition_about_spells_is_sound(spells: Path) -> None:
    found = verify(spells)
    assert not found.problems
    assert not found.stated


# consistent forgeries


def test_intervals_of_five_per_cent_are_not_re_derived_as_95(spells: Path, tmp_path: Path) -> None:
    """Only the recipe has the level of an interval: altered with the interval, it makes any effect certain."""

    def narrow(parts: list[dict]) -> None:
        for part in parts:
            if part.get("result") == "cox_full":
                part["derivation"]["steps"][0][1]["level"] = 0.05

    forged = make_consistent(changed(spells, tmp_path / "b", in_recipes(narrow)))
    assert any("of 95%" in line for line in verify(forged).problems), verify(forged).problems


def test_the_effect_on_another_cause_is_not_re_derived_under_a_stolen_name(spells: Path, tmp_path: Path) -> None:
    """No column holds the cause: the numbers of part-time jobs pass as those of full-time jobs."""

    def steal(parts: list[dict]) -> None:
        for part in parts:
            if part.get("result") == "cox_full":
                part["derivation"]["steps"][0][1]["cause"] = "part"

    forged = make_consistent(changed(spells, tmp_path / "b", in_recipes(steal)))
    effects = pd.read_csv(forged / "effects.csv").set_index("result")["estimate"]
    assert effects["cox_full"] == effects["cox_part"]
    assert "the options with which a result" in str(verify(forged))  # stated: only a signature proves it


def replaced(*names: str, old: str, new: str) -> tuple:
    """Return changes that replace one text with another."""
    return tuple(
        lambda folder, name=name: (folder / name).write_text(
            (folder / name).read_text("utf-8").replace(old, new), "utf-8"
        )
        for name in names
    )


def test_a_number_within_a_reason_is_stated(spells: Path, tmp_path: Path) -> None:
    """A count in words, in the table of the flow and in its recipe, follows from nothing."""
    forged = changed(
        spells, tmp_path / "b", *replaced("flow.csv", "recipes.json", old="(102 spells)", new="(2 spells)")
    )
    assert "(2 spells)" in (forged / "flow.csv").read_text("utf-8")
    assert "the texts of the sample flow" in str(verify(forged))


def test_the_names_of_two_counts_are_not_swapped(spells: Path, tmp_path: Path) -> None:
    """Censored spells pass as those that ended in a job, and the other way round."""
    swap = [("Ended in a job", "@"), ("Censored", "Ended in a job"), ("@", "Censored")]
    changes = [change for old, new in swap for change in replaced("flow.csv", "recipes.json", old=old, new=new)]
    forged = changed(spells, tmp_path / "b", *changes)
    before, after = (pd.read_csv(f / "flow.csv").set_index("step")["n"] for f in (spells, forged))
    assert after["Censored"] == before["Ended in a job"] != before["Censored"]
    assert "the texts of the sample flow" in str(verify(forged))


def test_the_dictionary_is_proved_or_stated(spells: Path, tmp_path: Path) -> None:
    """Units and limits of a record type that is declared the study's own follow from nothing, and no line says so."""
    change = in_table("dictionary.csv", lambda frame: frame.assign(constraints="at least 99", unit="million USD"))
    own = in_manifest(lambda facts: facts.update(own_schemas=["person"]))
    forged = changed(spells, tmp_path / "b", change, own)
    code, text = small_study.cli("verify", forged)
    assert code == 1 or "dictionary" in text.replace(str(forged), "")


def test_a_result_without_a_recipe_is_named(spells: Path, tmp_path: Path) -> None:
    def drop(parts: list[dict]) -> None:
        del next(part for part in parts if part.get("result") == "cox_full")["derivation"]

    assert verify(changed(spells, tmp_path / "b", in_recipes(drop))).problems


def test_rules_that_were_not_applied_are_named(spells: Path, tmp_path: Path) -> None:
    """A stricter profile in the manifest than the tables bear."""
    change = in_manifest(lambda facts: facts["rules"].update(min_cell=400))
    assert verify(changed(spells, tmp_path / "b", change)).problems


def test_synthetic_and_smallest_counts_are_held_against_the_study(spells: Path, tmp_path: Path) -> None:
    synthetic = in_manifest(lambda facts: facts["study"].update(synthetic=True))
    smallest = in_manifest(lambda facts: facts["artefacts"]["life_tables/endings.parquet"].update(smallest_n=99_999))
    assert any("synthetic" in line for line in verify(changed(spells, tmp_path / "a", synthetic)).problems)
    assert any("smallest_n" in line for line in verify(changed(spells, tmp_path / "b", smallest)).problems)


@pytest.mark.parametrize("version", [0, 3, True, 2.0])
def test_other_versions_are_refused(spells: Path, tmp_path: Path, version: object) -> None:
    change = in_manifest(lambda facts: facts.update(bundle_version=version))
    with pytest.raises(RetrainEvalError):
        verify(changed(spells, tmp_path / "b", change))


def test_a_seal_cannot_be_left_out(spells: Path, tmp_path: Path) -> None:
    change = in_manifest(lambda facts: (facts.pop("seal"), facts.update(approved_by="A. Thief")))
    with contextlib.suppress(RetrainEvalError):
        assert verify(changed(spells, tmp_path / "b", change, seal=False)).problems


# files that are none, names, sizes


def a_pipe(folder: Path) -> None:
    (folder / "effects.csv").unlink()
    os.mkfifo(folder / "effects.csv")


def a_device(folder: Path) -> None:
    (folder / "effects.csv").unlink()
    (folder / "effects.csv").symlink_to("/dev/zero")


def a_name_of_no_text(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/\xff\xfe.csv", "wb") as file:
        file.write(b"a")


def a_name_that_clears_the_screen(folder: Path) -> None:
    (folder / "x\x1b[2J\x1b[32mall is well\n\u202e.csv").write_text("a")


def ten_gigabytes_of_signature(folder: Path) -> None:
    with (folder / "manifest.sig").open("wb") as file:
        file.truncate(10**10)


def dotted(folder: Path) -> None:
    with (folder / "study.toml").open("a") as file:
        file.write("\n" + ".".join("a" * 20_000) + " = 1\n")


def long_number(folder: Path) -> None:
    text = (folder / "manifest.json").read_text("utf-8")
    (folder / "manifest.json").write_text(re.sub(r'"seed": \d+', '"seed": ' + "9" * 5_000, text, count=1), "utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        a_pipe,
        a_device,
        a_name_of_no_text,
        a_name_that_clears_the_screen,
        ten_gigabytes_of_signature,
        dotted,
        long_number,
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_what_is_no_bundle_ends_in_a_message(spells: Path, tmp_path: Path, change: object, options: tuple) -> None:
    """Exit code 1, no traceback, and nothing that a terminal obeys."""
    bundle = Path(shutil.copytree(spells, tmp_path / "b"))
    change(bundle)
    if change is dotted:
        rehash(bundle)
    code, text = small_study.cli("verify", bundle, *options)
    assert code == 1
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_table_whose_name_is_a_pattern_is_one_file(spells: Path, tmp_path: Path) -> None:
    """A name such as ``*`` finds no other table."""

    def rename(folder: Path) -> None:
        (folder / "life_tables" / "kinds.parquet").rename(folder / "life_tables" / "*.parquet")
        for name in ("manifest.json", "recipes.json"):
            path = folder / name
            path.write_text(path.read_text("utf-8").replace("life_tables/kinds", "life_tables/*"), "utf-8")

    try:
        found = verify(changed(spells, tmp_path / "b", rename))
    except RetrainEvalError:
        return
    assert found.problems or found.n_rederived == verify(spells).n_rederived


@pytest.mark.parametrize(
    "text", [b"[" * 3_000 + b"]" * 3_000, b"null", b'{"by": 7}', b"\xff\xfe", b'{"n_people": 1e999}']
)
def test_a_parquet_file_with_other_metadata_is_no_table(spells: Path, tmp_path: Path, text: bytes) -> None:
    def change(folder: Path) -> None:
        path = folder / "life_tables" / "kinds.parquet"
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({b"life_table": text}), path)

    with contextlib.suppress(RetrainEvalError):
        assert verify(changed(spells, tmp_path / "b", change)).problems


@pytest.mark.slow
def test_a_table_of_many_strata_ends_in_time(spells: Path, tmp_path: Path) -> None:
    """190,000 rows, each of a stratum or duration of its own: within the limit of rows, and slow to estimate."""

    def change(folder: Path) -> None:
        path = folder / "life_tables" / "kinds.parquet"
        old = pq.read_table(path)
        n = 190_000
        rows = pd.DataFrame({"arm": [f"g{i // 4}" for i in range(n)], "entry": 0.0, "duration": np.arange(n) / 7 + 1,
                             "cause": np.where(np.arange(n) % 2, "full", "part"), "n": 20, "sum_w": 20.0,
                             "sum_w2": 20.0})  # fmt: skip
        table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(old.schema.metadata)
        pq.write_table(table, path)

    assert small_study.cli("verify", changed(spells, tmp_path / "b", change))[0] == 1


# signatures


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a pair of keys."""
    key = ed25519.Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    encoding = serialization.Encoding.PEM
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(encoding, pkcs8, plain))
    private.chmod(0o600)
    public.write_bytes(key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def signature(private: Path, message: bytes, public: Path) -> bytes:
    """Return the contents of a manifest.sig over some bytes."""
    import base64

    from retrain_eval.release.signing import fingerprint, read_public_key

    key = serialization.load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    name = fingerprint(read_public_key(public))
    return b"retrain-eval-ed25519-v1\n" + base64.b64encode(key.sign(message)) + b"\n" + name.encode() + b"\n"


@pytest.mark.slow
def test_forged_signatures_are_refused(spells: Path, tmp_path: Path) -> None:
    """Over the manifest without the prefix, over nothing, of zeros, cut, doubled, named after the right key."""
    private, public = keys(tmp_path, "a")
    other, _ = keys(tmp_path, "b")
    manifest = (spells / "manifest.json").read_bytes()
    right = signature(private, manifest, public)
    lines = right.split(b"\n")
    forged = [
        right,  # the manifest without the fixed prefix
        signature(private, b"", public),
        signature(other, manifest, public),
        b"\n".join([lines[0], b"A" * 86 + b"==", lines[2], b""]),
        b"\n".join([lines[0], lines[1][:40], lines[2], b""]),
        b"\n".join([lines[0], lines[1] + lines[1], lines[2], b""]),
        b"\n".join([b"retrain-eval-none-v1", lines[1], lines[2], b""]),
        right * 2,
        b"",
        b"\xff" * 100,
    ]
    for i, content in enumerate(forged):
        bundle = Path(shutil.copytree(spells, tmp_path / str(i)))
        written("manifest.sig", content)(bundle)
        code, text = small_study.cli("verify", bundle, "--signed-by", public) if i == 0 else (1, "")
        assert code == 1, text
        with contextlib.suppress(RetrainEvalError):
            assert verify(bundle, signed_by=public).problems, content


def test_keys_of_another_kind_are_refused(spells: Path, tmp_path: Path) -> None:
    key = ed448.Ed448PrivateKey.generate().public_key()
    public = tmp_path / "k.pub"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_bytes(serialization.Encoding.PEM, form))
    with pytest.raises(RetrainEvalError):
        verify(spells, signed_by=public)


# messages


@pytest.mark.parametrize(
    "value",
    [SSN, "219 09 9999", "219\u201109\u20119999", "219\u00a009\u00a09999", "219099999.0", "-219099999", "0219099999",
     "219.09.9999", "x219-09-9999", "219_09_9999", "219/09/9999", "219\u200b-09-9999", "219--09-9999",
                     "(219) 09 9999", "\uff12\uff11\uff19\uff10\uff19\uff19\uff19\uff19\uff19",
                     "\u0662\u0661\u0669-\u0660\u0669-\u0669\u0669\u0669\u0669", "Zebulon", "Jones 17"],
)  # fmt: skip
def test_a_social_security_number_is_withheld_however_it_is_written(tmp_path: Path, value: str) -> None:
    """It, or a name, slipped into the column of wages: neither the message nor refusals.csv shows it."""
    study = tiny(tmp_path / "s", f'A,2001,"{value}",\nB,2001,x,\n')
    with pytest.raises(RetrainEvalError) as error:
        ingest(study)
    refused = (study / "store" / "refusals.csv").read_text("utf-8")
    assert "wages" in refused
    assert value not in refused
    assert value not in str(error.value)


def ingest(study: Path) -> None:
    """Load the records of a study, as the command does."""
    from retrain_eval.study.folder import Study

    Study.open(study).ingest(lambda _: None).close()


@pytest.mark.parametrize(
    "key",
    [
        "0123456789abcdef" * 4,
        "98765432109876543210987654321098",
        "deadbeefcafebabe" * 2,
        "31415926535897932384626433832795",
        bytes(range(32)).hex(),
        "RETRAIN_EVAL_KEY=secrets.token_hex(32)",
    ],
)
def test_a_key_with_a_pattern_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Rows of digits, bytes from 0 to 31 in hexadecimal, the line that makes a key."""
    monkeypatch.setenv("RETRAIN_EVAL_KEY", key)
    study = tiny(tmp_path / "s", "A,2001,1,\n", '[ingest]\nidentifiers = "hmac"\n')
    with pytest.raises(RetrainEvalError) as error:
        ingest(study)
    assert key not in str(error.value)


# formulas and names


@pytest.mark.parametrize(
    "term",
    ["(" * 500 + "age" + ")" * 500, "I(" + "-" * 3_000 + "age)", "(age + y)**2000", "I(" + "9" * 5_000 + " * age)",
     "+".join(["age"] * 9_000), "(" + "+".join(f"I(age+{i})" for i in range(300)) + ")**2", "I(9**9**9**9 * age)",
     "*".join(f"I(age+{i})" for i in range(25)), "I(age.__class__)", "__import__('os')", "C(person_id)", "age \0",
     "exp(exp(exp(age)))", '`age"; DROP TABLE x; --`'],
)  # fmt: skip
def test_formulas_that_exhaust_or_escape_are_refused(term: str) -> None:
    people = pd.DataFrame({"person_id": [f"Zebulon{i}" for i in range(40)], "treat": [0, 1] * 20,
                           "age": np.arange(40.0), "y": np.arange(40.0) % 7})  # fmt: skip
    with pytest.raises(RetrainEvalError) as error:
        rte.match(people, f"treat ~ {term}", unit="person_id")
    assert "Zebulon" not in str(error.value)
    assert len(str(error.value)) < 25_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["../../x", "CON", "a\u202eb", "x" * 300, ".hidden", "-rf", "a/b", "nul.txt", "A\x1b[2J"]
)
def test_an_edition_is_named_in_plain_words(tmp_path: Path, name: str) -> None:
    study = small_study.make(tmp_path / "s")
    assert small_study.cli("run", study)[0] == 0
    code, text = small_study.cli("release", study, "--draft", f"--edition={name}")
    assert code == 1
    assert "\x1b" not in text
    assert not list((study / "release").glob("*")) if (study / "release").exists() else True
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
