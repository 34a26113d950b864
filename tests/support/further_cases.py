"""Helpers of the tests in this folder: right value or clear refusal, small panels, small study folders."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import RetrainEvalError


def refusal_of(call: Callable[[], object]) -> str | None:
    """Return the text of the refusal, or None where the call answers; any other error is the test's failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except RetrainEvalError as error:
            return str(error)
    return None


def refused(call: Callable[[], object], *words: str) -> str:
    """Assert a refusal whose message has every word; alternatives are separated by ``|``."""
    with pytest.raises(RetrainEvalError) as caught:
        call()
    text = str(caught.value)
    missing = [word for word in words if not any(one.lower() in text.lower() for one in word.split("|"))]
    assert not missing, f"the refusal does not name {missing}: {text}"
    return text


def right_or_refused(
    call: Callable[[], Any], expected: Any, *words: str, rel: float = 1e-9, abs: float = 1e-12
) -> None:
    """Assert the right value, or a refusal that names what is wrong."""
    found: list[Any] = []
    text = refusal_of(lambda: found.append(call()))
    if text is not None:
        missing = [word for word in words if not any(one.lower() in text.lower() for one in word.split("|"))]
        assert not missing, f"the refusal does not name {missing}: {text}"
        return
    assert found[0] == pytest.approx(expected, rel=rel, abs=abs, nan_ok=True)


def told(meta: Mapping[str, object], what: str, value: object) -> bool:
    """Return whether some entry of ``meta`` about ``what`` has a value, or a text that contains it."""
    return any(
        found == value or (isinstance(found, str | list | tuple) and str(value) in str(found))
        for key, found in meta.items()
        if what in str(key).lower() or what in str(found).lower()
    )


def long_panel(paths: np.ndarray, cohort: Sequence[float], first: int = 1, **columns: Iterable[object]) -> pd.DataFrame:
    """Return one row per unit and period from paths of shape (n, T); other columns are constant within a unit."""
    n, periods = paths.shape
    frame = {
        "id": np.repeat(np.arange(n), periods),
        "t": np.tile(np.arange(first, first + periods), n),
        "g": np.repeat(np.asarray(cohort), periods),
        "y": paths.ravel(),
    }
    return pd.DataFrame(frame | {name: np.repeat(np.asarray(list(v)), periods) for name, v in columns.items()})


def moments(frame: pd.DataFrame, **options: Any) -> rte.OutcomeMoments:
    """Return outcome moments of a frame of `long_panel`."""
    return rte.outcome_moments(frame, unit="id", time="t", cohort="g", outcome="y", **options)


def logit(x: np.ndarray, y: np.ndarray, steps: int = 25) -> np.ndarray:
    """Fit a logit by Newton's method."""
    b = np.zeros(x.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-x @ b))
        b = b + np.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]), x.T @ (y - p))
    return b


STUDY = """
[study]
name = "{name}"
title = "Did it help?"
question = "Did the programme raise earnings?"
data = "Invented records."
frequency = "{frequency}"
currency = "USD"
synthetic = true

[records]
{records}

[ingest]
tolerate = {tolerate}

[panel]
no_record = "{no_record}"

[match]
formula = "treat ~ age"

[did]
outcome = "earnings"
{more}
"""

RUN = """
import retrain_eval as rte
def analyse(run):
    rte.build_panel(run.con, no_record=run.study.panel.no_record)
"""


def study_folder(
    folder: Path,
    files: Mapping[str, str],
    records: Mapping[str, object] | None = None,
    *,
    frequency: str = "quarter",
    tolerate: float = 0.0,
    no_record: str = "zero",
    more: str = "",
    script: str = RUN,
    name: str = "invented",
) -> Path:
    """Write a study folder: ``files`` are texts by name in ``data/``, ``records`` what study.toml names."""
    (folder / "data").mkdir(parents=True)
    for file, text in files.items():
        (folder / "data" / file).write_text(text, encoding="utf-8")
    given = records or {file.removesuffix(".csv"): f"data/{file}" for file in files}
    lines = "\n".join(f"{kind} = {_toml(value)}" for kind, value in given.items())
    text = STUDY.format(
        name=name, frequency=frequency, records=lines, tolerate=tolerate, no_record=no_record, more=more
    )
    (folder / "study.toml").write_text(text, encoding="utf-8")
    (folder / "run.py").write_text(script, encoding="utf-8")
    return folder


def _toml(value: object) -> str:
    return "[" + ", ".join(f'"{one}"' for one in value) + "]" if isinstance(value, list) else f'"{value}"'


def wages_of(folder: Path, columns: str = "person_id, period, wages") -> list[tuple[Any, ...]]:
    """Load the records of a study and return its wage records in force."""
    with rte.Study.open(folder).ingest() as store:
        return store.con.sql(f"SELECT {columns} FROM wage_record ORDER BY ALL").fetchall()


def panel_of(folder: Path, **options: Any) -> dict[tuple[str, int], float | None]:
    """Load the records of a study, build its panel, and return earnings by person and period."""
    study = rte.Study.open(folder)
    with study.ingest() as store:
        panel = rte.build_panel(store.con, no_record=study.file.panel.no_record, **options)
        rows = panel.project("person_id, period, earnings").fetchall()
    return {(person, period): earnings for person, period, earnings in rows}
