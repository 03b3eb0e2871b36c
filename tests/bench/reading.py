"""What do the analysis commands take on large exports: CPU seconds and the greatest memory of each.

    python tests/bench/reading.py [--trials 2000 20000] [--commands summary map compare report] [--out reading.json]

The exports are made up (`tests/exports.py`: four schemes, four widths, 4 networks a trial), written to a temporary
folder and read by a process per command, one after another, as a user would.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import exports
import pyarrow as pa
from machines import machine

COMMANDS = ("summary", "map", "frontier", "compare", "report")
PART = 20000  # trials that are made up one by one; more are copies under other keys


def write(folder: Path, trials: int) -> Path:
    made = exports.tables(min(trials, PART), widths=(16, 32, 64, 128))
    tables = [pa.concat_tables([_copy(table, i) for i in range(max(1, round(trials / PART)))]) for table in made]
    return exports.write(folder, *tables)


def _copy(table: pa.Table, number: int) -> pa.Table:
    at = table.schema.get_field_index("trial_key")
    keys = [f"{number:x}{key[1:]}" for key in table["trial_key"].to_pylist()]
    return table.set_column(at, table.schema.field(at), pa.array(keys, table.schema.field(at).type))


def measure(command: str, folder: Path, out: Path) -> dict[str, float]:
    """CPU seconds, and the greatest memory in GB, of one command."""
    output = [] if command == "summary" else ["--out", str(out)]
    arguments = [sys.executable, "-m", "analysis", command, str(folder), *output]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return {"seconds": used.ru_utime + used.ru_stime, "gigabytes": used.ru_maxrss * 1024 / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=COMMANDS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for trials in args.trials:
            folder = write(Path(name) / f"export-{trials}", trials)
            for command in args.commands:
                rows.append({"trials": trials, "command": command, **measure(command, folder, Path(name) / command)})
                print("{trials:8,} {command:9} {seconds:7.1f} s {gigabytes:5.2f} GB".format(**rows[-1]), flush=True)
    if args.out:
        args.out.write_text(json.dumps({**machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
