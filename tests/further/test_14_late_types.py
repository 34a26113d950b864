"""A file given as a path is read like the same rows in a frame: types come from all rows, no value changes silently."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from further_cases import moments, refusal_of, refused, right_or_refused

N = 24_000  # rows; what differs comes after the 22,000th
LATE = 22_000
NAMES = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y"}


def texts(values: np.ndarray) -> list[str]:
    return [f"{value:.15g}" for value in values]


def write(frame: pd.DataFrame, path: Path, separator: str = ",") -> Path:
    """Write numbers without needless decimals, as a spreadsheet does."""
    shown = frame.assign(**{c: texts(frame[c].to_numpy()) for c in frame.select_dtypes("floating")})
    text = shown.to_csv(index=False, sep=separator)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def long(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(N // 2), 2)
    frame = pd.DataFrame({"id": unit, "t": np.tile([2019, 2020], N // 2), "g": np.where(unit % 2, 0, 2020)})
    frame["x"] = rng.integers(1, 9, N // 2)[unit].astype(float)
    frame["y"] = frame["x"] + rng.integers(0, 9, N)
    return frame


def late(frame: pd.DataFrame) -> np.ndarray:
    return np.arange(len(frame)) >= LATE


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".csv", ";"), (".tsv", "\t"), (".csv.gz", ",")])
def test_decimals_further_down_keep_their_digits(tmp_path, suffix, separator):
    frame = long(1)
    frame.loc[late(frame) & (frame["t"] == 2020) & (frame["g"] == 2020), "y"] += 0.37
    path = write(frame, tmp_path / f"rows{suffix}", separator)
    want = moments(frame).att_gt().aggregate("simple").to_frame()["estimate"].item()
    assert moments(path).att_gt().aggregate("simple").to_frame()["estimate"].item() == pytest.approx(want, rel=1e-9)


def test_a_covariate_with_late_decimals_is_no_whole_number(tmp_path):
    frame = long(2)
    frame.loc[frame["id"] >= LATE // 2, "x"] += 0.25 * (frame["id"] % 3)
    frame["y"] += frame["x"] * (frame["t"] == 2020)
    path = write(frame, tmp_path / "rows.csv")
    want, found = (rte.att_gt(s, **NAMES, covariates="x").aggregate("simple").to_frame() for s in (frame, path))
    assert found["estimate"].item() == pytest.approx(want["estimate"].item(), rel=1e-9)


def people(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 4000, N).astype(float)
    return pd.DataFrame({"id": range(N), "treat": (np.arange(N) % 12 == 0).astype(int), "score": score})


def test_scores_with_late_decimals_make_the_pairs_of_the_frame(tmp_path):
    frame = people(3)
    frame.loc[LATE:, "score"] += np.round(np.random.default_rng(4).uniform(0, 1, N - LATE), 3)
    options = {"unit": "id", "distance": "score", "caliper": None}
    path = write(frame, tmp_path / "people.csv")
    want, found = (rte.match(s, "treat ~ score", **options).audit["pairs_sha256"] for s in (frame, path))
    assert found == want


def test_durations_with_late_decimals_are_not_rounded(tmp_path):
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"id": range(N), "weeks": rng.integers(1, 9, N).astype(float), "e": 1})
    frame.loc[LATE:, "weeks"] -= 0.5
    path = write(frame, tmp_path / "spells.csv")
    want, found = (
        rte.Spells(s, id="id", duration="weeks", cause="e", by=())
        .kaplan_meier()
        .to_frame()[["time", "estimate"]]
        .to_numpy(float)
        for s in (frame, path)
    )
    assert found == pytest.approx(want)


def test_deprivation_counts_with_late_decimals_are_not_rounded(tmp_path):
    rng = np.random.default_rng(6)
    frame = pd.DataFrame({"d_tenure": rng.integers(0, 2, N).astype(float)})
    frame["d_earnings"], frame["deprivations"] = 1.0, frame["d_tenure"] + 1
    frame["deprived"], frame["m0"] = 1.0, 1.0
    frame.loc[LATE:, "m0"] = 0.4
    path = write(frame, tmp_path / "quality.csv")
    want, found = (rte.alkire_foster(s)["M0"].item() for s in (frame, path))
    assert found == pytest.approx(want)


@pytest.mark.parametrize("value", ["12,5", "n.a.", "1 200", "12.5 EUR"])
def test_what_is_no_number_in_a_column_of_numbers_is_refused_with_its_place(tmp_path, value):
    frame = long(7)
    shown = frame.assign(y=texts(frame["y"].to_numpy()))
    shown.loc[23_000, "y"] = value
    path = tmp_path / "amounts.csv"
    shown.to_csv(path, index=False)
    refused(lambda: moments(path), "amounts.csv", "23002|23,002", "y", value)


def test_a_late_text_among_weights_is_refused_with_its_place(tmp_path):
    frame = pd.DataFrame({"id": range(N), "q": 1 + np.arange(N) % 5, "e": 1, "w": "1"})
    frame.loc[23_500, "w"] = "half"
    path = tmp_path / "weighted.csv"
    frame.to_csv(path, index=False)
    spells = {"id": "id", "duration": "q", "cause": "e", "by": (), "weights": "w", "weight_type": "probability"}
    refused(lambda: rte.Spells(path, **spells), "weighted.csv", "23502|23,502", "w", "half")


@pytest.mark.parametrize("first", [2**53, 10**18, 10**24])
def test_large_identifiers_stay_apart(tmp_path, first):
    frame = long(8)
    big = frame["id"].astype(object).map(lambda i: i if i < 11_900 else first + i)
    path = tmp_path / "large.csv"
    frame.assign(id=big).to_csv(path, index=False)
    right_or_refused(lambda: int(moments(path).cells["n"].sum()), N // 2, str(first)[:6])


def test_identifiers_that_turn_into_texts_are_texts(tmp_path):
    frame = people(9)
    names = [f"{i:05d}" if i < 23_000 else f"A{i}" for i in range(N)]
    path = tmp_path / "people.csv"
    frame.assign(id=names).to_csv(path, index=False)
    options = {"unit": "id", "distance": "score", "caliper": None}
    want = rte.match(frame.assign(id=names), "treat ~ score", **options)
    found = rte.match(path, "treat ~ score", **options)
    assert found.audit["pairs_sha256"] == want.audit["pairs_sha256"]


def test_levels_that_turn_into_texts_are_levels(tmp_path):
    frame = long(10)
    level = np.where(frame["id"] < 11_500, (frame["id"] // 2 % 2 + 1).astype(str), "2b")
    path = tmp_path / "rows.csv"
    frame.assign(band=level).to_csv(path, index=False)
    found = moments(path, by="band").att_gt().by("band").aggregate("simple").to_frame()
    want = moments(frame.assign(band=level), by="band").att_gt().by("band").aggregate("simple").to_frame()
    assert found["level"].tolist() == want["level"].tolist()
    assert found["estimate"].to_numpy() == pytest.approx(want["estimate"].to_numpy())


DOORS = {
    "outcome_moments": lambda path: moments(path),
    "att_gt": lambda path: rte.att_gt(path, **NAMES),
    "match": lambda path: rte.match(path, "g ~ y", unit="id"),
    "Spells": lambda path: rte.Spells(path, id="id", duration="y", cause="g", by=()),
}


@pytest.mark.parametrize(("door", "encoding"), [*((door, "latin-1") for door in DOORS), ("match", "utf-16")])
def test_a_file_that_is_not_utf_8_is_refused_by_its_name(tmp_path, door, encoding):
    path = tmp_path / "umlaut.csv"
    path.write_text("id,t,g,y,ort\n1,1,1,2,Köln\n2,1,0,3,Malmö\n", encoding=encoding)
    text = refused(lambda: DOORS[door](path), "umlaut.csv", "utf-8|utf8")
    assert "duckdb" not in text.lower()


@pytest.mark.parametrize("content", ["", "\n\n", 'id,t,g,y\n1,1,1,"2\n', "id,t,g,y\n1,1,1,2,3,4\n1,2,1,2\n"])
def test_a_broken_file_gives_no_traceback_of_the_database(tmp_path, content):
    path = tmp_path / "broken.csv"
    path.write_text(content, encoding="utf-8")
    assert refusal_of(lambda: moments(path)) is not None
