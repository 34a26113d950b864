"""What a formula says, as a tree: factors are columns or functions of them, a term is a product of factors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

PLAIN_NAME = re.compile(r"[^\W\d][\w.]*")
_UNARY = 6  # how tightly a sign binds; the tables of the parser have the others


@dataclass(frozen=True)
class Number:
    """A number, as it is written."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Column:
    """A column of the data."""

    name: str

    def __str__(self) -> str:
        return self.name if PLAIN_NAME.fullmatch(self.name) else f"`{self.name}`"


@dataclass(frozen=True)
class Operation:
    """Arithmetic or a comparison: a sign has no left side."""

    sign: str
    binds: int
    left: Expression | None
    right: Expression

    def __str__(self) -> str:
        if self.left is None:
            return f"{self.sign}{_within(self.right, _UNARY)}"
        from_right = self.sign == "**"
        left, right = _within(self.left, self.binds + from_right), _within(self.right, self.binds + (not from_right))
        return f"{left} {self.sign} {right}"


@dataclass(frozen=True)
class Call:
    """A function of one argument."""

    function: str
    argument: Expression

    def __str__(self) -> str:
        return f"{self.function}({self.argument})"


Expression = Number | Column | Operation | Call
Factor = Column | Call
Term = tuple[Factor, ...]  # the empty one is the intercept


@dataclass(frozen=True)
class Formula:
    """A formula that was read.

    Attributes
    ----------
    text : str
        The formula as given.
    left : str or None
        Column on the left of ``~``.
    terms : tuple of Term
        Products of factors, fewer factors first, otherwise in order of appearance; the intercept, which has no
        factor, is the first.
    """

    text: str
    left: str | None
    terms: tuple[Term, ...]

    @property
    def intercept(self) -> bool:
        """Whether there is a constant."""
        return () in self.terms

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Every factor once, in order of appearance."""
        return tuple(dict.fromkeys(factor for term in self.terms for factor in term))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns on the right, in order of appearance."""
        return tuple(dict.fromkeys(name for factor in self.factors for name in columns_of(factor)))

    def __str__(self) -> str:
        """Return the formula, rebuilt from its terms."""
        terms = [":".join(map(str, term)) or "1" for term in self.terms]
        right = " + ".join(terms if self.intercept else ["0", *terms])
        return right if self.left is None else f"{Column(self.left)} ~ {right}"


def columns_of(expression: Expression) -> Iterator[str]:
    """Yield the columns of an expression, as often as they occur.

    Examples
    --------
    >>> list(columns_of(Operation("*", 4, Column("age"), Call("log", Column("pay")))))
    ['age', 'pay']
    """
    match expression:
        case Column(name):
            yield name
        case Call(_, argument):
            yield from columns_of(argument)
        case Operation(_, _, left, right):
            if left is not None:
                yield from columns_of(left)
            yield from columns_of(right)


def category(factor: Factor) -> str | None:
    """Return the column that a factor makes categories of, which is that of ``C(column)``; None for any other."""
    match factor:
        case Call("C", Column(name)):
            return name
    return None


def _within(expression: Expression, binds: int) -> str:
    """Return an expression as a part of another one, in brackets where it binds less."""
    own = expression.binds if isinstance(expression, Operation) else _UNARY + 2
    return f"({expression})" if own < binds else str(expression)
