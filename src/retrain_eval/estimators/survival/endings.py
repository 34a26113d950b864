"""How many spells there are and how they end, as the steps of a flow: read from a life table, so that they follow."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from retrain_eval.tables.life_table.event_codes import CENSORED
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.recipe import recorded


@recorded
def spell_flow(
    table: LifeTable,
    spells: Sequence[str] = ("Spells", ""),
    ended: Sequence[str] = ("Ended", ""),
    censored: Sequence[str] = ("Censored", ""),
    group: str = "treated",
) -> pd.DataFrame:
    """Count spells, those that ended and those that were censored.

    Parameters
    ----------
    table : LifeTable
    spells, ended, censored : (str, str)
        Name and reason of each step.
    group : str

    Returns
    -------
    DataFrame
        ``step, group, n, reason``.

    Examples
    --------
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> rows = pd.DataFrame({"id": [1, 2, 3, 4], "quarters": [1, 2, 2, 3], "cause": ["job", "job", "job", None]})
    >>> spell_flow(life_table(rows, id="id", duration="quarters", cause="cause", censored=()))["n"].tolist()
    [4, 3, 1]
    """
    n, over = table.cells["n"], table.cells["cause"] != CENSORED
    counted = ((spells, n.sum()), (ended, n[over].sum()), (censored, n[~over].sum()))
    rows = [(step, group, int(count), reason) for (step, reason), count in counted]
    return pd.DataFrame(rows, columns=["step", "group", "n", "reason"])
