from __future__ import annotations

from pathlib import Path

import pytest

import attacked


@pytest.fixture(scope="session")
def edition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sound edition, which tests copy before they alter it."""
    return attacked.write_edition(tmp_path_factory.mktemp("attacked"))
