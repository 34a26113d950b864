"""A study that is a list of questions: without a script it answers as a script does, and says what it cannot."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from own_study import ENTRY, make, records
from retrain_eval.cli import app
from retrain_eval.common.errors import InputError
from retrain_eval.plan.designs import KINDS
from retrain_eval.plan.study_file import read_study
from retrain_eval.questions.catalogue import QUESTIONS
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.manifest import sealed, spelt
from retrain_eval.release.results import Results
from retrain_eval.release.verification.answering import answer, answers_differ
from retrain_eval.release.verification.verify import verify
from retrain_eval.report.shown import NAMES, PREFIXES
from retrain_eval.study.folder import Study
from retrain_eval.study.template import new_study

SAME = ("did", "event_study", "att_by_age_band", "difference_by_age_band")
NUMBERS = ["estimate", "std_error", "ci_low", "ci_high", "n_treated", "n_control"]


def asking(folder: Path, more: str = "", open_release: bool = True) -> Path:
    """Start a study of questions around one year, on the records of `own_study`."""
    new_study(folder, design="calendar")
    for name, frame in records().items():
        frame.to_csv(folder / "data" / f"{name}.csv", index=False)
    plan = folder / "study.toml"
    text = plan.read_text().replace('start = "2020"', f'start = "{ENTRY}"')
    text = text.replace('profile = "default"', 'profile = "open"') if open_release else text
    plan.write_text(text + more)
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Study]:
    root = tmp_path_factory.mktemp("both")
    plan = make(root / "script") / "study.toml"
    plan.write_text(plan.read_text().replace('profile = "default"', 'profile = "open"'))
    script, questions = Study.open(plan.parent), Study.open(asking(root / "questions"))
    for study in (script, questions):
        study.run()
    return script, questions


def effects(study: Study) -> pd.DataFrame:
    return pd.read_csv(study.folder / "store" / "results" / "effects.csv")


def test_questions_give_the_figures_that_the_template_script_gives(both: tuple[Study, Study]) -> None:
    """The same people are matched on the same earnings, so that nothing may differ but the clock."""
    assert not (both[1].folder / "run.py").exists()
    ours, theirs = effects(both[1]), effects(both[0])
    for name in SAME:
        one, other = (
            frame[frame["result"] == name].sort_values(["level", "event_time"]).reset_index(drop=True)
            for frame in (ours, theirs)
        )
        assert len(one) == len(other) > 0
        np.testing.assert_allclose(one[NUMBERS].astype(float), other[NUMBERS].astype(float), rtol=1e-9, atol=1e-9)


def test_a_study_of_questions_is_released_and_verified(both: tuple[Study, Study]) -> None:
    bundle = both[1].release("2026")
    found = verify(bundle.path)
    assert (found.problems, found.stated) == ((), {})


@pytest.mark.parametrize("question", ["effect_over_time", "for_whom", "sensitivity"])
def test_a_released_question_is_answered_again_from_the_bundle_alone(both: tuple[Study, Study], question: str) -> None:
    bundle = both[1].release("2026")
    again = answer(bundle.path, question)
    assert len(again) > 1
    assert bundle.effects is not None
    keys = ["result", "outcome", "estimand", "cohort", "event_time", "subgroup", "level"]
    published = bundle.effects[bundle.effects["result"].isin(again["result"])]
    one, other = (
        frame.loc[frame["estimate"].notna(), [*keys, *NUMBERS]].sort_values(keys, ignore_index=True)
        for frame in (again, published)
    )
    assert one["result"].tolist() == other["result"].tolist()
    np.testing.assert_allclose(one[NUMBERS].astype(float), other[NUMBERS].astype(float), rtol=1e-7, atol=1e-7)


def test_a_question_that_was_not_asked_has_no_answer(both: tuple[Study, Study]) -> None:
    with pytest.raises(InputError, match="did you mean 'for_whom'"):
        answer(both[1].release("2026"), "for_hwom")


def test_with_noise_everything_that_a_question_publishes_has_keys(tmp_path: Path) -> None:
    """No study calls `run.keyed`: nothing may be withheld for want of keys."""
    study = Study.open(asking(tmp_path / "noisy", open_release=False))
    study.run()
    reasons = study.release("2026").withheld
    assert not [reason for reason in reasons.values() if "keys" in reason]


def test_a_changed_question_is_another_plan(both: tuple[Study, Study], tmp_path: Path) -> None:
    study = Study.open(asking(tmp_path / "s"))
    made, new = study.plan()
    assert new
    again, new = Study.open(study.folder).plan()
    assert (again.sha256, new) == (made.sha256, False)
    plan = study.folder / "study.toml"
    plan.write_text(plan.read_text().replace("after = 2 ", "after = 1 "))
    changed, new = Study.open(study.folder).plan(reason="the last year is provisional")
    assert new
    assert changed.amends == made.sha256


def test_a_script_asks_questions_and_adds_its_own(tmp_path: Path) -> None:
    folder = asking(tmp_path / "s")
    (folder / "run.py").write_text(
        "def analyse(run):\n"
        "    cohort = run.cohort()\n"
        "    run.ask(cohort, 'effect_over_time')\n"
        "    moments = cohort.moments('earnings', cohort.spec())\n"
        "    run.publish('by_cohort', moments.att_gt().aggregate('group'))\n"
    )
    done = CliRunner().invoke(app, ["run", str(folder)])
    assert done.exit_code == 0, done.output
    assert "no page of the report shows: by_cohort" in done.output
    assert "att_by_age_band" not in done.output
    done = CliRunner().invoke(app, ["release", str(folder), "--edition", "1", "--draft"])
    assert "no page of the report shows: by_cohort" in done.output


def test_an_unknown_design_or_question_is_an_error(tmp_path: Path) -> None:
    folder = asking(tmp_path / "s")
    for call, said in (
        ("run.cohort('calender')", "unknown design 'calender'"),
        ("run.ask(run.cohort(), 'for_hwom')", "for_hwom"),
    ):
        (folder / "run.py").write_text(f"def analyse(run):\n    {call}\n")
        with pytest.raises(InputError, match=said):
            Study.open(folder).run(force=True)


def test_a_required_result_that_no_question_has_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    folder = asking(tmp_path / "s")
    plan = folder / "study.toml"
    plan.write_text(plan.read_text().replace("required = []", 'required = ["evnt_study"]'))
    with pytest.raises(InputError, match="evnt_study") as raised:
        Study.open(folder).run()
    assert "did you mean 'event_study'" in str(raised.value)
    assert not (folder / "store" / "results").exists()


def test_a_study_that_asks_nothing_says_how_to_ask(tmp_path: Path) -> None:
    folder = make(tmp_path / "s")
    (folder / "run.py").unlink()
    with pytest.raises(InputError, match="asks nothing") as raised:
        Study.open(folder).run()
    assert "[questions.NAME]" in str(raised.value)


# ---- the command line --------------------------------------------------------------------------------------------


def test_the_catalogue_is_printed_and_says_what_records_lack(both: tuple[Study, Study]) -> None:
    done = CliRunner().invoke(app, ["questions", "--json"])
    assert [item["name"] for item in json.loads(done.output)["questions"]][:3] == [
        "sample",
        "balance",
        "effect_over_time",
    ]
    done = CliRunner().invoke(app, ["questions", str(both[1].folder), "--json"])
    found = {item["name"]: item for item in json.loads(done.output)["questions"]}
    assert found["effect_over_time"] == {
        "name": "effect_over_time", "asked": True, "missing": [], "parts_missing": {"payback": "cost.amount"},
    }  # fmt: skip
    assert found["job_stability"]["missing"] == ["wage_record.employer_id"]
    done = CliRunner().invoke(app, ["questions", str(both[0].folder)])
    assert "a section [designs.NAME] of the study file" in done.output


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_study_can_be_started_with_each_design(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    done = CliRunner().invoke(app, ["init", str(folder), "--design", kind])
    assert done.exit_code == 0, done.output
    assert not (folder / "run.py").exists()
    study = read_study(folder)
    assert list(study.designs) == [kind]
    assert {file.stem for file in (folder / "data").iterdir()} == set(study.records)
    done = CliRunner().invoke(app, ["questions", str(folder)])
    assert "the records are not loaded" in done.output


def test_a_design_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown design 'waitng'"):
        new_study(tmp_path / "mine", design="waitng")
    with pytest.raises(InputError, match="has a design already"):
        new_study(tmp_path / "mine", template="agency", design="waiting")


def test_every_result_that_counts_as_shown_stands_in_a_page() -> None:
    import retrain_eval.report
    from retrain_eval.common.resources import resource

    root = Path(retrain_eval.report.__file__).parent
    texts = [file.read_text(encoding="utf-8") for file in root.rglob("*.py") if file.name != "shown.py"]
    texts += [file.read_text(encoding="utf-8") for file in resource("book").glob("*.md")]
    text = "\n".join(texts)
    made = {f"{name}_{part}" for name in ("jobless_since_start", "first_job", "first_job_ends", "jobless_by_age_group")
            for part in ("difference", "mean", "mean_difference")}  # fmt: skip
    for name in sorted(NAMES - made):
        assert f'"{name}"' in text, name
    for prefix in PREFIXES:
        assert f'"{prefix}' in text or "_by_" in prefix or prefix == "truth_event_study_", prefix


def test_a_question_that_the_records_cannot_answer_is_skipped_and_says_why(tmp_path: Path) -> None:
    study = Study.open(asking(tmp_path / "s", "\n[questions.job_stability]\n"))
    results = study.run()
    assert results.withheld()["job_stability"] == "it needs wage_record.employer_id"
    assert "did" in set(results.tables["effects"]["result"])


def test_a_question_without_the_section_that_it_needs_is_an_error(tmp_path: Path) -> None:
    folder = asking(tmp_path / "s")
    plan = folder / "study.toml"
    before, _, rest = plan.read_text().partition("[did]")
    plan.write_text(before + "[plan]" + rest.partition("[plan]")[2])
    with pytest.raises(InputError, match=r"\[questions.effect_over_time\] needs \[did\]"):
        Study.open(folder).run()


def test_a_design_whose_records_are_missing_names_them(tmp_path: Path) -> None:
    folder = asking(tmp_path / "s")
    plan = folder / "study.toml"
    text = plan.read_text()
    head, _, rest = text.partition("[designs.calendar]")
    plan.write_text(head + "[designs.waiting]\n" + rest[rest.index("\n\n") :])
    with pytest.raises(InputError, match="the design waiting needs records of displacement"):
        Study.open(folder).run()


# ---- what an edition says of its questions -------------------------------------------------------------------------


def with_answers(bundle: Path, to: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """Copy an edition, change what it says of its questions, and seal it again, as an attacker would."""
    shutil.copytree(bundle, to)
    rows = json.loads((to / "questions.json").read_text())
    change(rows)
    text = json.dumps(rows)
    (to / "questions.json").write_text(text)
    manifest = json.loads((to / "manifest.json").read_text())
    manifest["files"]["questions.json"] = hashlib.sha256(text.encode()).hexdigest()
    (to / "manifest.json").write_text(spelt(sealed(manifest)))
    return to


def of(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(row for row in rows if row["question"] == name)


def test_an_edition_says_by_which_version_from_which_tables_a_question_was_answered(both: tuple[Study, Study]) -> None:
    folder = both[1].release("2026").path
    made = of(json.loads((folder / "questions.json").read_text()), "for_whom")
    assert (made["version"], made["design"]) == (QUESTIONS["for_whom"].version, "calendar")
    assert made["tables"] == ["moments/matched_by_age_band"]
    assert {"att_by_age_band", "difference_by_age_band"} <= set(made["results"])


def test_other_options_another_question_and_another_design_are_found(both: tuple[Study, Study], tmp_path: Path) -> None:
    folder = both[1].release("2026").path
    changes: dict[str, Callable[[list[dict[str, Any]]], object]] = {
        "other options than study.toml": lambda rows: of(rows, "for_whom")["options"].update(strata=["education"]),
        "study.toml does not ask it": lambda rows: of(rows, "for_whom").update(question="job_quality"),
        "another design": lambda rows: of(rows, "for_whom").update(design="waiting"),
        "questions.json does not have it": lambda rows: rows.remove(of(rows, "for_whom")),
        "is not valid": lambda rows: of(rows, "for_whom").update(version="2"),
    }
    for number, (said, change) in enumerate(changes.items()):
        altered = with_answers(folder, tmp_path / str(number), change)  # type: ignore[arg-type]
        assert said in "\n".join(verify(altered).problems), said


def test_an_answer_from_other_tables_is_not_the_published_one(both: tuple[Study, Study], tmp_path: Path) -> None:
    """Estimates of the bundle are compared with the answer of the question, not only with their recipes."""
    folder = both[1].release("2026").path
    effects = pd.read_csv(folder / "effects.csv")
    bundle = Bundle.open(folder)
    published = Results.read(folder)
    row = effects.index[(effects["result"] == "att_by_age_band") & effects["estimate"].notna()][0]
    published.tables["effects"].loc[row, "estimate"] += 1
    found, left = answers_differ(bundle, published)
    assert (found, left) == (
        ["the question for_whom, att_by_age_band: 1 of 4 estimates are not those of the answer"],
        [],
    )


def test_a_question_of_another_version_is_not_checked_and_not_answered(
    both: tuple[Study, Study], tmp_path: Path
) -> None:
    altered = with_answers(
        both[1].release("2026").path, tmp_path / "v", lambda rows: of(rows, "for_whom").update(version=99)
    )
    found = verify(altered)
    assert found.problems == ()
    assert [line for line in found.unchecked if "for_whom" in line and "version 99" in line]
    with pytest.raises(InputError, match="by version 99 of the question"):
        answer(altered, "for_whom")
