"""The sample flow from the register on, in a study as an evaluator starts it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import own_study
from retrain_eval.study.folder import Study


def test_whoever_is_lost_to_refused_rows_linkage_or_observation_is_counted(tmp_path: Path) -> None:
    """Trainees are P-00000 to P-00079."""
    tables = own_study.records()
    ids = tables["person"]["person_id"]
    tables["enrolment"]["start"] = ["soon", *[""] * 79]  # 0: a row of enrolment is refused
    tables["person"]["age"] = tables["person"]["age"].astype(str)
    tables["person"].loc[100, "age"] = "x"  # a possible control
    wages = tables["wage_record"] = tables["wage_record"].astype({"wages": str})
    wages.loc[(wages["person_id"] == ids[1]) & (wages["period"] == 2021), "wages"] = "-5"  # unknown in 2021
    linkage = pd.DataFrame({"person_id": ids, "source": "survey", "status": "linked"})
    linkage.loc[[2, 101], "status"] = "unlinked"
    tables["linkage"] = linkage.drop([3, 102, 103])
    tables["observation"] = pd.DataFrame(
        {"person_id": ids[[4, 104, 105]], "from": ["", "", 2025], "to": [2020, 2018, 2026], "reason": "deceased"}
    )
    folder = own_study.make(tmp_path / "mine", tables)
    plan = folder / "study.toml"
    text = plan.read_text().replace("tolerate = 0.0", "tolerate = 0.02").replace("[ingest]", (
        'linkage = "data/linkage.csv"\nobservation = "data/observation.csv"\n\n[ingest]'))  # fmt: skip
    plan.write_text(text)
    said: list[str] = []
    results = Study.open(folder).run(say=said.append)
    assert "people who leave the study: 2 (1 with a refused row of enrolment, 1 with a refused row of person)" in said
    assert "person-periods that are unknown because a wage record was refused: 1" in said
    flow = results.tables["flow"]
    rows = flow[["step", "group", "n", "reason"]].to_numpy().tolist()[:14]
    assert rows == [
        ["On the register", "treated", 80, ""],
        ["On the register", "control", 600, ""],
        ["Rows of enrolment accepted", "treated", 79, "a row of enrolment was refused"],
        ["Rows of enrolment accepted", "control", 600, "a row of enrolment was refused"],
        ["Rows of person accepted", "treated", 79, "a row of person was refused"],
        ["Rows of person accepted", "control", 599, "a row of person was refused"],
        ["Looked for in wage records", "treated", 78, "no row of linkage says whether they were found"],
        ["Looked for in wage records", "control", 597, "no row of linkage says whether they were found"],
        ["Linked", "treated", 77, "not found in the wage records"],
        ["Linked", "control", 596, "not found in the wage records"],
        ["Observed", "treated", 77, "observed in no period"],
        ["Observed", "control", 595, "observed in no period"],
        ["Candidates for matching", "treated", 75, "earnings are unknown in a period that counts"],
        ["Candidates for matching", "control", 594, "earnings are unknown in a period that counts"],
    ]


def test_without_losses_nothing_is_added(tmp_path: Path) -> None:
    results = Study.open(own_study.make(tmp_path / "mine")).run()
    assert results.tables["flow"]["step"].drop_duplicates().tolist() == [
        "On the register", "Candidates for matching", "Matched and analysed"]  # fmt: skip
