"""What all figures share: colours and type, the page with its title, and how it becomes a file.

Figures are objects; there is no global state. Colours are told apart by readers with any colour vision, and everything
a colour says a shape says too.
"""

from __future__ import annotations

import math
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import TextPath

from analysis.writing import writing

INK, THEORY, SOFT = "#14233a", "#a3195b", "#5d6673"
AGAIN: Final = "; no frontier where deeper networks train again"
LETTERS: Final = 14.5  # of a subtitle, to an inch
TITLE_LETTERS: Final = 8.5  # of a title
ENTRY: Final = 40  # letters of a legend's entry and of a row's name, at most
STYLE: Final[dict[Any, Any]] = {
    "font.size": 9.0, "font.family": "DejaVu Sans", "axes.titlesize": 10.0, "axes.labelsize": 9.0,
    "axes.linewidth": 0.7, "axes.edgecolor": SOFT, "axes.labelcolor": INK, "text.color": INK, "axes.titlecolor": INK,
    "xtick.color": SOFT, "ytick.color": SOFT, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0, "ytick.labelsize": 8.0, "legend.fontsize": 8.0, "legend.frameon": False,
    "svg.fonttype": "path", "pdf.fonttype": 42, "svg.hashsalt": "isoinit", "savefig.facecolor": "white",
}  # fmt: skip


_DPI: Final = 200
_DATE: Final = {"svg": "Date", "pdf": "CreationDate"}


def canvas(rows: int, columns: int, *, wide: float, high: float) -> tuple[Figure, np.ndarray]:
    """An empty figure and its axes `[rows, columns]`, which share their scales; `wide` and `high` are inches of one."""
    figure = Figure(figsize=(max(columns * wide + 1.4, 4.6), rows * high + 1.35), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    return figure, axes


def literal(text: str) -> str:
    """A name as it is written, of which two dollar signs would make mathematics."""
    return text.replace("$", r"\$")


def entry(name: str) -> str:
    """The same, of a name that shares its line with a figure: one of a hundred letters would leave it no room."""
    half = ENTRY // 2
    return literal(name if len(name) <= ENTRY else f"{name[:half]}…{name[-half + 1 :]}")


def panel_title(text: str, letters: int = 44) -> str:
    """The same, in lines that are no wider than the panel above which it stands."""
    return textwrap.fill(literal(text), letters)


def head(figure: Figure, title: str, subtitle: str) -> None:
    """Title, as it is, and subtitle at the top left, of as many lines as they take, in inches that the layout leaves
    alone."""
    height, width = figure.get_figheight(), figure.get_figwidth()
    names = textwrap.wrap(title, int(TITLE_LETTERS * width), break_on_hyphens=False)
    lines = textwrap.wrap(subtitle, int(LETTERS * width))
    below = 0.2 * (len(names) - 1)  # inches, of all lines of the title but the first
    left, whole = 0.1 / width, literal("\n".join(names))
    figure.text(left, 1 - 0.1 / height, whole, va="top", fontsize=12, fontweight="bold")
    figure.text(left, 1 - (0.34 + below) / height, "\n".join(lines), va="top", fontsize=8.5, color=SOFT)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, 0, 1, 1 - (0.41 + below + 0.15 * len(lines)) / height))


def meaning(criterion: str) -> str:
    """`; trained means train accuracy ≥ 0.8`, the end of a subtitle; empty if the criterion is."""
    whole = "\N{NO-BREAK SPACE}"  # a line that ends with ≥ leaves the number behind
    said = criterion.replace("_", " ").replace(">=", f"{whole}≥{whole}").replace("<=", f"{whole}≤{whole}")
    said = re.sub(r"within (\d+)", rf"within \1{whole}steps", said)
    return f"; trained means {said}" if criterion else ""


def legend_columns(figure: Figure, handles: Sequence[Artist], sample: float = 2.0) -> int:
    """How many entries to put side by side below the figure: as the longest label lets, in rows of about as many each.

    Args:
        sample: width of what stands before a label, in letters; matplotlib's `handlelength`.
    """
    em = STYLE["legend.fontsize"] / 72
    longest = max(_inches(str(handle.get_label())) for handle in handles)
    entry = longest + (sample + 0.8 + 2.0) * em  # matplotlib's gaps before the label and between two columns
    fit = max(1, int(figure.get_figwidth() / entry))
    return math.ceil(len(handles) / math.ceil(len(handles) / fit))


@lru_cache(1024)
def _inches(label: str) -> float:
    """Width of a label of a legend; blanks have no outline that could be measured."""
    if not label.strip():
        return 0.0
    with _drawing():
        drawn = TextPath((0, 0), label, size=STYLE["legend.fontsize"], prop=FontProperties(family=STYLE["font.family"]))
    return float(drawn.get_extents().width) / 72


def file_names(schemes: Sequence[str]) -> list[str]:
    """The schemes as parts of names of files: a slash would be a folder of its own, or one far away.

    No two are alike, not even but for capitals, and none depends on the order of the schemes, which follows the trials.
    """
    plain = {scheme: re.sub(r"[^\w.+-]+", "_", scheme) for scheme in schemes}
    names: dict[str, str] = {}
    taken: set[str] = set()
    for scheme in sorted(plain, key=lambda scheme: (plain[scheme] != scheme, scheme)):
        numbered = (f"{plain[scheme]}-{k}" for k in count(1))
        names[scheme] = next(n for n in chain([plain[scheme]], numbered) if n.casefold() not in taken)
        taken.add(names[scheme].casefold())
    return [names[scheme] for scheme in schemes]


def save(figure: Figure, path_stem: str | Path, *, pdf: bool = False) -> list[Path]:
    """The figure as PNG (200 dpi), SVG and, for papers, PDF, without a date, so that a map gives the same bytes."""
    stem = Path(path_stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", *_DATE)[: 3 if pdf else 2]]
    with _drawing():
        _lay_out(figure)
        with writing(paths[0]):
            figure.savefig(paths[0], dpi=_DPI)
    for path in paths[1:]:
        drawn = vectors(figure, path.suffix[1:])
        with writing(path):
            path.write_bytes(drawn)
    return paths


def _lay_out(figure: Figure) -> None:
    """Place the panels, once: for a figure that has a layout matplotlib draws every file twice, the first to lay it
    out."""
    figure.set_dpi(_DPI)
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def vectors(figure: Figure, kind: str) -> bytes:
    """The figure as an `svg` or a `pdf` document, without a date."""
    buffer = BytesIO()
    with _drawing():
        _lay_out(figure)
        figure.savefig(buffer, format=kind, dpi=_DPI, metadata={_DATE[kind]: None})
    return buffer.getvalue()


@contextmanager
def _drawing() -> Iterator[None]:
    """In our style, and with boxes for the letters of a name that the type does not have, without a word on it."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield
