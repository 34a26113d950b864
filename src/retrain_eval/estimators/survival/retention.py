"""Agency indicators from life tables: retention, the share ever re-employed, the share of recalls.

They are the curves under the names that agencies use. A job that lasts longer than ``q`` quarters still pays in the
q-th quarter after the one it began in. What life tables of spells cannot say, such as who is employed in a given
quarter whatever happened in between, is read from the panel: `retrain_eval.estimators.rows.follow_up`, and the time to
the first job: `retrain_eval.estimators.rows.first_jobs`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.survival.curves import INTERVALS, kaplan_meier, with_interval, with_scaled_interval
from retrain_eval.estimators.survival.incidence import causes_of, cumulative_incidence
from retrain_eval.estimators.survival.risk import group_name, risk_sets
from retrain_eval.tables.life_table.life_table import LifeTable

_MOVE = "job_to_job"  # the cause that build_spells gives to a move between employers


def retention(
    table: LifeTable, quarters: Sequence[float] = (2, 4, 8), same_employer: bool = True, level: float = 0.95
) -> EffectTable:
    """Return the share of spells that last longer than the given quarters: retention without interruption.

    Parameters
    ----------
    table : LifeTable
        Spells of jobs, or of employment with any employer.
    quarters : sequence of float
        Durations; a group is reported as long as it is observed.
    same_employer : bool
        Whether the spells are of jobs, so that a move to another employer ends retention. If not, they must be of
        employment.
    level : float
        Confidence level.

    Returns
    -------
    EffectTable
        Rows and intervals as in `retrain_eval.estimators.survival.curves.kaplan_meier`; ``estimand`` "retained by the
        same employer" or "retained in employment".

    Raises
    ------
    DesignError
        If ``same_employer`` is false and spells end by ``"job_to_job"``: a spell of one job does not show whether
        employment went on. Or if people have several spells and the table has no cluster.

    Notes
    -----
    Retention between two quarters, such as from the second to the fourth, is `conditional_survival`.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> jobs = pd.DataFrame({"id": range(4), "quarters": [1, 3, 5, 9], "cause": ["job_to_job", "nonemployment"] * 2})
    >>> table = life_table(jobs, id="id", duration="quarters", cause="cause", censored=())
    >>> retention(table).to_frame()["estimate"].tolist()
    [0.75, 0.5, 0.25]
    """
    if not same_employer and _MOVE in set(table.cells["cause"]):
        raise DesignError(
            f"spells that end by {_MOVE!r} are spells of a job, and do not show how long employment went on: "
            "use spells of employment, or employment_after() on the panel"
        )
    curve = kaplan_meier(table, times=quarters, level=level)
    name = "retained by the same employer" if same_employer else "retained in employment"
    frame = curve.frame.assign(estimand=name)
    return EffectTable(frame, curve.vcov, curve.meta)


def ever_ended(table: LifeTable, times: Sequence[float] = (2, 4, 8), level: float = 0.95) -> EffectTable:
    """Return the share of spells that have ended by each duration: of joblessness, the share ever re-employed.

    Returns
    -------
    EffectTable
        ``estimand`` "ended": one minus the Kaplan–Meier curve, with its standard errors and mirrored intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> jobless = pd.DataFrame({"id": range(4), "quarters": [1, 2, 3, 9], "cause": ["new_job", "recall", None, None]})
    >>> table = life_table(jobless, id="id", duration="quarters", cause="cause", event=("new_job", "recall"))
    >>> ever_ended(table).to_frame()["estimate"].tolist()
    [0.5, 0.5, 0.5]
    """
    curve = kaplan_meier(table, times=times, level=level)
    frame = curve.frame.assign(estimand="ended", estimate=1 - curve.frame["estimate"])
    low, high = (1 - curve.frame[end].to_numpy() for end in ("ci_high", "ci_low"))
    return with_interval(EffectTable(frame, curve.vcov, curve.meta), low, high)


def cause_share(table: LifeTable, cause: str, times: Sequence[float] = (4,), level: float = 0.95) -> EffectTable:
    """Return the share of a cause among spells that have ended by each duration: the share of recalls.

    Returns
    -------
    EffectTable
        ``estimand`` "share(cause)", ``estimate`` ``F_k(t) / Σ_l F_l(t)``: what the share would be without censoring.
        The covariance follows from that of the cumulative incidences. ``n_treated`` counts the spells seen to end
        by then.

    Raises
    ------
    InputError
        For a cause that does not occur, or where a group has no spell that has ended.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> jobless = pd.DataFrame({"id": range(4), "quarters": [1, 2, 3, 9], "cause": ["new_job", "recall", None, None]})
    >>> table = life_table(jobless, id="id", duration="quarters", cause="cause", event=("new_job", "recall"))
    >>> cause_share(table, "recall").frame["estimate"].item()
    0.5
    """
    causes = causes_of(table)
    if cause not in causes:
        raise unknown("cause", cause, causes)
    curves = cumulative_incidence(table, times=times, level=level)
    frame = curves.frame
    own = frame[frame["estimand"] == f"CIF({cause})"]
    ended = {group_name(risk.level): (risk.times, np.cumsum(risk.n_events)) for risk in risk_sets(table)}
    rows, gradient = [], np.zeros((len(own), len(frame)))
    for number, (row, record) in enumerate(zip(own.index, own.to_dict("records"), strict=True)):
        level_name = "" if record["level"] != record["level"] else str(record["level"])
        alike = np.flatnonzero((frame["time"] == record["time"]) & (frame["level"].fillna("") == level_name))
        total = float(frame["estimate"].to_numpy()[alike].sum())
        if total == 0:
            raise InputError(f"no spell of {level_name or 'all'} has ended by {record['time']:g}", column="times")
        share = record["estimate"] / total
        gradient[number, alike] = -share / total
        gradient[number, row] += 1 / total
        known, count = ended[level_name]
        n = int(count[np.searchsorted(known, record["time"], side="right") - 1])
        keys = {key: record[key] for key in ("outcome", "estimator", "time", "subgroup", "level")}
        rows.append(keys | {"estimand": f"share({cause})", "estimate": share, "n_treated": n})
    result = EffectTable.build(
        rows, curves.vcov_of(gradient), level=level, **curves.inference_of(gradient), meta=curves.meta
    )
    return with_scaled_interval(result, INTERVALS["log-log"])
