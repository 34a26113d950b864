"""No two released sets of people behind sums of amounts differ by one to nine people, in one edition or in several."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import own_study
import retrain_eval as rte
from keyed_people import held, keyed, rules
from retrain_eval.common.errors import DisclosureError, InputError, ReleaseError
from retrain_eval.release.editions import kept_sets, officer
from retrain_eval.release.protection.alike import sets_of
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results
from retrain_eval.study.folder import Study
from retrain_eval.tables.noise.cell_keys import UNIT, CellKeys, common_weight, different_weights
from retrain_eval.tables.noise.counted_sets import CountedSets
from retrain_eval.tables.noise.released_sets import NO_ONE, ZERO, ReleasedSet, too_alike

PEOPLE = held(2000)
Ints = npt.NDArray[np.int64]


def set_of(name: str, who: Any, weight: Any = None, weights: tuple[int, ...] = (UNIT,), **sums: str) -> ReleasedSet:
    index = np.asarray(who)
    w = np.ones(len(index)) if weight is None else np.asarray(weight, float)
    of = CellKeys.of(np.zeros(len(index), np.int64), PEOPLE.record[index], PEOPLE.element[index], w, 1)
    return ReleasedSet(name, len(index), int(of.key[0]), tuple(of.sketch[0].tolist()), weights, sums)


@given(seed=st.integers(0, 10**6), extra=st.integers(0, 12), lost=st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_the_people_by_whom_two_sets_differ_are_counted(seed: int, extra: int, lost: int) -> None:
    order = np.random.default_rng(seed).permutation(2000)
    found = too_alike([set_of("one", order[:100])], [set_of("other", order[lost : 100 + extra])])
    assert [pair.people for pair in found] == ([extra + lost] if 0 < extra + lost < 10 else [])


def test_hundreds_of_sets_are_compared_in_about_a_second() -> None:
    rng = np.random.default_rng(0)
    sets = [set_of(str(k), rng.permutation(2000)[: rng.integers(20, 1500)]) for k in range(200)]
    sets += [set_of("a", np.arange(500)), set_of("b", np.arange(503))]
    start = time.process_time()
    assert [str(pair) for pair in too_alike(sets[-1:], sets[:-1])] == ["b and a, 3 people apart"]
    assert len(too_alike(sets, sets)) == 2
    assert time.process_time() - start < 5


def test_a_multiple_of_one_sum_less_the_other_is_of_few_people_too() -> None:
    """Of 400 controls of equal weight 7/3 three are used twice: the sum after, less 7/3 of that before, is of these."""
    c = 7 / 3
    weight = np.full(400, c)
    weight[:3] *= 2
    before = set_of("before", np.arange(405))  # five were not used at all
    assert too_alike([set_of("after", np.arange(400), weight)], [before]) == []
    after = set_of("after", np.arange(400), weight, (UNIT, round(c * UNIT)))
    assert [pair.people for pair in too_alike([after], [before])] == [8]


def weighted_set(name: str, who: Any, weight: Any) -> ReleasedSet:
    """Return a set as `outcome_moments` sketches it: weights are divided by the one that they are multiples of."""
    index, w = np.asarray(who), np.asarray(weight, float)
    base, usual = common_weight(*different_weights(w))
    of = CellKeys.of(np.zeros(len(index), np.int64), PEOPLE.record[index], PEOPLE.element[index], w / base, 1)
    sketch, rows = tuple(of.sketch[0].tolist()), tuple(of.rows[0].tolist())
    weights = tuple(dict.fromkeys([UNIT, *usual]))
    return ReleasedSet(name, len(index), int(of.key[0]), sketch, weights, rows=() if rows == sketch else rows)


def few_controls_less(seed: int, treated: int, lost: int, shares: int) -> tuple[int, list[int]]:
    """Let some of the treated leave, so that their controls are used once less and the weight of one use changes.

    Returns how many controls that changes, and how many are found.
    """
    rng = np.random.default_rng(seed)
    controls = rng.integers(0, 200, treated)
    share = np.ones(treated) if shares == 1 else 1 / rng.integers(1, shares + 1, treated)  # of a tie

    def of(left: slice) -> ReleasedSet:
        used = np.bincount(controls[left], weights=share[left], minlength=200)
        who = np.flatnonzero(used)
        return weighted_set("controls", who, used[who] * len(who) / used.sum())

    found = too_alike([of(slice(lost, None))], [of(slice(None))])
    return len(set(controls[:lost].tolist())), [pair.people for pair in found]


@given(
    seed=st.integers(0, 10**6), treated=st.integers(60, 300), lost=st.integers(0, 12), shares=st.sampled_from([1, 2])
)
@settings(max_examples=200, deadline=None)
def test_re_used_controls_are_compared_by_how_often_they_are_used(
    seed: int, treated: int, lost: int, shares: int
) -> None:
    changed, found = few_controls_less(seed, treated, lost, shares)
    assert found == ([changed] if 0 < changed < 10 else [])


def test_of_controls_in_ties_of_up_to_six_nearly_all_are_found() -> None:
    """The most frequent weights of two sets may be no multiples of one another: 1 of 328 pairs was missed."""
    missed = 0
    for seed in range(100):
        changed, found = few_controls_less(seed, 60 + 2 * seed, 1 + seed % 9, 6)
        missed += 0 < changed < 10 and found != [changed]
    assert missed <= 2


def test_ten_trainees_with_one_control_less_are_told_by_the_control() -> None:
    """Ten of the trained are gone, but one control is used less: a multiple of one sum less the other is hers."""
    trained, control = 120, 200 + np.random.default_rng(7).integers(0, 60, 120)
    control[:10] = 200

    def of(first: int) -> rte.OutcomeMoments:
        used = np.bincount(control[first:], minlength=260)
        who = np.flatnonzero(used)
        people = pd.DataFrame(
            {
                "id": [*range(first, trained), *who],
                "g": [2] * (trained - first) + [0] * len(who),
                "w": [1.0] * (trained - first) + (used[who] * len(who) / used.sum()).tolist(),
            }
        )
        rows = people.merge(pd.DataFrame({"t": [1, 2, 3]}), how="cross")
        rows["y"] = 1000.0 + 10 * rows["id"] + rows["t"]
        return rte.outcome_moments(
            keyed(rows), unit="id", time="t", cohort="g", outcome="y", weights="w", winsorise=1.0
        )

    said = list[str]()
    safe, _ = protect(Results(moments={"all": of(0), "but_ten": of(10)}), rules(), say=said.append)
    assert list(safe.moments) == ["all"]
    assert "never treated, 1 people apart" in said[0]
    assert "arm treated" not in said[0]


def test_weights_that_were_estimated_again_do_not_hide_one_person() -> None:
    rng = np.random.default_rng(4)
    weight = rng.uniform(0.2, 5, 500)
    one = weighted_set("one", np.arange(500), weight)
    other = weighted_set("other", np.arange(501), np.append(weight * rng.normal(1, 1e-4, 500), 1.3))
    assert too_alike([other], [one]) == []  # by their weights, all are different
    assert [pair.people for pair in CountedSets([one]).alike([other])] == [1]


def test_a_weighted_table_of_all_but_one_is_withheld_next_to_one_of_all() -> None:
    rng = np.random.default_rng(4)
    weight = pd.Series(rng.uniform(0.2, 5, 400))

    def weighted(rows: pd.DataFrame, scale: float) -> rte.OutcomeMoments:
        noise = pd.Series(np.random.default_rng(5).normal(1, scale, 400))
        source = keyed(rows.assign(w=rows["id"].map(weight * noise)))
        return rte.outcome_moments(source, unit="id", time="t", cohort="g", outcome="y", weights="w", winsorise=1.0)

    tables = {"all": weighted(ROWS, 0), "but_one": weighted(ROWS[ROWS["id"] > 0], 1e-4)}
    assert list(protect(Results(moments=tables), rules())[0].moments) == ["all"]
    # the same people, with weights from another model
    tables["but_one"] = weighted(ROWS, 0.2)
    assert list(protect(Results(moments=tables), rules())[0].moments) == ["all", "but_one"]


def test_a_set_of_few_is_too_like_no_one() -> None:
    assert [pair.people for pair in too_alike([set_of("few", np.arange(9))], [NO_ONE])] == [9]
    assert too_alike([set_of("many", np.arange(10))], [NO_ONE]) == []


def test_the_same_people_with_other_sums_are_a_conflict() -> None:
    who = np.arange(50)
    now, then = set_of("now", who, pay="a", hours="c"), set_of("then", who, pay="a")
    assert too_alike([now], [then]) == []
    assert [pair.people for pair in too_alike([now], [set_of("then", who, pay="b")])] == [0]
    two = [set_of("then", who, pay="a"), set_of("later", who, hours="d")]
    assert [str(pair) for pair in too_alike([now], two)] == ["now, with other sums than later"]
    assert too_alike([now], [*two, set_of("another table", who, hours="c")]) == []  # published already


def series(name: str, *digests: str, first: int = 1) -> dict[str, str]:
    """Return the sums of an outcome by period; ``0`` stands for a sum of zero."""
    return {f"amount {name} {first + k}": ZERO if d == "0" else d for k, d in enumerate(digests)}


@pytest.mark.parametrize(
    ("now", "then", "conflict"),
    [
        # of pay 1, 2, 3 the second was corrected, and pay is called wages
        (series("wages", "a", "x", "c"), series("pay", "a", "b", "c"), True),
        # and its periods are counted from another one
        (series("wages", "a", "x", "c", first=-2), series("pay", "a", "b", "c"), True),
        # in cents; sums that are the same are published already
        (series("wages", "a", "b", "c"), series("pay", "a", "b", "c"), False),
        # a longer follow-up, at either end, or of another period
        (series("pay", "a", "b", "c", "d"), series("pay", "a", "b", "c"), False),
        (series("wages", "a", "b", "c", "d"), series("pay", "a", "b", "c"), False),
        (series("wages", "y", "a", "b", first=0), series("pay", "a", "b", "c"), False),
        (series("wages", "c", "d", "e", first=3), series("pay", "a", "b", "c"), False),
        # another outcome, of which only sums of zero are the same
        (series("benefit", "0", "0", "e"), series("pay", "0", "0", "c"), False),
        (series("benefit", "0", "0", "0"), series("pay", "a", "b", "c"), False),
        # a period of zeros in which someone was paid after all
        (series("wages", "a", "x"), series("pay", "a", "0"), True),
        # a constant is the same in all periods
        (series("grant", "a", "a", "a", "a"), series("grant", "a", "a"), False),
        # pay by period, and as covariates of the quarters before
        ({"covariate pay_m1": "b", "covariate pay_m2": "x", "covariate pay_m3": "c"},
         series("pay", "c", "a", "b", first=-3), True),
        ({"covariate pay_m1": "b", "covariate pay_m2": "a", "covariate debts": "x"},
         series("pay", "a", "b", "d", first=-2), False),
        (series("pay", "a", "b", "d", "e", first=-2),
         {"covariate pay_m1": "b", "covariate pay_m2": "a", "covariate debts": "f"}, False),
        ({"covariate pay_2019": "x", "covariate pay_2018": "a"}, series("pay", "a", "b", first=2018), True),
        # covariates of other names
        ({"covariate old_wage": "a", "covariate new_wage": "x"}, {"covariate old": "a", "covariate new": "b"}, True),
        ({"covariate old": "a", "covariate debts": "x"}, {"covariate old": "a", "covariate new": "b"}, False),
    ],
)  # fmt: skip
def test_a_correction_under_another_name_is_a_conflict(
    now: dict[str, str], then: dict[str, str], conflict: bool
) -> None:
    who = np.arange(50)
    found = too_alike([set_of("now", who, **now)], [set_of("then", who, **then)])
    assert [pair.people for pair in found] == ([0] if conflict else [])
    assert too_alike([set_of("now", np.arange(60), **now)], [set_of("then", who, **then)]) == []  # of other people


def test_two_outcomes_of_one_name_are_no_correction() -> None:
    """Earnings, and what training did to earnings, of the same people in one edition, and again in the next."""
    tables = {"pay": moments(ROWS), "truth": moments(ROWS.assign(y=ROWS["y"] / 10))}
    first, _ = protect(Results(moments=tables), rules())
    assert list(first.moments) == ["pay", "truth"]
    again, _ = protect(Results(moments=tables), rules(), earlier=first.sets)
    assert list(again.moments) == ["pay", "truth"]


# ---- tables ------------------------------------------------------------------------------------------------------


def long(n: int = 400, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    people = pd.DataFrame({"id": range(n), "g": np.where(rng.random(n) < 0.5, 2, 0), "age": rng.integers(20, 60, n)})
    rows = people.merge(pd.DataFrame({"t": [1, 2, 3]}), how="cross")
    rows["y"] = rng.gamma(4, 1000, len(rows)).round(2)
    return rows


def moments(rows: pd.DataFrame, by: Any = (), number: int = 0) -> rte.OutcomeMoments:
    return rte.outcome_moments(keyed(rows, number), unit="id", time="t", cohort="g", outcome="y", by=by, winsorise=1.0)


def banded(rows: pd.DataFrame, cut: int) -> pd.DataFrame:
    return rows.assign(band=np.where(rows["age"] < cut, "young", "old"))


ROWS = long()


def test_every_cell_and_margin_of_amounts_is_a_set() -> None:
    names = [one.name for one in sets_of({"moments/all": moments(banded(ROWS, 40), ("band",))})]
    assert "moments/all: everyone" in names
    assert {"moments/all: arm treated", "moments/all: band young", "moments/all: arm treated, band young"} <= set(names)
    works = ROWS.assign(y=(ROWS["y"] > 3000).astype(int))
    assert sets_of({"m": moments(works)}) == []  # changed counts protect these


def test_strata_cut_a_year_apart_are_published_once() -> None:
    """Sums below 40 and below 41 differ by the people of 40."""
    age = ROWS.drop_duplicates("id")
    assert 0 < ((age["age"] == 40) & (age["g"] == 2)).sum() < 10
    tables = {"at_40": moments(banded(ROWS, 40), ("band",)), "at_41": moments(banded(ROWS, 41), ("band",))}
    safe, record = protect(Results(moments=tables), rules())
    assert safe.moments["at_40"].strata == ("band",)
    assert safe.moments["at_41"].strata == ()
    assert any("moments/at_41: summed over band: its people, or their amounts, differ" in line for line in record)
    assert too_alike(safe.sets, [NO_ONE]) == []
    apart = {"at_40": tables["at_40"], "at_55": moments(banded(ROWS, 55), ("band",))}
    assert protect(Results(moments=apart), rules())[0].moments["at_55"].strata == ("band",)


def test_a_table_of_all_but_three_is_withheld_next_to_one_of_all() -> None:
    tables = {"all": moments(ROWS), "but_three": moments(ROWS[ROWS["id"] >= 3])}
    told = list[str]()
    safe, record = protect(Results(moments=tables), rules(), say=told.append)
    assert list(safe.moments) == ["all"]
    assert "3 people apart" in told[0]
    assert any(
        line.startswith("Moments but_three: withheld, because its people, or their amounts, differ") for line in record
    )
    assert not any("3 people" in line for line in record)
    tables = {"all": tables["all"], "but_twenty": moments(ROWS[ROWS["id"] >= 40])}
    assert list(protect(Results(moments=tables), rules())[0].moments) == ["all", "but_twenty"]


def matched(n_unmatched: int) -> rte.MatchedSample:
    """Match trainees of whom so many have no control within reach."""
    n = 120
    frame = pd.DataFrame({"id": range(2 * n), "treat": [1] * n + [0] * n, "x": [*range(n), *range(n)]})
    frame.loc[: n_unmatched - 1, "x"] = -1000 - 50 * np.arange(n_unmatched)
    frame["pay"] = np.random.default_rng(2).gamma(4, 1000, 2 * n).round(2)
    return rte.match(keyed(frame), "treat ~ x + pay", unit="id", distance="x", caliper=0.01)


@pytest.mark.parametrize(("unmatched", "stages"), [(0, 4), (3, 3), (30, 4)])
def test_where_few_were_not_matched_those_matched_represent_all(unmatched: int, stages: int) -> None:
    sample = matched(unmatched)
    assert sample.count("n_treated_unmatched") == unmatched
    made = sample.covariate_moments(amounts=["pay"])
    safe, record = protect(Results(covariates={"m": made}), rules())
    of_pay = safe.covariates["m"].cells.query("covariate == 'pay'")
    # of the controls, so many were not matched as well
    assert len(of_pay) == (2 if stages == 3 else 4)
    assert any("before matching are taken to be those after it" in line for line in record) is (stages == 3)


def test_people_before_and_after_matching_follow_to_moments_with_their_keys() -> None:
    people = pd.DataFrame({"id": range(300), "x": np.tile(np.arange(30), 10), "began": 8, "ended": 40})
    people["entry"] = pd.array([10 if k % 4 == 0 else None for k in range(300)], dtype="Int64")
    source = keyed(people)
    sample = rte.match(
        source, "trained ~ x", unit="id", method="riskset", distance="x", start="began", entry="entry", end="ended"
    )
    panel = people[["id"]].merge(pd.DataFrame({"q": range(8, 13)}), how="cross").assign(pay=lambda d: 100.0 + d["id"])
    rows = rte.follow_outcomes(sample, panel, time="q", outcomes=["pay"], censor=False)
    found = rte.outcome_moments(
        rows, unit="match_id", time="clock", cohort="cohort", outcome="pay", weights="weight", unbalanced="drop",
        winsorise=1.0,
    )  # fmt: skip
    assert found.keyed is not None
    controls = sorted(sample.pairs.df()["control_id"])
    expected = np.sum(PEOPLE.record[controls], dtype=np.uint64)
    assert int(found.keyed.cells.key[found.cells["cohort"].isna()][0]) == int(expected)


# ---- editions ----------------------------------------------------------------------------------------------------


def released(rows: pd.DataFrame, earlier: list[ReleasedSet], by: Any = ()) -> Results:
    return protect(Results(moments={"m": moments(rows, by)}), rules(), earlier=earlier)[0]


def test_the_next_edition_has_ten_newcomers_or_none() -> None:
    first = released(ROWS, [])
    assert released(ROWS, first.sets).moments.keys() == {"m"}  # the same people, the same sums
    for n, published in ((1, False), (9, False), (40, True)):
        more = long(400 + n)
        more = pd.concat([ROWS, more[more["id"] >= 400]])
        if published:
            assert released(more, first.sets).moments.keys() == {"m"}
        else:
            with pytest.raises(DisclosureError, match="people apart"):
                released(more, first.sets)


def test_a_corrected_row_waits() -> None:
    first = released(ROWS, [])
    fixed = ROWS.copy()
    fixed.loc[7, "y"] += 1000
    with pytest.raises(DisclosureError, match="with other sums than"):
        released(fixed, first.sets)


def renamed(rows: pd.DataFrame, name: str, earlier: list[ReleasedSet]) -> Results:
    table = rte.outcome_moments(
        keyed(rows.rename(columns={"y": name})), unit="id", time="t", cohort="g", outcome=name, winsorise=1.0
    )
    return protect(Results(moments={name: table}), rules(), earlier=earlier)[0]


def test_a_corrected_row_waits_under_another_name_too() -> None:
    first = renamed(ROWS, "pay", [])
    assert renamed(ROWS, "wages", first.sets).moments.keys() == {"wages"}
    fixed = ROWS.copy()
    fixed.loc[7, "y"] += 1000
    with pytest.raises(DisclosureError, match="with other sums than"):
        renamed(fixed, "wages", first.sets)
    # a year more of the same people, and another outcome of them
    later = ROWS.query("t == 3").assign(t=4, y=lambda rows: rows["y"] + 100 * (rows["id"] % 7))
    more = pd.concat([ROWS, later])
    assert renamed(more, "wages", first.sets).moments.keys() == {"wages"}
    assert renamed(ROWS.assign(y=ROWS["id"] * 10.0), "debts", first.sets).moments.keys() == {"debts"}
    # people without pay in the first two periods, who have other pay in the third
    late = ROWS.assign(y=ROWS["y"].where(ROWS["t"] == 3, 0.0))
    before = renamed(late, "pay", [])
    assert renamed(late.assign(y=late["y"] * (1 + late["id"] % 3)), "bonus", before.sets).moments.keys() == {"bonus"}
    late.loc[late["t"].eq(2) & late["id"].lt(100), "y"] = 500.0
    with pytest.raises(DisclosureError, match="with other sums than"):
        renamed(late, "wages", before.sets)


def works(rows: pd.DataFrame, name: str, earlier: Sequence[ReleasedSet], **options: Any) -> Results:
    table = rte.outcome_moments(
        keyed(rows.rename(columns={"y": name})), unit="id", time="t", cohort="g", outcome=name, **options
    )
    return protect(Results(moments={name: table}), rules(), earlier=earlier)[0]


def test_a_corrected_row_of_a_counted_outcome_waits() -> None:
    """The count of those employed would change, and everyone else's would not: it is hers."""
    jobs = ROWS.assign(y=(ROWS["y"] > 3000).astype(int))
    first = works(jobs, "job", [])
    assert works(jobs, "job", first.sets).moments.keys() == {"job"}
    fixed = jobs.copy()
    fixed.loc[7, "y"] = 1 - fixed.loc[7, "y"]
    for name, rows in (("job", fixed), ("work", fixed), ("jobless", fixed.assign(y=1 - fixed["y"]))):
        with pytest.raises(DisclosureError, match="with other sums than"):
            works(rows, name, first.sets)
    # the opposite, a longer follow-up, one without the first period, and another outcome tell nothing new of anyone
    assert works(jobs.assign(y=1 - jobs["y"]), "jobless", first.sets).moments.keys() == {"jobless"}
    later = jobs.query("t == 3").assign(t=4, y=lambda rows: (rows["id"] % 3 == 0).astype(int))
    more = pd.concat([jobs, later])
    assert works(more, "job", first.sets).moments.keys() == {"job"}
    assert works(more.query("t > 1"), "job", first.sets).moments.keys() == {"job"}
    other = jobs.assign(y=(jobs["id"] % 2).astype(int))
    assert works(other, "benefit", first.sets).moments.keys() == {"benefit"}
    # other people
    newcomers = long(460).query("id >= 400").assign(y=lambda rows: (rows["y"] > 3000).astype(int))
    assert works(pd.concat([fixed, newcomers]), "job", first.sets).moments.keys() == {"job"}


def test_outcomes_that_are_the_same_of_everyone_at_first_are_no_correction() -> None:
    """Before the start no one works, and no one has full-time work."""
    hours = (ROWS["y"] / 2000).clip(upper=3).astype(int).where(ROWS["t"] > 1, 0)
    jobs, full = ROWS.assign(y=(hours > 0).astype(int)), ROWS.assign(y=(hours > 2).astype(int))
    first = works(jobs, "job", [])
    assert works(full, "full_time", first.sets).moments.keys() == {"full_time"}
    score = ROWS.assign(y=hours)
    second = works(score, "hours", first.sets)
    fixed = score.copy()
    row = fixed.index[(fixed["t"] == 3) & (fixed["y"] == 1)][0]
    fixed.loc[row, "y"] = 2
    with pytest.raises(DisclosureError, match="with other sums than"):
        works(fixed, "hours", second.sets)


def test_a_corrected_row_waits_after_weights_were_estimated_again() -> None:
    rng = np.random.default_rng(4)
    jobs = ROWS.assign(y=(ROWS["y"] > 3000).astype(int), w=ROWS["id"].map(pd.Series(rng.uniform(0.2, 5, 400))))
    first = works(jobs, "job", [], weights="w")
    again = jobs.assign(w=jobs["w"] * jobs["id"].map(pd.Series(rng.uniform(0.9, 1.1, 400))))
    assert works(again, "job", first.sets, weights="w").moments.keys() == {"job"}
    again.loc[7, "y"] = 1 - again.loc[7, "y"]
    with pytest.raises(DisclosureError, match="with other sums than"):
        works(again, "job", first.sets, weights="w")


def test_values_are_kept_with_the_sets(tmp_path: Path) -> None:
    first = works(ROWS.assign(y=(ROWS["y"] > 3000).astype(int)), "job", [])
    kept_sets.keep_sets(tmp_path, "2024", first.sets, "k")
    again = kept_sets.earlier_sets(tmp_path, tmp_path / "release", "2025", "k")
    assert any(one.divided for one in again)
    assert [dict(one.divided) for one in again] == [dict(one.divided) for one in first.sets]


def test_editions_are_kept_and_compared(tmp_path: Path) -> None:
    store, releases = tmp_path / "store", tmp_path / "release"
    store.mkdir()
    releases.mkdir()
    first = released(ROWS, [])
    assert kept_sets.earlier_sets(store, releases, "2024", "k") == []
    for _ in range(2):  # written again
        kept_sets.keep_sets(store, "2024", first.sets, "k")
    again = kept_sets.earlier_sets(store, releases, "2025", "k")
    assert [(one.key, one.sketch, one.sums) for one in again] == [
        (one.key, one.sketch, dict(one.sums)) for one in first.sets
    ]
    assert again[0].name.startswith("2024, moments/m")
    assert (store / kept_sets.FILE).stat().st_mode & 0o077 == 0
    with pytest.raises(ReleaseError, match="made with another release key"):
        kept_sets.earlier_sets(store, releases, "2025", "other")
    # a draft that is overwritten is compared with until what overwrites it is there
    more = long(440)
    second = released(pd.concat([ROWS, more[more["id"] >= 400]]), again)
    kept_sets.keep_sets(store, "2024", second.sets, "k")
    assert kept_sets.earlier_sets(store, releases, "2024", "k") == []
    assert len(kept_sets.earlier_sets(store, releases, "2025", "k")) == len(first.sets) + len(second.sets)
    kept_sets.settle(store, "2024")
    assert len(kept_sets.earlier_sets(store, releases, "2025", "k")) == len(second.sets)
    (releases / "2023").mkdir()
    with pytest.raises(ReleaseError, match=r"not known which people are behind the edition\(s\) 2023[\s\S]*withdraw"):
        kept_sets.earlier_sets(store, releases, "2025", "k")
    (releases / "2023").rmdir()
    for year in range(2025, 2029):
        kept_sets.keep_sets(store, str(year), first.sets, "k")
    assert kept_sets.earlier_sets(store, releases, "2028", "k")
    with pytest.raises(DisclosureError, match="5 other editions of this study were written"):
        kept_sets.earlier_sets(store, releases, "2029", "k")
    kept_sets.withdraw(store, "2025", by="Ada", reason="never left the agency")
    assert kept_sets.earlier_sets(store, releases, "2029", "k")
    before = (store / kept_sets.FILE).read_text()
    kept_sets.withdraw(store, "1999", by="Ada", reason="made without noise")  # of which no sets are known
    assert (store / kept_sets.FILE).read_text() == before


def test_an_edition_is_taken_back_with_name_and_reason(tmp_path: Path) -> None:
    study = Study.open(own_study.make(tmp_path / "mine"))
    study.run()
    draft, store = study.release("2026"), study.store_path.parent
    for options in ({"by": "", "reason": "x"}, {"by": "Ada", "reason": " "}):
        with pytest.raises(InputError, match="by someone, for a reason"):
            study.take_back("2026", **options)
    with pytest.raises(ReleaseError, match="is a draft: return it"):
        study.take_back("2026", by="Ada", reason="no", published=True)
    kept = study.take_back("2026", by="Ada", reason="cap earnings first")
    assert not draft.path.exists()
    assert (kept / "manifest.json").exists()
    study.release("2026", approved_by="Ada")
    with pytest.raises(ReleaseError, match="was approved by Ada: correct it in a new one, or withdraw it"):
        study.take_back("2026", by="Ada", reason="no")
    study.take_back("2026", by="Ada", reason="published by mistake", published=True)
    assert [(one["decision"], one["reason"]) for one in officer.decisions(store)] == [
        ("returned", "cap earnings first"),
        ("approved", ""),
        ("withdrawn", "published by mistake"),
    ]
    fingerprint = json.loads((store / "release_key.json").read_text())["release_key"]
    assert kept_sets.earlier_sets(store, tmp_path / "none", "2027", fingerprint) == []


def test_an_edition_whose_folder_is_gone_is_taken_back_where_its_sets_are_recorded(tmp_path: Path) -> None:
    study = Study.open(own_study.make(tmp_path / "mine"))
    study.run()
    store = study.store_path.parent
    shutil.rmtree(study.release("2026", approved_by="Ada").path)
    fingerprint = json.loads((store / "release_key.json").read_text())["release_key"]
    assert kept_sets.earlier_sets(store, tmp_path / "none", "2027", fingerprint)
    with pytest.raises(ReleaseError, match=r"no edition 2025[\s\S]*give the name of one that is: 2026"):
        study.take_back("2025", by="Ada", reason="a slip", published=True)
    with pytest.raises(ReleaseError, match="2026 was approved by Ada: withdraw it"):
        study.take_back("2026", by="Ada", reason="no")
    assert study.take_back("2026", by="Ada", reason="deleted by mistake", published=True) is None
    assert officer.decisions(store)[-1]["decision"] == "withdrawn"
    assert officer.decisions(store)[-1]["manifest_sha256"] == ""
    assert kept_sets.earlier_sets(store, tmp_path / "none", "2027", fingerprint) == []
    with pytest.raises(ReleaseError, match="there is none"):  # a second time
        study.take_back("2026", by="Ada", reason="again", published=True)
