"""The axes of a spec, and the values that it may give one: a single one, a list of them, or a range."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from sweeps import bounds


class Checked(BaseModel):
    """A mapping in a spec: no key that is unknown, no number that is not finite, and no truth value for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Strict fields would refuse it too, but with it `1e-4`, which YAML takes for a text."""
        made = handler(value)
        truths = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, bool)]
        if truths and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError(
                f"must be a number, but got {str(truths[0]).lower()}, which is also what YAML makes of "
                f"{'yes and on' if truths[0] else 'no and off'}; write the number"
            )
        return made


def named(name: str) -> str:
    """A name that a folder, a run and an option can have.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}", name):
        raise ValueError(
            "must be 1 to 81 letters from a to z, digits, dots, underscores and dashes, of which the first is a letter "
            f"or a digit, but got {name!r}"
        )
    return name


def _unsigned(number: float) -> float:
    """0 for -0: both are the same number and would be two points, with keys and names of their own."""
    return number + 0.0


class Range(Checked):
    """`{low, high, log, zero, levels}`: numbers from low to high.

    `zero` adds the value 0 as a level of its own, `levels` is how many values the grid sampler takes.
    """

    low: Annotated[float, AfterValidator(_unsigned)]
    high: Annotated[float, AfterValidator(_unsigned)]
    log: bool = False
    zero: bool = False
    levels: int = Field(default=8, ge=2, le=bounds.LEVELS)

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low <= self.high:
            raise ValueError(f"low <= high must hold, but got low={self.low:g}, high={self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(
                f"a log range needs low > 0, but got low={self.low:g}; write 'zero: true' to add the value 0"
            )
        if self.zero and not self.log:
            raise ValueError("'zero: true' belongs to a log range; a linear range reaches 0 with low: 0")
        return self


def listed(value: Any) -> Any:
    """One value as a list of one; what is no single value as it is."""
    return [value] if isinstance(value, str | int | float) else value


def _axis(value: Any) -> Any:
    """A mapping is meant as a range: checked as one here, so that a message is about its own fields."""
    return Range.model_validate(value) if isinstance(value, dict) else listed(value)


def _says(law: str) -> WrapValidator:
    """The whole law of a value, whichever part of it is broken."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise ValueError(f"{law}, but got {value!r}") from None

    return WrapValidator(check)


Depth = Annotated[int, Field(ge=2), _says("must be a whole number of at least 2")]
Width = Annotated[int, Field(ge=1), _says("must be a whole number of at least 1")]
Number = Annotated[float, AfterValidator(_unsigned), _says("must be a finite number")]
Depths = Annotated[Range | list[Depth], BeforeValidator(_axis)]
Widths = Annotated[Range | list[Width], BeforeValidator(_axis)]
Numbers = Annotated[Range | list[Number], BeforeValidator(_axis)]
Names = Annotated[list[str], BeforeValidator(listed), Field(min_length=1)]


class Space(Checked):
    """The axes. A number or name fixes an axis, a list gives its levels, `{low, high, log}` a range."""

    scheme: Names
    depth: Depths
    width: Widths
    weight_scale: Numbers = [1.0]
    bias_mode: Names = ["iid"]
    bias_variance: Numbers = [0.0]
    density: Numbers = [1.0]

    @model_validator(mode="after")
    def _sensible(self) -> Space:
        for axis, (least, strict, most) in _LAWS.items():
            values = getattr(self, axis)
            if isinstance(values, Range):
                _check_range(axis, values)
            low, high = _ends(axis, values)
            if low < least or (strict and low == least):
                raise ValueError(f"{axis} must be {'above' if strict else 'at least'} {least:g}, but got {low:g}")
            if high > most:
                raise ValueError(f"{axis} must be at most {most:.12g}, but got {high:.12g}")
        return self


_LAWS: Final[Mapping[str, tuple[float, bool, float]]] = MappingProxyType(
    {
        "depth": (2, False, bounds.SIZE),
        "width": (1, False, bounds.SIZE),
        "weight_scale": (0.0, True, math.inf),
        "bias_variance": (0.0, False, math.inf),
        "density": (0.0, True, 1.0),
    }
)
"""The least value of an axis, whether values must be above it, and the largest."""


def _check_range(axis: str, values: Range) -> None:
    least, strict, _ = _LAWS[axis]
    if axis in ("depth", "width") and (values.zero or values.low % 1 or values.high % 1):
        raise ValueError(f"{axis} is a whole number: low and high must be whole and 'zero' cannot be used")
    if strict and values.zero:
        raise ValueError(f"{axis} must be above {least:g}, but got 'zero: true'; leave 'zero' out")


def _ends(axis: str, values: Range | list[float]) -> tuple[float, float]:
    if isinstance(values, Range):
        return values.low, values.high
    if not values:
        raise ValueError(f"{axis}: the list is empty, so the space is empty; give at least one value")
    return min(values), max(values)
