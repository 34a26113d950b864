"""Raw files that were damaged: no traceback, totals that balance, and no other value than in the file as it was."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raw_files import lehd_line, loaded, write_people
from retrain_eval.common.errors import RetrainEvalError
from retrain_eval.plan.sources import Source
from retrain_eval.records.store import Store

PEOPLE = [f"A{number:08d}" for number in range(12)]
Mutation = Callable[[str, random.Random], str]


def pirl_text() -> str:
    """Return a small PIRL file: several trainings, a second participation, codes of every kind."""
    rng, rows = random.Random(3), []
    for place, person in enumerate(PEOPLE):
        rows.append({
            "PIRL100": person, "PIRL200": f"19{60 + place}0{1 + place % 9}15", "PIRL201": "12"[place % 2],
            "PIRL202": "0", "PIRL408": "014678"[place % 6], "PIRL900": f"20180{1 + place % 9}10",
            "PIRL901": f"20190{1 + place % 9}10", "PIRL923": "00", "PIRL1300": "1",
            "PIRL1301": f"ETP{place % 4}", "PIRL1302": f"20180{1 + place % 9}20", "PIRL1303": "06",
            "PIRL1307": "1", "PIRL1308": f"20190{1 + place % 9}01",
            "PIRL1309": "20181101" if place % 3 == 0 else "", "PIRL1310": "01" if place % 3 == 0 else "",
            "PIRL1800": "2" if place % 2 else "0", "PIRL1801": "20190201" if place % 2 else "",
            "COUNTY": str(place % 5),
        })  # fmt: skip
    rows.append({**rows[0], "PIRL900": "20200110", "PIRL901": ""})
    rng.shuffle(rows)
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    return "\n".join(lines) + "\n"


def wage_text() -> str:
    """Return a small file of fixed width: two employers, an adjustment, a duplicate, a stranger."""
    lines = [
        lehd_line(person, str(5 + place % 3), f"2018Q{1 + place // 12}", str(400_000 + 1_000 * place))
        for place, person in enumerate(PEOPLE * 3)
    ]
    lines += [lehd_line(PEOPLE[0], "5", "2018Q1", "-5000"), lines[7], lehd_line("B00000001", "5", "2018Q1", "1")]
    return "\n".join(lines) + "\n"


def spell_text() -> str:
    """Return a small register of spells with benefit receipt between two jobs."""
    rows = ["persnr;betnr;begepi;endepi;erwstat;tentgelt;isco"]
    for place, person in enumerate(PEOPLE):
        rows.append(f"{person};{place % 3};2018-0{1 + place % 9}-05;2018-12-31;1;{50 + place}.25;9333")
        rows.append(f"{person};;2019-01-01;2019-02-{10 + place};9;30.00;")
        rows.append(f"{person};{place % 4};2019-03-01;2019-11-30;1;{55 + place}.5;5223")
    return "\n".join(rows) + "\n"


WAGES = Source(layout="us-ui-wages", file="raw.txt", options={"unit": "cents"})
FILES: dict[str, tuple[Callable[[], str], Source, tuple[str, ...]]] = {
    "us-pirl": (pirl_text, Source(layout="us-pirl", file="raw.csv"), ("person", "enrolment", "credential")),
    "us-ui-wages": (wage_text, WAGES, ("wage_record",)),
    "spell-register": (spell_text, Source(layout="spell-register", file="raw.csv"), ("wage_record", "displacement")),
}


def shuffled_columns(text: str, rng: random.Random) -> str:
    mark = ";" if ";" in text.splitlines()[0] else ","
    rows = [line.split(mark) for line in text.splitlines()]
    if len(rows[0]) == 1:
        return text
    order = rng.sample(range(len(rows[0])), len(rows[0]))
    return "\n".join(mark.join(row[place] if place < len(row) else "" for place in order) for row in rows) + "\n"


def other_header(text: str, rng: random.Random) -> str:
    first, rest = text.split("\n", 1)
    spelled = rng.choice(["PIRL {}", "pirl{}", "{}", "PIRL_{}"])
    return "\n".join([",".join(spelled.format(name[4:]) if name.startswith("PIRL") else name
                               for name in first.split(",")), rest])  # fmt: skip


def lines_again(text: str, rng: random.Random) -> str:
    first, *lines = text.splitlines()
    return "\n".join([first, *lines, *rng.sample(lines, min(3, len(lines)))]) + "\n"


def lines_in_another_order(text: str, rng: random.Random) -> str:
    first, *lines = text.splitlines()
    return "\n".join([first, *rng.sample(lines, len(lines))]) + "\n"


def blank_lines(text: str, rng: random.Random) -> str:
    lines = text.splitlines()
    lines.insert(rng.randrange(1, len(lines)), "")
    return "\n".join(lines) + "\n"


def carriage_returns(text: str, _rng: random.Random) -> str:
    return text.replace("\n", "\r\n")


def cut_off(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) // 2, len(text))]


def a_letter(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text.splitlines()[0]), len(text))
    return text[:place] + rng.choice("xQ#?é ") + text[place + 1 :]


def a_sign(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text))
    return text[:place] + rng.choice(['"', ",", ";", "\t", "\x00", "\n", "'"]) + text[place:]


def spaces(text: str, _rng: random.Random) -> str:
    mark = ";" if ";" in text.splitlines()[0] else ","
    return text.replace(mark, f"{mark} ")


def a_column_less(text: str, rng: random.Random) -> str:
    mark = ";" if ";" in text.splitlines()[0] else ","
    rows = [line.split(mark) for line in text.splitlines()]
    place = rng.randrange(len(rows[0]))
    return "\n".join(mark.join(row[:place] + row[place + 1 :]) for row in rows) + "\n"


def emptied(text: str, rng: random.Random) -> str:
    mark = ";" if ";" in text.splitlines()[0] else ","
    rows = [line.split(mark) for line in text.splitlines()]
    row = rng.randrange(1, len(rows))
    rows[row][rng.randrange(len(rows[row]))] = ""
    return "\n".join(map(mark.join, rows)) + "\n"


# what says the same in another way, and what damages a file; what is accepted after damage is a part of what was there
SAME = (shuffled_columns, lines_again, lines_in_another_order, blank_lines, carriage_returns, spaces)
DAMAGED = (cut_off, a_letter, a_sign, a_column_less, emptied)


def rows_of(store: Store, record: str) -> set[tuple[object, ...]]:
    if record not in store.tables():
        return set()
    return set(store.con.execute(f'SELECT * FROM "{record}"').fetchall())


def balanced(store: Store) -> None:
    """Check the control totals of every import: rows and money, from the raw file to the store."""
    for (load,) in store.con.execute("SELECT DISTINCT load_id FROM imports").fetchall():
        totals = "SELECT what, sum(records), sum(money) FROM imports WHERE load_id = $1 GROUP BY what"
        facts = {what: (n, money) for what, n, money in store.con.execute(totals, [load]).fetchall()}
        known = {"in", "records", "stored", "refused", "spells", "carried", "raised", "set aside", "rounding"}
        dropped = {what: fact for what, fact in facts.items() if what not in known and "among records" not in what}
        made = facts.get("spells", facts["records"])[0]
        assert facts["in"][0] == sum(n for n, _ in dropped.values()) + made
        copies = sum(n for what, (n, _) in facts.items() if "among records" in what)
        assert facts["records"][0] == facts["stored"][0] + facts["refused"][0] + copies
        money = facts["in"][1] + sum(facts.get(what, (0, 0))[1] for what in ("carried", "raised"))
        out = sum(m for _, m in dropped.values()) + sum(
            facts.get(what, (0, 0))[1] for what in ("set aside", "rounding")
        )
        assert money == out + facts["records"][1]
        assert facts["records"][1] == facts["stored"][1] + facts["refused"][1] or copies


def read(folder: Path, name: str, text: str) -> dict[str, set[tuple[object, ...]]]:
    """Load a file, check its totals, and return its records by type."""
    _, source, records = FILES[name]
    people = None if name == "us-pirl" else write_people(folder, *PEOPLE)
    (folder / str(source.file)).write_bytes(text.encode())
    with loaded(folder, {"s": source}, people) as (store, _):
        balanced(store)
        return {record: rows_of(store, record) for record in records}


@cache
def as_it_was(name: str) -> dict[str, set[tuple[object, ...]]]:
    with tempfile.TemporaryDirectory() as folder:
        return read(Path(folder), name, FILES[name][0]())


def check(folder: Path, name: str, mutate: Mutation, seed: int) -> None:
    expected = as_it_was(name)
    try:
        found = read(folder, name, mutate(FILES[name][0](), random.Random(seed)))
    except RetrainEvalError:
        assert mutate not in SAME
        return
    for record in FILES[name][2]:
        if mutate in SAME:
            assert found[record] == expected[record], record
        else:
            other = [row for row in found[record] if not any(stands(row, was) for was in expected[record])]
            # one line was changed into another that is as good: it has at most five records
            assert len(other) <= (0 if mutate is a_column_less else 5), (record, other)


def stands(row: tuple[object, ...], was: tuple[object, ...]) -> bool:
    """Return whether every value of a record is that of a record before the damage, or missing."""
    return all(value is None or value == before for value, before in zip(row, was, strict=True))


CASES = st.tuples(st.sampled_from(sorted(FILES)), st.sampled_from((*SAME, *DAMAGED)), st.integers(0, 2**32 - 1))
CALM = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(max_examples=40, deadline=None, suppress_health_check=CALM, derandomize=True)
@given(case=CASES)
def test_mutated_files(case: tuple[str, Mutation, int], tmp_path_factory: pytest.TempPathFactory) -> None:
    name, mutate, seed = case
    check(tmp_path_factory.mktemp("mutated"), name, mutate, seed)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=CALM)
@given(case=CASES)
def test_many_mutated_files(case: tuple[str, Mutation, int], tmp_path_factory: pytest.TempPathFactory) -> None:
    name, mutate, seed = case
    check(tmp_path_factory.mktemp("mutated"), name, mutate, seed)


def test_a_pirl_file_with_the_header_of_another_year(tmp_path: Path) -> None:
    for seed in range(4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        make, source, records = FILES["us-pirl"]
        found = []
        for place, text in enumerate((make(), other_header(make(), random.Random(seed)))):
            (here := folder / str(place)).mkdir()
            (here / "raw.csv").write_text(text)
            with loaded(here, {"s": source}) as (store, _):
                found.append({record: rows_of(store, record) for record in records})
        assert found[0] == found[1]
