"""Families of networks that are modules: what is solved, from how little, and at which cost.

    python benchmarks/families.py [RECIPE …] --zoo ZOO [--tables cost,rows,precision,tensors]

Oracles are taken from the zoo, and trained there where it lacks them. Each is dropped at the levels
T1 (whole blocks), T2 (loose layers) and T4 (single tensors). The baseline knows the same record:
best-improvement or-opt from a random start, which at T2 also exchanges any two pieces of one class.
A pass is one of the whole network over the whole record; a derivative of one output counts as three
of one row. Seconds are those of the processor, of one thread.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from time import process_time

import numpy as np
import torch

from common import ProcessorClock, machine, print_markdown, print_table, refuse_unknown
from unshuffle import Records, Solution, blueprint, solve
from unshuffle.blocks.network import Network
from unshuffle.blocks.replay import Replay
from unshuffle.oracle.module_dropping import DroppedModule, drop_module, emptied
from unshuffle.oracle.recipe import FAMILIES, FamilyPlan, find_recipes
from unshuffle.oracle.storage import read_module_oracle
from unshuffle.oracle.zoo import oracle_folder, train_zoo
from unshuffle.pieces.blueprint import Arrangement

LEVELS = {"T1": "blocks", "T2": "layers", "T4": "tensors"}
ROWS = (1, 2, 4, 8, 16)  # of the curve
DERIVATIVE = 3  # passes that one derivative counts as: one forward, and one backward of twice that

PRECISIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "float32": lambda values: values,
    "float16": lambda values: values.astype(np.float16).astype(np.float32),
    "3 decimals": lambda values: np.round(values, 3),
    "2 decimals": lambda values: np.round(values, 2),
}


@dataclass
class Tally:
    """Rows that blocks ran on."""

    rows: float = 0.0


@contextmanager
def counted() -> Iterator[Tally]:
    """Count the rows that blocks of modules run on."""
    tally, run, pull = Tally(), Replay.run, Replay.pull

    def counting_run(self: Replay, tensors: object, x: np.ndarray) -> np.ndarray:
        tally.rows += len(x)
        return run(self, tensors, x)

    def counting_pull(self: Replay, tensors: object, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        tally.rows += DERIVATIVE * len(g) * len(x)
        return pull(self, tensors, x, g)

    Replay.run, Replay.pull = counting_run, counting_pull
    try:
        yield tally
    finally:
        Replay.run, Replay.pull = run, pull


@dataclass(frozen=True)
class Trial:
    """What a method came to: whether all is in place, pieces there, error, passes, seconds."""

    right: bool
    placed: str
    error: float
    outcome: str
    passes: float
    seconds: float


def in_place(found: tuple[tuple[int, ...], ...], dropped: DroppedModule) -> int:
    """How many pieces lie where they belong."""
    pairs = zip(found, dropped.answer, strict=True)
    return sum(a == b for one, other in pairs for a, b in zip(one, other, strict=True))


def solved(
    module: torch.nn.Module, dropped: DroppedModule, records: Records, limit: float
) -> Trial:
    """What `solve` makes of a dropped module, within so many processor seconds."""
    given, started = emptied(module, np.random.default_rng(1)), process_time()
    with counted() as tally:
        solution: Solution = solve(
            dropped.pile(),
            records,
            blueprint=blueprint(given),
            time_limit=ProcessorClock(limit),
        )
    seconds, pieces = process_time() - started, len(dropped.pieces)
    right = in_place(solution.blocks, dropped)
    return Trial(
        right == pieces,
        f"{right} of {pieces}",
        solution.mse / dropped.records.variance,
        str(solution.outcome),
        tally.rows / len(dropped.answer) / len(records),
        seconds,
    )


def neighbours(arrangement: Arrangement, classes: list[tuple[int, ...]]) -> Iterator[Arrangement]:
    """Each arrangement with one block moved; where blocks are loose, with two pieces exchanged."""
    blocks, roles = arrangement.shape
    for block in range(blocks):
        rest = np.delete(arrangement, block, axis=0)
        for place in range(blocks):
            if place != block:
                yield np.insert(rest, place, arrangement[block], axis=0)
    if roles == 1:
        return
    for each in classes:
        slots = [(block, role) for role in each for block in range(blocks)]
        for one, other in combinations(slots, 2):
            changed = arrangement.copy()
            changed[one], changed[other] = arrangement[other], arrangement[one]
            yield changed


def descended(
    module: torch.nn.Module, dropped: DroppedModule, records: Records, limit: float
) -> Trial:
    """Best-improvement local search from a random start, within so many processor seconds."""
    rng, started, passes = np.random.default_rng(2), process_time(), 0
    given = blueprint(emptied(module, rng))
    pile = given.fitted(dropped.pile())
    bank, ends = given.parts(pile, records)
    best = np.empty((len(dropped.answer), len(bank.kind.roles)), np.intp)
    for each in bank.kind.classes:
        pieces = rng.permutation(bank.positions(each[0]))
        best[:, list(each)] = pieces.reshape(len(best), -1)

    def error(arrangement: Arrangement) -> float:
        network = Network(bank.take(arrangement), ends)
        found = network.error(records.inputs, records.predictions)
        return found if np.isfinite(found) else np.inf

    lowest, stuck = error(best), False
    while not stuck and process_time() - started < limit:
        stuck, around = True, best
        for one in neighbours(around, bank.kind.classes):
            passes += 1
            if (found := error(one)) < lowest:
                best, lowest, stuck = one, found, False
            if process_time() - started > limit:
                break
    ids = [piece.id for piece in pile]
    right = in_place(tuple(tuple(ids[k] for k in row) for row in best.tolist()), dropped)
    return Trial(
        right == len(dropped.pieces),
        f"{right} of {len(dropped.pieces)}",
        lowest / dropped.records.variance,
        "local optimum" if stuck else "budget spent",
        passes,
        process_time() - started,
    )


def row(*beside: str, trial: Trial) -> list[str]:
    """A line of a table."""
    return [
        *beside,
        trial.placed,
        trial.outcome,
        f"{trial.error:.2g}",
        f"{trial.passes:.0f}",
        f"{trial.seconds:.1f}",
    ]


MEASURED = ["in place", "outcome", "error", "passes", "CPU s"]


class Bench:
    """The oracles of a zoo, and how they are dropped."""

    def __init__(self, zoo: Path, limit: float, sequences: int) -> None:
        self.zoo, self.limit, self.sequences = zoo, limit, sequences

    def dropped(self, recipe: object, level: str) -> tuple[torch.nn.Module, DroppedModule]:
        """An oracle, and its pieces with a record of many rows."""
        module, data = read_module_oracle(oracle_folder(self.zoo, recipe))
        rng = np.random.default_rng(recipe.seed)
        rows = data.first(max(self.sequences, *ROWS)).inputs
        return module, drop_module(module, {"rows": rows}, level=LEVELS[level], rng=rng)

    def cost(self, recipe: object) -> Iterator[list[str]]:
        """`solve` beside the baseline, at both levels."""
        for level in ("T1", "T2"):
            module, dropped = self.dropped(recipe, level)
            records = dropped.records.first(self.sequences)
            for name, method in (("solve", solved), ("or-opt", descended)):
                trial = method(module, dropped, records, self.limit)
                yield row(recipe.name, level, name, trial=trial)

    def rows(self, recipe: object) -> Iterator[list[str]]:
        """Loose layers, from few rows."""
        module, dropped = self.dropped(recipe, "T2")
        for count in ROWS:
            trial = solved(module, dropped, dropped.records.first(count), self.limit)
            yield row(recipe.name, str(count), trial=trial)

    def precision(self, recipe: object) -> Iterator[list[str]]:
        """Loose layers, from a record that is rounded."""
        module, dropped = self.dropped(recipe, "T2")
        records = dropped.records.first(self.sequences)
        for name, rounded in PRECISIONS.items():
            coarse = replace(records, predictions=rounded(records.predictions))
            yield row(recipe.name, name, trial=solved(module, dropped, coarse, self.limit))

    def tensors(self, recipe: object) -> Iterator[list[str]]:
        """Single tensors."""
        module, dropped = self.dropped(recipe, "T4")
        records = dropped.records.first(self.sequences)
        yield row(recipe.name, trial=solved(module, dropped, records, self.limit))


TABLES = {
    "cost": (Bench.cost, ["recipe", "level", "method", *MEASURED]),
    "rows": (Bench.rows, ["recipe", "rows", *MEASURED]),
    "precision": (Bench.precision, ["recipe", "record", *MEASURED]),
    "tensors": (Bench.tensors, ["recipe", *MEASURED]),
}


def main() -> None:
    """Print a table of each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", help="names or patterns (default: every family)")
    parser.add_argument("--zoo", type=Path, default=Path(".zoo"), help="folder of the oracles")
    parser.add_argument("--tables", default=",".join(TABLES), help="comma-separated")
    parser.add_argument("--limit", type=float, default=60, help="processor seconds of a solve")
    parser.add_argument("--sequences", type=int, default=24, help="rows of a record")
    parser.add_argument("--markdown", action="store_true", help="print for docs/families.md")
    args = parser.parse_args()
    refuse_unknown("table ", args.tables.split(","), TABLES)
    torch.set_num_threads(1)
    found = find_recipes(args.recipes or [f"module-{family}" for family in FAMILIES])
    recipes = [recipe for recipe in found if isinstance(recipe.network, FamilyPlan)]
    train_zoo(recipes, args.zoo, processes=1, on_arrival=lambda _: None)
    bench = Bench(args.zoo, args.limit, args.sequences)
    print(machine())
    for name in args.tables.split(","):
        measure, header = TABLES[name]
        rows = [line for recipe in recipes for line in measure(bench, recipe)]
        print()
        (print_markdown if args.markdown else print_table)(header, rows)


if __name__ == "__main__":
    main()
