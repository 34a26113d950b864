"""The ledger of a programme: who paid how much for what, in whole cents, and how many people entered."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Ints
from retrain_eval.common.errors import DesignError
from retrain_eval.common.shown import summarised
from retrain_eval.tables.noise.cell_keys import Keys
from retrain_eval.tables.recipe import recorded
from retrain_eval.tables.statistic import Statistic, both

TAXPAYERS, PARTICIPANTS, OTHERS = "taxpayers", "participants", "others"
LEDGER = ("funder", "component", "payer", "cents", "cents_per_person")  # columns of the printed table
_CENT = 1


@summarised
@dataclass(frozen=True, eq=False)
class Ledger(Statistic):
    """What was paid, by funder and component, and the people who entered. Ledgers can be added directly.

    Amounts are whole cents, so that sums are exact: lines, funders and the total add up to the cent.

    Attributes
    ----------
    funder, component : tuple of str
        Of each line.
    cents : int ndarray
        What was paid, in hundredths of the study's currency and prices of its base period.
    people : int
        Who entered a programme.
    keys : uint64 ndarray, shape (1,), optional
        The cell key of the people.

    Examples
    --------
    >>> one = Ledger(("state", "state"), ("stipend", "tuition"), np.array([1000, 3001]), 3)
    >>> both = one + Ledger(("employer",), ("tuition",), np.array([999]), 1)
    >>> both.funder, both.cents.tolist(), both.people
    (('employer', 'state', 'state'), [999, 1000, 3001], 4)
    >>> both.per_person().tolist(), both.per_person(digits=2).tolist()
    ([250, 250, 750], [200, 300, 700])
    """

    kind: ClassVar[str] = "ledger"
    inside: ClassVar[tuple[str, ...]] = ("keys",)
    keyed: ClassVar[tuple[str, ...]] = ("keys",)
    funder: tuple[str, ...]
    component: tuple[str, ...]
    cents: Ints
    people: int
    keys: Keys | None = None

    @property
    def parts(self) -> tuple[Sequence[str], Ints]:
        """Everyone who entered."""
        return ("people",), np.array([self.people])

    @property
    def total(self) -> int:
        """All that was paid, in cents."""
        return sum(self.cents.tolist())

    def empty(self) -> Self:
        """Return a ledger of nothing, paid for no one."""
        return type(self)((), (), np.zeros(0, dtype=np.int64), 0, stamp=self.stamp)

    def sound(self) -> bool:
        """Return whether there is an amount that is not negative for each funder and component, named once."""
        lines = list(zip(self.funder, self.component, strict=True))
        whole = isinstance(self.cents, np.ndarray) and np.issubdtype(self.cents.dtype, np.integer)
        if not (super().sound() and whole and len(self.cents) == len(lines) == len(set(lines))):
            return False
        return bool((self.cents >= 0).all()) and (self.people > 0 or not self.cents.any())

    def _plus(self, other: Self) -> Self:
        """Return the lines of both, those of one funder and component added, and the people of both."""
        lines: Counter[tuple[str, str]] = Counter()
        for ledger in (self, other):
            lines.update(
                dict(zip(zip(ledger.funder, ledger.component, strict=True), ledger.cents.tolist(), strict=True))
            )
        names = sorted(lines)
        return type(self)(
            tuple(funder for funder, _ in names),
            tuple(component for _, component in names),
            np.array([lines[name] for name in names], dtype=np.int64),
            self.people + other.people,
            both(operator.add, self.keys, other.keys),
            stamp=self.stamp,
        )

    def per_person(self, digits: int | None = None) -> Ints:
        """Return what each line is per person who entered, in cents; lines add up to the total per person.

        Parameters
        ----------
        digits : int, optional
            Significant digits of the total. Lines are multiples of its last digit: of a budget that is public, more
            would tell how many people entered, and small lines what a few of them were paid. None: whole cents.

        Notes
        -----
        The total is rounded, then each line down, and what is left goes to the lines with the largest remainders
        (Hamilton's method of apportionment), the first of equal ones. Of its own result, times people, this function
        returns the same.
        """
        if not self.total:
            return np.zeros(len(self.cents), dtype=np.int64)
        each = Fraction(self.total, self.people)
        unit = _CENT if digits is None else _last_digit(each, digits)
        units = round(each / unit)
        shares = [Fraction(cents * units, self.total) for cents in self.cents.tolist()]
        whole = [int(share) for share in shares]
        by_remainder = sorted(range(len(shares)), key=lambda line: whole[line] - shares[line])
        for line in by_remainder[: units - sum(whole)]:
            whole[line] += 1
        return np.array(whole, dtype=np.int64) * unit


def _last_digit(value: Fraction, digits: int) -> int:
    """Return the power of ten of the last of so many digits of a number, at least 1."""
    unit = 1
    while round(value / unit) >= 10**digits:
        unit *= 10
    return unit


def payer_of(funder: str, payers: Mapping[str, Sequence[str]]) -> str:
    """Return on whose account a funder pays.

    Parameters
    ----------
    funder : str
    payers : mapping of str → sequence of str
        ``taxpayers``, ``participants`` or ``others`` → the funders that pay on their account.

    Raises
    ------
    DesignError
        If no payer has this funder.

    Examples
    --------
    >>> payer_of("state", {"taxpayers": ("state", "county"), "others": ("employer",)})
    'taxpayers'
    """
    for payer, funders in payers.items():
        if funder in funders:
            return payer
    known = sorted({name for funders in payers.values() for name in funders})
    raise DesignError(
        f"the study does not say on whose account {funder} pays: government, participants and others of "
        f"[questions.money] have {', '.join(known) or 'no funder'}"
    )


@recorded
def ledger_rows(ledger: Ledger, /, payers: Mapping[str, Sequence[str]], digits: int | None = None) -> pd.DataFrame:
    """Return the lines of a ledger as they are printed: amounts in whole cents, in all and per person.

    Parameters
    ----------
    ledger : Ledger
    payers : mapping of str → sequence of str
        As for `payer_of`.
    digits : int, optional
        As for `Ledger.per_person`.

    Returns
    -------
    DataFrame
        Columns ``LEDGER``; lines add up to the total, in all and per person.

    Raises
    ------
    DesignError
        If no payer has a funder.

    Examples
    --------
    >>> ledger = Ledger(("employer", "state"), ("tuition", "tuition"), np.array([999, 4001]), 3)
    >>> rows = ledger_rows(ledger, {"taxpayers": ("state",), "others": ("employer",)})
    >>> rows[["payer", "cents", "cents_per_person"]].values.tolist()
    [['others', 999, 333], ['taxpayers', 4001, 1334]]
    """
    return pd.DataFrame(
        {
            "funder": pd.array(list(ledger.funder), dtype="str"),
            "component": pd.array(list(ledger.component), dtype="str"),
            "payer": pd.array([payer_of(funder, payers) for funder in ledger.funder], dtype="str"),
            "cents": ledger.cents,
            "cents_per_person": ledger.per_person(digits),
        }
    )
