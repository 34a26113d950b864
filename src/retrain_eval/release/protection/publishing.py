"""Re-derive rows from the protected tables and apply the disclosure rules to all rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import msgspec
import numpy as np
import pandas as pd

from retrain_eval.common.errors import DesignError, DisclosureError, InputError
from retrain_eval.estimators.effects.estimates import COUNTS, NUMBERS
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.study_file import Release
from retrain_eval.release.derive import Deriver, Tables
from retrain_eval.release.layout import round_significant
from retrain_eval.release.protection.completing import complete, with_estimates, with_inference
from retrain_eval.release.protection.rules import PART, SAID_OF_RESULTS, apply, of_published, round_table
from retrain_eval.release.results import FROM_SUMS, Part, Results, is_withheld, standing_effects
from retrain_eval.tables.counts import KEYS as COUNTED

MERGED = "withheld: needs cells that are merged"
TEXTS = ("dictionary", "withheld")  # tables without numbers of people
FOLLOWS_FROM_NOTHING = "it follows from no table over people that could be protected"
NOT_RELEASED = "it follows from a table that is not released"


def publish(
    results: Results, kept: Tables, rules: Release, gone: Mapping[str, str] = MappingProxyType({})
) -> tuple[Results, list[str]]:
    """Re-derive every row that follows from a protected table, and apply the rules to all rows.

    Applying this function to its own output changes nothing, so `verify` applies it to a bundle and compares.

    Parameters
    ----------
    results : Results
        Rows, and how they were made.
    kept : mapping of str → OutcomeMoments or LifeTable
        The protected tables, under the names that derivations use.
    rules : Release
    gone : mapping of str → str
        Tables that cannot be protected, under the same names, with the reason. Whatever follows from them is withheld.

    Returns
    -------
    Results, list of str
        Tables and parts only, and a record of what was withheld. The table ``withheld`` lists the results that are
        withheld completely, including those that the run withheld.

    Raises
    ------
    DisclosureError
        If a table of counts or of covariates was added by hand.
    """
    deriver, record = Deriver(kept), list[str]()
    parts: list[Part] = []
    blocks: dict[str, list[pd.DataFrame]] = {name: [] for name in results.tables}
    not_made: set[str] = set()
    withheld: list[tuple[str, str, str]] = []
    for part, standing in results.blocks():
        part = _from_sums(part, kept)
        if part.derivation is not None:
            part, rows, reason = _made_again(part, standing, deriver, gone)
            notes = [f"{_name(part)}: withheld, because {reason}"] if reason else []
            if reason:
                not_made.add(part.table)
                withheld.append((_name(part), part.table, reason))
        elif part.covariance is not None:
            reason = gone.get(f"effects/{part.result}", "")
            if not reason and part.estimates is not None:
                reason = gone.get(part.estimates.of, "")
            if not reason:
                part, rows, notes, reason = _with_covariance(part, standing, deriver, rules)
            if reason:
                notes = [f"{_name(part)}: withheld, because {reason}"]
                part, rows = replace(part, estimates=None), _without_numbers(part, standing)
                withheld.append((_name(part), part.table, reason))
        elif part.table in (*COUNTED, "balance"):
            raise DisclosureError(
                f"the table {part.table!r} follows from no sums over people, so that nothing says whether they are "
                "enough; use run.publish_sample and run.results.add_table"
            )
        elif rules.noisy and _has_numbers(part, standing):
            rows, reason = standing.iloc[:0], FOLLOWS_FROM_NOTHING
            notes = [f"{_name(part)}: {part.table} withheld, because {reason}"]
            not_made.add(part.table)
            withheld.append((_name(part), part.table, reason))
        else:
            rows, notes = standing, []
        record += notes
        blocks[part.table].append(rows.assign(**{PART: len(parts)}))
        parts.append(part)
    tables = {name: pd.concat(found, ignore_index=True) for name, found in blocks.items()}
    for name in not_made:  # tables with no rows left
        if name in tables and tables[name].empty:
            del tables[name]
    for name in () if rules.exact else tables:
        tables[name], notes = apply(name, tables[name], rules.min_contributors)
        tables[name] = round_table(tables[name], rules.round_counts)
        record += notes
    for name in () if rules.exact else SAID_OF_RESULTS:
        if name in tables:
            tables[name], notes = of_published(name, tables[name], tables.get("effects"), rules.min_contributors)
            record += notes
    tables = complete(tables, rules.significant_figures)
    left = pd.concat([frame[PART] for frame in tables.values()]).value_counts() if tables else {}
    if "effects" in tables:  # the variance of a withheld estimate would reveal its number of people
        effects = tables["effects"]
        parts = [
            part if part.covariance is None else _without_withheld(part, is_withheld(effects[effects[PART] == number]))
            for number, part in enumerate(parts)
        ]
    published = Results(
        tables={name: frame.drop(columns=PART) for name, frame in tables.items()},
        parts=[replace(part, rows=int(left[number])) for number, part in enumerate(parts) if number in left],
        answered=[
            msgspec.structs.replace(one, tables=tuple(name for name in one.tables if name in kept))
            for one in results.answered
        ],
    )
    for result, table, reason in [*withheld, *_wholly_withheld(published)]:
        published.withhold(result, reason, table)
    return published, record


def _has_numbers(part: Part, rows: pd.DataFrame) -> bool:
    """Return whether rows that follow from nothing hold numbers of people, and are not withheld already."""
    if part.table in TEXTS or rows.empty:
        return False
    return not (part.table == "effects" and is_withheld(rows).all())


def _from_sums(part: Part, kept: Tables) -> Part:
    """Re-derive a part if its table has the sums by cluster, instead of using the covariance stored with it."""
    if part.estimates is None or not (part.meta or {}).get(FROM_SUMS):
        return part
    table = kept.get(part.estimates.of)
    if not (isinstance(table, OutcomeMoments) and table.leaves_out):
        return part
    return replace(part, derivation=part.estimates, covariance=None, estimates=None, meta=None)


def _made_again(
    part: Part, standing: pd.DataFrame, deriver: Deriver, gone: Mapping[str, str]
) -> tuple[Part, pd.DataFrame, str]:
    """Re-derive the rows of a part from the protected tables, or return the reason why they are withheld."""
    assert part.derivation is not None
    try:
        rows = deriver.rows(part)
        if part.table == "effects":
            deriver.tables.setdefault(f"effects/{part.result}", deriver.make(part.derivation))
        return part, rows, ""
    except (InputError, DesignError) as error:
        reason = gone.get(part.derivation.of) or _why(part.derivation.of, deriver, error, "it")
        return replace(part, derivation=None), _without_numbers(part, standing), reason


def _wholly_withheld(published: Results) -> list[tuple[str, str, str]]:
    """Return the results whose estimates are all withheld, with their notes."""
    effects = published.tables.get("effects")
    if effects is None:
        return []
    hidden = is_withheld(effects)
    names = [str(name) for name in dict.fromkeys(effects["result"]) if hidden[effects["result"] == name].all()]
    notes = {name: str(effects.loc[effects["result"] == name, "note"].iloc[0]) for name in names}
    return [(name, "effects", note.removeprefix("withheld: ")) for name, note in notes.items()]


def _with_covariance(
    part: Part, standing: pd.DataFrame, deriver: Deriver, rules: Release
) -> tuple[Part, pd.DataFrame, list[str], str]:
    """Compute errors from the released covariance and, if possible, estimates from the protected tables.

    The inference, and everything else derived from these effects, uses the printed values. The last value returned is
    the reason why the rows are withheld, if they are: with noise, estimates that are not made again would be exact.
    """
    record: list[str] = []
    if part.estimates is not None:
        try:
            standing = with_estimates(standing, deriver.rows(replace(part, derivation=part.estimates)))
        except (InputError, DesignError) as error:
            why = _why(part.estimates.of, deriver, error, "them")
            if rules.noisy:
                return part, standing, [], why
            record.append(f"{_name(part)}: estimates stand as they are: {why}")
            part = replace(part, estimates=None)
    printed, notes = (standing, []) if rules.exact else apply("effects", standing, rules.min_contributors)
    printed = round_table(printed, rules.round_counts)
    printed = round_significant(printed, rules.significant_figures)
    rows = with_inference(part, printed)
    printed = round_significant(rows, rules.significant_figures)
    if not is_withheld(printed).any():
        deriver.tables.setdefault(f"effects/{part.result}", standing_effects(part, printed))
    return part, rows, [*record, *notes], ""


def _name(part: Part) -> str:
    return part.result or part.table


def _why(of: str, deriver: Deriver, error: InputError | DesignError, what: str) -> str:
    """Return why rows cannot be made again, as a sentence: what the error says is of tables that are released."""
    kind, _, name = of.partition("/")
    if of not in deriver.tables:
        return f"it follows from {name}, of which numbers are withheld" if kind == "effects" else NOT_RELEASED
    if isinstance(error, DesignError) and error.public != DesignError("").public:
        said = error.public
    else:
        said = str(error).splitlines()[0].removesuffix(":")
    if said.startswith("unknown "):  # a level, which was merged with another
        said = "groups that it needs are merged, because they are too small"
    return f"the protected tables do not give {what}: {said}"


def _without_withheld(part: Part, withheld: pd.Series[bool]) -> Part:
    covariance = np.array(part.covariance, dtype=float).reshape(len(withheld), len(withheld))
    covariance[withheld.to_numpy()] = covariance[:, withheld.to_numpy()] = np.nan
    return replace(part, covariance=covariance.tolist())


def _without_numbers(part: Part, rows: pd.DataFrame) -> pd.DataFrame:
    """Return what remains of rows that cannot be re-derived: for effects, the keys, to show that they are withheld."""
    if part.table != "effects":
        return rows.iloc[:0]
    rows = rows.assign(**dict.fromkeys(NUMBERS, float("nan")), note=MERGED)
    for name in COUNTS:
        rows[name] = pd.array([pd.NA] * len(rows), dtype="Int64")
    return rows
