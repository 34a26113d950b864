"""A new study folder: plan, script and an empty file for each record type, or the study of the synthetic agency."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.files import PRIVATE, PUBLIC, new_folder, set_modes
from retrain_eval.common.resources import resource
from retrain_eval.plan.designs import KINDS
from retrain_eval.plan.study_file import FILE, read_study
from retrain_eval.records.schema.dictionary import load_package

TEMPLATE = Path(__file__).parent / "templates" / "study"
DESIGNS = Path(__file__).parent / "templates" / "designs"
NAME = "my_study"  # what the template is called
TEMPLATES = ("study", "agency")
_MATCHED, _AFTER = "# who is compared with whom", "[did]"  # what a design takes the place of, and what follows it
_RECORDS: Mapping[str, tuple[str, ...]] = {  # what a design needs besides the template's records
    "waiting": ("displacement", "coverage"),
    "entry": ("registrant", "coverage"),
}


def new_study(folder: str | Path, template: str = "study", design: str = "") -> list[str]:
    """Write a study folder to fill.

    Parameters
    ----------
    folder : str or Path
        A folder that does not exist yet.
    template : {"study", "agency"}
        An empty study, or that of a synthetic agency with quarterly wage records, which runs as it is.
    design : {"waiting", "entry", "calendar", "randomised", "observed"}, optional
        An empty study without ``run.py``, which asks its questions in a design of this kind.

    Returns
    -------
    list of str
        The files written, relative to the folder.

    Raises
    ------
    InputError
        If the folder exists: nothing is ever overwritten. If there is no such template or design, or both are given.

    Examples
    --------
    >>> import tempfile
    >>> new_study(Path(tempfile.mkdtemp()) / "mine")[:3]
    ['data/enrolment.csv', 'data/person.csv', 'data/programme.csv']
    """
    folder = Path(folder)
    if template not in TEMPLATES:
        raise unknown("template", template, TEMPLATES)
    if design and design not in KINDS:
        raise unknown("design", design, KINDS)
    if design and template != "study":
        raise InputError(f"the template {template!r} has a design already", fix="leave out --design or --template")
    if folder.exists():
        raise InputError(f"{folder} exists already", fix="name a new folder")
    with new_folder(folder, access="as written") as work:
        if template == "agency":
            _copy(resource("analyses/agency"), work, "agency", _study_name(folder))
        else:
            _copy(TEMPLATE, work, NAME, _study_name(folder))
            if design:
                _use_design(work, design)
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


def _use_design(work: Path, design: str) -> None:
    """Put a design and its questions into the study file, which then needs no script, and name the records it needs."""
    (work / "run.py").unlink()
    plan = work / FILE
    before, _, rest = plan.read_text(encoding="utf-8").partition(_MATCHED)
    text = before + (DESIGNS / f"{design}.toml").read_text(encoding="utf-8") + "\n" + _AFTER + rest.partition(_AFTER)[2]
    if design in _RECORDS:  # quarterly wage records under coverage
        lines = "".join(f'{name} = "data/{name}.csv"\n' for name in _RECORDS[design])
        wages = 'wage_record = "data/wage_record.csv"\n'
        text = text.replace(wages, wages + lines).replace('frequency = "year"   ', 'frequency = "quarter"')
        text = text.replace('no_record = "missing"  ', 'no_record = "coverage" ')
    plan.write_text(text, encoding="utf-8")
    known = load_package(resource("data_schemas")).names
    for schema in DESIGNS.glob("*.json"):
        if schema.stem in _RECORDS.get(design, ()) and schema.stem not in known:
            (work / "data_schemas").mkdir(exist_ok=True)
            shutil.copyfile(schema, work / "data_schemas" / schema.name)


def _empty_records(work: Path) -> None:
    """Write a file with only its header for each record type that the plan names."""
    own = work / "data_schemas"
    package = load_package(resource("data_schemas"), *([own] if own.is_dir() else []))
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
