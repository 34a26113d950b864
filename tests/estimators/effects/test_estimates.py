"""Estimates of another program, and those they are said to equal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from retrain_eval.common.errors import InputError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.same_estimates import check_same_estimates, same_rows
from retrain_eval.release.results import Results


def table(
    shift: float = 0.0, n: int = 50, estimator: str = "ours", events: tuple[int, ...] = (-1, 0, 1)
) -> EffectTable:
    rows = [
        {"outcome": "y", "estimator": estimator, "event_time": e, "estimate": 1000.0 + e + shift, "n_treated": n}
        for e in events
    ]
    return EffectTable.build(rows, np.diag([4.0] * len(rows)))


def test_rows_are_found_by_their_keys_in_any_order() -> None:
    found = same_rows(table(estimator="theirs").frame, table(events=(1, 0, -1, 2)).frame)
    assert found["event_time"].tolist() == [-1, 0, 1]


@pytest.mark.parametrize(("events", "number"), [((-1, 0), 0), ((-1, 0, 1, 1), 2)])
def test_a_row_that_is_missing_or_twice_is_named(events: tuple[int, ...], number: int) -> None:
    with pytest.raises(InputError, match=f"the table gives {number} rows of outcome y, event_time 1"):
        same_rows(table().frame, table(events=events).frame)


def test_a_file_may_hold_whole_numbers_where_there_were_floats() -> None:
    frame = table().frame
    assert len(same_rows(frame.assign(event_time=[-1, 0, 1]), frame)) == 3


def test_what_differs_is_named_with_both_numbers() -> None:
    check_same_estimates("peer", table(shift=0.9e-4).frame, table().frame)
    with pytest.raises(InputError, match=r"peer, row 1 \(y, ours, -1.0\): estimate is 999.0002, and 999 by the table"):
        check_same_estimates("peer", table(shift=2e-4).frame, table().frame)
    with pytest.raises(InputError, match="n_treated is 51, and 50"):
        check_same_estimates("peer", table(n=51).frame, table().frame)


def test_estimates_have_to_say_what_they_follow_from() -> None:
    with pytest.raises(InputError, match="do not say what they follow from"):
        Results().add_effects("peer", table(), table())
    assert pd.isna(table().frame["n_control"]).all()  # a count that neither has is no difference
