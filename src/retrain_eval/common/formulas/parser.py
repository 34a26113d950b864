"""Read a formula by a grammar of our own, so that a formula in an untrusted file is data and never code.

::

    formula    = [ name "~" ] sum
    sum        = [ "-" ] product { ( "+" | "-" ) product }
    product    = interaction { "*" interaction }              a*b means a + b + a:b
    interaction= power { ":" power }
    power      = atom [ "**" whole number ]                   of a sum in brackets
    atom       = "0" | "1" | name | call | "(" sum ")"
    call       = function "(" expression ")"                  one of FUNCTIONS, one argument
    expression = names, numbers, calls, brackets and + - * / // % ** < <= > >= == !=
    name       = letters, digits, "_" and "."; or anything between backticks

There are no strings, lists, attributes or keyword arguments.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from itertools import combinations
from typing import NoReturn

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.formulas.tree import (
    Call,
    Column,
    Expression,
    Factor,
    Formula,
    Number,
    Operation,
    Term,
    columns_of,
)

FUNCTIONS = ("I", "C", "log", "log10", "log2", "log1p", "exp", "sqrt", "abs")
LONGEST = 20_000  # characters of a formula
MOST_TERMS = 2_000
MOST_FACTORS = 8  # of one term
MOST_OPERATORS = 500  # within functions
DEEPEST = 60  # brackets, calls, signs and powers within each other
HIGHEST_POWER = 8  # of a sum in brackets

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
      | (?P<name>[^\W\d][\w.]*)
      | `(?P<quoted>[^`]+)`
      | (?P<sign>\*\*|//|<=|>=|==|!=|[-+*/%<>:()~])
    )""",
    re.VERBOSE,
)
_COMPARE = ("<", "<=", ">", ">=", "==", "!=")
_BINDS = dict.fromkeys(_COMPARE, 2) | {"+": 3, "-": 3, "*": 4, "/": 4, "//": 4, "%": 4, "**": 7}
_SIGNED = 6  # -x**2 is -(x**2)
_PLAIN = f"arithmetic, comparisons and one-argument functions: {', '.join(FUNCTIONS)}"

_Terms = dict[frozenset[Factor], Term]  # a:b and b:a are one term, named by its first occurrence
_INTERCEPT: frozenset[Factor] = frozenset()


def read_formula(text: str) -> Formula:
    """Read a formula.

    Parameters
    ----------
    text : str
        ``treat ~ age + C(region)*married + I(age**2)``; the left side may be missing.

    Returns
    -------
    Formula

    Raises
    ------
    InputError
        If it is not a formula, uses a function that is not in `FUNCTIONS`, or is too large: more than 20,000
        characters, 2,000 terms, 8 factors in a term, 500 operators within functions, or 60 nested brackets.

    Examples
    --------
    >>> str(read_formula("treat ~ age*married + log(pay) + I(age**2)"))
    'treat ~ 1 + age + married + log(pay) + I(age ** 2) + age:married'
    """
    if not isinstance(text, str):
        raise InputError("a formula is a text", value=type(text).__name__)
    if len(text) > LONGEST:
        raise InputError(f"the formula is longer than {LONGEST:,} characters", fix="compute its terms as columns first")
    return _Parser(text).formula()


class _Parser:
    """One pass from left to right over the tokens."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        self._read_tokens()
        self.at = self.depth = self.operators = 0

    def _read_tokens(self) -> None:
        place, end = 0, len(self.text.rstrip())
        while place < end:
            found = _TOKEN.match(self.text, place)
            if found is None:
                self._fail(*self._explained(self.text[place:].lstrip()[0]))
            kind = str(found.lastgroup)
            if found[kind] == "(" and self.tokens and self.tokens[-1][0] == "name":
                self._known(self.tokens[-1][1])
            self.tokens.append((kind, found[kind]))
            place = found.end()
        self.tokens.append(("end", ""))

    @staticmethod
    def _known(function: str) -> None:
        if function not in FUNCTIONS:
            raise unknown("function in a formula", function, FUNCTIONS)

    @staticmethod
    def _explained(character: str) -> tuple[str, str]:
        """Return what is wrong with a character that begins no token, and what to do."""
        if character in "'\"":
            return "it contains a quoted string", "compute a column first, such as is_black for race == 'black'"
        if character == "^":
            return "it uses ^", "write powers as age**2, within I(...)"
        if character == "|":
            return "it has parts separated by |", "write one sum of terms"
        return f"{character!r} is not allowed there", ""

    def _fail(self, what: str, fix: str = "") -> NoReturn:
        raise InputError(
            f"the formula cannot be read: {what}", value=self.text, fix=fix or "write it as 'treat ~ age + education'"
        )

    # ---- tokens ----------------------------------------------------------------------------------------------

    def _next(self, *signs: str) -> str | None:
        """Take the next token if it is one of these signs."""
        kind, text = self.tokens[self.at]
        if kind != "sign" or text not in signs:
            return None
        self.at += 1
        return text

    def _take(self, sign: str) -> None:
        if self._next(sign) is None:
            self._fail(f"{sign!r} is missing before {self._here()}")

    def _here(self) -> str:
        kind, text = self.tokens[self.at]
        return "the end" if kind == "end" else repr(text)

    def _name(self) -> str | None:
        kind, text = self.tokens[self.at]
        if kind not in ("name", "quoted"):
            return None
        self.at += 1
        return text

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self.depth += 1
        if self.depth > DEEPEST:
            self._fail(f"it has more than {DEEPEST} nested brackets, signs and powers")
        yield
        self.depth -= 1

    # ---- terms -----------------------------------------------------------------------------------------------

    def formula(self) -> Formula:
        """Read all of it."""
        signs = [text for kind, text in self.tokens if kind == "sign"]
        left = self._left() if "~" in signs else None
        terms = self._sum({_INTERCEPT: ()})
        if self.tokens[self.at][0] != "end":
            self._fail(f"{self._here()} is not allowed there")
        return Formula(self.text, left, tuple(sorted(terms.values(), key=len)))

    def _left(self) -> str | None:
        shape = "such as 'treat ~ age + education'"
        end = self.tokens.index(("sign", "~"))
        if ("sign", "~") in self.tokens[end + 1 :]:
            raise InputError("the formula needs one ~ with a treatment on its left", value=self.text, fix=shape)
        name = self._name()
        if end and (name is None or self.at != end):
            raise InputError("the left of ~ must be one treatment column", value=self.text, fix=shape)
        self._take("~")
        return name

    def _sum(self, terms: _Terms) -> _Terms:
        sign = self._next("-", "+") or "+"
        while True:
            if self.tokens[self.at] == ("number", "0"):  # + 0 leaves the intercept out, - 0 brings it back
                self.at += 1
                found: _Terms = {_INTERCEPT: ()}
                sign = "-" if sign == "+" else "+"
            else:
                found = self._product()
            if sign == "-":
                terms = {key: term for key, term in terms.items() if key not in found}
            else:
                terms = _joined(terms, found)
            self._limit(len(terms))
            following = self._next("+", "-")
            if following is None:
                return terms
            sign = following

    def _product(self) -> _Terms:
        found = self._interaction()
        while self._next("*"):
            right = self._interaction()
            found = _joined(found, right, self._products(found, right))
        return found

    def _interaction(self) -> _Terms:
        found = self._power()
        while self._next(":"):
            found = self._products(found, self._power())
        return found

    def _products(self, left: _Terms, right: _Terms) -> _Terms:
        for part in (left, right):
            if _INTERCEPT in part:
                self._fail("a number is multiplied by a term", "write numbers within I(...), such as I(2*age)")
        self._limit(len(left) * len(right))
        made: _Terms = {}
        for one in left.values():
            for other in right.values():
                term = tuple(dict.fromkeys((*one, *other)))
                if len(term) > MOST_FACTORS:
                    self._fail(f"a term has more than {MOST_FACTORS} factors", "write out the terms you need")
                made.setdefault(frozenset(term), term)
        return made

    def _power(self) -> _Terms:
        group = self.tokens[self.at] == ("sign", "(")
        found = self._atom()
        if self._next("**") is None:
            return found
        kind, text = self.tokens[self.at]
        if not group:
            self._fail("a power of a column must be inside I(...)", "write I(age**2)")
        if kind != "number" or not text.isdecimal() or not 1 <= int(text[:3]) <= HIGHEST_POWER:
            self._fail(f"{self._here()} is not a power of a sum: use a whole number from 1 to {HIGHEST_POWER}")
        self.at += 1
        made = dict(found)
        for size in range(2, int(text) + 1):
            self._limit(math.comb(len(found), size))
            for several in combinations([{key: term} for key, term in found.items()], size):
                made = _joined(made, reduce(self._products, several))
        return made

    def _atom(self) -> _Terms:
        kind, text = self.tokens[self.at]
        if self._next("("):
            with self._deeper():
                found = self._sum({})
            self._take(")")
            return found
        if kind == "number":
            self.at += 1
            if text != "1":
                self._fail(f"{text} is not a term: 1 is the intercept, and 0 removes it", "write I(2*age)")
            return {_INTERCEPT: ()}
        factor = self._named()
        if not isinstance(factor, Column | Call):
            self._fail(f"a term is missing before {self._here()}")
        return {frozenset((factor,)): (factor,)}

    # ---- expressions within a call ---------------------------------------------------------------------------

    def _named(self) -> Column | Call | None:
        """Read a column or a call."""
        quoted = self.tokens[self.at][0] == "quoted"
        name = self._name()
        if name is None:
            return None
        if quoted or not self._next("("):
            return Column(name)
        if self.tokens[self.at] == ("sign", ")"):
            self._fail(f"{name}() has no argument")
        argument = self._expression(0)
        self._take(")")
        if name == "C" and not any(True for _ in columns_of(argument)):
            self._fail("C(...) has no column in it")
        return Call(name, argument)

    def _expression(self, least: int) -> Expression:
        """Read operators that bind at least so tightly (precedence climbing)."""
        with self._deeper():
            left = self._signed()
            while True:
                kind, sign = self.tokens[self.at]
                binds = _BINDS.get(sign, -1) if kind == "sign" else -1
                if binds < max(least, 0):
                    return left
                if sign in _COMPARE and isinstance(left, Operation) and left.sign in _COMPARE:
                    self._fail("comparisons are chained", "write I((a < x) * (x < b))")
                self._count()
                left = Operation(sign, binds, left, self._expression(binds if sign == "**" else binds + 1))

    def _signed(self) -> Expression:
        sign = self._next("-", "+")
        if sign is None:
            return self._operand()
        self._count(0)
        return Operation(sign, _SIGNED, None, self._expression(_SIGNED))

    def _operand(self) -> Expression:
        kind, text = self.tokens[self.at]
        if self._next("("):
            found = self._expression(0)
            self._take(")")
            return found
        if kind == "number":
            self.at += 1
            if not math.isfinite(float(text)):
                self._fail(f"{text} is too large a number")
            return Number((text.lstrip("0") or "0") if text.isdecimal() else repr(float(text)))
        named = self._named()
        if named is None:
            raise InputError(
                f"the formula cannot be read: {self._here()} is not plain arithmetic on columns",
                value=self.text,
                rule=_PLAIN,
                fix="compute it as a column first",
            )
        if isinstance(named, Call) and named.function == "C":
            self._fail("C(...) is inside another function", "write C(...) as a separate term")
        return named

    def _count(self, taken: int = 1) -> None:
        """Consume an operator and count it: a tree thousands of operators deep would exceed the recursion limit."""
        self.at += taken
        self.operators += 1
        if self.operators > MOST_OPERATORS:
            self._fail(
                f"it has more than {MOST_OPERATORS} operators within functions", "compute its terms as columns first"
            )

    def _limit(self, n: int) -> None:
        if n > MOST_TERMS:
            self._fail(f"it expands to more than {MOST_TERMS:,} terms", "write out the terms you need")


def _joined(*parts: _Terms) -> _Terms:
    """Return all terms, each as it first occurred."""
    made: _Terms = {}
    for part in parts:
        for key, term in part.items():
            made.setdefault(key, term)
    return made
