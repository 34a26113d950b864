"""The options of `match`, and which method uses which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.sample.models.propensity import LINKS
from retrain_eval.sample.support import CALIPER_SDS, DISCARDS

Cutpoints: TypeAlias = "str | Mapping[str, int | str | Sequence[float]]"
Grouping: TypeAlias = Mapping[str, Sequence[Sequence[str]]]

METHODS = ("nearest", "riskset", "cem", "ebal", "ipw")
TIES = ("all", "first")
DISTANCES = ("mahalanobis", "robust_mahalanobis")
M_ORDERS = ("largest", "smallest", "data", "closest", "farthest", "random")
ESTIMANDS = ("ATT", "ATE", "ATO")
MAX_MOMENTS = 3

_NEIGHBOURS = ("nearest", "riskset")
READ_BY = {
    **dict.fromkeys(("distance", "link", "caliper", "caliper_sd", "ratio", "replace", "ties"), _NEIGHBOURS),
    **dict.fromkeys(("m_order", "discard"), _NEIGHBOURS),
    **dict.fromkeys(("start", "entry", "end", "allow_later_treated"), ("riskset",)),
    **dict.fromkeys(("cutpoints", "grouping"), ("cem",)),
    "moments": ("ebal",),
    "estimand": ("ipw",),
}  # formula, unit, method, exact and seed are used by all methods


@dataclass(frozen=True)
class Options:
    """The keywords of `match`; see there."""

    method: str = "nearest"
    distance: str = "glm"
    link: str | None = None
    exact: tuple[str, ...] = ()
    caliper: float | None = None
    caliper_sd: str = "full"
    ratio: int = 1
    replace: bool = False
    ties: str = "all"
    m_order: str | None = None
    discard: str = "none"
    seed: int = 20260101
    start: str | None = None
    entry: str | None = None
    end: str | None = None
    allow_later_treated: bool = True
    cutpoints: Cutpoints = "sturges"
    grouping: Grouping | None = None
    moments: int = 1
    estimand: str = "ATT"

    @property
    def order(self) -> str:
        """Return the order in which units choose: by default from the largest score, or of the data without a score."""
        return self.m_order or ("data" if self.distance in DISTANCES else "largest")

    def check(self) -> None:
        """Refuse unknown values, and keywords that the method does not use.

        Raises
        ------
        InputError
            Names the keyword and lists the choices.
        """
        for name, value, known in (
            ("matching method", self.method, METHODS),
            ("link", self.link, (None, *LINKS)),
            ("caliper_sd", self.caliper_sd, CALIPER_SDS),
            ("ties", self.ties, TIES),
            ("m_order", self.m_order, (None, *M_ORDERS)),
            ("discard", self.discard, DISCARDS),
            ("estimand", self.estimand, ESTIMANDS),
        ):
            if value not in known:
                raise unknown(name, value, [item for item in known if item])
        self._check_numbers()
        for field in fields(self):
            methods = READ_BY.get(field.name, METHODS)
            if self.method not in methods and getattr(self, field.name) != field.default:
                raise InputError(
                    f"{field.name} is read by {' and '.join(methods)} only",
                    column=field.name,
                    value=getattr(self, field.name),
                    fix=f"leave it out, or choose method={methods[0]!r}",
                )
        self._check_distance()

    def _check_numbers(self) -> None:
        if not is_whole(self.ratio) or self.ratio < 1:
            raise InputError("ratio must be a whole number, at least 1", column="ratio", value=self.ratio)
        if not is_whole(self.moments) or not 1 <= self.moments <= MAX_MOMENTS:
            raise InputError(
                f"moments must be a whole number from 1 to {MAX_MOMENTS}",
                column="moments",
                value=self.moments,
                rule="1 balances means, 2 variances too, 3 skewness too",
            )
        caliper = self.caliper
        if caliper is not None and not (isinstance(caliper, (int, float)) and np.isfinite(caliper) and caliper > 0):
            raise InputError(
                "caliper must be a positive number of standard deviations", column="caliper", value=caliper
            )
        if not is_whole(self.seed) or self.seed < 0:
            raise InputError("seed must be a whole number, zero or more", column="seed", value=self.seed)
        if not isinstance(self.replace, bool):
            raise InputError("replace must be True or False", column="replace", value=self.replace)

    def _check_distance(self) -> None:
        """Refuse options that need a score if units are compared by covariates, and a link if no score is estimated."""
        if self.link is not None and self.distance != "glm":
            raise InputError("link is read by the estimated score only", column="link", fix='with distance="glm"')
        if self.distance not in DISTANCES:
            return
        by_score = {
            "caliper": self.caliper is not None,
            "discard": self.discard != "none",
            "m_order": self.m_order in {"largest", "smallest"},
        }
        for name, wrong in by_score.items():
            if wrong:
                raise InputError(
                    f"{name} needs a score, and {self.distance} is a distance between two units",
                    column=name,
                    value=getattr(self, name),
                    fix='match on distance="glm", or leave this out',
                )


def is_whole(value: object) -> bool:
    """Return whether a value is an int, not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)
