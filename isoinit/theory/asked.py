"""What a question to the theory may hold: each argument's law is a rule, and a broken one is a sentence with the value.

    @asks(width=whole(1), sw2=above(0))
    def gaussian(width, sw2): ...

so that no formula is asked for numbers for which it was not derived, and would answer with nan or a wrong number.
Numbers of numpy are taken for Python's: in float32 or int8 what follows would be rounded, or overflow.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from math import isfinite
from numbers import Integral, Real
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
WIDEST = 10**9  # units, and deepest net: beyond, what is summed over them would not end, or not be exact


class Rule(NamedTuple):
    """`law` completes "must be"; `holds` says whether a value obeys it."""

    law: str
    holds: Callable[[object], bool]


def refuse(name: str, value: object, rule: Rule) -> None:
    """ValueError with name, law and value unless the rule holds."""
    if not rule.holds(plain(value)):
        raise ValueError(f"{name} must be {rule.law}, but got {shown(value)}.")


def plain(value: Any) -> Any:
    """A number of numpy as one of Python, which is of full precision; all else as it is."""
    if isinstance(value, np.integer):
        return int(value)
    return float(value) if isinstance(value, np.floating) else value


def asks(**rules: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function whose arguments of these names must obey; its defaults are taken to. It is given `plain` numbers."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        names = tuple(signature(function).parameters)
        assert rules.keys() <= set(names), function.__qualname__

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name, value in (*zip(names, args, strict=False), *kwargs.items()):
                if name in rules:
                    refuse(name, value, rules[name])
            numbers = {name: plain(value) for name, value in kwargs.items()}
            return function(*map(plain, args), **numbers)  # pyright: ignore[reportCallIssue]

        return checked

    return decorate


def whole(least: int, most: int = WIDEST) -> Rule:
    """A number of things: an int or numpy's, not a bool."""

    def holds(value: object) -> bool:
        return isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) <= most

    return Rule(f"a whole number from {least} to {most}", holds)


def above(bound: float) -> Rule:
    return Rule(f"a finite number above {bound}", lambda value: _finite(value) and value > bound)  # pyright: ignore


def least(bound: float) -> Rule:
    return Rule(f"a finite number of at least {bound}", lambda value: _finite(value) and value >= bound)  # pyright: ignore


def between(low: float, high: float) -> Rule:
    return Rule(f"a number from {low} to {high}", lambda value: _finite(value) and low <= value <= high)  # pyright: ignore


def below(bound: float) -> Rule:
    return Rule(f"a finite number below {bound}", lambda value: _finite(value) and value < bound)  # pyright: ignore


def optional(rule: Rule) -> Rule:
    return Rule(f"{rule.law}, or None", lambda value: value is None or rule.holds(value))


def many(rule: Rule) -> Rule:
    """One or more of them, in order."""

    def holds(values: object) -> bool:
        if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str):
            return False
        listed = list(values)
        return len(listed) > 0 and all(rule.holds(plain(value)) for value in listed)

    return Rule(f"a sequence of one or more, each {rule.law}", holds)


def one_of(names: Sequence[str]) -> Rule:
    return Rule(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names)


def made(kind: type, how: str) -> Rule:
    """An object of ours or numpy's, and how to come by one."""
    return Rule(f"a {kind.__name__}, such as {how}", lambda value: isinstance(value, kind))


SHARE = Rule("a number above 0 and at most 1", lambda value: _finite(value) and 0 < value <= 1)  # pyright: ignore
GENERATOR = made(np.random.Generator, "numpy.random.default_rng(0)")
FUNCTION = Rule("a function of an array", callable)


def _finite(value: object) -> bool:
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:  # of a whole number that no float holds
        return False


def shown(value: object) -> str:
    """A value in one line."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
