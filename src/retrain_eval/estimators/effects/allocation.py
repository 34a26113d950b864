"""Whom to offer which programme: a rule that is chosen on one half of the people and valued on the other.

The table has the effect in each cell of covariates × programme × half. A rule that is valued on the people on whom it
was chosen looks better than it is; here each half chooses a tree for the other, and the two values are averaged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.cells import parts_of
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import EstimateTable
from retrain_eval.estimators.effects.heterogeneity import Levels, levels_to_judge
from retrain_eval.estimators.effects.policy_tree import Tree, best_tree
from retrain_eval.tables.recipe import recorded

RETRAINING, ALTERNATIVE, NOTHING = "retraining", "alternative", "no programme"
PROGRAMMES, ACTIONS = (RETRAINING, ALTERNATIVE), (NOTHING, RETRAINING, ALTERNATIVE)
HALVES = ("first", "second")
KIND, HALF = "programme_kind", "half"
ALLOCATION, VALUE = "allocation", "value"
RULE, FOR_ALL, GAIN, REGRET = "rule", " for all", "rule compared with one choice for all", "regret, at most"
CORRELATION = 0.4  # of the errors of the two values of a rule; see `policy_value`
_COLUMNS = ("half", "rule", "action", "n", "gain_retraining", "se_retraining", "gain_alternative", "se_alternative")


@summarised
@dataclass(frozen=True)
class Cells:
    """The cells in which both halves have an effect of at least one programme; made by `cells_of_effects`.

    Attributes
    ----------
    of : Levels
        The effects.
    covariates : tuple of str
    levels : tuple of tuple of str
        The levels of each covariate, in order.
    place : int ndarray, shape (cells, covariates)
        Position of each cell's level.
    row : int ndarray, shape (cells, programmes, halves)
        The row of the effects; −1 where it is in one half only, or in none.
    periods : float
        Periods over which effects are added up.
    costs : tuple of float
        Cost per person of each programme.
    """

    of: Levels
    covariates: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    place: Ints
    row: Ints
    periods: float
    costs: tuple[float, ...]

    @cached_property
    def gains(self) -> Floats:
        """Gain per person, shape (cells, actions, halves): effect × periods − cost; NaN where there is no effect."""
        estimate = self.of.frame["estimate"].to_numpy()
        known = estimate[self.row] * self.periods - np.array(self.costs)[None, :, None]
        out = np.zeros((len(self.row), len(ACTIONS), len(HALVES)))
        out[:, 1:] = np.where(self.row >= 0, known, np.nan)
        return out

    def people(self, column: str) -> Floats:
        """Return the people of each cell and half, shape (cells, halves)."""
        n = self.of.frame[column].to_numpy(dtype=float)
        out: Floats = np.where(self.row >= 0, n[self.row], 0.0).sum(axis=1)
        return out

    @cached_property
    def shares(self) -> Floats:
        """Share of each cell among the people of a half, shape (cells, halves)."""
        n = self.people("n_treated")
        out: Floats = n / n.sum(axis=0)
        return out

    def tree(self, half: int, depth: int) -> Tree:
        """Return the best tree by the effects of a half."""
        gains = self.gains[:, :, half] * self.shares[:, half][:, None]
        return best_tree(gains, self.place, [len(names) for names in self.levels], depth)

    def coefficients(self, actions: Ints, half: int, weights: Floats) -> Floats:
        """Return what each effect counts for in a weighted sum of the gains of actions in a half."""
        out = np.zeros(len(self.of.frame))
        for cell, action in enumerate(actions):
            if action:
                out[self.row[cell, action - 1, half]] += weights[cell] * self.periods
        return out

    def gain_of(self, actions: Ints, half: int) -> Floats:
        """Return the gain of each cell's action in a half."""
        found: Floats = self.gains[np.arange(len(self.row)), actions, half]
        return found


def cells_of_effects(
    effects: EstimateTable, levels: Mapping[str, Sequence[str]], periods: float, costs: Sequence[float]
) -> Cells:
    """Return the cells of a table of effects by covariates × programme × half.

    Raises
    ------
    InputError
        If the table is by something else, or a level is not registered.
    DesignError
        If no cell has an effect of one programme in both halves.
    """
    of, names = levels_to_judge(effects), tuple(levels)
    parts = parts_of(of.frame)
    expected = " × ".join((*names, KIND, HALF))
    if str(of.frame["subgroup"].iloc[0]) != expected:
        raise InputError("these are no effects to choose a rule by", value=expected, column="subgroup")
    rows: dict[tuple[str, ...], Ints] = {}
    for number, part in enumerate(parts):
        *cell, kind, half = part
        if any(level not in levels[name] for name, level in zip(names, cell, strict=True)):
            raise InputError("a level is not registered", value=" × ".join(cell))
        row = rows.setdefault(tuple(cell), np.full((len(PROGRAMMES), len(HALVES)), -1))
        row[PROGRAMMES.index(kind), HALVES.index(half)] = number
    order = {name: list(levels[name]) for name in names}
    places = {cell: tuple(order[name].index(level) for name, level in zip(names, cell, strict=True)) for cell in rows}
    kept = sorted((cell for cell in rows if (rows[cell] >= 0).all(axis=1).any()), key=lambda cell: places[cell])
    if not kept:
        raise DesignError("no cell has enough people of one programme in both halves, so that no rule can be valued")
    found = np.array([rows[cell] for cell in kept])
    found[~(found >= 0).all(axis=2)] = -1
    place = np.array([places[cell] for cell in kept])
    ordered = tuple(tuple(order[name]) for name in names)
    return Cells(of, names, ordered, place, found, float(periods), tuple(map(float, costs)))


@recorded
def policy_value(
    effects: EstimateTable,
    levels: Mapping[str, Sequence[str]],
    periods: float,
    costs: Sequence[float],
    depth: int = 2,
) -> EffectTable:
    """Return the value per person of the best shallow rule, chosen on one half and valued on the other.

    Parameters
    ----------
    effects : EffectTable
        One row per cell of covariates × ``programme_kind`` × ``half``: the mean effect per period.
    levels : mapping of str → sequence of str
        The covariates, with their levels in order.
    periods : float
        Periods over which the effect is added up.
    costs : sequence of float
        Cost per person of retraining and of the alternative.
    depth : {0, 1, 2}
        Most splits between the root and a leaf.

    Returns
    -------
    EffectTable
        Rows of the estimand "value", in the outcome's unit per person, by ``level``: the rule; each programme for all,
        where its effect is known in every cell; the rule compared with the best single action for all, which is
        chosen on the same half as the rule; and the regret: the value of the best rule less that of the rule. The best
        rule of a half is chosen and valued on it, so that the regret is overstated.

    Raises
    ------
    InputError
        If the table is by something else.
    DesignError
        If no cell has an effect of one programme in both halves.

    Notes
    -----
    ``V = ½ Σ_h Σ_c p_hc (θ_hc,π(c) · periods − cost_π(c))`` with π chosen on the half other than h, and p_hc the share
    of a cell among the trained of half h (Athey and Wager 2021, with cross-fitting over two halves). Given the rules, V
    is linear in the effects; the sampling error of the shares is added, that of the choice of the rule is not: the
    interval is for the rules as they were chosen. People are those of cells that both halves have.

    Each of the two values is unbiased for its rule, but their errors e are correlated: the rule of one half follows the
    errors of the effects on which the other rule is valued. With indicators d of the chosen actions,
    ``E[e_1 e_2] = tr(E[d_2 e_2ᵀ] E[d_1 e_1ᵀ])``; where k actions are equally good and independent, that is .32, .36 and
    .35 of the variance for k = 2, 3 and 4, and nothing where one is clearly the best. Errors of the rule are
    taken to be correlated by 0.4, so that the interval is wide enough, and as a rule wider than it would have to be.

    Examples
    --------
    >>> rows = [{"subgroup": "age × programme_kind × half", "level": f"{age} × {kind} × {half}", "estimate": b,
    ...          "n_treated": 100, "n_control": 100}
    ...         for half in ("first", "second")
    ...         for age, kind, b in (("<55", "retraining", 30.0), ("<55", "alternative", 10.0),
    ...                              ("55+", "retraining", 0.0), ("55+", "alternative", 20.0))]
    >>> effects = EffectTable.build(rows, np.eye(8))
    >>> found = policy_value(effects, {"age": ["<55", "55+"]}, periods=10, costs=[50.0, 100.0]).frame
    >>> dict(zip(found["level"], found["estimate"]))["rule"]
    175.0
    """
    cells = cells_of_effects(effects, levels, periods, costs)
    n_cells, n_rows = len(cells.row), len(cells.of.frame)
    trees = [cells.tree(half, depth) for half in range(len(HALVES))]
    names = [RULE, *(name + FOR_ALL for a, name in enumerate(PROGRAMMES) if (cells.row[:, a] >= 0).all()), GAIN, REGRET]
    estimate, on_effects = np.zeros(len(names)), np.zeros((len(names), n_rows))
    of_shares = np.zeros((len(names), len(names)))
    shares_df = np.zeros((len(names), len(HALVES)))
    of_halves: list[Floats] = []
    for half in range(len(HALVES)):
        share, n = cells.shares[:, half], float(cells.people("n_treated")[:, half].sum())
        rule = trees[1 - half].actions(n_cells)
        chosen = {RULE: rule, GAIN: _one_for_all(cells, 1 - half), REGRET: trees[half].actions(n_cells)}
        chosen |= {name + FOR_ALL: np.full(n_cells, 1 + a) for a, name in enumerate(PROGRAMMES)}
        gain = {name: cells.gain_of(actions, half) for name, actions in chosen.items()}
        coefficients = {name: cells.coefficients(actions, half, share) for name, actions in chosen.items()}
        # the second is taken from the first, or the first from the second
        for table in (gain, coefficients):
            table[GAIN], table[REGRET] = table[RULE] - table[GAIN], table[REGRET] - table[RULE]
        values = np.array([gain[name] for name in names])
        mean = values @ share
        estimate += mean / len(HALVES)
        part = np.array([coefficients[name] for name in names]) / len(HALVES)
        on_effects += part
        of_halves.append(part @ cells.of.vcov @ part.T)
        spread = ((values * share) @ values.T - np.outer(mean, mean)) / n / len(HALVES) ** 2
        of_shares += spread
        shares_df[:, half] = np.diag(spread).clip(0)
    vcov = sum(of_halves) + of_shares
    # a rule follows the errors of the half on which the other rule is valued; a rule that is fixed does not
    one, other = (np.sqrt(np.diag(part)) for part in of_halves)
    chosen_by_data = np.isin(names, (RULE, GAIN, REGRET))
    vcov += np.diag(np.where(chosen_by_data, 2 * CORRELATION * one * other, 0.0))
    people = {name: int(cells.people(name).sum()) for name in ("n_treated", "n_control")}
    outcome = cells.of.frame["outcome"].iloc[0]
    keys = {"outcome": outcome, "estimator": "policy_tree", "estimand": VALUE, "subgroup": ALLOCATION}
    rows = [{**keys, "level": name, "estimate": value, **people} for name, value in zip(names, estimate, strict=True)]
    parts = np.hstack([on_effects**2 * np.diag(cells.of.vcov), shares_df])
    return EffectTable.build(rows, vcov, df=_satterthwaite(parts, np.append(cells.of.df, [np.inf] * len(HALVES))))


def _one_for_all(cells: Cells, half: int) -> Ints:
    """Return the one action for all cells that is best by the effects of a half."""
    tree = best_tree(cells.gains[:, :, half] * cells.shares[:, half][:, None], cells.place, [], 0)
    return tree.actions(len(cells.row))


def _satterthwaite(parts: Floats, df: Floats) -> Floats:
    """Return the degrees of freedom of sums of independent variances, shape (k,), from their parts (k, parts)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = parts.sum(axis=1) ** 2 / (parts**2 / df).sum(axis=1)
    return np.where(np.isfinite(found), np.maximum(found, 1.0), np.inf)


@recorded
def policy_leaves(
    effects: EstimateTable,
    levels: Mapping[str, Sequence[str]],
    periods: float,
    costs: Sequence[float],
    depth: int = 2,
) -> pd.DataFrame:
    """Return the leaves of the rule that each half chooses, with what each programme gains there in the other half.

    Parameters
    ----------
    effects, levels, periods, costs, depth
        As in `policy_value`.

    Returns
    -------
    DataFrame
        ``half`` (on which the rule was chosen), ``rule`` (covariates and their levels, as JSON), ``action``; ``n``, the
        trained of both halves whom it is about; ``gain_retraining, se_retraining, gain_alternative, se_alternative``:
        gain per person after cost in the other half, given the leaf, and its standard error; NaN if not known.

    Raises
    ------
    InputError, DesignError
        As `policy_value`.
    """
    cells = cells_of_effects(effects, levels, periods, costs)
    rows = []
    for half, name in enumerate(HALVES):
        other = 1 - half
        for leaf in cells.tree(half, depth).leaves:
            rule = {
                cells.covariates[place]: [cells.levels[place][level] for level in allowed]
                for place, allowed in sorted(leaf.rule.items())
            }
            row: dict[str, object] = {"half": name, "rule": json.dumps(rule, ensure_ascii=False)}
            row |= {"action": ACTIONS[leaf.action], "n": int(cells.people("n_treated")[leaf.cells].sum())}
            weights = np.zeros(len(cells.row))
            weights[leaf.cells] = cells.shares[leaf.cells, other] / cells.shares[leaf.cells, other].sum()
            for a, programme in enumerate(PROGRAMMES):
                gain, error = np.nan, np.nan
                if (cells.row[leaf.cells, a, other] >= 0).all():
                    actions = np.zeros(len(cells.row), dtype=np.int64)
                    actions[leaf.cells] = 1 + a
                    on_effects = cells.coefficients(actions, other, weights)
                    gain = float(weights @ cells.gain_of(actions, other))
                    error = float(np.sqrt(on_effects @ cells.of.vcov @ on_effects))
                row |= {f"gain_{programme}": gain, f"se_{programme}": error}
            rows.append(row)
    return pd.DataFrame(rows, columns=list(_COLUMNS))


@recorded
def compared_programmes(effects: EstimateTable, stratum: str, level: str, least_overlap: float) -> EffectTable:
    """Compare retraining with the alternative for the people of one level of a stratum, where people overlap.

    Parameters
    ----------
    effects : EffectTable
        As in `policy_value`; the stratum is one of the covariates.
    stratum, level : str
    least_overlap : float
        The share of the trained of this level who have to be in cells in which both programmes have an effect.

    Returns
    -------
    EffectTable
        Three rows: the effect of retraining, of the alternative, and the latter minus the former; each a mean over the
        cells that have both, by their share of the trained of either programme.

    Raises
    ------
    InputError
        If the stratum is none of the covariates.
    DesignError
        If fewer people overlap, or none of this level are there.

    Notes
    -----
    Direct standardisation. Cells are told apart by half as well, which costs nothing, since effects are linear.
    """
    of = levels_to_judge(effects)
    names, parts = str(of.frame["subgroup"].iloc[0]).split(" × "), parts_of(of.frame)
    if stratum not in names[:-2] or names[-2:] != [KIND, HALF]:
        raise InputError("these effects are not by programme within this stratum", column="stratum", value=stratum)
    n = of.frame["n_treated"].to_numpy(dtype=float)
    inside: Bools = np.array([part[names.index(stratum)] == level for part in parts])
    row: dict[tuple[str, ...], Ints] = {}
    for number in np.flatnonzero(inside):
        *cell, kind, half = parts[number]
        row.setdefault((*cell, half), np.full(len(PROGRAMMES), -1))[PROGRAMMES.index(kind)] = number
    both = np.array([numbers for numbers in row.values() if (numbers >= 0).all()], dtype=np.int64)
    share = float(n[both].sum() / n[inside].sum()) if len(both) else 0.0
    if not len(both) or share < least_overlap:
        said = (
            f"no comparison for {level}: those in retraining and those in the alternative do not overlap enough in "
            "their other characteristics"
        )
        raise DesignError(said, public=said)
    weights = n[both].sum(axis=1) / n[both].sum()
    on_effects = np.zeros((3, len(n)))
    for a in range(len(PROGRAMMES)):
        on_effects[a, both[:, a]] = weights
    on_effects[2] = on_effects[1] - on_effects[0]
    people = {name: of.frame[name].to_numpy(dtype=float)[both].sum(axis=0) for name in ("n_treated", "n_control")}
    keys = {"outcome": of.frame["outcome"].iloc[0], "estimator": of.frame["estimator"].iloc[0]}
    keys |= {"subgroup": stratum, "level": level}
    rows = [
        {**keys, "estimand": estimand, "estimate": float(value), **{name: int(k[a]) for name, k in people.items()}}
        for a, (estimand, value) in enumerate(
            zip(PROGRAMMES, on_effects[:2] @ of.frame["estimate"].to_numpy(), strict=True)
        )
    ]
    difference = float(on_effects[2] @ of.frame["estimate"].to_numpy())
    fewest = {name: int(k.min()) for name, k in people.items()}
    rows.append({**keys, "estimand": "difference", "estimate": difference, **fewest})
    vcov = on_effects @ of.vcov @ on_effects.T
    return EffectTable.build(rows, vcov, df=_satterthwaite(on_effects**2 * np.diag(of.vcov), of.df))
