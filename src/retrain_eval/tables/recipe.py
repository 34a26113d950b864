"""Recipes: the calls that lead from a kept table to a result.

A method or function marked `recorded` attaches a `Recipe` to its return value. Traced back to an additive table in a
release, recipes become a `Derivation`: names and plain values that a file can hold and that anyone can replay with
`repeat`. Each published number thus carries the steps by which it follows from the tables.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from retrain_eval.common.errors import InputError
from retrain_eval.common.shown import summarised

Made = TypeVar("Made")
Of = TypeVar("Of")
P = ParamSpec("P")

_MARK = "__recorded__"


@summarised
@dataclass(frozen=True, eq=False)
class Recipe:
    """One step: ``verb`` was called on an object with these options.

    Attributes
    ----------
    of : object
        The object on which it was called, which may have a recipe itself.
    verb : str
    options : mapping
        All keywords, including those left at their default, so that a later change of a default has no effect.
    """

    of: object
    verb: str
    options: Mapping[str, object]


@dataclass(frozen=True)
class Derivation:
    """The steps from a table to a result, in plain values.

    Attributes
    ----------
    of : str
        Name of the table, such as ``"moments/matched"``.
    steps : tuple of (str, dict)
        Verbs and their options, in order of application.
    """

    of: str
    steps: tuple[tuple[str, dict[str, Any]], ...]


def recorded(verb: Callable[Concatenate[Of, P], Made]) -> Callable[Concatenate[Of, P], Made]:
    """Mark a method, or a function of one object, so that its result records how it was made.

    The result holds the recipe in its attribute ``recipe``, a field that `dataclasses.replace` does not copy, because
    a changed result is not what the recipe produces. If the object has an attribute ``table``, the recipe starts there.
    The object or the result can report by a method ``reads_people(options)`` that the table alone is not sufficient.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> @recorded
    ... def double(of, times=1):
    ...     return SimpleNamespace(value=of.value * 2**times, recipe=None)
    >>> one = SimpleNamespace(value=1)
    >>> trace(double(double(one), times=2), {id(one): "one"})
    Derivation(of='one', steps=(('double', {'times': 1}), ('double', {'times': 2})))
    """
    signature = inspect.signature(verb)

    @functools.wraps(verb)
    def call(of: Of, /, *args: P.args, **kwargs: P.kwargs) -> Made:
        made = verb(of, *args, **kwargs)
        recipe = recipe_of(call, of, *args, **kwargs)
        if made is not of and not _reads_people(of, recipe.options) and not _reads_people(made, {}):
            object.__setattr__(made, "recipe", recipe)
        return made

    setattr(call, _MARK, signature)
    return call


def _reads_people(asked: object, options: Mapping[str, object]) -> bool:
    """Return whether an object read rows of people, so that its table alone does not give the result."""
    says = getattr(asked, "reads_people", None)
    return callable(says) and bool(says(options))


def recipe_of(verb: Callable[..., object], of: object, /, *args: object, **kwargs: object) -> Recipe:
    """Return the recipe of a call, for results that cannot hold it themselves, such as frames."""
    given = inspect.signature(verb).bind(of, *args, **kwargs)
    given.apply_defaults()
    _, *options = given.arguments.items()
    return Recipe(getattr(of, "table", of), getattr(verb, "__name__", str(verb)), dict(options))


def is_recorded(verb: object) -> bool:
    """Return whether a function or method is marked as `recorded`."""
    return hasattr(verb, _MARK)


def repeat(verb: Callable[..., object], of: object, options: Mapping[str, Any]) -> Any:
    """Call a verb with the options of a recipe by name, unpacking ``*names`` and ``**options`` again."""
    signature = inspect.signature(verb)
    first, *others = signature.parameters
    for name in options:
        if name not in others:
            raise InputError(f"{getattr(verb, '__name__', verb)} has no option {name!r}", fix=", ".join(others))
    # in the order of the signature: a file may have sorted the names
    given = {name: options[name] for name in others if name in options}
    bound = inspect.BoundArguments(signature, {first: of, **given})
    return verb(*bound.args, **bound.kwargs)


def trace(recipe: object, known: Mapping[int, str]) -> Derivation | None:
    """Trace a recipe, or the recipe of a result, back to a known table.

    Parameters
    ----------
    recipe : Recipe or object with one
    known : mapping of int → str
        Names of the tables by ``id``.

    Returns
    -------
    Derivation or None
        None if the steps do not start from a known table.
    """
    steps: list[tuple[str, dict[str, Any]]] = []
    step = recipe if isinstance(recipe, Recipe) else getattr(recipe, "recipe", None)
    while isinstance(step, Recipe):
        steps.insert(0, (step.verb, {name: _plain(name, value) for name, value in step.options.items()}))
        if id(step.of) in known:
            return Derivation(known[id(step.of)], tuple(steps))
        step = getattr(step.of, "recipe", None)
    return None


def _plain(name: str, value: object) -> Any:
    """Return a value as it would be after a round trip through JSON."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(name, item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, range, np.ndarray)):
        return [_plain(name, item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    raise InputError(
        "a published result can only be made with plain options",
        column=name,
        value=type(value).__name__,
        fix="give numbers, texts, lists or dicts",
    )
