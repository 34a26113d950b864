"""A planted person and a cell of three: nothing of them is in a bundle, nor in the report made from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import own_study
from retrain_eval.common.errors import DisclosureError
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.verification.verify import verify
from retrain_eval.study.folder import Study

CANARY = "CANARY-4711"
WAGES = 873_219.37  # nobody else earns so much, or these digits
CAP = 200_000.0  # of the template
LEVEL = "canary cell of three"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    tables = own_study.records(120, 700)
    person, wages = tables["person"], tables["wage_record"]
    ids = person["person_id"].tolist()
    old, elderly = ids[0], ids[1:3]  # trained: one with a name and a fortune, and two of her age
    for table in tables.values():
        if "person_id" in table:
            table["person_id"] = table["person_id"].replace({old: CANARY})
    person.loc[person["age"] >= 55, "age"] = 50
    person.loc[person["person_id"].isin([CANARY, *elderly, *ids[-40:]]), "age"] = 97
    wages.loc[(wages["person_id"] == CANARY) & (wages["period"] >= own_study.ENTRY), "wages"] = WAGES
    folder = own_study.make(tmp_path_factory.mktemp("canary") / "mine", tables)
    toml = folder / "study.toml"
    text = (
        toml.read_text()
        .replace('"40 to 54", "55 and over"', f'"40 to 54", "{LEVEL}"')
        .replace("caliper = 0.2", "caliper = 5.0")
    )
    toml.write_text(text)
    made = Study.open(folder)
    made.run()
    return made


@pytest.fixture(scope="module")
def bundle(study: Study) -> Bundle:
    return study.release("2026")


def spellings() -> list[str]:
    """Return what would tell: her name, and her wages as a number is printed."""
    return [CANARY, CANARY.lower(), f"{WAGES:.2f}", f"{WAGES:,.2f}", f"{WAGES:.0f}", f"{WAGES:,.0f}", "873.2", "873,2"]


def texts(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every file as text: its bytes, and for Parquet what is in it too."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes().decode("latin-1")
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                yield path, str(table.schema.metadata) + str(table.to_pylist())


def hits(folder: Path) -> list[str]:
    return [f"{path.name}: {word}" for path, text in texts(folder) for word in spellings() if word in text]


def test_the_run_has_seen_them(study: Study) -> None:
    results = study.folder / "store" / "results" / "moments"
    inside = [pq.read_table(path).to_pandas() for path in results.glob("matched_by_age_band.parquet")]
    assert any((frame["n"] == 3).any() and (frame["age_band"] == LEVEL).any() for frame in inside)


def test_a_bundle_holds_no_canary(bundle: Bundle) -> None:
    assert hits(bundle.path) == []
    assert verify(bundle.path).problems == ()
    # the cell of three has joined its neighbour, by name and by number
    merged = bundle.moments("matched_by_age_band")
    assert merged.cells["n"].min() >= 10
    assert any(LEVEL in line for line in bundle.manifest["protection"])
    effects = bundle.effects
    assert effects is not None
    assert LEVEL not in set(effects["level"].dropna())
    for name in ("n_treated", "n_control"):
        assert not effects[name].isin([1, 2, 3]).any()


def test_the_manifest_says_what_each_file_rests_on(study: Study, bundle: Bundle) -> None:
    artefacts = bundle.manifest["artefacts"]
    assert set(artefacts) | {"recipes.json", "study.toml"} == set(bundle.manifest["files"])
    assert all(facts["rule"] for facts in artefacts.values())
    assert min(facts["smallest_n"] for facts in artefacts.values() if facts["smallest_n"] is not None) >= 10
    assert bundle.rules == study.file.release
    assert {item["vintage"] for item in bundle.manifest["inputs"]} == {1}


def test_who_knows_all_others_wages_does_not_learn_hers(study: Study, bundle: Bundle) -> None:
    wages = pd.read_csv(study.folder / "data" / "wage_record.csv")
    trained = pd.read_csv(study.folder / "data" / "enrolment.csv")["person_id"]
    others = wages[wages["person_id"].isin(trained) & (wages["person_id"] != CANARY)]
    moments = bundle.moments("matched")
    treated = moments.cells["cohort"].notna().to_numpy()
    assert abs(moments.cells["n"][treated].item() - len(trained)) <= 5  # all were matched
    total = (moments.first[treated, 1:] + moments.first[treated, :1] * moments.reference)[0]
    left = pd.Series(total, index=moments.times) - others.groupby("period")["wages"].sum()
    # she was capped before she was summed, carries noise of at most 15 per cent, and all others carry theirs
    squares = others.assign(wages=others["wages"] ** 2).groupby("period")["wages"].sum()
    most = CAP * 1.15 + 4 * 0.11 * squares**0.5
    assert most.max() < WAGES / 2
    after = left.index >= own_study.ENTRY
    assert (left[after] < most[after]).all()


def test_without_the_cap_the_rule_of_dominance_would_speak(study: Study) -> None:
    toml = study.folder / "study.toml"
    before = toml.read_text()
    loosened = before.replace(f"cap = {CAP}\n", "").replace(
        "[release]", "[release]\ndominance_n = 1\ndominance_share = 0.2"
    )
    assert "cap =" not in loosened
    toml.write_text(loosened)
    try:
        loose = Study.open(study.folder)
        loose.run()
        with pytest.raises(DisclosureError, match="few people dominate"):
            loose.release("loose")
    finally:
        toml.write_text(before)
    assert not (study.folder / "release" / "loose").exists()


@pytest.mark.slow
def test_a_report_holds_no_canary(study: Study, bundle: Bundle) -> None:
    page = study.report(bundle.edition)
    assert hits(page.parent) == []
    for path, text in texts(page.parent):
        assert f"{LEVEL}</td>" not in text, path  # it is named only with the neighbour that it joined
