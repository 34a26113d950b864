"""Check that the label of a number and the table it is computed from belong together.

A recipe states how a number is computed, and its label states what the number is. Someone who alters a bundle can point
a recipe to another table, so that the same label shows a number about other people. A release therefore records the
source table of each result; and if a label itself names a table, a stratum or another result, the recipe must match it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from retrain_eval.release.protection.rules import JUDGED, SAID_OF_RESULTS
from retrain_eval.release.results import Part
from retrain_eval.tables.recipe import Derivation

# tables that are computed from a result
_OF_EFFECTS = frozenset(
    {
        "pretrend_test", "bounds", "pretest_power", "verdicts", "equal_effects",
        "cell_verdicts", "interactions", "judged_groups",
        "value_for_money",
        "equal_providers", "provider_table", "provider_spread",
    }
)  # fmt: skip

_WORDS = ("att", "did", "event_study", "km", "cox")  # a result of the table "matched" may be "matched" or "att_matched"


def made_of(parts: Sequence[Part]) -> list[dict[str, str]]:
    """Return the source table of each part, for the manifest; empty for rows that do not come from a table.

    Examples
    --------
    >>> made_of([Part("effects", 1, "att", Derivation("moments/matched", (("att_gt", {}),))), Part("dictionary", 3)])
    [{'table': 'effects', 'result': 'att', 'of': 'moments/matched'}, {'table': 'dictionary', 'result': '', 'of': ''}]
    """
    return [{"table": part.table, "result": part.result or "", "of": _source(part)} for part in parts]


def _source(part: Part) -> str:
    made = part.derivation or part.estimates
    return made.of if made is not None else "its covariance" if part.covariance is not None else ""


def label_problems(parts: Sequence[Part], manifest: Mapping[str, Any]) -> list[str]:
    """Return results that are missing, are not listed in the manifest, or come from another table than it lists."""
    if manifest["bundle_version"] < 2 and "made_of" not in manifest:
        return []
    listed = Counter((one["table"], one.get("result", ""), one.get("of", "")) for one in manifest.get("made_of", []))
    there = Counter((one["table"], one["result"], one["of"]) for one in made_of(parts))
    lost, new = listed - there, there - listed
    found = []
    for table, result, of in lost:
        name = f"{table} {result}".rstrip()
        other = next((key[2] for key in new if key[:2] == (table, result)), None)
        if other is None:
            found.append(f"missing: {name}: the manifest lists it, and there are no such rows")
        else:
            found.append(
                f"{name}: recipes.json makes it of {other or 'no table'}, and the manifest of {of or 'no table'}"
            )
    labels = {key[:2] for key in listed}
    found += [f"not in the manifest: {table} {result}".rstrip() for table, result, _ in new
              if (table, result) not in labels]  # fmt: skip
    return found or ([f"recipes.json has {new.total()} part(s) that the manifest does not list"] if new else [])


def untied(
    part: Part, rows: pd.DataFrame, parts: Sequence[Part], tables: Collection[str], strata: Collection[str]
) -> str:
    """Return why a part does not match what its label names; empty if it does, or if its label names nothing.

    Parameters
    ----------
    part : Part
    rows : DataFrame
        Its rows.
    parts : sequence of Part
        All of them.
    tables : collection of str
        The additive tables, such as ``"moments/matched"``.
    strata : collection of str
        The strata of the study.
    """
    made, result = part.derivation or part.estimates, part.result
    if made is None or result is None:
        return ""
    if part.table in (*SAID_OF_RESULTS, *JUDGED, "provider_spread"):
        of = [one.derivation or one.estimates for one in parts if (one.table, one.result) == ("effects", result)]
        known = [one for one in of if one is not None]
        if known and not any(_of_result(made, one, result) for one in known):
            return f"it is about {result}, which is made of {known[0].of}, and is made of {made.of}"
        return ""
    if part.table != "effects":
        return ""
    kind, _, stem = made.of.partition("/")
    stems = [name.partition("/")[2] for name in tables if name.startswith(f"{kind}/")]
    named = [one for one in stems if result in (one, *(f"{word}_{one}" for word in _WORDS))]
    if named and stem not in named:
        return f"its name is that of the table {named[0]}, and it is made of {made.of}"
    for stratum in strata:
        groups = set(rows["subgroup"].dropna().astype(str)) - {""}
        if result.endswith(f"_by_{stratum}") and groups and groups != {stratum}:
            return f"its name is that of groups by {stratum}, and its rows are by {', '.join(sorted(groups))}"
    return ""


def _of_result(made: Derivation, effects: Derivation, result: str) -> bool:
    """Whether a table about a result comes from the same source table as the result."""
    if made.of == f"effects/{result}" or made.of.startswith(f"statistics/{result}_"):
        return True
    if made.of != effects.of:
        return False
    return made.steps[-1][0] not in _OF_EFFECTS or made.steps[: len(effects.steps)] == effects.steps
