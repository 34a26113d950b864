"""What an effect on earnings is worth to whom: the accounts of participants, taxpayers, others and society.

Every line is linear in the present value of the effect on earnings, E: a share of it, and an amount. The lines of
participants, taxpayers and others add up to those of society, since a tax or a benefit is a gain of one and a loss of
another. The layout is that of Kline and Walters (2016, section III) and of the benefit–cost tables of WorkAdvance
(Hendra et al. 2016); willingness to pay and net cost are those of Hendren and Sprung-Keyser (2020, equation 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Self

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.tables.ledger import OTHERS, PARTICIPANTS, TAXPAYERS

SOCIETY = "society"
PERSPECTIVES = (PARTICIPANTS, TAXPAYERS, OTHERS, SOCIETY)
NET = "net benefit"
EARNINGS, FRINGE = "earnings", "fringe benefits"
INCOME_TAX, EMPLOYER_TAX, SALES_TAX = "taxes on earnings", "taxes paid by employers", "taxes on spending"
BENEFITS, STIPENDS = "benefits withdrawn", "payments during training"
TRAINING, SAVED = "cost of training", "other services not used"


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Rates at which additional earnings are taxed, and benefits fall.

    Attributes
    ----------
    tax_rate : float
        Income tax and social contributions of employees, as a share of additional earnings.
    employer_tax_rate : float
        Contributions that employers pay on top of earnings, as a share of them.
    benefit_withdrawal : float
        Benefits that are lost for each unit of additional earnings; negative if they rise.
    spending_tax_rate : float
        Taxes on spending, as a share of what remains of additional earnings.
    fringe : float
        Worth of fringe benefits, such as health insurance, as a share of additional earnings.
    """

    tax_rate: float = 0.0
    employer_tax_rate: float = 0.0
    benefit_withdrawal: float = 0.0
    spending_tax_rate: float = 0.0
    fringe: float = 0.0

    @classmethod
    def of(cls, given: Mapping[str, float]) -> Self:
        """Return checked rates.

        Raises
        ------
        InputError
            If a rate is not one of the fields, or lies outside 0 to 1; the withdrawal of benefits, outside −1 to 1.
        """
        for name, value in given.items():
            if name not in {field.name for field in fields(cls)}:
                raise unknown("rate", name, [field.name for field in fields(cls)])
            low = -1.0 if name == "benefit_withdrawal" else 0.0
            if not (isfinite(value) and low <= value <= 1):
                raise InputError(f"{name} is not a rate", column=name, value=value, rule=f"{low:g} to 1")
        return cls(**given)

    @property
    def spendable(self) -> float:
        """What is left to spend of a unit of additional earnings, after tax and the loss of benefits."""
        return 1 - self.tax_rate - self.benefit_withdrawal


@dataclass(frozen=True, kw_only=True)
class Outlays:
    """What training cost per person who entered it, by who paid.

    Attributes
    ----------
    government, participants, others : float
        Paid by taxpayers, by those who took part, and by employers, funds and others.
    stipends : float
        The part of it that was paid out to those who took part: their gain, so that it costs society nothing.
    saved_elsewhere : float
        What the government did not have to spend on other services, because people were in training.
    """

    government: float = 0.0
    participants: float = 0.0
    others: float = 0.0
    stipends: float = 0.0
    saved_elsewhere: float = 0.0

    @classmethod
    def of(cls, given: Mapping[str, float]) -> Self:
        """Return checked outlays.

        Raises
        ------
        InputError
            If one is not a field, or is negative; if stipends exceed what was paid.
        """
        for name, value in given.items():
            if name not in {field.name for field in fields(cls)}:
                raise unknown("outlay", name, [field.name for field in fields(cls)])
            if not (isfinite(value) and value >= 0):
                raise InputError(f"{name} is a number that is not negative", column=name, value=value)
        found = cls(**given)
        if found.stipends > found.total * (1 + 1e-9):
            raise InputError(
                "more was paid out to participants than training cost",
                column="stipends",
                value=found.stipends,
                rule=f"at most {found.total:g}, what was paid by all",
            )
        return found

    @property
    def total(self) -> float:
        """What was paid by all."""
        return self.government + self.participants + self.others


@dataclass(frozen=True)
class Line:
    """A line of an account: ``share`` of the present value of the effect on earnings, plus ``amount``."""

    perspective: str
    item: str
    share: float
    amount: float

    @property
    def name(self) -> str:
        """The name that the line has as an estimand."""
        return f"{self.perspective}: {self.item}"

    @property
    def is_nothing(self) -> bool:
        """Whether the line is zero whatever the effect is."""
        return self.share == 0 and self.amount == 0


def accounts(rates: Rates, outlays: Outlays) -> list[Line]:
    """Return the lines of all accounts, each ending with its net benefit; lines of nothing are left out.

    Examples
    --------
    >>> lines = accounts(Rates(tax_rate=0.25), Outlays(government=100.0, stipends=40.0))
    >>> for line in lines:
    ...     print(f"{line.name:40} {line.share:5.2f} {line.amount:7.2f}")
    participants: earnings                    1.00    0.00
    participants: taxes on earnings          -0.25    0.00
    participants: payments during training    0.00   40.00
    participants: net benefit                 0.75   40.00
    taxpayers: taxes on earnings              0.25    0.00
    taxpayers: cost of training               0.00 -100.00
    taxpayers: net benefit                    0.25 -100.00
    society: earnings                         1.00    0.00
    society: cost of training                 0.00  -60.00
    society: net benefit                      1.00  -60.00
    """
    found: list[Line] = []
    for perspective in PERSPECTIVES:
        lines = [line for line in _lines(rates, outlays) if line.perspective == perspective]
        net = Line(perspective, NET, sum(line.share for line in lines), sum(line.amount for line in lines))
        if perspective != OTHERS or not net.is_nothing:
            found += [*(line for line in lines if not line.is_nothing), net]
    return found


def _lines(rates: Rates, outlays: Outlays) -> Iterator[Line]:
    """Yield every line but the net benefits."""
    spending_tax = rates.spending_tax_rate * rates.spendable
    yield Line(PARTICIPANTS, EARNINGS, 1.0, 0.0)
    yield Line(PARTICIPANTS, FRINGE, rates.fringe, 0.0)
    yield Line(PARTICIPANTS, INCOME_TAX, -rates.tax_rate, 0.0)
    yield Line(PARTICIPANTS, SALES_TAX, -spending_tax, 0.0)
    yield Line(PARTICIPANTS, BENEFITS, -rates.benefit_withdrawal, 0.0)
    yield Line(PARTICIPANTS, STIPENDS, 0.0, outlays.stipends)
    yield Line(PARTICIPANTS, TRAINING, 0.0, -outlays.participants)
    yield Line(TAXPAYERS, INCOME_TAX, rates.tax_rate, 0.0)
    yield Line(TAXPAYERS, EMPLOYER_TAX, rates.employer_tax_rate, 0.0)
    yield Line(TAXPAYERS, SALES_TAX, spending_tax, 0.0)
    yield Line(TAXPAYERS, BENEFITS, rates.benefit_withdrawal, 0.0)
    yield Line(TAXPAYERS, TRAINING, 0.0, -outlays.government)
    yield Line(TAXPAYERS, SAVED, 0.0, outlays.saved_elsewhere)
    yield Line(OTHERS, TRAINING, 0.0, -outlays.others)
    # what is paid on top of earnings is paid for work done, so that it is a gain of society
    yield Line(SOCIETY, EARNINGS, 1.0, 0.0)
    yield Line(SOCIETY, FRINGE, rates.fringe, 0.0)
    yield Line(SOCIETY, EMPLOYER_TAX, rates.employer_tax_rate, 0.0)
    yield Line(SOCIETY, TRAINING, 0.0, outlays.stipends - outlays.total)
    yield Line(SOCIETY, SAVED, 0.0, outlays.saved_elsewhere)
