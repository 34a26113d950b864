from __future__ import annotations

import os
from pathlib import Path

import pytest

import bundles
from retrain_eval.common.locks import locked
from retrain_eval.report.building import book
from retrain_eval.report.page import Release, Study, open_release


@pytest.fixture(scope="session")
def bundle_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Paths of a main study and two companions."""
    return bundles.write_release(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def earlier_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Paths of earlier editions of the main study."""
    return bundles.write_earlier(tmp_path_factory.mktemp("earlier"))


@pytest.fixture(scope="session")
def release(bundle_paths: list[Path]) -> Release:
    return open_release(bundle_paths)


@pytest.fixture(scope="session")
def study(release: Release) -> Study:
    return release.main


@pytest.fixture(scope="session")
def report(bundle_paths: list[Path], earlier_paths: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the one report that Jupyter Book really builds for the default tests, in whichever worker."""
    base = tmp_path_factory.getbasetemp()
    output = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "report" / "html"
    output.parent.mkdir(exist_ok=True)
    with locked(output):
        return book.build(bundle_paths, output, earlier=earlier_paths).parent
