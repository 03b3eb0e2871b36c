"""What each `analysis` command does: open the export, compute, print, write. Returns the exit code."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from analysis import compare as comparing
from analysis import joining, mapinfo, maps, profiles, rates, ratios, store, summary, tables, unfolded
from analysis.outcome import Criterion
from analysis.region import RegionModel
from analysis.terminal import list_files, print_json, say, say_of, show, show_limits, show_some, terminal
from analysis.writing import write_table, writing


def _export(args: argparse.Namespace) -> store.Export:
    """The export that a command is about, once it is sure that there is a place for what it makes of it."""
    export = joining.read(args.dirs, None if args.criterion is None else Criterion.parse(args.criterion))
    if args.learning_rates is not None:
        export = rates.only(export, rates.parse(args.learning_rates))
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


def _map(
    export: store.Export, args: argparse.Namespace, trials: pa.Table, model: RegionModel | None = None
) -> mapinfo.MapInfo:
    """The map of `trials`, those of the export over the abscissa."""
    name, said = summary.name(export), unfolded.rule(export, args.abscissa)
    return maps.region_map(trials, sweep=name, criterion=said, model=model, abscissa=args.abscissa, task=export.task)


def summarize(args: argparse.Namespace) -> int:
    export = _export(args)
    found = summary.summarize(export)
    if args.json:
        limits = found.limits.to_pylist() if found.limits is not None else []
        audit = found.audit._asdict() if found.audit else None
        tallies = [tally._asdict() for tally in found.tallies]
        return print_json({**found._asdict(), "tallies": tallies, "limits": limits, "audit": audit})
    console = terminal()
    say_of(console, found.sweep, f"  {summary.size_text(found)}")
    say(console, found.question)
    say(console, f"trained means {found.criterion or 'what the sweep said (its spec.yaml is missing)'}", found.joined)
    show(console, "Trials", *tables.tally_rows(found))
    if found.limits is not None:
        show_limits(console, f"Depth limits {tables.headline(found.limits)}", found.limits)
        say(console, tables.budget_note(export.trials), summary.audit_text(found.audit))
    else:
        say(console, f"No depth limits: {found.note}")
    return 0


def draw_map(args: argparse.Namespace) -> int:
    from analysis.draw import region

    export = _export(args)
    info = _map(export, args, unfolded.over(export, args.abscissa))
    out = _out(args)
    cells = mapinfo.cells(info)
    table = write_table(cells, out / "map.parquet")
    files = [*region.draw_map(info, out / "map", pdf=args.pdf), table]
    states = cells["state"].to_pylist()
    kept = unfolded.kept(export, args.abscissa)
    shares = {state: states.count(state) / len(states) for state in ("in", "out", "undecided")}
    if args.json:
        found = {"files": files, "cells": len(states), "shares": shares}
        return print_json({**found, "note": kept, "joined": unfolded.joined(export, args.abscissa)})
    say(terminal(), unfolded.joined(export, args.abscissa))
    print(f"{len(states)} cells: " + ", ".join(f"{100 * share:.0f} % {state}" for state, share in shares.items()))
    say(terminal(), kept)
    return list_files(files)


def frontier(args: argparse.Namespace) -> int:
    from analysis.draw.canvas import save
    from analysis.draw.limits import frontier_figure

    export = _export(args)
    trials = unfolded.over(export, args.abscissa)
    info = _map(export, args, trials)
    limits, out = mapinfo.limits(info), _out(args)
    table = write_table(limits, out / "frontier.parquet")
    with writing(out / "frontier.csv") as plain:
        pa_csv.write_csv(limits, plain)
    files = [*save(frontier_figure(info), out / "frontier", pdf=args.pdf), table, plain]
    if args.json:
        found = {"files": files, "limits": limits.to_pylist(), "note": unfolded.kept(export, args.abscissa)}
        return print_json({**found, "joined": unfolded.joined(export, args.abscissa)})
    say(terminal(), unfolded.joined(export, args.abscissa))
    shown = set(_some(info.x.values.tolist()))
    rows = [row for row in limits.to_pylist() if row[info.x.name] in shown]
    console = terminal()
    show_limits(console, "Depth limits", pa.Table.from_pylist(rows, schema=limits.schema), limits)
    say(console, unfolded.note(export, args.abscissa, trials))
    return list_files(files)


def compare(args: argparse.Namespace) -> int:
    export = _export(args)
    agreement = comparing.agreement(export.trials, export.task)
    paired = comparing.paired(export.trials, export.replicates)
    no_map, model = maps.no_map(export.trials), maps.fitted(export.trials)
    first = None if no_map else maps.scheme_limits(export.trials, model, export.task)
    between = [] if first is None else ratios.ratios(first)
    changes = [] if first is None else ratios.changes(first)
    files, limits = ([], []) if no_map else _compare_limits(export, args, model)
    if args.json:
        made = [{**a._asdict(), "counts": [[*pair, n] for pair, n in sorted(a.counts.items())]} for a in agreement]
        quotients, moved = ([r._asdict() for r in some] for some in (between, changes))
        found = {"files": files, "agreement": made, "limits": limits, "ratios": quotients, "changes": moved}
        pairs = [p._asdict() for p in paired]
        return print_json({**found, "paired": pairs, "note": no_map, "joined": unfolded.joined(export, args.abscissa)})
    console = terminal()
    say(terminal(), unfolded.joined(export, args.abscissa))
    show(console, "Does theory say rightly whether a point trains?", *tables.agreement_rows(agreement))
    say(console, *tables.reasons(agreement))
    if first is None:
        say(console, f"No depth limits: {no_map}")
    else:
        show_limits(console, f"Depth limits {tables.headline(first)}", first)
        say(console, tables.budget_note(export.trials))
    for title, some, what in (
        ("Ratios of these depth limits", between, "schemes"),
        ("What the axes do to these depth limits", changes, "values"),
    ):
        show_some(console, title, *tables.ratio_rows(some, what), tables.ratio_note(some))
    show_some(console, "On the same points and seeds", *tables.paired_rows(paired), tables.paired_note(paired))
    if not paired:
        say(console, "No two schemes share a point and a seed, so none are compared on pairs.")
    return list_files(files)


def _compare_limits(
    export: store.Export, args: argparse.Namespace, model: RegionModel | None
) -> tuple[list[Path], list[dict[str, Any]]]:
    """Draw and write measured against predicted limits; the files, and the limits as rows."""
    from analysis.draw.agreement import agreement_figure
    from analysis.draw.canvas import save

    info = _map(export, args, export.trials, model)
    limits, out = mapinfo.limits(info), _out(args)
    files = [*save(agreement_figure(info), out / "compare", pdf=args.pdf), write_table(limits, out / "compare.parquet")]
    return files, limits.to_pylist()


def report(args: argparse.Namespace) -> int:
    from analysis import report as reporting

    export = _export(args)
    path = _out(args) / "report.html"
    page = reporting.page(export, abscissa=args.abscissa)
    with writing(path):
        path.write_text(page, encoding="utf-8")
    if args.json:
        return print_json({"files": [path], "joined": unfolded.joined(export, args.abscissa)})
    say(terminal(), unfolded.joined(export, args.abscissa))
    return list_files([path])


def theory(args: argparse.Namespace) -> int:
    if args.pdf and args.out is None:
        raise ValueError("--pdf draws a figure, but there is no folder for one: name it with --out")
    told = () if args.learning_rate is None else rates.parse(args.learning_rate)
    named = {name: getattr(args, name) for name in profiles.Point._fields if name != "learning_rates"}
    point = profiles.Point(**named, learning_rates=told)
    info = profiles.profile_info(point, nets=args.nets, seed=args.seed)
    files = []
    if args.out is not None:
        from analysis.draw.canvas import save
        from analysis.draw.profile import profile_figure

        files = save(profile_figure(info), _out(args) / f"theory-{point.scheme}", pdf=args.pdf)
    if args.json:
        return print_json({"files": files, **profiles.as_dict(info)})
    told = info.theory.prediction
    console = terminal()
    say_of(console, told.scheme, f": {profiles.verdict(told)}")
    header = ["at the last hidden layer", "theory", f"{info.nets} random networks" if info.nets else ""]
    show(console, profiles.title(told), header, profiles.text(info))
    say(console, f"norm: {info.theory.norm_route}", f"spectrum: {info.theory.spectrum_route}", *told.notes, info.note)
    return list_files(files)


def _some(values: list[float], count: int = 5) -> list[float]:
    """At most `count` of the values, evenly spread, with both ends."""
    last = len(values) - 1
    return [values[round(i * last / (count - 1))] for i in range(count)] if last >= count else values
