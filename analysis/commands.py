"""What each `analysis` command does: open the export, compute, print, write. Returns the exit code."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from analysis import compare as comparing
from analysis import joining, mapinfo, maps, profiles, store, summary
from analysis.outcome import Criterion
from analysis.region import RegionModel
from analysis.words import strict_json


def _export(args: argparse.Namespace) -> store.Export:
    """The export that a command is about, once it is sure that there is a place for what it makes of it."""
    export = joining.read(args.dirs, None if args.criterion is None else Criterion.parse(args.criterion))
    if "out" in args:
        _place(args)
    return export


def _place(args: argparse.Namespace) -> Path:
    """The folder to write into, which need not be there."""
    if args.out is None and len(args.dirs) > 1:
        raise ValueError("several folders are read as one: name the folder to write into with --out")
    out = args.out or args.dirs[0] / "analysis"
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"{there} is a file, not a folder to write into; name another one with --out")
    if not os.access(there, os.W_OK):
        raise ValueError(f"{there} cannot be written; name a folder to write into with --out")
    return out


def _out(args: argparse.Namespace) -> Path:
    out = _place(args)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out {out} cannot be made: {error.strerror}") from error
    return out


def _map(export: store.Export, args: argparse.Namespace, model: RegionModel | None = None) -> mapinfo.MapInfo:
    name, rule = summary.name(export), summary.criterion(export)
    return maps.region_map(export.trials, sweep=name, criterion=rule, model=model, abscissa=args.abscissa)


def summarize(args: argparse.Namespace) -> int:
    export = _export(args)
    found = summary.summarize(export)
    if args.json:
        limits = found.limits.to_pylist() if found.limits is not None else []
        audit = found.audit._asdict() if found.audit else None
        tallies = [tally._asdict() for tally in found.tallies]
        return _json({**found._asdict(), "tallies": tallies, "limits": limits, "audit": audit})
    console = _console()
    console.print(f"[bold]{found.sweep}[/bold]  {summary.size_text(found)}", highlight=False)
    if found.question:
        console.print(found.question, highlight=False)
    console.print(
        f"trained means {found.criterion or 'what the sweep said (its spec.yaml is missing)'}", highlight=False
    )
    if found.joined:
        console.print(found.joined, highlight=False)
    console.print(_table("Trials", *summary.tally_rows(found)))
    if found.limits is not None:
        _print_limits(console, f"Depth limits {summary.headline(found.limits)}", found.limits)
        if note := summary.budget_note(export.trials):
            console.print(note, highlight=False)
        console.print(summary.audit_text(found.audit), highlight=False)
    else:
        console.print(f"No depth limits: {found.note}", highlight=False)
    return 0


def draw_map(args: argparse.Namespace) -> int:
    from analysis.draw import region

    export = _export(args)
    info = _map(export, args)
    out = _out(args)
    cells = mapinfo.cells(info)
    pq.write_table(cells, out / "map.parquet", compression="zstd")
    files = [*region.draw_map(info, out / "map"), out / "map.parquet"]
    states = cells["state"].to_pylist()
    shares = {state: states.count(state) / len(states) for state in ("in", "out", "undecided")}
    if args.json:
        return _json({"files": files, "cells": len(states), "shares": shares, "joined": joining.joined(export)})
    _print_joined(export)
    print(f"{len(states)} cells: " + ", ".join(f"{100 * share:.0f} % {state}" for state, share in shares.items()))
    return _list(files)


def frontier(args: argparse.Namespace) -> int:
    from analysis.draw.canvas import save
    from analysis.draw.limits import frontier_figure

    export = _export(args)
    info = _map(export, args)
    limits, out = mapinfo.limits(info), _out(args)
    pq.write_table(limits, out / "frontier.parquet", compression="zstd")
    pa_csv.write_csv(limits, out / "frontier.csv")
    drawn = save(frontier_figure(info), out / "frontier")
    files = [*drawn, out / "frontier.parquet", out / "frontier.csv"]
    if args.json:
        return _json({"files": files, "limits": limits.to_pylist(), "joined": joining.joined(export)})
    _print_joined(export)
    shown = set(_some(info.x.values.tolist()))
    rows = [row for row in limits.to_pylist() if row[info.x.name] in shown]
    _print_limits(_console(), "Depth limits", pa.Table.from_pylist(rows, schema=limits.schema), limits)
    return _list(files)


def compare(args: argparse.Namespace) -> int:
    export = _export(args)
    agreement = comparing.agreement(export.trials)
    paired = comparing.paired(export.trials, export.replicates)
    no_map, model = maps.no_map(export.trials), maps.fitted(export.trials)
    first = None if no_map else maps.scheme_limits(export.trials, model)
    ratios = [] if first is None else comparing.ratios(first)
    changes = [] if first is None else comparing.changes(first)
    files, limits = ([], []) if no_map else _compare_limits(export, args, model)
    if args.json:
        made = [{**a._asdict(), "counts": [[*pair, n] for pair, n in sorted(a.counts.items())]} for a in agreement]
        pairs = [p._asdict() for p in paired]
        quotients, moved = ([r._asdict() for r in some] for some in (ratios, changes))
        found = {"files": files, "agreement": made, "limits": limits, "ratios": quotients, "changes": moved}
        found["paired"] = pairs
        return _json({**found, "note": no_map, "joined": joining.joined(export)})
    console = _console()
    _print_joined(export)
    console.print(_table("Does theory say rightly whether a point trains?", *summary.agreement_rows(agreement)))
    for made in agreement:
        if made.why_no_theory:
            console.print(f"{made.scheme}: {made.why_no_theory}", highlight=False)
    if first is None:
        console.print(f"No depth limits: {no_map}", highlight=False)
    else:
        _print_limits(console, f"Depth limits {summary.headline(first)}", first)
    for title, some, what in (
        ("Ratios of these depth limits", ratios, "schemes"),
        ("What the axes do to these depth limits", changes, "values"),
    ):
        _print_some(console, title, *summary.ratio_rows(some, what), summary.ratio_note(some))
    _print_some(console, "On the same points and seeds", *summary.paired_rows(paired), summary.paired_note(paired))
    if not paired:
        console.print("No two schemes share a point and a seed, so none are compared on pairs.", highlight=False)
    return _list(files)


def _compare_limits(
    export: store.Export, args: argparse.Namespace, model: RegionModel | None
) -> tuple[list[Path], list[dict[str, Any]]]:
    """Draw and write measured against predicted limits; the files, and the limits as rows."""
    from analysis.draw.agreement import agreement_figure
    from analysis.draw.canvas import save

    info = _map(export, args, model)
    limits, out = mapinfo.limits(info), _out(args)
    files = [*save(agreement_figure(info), out / "compare"), out / "compare.parquet"]
    pq.write_table(limits, out / "compare.parquet", compression="zstd")
    return files, limits.to_pylist()


def report(args: argparse.Namespace) -> int:
    from analysis import report as reporting

    export = _export(args)
    path = _out(args) / "report.html"
    path.write_text(reporting.page(export, abscissa=args.abscissa), encoding="utf-8")
    return _json({"files": [path]}) if args.json else _list([path])


def theory(args: argparse.Namespace) -> int:
    point = profiles.Point(
        args.scheme,
        args.depth,
        args.width,
        args.bias_variance,
        args.bias_mode,
        args.weight_scale,
        args.activation,
        args.architecture,
        args.normalization,
        args.density,
    )
    info = profiles.profile_info(point, nets=args.nets, seed=args.seed)
    files = []
    if args.out is not None:
        from analysis.draw.canvas import save
        from analysis.draw.profile import profile_figure

        files = save(profile_figure(info), _out(args) / f"theory-{point.scheme}")
    if args.json:
        return _json({"files": files, **profiles.as_dict(info)})
    told = info.theory.prediction
    limit = "no depth limit" if math.isinf(told.depth_limit) else f"depth limit {told.depth_limit:.0f} ({told.binding})"
    console = _console()
    seeds = ", depending on the seed" if told.seed_dependent else ""
    console.print(f"[bold]{told.scheme}[/bold]: {told.outcome}{seeds}; {limit}", highlight=False)
    header = ["at the last hidden layer", "theory", f"{info.nets} random networks" if info.nets else ""]
    what = [told.architecture, told.activation] + ["batch normalization"] * (told.normalization == "batch")
    title = f"{' '.join(what[:2])}, depth {told.depth}, width {told.width}"
    title += f", density {told.density:.3g}" * (told.density != 1) + "".join(f", {w}" for w in what[2:])
    console.print(_table(title, header, profiles.text(info)))
    for note in (f"norm: {info.theory.norm_route}", f"spectrum: {info.theory.spectrum_route}", *told.notes, info.note):
        if note:
            console.print(note, highlight=False)
    return _list(files)


def _console() -> Console:
    """As wide as the terminal; where there is none, wide enough for every table."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=120)


def _print_some(console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> None:
    """A table unless it is empty, and what it leaves out."""
    if rows:
        console.print(_table(title, header, rows))
    if note:
        console.print(note, highlight=False)


def _print_joined(export: store.Export) -> None:
    if note := joining.joined(export):
        _console().print(note, highlight=False)


def _print_limits(console: Console, title: str, limits: pa.Table, noted: pa.Table | None = None) -> None:
    """The table, and a note on it, or on `noted` if that is the whole of which it is a part."""
    console.print(_table(title, *summary.limit_rows(limits)))
    if note := summary.limit_note(limits if noted is None else noted):
        console.print(note, highlight=False)


def _list(files: Sequence[Path]) -> int:
    for file in files:
        print(f"wrote {file}")
    return 0


def _json(value: Any) -> int:
    print(strict_json(value))
    return 0


def _some(values: list[float], count: int = 5) -> list[float]:
    """At most `count` of the values, evenly spread, with both ends."""
    last = len(values) - 1
    return [values[round(i * last / (count - 1))] for i in range(count)] if last >= count else values


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Words to the left, numbers to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=SIMPLE_HEAD)
    for place, column in enumerate(header):
        words = place == 0 or all(row[place][:1].isalpha() or not row[place] for row in rows)
        made.add_column(column, justify="left" if words else "right")
    for row in rows:
        made.add_row(*row)
    return made
