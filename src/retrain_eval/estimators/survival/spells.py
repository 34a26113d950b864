"""Spells: the familiar front to life tables and what is read from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.common.sources import Source, as_relation, require_columns
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.survival import contrasts, curves, incidence, retention, summaries
from retrain_eval.estimators.survival.gray import gray
from retrain_eval.estimators.survival.grouptest import GroupTest
from retrain_eval.estimators.survival.logrank import logrank
from retrain_eval.estimators.survival.regression import cox, hazard, proportionality
from retrain_eval.estimators.survival.risk import censoring
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.event_codes import Codes
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.recipe import recorded


class Spells:
    """Spells of employment, joblessness or anything else that lasts, counted once and read many times.

    Everything is computed from ``table``, the `LifeTable`; so a published table gives the same numbers through
    `Spells.from_table`. Only a cluster that the table was not built with needs the rows again.

    Parameters
    ----------
    source, id, entry, duration, cause, by, weights, weight_type, event, censored
        See `retrain_eval.tables.life_table.counting.life_table`. Codes of ``cause`` other than 0/1, true/false and NULL
        need ``event`` or ``censored``.
    cluster : str, optional
        Default column to cluster standard errors by: the matched set, or the person if people have several spells.
    exit : str, optional
        Another name for ``duration``, for use with ``entry``: a spell is at risk on (entry, exit], for example in
        quarters since its beginning or in years of age.

    Attributes
    ----------
    table : LifeTable

    Raises
    ------
    InputError
        See `retrain_eval.tables.life_table.counting.life_table`; or for both ``duration`` and ``exit``.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({
    ...     "person": [1, 2, 3, 4, 5, 6], "quarters": [1, 2, 4, 2, 3, 4],
    ...     "cause": ["job", "job", "job", "job", None, None], "arm": ["trained"] * 3 + ["control"] * 3})
    >>> spells = Spells(rows, id="person", duration="quarters", by="arm", event="job")
    >>> spells.kaplan_meier().to_frame()["estimate"].round(3).tolist()
    [0.667, 0.667, 0.667, 0.667, 0.333, 0.0]
    >>> round(spells.logrank().p_value, 3)
    0.196
    """

    def __init__(
        self,
        source: Source,
        id: str,
        entry: str | None = None,
        duration: str = "quarters",
        cause: str = "cause",
        by: str | Sequence[str] = (),
        weights: str | None = None,
        weight_type: str | None = None,
        cluster: str | None = None,
        exit: str | None = None,
        *,
        event: Codes | None = None,
        censored: Codes | None = None,
    ) -> None:
        if exit is not None and duration != "quarters":
            raise InputError("duration and exit are two names for one column", column=exit, fix="give one of them")
        used = (exit or duration, entry, weights)
        relation = as_relation(source, numbers=used, keys=(id, cluster), codes=cause)
        levels = (by,) if isinstance(by, str) else tuple(by)
        needed = [id, exit or duration, cause, *levels, *(name for name in (entry, weights, cluster) if name)]
        require_columns(relation, needed, {"quarters": "duration", "cause": "cause"})
        self._source: Source | None = relation
        self._columns = (id, exit or duration, cause, entry, levels, weights, weight_type)
        self._event, self._censored = event, censored
        self._clustered: dict[str, LifeTable] = {}
        self.table = self._count(relation, cluster)

    @classmethod
    def from_table(cls, table: LifeTable) -> Spells:
        """Return the front to a table that was read from a file or added up."""
        spells = cls.__new__(cls)
        spells._source, spells.table, spells._clustered = None, table, {}
        return spells

    @recorded
    def kaplan_meier(
        self,
        conf_type: str = "log-log",
        cluster: str | None = None,
        times: Sequence[float] | None = None,
        level: float = 0.95,
    ) -> EffectTable:
        """Return survival curves by group; see `retrain_eval.estimators.survival.curves.kaplan_meier`.

        ``cluster`` is a column to cluster standard errors by: the person where people have several spells, the
        provider, the matched set.
        """
        return curves.kaplan_meier(self._with(cluster), conf_type, times, level)

    @recorded
    def nelson_aalen(
        self,
        conf_type: str = "log",
        cluster: str | None = None,
        times: Sequence[float] | None = None,
        level: float = 0.95,
    ) -> EffectTable:
        """Return cumulative hazards by group; see `retrain_eval.estimators.survival.curves.nelson_aalen`."""
        return curves.nelson_aalen(self._with(cluster), conf_type, times, level)

    @recorded
    def cumulative_incidence(
        self,
        conf_type: str = "log-log",
        cluster: str | None = None,
        times: Sequence[float] | None = None,
        level: float = 0.95,
        variance: str = "jackknife",
    ) -> EffectTable:
        """Return the probability of having ended by each cause, by group.

        See `retrain_eval.estimators.survival.incidence.cumulative_incidence`.
        """
        return incidence.cumulative_incidence(self._with(cluster), conf_type, times, level, variance)

    @recorded
    def conditional_survival(
        self,
        given: float,
        conf_type: str = "log-log",
        cluster: str | None = None,
        times: Sequence[float] | None = None,
        level: float = 0.95,
    ) -> EffectTable:
        """Return S(t | s), survival of those who lasted longer than ``given``.

        See `retrain_eval.estimators.survival.summaries.conditional_survival`.
        """
        return summaries.conditional_survival(self._with(cluster), given, conf_type, times, level)

    @recorded
    def quantile(
        self, p: float = 0.5, conf_type: str = "log-log", cluster: str | None = None, level: float = 0.95
    ) -> EffectTable:
        """Return the duration by which a share ``p`` has ended.

        See `retrain_eval.estimators.survival.summaries.quantile`.
        """
        return summaries.quantile(self._with(cluster), p, conf_type, level)

    @recorded
    def rmst(self, tau: float, cluster: str | None = None, level: float = 0.95) -> EffectTable:
        """Return mean durations up to ``tau``; see `retrain_eval.estimators.survival.summaries.rmst`."""
        return summaries.rmst(self._with(cluster), tau, level)

    @recorded
    def rmst_difference(
        self,
        tau: float,
        cluster: str | None = None,
        between: str | None = None,
        reference: str | None = None,
        level: float = 0.95,
    ) -> EffectTable:
        """Return differences between arms in mean durations up to ``tau``.

        See `retrain_eval.estimators.survival.contrasts.rmst_difference`.
        """
        return contrasts.rmst_difference(self._with(cluster), tau, between, reference, level)

    @recorded
    def survival_difference(
        self,
        times: Sequence[float] = (2, 4, 8),
        cluster: str | None = None,
        between: str | None = None,
        reference: str | None = None,
        level: float = 0.95,
    ) -> EffectTable:
        """Return differences between arms in survival.

        See `retrain_eval.estimators.survival.contrasts.survival_difference`.
        """
        return contrasts.survival_difference(self._with(cluster), times, between, reference, level)

    @recorded
    def incidence_difference(
        self,
        times: Sequence[float] = (2, 4, 8),
        cluster: str | None = None,
        between: str | None = None,
        reference: str | None = None,
        level: float = 0.95,
    ) -> EffectTable:
        """Return differences between arms in cumulative incidence.

        See `retrain_eval.estimators.survival.contrasts.incidence_difference`.
        """
        return contrasts.incidence_difference(self._with(cluster), times, between, reference, level)

    def logrank(
        self,
        rho: float = 0.0,
        gamma: float = 0.0,
        strata: str | Sequence[str] = (),
        robust: bool | None = None,
        cluster: str | None = None,
    ) -> GroupTest:
        """Test equal hazards between groups; see `retrain_eval.estimators.survival.logrank.logrank`."""
        return logrank(self._with(cluster), rho, gamma, strata, robust)

    def gray(self, cause: str) -> GroupTest:
        """Test equal cumulative incidence of a cause between groups.

        See `retrain_eval.estimators.survival.gray.gray`.
        """
        return gray(self.table, cause)

    @recorded
    def retention(
        self,
        quarters: Sequence[float] = (2, 4, 8),
        same_employer: bool = True,
        cluster: str | None = None,
        level: float = 0.95,
    ) -> EffectTable:
        """Return the shares whose job, or employment, lasts longer than the given quarters.

        See `retrain_eval.estimators.survival.retention.retention`.
        """
        return retention.retention(self._with(cluster), quarters, same_employer, level)

    @recorded
    def ever_ended(
        self, times: Sequence[float] = (2, 4, 8), cluster: str | None = None, level: float = 0.95
    ) -> EffectTable:
        """Return the shares whose spell has ended; of joblessness, the shares ever re-employed.

        See `retrain_eval.estimators.survival.retention.ever_ended`.
        """
        return retention.ever_ended(self._with(cluster), times, level)

    @recorded
    def cause_share(
        self, cause: str, times: Sequence[float] = (4,), cluster: str | None = None, level: float = 0.95
    ) -> EffectTable:
        """Return the share of a cause among the spells that have ended, such as recalls.

        See `retrain_eval.estimators.survival.retention.cause_share`.
        """
        return retention.cause_share(self._with(cluster), cause, times, level)

    @recorded
    def cox(
        self,
        formula: str,
        ties: str = "efron",
        cluster: str | None = None,
        strata: str | Sequence[str] = (),
        cause: object = None,
        robust: bool | None = None,
        reference: Mapping[str, str] | None = None,
        level: float = 0.95,
    ) -> EffectTable:
        """Return log hazard ratios of a proportional hazards model.

        See `retrain_eval.estimators.survival.regression.cox.cox`.
        """
        return cox.cox(self._with(cluster), formula, ties, strata, cause, robust, reference, level)

    def proportional_hazards(
        self,
        formula: str,
        transform: str = "km",
        ties: str = "efron",
        cluster: str | None = None,
        strata: str | Sequence[str] = (),
        cause: object = None,
        robust: bool | None = None,
        reference: Mapping[str, str] | None = None,
    ) -> pd.DataFrame:
        """Test whether hazard ratios change with duration.

        See `retrain_eval.estimators.survival.regression.proportionality`.
        """
        return proportionality.proportional_hazards(
            self._with(cluster), formula, transform, ties, strata, cause, robust, reference
        )

    @recorded
    def discrete_hazard(
        self,
        formula: str,
        link: str = "cloglog",
        bins: Sequence[float] | None = None,
        cluster: str | None = None,
        cause: object = None,
        reference: Mapping[str, str] | None = None,
        level: float = 0.95,
    ) -> EffectTable:
        """Return a discrete-time hazard model.

        See `retrain_eval.estimators.survival.regression.hazard.discrete_hazard`.
        """
        return hazard.discrete_hazard(self._with(cluster), formula, link, bins, cause, reference, level)

    def __repr__(self) -> str:
        by = f" by {' × '.join(self.table.by)}" if self.table.by else ""
        return f"Spells of {self.table.duration}{by}: {censoring(self.table)}"

    def reads_people(self, options: Mapping[str, object]) -> bool:
        """Return whether these options need the rows, because the table was clustered by another column."""
        return options.get("cluster") not in (None, self.table.cluster)

    def _with(self, cluster: str | None) -> LifeTable:
        """Return the table clustered as asked."""
        if cluster is None or cluster == self.table.cluster:
            return self.table
        if self._source is None:
            raise InputError(
                f"this life table is {'not clustered' if self.table.cluster is None else 'clustered otherwise'}",
                column="cluster",
                value=cluster,
                fix="build it from the rows with this cluster",
            )
        if cluster not in self._clustered:
            id, *_, weight_type = self._columns
            if cluster == id and not self.table.repeated and weight_type != "frequency":
                self._clustered[cluster] = self.table.with_lone_clusters(cluster)
            else:
                self._clustered[cluster] = self._count(self._source, cluster)
        return self._clustered[cluster]

    def _count(self, source: Source, cluster: str | None) -> LifeTable:
        return life_table(source, *self._columns, cluster=cluster, event=self._event, censored=self._censored)
