"""Re-derive results from additive tables by following their recipes.

Only verbs from two lists are allowed: the functions named here, and the recorded methods of the classes named here.
Each applies to one kind of object, with options of the declared types and within limits, so that a recipe file can run
neither its own code nor more work than a study can need.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.errors import InputError, RetrainEvalError, unknown
from retrain_eval.common.untrusted import shown
from retrain_eval.estimators.did.group_time import GroupTimeEffects
from retrain_eval.estimators.did.lags import treatment_lags
from retrain_eval.estimators.did.means import mean_difference, mean_paths
from retrain_eval.estimators.did.selected import selected_effects
from retrain_eval.estimators.effects.allocation import compared_programmes, policy_leaves, policy_value
from retrain_eval.estimators.effects.cells import cell_verdicts, interactions
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.groups import judged_groups
from retrain_eval.estimators.effects.heterogeneity import equal_effects, verdicts
from retrain_eval.estimators.inference.lee_bounds import lee_bounds
from retrain_eval.estimators.inference.payback import payback
from retrain_eval.estimators.inference.pretest_power import pretest_power
from retrain_eval.estimators.inference.pretrend import pretrend_test
from retrain_eval.estimators.inference.providers import (
    equal_providers,
    large_providers,
    provider_spread,
    provider_table,
    shares_by_level,
    standardised,
)
from retrain_eval.estimators.inference.robustness import bounds
from retrain_eval.estimators.inference.timing import base_moved_back, placebo_starts
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.money.net_benefit import benefit_over_time, net_benefit
from retrain_eval.estimators.money.ratios import value_for_money
from retrain_eval.estimators.rows.follow_up import share_effects
from retrain_eval.estimators.stacked_outcomes import effect_on_ratio, stacked_outcome
from retrain_eval.estimators.survival.endings import spell_flow
from retrain_eval.estimators.survival.gray import gray_test
from retrain_eval.estimators.survival.grouptest import score_test
from retrain_eval.estimators.survival.logrank import logrank_test
from retrain_eval.estimators.survival.regression.proportionality import trend_test
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.release.layout import TABLES, effects_frame
from retrain_eval.release.options import asked_of, check_options
from retrain_eval.release.results import Part
from retrain_eval.sample.hidden_bias.hidden_bias import e_value_table, oster_table, rosenbaum_table
from retrain_eval.sample.ties import ties_table
from retrain_eval.simulation.truth import known_effects
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.counts import counted
from retrain_eval.tables.covariates.covariates import covariate_balance, covariate_paths
from retrain_eval.tables.ledger import ledger_rows
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.recipe import Derivation, is_recorded, repeat

Table = Additive | EffectTable
Tables = Mapping[str, Table]

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        base_moved_back,
        benefit_over_time,
        bounds,
        cell_verdicts,
        counted,
        covariate_balance,
        covariate_paths,
        compared_programmes,
        e_value_table,
        effect_on_ratio,
        equal_effects,
        equal_providers,
        gray_test,
        interactions,
        judged_groups,
        known_effects,
        large_providers,
        ledger_rows,
        lee_bounds,
        logrank_test,
        mean_difference,
        mean_paths,
        net_benefit,
        oster_table,
        payback,
        placebo_starts,
        policy_leaves,
        policy_value,
        pretest_power,
        pretrend_test,
        provider_spread,
        provider_table,
        rosenbaum_table,
        score_test,
        selected_effects,
        share_effects,
        shares_by_level,
        spell_flow,
        stacked_outcome,
        standardised,
        ties_table,
        treatment_lags,
        trend_test,
        value_for_money,
        verdicts,
    )
}


# allowed methods by class: the recorded ones, collected once; names from a file are never looked up on an object
METHODS: Mapping[type, Mapping[str, Callable[..., Any]]] = {
    kind: {name: method for name, method in inspect.getmembers(kind) if is_recorded(method)}
    for kind in (OutcomeMoments, LifeTable, Spells, GroupTimeEffects, EffectTable)
}


class Deriver:
    """Repeats derivations from one set of tables; shared steps are computed once.

    Parameters
    ----------
    tables : mapping of str → OutcomeMoments, LifeTable, CovariateMoments, SampleCounts or EffectTable
        Tables under the names that derivations use, such as ``"moments/matched"``. Effects released with their
        covariance are named ``"effects/..."``.

    Examples
    --------
    >>> from retrain_eval.estimators.outcome_moments import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 1, 2, 2], "t": [1, 2] * 2, "g": [2, 2, 0, 0], "y": [1.0, 3.0, 1.0, 1.5]})
    >>> deriver = Deriver({"moments/all": outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")})
    >>> deriver.make(Derivation("moments/all", (("mean_paths", {}),)))["mean"].tolist()
    [1.0, 3.0, 1.0, 1.5]
    """

    def __init__(self, tables: Tables) -> None:
        self.tables: dict[str, Table] = dict(tables)
        self._made: dict[str, Any] = {}

    def make(self, derivation: Derivation) -> Any:
        """Return the result of a derivation.

        Raises
        ------
        InputError
            If a table, a verb, an option or a level is not there.
        DesignError
            If the protected tables do not contain enough to compute it.
        """
        if derivation.of not in self.tables:
            raise unknown("table", derivation.of, self.tables)
        made: Any = self.tables[derivation.of]
        for number, (verb, options) in enumerate(derivation.steps):
            key = json.dumps([derivation.of, derivation.steps[: number + 1]])
            if key not in self._made:
                self._made[key] = _step(made, verb, options)
            made = self._made[key]
        return made

    def rows(self, part: Part) -> pd.DataFrame:
        """Return the re-derived rows of a part.

        Raises
        ------
        InputError, DesignError
            As `make`; also if the part has no derivation.
        """
        if part.derivation is None:
            raise InputError(f"rows of {part.table} follow from no table", value=part.result)
        made = self.make(part.derivation)
        if isinstance(made, EffectTable) and part.table == "effects":
            return effects_frame(str(part.result), made)
        if not isinstance(made, pd.DataFrame) or part.table == "effects":
            raise InputError(f"{part.derivation.steps[-1][0]} makes no rows of {part.table}", value=part.result)
        return (made if part.result is None else made.assign(result=part.result))[list(TABLES[part.table])]


def _step(of: Any, verb: str, options: Mapping[str, Any]) -> Any:
    """Apply an allowed verb to an object; options must have the verb's types and be within limits."""
    function = FUNCTIONS.get(verb)
    if function is None:
        if isinstance(of, LifeTable) and verb not in METHODS[LifeTable]:
            of = Spells.from_table(of)
        known = next((methods for kind, methods in METHODS.items() if isinstance(of, kind)), {})
        function = known.get(verb)
        if function is None:
            raise unknown("verb", shown(verb), [*FUNCTIONS, *known])
    elif not isinstance(of, asked_of(function)):
        raise InputError(f"{verb} does not apply to {type(of).__name__}", fix=asked_of(function).__name__)
    check_options(function, options)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return repeat(function, of, options)
    except RetrainEvalError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError, MemoryError,
            RecursionError, NotImplementedError) as error:  # fmt: skip
        # a recipe is a file, and a file may hold anything
        why = f"{type(error).__name__}: {error}"
        raise InputError(f"{verb} cannot be repeated", value=shown(dict(options)), rule=shown(why)) from error
