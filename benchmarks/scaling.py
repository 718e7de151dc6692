"""How the time of a search grows with the number of blocks, at a fixed number of rows.

    python benchmarks/scaling.py [--blocks K …] [--rows N] [--repeats N] [--time-limit SECONDS]
                                 [--scatter S]

The networks are synthetic: training one of 384 blocks would take longer than all searches. Every
size runs in a fresh process, which reports its own peak of memory; the exponent p of
seconds ∝ K^p is fitted to the sizes that were solved exactly.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from common import count, growth_exponent, machine, print_table, spread
from unshuffle import Piece, Pile, Records, solve
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork, MlpStack
from unshuffle.pieces.pile import Floats

SIZES = (12, 24, 48, 96, 192, 384)
WIDTH, HIDDEN = 48, 96
RECORD = 2000
"""Rows of the record; the search takes as many of them as it is told."""

DEPTH_SCALE = 3.0
"""By how many times the last block's step is larger than the first one's."""

SCATTER = 1.0
"""Standard deviation, in places, by which sizes of steps mislead about a block's depth. At 1 a
norm seed leaves a third of an inversion a block, whatever their number; the puzzle's L1 seed half
of one."""

MEMORY = 0.5
"""Depth, as a fraction of all blocks, over which weights drift away, as in trained networks."""

OWN = 0.5
"""Share of a block's weights, in variance, that it has to itself."""


def synthetic(blocks: int, rng: np.random.Generator, scatter: float = SCATTER) -> MlpNetwork:
    """A network with the traces that training leaves.

    The halves of a block are coupled, W_out leaning towards minus W_inᵀ; neighbours in depth are
    alike; steps grow with depth. All steps together move the stream equally far whatever the
    number of blocks, so that large networks are no less well conditioned than small ones.
    """
    inp = drifting((blocks, HIDDEN, WIDTH), rng)
    noise = drifting((blocks, WIDTH, HIDDEN), rng)
    inp /= np.sqrt(WIDTH)
    noise /= np.sqrt(HIDDEN)
    places = np.arange(blocks) + scatter * rng.normal(size=blocks)
    sizes = DEPTH_SCALE ** (places / max(blocks - 1, 1))
    sizes *= 4 / sizes.sum()
    out = noise - 0.5 * inp.transpose(0, 2, 1)
    # Random matrices differ in size by themselves, which would scatter large networks further.
    magnitudes = np.abs(out).mean(axis=(1, 2))
    out *= (sizes * magnitudes.mean() / magnitudes)[:, None, None]
    return MlpNetwork(
        MlpStack(
            inp,
            0.3 * rng.normal(size=(blocks, HIDDEN)),
            out,
            0.1 * sizes[:, None] * rng.normal(size=(blocks, WIDTH)),
        ),
        Linear(rng.normal(size=(1, WIDTH)) / np.sqrt(WIDTH), rng.normal(size=1)),
    ).astype(np.float32)


def drifting(shape: tuple[int, int, int], rng: np.random.Generator) -> Floats:
    """Standard normal matrices, one for each block, that change slowly with depth, and in part."""
    keep = np.exp(-1 / (MEMORY * shape[0]))
    slow = rng.normal(size=shape)
    for t in range(1, len(slow)):
        slow[t] = keep * slow[t - 1] + np.sqrt(1 - keep**2) * slow[t]
    mixed: Floats = np.sqrt(1 - OWN) * slow + np.sqrt(OWN) * rng.normal(size=shape)
    return mixed


def measure(blocks: int, rows: int, seed: int, time_limit: float, scatter: float) -> dict[str, Any]:
    """Solve one network in this process."""
    rng = np.random.default_rng([seed, blocks])
    network = synthetic(blocks, rng, scatter)
    layers = network.layers()
    ids = rng.permutation(len(layers)).tolist()
    pile = Pile(
        Piece.linear(name, layer.weight, layer.bias)
        for name, layer in zip(ids, layers, strict=True)
    )
    inputs = rng.normal(size=(RECORD, WIDTH)).astype(np.float32)
    records = Records(inputs, network.predict(inputs))
    solution = solve(pile, records, rows=rows, time_limit=time_limit)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "outcome": str(solution.outcome),
        "right": solution.permutation == tuple(ids),
        "steps": len(solution.trace),
        "megabytes": peak / (2**20 if sys.platform == "darwin" else 2**10),
        **solution.seconds,
    }


def fresh_process(
    blocks: int, rows: int, seed: int, time_limit: float, scatter: float
) -> dict[str, Any]:
    """Solve one network in a process of its own."""
    words = [sys.executable, str(Path(__file__).resolve()), "--one", str(seed)]
    words += ["--blocks", str(blocks), "--rows", str(rows), "--time-limit", str(time_limit)]
    words += ["--scatter", str(scatter)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"K = {blocks}: {done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def line(blocks: int, runs: list[dict[str, Any]]) -> list[str]:
    """A line of the table: the networks of one size."""
    pairing, order, steps = ([run[name] for run in runs] for name in ("pair", "order", "steps"))
    right, peak = sum(run["right"] for run in runs), max(run["megabytes"] for run in runs)
    share = f"{right} of {len(runs)}"
    return [str(blocks), share, spread(pairing), spread(order), spread(steps), f"{peak:.0f}"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure how the search grows with the blocks.")
    parser.add_argument("--blocks", type=count, nargs="+", default=list(SIZES), metavar="K")
    parser.add_argument("--rows", type=count, default=1024, help="of the search (%(default)s)")
    parser.add_argument("--repeats", type=count, default=3, help="networks a size (%(default)s)")
    parser.add_argument("--time-limit", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument(
        "--scatter", type=float, default=SCATTER, help="%(default)s; more is harder"
    )
    parser.add_argument("--one", type=int, metavar="SEED", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(
            json.dumps(measure(args.blocks[0], args.rows, args.one, args.time_limit, args.scatter))
        )
        return

    print(
        f"{machine()}; {WIDTH} wide, {HIDDEN} hidden, {args.rows} rows, scatter {args.scatter:g}\n"
    )
    table = []
    solved: dict[int, float] = {}
    for blocks in args.blocks:
        runs = [
            fresh_process(blocks, args.rows, s, args.time_limit, args.scatter)
            for s in range(args.repeats)
        ]
        if all(run["right"] for run in runs):
            solved[blocks] = median(run["pair"] + run["order"] for run in runs)
        table.append(line(blocks, runs))
        print(f"K = {blocks}: {', '.join(run['outcome'] for run in runs)}", file=sys.stderr)
    print_table(["K", "right", "s to pair", "s to order", "steps", "peak MB"], table)
    if len(solved) > 1:
        exponent = growth_exponent(list(solved), list(solved.values()))
        print(f"\nSeconds to pair and order grow as K^{exponent:.2f} over {len(solved)} sizes.")


if __name__ == "__main__":
    main()
