"""Risk-set matching: compare trainees with people still unemployed and untrained after the same elapsed time.

It is known only at the end who never trains, and many people never train because they found work first. Comparing
trainees with them conditions on the future (Fredriksson and Johansson 2008). A person who enters training after d
periods of unemployment is therefore compared with people who are also unemployed after d periods and have not been
trained so far, whatever happens to them afterwards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache

import duckdb
import numpy as np
import pyarrow as pa

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.sources import query, require_columns, sql_name
from retrain_eval.common.withholding import rows_where
from retrain_eval.sample.balance.balance import effective_size
from retrain_eval.sample.compared import Compared
from retrain_eval.sample.drawn import Drawn
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.methods.line import tie_width
from retrain_eval.sample.methods.risk_sets import NEVER, WaitingTimes, match_waiting
from retrain_eval.sample.models.entry_hazard import AtRisk, fit_entry_hazard
from retrain_eval.sample.models.formula import TreatmentFormula
from retrain_eval.sample.options import DISTANCES
from retrain_eval.sample.pairs import Pairs
from retrain_eval.sample.relabelled import in_order
from retrain_eval.sample.scratch import keep_table, pairs_hash, weights_hash
from retrain_eval.sample.support import caliper_width, given_score
from retrain_eval.sample.units import INTEGER, Units, load_units, strata
from retrain_eval.tables.noise.person_keys import PERSON_KEY

_ENTERS = "retrain_enters"


def match_riskset(
    relation: duckdb.DuckDBPyRelation,
    formula: TreatmentFormula,
    unit: str,
    *,
    start: str | None,
    entry: str | None,
    end: str | None,
    allow_later_treated: bool,
    distance: str,
    link: str | None,
    exact: tuple[str, ...],
    caliper: float | None,
    caliper_sd: str,
    ratio: int,
    replace: bool,
    ties: str,
    m_order: str | None,
    discard: str,
) -> MatchedSample:
    """Match people who enter training with people still unemployed and untrained after the same elapsed time.

    Called through ``retrain_eval.match(..., method="riskset")``. Periods are whole numbers of one calendar: quarters,
    months or weeks.

    Parameters
    ----------
    relation : DuckDBPyRelation
        One row per unemployment spell of a person (`unit`), covariates as they were when it began.
    formula : TreatmentFormula
        The right of ~ explains the hazard of entry. The left names the treatment for the reader; **the column
        ``entry`` decides**. If the source has a column of that name, it must be 1 where ``entry`` is given and 0
        elsewhere.
    unit : str
    start, entry, end : str
        Columns: the period in which unemployment began; that in which training began, NULL = never; the first
        period in which the person was no longer unemployed, NULL = still unemployed. Records are assumed to reach the
        last period found in any of the three; an unfinished spell is known until then.
    allow_later_treated : bool
        Whether a person who has not been trained yet may be a control, although training follows (Sianesi 2004).
        ``censored_at`` is then the period of that training. If false, controls are people who never train, which
        conditions on the future; use it for comparison only.
    distance : str
        ``"glm"`` estimates the hazard of entry by a logit on person-periods, with an intercept for each elapsed
        duration; anything else names a numeric column with a score that does not change during unemployment.
    link, m_order, discard
        Cannot be chosen: the score is the linear predictor, which at each duration orders people as the hazard does;
        trainees choose in the order of elapsed duration, then id.
    exact, caliper, caliper_sd, ratio, replace, ties
        As in `retrain_eval.match`, within risk sets. The caliper's deviation is that of the score over all people,
        or pooled over those who enter and those who do not. Name the inflow period in ``exact`` to compare people
        in the same calendar period too.

    Returns
    -------
    MatchedSample
        ``pairs`` has two more columns: ``elapsed`` (periods from the beginning of unemployment to entry) and
        ``censored_at`` (the control's own entry, NULL = never). ``weights`` has a row per person and role (and, with
        replacement, elapsed duration), because a trainee may have been a control before. Its further columns are
        ``match_id`` (number of the row), ``elapsed``, ``period`` (start + elapsed, from which outcomes are counted) and
        ``censored_at``. `retrain_eval.sample.followup.censoring` joins outcomes to them. Cluster by ``unit``.

    Raises
    ------
    InputError
        If a column does not exist, is not a whole number, or its periods contradict each other; if an option does not
        apply.
    DesignError
        If no one enters, covariates predict entry perfectly, or no trainee has a control.

    Notes
    -----
    A spell belongs to a trainee if ``start <= entry <= end``: entry may end registered unemployment. Training that
    begins later does not make the spell a trainee's, but ends a control's follow-up like any other training. At
    elapsed duration d, the risk set holds the spells with ``start + d < end``, ``start + d < entry``, and ``start + d``
    within the records. Without replacement, a person is a control at most once.

    Include everyone who waited, whatever happened to them later. Excluding people because of later events, for example
    because they never found work, removes controls only, and conditions on the future as static matching does.

    The estimand is the effect of entering at d compared with waiting at least one period longer. With outcomes
    censored at ``censored_at``, it is the effect compared with no training so far, provided that among similar people
    entry at each duration does not depend on what would follow.

    References
    ----------
    Sianesi, B. (2004), Review of Economics and Statistics 86(1), 133-155.
    Fredriksson, P. and Johansson, P. (2008), Journal of Business & Economic Statistics 26(4), 435-445.
    Lechner, M. (1999), Journal of Business & Economic Statistics 17(1), 74-90.
    Li, Y., Propert, K. and Rosenbaum, P. (2001), Journal of the American Statistical Association 96, 870-882.

    Examples
    --------
    >>> import duckdb, retrain_eval as rte
    >>> people = duckdb.sql(
    ...     "SELECT * FROM (VALUES (1, 30, 100, 102, 108), (2, 31, 100, NULL, 101), (3, 40, 100, 104, 109), "
    ...     "(4, 33, 100, NULL, 107)) AS t(person_id, age, unemployed_from, training_start, unemployed_until)"
    ... )
    >>> sample = rte.match(
    ...     people, "trained ~ age", unit="person_id", method="riskset", distance="age",
    ...     start="unemployed_from", entry="training_start", end="unemployed_until", exact="unemployed_from",
    ... )

    Person 2 has found work when person 1 enters. Person 4 is matched to person 1, and no control is left for person 3.

    >>> sample.pairs.fetchall()
    [(1, 1, 4, 3.0, 1.0, 2, None)]
    """
    if start is None or entry is None or end is None:
        missing = next(name for name, value in (("start", start), ("entry", entry), ("end", end)) if value is None)
        raise InputError(f"riskset needs the column {missing}", column=missing, fix=f'{missing}="..."')
    _check_options(distance, link, m_order, discard, allow_later_treated)
    _check_periods(relation, unit, formula.treat, (start, entry, end))
    enters = f"({sql_name(entry)} IS NOT NULL AND ({sql_name(end)} IS NULL OR {sql_name(entry)} <= {sql_name(end)}))"
    given = [] if distance == "glm" else [distance]
    units = load_units(
        query(relation, f"SELECT *, {enters} AS {_ENTERS} FROM source"), unit, _ENTERS, formula.covariates,
        [*exact, *given], (start, entry, end), both_arms=False,
    )  # fmt: skip
    spells = WaitingTimes.build(units, start, entry, end, allow_later_treated)
    score, hazard = _score(formula, units, spells, distance)
    width = caliper_width(units.of_units(score), units.treated, caliper, caliper_sd)
    tie = tie_width(score) if distance == "glm" else 0.0

    def choose(people: Units, known: WaitingTimes | None = None) -> Pairs:
        waiting = known or WaitingTimes.build(people, start, entry, end, allow_later_treated)
        of_unit, stratum = people.of_units(score), people.of_units(strata(people.cells, exact))
        return match_waiting(waiting, of_unit, stratum, ratio=ratio, replace=replace, ties=ties, caliper=width, tie=tie)

    pairs = choose(units, spells)
    if len(pairs.treated) == 0:
        raise DesignError(
            "no trainee has a control who is still unemployed and untrained after the same elapsed time"
            + (f", with equal {', '.join(exact)}" if exact else "")
            + (f", within the caliper of {caliper} SD ({width:.6g} on the score)" if caliper is not None else ""),
            public="no trainee has a control who is still unemployed and untrained after the same elapsed time",
        )
    choices: dict[str, object] = {
        "unit": unit, "formula": formula.text, "estimand": "ATT", "method": "riskset", "distance": distance,
        "link": "linear.logit" if distance == "glm" else None, "start": start, "entry": entry, "end": end,
        "allow_later_treated": allow_later_treated, "exact": list(exact), "caliper": caliper, "caliper_sd": caliper_sd,
        "ratio": ratio, "replace": replace, "ties": ties, "caliper_width": None if caliper is None else width,
        "propensity": hazard,
    }  # fmt: skip
    shown = list(dict.fromkeys([*formula.covariates, *exact]))

    def assembled(pairs: Pairs) -> MatchedSample:
        return _assemble(relation, unit, formula, units, spells, score, pairs, shown, choices)

    return dataclasses.replace(assembled(pairs), _again=lambda order: assembled(in_order(units, choose, order)))


def _check_options(distance: str, link: str | None, m_order: str | None, discard: str, later: object) -> None:
    if distance in DISTANCES:
        raise InputError("riskset matches on a score", column="distance", value=distance, fix='distance="glm"')
    fixed = {"link": (link, "linear.logit"), "m_order": (m_order, None), "discard": (discard, "none")}
    for name, (value, only) in fixed.items():
        if value is not None and value != only:
            raise InputError(f"riskset has no {name} to choose", column=name, value=value, fix=f"leave out {name}")
    if not isinstance(later, bool):
        raise InputError("allow_later_treated must be True or False", column="allow_later_treated", value=later)


def _check_periods(relation: duckdb.DuckDBPyRelation, unit: str, treat: str, columns: Sequence[str]) -> None:
    """Refuse spells whose periods are missing or contradict each other, or contradict the treatment column."""
    types = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
    require_columns(relation, (unit, *columns))
    for name in columns:
        if not INTEGER.match(types[name]):
            raise InputError(
                f"a period of type {types[name]}",
                column=name,
                rule="periods are whole numbers of one calendar",
                fix="count quarters (year * 4 + quarter - 1), or months: datediff('month', DATE '1970-01-01', x)",
            )
    start, entry, end = map(sql_name, columns)
    rules = [
        (columns[0], f"{start} IS NULL", "every spell has a beginning"),
        (columns[1], f"{entry} < {start}", "training begins in or after the period in which unemployment begins"),
        (columns[2], f"{end} < {start}", "unemployment does not end before it begins"),
    ]
    if treat in types:
        said = f"TRY_CAST({sql_name(treat)} AS DOUBLE)"
        disagrees = f"{said} IS DISTINCT FROM CAST({entry} IS NOT NULL AS DOUBLE)"
        rules.append((treat, disagrees, f"the treatment is 1 where {columns[1]} is given, else 0"))
    for column, broken, rule in rules:
        person = sql_name(unit)
        first = f"SELECT {sql_name(column)}, count(*) OVER () FROM source WHERE {broken} ORDER BY {person} LIMIT 1"
        for value, n in query(relation, first).fetchall():
            raise InputError(
                f"{n} spell(s) break a rule",
                row=rows_where(broken),
                column=column,
                value="missing" if value is None else value,
                rule=rule,
                fix="correct or leave out these spells",
            )


def _score(
    formula: TreatmentFormula, units: Units, spells: WaitingTimes, distance: str
) -> tuple[Floats, dict[str, object] | None]:
    if distance != "glm":
        return given_score(units, distance), None
    durations = spells.durations
    periods = np.searchsorted(durations, spells.exposed, side="right")
    people = AtRisk.build(units.cell, periods, units.treated, len(units.cells))
    fit = fit_entry_hazard(formula, units.cells, people)
    return fit.linear, {
        "link": "linear.logit",
        "coefficients": fit.coefficients,
        "baseline": {
            str(duration): value if np.isfinite(value) else None
            for duration, value in zip(durations.tolist(), fit.baseline.tolist(), strict=True)
        },
        "aliased": list(fit.aliased),
        "iterations": fit.iterations,
        "mean_score": fit.mean_score,
        "n_person_periods": float((people.periods * people.count).sum()),
    }


def _assemble(
    relation: duckdb.DuckDBPyRelation,
    unit: str,
    formula: TreatmentFormula,
    units: Units,
    spells: WaitingTimes,
    score: Floats,
    pairs: Pairs,
    covariates: Sequence[str],
    choices: dict[str, object],
) -> MatchedSample:
    n, n_cells = len(units.treated), len(units.cells)
    per_treated = np.bincount(pairs.treated, minlength=n)
    matched = np.flatnonzero(per_treated)
    subclass = np.searchsorted(matched, pairs.treated) + 1
    share = 1.0 / per_treated[pairs.treated]
    elapsed = spells.entered[pairs.treated]
    uses = np.bincount(pairs.control, minlength=n)
    controls = np.flatnonzero(uses)

    # a row of weights per control and elapsed duration, in the order of both
    span = int(elapsed.max()) + 1
    role, place, copies = np.unique(pairs.control * span + elapsed, return_inverse=True, return_counts=True)
    weight: Floats = np.bincount(place, weights=share).astype(float) * (len(controls) / len(matched))
    alone = np.zeros(len(role), dtype=np.int64)
    alone[place] = subclass
    alone[copies > 1] = 0
    person = np.concatenate([matched, role // span])
    after = np.concatenate([spells.entered[matched], role % span])
    member = np.concatenate([np.arange(1, len(matched) + 1), alone])
    cut = np.concatenate([np.full(len(matched), NEVER), spells.trained_at[role // span]])
    treated_ids, control_ids = units.ids.take(pa.array(pairs.treated)), units.ids.take(pa.array(pairs.control))
    later = spells.trained_at[pairs.control]
    pair_table = {
        "subclass": subclass,
        "treated_id": treated_ids,
        "control_id": control_ids,
        "distance": pairs.distance,
        "weight": share,
        "elapsed": elapsed,
        "censored_at": pa.array(later, mask=later == NEVER),
    }
    role_weight = np.concatenate([np.ones(len(matched)), weight])
    weight_table: dict[str, object] = {
        unit: units.ids.take(pa.array(person)),
        "treat": np.repeat(np.array([1, 0], dtype=np.int8), [len(matched), len(role)]),
        "weight": role_weight,
        "subclass": pa.array(member, mask=member == 0),
        "match_id": np.arange(1, len(person) + 1),
        "elapsed": after,
        "period": spells.start[person] + after,
        "censored_at": pa.array(cut, mask=cut == NEVER),
    }
    if units.keys is not None:
        weight_table[PERSON_KEY] = units.keys.take(person).column()
    trainee = np.arange(len(person)) < len(matched)
    drawn = Drawn(relation, unit, formula, units, person, trainee, role_weight, score=lambda: score)
    everyone = np.flatnonzero(units.treated)
    candidates = np.flatnonzero(spells.eligible >= int(spells.durations[0]))

    compared = Compared(
        units,
        covariates,
        score,
        {"treated": everyone, "control": candidates},
        {"treated": (matched, np.ones(len(matched))), "control": (role // span, weight)},
    )

    @cache
    def groups() -> dict[str, Ints]:
        people = {
            "treated": everyone,
            "treated matched": matched,
            "control before": candidates,
            "control matched": controls,
        }
        return {name: np.bincount(units.cell[who], minlength=n_cells) for name, who in people.items()}

    audit = {
        **choices,
        "cluster": unit,
        "n_treated": len(everyone),
        "n_control": len(candidates),
        "n_treated_matched": len(matched),
        "n_control_matched": len(controls),
        "n_treated_unmatched": len(everyone) - len(matched),
        "n_pairs": len(pairs.treated),
        "ess_control": effective_size(np.bincount(role // span, weights=weight)[controls].astype(float)),
        "control_reuse_max": int(uses.max()),
        "control_reuse_mean": len(pairs.treated) / len(controls),
        "n_choices": pairs.choices,
        "ties_broken": pairs.ties_broken,
        "n_control_later_trained": int((spells.trained_at[controls] < NEVER).sum()),
        "n_control_also_treated": int(per_treated[controls].astype(bool).sum()),
        "n_trained_after_unemployment": int(((spells.trained_at < NEVER) & ~units.treated).sum()),
        "last_period": spells.last_period,
        "pairs_sha256": pairs_hash(treated_ids, control_ids),
        "weights_sha256": weights_hash(units.ids.take(pa.array(person)), role_weight),
    }
    return MatchedSample(
        pairs=keep_table(relation, pair_table, "pairs"),
        weights=keep_table(relation, weight_table, "weights"),
        audit=audit,
        _compared=compared,
        _score=lambda: score,
        _groups=groups,
        _drawn=drawn,
    )
