"""The disclosure officer's page: every number exact next to published, withheld ones too, and who decided when."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from retrain_eval.release.editions.officer import COLUMNS, compared, decide, decisions
from retrain_eval.release.results import Results


class Edition:
    """What `decide` reads of an edition."""

    def __init__(self, edition: str, sha256: str) -> None:
        self.edition, self.sha256 = edition, sha256


def effects(estimate: list[float]) -> pd.DataFrame:
    from bundles import effect

    rows = [effect("did", e, 2.0, level=level) for e, level in zip(estimate, ("a", "b"), strict=False)]
    return pd.DataFrame(rows)


def test_exact_and_published_stand_side_by_side_and_withheld_rows_stay() -> None:
    exact, published = Results(tables={"effects": effects([10.0, 20.0])}), Results(tables={"effects": effects([11.0])})
    found = compared(exact, published)
    assert list(found.columns) == list(COLUMNS)
    estimates = found[found["number"] == "estimate"]
    assert estimates["exact"].tolist() == [10.0, 20.0]
    assert estimates["published"].tolist()[0] == 11.0
    assert np.isnan(estimates["published"].tolist()[1])
    assert estimates["shift_in_errors"].tolist()[0] == 0.5
    assert estimates["status"].tolist() == ["changed", "withheld"]
    assert set(found.loc[found["number"] == "std_error", "status"]) == {"as it is", "withheld"}


def test_rows_are_found_by_their_keys_and_not_by_their_place() -> None:
    table = pd.DataFrame({"step": ["all", "matched"], "group": "treated", "n": [100, 40], "reason": ""})
    found = compared(Results(tables={"flow": table}), Results(tables={"flow": table.iloc[::-1]}))
    assert found["status"].tolist() == ["as it is", "as it is"]
    assert found["people"].tolist() == [100, 40]


def test_decisions_are_kept_with_name_time_and_bytes(tmp_path: Path) -> None:
    when = datetime(2026, 5, 1, tzinfo=UTC)
    one, other = Edition("2026", "a" * 64), Edition("2026", "b" * 64)
    decide(tmp_path, one, "returned", "A. Officer", "too few", when)  # type: ignore[arg-type]
    decide(tmp_path, one, "returned", "A. Officer", "too few", datetime.now(UTC))  # type: ignore[arg-type]
    decide(tmp_path, other, "approved", "A. Officer", when=when)  # type: ignore[arg-type]
    made = decisions(tmp_path)
    assert [item["decision"] for item in made] == ["returned", "approved"]
    assert made[0] == {
        "edition": "2026",
        "decision": "returned",
        "by": "A. Officer",
        "when": "2026-05-01T00:00:00+00:00",
        "reason": "too few",
        "manifest_sha256": "a" * 64,
    }
    file = next((tmp_path / "disclosure").glob("*.json"))
    assert os.stat(file).st_mode & 0o077 == 0
    assert len(json.loads(file.read_text())) == 2
