"""The walks of the sparse schemes."""

import numpy as np

from isoinit.narrow.compilers import exact_entry


@exact_entry
def walk(edition: int):
    def walk(a, support, walking, target, skip, i, further, cos, sin):
        """Steps of the walks of `isoinit.schemes.rotations` with matrices a (count, columns, rows) and where they may
        be other than zero, both in place, for those that are `walking` (count,), which then says who still are.

        i, further, cos, sin: of the planes, (count, steps) each; the other column is i + 1 + further, in a circle.
        skip: (count,), leave columns that are both zero as they are, whose zeros would change their signs.
        """
        _ = edition
        count, columns, rows = a.shape
        for k in range(count):
            if not walking[k]:
                continue
            sizes = np.zeros(columns, np.int64)
            for column in range(columns):
                for row in range(rows):
                    sizes[column] += support[k, column, row]
            now = sizes.sum()
            for step in range(i.shape[1]):
                one = i[k, step]
                other = (one + 1 + further[k, step]) % columns
                union = 0
                for row in range(rows):
                    union += support[k, one, row] | support[k, other, row]
                if skip[k] and union == 0:
                    continue
                after = now + 2 * union - sizes[one] - sizes[other]
                if after - target <= target - now:
                    c, s = cos[k, step], sin[k, step]
                    for row in range(rows):
                        x, y = a[k, one, row], a[k, other, row]
                        a[k, one, row], a[k, other, row] = c * x + s * y, c * y - s * x
                        either = support[k, one, row] | support[k, other, row]
                        support[k, one, row] = support[k, other, row] = either
                    sizes[one] = sizes[other] = union
                    now = after
                if after >= target:
                    walking[k] = False
                    break

    return walk
