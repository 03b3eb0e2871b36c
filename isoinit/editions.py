"""Compiled code that numba's cache on disk renews when any module of its package changes.

The cache looks at the file of the function that is called, and at its closure, but not at the files of what it calls.
So the closure holds a number made of the sources of the whole package, its edition.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

Function: TypeAlias = Callable[..., Any]


def edition(folder: Path) -> int:
    """An int64 that is another one when a module changes, comes or goes in the folder or below it."""
    digest = hashlib.sha256()
    for path in sorted(filter(Path.is_file, folder.rglob("*.py"))):
        name, source = path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes())
        digest.update(f"{name}\n{source.hexdigest()}\n".encode())
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def entries(compiler: Function, folder: Path) -> Callable[[Callable[[int], Function]], Any]:
    """A decorator of functions that take the edition of the folder's modules and make the function that Python calls:
    what is decorated becomes the latter, compiled. ValueError if that does not refer to the edition, and so has no
    closure that holds it.

    What only compiled code calls needs no cache of its own, and must have none, as that would look at one file alone.
    """
    number = edition(folder)

    def entry(make: Callable[[int], Function]) -> Any:
        function = make(number)
        if number not in (cell.cell_contents for cell in function.__closure__ or ()):
            raise ValueError(f"{make.__name__} has to refer to its edition")
        return compiler(function)

    return entry
