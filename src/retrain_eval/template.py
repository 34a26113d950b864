"""A new study folder: the plan, the script, and one empty file for each record type."""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path

from retrain_eval.errors import InputError
from retrain_eval.files import new_folder
from retrain_eval.resources import resource
from retrain_eval.schemas import load_package
from retrain_eval.study import FILE, read_study

TEMPLATE = Path(__file__).parent / "templates" / "study"
NAME = "my_study"  # what the template is called


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
        plan = work / FILE
        plan.write_text(plan.read_text(encoding="utf-8").replace(NAME, _study_name(folder)), encoding="utf-8")
        for name, file_name in read_study(work).records.items():
            target = work / file_name
            target.parent.mkdir(exist_ok=True)
            target.write_text(",".join(field.name for field in package[name].fields) + "\n", encoding="utf-8")
        written = sorted(file.relative_to(work).as_posix() for file in work.rglob("*") if file.is_file())
    return written


def _study_name(folder: Path) -> str:
    """Return the folder's name as a study file can hold it.

    Examples
    --------
    >>> _study_name(Path("studies/Élan 2026")), _study_name(Path("2026"))
    ('elan_2026', 'study_2026')
    """
    plain = unicodedata.normalize("NFKD", folder.resolve().name.lower()).encode("ascii", "ignore").decode()
    name = re.sub("[^a-z0-9]+", "_", plain).strip("_")
    return name if name[:1].isalpha() else f"study_{name}".rstrip("_")
