"""A new study folder: the plan, the script, and one empty file for each record type."""

from __future__ import annotations

import shutil
from pathlib import Path

from retrain_eval.errors import InputError
from retrain_eval.files import new_folder
from retrain_eval.resources import resource
from retrain_eval.schemas import load_package
from retrain_eval.study import read_study

TEMPLATE = Path(__file__).parent / "templates" / "study"


def new_study(folder: str | Path) -> list[str]:
    """Write a study folder to fill.

    Parameters
    ----------
    folder : str or Path
        A folder that does not exist yet.

    Returns
    -------
    list of str
        The files written, relative to the folder.

    Raises
    ------
    InputError
        If the folder exists: nothing is ever overwritten.

    Examples
    --------
    >>> import tempfile
    >>> new_study(Path(tempfile.mkdtemp()) / "mine")[:3]
    ['data/enrolment.csv', 'data/person.csv', 'data/programme.csv']
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder} exists already", fix="name a new folder")
    package = load_package(resource("data_schemas"))
    with new_folder(folder) as work:
        for file in sorted(TEMPLATE.glob("*.*")):
            shutil.copyfile(file, work / file.name)
        for name, file_name in read_study(work).records.items():
            target = work / file_name
            target.parent.mkdir(exist_ok=True)
            target.write_text(",".join(field.name for field in package[name].fields) + "\n", encoding="utf-8")
        written = sorted(file.relative_to(work).as_posix() for file in work.rglob("*") if file.is_file())
    return written
