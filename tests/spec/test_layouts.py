"""The lines of layouts.md, each written to a raw file and loaded as it stands there."""

from __future__ import annotations

import random
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from raw_files import lehd_line, loaded, values, write_csv, write_people
from retrain_eval.common.errors import InputError
from retrain_eval.plan.sources import Crosswalk, Source

KEYS = {"header", "order", "drop", "also", "crosswalk", "extra", "format", "cut", "blank", "ending", "people", "hashed",
        "known", "own", "frequency"}  # fmt: skip


@dataclass(frozen=True)
class Case:
    layout: str
    title: str
    row: dict[str, str]
    setting: dict[str, str]
    given: str
    then: str


def cases() -> list[Case]:
    text = Path(__file__).with_name("layouts.md").read_text(encoding="utf-8")
    found = []
    for part in text.split("\n## ")[1:]:
        layout = part.splitlines()[0]
        if "\nRow: " not in part:  # prose
            continue
        setting = dict(re.findall(r"^(Row|Header|Options|People): (.*)$", part, re.MULTILINE))
        lines = [line for line in part.splitlines() if line.startswith("| ")][1:]
        for line in lines:
            title, given, then = (cell.strip() for cell in line.strip("|").split(" | "))
            found.append(Case(layout, title, pairs(setting["Row"]), setting, given, then))
    return found


def pairs(text: str) -> dict[str, str]:
    return dict((word.split("=", 1) if "=" in word else (word, "")) for word in text.split())


def write(folder: Path, case: Case, place: int, text: str, words: dict[str, str]) -> Path:
    """Write one delivery in the format that the line asks for."""
    rows, blanks = [], 0
    for one in text.split(" / "):
        own = pairs(one)
        if "blank" in own:
            rows.append(None)
            blanks += 1
        else:
            changed = {key: value for key, value in own.items() if key not in KEYS and not key.startswith("option:")}
            rows.append({**case.row, **changed})
    form = words.get("format", "fixed" if case.layout == "us-ui-wages" else "csv")
    if form in ("fixed", "zip", "latin-1") and case.layout == "us-ui-wages":
        lines = ["" if row is None else lehd_line(row["ssn"], row["account"], row["period"], row["wage"],
                                                  row.get("unit", "00000")) for row in rows]  # fmt: skip
        if "cut" in words:
            lines = [line[: int(words["cut"])] for line in lines]
        if form == "latin-1":
            lines = [line[:9] + "Jérôme" + line[15:] for line in lines]
        ending = "\r\n" if words.get("ending") == "crlf" else "\n"
        file = folder / f"raw_{place}.txt"
        encoding = "latin-1" if form == "latin-1" else "utf-8"
        file.write_text(ending.join(lines) + ending, encoding=encoding, newline="")
        if form == "zip":
            with zipfile.ZipFile(folder / f"raw_{place}.zip", "w") as archive:
                archive.write(file, file.name)
            return folder / f"raw_{place}.zip"
        return file
    table = [dict(row) for row in rows if row is not None]
    if case.layout == "us-ui-wages":
        table = [{"SSN": row["ssn"], "account": row["account"], "year": row["period"][:4], "quarter": row["period"][-1],
                  "wage": row["wage"]} for row in table]  # fmt: skip
    if form == "other":
        table = [{"name": "x", "town": "y"}]
    header = words.get("header", case.setting.get("Header", "%")).replace("_", " ").replace("Item ", "Item_")
    if case.layout in ("us-pirl", "us-wiasrd"):
        table = [{header.replace("%", key): value for key, value in row.items()} for row in table]
    renamed = dict(pair.split(":") for pair in words["own"].split(",")) if "own" in words else {}
    if renamed.get("sex") == "GENDER_CD":
        table = [{"GENDER_CD" if key == "SEX" else key: value for key, value in row.items()} for row in table]
    dropped = {header.replace("%", key) for key in words.get("drop", "").split(",")}
    table = [{key: value for key, value in row.items() if key not in dropped} for row in table]
    if "also" in words:
        table = [{**row, words["also"].replace("_", " "): "1"} for row in table]
    if words.get("order") == "shuffled":
        names = list(table[0])
        random.Random(5).shuffle(names)
        table = [{name: row[name] for name in names} for row in table]
    if form in ("xlsx", "dta", "parquet"):
        frame = pd.DataFrame(table)
        frame[["account", "year", "quarter", "wage"]] = frame[["account", "year", "quarter", "wage"]].astype(float)
        file = folder / f"raw_{place}.{form}"
        if form == "xlsx":
            pytest.importorskip("openpyxl")
            frame.to_excel(file, index=False)
        elif form == "dta":
            frame.to_stata(file, write_index=False)
        else:
            frame.to_parquet(file)
        return file
    file = write_csv(folder / f"raw_{place}.csv", table)
    if "extra" in words:
        first, *rest = file.read_text().splitlines()
        file.write_text("\n".join([first, *(f"{line},{words['extra']}" for line in rest)]) + "\n")
    return file


def source_of(case: Case, folder: Path, files: list[Path], words: dict[str, str]) -> Source:
    options: dict[str, object] = pairs(case.setting.get("Options", ""))
    for key, value in words.items():
        if key.startswith("option:"):
            options[key.removeprefix("option:")] = (
                tuple(value.split(",")) if key[7:] in ("employment", "ceilings") else value
            )
    crosswalk = None
    if "crosswalk" in words:
        rows = [dict(zip(("PIRL100", "SSN"), pair.split(":"), strict=True)) for pair in words["crosswalk"].split(",")]
        write_csv(folder / "crosswalk.csv", rows)
        crosswalk = Crosswalk(file="crosswalk.csv")
    fields = dict(pair.split(":") for pair in words["own"].split(",")) if "own" in words else {}
    return Source(layout=case.layout, file=tuple(file.name for file in files), options=options, fields=fields,
                  crosswalk=crosswalk, encoding="latin-1" if words.get("format") == "latin-1" else "utf-8")  # fmt: skip


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.layout}: {case.title}")
def test_line(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_EVAL_KEY", "5bd1e995c2b2ae3d27d4eb4f165667c5")
    words = pairs(case.given.replace(" // ", " ").replace(" / ", " "))
    files = [write(tmp_path, case, place, one, words) for place, one in enumerate(case.given.split(" // "))]
    names = words.get("people") or words.get("known") or case.setting.get("People", "")
    people = write_people(tmp_path, *names.split()) if names else None
    said: list[str] = []
    options = {"frequency": words.get("frequency", "quarter"), "identifiers": "hmac" if "hashed" in words else "plain"}
    wanted = [part.split(" ", 1) for part in case.then.split("; ")]
    error = [text for what, text in wanted if what == "error"]
    refused = [text for what, text in wanted if what == "refused"]
    if error or refused:
        with pytest.raises(InputError) as caught, loaded(tmp_path, {"s": source_of(case, tmp_path, files, words)},
                                                         people, say=said, **options):  # fmt: skip
            pass
        assert all(str(caught.value).startswith(text) for text in error), str(caught.value)
        for text in refused:
            line, field = text.split(" ", 1)
            places = re.findall(
                rf"^    {re.escape(files[-1].name)} line {line}: (.*)$", str(caught.value), re.MULTILINE
            )
            assert any(field in place for place in places), str(caught.value)
        return
    with loaded(tmp_path, {"s": source_of(case, tmp_path, files, words)}, people, say=said, **options) as (store, _):
        for what, text in wanted:
            if what == "says":
                assert any(text in line for line in said), said
            elif "." in what:
                expected = sorted(text.split(", "))
                assert values(store, what) == expected, (what, said)
            else:
                assert store.tables().get(what, 0) == int(text), (what, said)


def test_every_layout_that_ships_has_a_section() -> None:
    from retrain_eval.records.layouts.library import shipped_layouts

    assert {case.layout for case in cases()} == set(shipped_layouts())
