"""What the user guide has to say, read from the program itself."""

from __future__ import annotations

import json
import tomllib
from typing import get_args

import msgspec
import typer

from places import ROOT
from retrain_eval.cli import app
from retrain_eval.plan.designs import KINDS
from retrain_eval.plan.rules import PROFILES
from retrain_eval.plan.study_file import StudyFile


def fields() -> dict[str, dict[str, str]]:
    """Return section → field → default as the guide writes it, in the order of the program."""
    found = {}
    for section in msgspec.structs.fields(StudyFile):
        if section.encode_name == "designs":  # a dictionary of kinds
            found |= {f"designs.{name}": _fields(kind) for name, kind in KINDS.items()}
            continue
        if section.encode_name == "questions":
            for question in msgspec.structs.fields(section.type):
                found[f"questions.{question.encode_name}"] = _fields(get_args(question.type)[0])
            continue
        kinds = [kind for kind in (section.type, *get_args(section.type)) if _is_section(kind)]
        if kinds:
            named = section.type is not kinds[0] and type(None) not in get_args(section.type)
            name = f"{section.encode_name}.NAME" if named else section.encode_name
            found[name] = _fields(kinds[0])
    rules = tomllib.loads((PROFILES / "default.toml").read_text(encoding="utf-8"))  # what holds unless a study says so
    found["release"] |= {name: f"`{json.dumps(value)}`" for name, value in rules.items()}
    return found


def _fields(section: type[msgspec.Struct]) -> dict[str, str]:
    return {field.encode_name: default(field) for field in msgspec.structs.fields(section)}


def default(field: msgspec.structs.FieldInfo) -> str:
    """Return a default as TOML has it; a dash where there is none, and the word where a value is required."""
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "—" if value is None or value == "" else f"`{json.dumps(value, ensure_ascii=False)}`"


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def commands() -> str:
    """Return the page of the guide on the command line: every verb with its options, as ``--help`` has them."""
    lines = [
        "# The commands",
        "",
        "Every verb can be repeated: what has not changed is not done again. `--json` prints one JSON object for",
        "machines; an error then is one too, and the exit code is 1. `retrain-eval VERB --help` prints what stands",
        "here.",
        "",
    ]
    for name, verb in typer.main.get_command(app).commands.items():
        arguments = [param for param in verb.params if param.param_type_name == "argument"]
        names = [str(param.name).upper() for param in arguments]
        usage = " ".join(n if param.required else f"[{n}]" for n, param in zip(names, arguments, strict=True))
        lines += [f"## `retrain-eval {name} {usage}`", "", verb.help, "", "| option | what it does |", "|---|---|"]
        for param in verb.params:
            shown = str(param.name).upper() if param in arguments else param.opts[0]
            must = " Required." if param.required and param not in arguments else ""
            lines.append(f"| `{shown}` | {param.help}{must} |")
        lines += ["", "```console", verb.epilog.removeprefix("Example: "), "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    (ROOT / "docs" / "commands.md").write_text(commands().rstrip() + "\n", encoding="utf-8")
