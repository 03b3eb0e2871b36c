"""The parts that a page of HTML is made of: its frame with the style sheet, and tables, figures and text, escaped.

A page loads nothing, so figures are within it, and it prints.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from analysis.words import wordy

MOST, LEAST = 6.5, 4.0  # rem for an inch of a figure: its type of 8 points is 11.6 and 7.1 pixels high
STYLE = """
:root { color-scheme: light; --ink: #14233a; --soft: #5d6673; --line: #dfe3e8; --pale: #f5f6f8; --page: #ffffff; }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --ink: #e4e8ee; --soft: #a4adb9; --line: #363d47; --pale: #1f252d; --page: #14181e; }
  figure img { padding: .4rem; border-radius: 4px; }
}
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; color: var(--ink);
       background: var(--page); margin: 0 auto; padding: 3rem 1.5rem 4rem; max-width: 62rem; }
header { border-bottom: 2px solid var(--ink); margin-bottom: 1.5rem; padding-bottom: 1rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; }
p, li { max-width: 46rem; }
.question { font-size: 1.1rem; color: var(--soft); margin: 0; }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 2.4rem; margin: 1.2rem 0 0; }
.facts div { display: flex; flex-direction: column-reverse; }
.facts dt { font-size: .8rem; color: var(--soft); }
.facts dd { margin: 0; font-size: 1.2rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.took { margin: .9rem 0 0; font-size: .92rem; color: var(--soft); font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; margin: .8rem 0 1.2rem; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; max-width: calc(100vw - 3rem); }
th { font-weight: 500; }
thead th { color: var(--soft); border-bottom: 1px solid var(--ink); }
th, td { padding: .28rem 1.4rem .28rem 0; text-align: left; }
th.number, td.number { text-align: right; }
td.number { white-space: nowrap; }
td, tbody th { border-bottom: 1px solid var(--line); }
figure { margin: 1.2rem 0; overflow-x: auto; }
figure img { height: auto; display: block; background: white; }
figcaption { position: sticky; left: 0; font-size: .88rem; color: var(--soft); max-width: 46rem; margin-top: .4rem; }
pre { background: var(--pale); padding: 1rem; overflow-x: auto; font-size: .82rem; line-height: 1.4;
      border-radius: 4px; }
code { font-size: .9em; }
.scroll { overflow-x: auto; }
@media (max-width: 32rem) { body { padding: 1.5rem 1rem 2rem; } caption { max-width: calc(100vw - 2rem); } }
@media print { body { padding: 0; max-width: none; font-size: 10.5pt; } h2, caption { break-after: avoid; }
  figure, tr, pre { break-inside: avoid; } caption { max-width: none; }
  figure img { min-width: 0 !important; max-height: 23cm; object-fit: contain; object-position: left; } }
"""


def document(title: str, body: str) -> str:
    """A whole page around its body."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def paragraphs(texts: Iterable[str]) -> str:
    return "".join(f"<p>{escape(text)}</p>\n" for text in texts)


def figure(svg: bytes, inches: float, alt: str, caption: str) -> str:
    """At one scale for all figures, so that their type is of one size; a narrow screen scrolls rather than shrink it to
    nothing."""
    data = base64.b64encode(svg).decode()
    size = f"width: 100%; max-width: {MOST * inches:.1f}rem; min-width: {LEAST * inches:.1f}rem"
    return (
        f'<figure tabindex="0"><img alt="{escape(alt)}" style="{size}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def table_if_any(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table, nothing in place of an empty one."""
    return table(caption, header, rows) if rows else ""


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], label: str = "") -> str:
    """Words to the left, numbers to the right; the first cell of a row is its name.

    Args:
        label: what a reader who does not see the page hears of a table without a caption.
    """
    words = [wordy(row[i] for row in rows) for i in range(len(header))]
    classes = ["" if word or not any(header) else ' class="number"' for word in words]

    def line(cells: Sequence[str], tags: Sequence[str]) -> str:
        made = zip(tags, classes, cells, strict=True)
        return "".join(f"<{tag}{c}>{escape(cell)}</{tag.split()[0]}>" for tag, c, cell in made)

    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    names = line(header, ['th scope="col"'] * len(header))
    head = f"<thead><tr>{names}</tr></thead>" if any(header) else ""
    tags = ['th scope="row"', *["td"] * (len(header) - 1)]
    body = "".join(f"<tr>{line(row, tags)}</tr>" for row in rows)
    place = f'class="scroll" tabindex="0" role="region" aria-label="{escape(caption or label)}"'
    return f"<div {place}><table>{title}{head}<tbody>{body}</tbody></table></div>\n"
