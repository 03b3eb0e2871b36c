"""What a command says on the terminal: tables with notes below them and the files that it wrote, or JSON instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import tables
from analysis.words import strict_json, wordy


def terminal() -> Console:
    """As wide as the terminal; where there is none, wide enough for every table."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=120)


def say(console: Console, *texts: str) -> None:
    """A line for each text that is not empty, as it is: its numbers not coloured, its brackets no markup."""
    for text in filter(None, texts):
        console.print(text, highlight=False, markup=False)


def say_of(console: Console, subject: str, text: str) -> None:
    """A line that begins with what it is about."""
    console.print(Text.assemble((subject, "bold"), text))


def show(console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """A table, with words to the left and numbers to the right, and what it leaves out."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=SIMPLE_HEAD)
    for place, column in enumerate(header):
        words = place == 0 or wordy(row[place] for row in rows)
        made.add_column(column, justify="left" if words else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    console.print(made)
    say(console, note)


def show_some(console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> None:
    """The same of a table that may be empty, which is left out; its note is not."""
    if rows:
        show(console, title, header, rows, note)
    else:
        say(console, note)


def show_limits(console: Console, title: str, limits: pa.Table, noted: pa.Table | None = None) -> None:
    """The table, and a note on it, or on `noted` if that is the whole of which it is a part."""
    show(console, title, *tables.limit_rows(limits), tables.limit_note(limits if noted is None else noted))


def list_files(files: Sequence[Path]) -> int:
    """The end of a command that went well: what it wrote, and the exit code."""
    for file in files:
        print(f"wrote {file}")
    return 0


def print_json(value: Any) -> int:
    """The whole answer of a command to a program, and the exit code."""
    print(strict_json(value))
    return 0
