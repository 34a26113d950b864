"""The script of a study, ``run.py``: code, and the only code of a study folder that is run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from retrain_eval.common.errors import InputError
from retrain_eval.study.run import Run

SCRIPT = "run.py"


def load_script(folder: Path, study: str) -> ModuleType:
    """Run the script of a study, with the rights of the user, and return it as a module.

    Parameters
    ----------
    folder : Path
        Folder of the study.
    study : str
        Name of the study, after which the module is named.

    Raises
    ------
    InputError
        If there is no script, or it imports from modules of this package that do not exist (any more).
    """
    path = folder / SCRIPT
    if not path.is_file():
        raise InputError(f"the study has no {SCRIPT}", file=path, fix="it must define analyse(run)")
    spec = importlib.util.spec_from_file_location(f"retrain_eval_study_{study}", path)
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


def analysis_of(script: ModuleType) -> Callable[[Run], object]:
    """Return the function ``analyse`` of a script.

    Raises
    ------
    InputError
        If it does not define one.
    """
    analyse: Callable[[Run], object] | None = getattr(script, "analyse", None)
    if analyse is None or not callable(analyse):
        raise InputError(f"{SCRIPT} does not define analyse(run)", file=Path(str(script.__file__)))
    return analyse
