"""How large the numbers of a spec may be.

Beyond these a sweep would end in the midst of its training, for want of memory or because the tables hold whole numbers
of 32 bits; all are far beyond what is trained in practice, so that whoever meets one has most likely mistyped.
"""

from __future__ import annotations

from typing import Final, Literal

WHOLE: Final = 2**31 - 1
"""The largest whole number that `analysis.schema` stores."""
SIZE: Final = 10**6  # layers, or units of a layer
LEVELS: Final = 10**4  # of a range
GRID: Final = 10**6  # points
TRIALS: Final = 10**6
SEEDS: Final = 10**4  # of a trial
SAMPLER_SEED: Final = 2**32 - 1  # NumPy's older generators, which Optuna uses, take no larger one
STEPS: Final = 10**7
BATCH: Final = 2**16  # samples: all of the largest public data set, whose outputs of a deep network fill gigabytes
SHOWN: Final = 2**28  # samples, the same ones again counted again: their order is held in memory, 8 bytes each
SHARE: Final = 1e-4  # of a CPU or GPU: Ray counts them in these
CURVE: Final = 10**5  # points, of which each network has a row in the tables


def check_training(steps: int, log_every: int, batch_size: int) -> None:
    """See that the order of the samples and the curve of a network can be held.

    Raises:
        ValueError: they cannot; says which field is to be changed, and to what.
    """
    if steps * batch_size > SHOWN:
        raise ValueError(
            f"steps times batch_size must be at most {SHOWN} samples, but {steps} times {batch_size} are "
            f"{steps * batch_size}; with this batch_size at most {SHOWN // batch_size} steps are possible"
        )
    if steps > CURVE * log_every:
        raise ValueError(
            f"log_every must be at least {-(-steps // CURVE)} for {steps} steps, as a curve has at most {CURVE} "
            f"points, but got {log_every}"
        )


def check_seeds(first: int, seeds: int, trials: int) -> None:
    """See that the tables can hold every seed, even if one point is visited by all trials.

    Raises:
        ValueError: they cannot; says from which first seed on they can.
    """
    most = WHOLE + 1 - seeds * trials
    if most < 0:
        raise ValueError(
            f"training.seeds times search.trials must be at most {WHOLE + 1}, but {seeds} times {trials} are "
            f"{seeds * trials}; ask for fewer of either"
        )
    if first > most:
        raise ValueError(
            f"training.first_seed must be at most {most}, so that each of {trials} trials can have {seeds} seeds of "
            f"its own below {WHOLE + 1}, but got {first}"
        )


def checked_gpus(gpus: float | Literal["auto"]) -> float | Literal["auto"]:
    """GPUs that a pack can ask for; Ray finds out when it looks for a worker, and then says something else.

    Raises:
        ValueError: they can be assigned by no one.
    """
    if gpus != "auto" and (0 < gpus < SHARE or (gpus > 1 and not gpus.is_integer())):
        raise ValueError(
            f"must be 0, a share of one GPU from {SHARE:g} to 1, or a whole number of them, but got {gpus:g}"
        )
    return gpus
