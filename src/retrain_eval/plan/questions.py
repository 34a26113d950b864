"""``[questions.NAME]``: what is asked. The names are closed, and each question has options of its own.

What a question does with its options is in `retrain_eval.questions`, in the module of the same name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.periods import PER_YEAR
from retrain_eval.plan.strata import PROGRAMME, Stratum
from retrain_eval.plan.values import check_once

Count = Annotated[int, msgspec.Meta(ge=1, le=200)]
Cost = Annotated[float, msgspec.Meta(ge=0)]
Worth = Annotated[float, msgspec.Meta(gt=0)]
MIN_BANDS, MAX_BANDS = 10, 390  # of log earnings: a table has 400 columns


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What all questions have: the design in which they are asked; the study's only one where it is left out."""

    design: str | None = None


class Sample(Asked, frozen=True, kw_only=True):
    """``[questions.sample]``: who was studied, who was linked, and who was lost on the way."""


class Balance(Asked, frozen=True, kw_only=True):
    """``[questions.balance]``: how alike the groups are, before matching and after it."""


class EffectOverTime(Asked, frozen=True, kw_only=True):
    """``[questions.effect_over_time]``: whether it works, how long, and when it is paid back."""

    outcomes: tuple[str, ...] = ()
    payback: bool = True


class ForWhom(Asked, frozen=True, kw_only=True):
    """``[questions.for_whom]``: who gains."""

    strata: tuple[str, ...] = ()
    programmes: tuple[str, ...] = ()
    together: tuple[tuple[str, ...], ...] = ()


class NotRetrainable(Asked, frozen=True, kw_only=True):
    """``[questions.not_retrainable]``: for whom retraining does not work, and what works for them instead."""

    groups: dict[str, tuple[str, ...]] = {}
    covariates: tuple[str, ...] = ()
    alternative: tuple[Literal["foundation", "transition", "substitution"], ...] = ("substitution",)
    overlap: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.8
    cost_retraining: Cost | None = None
    cost_alternative: Cost | None = None
    depth: Literal[1, 2] = 2


class JobStability(Asked, frozen=True, kw_only=True):
    """``[questions.job_stability]``: how soon a job is found, whether it lasts, and why it ends."""

    followed: Count = 12
    begun_within: Count = 4
    held_for: Count = 8
    smallest_worthwhile_time: Worth | None = None
    smallest_worthwhile_share: Worth | None = None


class JobQuality(Asked, frozen=True, kw_only=True):
    """``[questions.job_quality]``: whether jobs are better, and in which dimension."""

    parts: bool = True


class WagePath(Asked, frozen=True, kw_only=True):
    """``[questions.wage_path]``: whether wages grow faster afterwards.

    Bands of log earnings, which bounds need, are ``width`` wide and run from ``lowest`` to ``highest``, amounts of one
    period. ``last`` is the number of periods at the end of follow-up in which earnings are compared; None is a year.
    """

    degree: Literal[1, 2, 3] = 1
    models: tuple[Literal["fixed", "random", "correlated_random", "first_differences"], ...] = ("fixed",)
    last: Count | None = None
    lowest: Worth = 20.0
    highest: Worth = 10_000_000.0
    width: Annotated[float, msgspec.Meta(ge=0.02, le=0.5)] = 0.1

    def __post_init__(self) -> None:
        """Refuse bands that no table can hold."""
        bands = math.log(self.highest / self.lowest) / self.width
        if not MIN_BANDS <= bands <= MAX_BANDS:
            raise ValueError(
                f"lowest, highest and width of [questions.wage_path] give {max(bands, 0):.0f} bands of log earnings; "
                f"use {MIN_BANDS} to {MAX_BANDS}"
            )

    def compared(self, frequency: str, after: int) -> int:
        """Return how many periods at the end of follow-up are compared, where ``after`` follow that of the start.

        Examples
        --------
        >>> WagePath().compared("quarter", 12), WagePath(last=8).compared("quarter", 4), WagePath().compared("year", 4)
        (4, 5, 1)
        """
        year = {"week": 52, "two-week interval": 26, **PER_YEAR}[frequency]
        return min(self.last or year, after + 1)


class Providers(Asked, frozen=True, kw_only=True):
    """``[questions.providers]``: which providers do better than expected."""

    adjust: str | None = None
    placed_after: Count = 4


class Sensitivity(Asked, frozen=True, kw_only=True):
    """``[questions.sensitivity]``: what would overturn the effect."""


Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]


Component = Literal["tuition", "stipend", "support", "administration", "other"]  # of cost, as data_schemas/ has them


class Money(Asked, frozen=True, kw_only=True):
    """``[questions.money]``: who pays, who gains, and whether it is worth it. Two rates have no default."""

    tax_rate: Share
    discount_rate: Share
    outcome: str = "earnings"
    employer_tax_rate: Share = 0.0
    benefit_withdrawal: Annotated[float, msgspec.Meta(ge=-1, le=1)] = 0.0
    spending_tax_rate: Share = 0.0
    fringe: Share = 0.0
    horizon: Count | None = None
    extrapolate: bool = False
    carried: Count = 4
    fade: Share = 0.0
    government: tuple[str, ...] = ("state",)
    participants: tuple[str, ...] = ("participant",)
    others: tuple[str, ...] = ("employer", "fund")
    stipends: tuple[Component, ...] = ("stipend",)
    saved_elsewhere: Amount = 0.0

    @property
    def rates(self) -> dict[str, float]:
        """The rates on additional earnings, by name."""
        names = ("tax_rate", "employer_tax_rate", "benefit_withdrawal", "spending_tax_rate", "fringe")
        return {name: getattr(self, name) for name in names}

    @property
    def payers(self) -> dict[str, tuple[str, ...]]:
        """On whose account the funders pay."""
        return {"taxpayers": self.government, "participants": self.participants, "others": self.others}


ACCESS, LITERACY = "access_level", "literacy_band"  # strata of digital_divide
WITH_ACCESS, WITHOUT_ACCESS = "with digital access", "without digital access"
# question → how its results begin, which are in a plan that asks it, whatever groups they are by
PLANNED: Mapping[str, tuple[str, ...]] = {"digital_divide": ("programme_ends", "entrants", "completers")}


class DigitalDivide(Asked, frozen=True, kw_only=True):
    """``[questions.digital_divide]``: who drops out for lack of digital access or of basic skills."""

    # where levels 2 and 3 of PIAAC begin
    literacy_cuts: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)] = (226.0, 276.0)
    followed: Count = 8
    transfer_within: Annotated[int, msgspec.Meta(ge=0, le=200)] = 1

    def strata(self) -> dict[str, Stratum]:
        """Return the groups of people that it compares, by name.

        Examples
        --------
        >>> DigitalDivide().strata()["literacy_band"].levels()
        ('under 226', '226 to under 276', '276 and over')
        """
        access = {"true": WITH_ACCESS, "false": WITHOUT_ACCESS}
        return {
            ACCESS: Stratum(column="digital_access", title="Digital access", labels=access),
            LITERACY: Stratum(column="literacy_score", title="Literacy score", cuts=self.literacy_cuts),
        }


class Questions(msgspec.Struct, frozen=True, kw_only=True):
    """``[questions]``: one section for each question that is asked, in the order in which they are answered."""

    sample: Sample | None = None
    balance: Balance | None = None
    effect_over_time: EffectOverTime | None = None
    for_whom: ForWhom | None = None
    not_retrainable: NotRetrainable | None = None
    job_stability: JobStability | None = None
    job_quality: JobQuality | None = None
    wage_path: WagePath | None = None
    providers: Providers | None = None
    digital_divide: DigitalDivide | None = None
    sensitivity: Sensitivity | None = None
    money: Money | None = None

    def strata(self) -> dict[str, Stratum]:
        """Return the strata that questions bring along, besides those of the study."""
        return {} if self.digital_divide is None else self.digital_divide.strata()

    def asked(self) -> Iterator[tuple[str, Asked]]:
        """Yield the names of the questions that are asked, with their options."""
        for name in self.__struct_fields__:
            options = getattr(self, name)
            if options is not None:
                yield name, options

    def of_design(self, design: str, designs: tuple[str, ...]) -> Iterator[tuple[str, Asked]]:
        """Yield the questions that are asked in a design.

        Parameters
        ----------
        design : str
            Name of a design.
        designs : tuple of str
            Names of all designs of the study.
        """
        for name, options in self.asked():
            if (options.design or designs[0]) == design:
                yield name, options


def check_strata(questions: Questions, strata: Mapping[str, Stratum]) -> None:
    """Refuse strata of questions that do not exist, are not several, or lack a level that is named.

    Raises
    ------
    InputError

    Examples
    --------
    >>> strata = {"age": Stratum(column="age", cuts=(55,)), "sex": Stratum(column="sex")}
    >>> check_strata(Questions(for_whom=ForWhom(together=(("age", "sex"),))), strata)
    >>> check_strata(Questions(for_whom=ForWhom(together=(("age", "sx"),))), strata)
    Traceback (most recent call last):
    ...
    retrain_eval.common.errors.InputError: unknown stratum of [questions.for_whom] together 'sx'
      fix:    did you mean 'sex'? known: age, sex
    """
    if questions.providers is not None:
        _check_adjusted(questions.providers, strata)
    if questions.for_whom is not None:
        _check_effects_by(questions.for_whom, strata)
    if questions.digital_divide is not None:
        _check_cuts(questions.digital_divide.literacy_cuts)
    for name, options in questions.asked():
        check_once(f"[questions.{name}]", options)
    if questions.not_retrainable is None:
        return
    place, asked = "[questions.not_retrainable]", questions.not_retrainable
    if not any(asked.groups.values()):
        raise InputError(
            f"{place} names no group",
            column="groups",
            rule="a table of strata and the levels that are groups",
            fix='groups = {age_band = ["55 and over"]}',
        )
    if not asked.alternative:
        raise InputError(f"{place} names no alternative", column="alternative", fix='alternative = ["substitution"]')
    for name in (*asked.groups, *asked.covariates):
        if name not in strata:
            raise unknown(f"stratum of {place}", name, strata)
        if not strata[name].levels():
            raise InputError(
                f"{place} needs the levels of the stratum {name}",
                rule="cuts or labels in its section",
                fix=f"add labels to [strata.{name}]",
            )
    for name, levels in asked.groups.items():
        if not levels:
            raise InputError(
                f"groups of {place} names no level of {name}",
                column="groups",
                rule="for each stratum, the levels that are groups",
                fix=f'groups = {{{name} = ["{strata[name].levels()[-1]}"]}}, or leave {name} out',
            )
        for level in levels:
            if level not in strata[name].levels():
                raise unknown(f"level of {name} in {place} groups", level, strata[name].levels())


def _check_cuts(cuts: tuple[float, ...]) -> None:
    if not all(map(math.isfinite, cuts)) or list(cuts) != sorted(set(cuts)):
        raise InputError(
            "literacy_cuts of [questions.digital_divide] do not ascend",
            column="literacy_cuts",
            value=list(cuts),
            rule="finite numbers from low to high, each once",
        )


def _check_effects_by(asked: ForWhom, strata: Mapping[str, Stratum]) -> None:
    place = "[questions.for_whom]"
    for name in asked.strata:
        if name not in strata:
            raise unknown(f"stratum of {place}", name, list(strata) or ["add one, as [strata.NAME]"])
    for name in asked.programmes:
        if name not in PROGRAMME:
            raise unknown(f"attribute of programmes in {place}", name, PROGRAMME)
    for names in asked.together:
        _check_several(f"{place} together", names, strata)


def _check_several(place: str, names: tuple[str, ...], strata: Mapping[str, Stratum]) -> None:
    for name in names:
        if name not in strata:
            raise unknown(f"stratum of {place}", name, strata)
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(
            f"strata of {place} are not several",
            value=list(names),
            rule="two or more different strata in each list",
            fix="name one stratum in `strata`",
        )


def _check_adjusted(asked: Providers, strata: Mapping[str, Stratum]) -> None:
    if asked.adjust is not None and asked.adjust not in strata:
        known = list(strata) or ["add one, as [strata.NAME]"]
        raise unknown("stratum to adjust for in [questions.providers]", asked.adjust, known)


def check_designs(questions: Questions, designs: tuple[str, ...]) -> None:
    """Refuse a question whose design does not exist, or that names none where there are several.

    Raises
    ------
    InputError

    Examples
    --------
    >>> check_designs(Questions(sample=Sample(design="waitng")), ("waiting",))
    Traceback (most recent call last):
    ...
    retrain_eval.common.errors.InputError: unknown design of [questions.sample] 'waitng'
      fix:    did you mean 'waiting'? known: waiting
    """
    if questions.money is not None:
        check_payers(questions.money)
    for name, options in questions.asked():
        place = f"design of [questions.{name}]"
        if not designs:
            raise InputError(
                f"[questions.{name}] has no design to be asked in",
                rule="a question names a section [designs.NAME]",
                fix="add one, such as [designs.waiting]",
            )
        if options.design is None and len(designs) > 1:
            raise InputError(
                f"[questions.{name}] does not say in which design it is asked",
                column="design",
                rule="where a study has several designs, each question names one",
                fix=f"design = one of {', '.join(designs)}",
            )
        if options.design is not None and options.design not in designs:
            raise unknown(place, options.design, designs)


def check_payers(money: Money) -> None:
    """Refuse a funder that pays on the account of two.

    Raises
    ------
    InputError

    Examples
    --------
    >>> check_payers(Money(tax_rate=0.2, discount_rate=0.03, others=("state", "fund")))
    Traceback (most recent call last):
    ...
    retrain_eval.common.errors.InputError: a funder of [questions.money] pays on two accounts
      value:  state
      rule:   each funder is in one of government, participants and others
      fix:    leave it out of all but one
    """
    funders = [name for names in money.payers.values() for name in names]
    twice = next((name for name in funders if funders.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            "a funder of [questions.money] pays on two accounts",
            value=twice,
            rule="each funder is in one of government, participants and others",
            fix="leave it out of all but one",
        )
