"""Whether net benefits were made on the terms of the study file: its rates, and the costs of the released ledger.

Their recipe names rates and costs as options, so that it can be repeated alone. Someone who alters a bundle could
alter these; the study file and the ledger say what they have to be.
"""

from __future__ import annotations

from collections.abc import Iterator

from retrain_eval.common.errors import DesignError
from retrain_eval.common.untrusted import shown
from retrain_eval.questions.money.budget import LEDGER
from retrain_eval.questions.money.money import DIGITS, outlays_of
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.results import Results
from retrain_eval.tables.ledger import Ledger

_NAMED = ("net_benefit", "benefit_over_time")


def other_terms(bundle: Bundle, published: Results) -> Iterator[str]:
    """Yield a line for each result on money that was made on other terms than those of the study file.

    Parameters
    ----------
    bundle : Bundle
    published : Results
        What its tables hold.
    """
    options = bundle.study_file.questions.money
    if options is None:
        return
    ledger = published.statistics.get(LEDGER.partition("/")[2])
    for part in published.parts:
        if part.derivation is None or part.result not in _NAMED or part.derivation.steps[-1][0] != part.result:
            continue
        given = part.derivation.steps[-1][1]
        expected: dict[str, object] = {"rates": options.rates, "discount_rate": options.discount_rate}
        if part.result == "net_benefit" and isinstance(ledger, Ledger):
            try:
                expected["outlays"] = dict(outlays_of(ledger, options, DIGITS if bundle.rules.noisy else None))
            except DesignError as error:
                yield f"effects {part.result}: {error.public}"
        for name, value in expected.items():
            if given.get(name) != value:
                yield f"effects {part.result}: {name} are {shown(value)}, and recipes.json has {shown(given.get(name))}"
