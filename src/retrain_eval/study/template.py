"""A new study folder: plan, script and an empty file for each record type, or the study of the synthetic agency."""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.files import PRIVATE, PUBLIC, new_folder, set_modes
from retrain_eval.common.resources import resource
from retrain_eval.plan.study_file import FILE, read_study
from retrain_eval.records.schema.dictionary import load_package

TEMPLATE = Path(__file__).parent / "templates" / "study"
NAME = "my_study"  # what the template is called
TEMPLATES = ("study", "agency")


def new_study(folder: str | Path, template: str = "study") -> list[str]:
    """Write a study folder to fill.

    Parameters
    ----------
    folder : str or Path
        A folder that does not exist yet.
    template : {"study", "agency"}
        An empty study, or that of a synthetic agency with quarterly wage records, which runs as it is.

    Returns
    -------
    list of str
        The files written, relative to the folder.

    Raises
    ------
    InputError
        If the folder exists: nothing is ever overwritten. If there is no such template.

    Examples
    --------
    >>> import tempfile
    >>> new_study(Path(tempfile.mkdtemp()) / "mine")[:3]
    ['data/enrolment.csv', 'data/person.csv', 'data/programme.csv']
    """
    folder = Path(folder)
    if template not in TEMPLATES:
        raise unknown("template", template, TEMPLATES)
    if folder.exists():
        raise InputError(f"{folder} exists already", fix="name a new folder")
    with new_folder(folder, access="as written") as work:
        if template == "agency":
            _copy(resource("analyses/agency"), work, "agency", _study_name(folder))
        else:
            _copy(TEMPLATE, work, NAME, _study_name(folder))
            _empty_records(work)
        set_modes(work, *PUBLIC)
        if (work / "data").exists():  # for records about people
            set_modes(work / "data", *PRIVATE)
        written = sorted(file.relative_to(work).as_posix() for file in work.rglob("*") if file.is_file())
    return written


def _copy(source: Path, work: Path, name: str, new_name: str) -> None:
    """Copy plan, script and schemas, not what a run has made of them, and give the study its own name."""
    for pattern in (FILE, "*.py", "data_schemas/*.json"):
        for file in sorted(source.glob(pattern)):
            target = work / file.relative_to(source)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)
    plan = work / FILE
    text = plan.read_text(encoding="utf-8").replace(f'name = "{name}"', f'name = "{new_name}"')
    plan.write_text(text, encoding="utf-8")


def _empty_records(work: Path) -> None:
    """Write a file with only its header for each record type that the plan names."""
    package = load_package(resource("data_schemas"))
    for name, file_name in read_study(work).records.items():
        target = work / str(file_name)
        target.parent.mkdir(exist_ok=True)
        target.write_text(",".join(field.name for field in package[name].fields) + "\n", encoding="utf-8")


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
