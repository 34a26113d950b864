"""Indicators that agencies report: each equals a count over people, and says who it is out of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.rows.first_jobs import first_job_spells
from retrain_eval.estimators.rows.follow_up import employment_after
from retrain_eval.estimators.survival.curves import kaplan_meier
from retrain_eval.estimators.survival.incidence import cumulative_incidence
from retrain_eval.estimators.survival.retention import cause_share, ever_ended, retention
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.estimators.survival.summaries import conditional_survival
from retrain_eval.tables.life_table.counting import life_table
from survival_cases import NAMES, PROBABILITY, one, spells


def panel(seed: int, people: int = 80, quarters: int = 9, unknown: float = 0.1) -> pd.DataFrame:
    """Quarters −1 to 7 since an event: employment, the employer, and gaps of which nothing is known."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "person_id": np.repeat(np.arange(people), quarters),
            "to_exit": np.tile(np.arange(quarters) - 1, people),
            "employed": rng.choice([0.0, 1.0], people * quarters),
            "main_employer": rng.choice(["A", "B"], people * quarters),
            "arm": np.repeat(rng.choice(["trained", "control"], people), quarters),
            "w": np.repeat(rng.uniform(0.2, 3, people), quarters),
            "pair": np.repeat(np.arange(people) // 2, quarters),
        }
    )
    frame.loc[rng.random(len(frame)) < unknown, "employed"] = np.nan
    frame.loc[~(frame["employed"] > 0), "main_employer"] = None
    return frame.sample(frac=1, random_state=seed)


def counted(data: pd.DataFrame, weighted: bool) -> dict[tuple[str, str, int], tuple[float, int]]:
    """The shares written out person by person."""
    found: dict[tuple[str, str, int], list[tuple[float, bool]]] = {}
    for _, person in data.groupby("person_id"):
        at = person.set_index("to_exit")
        arm, weight = str(at["arm"].iloc[0]), float(at["w"].iloc[0]) if weighted else 1.0
        for quarter in (2, 4, 7):
            if not np.isnan(at["employed"][quarter]):
                found.setdefault((arm, "employed", quarter), []).append((weight, at["employed"][quarter] > 0))
            if quarter == 2 or not at["employed"][2] > 0 or np.isnan(at["employed"][quarter]):
                continue
            same = at["employed"][quarter] > 0 and at["main_employer"][quarter] == at["main_employer"][2]
            found.setdefault((arm, "same employer since quarter 2", quarter), []).append((weight, same))
    return {key: (sum(w for w, hit in rows if hit) / sum(w for w, _ in rows), len(rows)) for key, rows in found.items()}


@given(seed=st.integers(0, 10_000), weighted=st.booleans())
@settings(max_examples=8, deadline=None)
def test_shares_equal_a_count_over_people_with_their_own_denominators(seed: int, weighted: bool) -> None:
    data = panel(seed)
    weights = PROBABILITY if weighted else {}
    frame = employment_after(data, quarters=(2, 4, 7), by="arm", **weights).frame
    expected = counted(data, weighted)
    assert len(frame) == len(expected)
    for row in frame.to_dict("records"):
        share, n = expected[row["level"], row["estimand"], int(row["time"])]
        assert (row["estimate"], row["n_treated"]) == (pytest.approx(share, rel=1e-12), n)


def test_errors_of_shares_are_binomial_and_pairs_count_as_one() -> None:
    data = panel(3, people=400, unknown=0.0)
    row = employment_after(data, quarters=(2,)).frame.iloc[0]
    assert row["std_error"] == pytest.approx(np.sqrt(row["estimate"] * (1 - row["estimate"]) / 400), rel=1e-10)
    twins = data.assign(employed=data.groupby(["pair", "to_exit"])["employed"].transform("first"))
    alone = employment_after(twins, quarters=(2,)).frame["std_error"].item()
    paired = employment_after(twins, quarters=(2,), cluster="pair").frame["std_error"].item()
    assert paired == pytest.approx(np.sqrt(2) * alone, rel=1e-10)


def test_what_a_panel_cannot_say_is_refused() -> None:
    data = panel(1)
    with pytest.raises(InputError, match="unknown event 'to_retire'"):
        employment_after(data, since="to_retire")
    with pytest.raises(InputError, match="ascending"):
        employment_after(data, quarters=(4, 2))
    with pytest.raises(InputError, match="two rows of a person for one quarter"):
        employment_after(pd.concat([data, data.head(1)]))
    with pytest.raises(InputError, match=r"w changes within \d+ person\(s\)"):
        employment_after(data.assign(w=np.arange(len(data)) + 1.0), **PROBABILITY)
    nobody = data.assign(employed=data["employed"].where(data["to_exit"] != 2, 0.0))
    with pytest.raises(DesignError, match="no one in all counts"):
        employment_after(nobody, quarters=(2, 4))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_the_first_job_is_the_first_quarter_with_one_and_gaps_censor(seed: int) -> None:
    data = panel(seed)
    found = first_job_spells(data, keep=("arm",)).df().set_index("person_id")
    for person, rows in data.groupby("person_id"):
        known = rows.set_index("to_exit")["employed"].sort_index().loc[1:]
        job = next((quarter for quarter, value in known.items() if value > 0), None)
        gap = next((quarter for quarter, value in known.items() if np.isnan(value)), None)
        if gap == 1:
            assert person not in found.index
        elif job is not None and (gap is None or job < gap):
            assert (found.loc[person, "quarters"], found.loc[person, "cause"]) == (job, "job")
        else:
            assert found.loc[person, "quarters"] == (7 if gap is None else gap - 1)
            assert pd.isna(found.loc[person, "cause"])


def test_retention_and_ever_ended_are_the_curve_and_its_mirror() -> None:
    table = life_table(spells(300, 2), **NAMES, by="arm", **PROBABILITY)
    curve = kaplan_meier(table, times=(2, 4)).frame
    kept, ended = retention(table, quarters=(2, 4)).frame, ever_ended(table, times=(2, 4)).frame
    np.testing.assert_array_equal(kept["estimate"], curve["estimate"])
    np.testing.assert_allclose(ended["estimate"], 1 - curve["estimate"])
    np.testing.assert_allclose(ended["ci_low"], 1 - curve["ci_high"])
    np.testing.assert_array_equal(ended["std_error"], curve["std_error"])
    moves = one([1, 2, 3], ["job_to_job", "nonemployment", "0"])
    with pytest.raises(DesignError, match="spells of a job"):
        retention(moves, quarters=(2,), same_employer=False)


def test_shares_of_causes_add_up_to_one_and_their_error_is_that_of_a_numerical_derivative() -> None:
    data = spells(300, 3)
    table = life_table(data, **NAMES)
    shares = [cause_share(table, cause, times=(4,)) for cause in ("job", "recall")]
    assert sum(share.frame["estimate"].item() for share in shares) == pytest.approx(1)
    curves = cumulative_incidence(table, times=(4,))
    f = curves.frame["estimate"].to_numpy()
    gradient = np.array([f[1], -f[0]]) / f.sum() ** 2
    assert shares[0].frame["std_error"].item() == pytest.approx(np.sqrt(gradient @ curves.vcov @ gradient))
    assert shares[0].frame["n_treated"].item() == (data["cause"].ne("0") & (data["quarters"] <= 4)).sum()
    with pytest.raises(InputError, match="unknown cause 'death'"):
        cause_share(table, "death")


def test_conditional_survival_is_the_ratio_of_two_points_of_the_curve() -> None:
    table = life_table(spells(400, 5, truncated=True), **NAMES, entry="entry", by="arm", **PROBABILITY)
    curve = kaplan_meier(table, times=(3, 5))
    given_three = conditional_survival(table, 3, times=(5,))
    estimate = curve.frame["estimate"].to_numpy()
    np.testing.assert_allclose(given_three.frame["estimate"], estimate[1::2] / estimate[::2], rtol=1e-12)
    for place in (0, 1):
        one_arm = slice(2 * place, 2 * place + 2)
        s, t = estimate[one_arm]
        gradient = np.array([-t / s**2, 1 / s])
        variance = gradient @ curve.vcov[one_arm, one_arm] @ gradient
        assert given_three.vcov[place, place] == pytest.approx(variance, rel=1e-10)


def test_spells_of_the_store_are_read_as_they_are() -> None:
    rows = pd.DataFrame(
        {"person_id": ["a", "b", "c"], "quarters": [2, 3, 3], "cause": ["recall", "censored", "nonemployment"]}
    )
    codes = {"censored": "censored"}
    table = Spells(rows, id="person_id", **codes).table
    assert sorted(table.cells["cause"]) == ["0", "nonemployment", "recall"]
    with pytest.raises(InputError, match="began before they were observed"):
        Spells(rows.assign(left_truncated=[True, False, False]), id="person_id", **codes)
    Spells(rows.assign(left_truncated=False), id="person_id", **codes)


def test_exit_names_the_duration_and_a_cluster_holds_for_all_methods() -> None:
    data = spells(200, 6, truncated=True).rename(columns={"quarters": "left"}).assign(pair=lambda f: f["id"] // 2)
    options = {"id": "id", "entry": "entry", "by": "arm", "censored": ()}
    named = Spells(data, exit="left", cluster="pair", **options)
    plain = Spells(data, duration="left", **options)
    pd.testing.assert_frame_equal(named.kaplan_meier().frame, plain.kaplan_meier(cluster="pair").frame)
    assert "clustered by pair" in str(named.logrank().variance)
    with pytest.raises(InputError, match="two names for one column"):
        Spells(data, id="id", duration="left", exit="left")


@given(seed=st.integers(0, 10_000), several=st.booleans(), text=st.booleans())
@settings(max_examples=10, deadline=None)
def test_people_are_counted_whatever_the_order_of_their_ids(seed: int, several: bool, text: bool) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(50) // (2 if several else 1)
    ids = np.sort(ids) if seed % 2 else ids
    who = [f"P{i}" for i in ids] if text else ids
    table = life_table(pd.DataFrame({"id": who, "quarters": 1, "cause": 1}), **NAMES)
    assert table.n_people == len(set(ids))
    assert table.repeated is several
