"""``[designs.NAME]``: who is compared with whom, from when, and for how long.

A design is one of five kinds. The section's name is the study's own; where it is that of a kind, ``kind`` may be left
out, so that ``[designs.waiting]`` is a design of the kind ``waiting``. How people are matched is in ``[match]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import msgspec

from retrain_eval.common.errors import InputError
from retrain_eval.common.periods import parse_period
from retrain_eval.common.periods import rule as period_rule

Periods = Annotated[int, msgspec.Meta(ge=1, le=200)]


class Design(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all designs have: how many periods are compared.

    Attributes
    ----------
    matched : bool
        Whether people are matched as ``[match]`` says.
    """

    matched: ClassVar[bool] = True

    before: Periods = 8
    after: Periods = 12
    history: Periods = 8

    @property
    def kind(self) -> str:
        """The kind of the design."""
        return str(self.__struct_config__.tag)

    @property
    def earnings_before(self) -> dict[int, str]:
        """Periods counted from what people are matched from → column of earnings: ``earnings_m1`` is one before it."""
        return {-k: f"earnings_m{k}" for k in range(1, self.history + 1)}


class Waiting(Design, frozen=True, kw_only=True, tag="waiting"):
    """Displaced people who enter a programme, against people still jobless and untrained after as long a time."""

    wait: tuple[Periods, Periods] = (2, 6)

    @property
    def earnings_before(self) -> dict[int, str]:
        """Earnings up to displacement, that of its period, ``earnings_m0``, included."""
        return {-k: f"earnings_m{k}" for k in range(self.history)}


class Entry(Design, frozen=True, kw_only=True, tag="entry"):
    """Registrants who enter programmes at different times, against registrants of the same period who never do."""

    register: str = "registrant"
    registered: str = "period"


class Calendar(Design, frozen=True, kw_only=True, tag="calendar"):
    """Everyone who enters in one period, against people who do not enter while they are followed."""

    start: int | str


class Randomised(Design, frozen=True, kw_only=True, tag="randomised"):
    """People to whom a place was offered at random, or who entered or completed, against the others; no matching."""

    matched: ClassVar[bool] = False

    start: int | str
    offered: str = "offered"
    treated: Literal["offered", "entered", "completed"] = "offered"


class Observed(Design, frozen=True, kw_only=True, tag="observed"):
    """Everyone who ever enters, against everyone else as they are: no matching, so differences describe."""

    matched: ClassVar[bool] = False

    @property
    def earnings_before(self) -> dict[int, str]:
        """None: controls have no start."""
        return {}


AnyDesign = Waiting | Entry | Calendar | Randomised | Observed
KINDS: Mapping[str, type[Design]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyDesign)}


def with_kinds(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study file, as read, in which each design whose section is called like a kind states it.

    Examples
    --------
    >>> with_kinds({"designs": {"waiting": {"after": 8}}})
    {'designs': {'waiting': {'kind': 'waiting', 'after': 8}}}
    """
    designs = raw.get("designs")
    if not isinstance(designs, Mapping):
        return dict(raw)
    stated = {
        name: {"kind": name, **section} if name in KINDS and isinstance(section, Mapping) else section
        for name, section in designs.items()
    }
    return {**raw, "designs": stated}


def check_design(name: str, design: AnyDesign, frequency: str, *, matched: bool, path: Path) -> None:
    """Refuse a design whose periods are not periods of the study, or that matches people without a ``[match]``.

    Parameters
    ----------
    name : str
        Of the section.
    design : Waiting, Entry, Calendar, Randomised or Observed
    frequency : str
        The study's.
    matched : bool
        Whether the study file has ``[match]``.
    path : Path
        The study file, for the message.
    """
    place = f"[designs.{name}]"
    if design.matched and not matched:
        raise InputError(
            f"{place} needs [match]",
            file=path,
            value=design.kind,
            rule="[match] says how people of this design are matched",
            fix='add [match], or compare people as they are with kind = "observed"',
        )
    start = getattr(design, "start", None)
    if start is not None:
        try:
            parse_period(start, frequency)
        except InputError:
            raise InputError(
                f"start in {place} is not a {frequency}",
                file=path,
                column="start",
                value=start,
                rule=f"{period_rule(frequency)}, as [study] frequency says",
            ) from None
    if isinstance(design, Waiting) and design.wait[0] > design.wait[1]:
        raise InputError(
            f"wait in {place} ends before it starts",
            file=path,
            column="wait",
            value=list(design.wait),
            rule="first and last period after displacement in which a programme may start",
        )
