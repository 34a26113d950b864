"""Tables say how many clusters their standard errors rest on, where these are few."""

from __future__ import annotations

import numpy as np

from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.release.layout import effects_frame
from retrain_eval.release.results import is_withheld
from retrain_eval.report.estimates import say_few_clusters


def test_the_number_of_clusters_is_stated_below_thirty() -> None:
    def rows(n: list[int] | None) -> str:
        keys = [{"level": level, "estimate": 1.0, "n_treated": 50, "n_control": 50} for level in ("north", "south")]
        frame = effects_frame("x", EffectTable.build(keys, np.eye(2), n_clusters=n))
        assert not is_withheld(frame).any()
        return say_few_clusters(frame)

    assert rows([12, 12]) == "Standard errors rest on 12 clusters: Student's t with 11 degrees of freedom."
    assert rows([12, 40]) == "Clusters that standard errors rest on, where fewer than 30: north 12."
    assert rows([30, 40]) == rows(None) == ""
