"""How often the answer comes out, against the number of rows that are left of the record.

    python benchmarks/rows.py [PUZZLE] [--draws T] [--rows N …] [--predicted P …] [--out CSV]

Two curves: N random rows and nothing else; and all inputs, of which P random ones have their
prediction. Every draw is solved by itself; the interval is Wilson's at 95 %. Rows of the CSV are
written as they come, so that a run that is stopped leaves what it has.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

import numpy as np

from common import (
    PROJECT,
    Stopwatch,
    add_puzzle,
    count,
    find_material,
    machine,
    print_table,
    wilson,
)
from unshuffle import Pile, Records, solve

ROWS = (16, 32, 48, 64, 96, 128, 192, 256, 512)
PREDICTED = (2, 4, 8, 16, 32, 64)
OUT = PROJECT / "build" / "benchmarks" / "rows.csv"


@dataclass(frozen=True)
class Draw:
    """One solve.

    Parameters
    ----------
    curve
        "rows" or "predicted".
    left
        Rows, or predictions, that were left.
    draw
        Which draw.
    right
        Whether it is the published answer.
    outcome, seconds
        What the solve said, and how long it took.
    """

    curve: str
    left: int
    draw: int
    right: bool
    outcome: str
    seconds: float


def rows_only(records: Records, left: int, rng: np.random.Generator) -> Records:
    """Some rows and nothing else."""
    return records.take(np.sort(rng.choice(len(records), left, replace=False)).astype(np.intp))


def predicted_only(records: Records, left: int, rng: np.random.Generator) -> Records:
    """All inputs; some have their predictions."""
    predictions = np.full_like(records.predictions, np.nan)
    chosen = rng.choice(len(records), left, replace=False)
    predictions[chosen] = records.predictions[chosen]
    return Records(records.inputs, predictions)


CURVES = {"rows": rows_only, "predicted": predicted_only}


def curve(
    pile: Pile, records: Records, sha256: str, name: str, args: argparse.Namespace
) -> Iterator[Draw]:
    """Solve every draw of every size of a curve."""
    for left in sorted(set(getattr(args, name))):
        if left > len(records):
            continue
        for draw in range(args.draws):
            rng = np.random.default_rng([args.seed, list(CURVES).index(name), left, draw])
            given = CURVES[name](records, left, rng)
            watch = Stopwatch()
            solution = solve(pile, given, time_limit=args.time_limit, seed=draw)
            right = solution.sha256 == sha256
            yield Draw(name, left, draw, right, str(solution.outcome), round(watch.seconds(), 3))


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description="Measure success against the number of rows.")
    add_puzzle(parser)
    parser.add_argument("--draws", type=count, default=20, help="of each size (%(default)s)")
    parser.add_argument("--rows", type=count, nargs="*", default=ROWS, metavar="N")
    parser.add_argument("--predicted", type=count, nargs="*", default=PREDICTED, metavar="P")
    parser.add_argument("--time-limit", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (%(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="CSV", help="where draws go")
    args = parser.parse_args()
    material = find_material(args.puzzle)
    pile, records = material.read()
    print(f"{machine()}; {args.time_limit:g} s each\n")

    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Draw)])
        writer.writeheader()
        for name, title in (("rows", "rows and nothing else"), ("predicted", "predicted rows")):
            by_size: dict[int, list[Draw]] = {}
            for one in curve(pile, records, material.sha256, name, args):
                writer.writerow(asdict(one))
                file.flush()
                by_size.setdefault(one.left, []).append(one)
            if by_size:
                print_table(
                    [title, "right", "95 % interval", "false exact", "median s", "longest s"],
                    [summary(left, draws) for left, draws in by_size.items()],
                )
                print()
    print(f"Draws are in {args.out}. False exact: wrong, and yet called exact.")


def summary(left: int, draws: list[Draw]) -> list[str]:
    """A row of the table."""
    right = sum(one.right for one in draws)
    low, high = wilson(right, len(draws))
    seconds = [one.seconds for one in draws]
    return [
        str(left),
        f"{right} of {len(draws)}",
        f"{100 * low:.0f}–{100 * high:.0f} %",
        str(sum(one.outcome == "exact" and not one.right for one in draws)),
        f"{median(seconds):.3g}",
        f"{max(seconds):.3g}",
    ]


if __name__ == "__main__":
    main()
