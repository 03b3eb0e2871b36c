"""A network but for its depth: what a depth limit depends on."""

from collections.abc import Iterator
from dataclasses import dataclass

from isoinit.theory import maps
from isoinit.theory.ensemble import Ensemble
from isoinit.theory.families import FAMILIES
from isoinit.theory.maps import Bias, Point
from isoinit.theory.smooth import SmoothNet
from isoinit.theory.state import State
from isoinit.theory.tolerance import Tolerance
from isoinit.theory.trajectory import nets_of, walk

_ALIKE = {"linear": maps.alike_whole, "crelu": maps.alike_both_halves}  # units that are not those of their family


@dataclass(frozen=True)
class Setting:
    """Everything but the depth: what a depth limit depends on. `positions`: units are maps of a convolution;
    `learning_rate` None: so small that every net is stable, or not accounted for; `activation`: that of the network,
    of which a mirrored family may tell all but the sharpness; `steps` None: as many as the tolerances are of;
    `greatest_rate` that of several learning rates, of which `learning_rate` is the least, None: it is the only one."""

    family: str
    width: int
    gain: float
    bias: Bias
    tolerance: Tolerance
    density: float = 1.0
    positions: bool = False
    learning_rate: float | None = None
    activation: str = "relu"
    steps: int | None = None
    greatest_rate: float | None = None

    def states(self) -> Iterator[State]:
        """After hidden layer 1, 2, ..."""
        family, inputs = FAMILIES[self.family], _inputs(self.tolerance)
        crowd = int(self.tolerance.inputs.value)
        alike = _ALIKE.get(self.activation)
        told = self.tolerance.told.value
        return walk(
            family,
            self.width,
            self.gain,
            self.bias,
            inputs,
            crowd,
            self.density,
            self.positions,
            alike,
            told,
            self.tolerance.part.value,
        )

    def nets(self) -> Ensemble | None:
        """The ensemble that `states` walks; None where there is none."""
        return nets_of(FAMILIES[self.family], self.width, self.gain, self.bias, _inputs(self.tolerance))


@dataclass(frozen=True)
class Smooth:
    """The same for a smooth activation."""

    net: SmoothNet
    tolerance: Tolerance
    learning_rate: float | None = None
    steps: int | None = None
    greatest_rate: float | None = None

    @property
    def activation(self) -> str:
        return self.net.activation

    def states(self) -> Iterator[State]:
        """After hidden layer 1, 2, ..."""
        tolerance = self.tolerance
        crowd = int(tolerance.inputs.value)
        return self.net.walk(_inputs(tolerance), crowd, tolerance.told.value, tolerance.part.value)


def _inputs(tolerance: Tolerance) -> Point:
    return Point(tolerance.input_square.value, 1 - tolerance.input_correlation.value)
