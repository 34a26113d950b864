"""Options of a recipe: of the types that the verb declares, and no larger than a study can need."""

from __future__ import annotations

import functools
import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from retrain_eval.common.errors import InputError
from retrain_eval.common.untrusted import shown

MAX_ITEMS = 1_000  # of a list: times, quantiles, names
MAX_TEXT = 5_000  # characters
MAX_NUMBER = 10**6  # of a whole number other than a seed: periods, lags, draws
MAX_SEED = 2**63
LEVEL = 0.95


@functools.cache
def _signature(verb: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    inner = inspect.unwrap(verb)
    given = {name: kind for name, kind in inner.__annotations__.items() if name != "return"}
    return inspect.signature(inner), get_type_hints(types.SimpleNamespace(__annotations__=given), inner.__globals__)


def asked_of(function: Callable[..., Any]) -> type:
    """Return the class that a function applies to.

    Examples
    --------
    >>> from retrain_eval.estimators.did.means import mean_paths
    >>> asked_of(mean_paths).__name__
    'MomentTable'
    """
    signature, hints = _signature(function)
    kind = hints[next(iter(signature.parameters))]
    assert isinstance(kind, type)
    return kind


def check_options(verb: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that a verb does not have, of the wrong type, or larger than a study can need.

    Raises
    ------
    InputError

    Examples
    --------
    >>> from retrain_eval.estimators.inference.pretest_power import pretest_power
    >>> check_options(pretest_power, {"draws": 10**9})
    Traceback (most recent call last):
    ...
    retrain_eval.common.errors.InputError: pretest_power is not repeated with draws=1000000000: at most 1,000,000
    """
    signature, hints = _signature(verb)
    name = getattr(verb, "__name__", str(verb))
    _, *parameters = signature.parameters.values()
    declared = {parameter.name: parameter for parameter in parameters}
    for option, value in options.items():
        if option not in declared:
            raise InputError(f"{name} has no option {shown(option)!r}", fix=", ".join(declared))
        hint, kind = hints.get(option, object), declared[option].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            hint = tuple[hint, ...]  # type: ignore[valid-type]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            hint = Mapping[str, object]
        why = _too_much(value, seed=option == "seed") or ("" if _fits(value, hint) else f"the type {_spelt(hint)}")
        if option == "level" and declared[option].default == LEVEL and value != LEVEL:
            why = f"intervals of an edition have a level of {LEVEL:.0%}: no column states another"
        if why:
            raise InputError(f"{name} is not repeated with {option}={shown(value)}: {why}")


def _too_much(value: object, *, seed: bool = False, depth: int = 0) -> str:
    """Return the limit that a value breaks; empty if it breaks none."""
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int):
        limit = MAX_SEED if seed else MAX_NUMBER
        return f"at most {limit:,}" if abs(value) > limit or (seed and value < 0) else ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "a finite number"
    if isinstance(value, str):
        return f"at most {MAX_TEXT:,} characters" if len(value) > MAX_TEXT else ""
    if not isinstance(value, (list, tuple, Mapping)) or depth > 2:
        return "numbers, texts, lists and dicts of them"
    if len(value) > MAX_ITEMS:
        return f"at most {MAX_ITEMS:,} of them"
    items = [*value.items()] if isinstance(value, Mapping) else [("", item) for item in value]
    broken = (_too_much(name) or _too_much(item, seed=name == "seed", depth=depth + 1) for name, item in items)
    return next(filter(None, broken), "")


def _fits(value: object, hint: Any) -> bool:
    """Return whether a value from JSON has a declared type."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in (Any, object):
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in args)
    if origin is Literal:
        return value in args
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is None:
        return isinstance(hint, type) and isinstance(value, hint)
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(_fits(k, args[0]) and _fits(v, args[1]) for k, v in value.items())
    if not issubclass(origin, Iterable) or not isinstance(value, (list, tuple)):
        return False
    if origin is tuple and not (len(args) == 2 and args[1] is ...):
        return len(value) == len(args) and all(_fits(item, one) for item, one in zip(value, args, strict=True))
    return all(_fits(item, args[0]) for item in value)


def _spelt(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("collections.abc.", "")
