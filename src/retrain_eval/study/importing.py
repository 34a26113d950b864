"""Raw files of an agency into a study: what a layout makes of them is reported, stored, and entered in study.toml."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from retrain_eval.common.errors import InputError
from retrain_eval.common.files import write_text
from retrain_eval.common.locks import locked
from retrain_eval.common.untrusted import own_bytes, shown
from retrain_eval.plan.sources import Crosswalk, Source
from retrain_eval.plan.study_file import FILE, read_study
from retrain_eval.records.layouts.description import Field, Layout
from retrain_eval.records.layouts.library import find_layout, read_shipped, shipped_layouts
from retrain_eval.records.loading.progress import Watch, unwatched
from retrain_eval.study.folder import Study
from retrain_eval.study.publishing import Say

Printed = tuple[dict[str, object], str]  # for machines, and for readers


class Wanted(NamedTuple):
    """What the command line says of a source: its name, ``name=value`` of options and fields, a crosswalk."""

    name: str = ""
    options: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    crosswalk: Path | None = None


def list_layouts(name: str = "") -> Printed:
    """Return the layouts that ship: name, title and record types; or, of one, its options and fields."""
    if name:
        return describe(name)
    found = [read_shipped(path) for path in shipped_layouts().values()]
    width = max(len(layout.name) for layout in found)
    lines = [f"{layout.name:<{width}}  {layout.title}: {', '.join(layout.records)}" for layout in found]
    facts = [{"name": one.name, "title": one.title, "records": list(one.records)} for one in found]
    return {"layouts": facts}, "\n".join([*lines, "", "retrain-eval import --list NAME prints options and fields"])


def describe(name: str) -> Printed:
    """Return the options, fields and public sources of a layout."""
    layout = read_shipped(find_layout(name, Path()))
    lines = [f"{layout.name}: {layout.title}", "", layout.description.strip(), "", "Options"]
    for key, option in layout.options.items():
        value = option.default if isinstance(option.default, str) else ", ".join(option.default)
        choices = f" ({', '.join(option.choices)})" if option.choices else ""
        chosen = value or ("(to be chosen)" if option.choices else "nothing")
        lines.append(f"  {key} = {chosen}{choices}: {' '.join(option.says.split())}")
    lines += ["", "Fields"]
    lines += [f"  {key}: {_places(one, layout)}{'; required' * one.required}" for key, one in layout.fields.items()]
    lines += ["", "Records"]
    lines += [f"  {record}: {', '.join(rule.columns)}" for record, rule in layout.records.items()]
    lines += ["", "Public sources", *(f"  {one.title} {one.address}".rstrip() for one in layout.origins)]
    return {"layouts": [msgspec.to_builtins(layout)]}, "\n".join(lines)


def _places(one: Field, layout: Layout) -> str:
    elements = (one.element,) if isinstance(one.element, str) else one.element
    spelled = [layout.file.spellings[0].replace("{}", element) for element in elements if element]
    places = [*spelled, *one.names, *([f"positions {one.at[0]}-{one.at[1]}"] if one.at else [])]
    return ", ".join(places)


def import_source(
    folder: str | Path | None,
    layout: str | None,
    files: Sequence[Path] | None,
    wanted: Wanted,
    *,
    dry_run: bool = False,
    say: Say = lambda _: None,
    watch: Watch = unwatched,
) -> Printed:
    """Load raw files through a layout, and enter them in the study file as ``[sources.NAME]``.

    Parameters
    ----------
    folder : str or Path
        The study.
    layout : str
        A layout that ships, or a file next to the study.
    files : sequence of Path
        In the order of their delivery.
    wanted : Wanted
        Name of the source (by default that of the layout), options, headers, crosswalk.
    dry_run : bool
        Only report, and write nothing.
    say, watch : callable
        See `Study.ingest`.

    Returns
    -------
    (dict, str)
        The report and the section of the study file, for machines and for readers.

    Raises
    ------
    InputError
        If a file cannot be read or has rows that break a rule; then neither the store nor the study file changes.
    """
    if folder is None or layout is None or not files:
        raise InputError("import needs a study folder, a layout and files", fix="layouts: retrain-eval import --list")
    report: list[str] = []

    def note(text: str) -> None:
        report.append(text)
        say(text)

    study = Study.open(folder)
    name = wanted.name or Path(layout).stem.replace("-", "_")
    texts = tuple(_relative(study.folder, path) for path in files)
    source = Source(
        layout=layout,
        file=texts if len(texts) > 1 else texts[0],
        options=dict(_pair(text) for text in wanted.options),
        fields=dict(_pair(text) for text in wanted.fields),
        crosswalk=Crosswalk(file=_relative(study.folder, wanted.crosswalk)) if wanted.crosswalk else None,
    )
    if not name.isidentifier():
        raise InputError(
            "this cannot be the name of a source", value=shown(name), rule="letters, digits and underscores"
        )
    known = study.file.sources.get(name)
    if known is not None and known != source:
        raise InputError(f"study.toml has another [sources.{name}]", file=study.folder / FILE,
                         fix="give another --name, or edit that section")  # fmt: skip
    section = _section(name, source)
    with_it = Study(study.folder, msgspec.structs.replace(study.file, sources={**study.file.sources, name: source}))
    with_it.ingest(note, dry_run=dry_run, watch=watch).close()
    if known is None and not dry_run:
        path = study.folder / FILE
        with locked(path):
            text = own_bytes(path, "the study file").decode("utf-8")
            write_text(path, f"{text.rstrip()}\n\n{section}\n", access="as written")
        read_study(path)
    done = "nothing was stored; for study.toml:" if dry_run else "study.toml has:"
    return {"report": report, "section": section, "dry_run": dry_run}, f"{done}\n{section}"


def _relative(folder: Path, path: Path) -> str:
    """Return a file as the study file names it: relative to the study, or in full where it lies elsewhere."""
    whole, here = path.resolve(), folder.resolve()
    return whole.relative_to(here).as_posix() if whole.is_relative_to(here) else whole.as_posix()


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError("an option and a field are written name=value", value=shown(text))
    return name.strip(), value.strip()


def _section(name: str, source: Source) -> str:
    """Return a source as TOML."""
    given = {key: value for key, value in msgspec.to_builtins(source).items() if value != _DEFAULTS.get(key)}
    return "\n".join([f"[sources.{name}]", *(f"{key} = {_toml(value)}" for key, value in given.items())])


_DEFAULTS = msgspec.to_builtins(Source(layout="", file=""))


def _toml(value: object) -> str:
    """Return a text, number, list or table as TOML.

    Examples
    --------
    >>> _toml({"unit": "cents", "codes": ["1", "2"]})
    '{unit = "cents", codes = ["1", "2"]}'
    """
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if one != ""}
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in kept.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
