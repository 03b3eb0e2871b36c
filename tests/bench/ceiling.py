"""How much placement can save on the synthetic beds: the factors of an experimenter who knows every limit beforehand.

    python tests/bench/ceiling.py [--columns 400]

A column is what a bed's networks of one scheme, width and bias variance are: a chance to train that changes along
u = log depth. An outcome at u tells of the place of a limit as much as its Fisher information (dp/du)^2 / (p (1 - p)),
and the error of a map is the sum over columns of one over the root of what was told. Random trials tell the mean over
u. Compared with them are trials, equally many in each column, at the place that tells most (`trials`, `layers`), and
trials where and as often as the error falls most for each layer (`layers at best`). Each column is taken for itself, so
these are no bounds of samplers that learn of one column from the next, as ours and random's map both do; and nothing
is spent on finding the limits. Columns without a limit, and all limits of a column but the one that is best known,
are left out.
"""

from __future__ import annotations

import argparse

import numpy as np
import pyarrow as pa
from beds import BEDS, SCALES, Synthetic, spread

LINE = np.linspace(0, 1, 2001)  # of u
LEAST = 1.0  # information of a column that has a limit, by far


def information(bed: Synthetic, columns: pa.Table) -> np.ndarray:
    """Of one outcome at each place of `LINE` about a limit's place in u; [columns, LINE]."""
    depths = SCALES["depth"].decode(LINE)
    rows = [bed.p(columns.set_column(0, "depth", pa.array([float(d)] * len(columns)))) for d in depths]
    p = np.array(rows).T
    slope = np.gradient(p, LINE, axis=1)
    return slope**2 / np.maximum(p * (1 - p), 1e-12)


def factors(told: np.ndarray) -> dict[str, float]:
    """How many times fewer trials, and layers, than random's the same error takes."""
    told = told[told.max(axis=1) > LEAST]
    depths = SCALES["depth"].decode(LINE)

    def cost(tells: np.ndarray, often: np.ndarray, layers: np.ndarray | float) -> float:
        """Of one unit of error: error falls with the root of the cost."""
        return float(np.sum((often * tells) ** -0.5) ** 2 * np.sum(often * layers))

    once, each = np.ones(len(told)), np.arange(len(told))
    most, cheapest = told.argmax(axis=1), (told / depths).argmax(axis=1)
    often = (told[each, cheapest] ** -0.5 / depths[cheapest]) ** (2 / 3)
    random, mean = told.mean(axis=1), depths.mean()
    return {
        "trials": cost(random, once, 1.0) / cost(told[each, most], once, 1.0),
        "layers": cost(random, once, mean) / cost(told[each, most], once, depths[most]),
        "layers at best": cost(random, once, mean) / cost(told[each, cheapest], often, depths[cheapest]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=400, help="at most 4096")
    columns = parser.parse_args().columns
    for number, name in enumerate(BEDS):
        bed = Synthetic(name)
        found = factors(information(bed, spread(bed.axes, columns, seed=3)))
        if not number:
            print("| bed | " + " | ".join(found) + " |\n|" + "---|" * (len(found) + 1))
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in found.values()) + " |")


if __name__ == "__main__":
    main()
