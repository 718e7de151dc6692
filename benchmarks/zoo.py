"""What `auto` makes of every network of a zoo, in processor seconds, stage by stage.

Each run is a line of a CSV file, from which it goes on: lines that are there are not run again. The
limit counts processor seconds of one process, so a busy machine changes nothing. Tables and the
picture of docs/zoo.md are made of such a file:

    python benchmarks/zoo.py --out docs/data/runs/zoo.csv --table networks
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import groupby
from pathlib import Path
from time import process_time
from unittest.mock import patch

from common import ProcessorClock, machine, print_markdown, spread
from unshuffle import solve
from unshuffle.oracle.evaluation import DroppedOracle, make_case, result_of
from unshuffle.oracle.recipe import Recipe, find_recipes
from unshuffle.oracle.storage import is_oracle, read_oracle
from unshuffle.oracle.zoo import grid, oracle_folder
from unshuffle.ordering import auto
from unshuffle.ordering.stages import Stage
from unshuffle.ordering.state import State
from unshuffle.ordering.workbench import Workbench

MODULES = "module-"  # what names of recipes of modules begin with


@dataclass(frozen=True)
class Line:
    """One network: what came of it, what it took, and which stages had a part in it.

    `near` is the stage that first led near the record, `last` the one that ended it, and `stages`
    the processor seconds of each, as in ``quick 0.1 polish 2.3``.
    """

    recipe: str
    seed: int
    blocks: int
    outcome: str
    exact: bool
    pairs: int | None
    inversions: int | None
    error: float | None
    rows: int
    seconds: float
    passes: float
    near: str
    last: str
    stages: str


@dataclass
class Watch:
    """Which stages have run, how long, and which of them led near."""

    seconds: dict[str, float] = field(default_factory=dict)
    near: str = ""
    last: str = ""

    def took(self, stage: Stage, state: State, bench: Workbench) -> State:
        """Take one round of a stage, and see what it comes to."""
        begun = process_time()
        after = stage.advance(state, bench)
        self.seconds[stage.name] = self.seconds.get(stage.name, 0.0) + process_time() - begun
        if bench.near(after.best.error):
            self.near = self.near or stage.name
        else:
            self.near = ""
        self.last = stage.name
        return after


@dataclass(frozen=True)
class Watched:
    """A stage that is watched."""

    stage: Stage
    watch: Watch

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round."""
        return self.watch.took(self.stage, state, bench)


@contextmanager
def watching() -> Iterator[Watch]:
    """Watch the stages of all searches meanwhile."""
    watch, next_stage = Watch(), auto.next_stage

    def watched(stages: Sequence[Stage], state: State, bench: Workbench) -> Watched | None:
        stage = next_stage(stages, state, bench)
        return None if stage is None else Watched(stage, watch)

    with patch.object(auto, "next_stage", watched):
        yield watch


def tried(case: DroppedOracle, limit: float, seed: int) -> Line:
    """Solve a dropped oracle, the activation not told."""
    clock = ProcessorClock(limit)
    with watching() as watch:
        solution = solve(case.pile, case.records, time_limit=clock, seed=seed)
    found = result_of(solution, case.pairs)
    return Line(
        recipe=case.name,
        seed=case.seed,
        blocks=case.blocks,
        outcome=found.remark,
        exact=found.exact,
        pairs=found.pairs,
        inversions=found.inversions,
        error=found.error,
        rows=found.rows,
        seconds=round(clock.total, 3),
        passes=round(solution.passes, 2),
        near=watch.near,
        last=watch.last,
        stages=" ".join(f"{name.replace(' ', '-')} {t:.3f}" for name, t in watch.seconds.items()),
    )


def lines_of(path: Path) -> list[dict[str, str]]:
    """What a file of lines holds; nothing where there is none."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def add(path: Path, line: Line) -> None:
    """Append a line to a file of them."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(Line)], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(vars(line))


def networks(patterns: list[str], seeds: Sequence[int], zoo: Path) -> Iterator[Recipe]:
    """Those of a zoo that are trained and serve; recipes and seeds in this sequence."""
    for recipe in grid(find_recipes(patterns or ["*"]), seeds):
        if not recipe.name.startswith(MODULES) and is_oracle(oracle_folder(zoo, recipe)):
            yield recipe


def by_network(lines: Sequence[dict[str, str]]) -> tuple[list[str], list[list[str]]]:
    """A table of the recipes: how many networks came out, and what they took."""
    head = ["recipe", "blocks", "exact", "pairs", "rows", "processor seconds", "passes"]
    rows = []
    for recipe, group in groupby(sorted(lines, key=_recipe), key=_recipe):
        own = list(group)
        exact = sum(line["exact"] == "True" for line in own)
        rows.append(
            [f"`{recipe}`", own[0]["blocks"], f"{exact} of {len(own)}"]
            + [spread([float(line[name]) for line in own]) for name in ("pairs", "rows")]
            + [spread([float(line[name]) for line in own]) for name in ("seconds", "passes")]
        )
    exact = sum(line["exact"] == "True" for line in lines)
    return head, [*rows, ["exact", "", f"{exact} of {len(lines)}", "", "", "", ""]]


def by_stage(lines: Sequence[dict[str, str]]) -> tuple[list[str], list[list[str]]]:
    """A table of the stages: which networks each led near, and where it ran in vain."""
    head = ["stage", "led near, and then exact", "ran", "processor seconds in all", "networks"]
    rows = []
    times = [(line, dict(_times(line))) for line in lines]
    for stage in auto.STAGES:
        name = stage.name
        took = [each[name] for _, each in times if name in each]
        led = [line for line in lines if line["exact"] == "True" and line["near"] == name]
        recipes = ", ".join(f"`{recipe}`" for recipe in dict.fromkeys(map(_recipe, led)))
        rows.append([name, str(len(led)), str(len(took)), f"{sum(took):.0f}", recipes])
    return head, rows


def _recipe(line: dict[str, str]) -> str:
    return line["recipe"]


def _times(line: dict[str, str]) -> Iterator[tuple[str, float]]:
    words = line["stages"].split()
    for name, seconds in zip(words[::2], words[1::2], strict=True):
        yield name.replace("-", " "), float(seconds)


TABLES = {"networks": by_network, "stages": by_stage}


def picture_of(lines: Sequence[dict[str, str]]) -> bytes:
    """Share of the networks that are exact within so many forward passes, and seconds, as SVG."""
    from unshuffle.views.figures.style import BLUE, axis, picture

    ax = axis(None, f"{len(lines)} networks of the zoo, activation not told", 7, 3.6)
    costs = sorted(float(line["passes"]) for line in lines if line["exact"] == "True")
    shares = [(k + 1) / len(lines) for k in range(len(costs))]
    ax.plot(costs, shares, color=BLUE, drawstyle="steps-post", marker=".")
    for line in lines:
        if line["exact"] == "True" and line["recipe"].startswith("wide-"):
            cost = float(line["passes"])
            ax.annotate(line["recipe"], (cost, shares[costs.index(cost)]), fontsize="small")
    ax.set(xscale="log", xlabel="forward passes of the record", ylabel="share that is exact")
    ax.set_ylim(0, 1.02)
    return picture(ax, "svg")


def main() -> None:
    """Run what is not in the file yet, or show what is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", help="names or patterns (default: all but modules)")
    parser.add_argument("--zoo", type=Path, default=Path(".zoo"), help="(default: %(default)s)")
    parser.add_argument("--seeds", default="0,1", help="(default: %(default)s)")
    parser.add_argument("--rows", type=int, default=10000, help="(default: %(default)s)")
    parser.add_argument("--limit", type=float, default=60.0, help="processor seconds a network")
    parser.add_argument("--draw", type=int, default=0, help="seed of the search")
    parser.add_argument("--out", type=Path, default=Path("build/zoo-runs.csv"), help="the lines")
    parser.add_argument("--table", choices=TABLES, help="print a table of the lines instead")
    parser.add_argument("--picture", type=Path, help="draw exactness against passes instead")
    args = parser.parse_args()

    if args.table:
        head, rows = TABLES[args.table](lines_of(args.out))
        print_markdown(head, rows)
        return
    if args.picture:
        args.picture.write_bytes(picture_of(lines_of(args.out)))
        return
    print(machine())
    done = {(line["recipe"], int(line["seed"])) for line in lines_of(args.out)}
    seeds = [int(seed) for seed in args.seeds.split(",")]
    for recipe in networks(args.recipes, seeds, args.zoo):
        if (recipe.name, recipe.seed) in done:
            continue
        network, data = read_oracle(oracle_folder(args.zoo, recipe))
        line = tried(make_case(recipe, network, data, args.rows), args.limit, args.draw)
        add(args.out, line)
        print(" ".join(f"{name}={value}" for name, value in vars(line).items()), flush=True)


if __name__ == "__main__":
    main()
