"""Sets of people behind published sums and counts, and the pairs of them that differ by fewer than ten people."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from retrain_eval.common.arrays import Bools, Ints
from retrain_eval.common.shown import summarised
from retrain_eval.tables.noise.cell_keys import APART, N_SUMS, UNIT, people_apart
from retrain_eval.tables.noise.person_keys import PRIME

_AT_A_TIME = 20_000
_MODULUS = 2**64  # of cell keys
_NUMBER = re.compile(r"\d+$")
_NOTHING = 1e-6  # a smaller sum is one of zeros, but for rounding


@summarised
@dataclass(frozen=True)
class ReleasedSet:
    """A set of people behind published sums, or behind a count.

    Attributes
    ----------
    name : str
        The table and the cell or margin.
    n : int
        Units.
    key : int
        Cell key.
    sketch : tuple of int
        With weights.
    weights : tuple of int
        Weights, in units (`UNIT`), by which the sketch is divided in comparisons.
    sums : mapping of str → str
        What was summed, and its period after the last space → digest of the noisy sum. None of a set that was only
        counted.
    rows : tuple of int
        The sketch with each row once; empty if it is the same.
    most : int
        The largest number of rows of one person.
    divided : mapping of str → str
        Of people counted by value: what was counted, and its period → digest of who has the same value as whom.
    """

    name: str
    n: int
    key: int
    sketch: tuple[int, ...]
    weights: tuple[int, ...] = (UNIT,)
    sums: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[int, ...] = ()
    most: int = 1
    divided: Mapping[str, str] = field(default_factory=dict)

    @property
    def counted(self) -> tuple[int, ...]:
        """The sketch of the rows that its number counts."""
        return self.rows or self.sketch


@dataclass(frozen=True)
class Conflict:
    """Two sets that are too alike, with the people by whom they differ; 0: the same people with other sums."""

    one: ReleasedSet
    other: ReleasedSet
    people: int

    def __str__(self) -> str:
        if self.people == 0:
            return f"{self.one.name}, with other sums than {self.other.name}"
        return f"{self.one.name} and {self.other.name}, {self.people} people apart"


def digest(total: float) -> str:
    """Return what tells sums apart; nine digits, so that the order of addition does not matter."""
    return hashlib.sha256(f"{0.0 if abs(total) < _NOTHING else total:.8e}".encode()).hexdigest()[:16]


def digest_of_values(everyone: int, groups: Sequence[int]) -> str:
    """Return what tells apart how people are divided by value, from the cell keys of all and of those with each value.

    It is the same whichever value a group has, so that a 0/1 outcome and its opposite have one digest. Where everyone
    has the same value it is that of zero.

    Examples
    --------
    >>> digest_of_values(12, [5]) == digest_of_values(12, [7]), digest_of_values(12, [12, 0]) == ZERO
    (True, True)
    """
    others = (everyone - sum(groups)) % _MODULUS
    divided = sorted(key for key in (*groups, others) if key)
    return ZERO if len(divided) < 2 else hashlib.sha256(repr(divided).encode()).hexdigest()[:16]


ZERO = digest(0.0)
NO_ONE = ReleasedSet("no one", 0, 0, (0,) * N_SUMS)


def too_alike(sets: Sequence[ReleasedSet], others: Sequence[ReleasedSet]) -> list[Conflict]:
    """Return the pairs of a set and another one that differ by one to nine people, or have other sums of the same.

    A sum is another one if the same people were summed before, under the same label, and never to this number; or under
    other labels, as those of a renamed outcome, if sums of some periods are the same: see `_corrected`.

    Examples
    --------
    >>> from retrain_eval.tables.noise.cell_keys import CellKeys
    >>> def of(name, people):
    ...     of = CellKeys.of(np.zeros(people, int), np.arange(people).astype(np.uint64), 3 + np.arange(people),
    ...                      np.ones(people), 1)
    ...     return ReleasedSet(name, people, int(of.key[0]), tuple(of.sketch[0].tolist()))
    >>> [str(found) for found in too_alike([of("a", 40), of("b", 60)], [of("c", 43)])]
    ['a and c, 3 people apart']
    """
    found = with_other_sums(sets, others)
    different = list({(other.key, other.sketch): other for other in others}.values())
    if not sets or not different:
        return found
    mine = np.array([one.sketch for one in sets], dtype=np.int64)
    theirs = np.array([other.sketch for other in different], dtype=np.int64)
    rows, columns, scales = _pairs(sets, different)
    for start in range(0, len(rows), _AT_A_TIME):
        part = slice(start, start + _AT_A_TIME)
        gap = (mine[rows[part]] * scales[part, :1] - theirs[columns[part]] * scales[part, 1:]) % PRIME
        for at in np.flatnonzero(of_few(gap)):
            people = people_apart(gap[at], np.zeros(N_SUMS, np.int64))
            if 0 < people < APART:
                found.append(Conflict(sets[rows[start + at]], different[columns[start + at]], people))
    return list({(pair.one.name, pair.other.name): pair for pair in found}.values())


def with_other_sums(sets: Sequence[ReleasedSet], others: Sequence[ReleasedSet]) -> list[Conflict]:
    """Return the pairs of the same people with other sums; see `too_alike`."""
    found = []
    published: dict[tuple[int, tuple[int, ...], str], set[str]] = {}
    alike: dict[tuple[int, tuple[int, ...]], list[ReleasedSet]] = {}
    for other in others:
        alike.setdefault((other.key, other.sketch), []).append(other)
        for label, digest in other.sums.items():
            published.setdefault((other.key, other.sketch, label), set()).add(digest)
    for one in sets:
        same = alike.get((one.key, one.sketch), [])
        of = {label: published.get((one.key, one.sketch, label), {digest}) for label, digest in one.sums.items()}
        if any(digest not in of[label] for label, digest in one.sums.items()):
            found.append(Conflict(one, same[-1], 0))
        elif (before := _corrected(one, same)) is not None:
            found.append(Conflict(one, before, 0))
    return found


def with_other_values(sets: Sequence[ReleasedSet], others: Sequence[ReleasedSet]) -> list[Conflict]:
    """Return the pairs of the same people who were counted by value, and have other values: as of a corrected row.

    Weights do not matter, since counts have none. A period in which everyone has the same value says nothing of others.
    """
    mine, theirs = ([replace(s, sketch=s.counted, sums=s.divided) for s in of if s.divided] for of in (sets, others))
    return with_other_sums(mine, theirs)


def _corrected(one: ReleasedSet, alike: Sequence[ReleasedSet]) -> ReleasedSet | None:
    """Return one of several sets of the same people that has some of its sums and, under other labels, other ones.

    Factors are by person, so equal amounts of the same people have equal noisy sums, whatever they are called. Of two
    series of which some periods agree, those that both have must agree: a longer follow-up does, and so does one that
    begins later; a corrected row does not. Sums of zero agree with each other, and say nothing about other periods.
    """
    published = {digest for other in alike for digest in other.sums.values()}
    if published >= set(one.sums.values()):
        return None
    mine = _by_series(one)
    for other in alike:
        for now, then in product(mine.values(), _by_series(other).values()):
            for new, old in _of_one_period(now, then):
                if new != old and new not in published:
                    return other
    return None


def _by_series(one: ReleasedSet) -> dict[str, dict[str, str]]:
    """Return series → period → digest. The covariates are one series, by name."""
    found: dict[str, dict[str, str]] = {}
    for label, digest in one.sums.items():
        series, _, period = label.rpartition(" ")
        found.setdefault(series, {})[period] = digest
    return found


def _of_one_period(now: Mapping[str, str], then: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the sums of the same periods in two series, if some are equal, which shows that they are of one outcome."""
    if not (set(now.values()) & set(then.values())) - {ZERO}:
        return
    periods = [all(map(_is_period, series)) for series in (now, then)]
    if all(periods):
        yield from _by_number(now, then)
    elif any(periods):  # covariates such as pay_1, pay_2, and an outcome by period
        covariates, outcome = (then, now) if periods[0] else (now, then)
        for numbered in _numbered(covariates):
            for of_covariate, of_outcome in _by_number(numbered, outcome, back=True):
                yield (of_outcome, of_covariate) if periods[0] else (of_covariate, of_outcome)
    else:
        equal = [(a, b) for a, x in now.items() for b, y in then.items() if x == y != ZERO]
        if any(a not in then for a, _ in equal):  # renamed: those that are left in both may be the same
            left, gone = now.keys() - {a for a, _ in equal}, then.keys() - {b for _, b in equal}
            yield from ((now[a], then[b]) for a in sorted(left) for b in sorted(gone))


def _by_number(now: Mapping[str, str], then: Mapping[str, str], *, back: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the sums of the same periods; equal sums show by how much periods were moved, or counted ``back``."""
    equal = [(int(a), int(b)) for a, x in now.items() for b, y in then.items() if x == y != ZERO]
    if not equal:
        return
    moved, turned = {a - b for a, b in equal}, {a + b for a, b in equal}
    if 0 in moved or (len(moved) == 1 and not (back and len(equal) == 1)):
        sign, by = 1, 0 if 0 in moved else moved.pop()
    elif back and len(turned) == 1:
        sign, by = -1, turned.pop()
    else:
        return
    yield from ((now[at], y) for b, y in then.items() if (at := str(by + sign * int(b))) in now)


def _numbered(covariates: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the covariates whose names end in a number, such as quarters before, by name and number."""
    found: dict[str, dict[str, str]] = {}
    for name, digest in covariates.items():
        if number := _NUMBER.search(name):
            found.setdefault(name[: number.start()], {})[str(int(number[0]))] = digest
    return list(found.values())


def _is_period(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _pairs(sets: Sequence[ReleasedSet], others: Sequence[ReleasedSet]) -> tuple[Ints, Ints, Ints]:
    """Return all pairs, with the numbers that the sketches of each are multiplied by: several of weighted sets."""
    parts = [np.empty((0, 4), dtype=np.int64)]
    for mine, one in _by_weights(sets):
        for theirs, other in _by_weights(others):
            scales = {(b % PRIME, a % PRIME) if a != b else (1, 1) for a in one for b in other}
            i, j = np.repeat(mine, len(theirs)), np.tile(theirs, len(mine))
            parts += [np.column_stack([i, j, np.full_like(i, a), np.full_like(i, b)]) for a, b in sorted(scales)]
    listed = np.concatenate(parts)
    return listed[:, 0], listed[:, 1], listed[:, 2:]


def _by_weights(sets: Sequence[ReleasedSet]) -> list[tuple[Ints, tuple[int, ...]]]:
    """Return the places of the sets with each choice of weights."""
    found: dict[tuple[int, ...], list[int]] = {}
    for place, one in enumerate(sets):
        found.setdefault(one.weights, []).append(place)
    return [(np.array(places, dtype=np.int64), weights) for weights, places in found.items()]


def of_few(sketches: Ints) -> Bools:
    """Return which sketches are of at most nine people: their Hankel matrix of ten rows is singular modulo the prime.

    It is Σ_i q_i x_i v_i v_iᵀ with v_i = (1, x_i, …, x_i⁹), so its rank is the number of people, up to ten.
    """
    place = np.arange(APART)
    matrix = sketches[:, place[:, None] + place] % PRIME
    every, singular = np.arange(len(matrix)), np.zeros(len(matrix), dtype=bool)
    for step in range(APART):
        pivot = step + (matrix[:, step:, step] != 0).argmax(axis=1)
        matrix[every, pivot], matrix[:, step] = matrix[:, step].copy(), matrix[every, pivot].copy()
        head = matrix[:, step, step]
        singular |= head == 0
        rest, row = matrix[:, step + 1 :, step + 1 :], matrix[:, step, step + 1 :]
        # both products are below 2⁶², so their difference does not overflow
        rest *= head[:, None, None]
        rest -= matrix[:, step + 1 :, step, None] * row[:, None]
        rest %= PRIME
    return singular
