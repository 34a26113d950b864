"""Tables of people below each of several edges: their "times" are edges, and their counts add up from edge to edge.

A release may not tell how many people are between two edges if they are few. A table that is marked loses edges, so
that enough people are between those that are left, instead of being withheld; a run keeps all edges.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from retrain_eval.common.arrays import Index
from retrain_eval.tables.moments.moments import MomentTable

Moments = TypeVar("Moments", bound=MomentTable)
MARK = {"times": "edges, of people below each"}


def has_edges(moments: MomentTable) -> bool:
    """Return whether the table is marked with ``MARK``."""
    return MARK.items() <= moments.stamp.items()


def of_times(moments: Moments, index: Index) -> Moments:
    """Return the moments of some of the times, by their places.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.estimators.outcome_moments import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 1, 1, 2, 2, 2], "t": [1, 2, 3] * 2, "g": 2, "y": [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]})
    >>> moments = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    >>> of_times(moments, np.array([0, 2])).times
    (1, 3)
    """
    place = np.append(0, 1 + index)
    clusters, keyed = moments.clusters, moments.keyed
    if clusters is not None and clusters.first is not None:
        clusters = replace(clusters, first=clusters.first[:, place])
    if keyed is not None:
        keyed = replace(
            keyed,
            count=keyed.count[:, index],
            key=keyed.key[:, index],
            weight=keyed.weight[:, index],
            first=None if keyed.first is None else keyed.first[:, place],
            second=keyed.second and {cells: block[np.ix_(place, place)] for cells, block in keyed.second.items()},
        )
    largest, absolute = (None if of is None else of[:, index] for of in (moments.largest, moments.absolute))
    return replace(
        moments,
        times=tuple(moments.times[at] for at in index.tolist()),
        first=moments.first[:, place],
        second={cells: block[np.ix_(place, place)] for cells, block in moments.second.items()},
        reference=moments.reference[index],
        clusters=clusters,
        largest=largest,
        absolute=absolute,
        keyed=keyed,
        source=None,
    )
