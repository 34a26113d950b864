"""The folders that ship with the package are found in a checkout and in a wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import retrain_eval
from places import ROOT
from retrain_eval.common.errors import InputError
from retrain_eval.common.resources import resource


def test_checkout_serves_its_own_folders() -> None:
    assert resource("data_schemas") == ROOT / "data_schemas"
    assert resource("book") == ROOT / "book"
    with pytest.raises(InputError, match="did you mean 'book'"):
        resource("books")


def test_installed_package_serves_the_folder_beside_its_modules(tmp_path: Path) -> None:
    """Lay the package out as a wheel does, elsewhere, and open a store from there."""
    site = tmp_path / "site-packages"
    package = Path(retrain_eval.__file__).parent
    shutil.copytree(package, site / "retrain_eval", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data_schemas", site / "retrain_eval" / "data_schemas")
    code = (
        "from retrain_eval.common.errors import StoreError; from retrain_eval.common.resources import resource\n"
        "from retrain_eval.records.store import Store\n"
        "print(resource('data_schemas')); print(Store.open('s.duckdb').package.names)\n"
        "try: resource('book')\nexcept StoreError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    folder, names, missing = done.stdout.splitlines()
    assert folder == str(site / "retrain_eval" / "data_schemas")
    assert "person" in names
    assert "lacks its folder 'book'" in missing
