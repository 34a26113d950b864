"""The user guide says what the program does: every field, every command, every link."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.testing import CliRunner

import reference
from places import ROOT
from retrain_eval.cli import app

DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_every_field_of_the_study_file_is_explained_with_its_default() -> None:
    told: dict[str, dict[str, str]] = {}
    for part in page("study-file.md").split("\n## ")[1:]:
        name = re.match(r"`\[([^\]]+)\]`", part)
        assert name is not None, part[:40]
        rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", part, re.MULTILINE)
        assert all(meaning.strip().endswith(".") for _, _, meaning in rows), name[1]
        told[name[1]] = {field: default for field, default, _ in rows}
    assert told.pop("records") == {}  # names of record types, which `schema` lists
    assert told == reference.fields()


def test_the_page_on_the_commands_is_what_the_program_says() -> None:
    assert page("commands.md") == reference.commands().rstrip() + "\n", (
        "write it again: python tests/support/reference.py"
    )


@pytest.mark.parametrize("name", sorted(file.name for file in DOCS.glob("*.md")))
def test_every_command_and_option_shown_exists(name: str) -> None:
    text = page(name)
    shown = re.findall(r"`(retrain-eval [^`\n]+)`", text)
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    shown += [line.strip() for block in blocks for line in block.splitlines()]
    for line in shown:
        words = shlex.split(line, comments=True)
        if words[:1] != ["retrain-eval"] or words[1:2] in ([], ["VERB"]):
            continue
        done = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"})
        assert done.exit_code == 0, line
        for option in (word for word in words[2:] if word.startswith("--")):
            assert option in done.output, line


@pytest.mark.parametrize("name", sorted(file.name for file in DOCS.glob("*.md")))
def test_every_link_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page(name))
    assert [link for link in links if not link.startswith("http") and not (DOCS / link).exists()] == []


def test_the_pages_a_reader_is_told_of_are_in_the_book() -> None:
    titles = {
        re.search(r'^title: "(.+)"$', file.read_text(encoding="utf-8"), re.MULTILINE)[1]
        for file in (DOCS.parent / "book").glob("*.md")
    }
    told = re.findall(r"^\| ([^|]+?) \| .+ \|$", page("read-a-report.md"), re.MULTILINE)[1:]
    assert len(told) > 5
    assert set(told) - {"---"} <= titles


def test_the_security_page_is_linked_and_says_what_each_command_promises() -> None:
    root = DOCS.parent
    told = (root / "SECURITY.md").read_text(encoding="utf-8")
    for name in ("README.md", "DEVELOPERS.md", "docs/README.md"):
        assert "SECURITY.md)" in (root / name).read_text(encoding="utf-8"), name
    names = {str(command.name or getattr(command.callback, "__name__", "")) for command in app.registered_commands}
    assert {"ingest", "release", "verify"} <= names
    assert [name for name in sorted(names) if f"`{name}`" not in told] == []


def test_every_file_that_the_developers_guide_names_is_there() -> None:
    text = (ROOT / "DEVELOPERS.md").read_text()
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/**/*.py") if ".venv" not in path.parts}
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    assert [name for name in sorted(named) if not any(f"/{file}".endswith(f"/{name}") for file in files)] == []
