"""What ``import retrain_eval`` offers, and what it costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import retrain_eval as rte
from places import ROOT


@pytest.mark.parametrize("name", rte.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert name in dir(rte)
    assert getattr(rte, name).__name__ == name
    assert getattr(rte, name).__doc__


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="att_gtt"):
        rte.att_gtt  # noqa: B018


@pytest.mark.parametrize("command", ["import retrain_eval", "import retrain_eval.cli"])
def test_importing_loads_no_heavy_package(command):
    heavy = {"duckdb", "pandas", "scipy", "pyarrow", "pyfixest", "plotnine", "formulaic"}
    code = f"{command}; import sys; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_citation_names_the_version_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_no_public_name_is_that_of_a_module():
    """A submodule that is imported somewhere would take the place of the name."""
    modules = {path.stem for path in (ROOT / "src" / "retrain_eval").iterdir()}
    assert not modules & set(rte.__all__)


STUDIES = [
    *sorted(ROOT.glob("analyses/*/run.py")),
    ROOT / "src" / "retrain_eval" / "study" / "templates" / "study" / "run.py",
]
GUIDES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(ROOT.glob("docs/*.md"))]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_a_study_imports_the_package_and_nothing_below_it(path: Path) -> None:
    imported = {
        name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name and name.startswith("retrain_eval")
    }
    assert imported == {"retrain_eval"}


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_a_guide_uses_public_names_only(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"(?:from|import) retrain_eval\.\S+", text) == []
    assert [
        name for name in re.findall(r"\b(?:rte|retrain_eval)\.([A-Za-z_]\w*)", text) if name not in rte.__all__
    ] == []


def test_the_public_names_are_grouped_and_each_is_listed_once() -> None:
    lines = (ROOT / "src" / "retrain_eval" / "__init__.pyi").read_text().splitlines()
    names = [line.split(" as ")[1] for line in lines if line.startswith("from ")]
    assert sorted(names) == sorted(set(names)) == sorted(rte.__all__)
    assert 50 <= len(names) <= 75
