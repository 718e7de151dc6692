"""Whether the answer still comes out of a damaged record or of coarse weights.

    python benchmarks/noise.py [PUZZLE] [--draws T] [--only CASE …] [--time-limit SECONDS]

The cases: the record as it is; predictions rounded to 3 decimals; normal noise of 1 % of the
predictions' spread, another one in every draw; weights rounded to bfloat16.
"""

import argparse
from collections import Counter
from collections.abc import Callable

import numpy as np

from common import (
    Stopwatch,
    add_puzzle,
    count,
    find_material,
    machine,
    print_table,
    refuse_unknown,
    spread,
    wilson,
)
from unshuffle import Piece, Pile, Records, solve
from unshuffle.oracle.dropping import round_weights

DECIMALS = 3
NOISE = 0.01
"""Relative to the standard deviation of the predictions."""

Damage = Callable[[Pile, Records, np.random.Generator], tuple[Pile, Records]]


def nothing(pile: Pile, records: Records, _: np.random.Generator) -> tuple[Pile, Records]:
    """As it is."""
    return pile, records


def rounded(pile: Pile, records: Records, _: np.random.Generator) -> tuple[Pile, Records]:
    """Predictions rounded to 3 decimals."""
    return pile, Records(records.inputs, np.round(records.predictions, DECIMALS))


def noisy(pile: Pile, records: Records, rng: np.random.Generator) -> tuple[Pile, Records]:
    """Predictions with normal noise of 1 % of their spread."""
    scale = NOISE * np.nanstd(records.predictions)
    noise = scale * rng.normal(size=records.predictions.shape)
    return pile, Records(records.inputs, records.predictions + noise)


def coarse(pile: Pile, records: Records, _: np.random.Generator) -> tuple[Pile, Records]:
    """Weights and biases rounded to bfloat16."""
    form = "bfloat16"
    return Pile(
        Piece.linear(one.id, round_weights(one.weight, form), round_weights(one.bias, form), form)
        for one in pile
    ), records


CASES: dict[str, tuple[Damage, bool]] = {
    "clean": (nothing, False),
    "3 decimals": (rounded, False),
    "noise 1 %": (noisy, True),
    "bfloat16": (coarse, False),
}
"""By name: what is done, and whether each draw does something else."""


def measure(
    name: str, pile: Pile, records: Records, sha256: str, args: argparse.Namespace
) -> list[str]:
    """A line of the table: one case, solved for each draw."""
    damage, varies = CASES[name]
    right, seconds, errors = 0, [], []
    outcomes: Counter[str] = Counter()
    for draw in range(args.draws):
        rng = np.random.default_rng([args.seed, draw if varies else 0])
        damaged = damage(pile, records, rng)
        watch = Stopwatch()
        solution = solve(*damaged, seed=draw, time_limit=args.time_limit)
        seconds.append(watch.seconds())
        right += solution.sha256 == sha256
        outcomes[str(solution.outcome)] += 1
        errors.append(solution.mse)
    low, high = wilson(right, args.draws)
    return [
        name,
        f"{right} of {args.draws}",
        f"{100 * low:.0f}–{100 * high:.0f} %",
        ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items()),
        spread(errors),
        spread(seconds),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Solve with damaged records and weights.")
    add_puzzle(parser)
    parser.add_argument("--draws", type=count, default=5, help="seeds of each (%(default)s)")
    names = ", ".join(CASES).replace("%", "%%")
    parser.add_argument("--only", nargs="+", metavar="CASE", help=f"of {names}")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (%(default)s)")
    args = parser.parse_args()
    refuse_unknown("case ", args.only, CASES)
    material = find_material(args.puzzle)
    pile, records = material.read()
    print(f"{machine()}; {args.time_limit:g} s each\n")
    names = args.only or CASES
    table = [measure(name, pile, records, material.sha256, args) for name in names]
    print_table(["", "right", "95 % interval", "outcomes", "mse", "seconds"], table)


if __name__ == "__main__":
    main()
