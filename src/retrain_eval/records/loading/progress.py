"""How far a load has come: what is being done, and the share that is done, for those who wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

Watch: TypeAlias = Callable[[str, float], None]


class Part(NamedTuple):
    """A part of a load, from one share of its time to another, by what it takes on tens of millions of rows."""

    start: float
    end: float

    def at(self, done: float, of: int) -> float:
        """Return the share of the load that is done when so many files of this part are.

        Examples
        --------
        >>> Part(0.2, 0.6).at(1, 2)
        0.4
        """
        return self.start + (self.end - self.start) * done / max(of, 1)


READING: Final = Part(0.0, 0.15)
CHECKING: Final = Part(0.15, 0.75)
REFERRING: Final = Part(0.75, 0.85)
WRITING: Final = Part(0.85, 1.0)


def unwatched(_text: str, _share: float) -> None:
    """Tell no one."""


def unsaid(_text: str) -> None:
    """Print nothing."""
