"""Initializers and signal-propagation theory of deep networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isoinit.networks import CNN, MLP, build
    from isoinit.probe import probe
    from isoinit.resnet import ResNet
    from isoinit.schemes import SCHEMES, initialize

__all__ = ["CNN", "MLP", "SCHEMES", "ResNet", "build", "initialize", "probe"]

_HOME = {
    "CNN": "isoinit.networks",
    "MLP": "isoinit.networks",
    "ResNet": "isoinit.resnet",
    "build": "isoinit.networks",
    "SCHEMES": "isoinit.schemes",
    "initialize": "isoinit.schemes",
}


def __getattr__(name: str) -> Any:
    """Public names on first use (PEP 562), so that importing the package loads no torch.

    `probe` is the module, which is callable: import would put the module over a function of the same name.
    """
    if name == "probe":
        return import_module("isoinit.probe")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
