"""Does a pack label networks as a plain PyTorch loop does? Share of equal outcomes near the frontier.

    python tests/bench/agreement.py [--seeds 4] [--steps 100] [--out agreement.json]

Plain ReLU MLPs on digits, of depths at which some train and some do not, are trained in one pack and each by
`nn.Module`, autograd and `torch.optim.SGD` from the same initial weights and batches. Rounding differs, training
amplifies it, and a network on the threshold may fall on either side. How often it does so for rounding alone
is given by the same plain loop in float64: no implementation can be expected to agree better than that.
"""

from __future__ import annotations

import argparse
import json
import sys

import torch
from machines import machine
from torch import nn

from analysis.outcome import Criterion, Curve, Outcome, label
from isoinit import networks, schemes
from sweeps import data, train
from sweeps.preparing import generator
from sweeps.spec import Point, Training
from sweeps.stacking import LOSS_BOUND

DIGITS = data.load("digits")
SCHEMES = ("he_normal", "xavier_normal", "orthogonal")
DEPTHS = (4, 6, 9, 13, 19, 28, 40)
RATES = [0.1, 0.03, 0.01, 0.003]


def plain(member: train.Member, training: Training, dtype: torch.dtype) -> Curve:
    """The curve of a network trained by the loop that a user would write."""
    p = member.point
    model = networks.build(p.architecture, DIGITS.input_shape, width=p.width, depth=p.depth, out_features=10)
    schemes.initialize(model, p.scheme, generator=generator(member.seed, "init"))
    model.to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), member.learning_rate)
    losses: list[float] = []
    hits: list[float] = []
    for samples in train.order(member.seed, DIGITS, training):
        y = DIGITS.y_train[samples]
        logits = model(DIGITS.x_train[samples].to(dtype))
        loss = nn.functional.cross_entropy(logits, y)
        losses.append(loss.item())
        hits.append((logits.argmax(1) == y).double().mean().item())
        if not losses[-1] <= LOSS_BOUND:
            losses[-1] = float("inf")
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ends = [*range(training.log_every, len(losses), training.log_every), len(losses)]
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    return Curve(
        ends,
        [sum(losses[a:b]) / (b - a) for a, b in spans],
        [sum(hits[a:b]) / (b - a) for a, b in spans],
        training.steps,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--out", help="file for the JSON; default: standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    training = Training(learning_rate=RATES, steps=options.steps)
    criterion = Criterion("train_accuracy", 0.8)
    base = Point("he_normal", "mlp", "relu", "none", 4, options.width, 1.0, "zero", 0.0, 1.0)
    members = [
        train.Member(base._replace(scheme=scheme, depth=depth), seed, rate)
        for scheme in SCHEMES
        for depth in DEPTHS
        for seed in range(options.seeds)
        for rate in RATES
    ]
    packed = [
        label(Curve(r.curve_step, r.curve_loss, r.curve_accuracy, training.steps), criterion).outcome
        for r in train.train(members, DIGITS, training)
    ]
    loops = {
        name: [label(plain(m, training, dtype), criterion).outcome for m in members]
        for name, dtype in (("float32", torch.float32), ("float64", torch.float64))
    }

    def agreement(a: list[Outcome], b: list[Outcome]) -> dict[str, float]:
        pairs = list(zip(a, b, strict=True))
        trained = sum((x is Outcome.TRAINED) == (y is Outcome.TRAINED) for x, y in pairs)
        return {"outcome": sum(x is y for x, y in pairs) / len(pairs), "trained": trained / len(pairs)}

    report = {
        "what": "share of replicates with the same outcome, and with the same answer to 'trained?'",
        "replicates": len(members),
        "share_trained": sum(x is Outcome.TRAINED for x in packed) / len(packed),
        "pack_against_plain_loop": agreement(packed, loops["float32"]),
        "plain_loop_against_itself_in_float64": agreement(loops["float32"], loops["float64"]),
        "schemes": SCHEMES, "depths": DEPTHS, "learning_rates": RATES, "width": options.width,
        "seeds": options.seeds, "steps": options.steps, "criterion": str(criterion), "dataset": "digits",
        **machine(),
    }  # fmt: skip
    text = json.dumps(report, indent=1)
    if options.out:
        with open(options.out, "w") as file:
            file.write(text + "\n")
    print(text, file=sys.stdout)


if __name__ == "__main__":
    main()
