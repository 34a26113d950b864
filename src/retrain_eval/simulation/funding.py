"""Who pays for training in the synthetic agency, and what it is truly worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sources import sql_text
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.money.net_benefit import net_benefit
from retrain_eval.simulation.parameters import FUNDERS

RATES = {"tuition": 9.5, "stipend": 4.0, "support": 1.5}  # per hour of training
PARTICIPANT = FUNDERS.index("participant")


def cost_sql(funded: Sequence[float]) -> str:
    """Return the SELECT of the cost records: hours of those who entered times a rate, split among funders to the cent.

    Each funder pays its share, rounded; the one with the largest share pays the rest, so that nothing is lost.

    Parameters
    ----------
    funded : sequence of float
        Share of each of ``FUNDERS``.
    """
    parts = ", ".join(
        f"({sql_text(component)}, {sql_text(funder)}, {share!r}, {str(rest).lower()})"
        for component in RATES
        for funder, share, rest in _shares(component, funded)
    )
    rates = " ".join(f"WHEN {sql_text(component)} THEN {rate!r}" for component, rate in RATES.items())
    listed = ", ".join(f"({sql_text(component)})" for component in RATES)
    return f"""
        WITH paid AS (
          SELECT programme_id, component, entry AS period,
            CAST(sum(round(hours * CASE component {rates} END, 2)) AS DECIMAL(14,2)) AS amount
          FROM enrolment JOIN programme USING (programme_id), (VALUES {listed}) AS c(component)
          GROUP BY ALL
        ),
        split AS (
          SELECT *, CASE WHEN rest THEN 0.00 ELSE CAST(round(amount * share, 2) AS DECIMAL(14,2)) END AS part
          FROM paid JOIN (VALUES {parts}) AS f(component, funder, share, rest) USING (component)
        )
        SELECT programme_id, funder, component, period,
          CAST(CASE WHEN rest THEN amount - sum(part) OVER (PARTITION BY programme_id, component, period) ELSE part END
            AS DECIMAL(14,2)) AS amount
        FROM split ORDER BY ALL"""


def _shares(component: str, funded: Sequence[float]) -> list[tuple[str, float, bool]]:
    """Return the funders of a component with their shares, and which of them pays the rest."""
    shares = list(funded)
    if component == "stipend":
        shares[PARTICIPANT] = 0.0
        total = sum(shares)
        shares = [share / total for share in shares] if total else [1.0, *[0.0] * (len(shares) - 1)]
    largest = shares.index(max(shares))
    return [
        (funder, share, place == largest)
        for place, (funder, share) in enumerate(zip(FUNDERS, shares, strict=True))
        if share > 0
    ]


def known_net_benefit(
    truth: pd.DataFrame,
    rates: Mapping[str, float],
    outlays: Mapping[str, float],
    *,
    discount_rate: float,
    horizon: int,
) -> EffectTable:
    """Return the true net benefit of training by perspective, per trainee: its variance is zero.

    Parameters
    ----------
    truth : DataFrame
        ``Simulation.truth``.
    rates, outlays, discount_rate
        As for `retrain_eval.estimators.money.net_benefit.net_benefit`.
    horizon : int
        Quarters from the start that count. The effect of each is the mean over the trainees whose records reach so far.

    Raises
    ------
    DesignError
        If no one is followed for so long.

    Examples
    --------
    >>> truth = pd.DataFrame({"outcome": "earnings", "cohort": 8076, "event_time": [-1, 0, 1], "subgroup": None,
    ...                       "level": None, "att": [0.0, -50.0, 250.0], "n": 40})
    >>> worth = known_net_benefit(truth, {"tax_rate": 0.2}, {"government": 90.0}, discount_rate=0.0, horizon=2)
    >>> worth.frame.set_index("estimand")["estimate"].filter(like="net benefit").to_dict()
    {'participants: net benefit': 160.0, 'taxpayers: net benefit': -50.0, 'society: net benefit': 110.0}
    """
    wanted = (truth["outcome"] == "earnings") & truth["subgroup"].isna() & (truth["event_time"] >= 0)
    after = truth[wanted].assign(total=lambda rows: rows["att"] * rows["n"])
    sums = after.groupby("event_time")[["total", "n"]].sum()
    if not set(range(horizon)) <= set(sums.index.astype(int)):
        raise DesignError(f"no one is followed for {horizon} quarters", public="no one is followed for so long")
    known = {"outcome": "earnings", "estimator": "truth", "estimand": "ATT"}
    rows = [
        known | {"event_time": float(time), "estimate": total / n, "n_treated": int(n)}
        for time, (total, n) in enumerate(sums.loc[list(range(horizon))].to_numpy())
    ]  # fmt: skip
    path = EffectTable.build(rows, np.zeros((horizon, horizon)))
    return net_benefit(path, rates, outlays, discount_rate=discount_rate, per_year=4, horizon=horizon)
