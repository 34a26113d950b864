"""What verify proves: an alteration is named, even if hashes and seal were recomputed after it."""

# ruff: noqa: E501

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import retrain_eval as rte
from attacked import Change, changed, in_manifest, in_recipes, in_table, set_cell, written
from retrain_eval.common.errors import ReleaseError
from retrain_eval.plan.stamp import stamp_of
from retrain_eval.plan.study_file import read_study
from retrain_eval.release.verification.verify import verify
from retrain_eval.release.verification.within import verify_within

REHASHED: dict[str, tuple[list[Change], str]] = {
    "an estimate": ([in_table("effects.csv", set_cell("att_matched", "estimate", "9999.5"))], "estimate: published 9999.5"),
    "an estimate gone": ([in_table("effects.csv", set_cell("att_matched", "estimate", ""))], "estimate: published nan"),
    "an infinite estimate": ([in_table("effects.csv", set_cell("att_matched", "estimate", "inf"))], "published inf"),
    "withheld by hand": (
        [in_table("effects.csv", set_cell("did", "estimate", "")), in_table("effects.csv", set_cell("did", "note", "withheld: x"))],
        "effects did",
    ),
    "one digit": ([in_manifest(lambda m: m["rules"].update(significant_figures=1))], "significant_figures"),
    "fewer digits": ([in_manifest(lambda m: m["rules"].update(significant_figures=3))], "significant_figures in [release]"),
    "no digits": ([in_manifest(lambda m: m["rules"].update(significant_figures=-5))], "significant_figures"),
    "cells of one": ([in_manifest(lambda m: m["rules"].update(min_contributors=1))], "min_contributors"),
    "cells of five": ([in_manifest(lambda m: m["rules"].update(min_contributors=5))], "min_contributors in [release]"),
    "the study's title": ([lambda b: _replace(b, 'title = "T"', 'title = "HACKED"')], "title in [study]: “HACKED”"),
    "the study's rules": ([lambda b: _replace(b, '"open"', '"default"')], "profile in [release]"),
    "the study's comparison": ([lambda b: _replace(b, '[plan]', '[did]\noutcome = "z"\n\n[plan]')], "study_sha256"),
    "the question": ([in_manifest(lambda m: m["study"].update(question="HACKED"))], "question in [study]"),
    "no inputs": ([in_manifest(lambda m: m.update(inputs=[]))], "no input for person"),
    "other inputs": ([in_manifest(lambda m: m["inputs"].append({"name": "tax", "file": "t.csv"}))], "an input for tax"),
    "a result dropped": (
        [
            in_table("effects.csv", lambda d: d[d["result"] != "unadjusted"]),
            in_recipes(lambda r: [p for p in r if p.get("result") != "unadjusted"]),
        ],
        "missing: effects unadjusted",
    ),
    "a table dropped": (
        [lambda b: (b / "pretest_power.csv").unlink(), in_recipes(lambda r: [p for p in r if p["table"] != "pretest_power"])],
        "missing: pretest_power.csv",
    ),
    "a file dropped": ([lambda b: (b / "tests.csv").unlink()], "tests"),
    "a recipe dropped": ([in_recipes(lambda r: r[0].pop("derivation"))], "effects att_matched"),
    "the dictionary": ([in_table("dictionary.csv", lambda d: d.assign(description="HACKED"))], "dictionary, person"),
    "reasons of the flow": ([in_table("flow.csv", lambda d: d.assign(reason="HACKED"))], "flow, row 1, reason"),
    "verdicts": ([in_table("verdicts.csv", lambda d: d.assign(verdict="HACKED"))], "verdicts att_by_band, row 1, verdict"),
    "notes": ([in_table("effects.csv", lambda d: d.assign(note="trust me"))], "note: published trust me"),
    "a column more": ([in_table("effects.csv", lambda d: d.assign(evil=1))], "evil"),
    "the currency of a table": ([lambda b: _mark(b, currency="XTS")], "currency in its stamp: “XTS”"),
    "the base period of a table": ([lambda b: _mark(b, **{"[panel] base_period": "1999"})], "[panel] base_period in its stamp"),
    "the plan's result": ([lambda b: _replace(b, '["did"]', '["did", "main"]')], "main was not published"),
}  # fmt: skip


def _mark(folder: Path, **facts: str) -> None:
    path = sorted((folder / "moments").glob("*.parquet"))[0]
    table = rte.OutcomeMoments.read_parquet(path)
    table.mark({**stamp_of(read_study(folder)), **facts})
    table.to_parquet(path)


def _replace(folder: Path, old: str, new: str) -> None:
    text = (folder / "study.toml").read_text(encoding="utf-8")
    assert old in text
    (folder / "study.toml").write_text(text.replace(old, new), encoding="utf-8")


def test_the_edition_itself_is_sound(edition: Path) -> None:
    verification = verify_within(edition)
    assert verification.ok, verification
    assert verification.n_rederived > 50
    assert verification.on_covariance == {"peer": 4}
    assert verification.stated == {"peer": 3}
    text = str(verification)
    assert "re-derived: " in text
    assert "re-derived on a released covariance: 4 " in text
    assert "stated: 3 numbers" in text
    assert "who approved it" in text


@pytest.mark.parametrize("name", REHASHED)
def test_an_alteration_under_new_hashes_and_a_new_seal_is_named(edition: Path, tmp_path: Path, name: str) -> None:
    changes, said = REHASHED[name]
    problems = verify(changed(edition, tmp_path / "2026", *changes)).problems
    assert any(said in line for line in problems), problems


@pytest.mark.parametrize(
    "change",
    [
        in_manifest(lambda m: m.update(approved_by="The Minister")),
        in_manifest(lambda m: m["packages"].update(duckdb="0.0.1")),
        in_manifest(lambda m: m.update(protection=["nothing was withheld"])),
        in_manifest(lambda m: m["inputs"][0].update(rows_in=10**6)),
        in_manifest(lambda m: m.update(corrects={"edition": "2025", "sha256": "0" * 64, "reason": "wrong"})),
    ],
)
def test_what_nothing_else_proves_is_under_the_seal_and_stated(edition: Path, tmp_path: Path, change: Change) -> None:
    unsealed = verify(changed(edition, tmp_path / "a", change, seal=False))
    assert unsealed.problems == ("altered: manifest.json: its seal does not match its content",)
    # only a signature catches someone who recomputes the seal, and the text says what is stated
    assert "stated in the manifest, and not proved by any number: who approved it" in str(
        verify(changed(edition, tmp_path / "b", change))
    )


def test_one_byte_in_each_file_is_named(edition: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(edition, tmp_path / "2026"))
    for file in sorted(path for path in copy.rglob("*") if path.is_file()):
        content = file.read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            _named(copy, file.relative_to(copy).as_posix())
        file.write_bytes(content)
    assert verify(copy).ok


def _named(copy: Path, name: str) -> None:
    try:
        problems = "\n".join(verify(copy).problems)
    except ReleaseError as error:
        problems = str(error)
    assert name in problems or (name == "manifest.json" and "manifest" in problems), (name, problems)


@pytest.mark.slow
def test_three_hundred_bytes_at_random_are_each_named(edition: Path, tmp_path: Path) -> None:
    copy, rng = Path(shutil.copytree(edition, tmp_path / "2026")), random.Random(17)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    for _ in range(300):
        file = rng.choice(files)
        content = file.read_bytes()
        place = rng.randrange(len(content))
        file.write_bytes(content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :])
        _named(copy, file.relative_to(copy).as_posix())
        file.write_bytes(content)


def _point(parts: list[dict[str, Any]], result: str, of: str) -> None:
    for part in parts:
        if part.get("result") == result:
            part["derivation"]["of"] = of


def _swap_rows(frame: pd.DataFrame) -> None:
    one, other = (frame.index[frame["result"] == name][0] for name in ("att_matched", "unadjusted"))
    names = [name for name in frame.columns if name != "result"]
    frame.loc[[one, other], names] = frame.loc[[other, one], names].to_numpy()


def _swapped(edition: Path, target: Path, *more: Change) -> Path:
    def swap(parts: list[dict[str, Any]]) -> None:
        _point(parts, "att_matched", "moments/pool")
        _point(parts, "unadjusted", "moments/matched")

    return changed(edition, target, in_table("effects.csv", _swap_rows), in_recipes(swap), *more)


def test_two_results_that_changed_tables_are_named(edition: Path, tmp_path: Path) -> None:
    problems = verify(_swapped(edition, tmp_path / "2026")).problems
    assert "effects att_matched: recipes.json makes it of moments/pool, and the manifest of moments/matched" in problems


def test_a_number_of_another_table_than_its_label_names_is_stated(edition: Path, tmp_path: Path) -> None:
    def relisted(manifest: dict[str, Any]) -> None:
        for one in manifest["made_of"]:
            tables = {"att_matched": "moments/pool", "unadjusted": "moments/matched"}
            one["of"] = tables.get(one["result"], one["of"])

    verification = verify(_swapped(edition, tmp_path / "2026", in_manifest(relisted)))
    assert verification.untied == {
        "effects att_matched": "its name is that of the table matched, and it is made of moments/pool"
    }
    assert verification.stated["effects"] > 0
    assert verification.n_rederived < verify(edition).n_rederived


def test_a_test_of_another_result_than_its_label_names_is_stated(edition: Path, tmp_path: Path) -> None:
    def relabelled(parts: list[dict[str, Any]]) -> None:
        for part in parts:
            if part["table"] == "tests":
                part["derivation"]["of"] = "moments/pool"

    verification = verify(changed(edition, tmp_path / "2026", in_recipes(relabelled)))
    assert "tests event_study" in verification.untied
    assert any("tests event_study" in line for line in verification.problems)


def test_options_that_change_a_number_are_named(edition: Path, tmp_path: Path) -> None:
    def other_quantile(parts: list[dict[str, Any]]) -> None:
        for part in parts:
            if part.get("result") == "median":
                part["derivation"]["steps"][0][1]["p"] = 0.9

    problems = verify(changed(edition, tmp_path / "2026", in_recipes(other_quantile))).problems
    assert any("effects median" in line for line in problems)


def test_editions_of_version_1_are_read(edition: Path, tmp_path: Path) -> None:
    def first_version(manifest: dict[str, Any]) -> None:
        for key in ("seal", "made_of", "own_schemas"):
            del manifest[key]
        manifest["bundle_version"] = 1

    verification = verify(changed(edition, tmp_path / "2026", in_manifest(first_version)))
    assert verification.ok
    assert len(verification.unchecked) == 3
    assert "not checked: whether a byte of the manifest was changed: an edition of bundle version 1" in str(
        verification
    )
    assert "not checked: whether a result was left out, or made of another table: an edition" in str(verification)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda m: m["packages"].update({"retrain-eval": "9.9"}),
            "according to the manifest, version 9.9 of retrain-eval",
        ),
        (lambda m: m["packages"].pop("retrain-eval"), "according to the manifest, an unnamed version"),
        (lambda m: m.update(own_schemas=["person"]), "the dictionary of person: according to the manifest"),
    ],
)
def test_a_check_that_the_manifest_turns_off_is_reported(edition: Path, tmp_path: Path, change: Any, said: str) -> None:
    changes = [in_manifest(change), in_table("dictionary.csv", lambda d: d.assign(description="HACKED"))]
    verification = verify_within(changed(edition, tmp_path / "2026", *changes))
    assert verification.ok
    assert said in verification.unchecked[0]
    assert f"not checked: {verification.unchecked[0]}" in str(verification)
    assert verify(edition).unchecked == ()


def test_a_registration_that_the_manifest_does_not_judge_is_named(edition: Path, tmp_path: Path) -> None:
    judged = [{"sha256": "0" * 64, "binds": True, "opened": 0}]
    problems = verify(changed(edition, tmp_path / "2026", in_manifest(lambda m: m.update(plan=judged)))).problems
    assert problems == ("plan.json has 0 registration(s), and the manifest lists 1, or different ones",)


def test_an_error_of_the_program_is_named_so_that_it_can_be_reported(
    edition: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        {}["pay"]

    monkeypatch.setattr("retrain_eval.release.verification.verify.publish", fails)
    (problem,) = verify(edition).problems
    assert problem.startswith("cannot be re-derived: KeyError: 'pay' (release/verification/verify.py, line ")
    assert problem.endswith("if the bundle is sound, please report this error")


def test_consistency_is_not_said_to_be_proved_of_an_edition_that_differs(edition: Path, tmp_path: Path) -> None:
    altered = verify(changed(edition, tmp_path / "2026", *REHASHED["an estimate"][0]))
    assert altered.origin == "origin is not proved: it has no signature"
    assert verify(edition).origin == "consistency is proved, origin is not: it has no signature"


def test_a_bundle_without_recipes_is_no_proof(edition: Path, tmp_path: Path) -> None:
    copy = changed(edition, tmp_path / "2026", lambda b: (b / "recipes.json").unlink())
    assert not verify(copy).ok
    assert not verify(changed(edition, tmp_path / "b", written("recipes.json", json.dumps([])))).ok
