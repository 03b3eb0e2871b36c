"""Initializers and signal-propagation theory of deep networks.

initialize, SCHEMES      fill the parameters of a network by a scheme, and the table of all schemes
probe                    what a network does to signals at initialization: norms, correlations, the Jacobian
sharpness                how curved its loss is, which bounds the learning rate
MLP, CNN, ResNet, build  networks to initialize, besides your own
isoinit.theory           what is predicted, with numpy and scipy alone: `isoinit.theory.predict.predict`
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isoinit.curvature import sharpness
    from isoinit.networks import CNN, MLP, build
    from isoinit.probe import probe
    from isoinit.resnet import ResNet
    from isoinit.schemes import SCHEMES, initialize

__all__ = ["CNN", "MLP", "SCHEMES", "ResNet", "build", "initialize", "probe", "sharpness"]

_HOME = {
    "CNN": "isoinit.networks",
    "MLP": "isoinit.networks",
    "ResNet": "isoinit.resnet",
    "build": "isoinit.networks",
    "SCHEMES": "isoinit.schemes",
    "initialize": "isoinit.schemes",
    "sharpness": "isoinit.curvature",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Public names on first use (PEP 562), so that importing the package loads no torch.

    `probe` is the module, which is callable: import would put the module over a function of the same name.
    """
    if name == "probe":
        return import_module("isoinit.probe")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
