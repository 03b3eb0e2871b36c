"""Many questions at once: what the answers have in common in work is done for all of them together."""

from collections.abc import Iterable, Mapping
from typing import Any

from isoinit.theory.criteria import MAX_DEPTH, aligned_or_exploded, judged
from isoinit.theory.ensemble import KEPT, Ensemble, together
from isoinit.theory.prepare import prepared
from isoinit.theory.setting import Setting

AT_ONCE = KEPT // 2
"""Points of which all is still known when the last has been answered."""


def foresee(points: Iterable[Mapping[str, Any]], *, limits: bool) -> None:
    """Let `predict`, if `limits`, or `predicted_outcome` answer soon for each of some points, at most `AT_ONCE`.

    A point has the arguments of `predict` by name. Answers are the same without this: nets whose noise is drawn
    (`ensemble`) are walked together here and one by one there. Of other points, and of those that `predict` refuses,
    nothing is done.
    """
    wanted: dict[Ensemble, list[tuple[Setting, int]]] = {}
    for point in points:
        try:
            setting, _, _ = prepared(**point)
        except ValueError:
            continue
        if isinstance(setting, Setting) and (nets := setting.nets()):
            wanted.setdefault(nets, []).append((setting, point["depth"]))

    def ended(nets: Ensemble) -> bool:
        return all(
            nets.known() >= depth - 1 and not (limits and _open(setting, nets)) for setting, depth in wanted[nets]
        )

    deepest = max((depth for asked in wanted.values() for _, depth in asked), default=0)
    together(list(wanted), max(deepest, MAX_DEPTH if limits else 0) - 1, ended)


def _open(setting: Setting, nets: Ensemble) -> bool:
    """Whether the depth limit is beyond what is known of the nets, as far as these tell."""
    known = nets.known()
    latest = [layer for layer in range(known, max(known - 20, 0), -1) if judged(layer)]
    return known < MAX_DEPTH - 1 and not any(
        aligned_or_exploded(nets.seen(n), n / (2 * nets.units), setting) for n in latest
    )
