"""How far joint repair gets from a random pairing, with no evidence for any pair.

    python benchmarks/repair.py --zoo .zoo [RECIPE …] [--rows N] [--draws T] [--time-limit SECONDS]

The search is that of strategy `auto`, told the activation, and given pairs drawn at random and
log-odds of 0: all that it finds out about pairs comes from the record.
"""

import argparse
from pathlib import Path

import numpy as np

from calibration import ToldApart, find_oracles, unpaired
from common import Stopwatch, count, machine, one_blas_thread, print_table, spread
from unshuffle import Records
from unshuffle.blocks.mlp import INP, OUT, MlpNetwork
from unshuffle.oracle.storage import read_oracle, read_story
from unshuffle.ordering.auto import advance, begin
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.search import Deadline, run_states
from unshuffle.ordering.trace import Trace
from unshuffle.ordering.workbench import Workbench
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.clock import Clock
from unshuffle.solution.goal import Reproduction

RECIPES = ("depth-12", "adam", "adamw-heavy", "zero-init", "sgd", "width-16", "width-32", "smooth")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Solve from random pairs.")
    parser.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE")
    parser.add_argument("--zoo", type=Path, required=True, help="folder with trained oracles")
    parser.add_argument("--rows", type=count, default=2000, help="of the record (%(default)s)")
    parser.add_argument("--draws", type=count, default=1, help="random pairings (%(default)s)")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0, help="of everything (%(default)s)")
    args = parser.parse_args()
    print(f"{machine()}; {args.rows} rows, {args.time_limit:g} s each\n")
    lines = []
    for folder in find_oracles(args.zoo, args.recipes):
        network, data = read_oracle(folder)
        pairs, seconds, exact = [], [], 0
        for draw in range(args.draws):
            rng = np.random.default_rng((args.seed, draw))
            stopwatch = Stopwatch()
            with one_blas_thread():
                found, done = solve_from_random(network, data, args.rows, args.time_limit, rng)
            seconds.append(stopwatch.seconds())
            pairs.append(found)
            exact += done
        blocks = len(network.blocks)
        name = read_story(folder)["recipe"]
        lines.append(
            (name, str(blocks), spread(pairs), f"{exact} of {args.draws}", spread(seconds))
        )
    print_table(("recipe", "blocks", "pairs found", "exact", "seconds"), lines)


def solve_from_random(
    network: MlpNetwork, data: Records, rows: int, time_limit: float, rng: np.random.Generator
) -> tuple[int, bool]:
    """Pairs that are right at the end, and whether the record is reproduced."""
    network = network.astype(np.float32)
    count = len(network.blocks)
    inputs = data.inputs[np.sort(rng.permutation(len(data))[:rows])].astype(np.float32)
    records = Records(inputs, network.predict(inputs))
    # Layers in random sequences, so that no number tells anything.
    depth_of_inp, depth_of_out = rng.permutation(count), rng.permutation(count)
    inp, out = network.blocks.take(depth_of_inp), network.blocks.take(depth_of_out)
    bank = ToldApart(*inp.inp, *out.out, network.blocks.activation)
    grouped = bank.arranged(np.column_stack([np.arange(count), rng.permutation(count)]))
    problem = unpaired(bank, network.last, grouped, records)
    clock = Clock(time_limit)
    goal = OnlyRounding("float32", count, clock)
    bench = Workbench([problem], rng, goal, clock=clock)
    start, deadline = begin(bench, rng), Deadline(clock)
    end, _ = run_states(start, advance(start, bench), Trace(), stops=(deadline,))
    judge, found = problem.judge(records), end.best.arrangement
    right = depth_of_inp[bank.rows[found[:, INP]]] == depth_of_out[bank.columns[found[:, OUT]]]
    return int(right.sum()), goal.reproduces(judge, judge.run(found))


class OnlyRounding(Reproduction):
    """The goal to reproduce the record to rounding, whatever else may explain it."""

    def decides(self, problem: Problem, arrangement: Arrangement, rows: Records) -> bool:
        """No rows decide anything before that."""
        return False


if __name__ == "__main__":
    main()
