"""The script of a study, ``run.py``: code, and the only code of a study folder that is run.

It is optional: without it, or without ``analyse`` in it, a study asks the questions of its study file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.files import sha256
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.catalogue import QUESTIONS
from retrain_eval.questions.protocol import Inquiry
from retrain_eval.study.run import Run

SCRIPT = "run.py"


def load_script(folder: Path, study: StudyFile) -> ModuleType | None:
    """Run the script of a study, with the rights of the user, and return it as a module; None if there is none.

    Parameters
    ----------
    folder : Path
        Folder of the study.
    study : StudyFile
        The module is named after it.

    Raises
    ------
    InputError
        If there is no script and the study file asks nothing, or it imports from modules of this package that do not
        exist (any more).
    """
    path = folder / SCRIPT
    if not path.is_file():
        if not any(study.questions.asked()):
            raise InputError(
                f"the study asks nothing: it has no {SCRIPT}, and its study file no question",
                file=path,
                fix="add a section [questions.NAME] to study.toml; `retrain-eval questions` lists them",
            )
        return None
    spec = importlib.util.spec_from_file_location(f"retrain_eval_study_{study.study.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # where dataclasses and pickle look for what the script defines
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "retrain_eval":
            raise
        raise InputError(
            f"{SCRIPT} imports what this version does not have: {error.msg}",
            file=path,
            rule="a study imports retrain_eval and nothing below it",
            fix="write `import retrain_eval as rte`, and rte.NAME for what it needs; dir(rte) lists the names",
        ) from None
    return module


def script_sha256(folder: Path) -> str:
    """Return the SHA-256 of the script of a study; without one, that of an empty file."""
    path = folder / SCRIPT
    return sha256(path) if path.is_file() else hashlib.sha256().hexdigest()


def ask_all(run: Run) -> None:
    """Ask every question of the study file, design by design."""
    for name in run.study.designs:
        if any(run.study.questions.of_design(name, tuple(run.study.designs))):
            run.ask(run.cohort(name))


def analysis_of(script: ModuleType | None, study: StudyFile) -> Callable[[Run], object]:
    """Return what a run calls: the function ``analyse`` of the script, or else `ask_all`.

    Raises
    ------
    InputError
        If the script does not define one, and the study file asks nothing; if nothing that is asked gives a result that
        ``[plan] required`` names.
    """
    analyse: Callable[[Run], object] | None = getattr(script, "analyse", None)
    if analyse is None and any(study.questions.asked()):
        _check_required(study)
        return ask_all
    if script is None or analyse is None or not callable(analyse):
        raise InputError(
            f"{SCRIPT} does not define analyse(run), and study.toml asks no question",
            file=None if script is None else Path(str(script.__file__)),
            fix="define it, or add a section [questions.NAME] to study.toml",
        )
    return analyse


def _check_required(study: StudyFile) -> None:
    """Refuse a result in ``[plan] required`` that no question of the study has."""
    known: list[str] = []
    for name, options in study.questions.asked():
        design = options.design or next(iter(study.designs))
        known += QUESTIONS[name].publishes(Inquiry(study, design, options))
    for name in study.plan.required:
        if name not in known:
            raise unknown("result in [plan] required", name, dict.fromkeys(known))
