"""What counts as an event: codes with one meaning, codes that are named, and the refusal of all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import InputError
from retrain_eval.estimators.survival.logrank import logrank
from retrain_eval.tables.life_table.counting import life_table
from survival_cases import lung

ENDED = [1, 1, 0, 1, 0, 1, 0, 0, 1, 1]
RIGHT = [0.9, 0.8, 0.8, 0.6857, 0.6857, 0.5486, 0.5486, 0.5486, 0.2743, 0.0]
NAMES = {"id": "id", "duration": "weeks", "cause": "code"}


def rows(*codes: object) -> pd.DataFrame:
    """Ten spells, the first of two codes for those that are censored."""
    return pd.DataFrame({"id": range(10), "weeks": range(1, 11), "code": [codes[ended] for ended in ENDED]})


def curve(data: pd.DataFrame, **codes: object) -> list[float]:
    return rte.Spells(data, **NAMES, **codes).kaplan_meier().to_frame()["estimate"].round(4).tolist()


@pytest.mark.parametrize(
    "codes",
    [(0, 1), (0.0, 1.0), (False, True), (None, 1), (np.nan, 1.0), (None, True), ("0", "1"), ("0.0", "1.0"),
     ("False", "True"), ("false", "TRUE"), (None, "1")],
)  # fmt: skip
def test_codes_with_one_meaning_are_read_as_they_are(codes: tuple[object, object]) -> None:
    assert curve(rows(*codes)) == RIGHT


AMBIGUOUS = [
    (1, 2), (2, 1), (-1, 1), (0, 2), ("no", "yes"), ("NA", "job"), ("Censored", "job"), ("censored", "job"),
    ("alive", "dead"), ("N/A", "1"), (".", "1"), (None, "job"), ("0", "job"), (1.5, 2.5),
]  # fmt: skip


@pytest.mark.parametrize("codes", AMBIGUOUS)
def test_any_other_codes_are_refused_with_their_list_until_they_are_named(codes: tuple[object, object]) -> None:
    data = rows(*codes)
    with pytest.raises(InputError, match="do not say which spells ended") as error:
        curve(data)
    for code, n in zip(codes, (4, 6), strict=True):
        written = {None: "NULL"}.get(code, str(code))
        assert f"{written} ({n})" in str(error.value).replace("'", ""), str(error.value)
    # naming either side is enough: the other code is the only one there is
    assert curve(data, event=codes[1]) == RIGHT
    assert curve(data, censored=() if codes[0] is None else codes[0]) == RIGHT


def test_lung_as_it_comes_from_r() -> None:
    """R's survival 3.5: medians 426 and 270, a log-rank statistic of 10.33."""
    data = lung()
    options = {"id": "id", "duration": "time", "cause": "status", "by": "sex"}
    with pytest.raises(InputError, match=r"1 \(63\), 2 \(165\)"):
        rte.Spells(data, **options)
    for codes in ({"event": 2}, {"censored": 1}, {"event": "2"}, {"event": 2.0}, {"event": [2], "censored": [1]}):
        spells = rte.Spells(data, **options, **codes)
        assert spells.quantile(0.5).to_frame()["estimate"].tolist() == [270, 426]
        assert spells.logrank().chi2 == pytest.approx(10.3267, abs=1e-4)


def test_a_column_that_says_censored_may_be_turned_round() -> None:
    assert curve(rows(1, 0), censored=1) == RIGHT
    assert curve(rows(True, False), censored=True) == RIGHT
    assert curve(rows("yes", "no"), censored="yes") == RIGHT
    assert set(life_table(rows(1, 0), **NAMES, censored=1).cells["cause"]) == {"0", "event 0"}


WHY = ["job", "recall", "NA", "job", "left the state", "job", None, "NA", "recall", "job"]


def test_competing_causes_are_named_or_everything_censored_is() -> None:
    data = rows(0, 1).assign(code=WHY)
    table = life_table(data, **NAMES, censored=("NA", "left the state"))
    assert table.cells["cause"].tolist() == ["job", "recall", "0", "job", "0", "job", "0", "0", "recall", "job"]
    same = life_table(data, **NAMES, event=("job", "recall"), censored=("NA", "left the state"))
    pd.testing.assert_frame_equal(table.cells, same.cells)
    # a cause that nobody named is not censored in silence, and a marker is no cause
    with pytest.raises(InputError, match="neither as events nor as censored") as error:
        life_table(data, **NAMES, event=("job", "recall"))
    assert "value:  'NA' (2), 'left the state' (1)" in str(error.value)
    with pytest.raises(InputError, match=r"value:  'NA' \(2\)"):
        life_table(data, **NAMES, censored="left the state")
    with pytest.raises(InputError, match=r"value:  'recall' \(2\)"):
        life_table(data, **NAMES, event="job", censored=("NA", "left the state"))
    # the hazard of one cause, others censored because the user says so
    only = life_table(data, **NAMES, event="job", censored=("NA", "left the state", "recall"))
    assert set(only.cells["cause"]) == {"0", "job"}


def test_zero_beside_other_codes_is_censored_only_where_that_is_clear() -> None:
    data = rows(0, 1).assign(code=[1, 2, 0, 1, 0, 2, 0, 0, 1, 1])
    assert set(life_table(data, **NAMES, event=(1, 2)).cells["cause"]) == {"0", "1", "2"}
    assert set(life_table(data, **NAMES, censored=()).cells["cause"]) == {"0", "1", "2"}
    with pytest.raises(InputError, match=r"value:  2 \(2\)"):
        life_table(data, **NAMES, event=1)
    with pytest.raises(InputError, match=r"value:  0 \(4\)"):
        life_table(data, **NAMES, censored=2)


def test_an_unknown_code_is_an_error_that_lists_what_exists() -> None:
    data = rows("censored", "job")
    for codes in ({"event": "jobs"}, {"censored": "Censored"}, {"event": ["job", "recall"]}, {"event": 1}):
        with pytest.raises(InputError, match=r"unknown code in (event|censored)=") as error:
            curve(data, **codes)
        assert "'job' (6)" in str(error.value)
        assert "'censored' (4)" in str(error.value)
    with pytest.raises(InputError, match="named in event= and in censored="):
        curve(data, event="job", censored=["job", "censored"])
    with pytest.raises(InputError, match="names no code"):
        curve(data, event=())
    with pytest.raises(InputError, match="100 different values"):
        life_table(pd.DataFrame({"id": range(100), "weeks": 1, "code": range(2, 102)}), **NAMES)


def test_codes_that_mean_the_same_are_one_cell_in_the_order_of_the_levels() -> None:
    data = pd.DataFrame(
        {"id": range(8), "weeks": [2, 2, 1, 1] * 2, "code": ["z", "lost", "moved", None, "a", "lost", "z", "moved"],
         "arm": ["b"] * 4 + ["a"] * 4, "pair": [0, 1, 2, 3] * 2}
    )  # fmt: skip
    options = {"by": "arm", "censored": ("lost", "moved")}
    table = life_table(data, **NAMES, **options)
    recoded = data.assign(code=data["code"].where(data["code"].isin(["a", "z"])))
    other = life_table(recoded, **NAMES, by="arm", censored=())
    pd.testing.assert_frame_equal(table.cells, other.cells)
    assert table.cells[["arm", "duration", "cause", "n"]].to_numpy().tolist() == [
        ["a", 1, "0", 1], ["a", 1, "z", 1], ["a", 2, "0", 1], ["a", 2, "a", 1],
        ["b", 1, "0", 2], ["b", 2, "0", 1], ["b", 2, "z", 1],
    ]  # fmt: skip
    both = [life_table(data, **NAMES, **options, cluster="pair"),
            life_table(recoded, **NAMES, by="arm", censored=(), cluster="pair")]  # fmt: skip
    assert (both[0].products != both[1].products).nnz == 0
    assert logrank(both[0]).p_value == logrank(both[1]).p_value


def test_a_result_without_a_censored_spell_says_so() -> None:
    whole = rte.Spells(rows(1, 1).assign(arm=list("ab") * 5), **NAMES, by="arm")
    for result in (whole.kaplan_meier(), whole.rmst(tau=5), whole.cumulative_incidence(), whole.cox("arm")):
        assert result.meta["censoring"] == "no spell is censored: all 10 end in an event"
    assert whole.discrete_hazard("arm", bins=(4, 10)).meta["censoring"].startswith("no spell is censored")
    assert "no spell is censored" in repr(whole)
    assert rte.Spells(rows(0, 1), **NAMES).kaplan_meier().meta["censoring"] == "4 of 10 spells are censored"


def test_spells_read_codes_as_the_life_table_does() -> None:
    """A text "NA" says that a code is missing, or is one itself: `Spells` asks, and does not take it for censored."""
    data = pd.DataFrame({"id": range(4), "quarters": [1, 2, 3, 4], "cause": ["job", "NA", "recall", "job"]})
    with pytest.raises(InputError, match="neither as events nor as censored"):
        rte.Spells(data, id="id", censored=())
    cells = rte.Spells(data, id="id", censored="NA").table.cells
    assert cells["cause"].tolist() == ["job", "0", "recall", "job"]
    assert cells.equals(life_table(data, "id", "quarters", "cause", censored="NA").cells)


@pytest.mark.parametrize("kind", ["frame", "csv"])
def test_spells_read_columns_as_life_tables_do(tmp_path: Path, kind: str) -> None:
    """A code NA is a code, which has to be told; ids 1.50 and 1.5 are two people."""
    rows = pd.DataFrame({"id": ["1.5", "1.50", "2.5", "2.5"], "q": [1, 2, 3, 4], "e": ["1", "0", "NA", "1"]})
    source: object = rows
    if kind == "csv":
        source = tmp_path / "spells.csv"
        rows.to_csv(source, index=False)
    with pytest.raises(InputError, match=r"(?s)which spells ended.*'NA' \(1\)"):
        rte.Spells(source, id="id", duration="q", cause="e")
    told = {"id": "id", "duration": "q", "cause": "e", "event": ("NA", 1)}
    found, want = rte.Spells(source, **told).table, life_table(source, **told)
    assert found.n_people == want.n_people == 3
    assert found.cells["n"].tolist() == want.cells["n"].tolist()
    assert found.cells["cause"].tolist() == want.cells["cause"].tolist()
