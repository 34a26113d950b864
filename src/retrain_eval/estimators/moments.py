"""Outcome moments with their estimators: what `outcome_moments` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.did import bacon, saturated
from retrain_eval.estimators.did.att_gt import att_gt
from retrain_eval.estimators.did.group_time import GroupTimeEffects
from retrain_eval.estimators.did.twfe import twfe
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.tables.moments.moments import INCOMPLETE, MomentTable
from retrain_eval.tables.recipe import recorded


@summarised
@dataclass(frozen=True)
class OutcomeMoments(MomentTable):
    """First and second moments of outcome paths by cell: make them with `outcome_moments`, add them with ``+``.

    The fields are those of `MomentTable`, the sums; the methods here are the estimators that read them.
    """

    @recorded
    def att_gt(
        self,
        control: str = "never_treated",
        method: str = "dr",
        covariates: Sequence[str] = (),
        anticipation: int = 0,
        base_period: str = "universal",
        seed: int = 20260101,
    ) -> GroupTimeEffects:
        """Return group-time average treatment effects; see `retrain_eval.estimators.did.att_gt.att_gt`.

        Covariates and paths that cells cannot hold are read from the source: `retrain_eval.att_gt`.
        """
        beyond = [name for name in self.by_person if name in covariates or name == INCOMPLETE]
        if beyond and self.source is None:
            raise InputError(
                "needs the people, and these moments were read, added or cut, so they have no source",
                column=beyond[0],
                fix="estimate from the moments as they were made, or call retrain_eval.att_gt on the people",
            )
        options: dict[str, Any] = {"control": control, "method": method, "covariates": covariates, "seed": seed}
        options |= {"anticipation": anticipation, "base_period": base_period}
        return self.source(**options) if beyond and self.source is not None else att_gt(self, **options)

    @recorded
    def twfe(
        self,
        event_window: tuple[int, int] | None = None,
        *,
        anticipation: int = 0,
        small_sample: bool = True,
        seed: int = 20260101,
    ) -> EffectTable:
        """Return the two-way fixed-effects regression; see `retrain_eval.estimators.did.twfe.twfe`."""
        return twfe(self, event_window, anticipation=anticipation, small_sample=small_sample, seed=seed)

    @recorded
    def sun_abraham(
        self,
        aggregation: str = "dynamic",
        by: str | Sequence[str] = (),
        *,
        anticipation: int = 0,
        shares: str = "fixed",
        small_sample: bool = True,
        seed: int = 20260101,
    ) -> EffectTable:
        """Return the interaction-weighted event study; see `retrain_eval.estimators.did.saturated.sun_abraham`."""
        return saturated.sun_abraham(
            self,
            aggregation=aggregation,
            by=by,
            anticipation=anticipation,
            shares=shares,
            small_sample=small_sample,
            seed=seed,
        )

    @recorded
    def imputation(
        self,
        aggregation: str = "dynamic",
        by: str | Sequence[str] = (),
        *,
        anticipation: int = 0,
        pretrends: int = 0,
        seed: int = 20260101,
    ) -> EffectTable:
        """Return the imputation estimator; see `retrain_eval.estimators.did.saturated.imputation`."""
        return saturated.imputation(
            self, aggregation=aggregation, by=by, anticipation=anticipation, pretrends=pretrends, seed=seed
        )

    @recorded
    def etwfe(
        self,
        aggregation: str = "dynamic",
        by: str | Sequence[str] = (),
        *,
        control: str = "not_yet_treated",
        covariates: Sequence[str] = (),
        anticipation: int = 0,
        small_sample: bool = True,
        seed: int = 20260101,
    ) -> EffectTable:
        """Return extended two-way fixed effects; see `retrain_eval.estimators.did.saturated.etwfe`."""
        return saturated.etwfe(
            self,
            aggregation=aggregation,
            by=by,
            control=control,
            covariates=covariates,
            anticipation=anticipation,
            small_sample=small_sample,
            seed=seed,
        )

    def bacon(self) -> pd.DataFrame:
        """Return the decomposition of static TWFE; see `retrain_eval.estimators.did.bacon.bacon`."""
        return bacon.bacon(self)

    def twfe_weights(self) -> pd.DataFrame:
        """Return the weights of static TWFE on ATT(g, t); see `retrain_eval.estimators.did.bacon.twfe_weights`."""
        return bacon.twfe_weights(self)
