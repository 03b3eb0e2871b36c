"""What this program needs to be installed, and what of it is absent here or off its pin.

Read from what pip has put on record, because to import the packages themselves takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

HOMELESS: Final = "this user has no home folder, without which Ray does not load"
HOME: Final = "set HOME to one that can be written"
"""The remedy."""


def has(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def pythons() -> SpecifierSet:
    """The versions of Python that will do."""
    return SpecifierSet(metadata("isoinit")["Requires-Python"])


def needed() -> list[Requirement]:
    """What the pins ask for on this machine, but for the extras of this program."""
    asked = [Requirement(text) for text in requires("isoinit") or []]
    return [r for r in asked if r.marker is None or r.marker.evaluate({"extra": ""})]


def faults(requirement: Requirement) -> Iterator[tuple[str, str]]:
    """Of what is wrong with a package or one of its extras, the name and how it is wrong; nothing if all is well."""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        yield requirement.name, "is not installed"
        return
    if not requirement.specifier.contains(found, prereleases=True):
        yield requirement.name, f"{found} (needs {requirement.specifier})"
    for extra in sorted(requirement.extras):
        parts = [Requirement(text) for text in requires(requirement.name) or []]
        absent = [p.name for p in parts if p.marker and _only_for(p, extra) and not has(p.name)]
        if absent:
            yield f"{requirement.name}[{extra}]", f"lacks {', '.join(absent)}"


def home() -> Path | None:
    """The user's home folder; None if there is none, as in a container that runs as whoever its user is outside."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _only_for(part: Requirement, extra: str) -> bool:
    assert part.marker
    return part.marker.evaluate({"extra": extra}) and not part.marker.evaluate({"extra": ""})
