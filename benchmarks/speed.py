"""How long a solve takes, against the published methods and against checking an answer.

    python benchmarks/speed.py [PUZZLE] [--repeats N] [--only NAME …] [--repeat-slow]
    python benchmarks/speed.py [PUZZLE] --process [--repeats N]

Everything runs in one process, the files are read once, and the repetitions take turns, so that
whatever else the machine does hits all alike. A repetition gives one ratio; ratios are reported
with their range. With --process, whole processes are compared with their unavoidable parts.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from common import (
    Material,
    Stopwatch,
    add_puzzle,
    count,
    find_material,
    machine,
    one_blas_thread,
    print_table,
    refuse_unknown,
    spread,
)
from unshuffle import Pile, Records, solve
from unshuffle.lab.published import BASELINES
from unshuffle.pieces.answer import answer_hash

SOLVE = "solve"
FORWARD = "forward"
CLASSIC = "classic"


@dataclass(frozen=True)
class Contestant:
    """Something that is timed.

    `run` is given the repetition, and returns seconds and whether the answer is the right one.
    """

    name: str
    what: str
    run: Callable[[int], tuple[float, bool | None]]
    slow: bool = False


@dataclass
class Times:
    """Seconds of a contestant by repetition, and whether every answer was right."""

    seconds: dict[int, float] = field(default_factory=dict)
    right: bool | None = None


def contestants(pile: Pile, records: Records, sha256: str) -> list[Contestant]:
    """All that can be timed."""

    def solved(strategy: str, repetition: int) -> tuple[float, bool | None]:
        # Each repetition draws other rows, which decide how many rounds the search takes.
        solution = solve(pile, records, strategy=strategy, seed=repetition)
        seconds = solution.seconds["pair"] + solution.seconds["order"]
        return seconds, solution.sha256 == sha256

    def baseline(name: str, _: int) -> tuple[float, bool | None]:
        result = BASELINES[name].solve(pile, records)
        return result.seconds, answer_hash(result.permutation) == sha256

    network = solve(pile, records).network
    inputs = records.inputs.astype(network.ends.dtype)

    def forward(_: int) -> tuple[float, bool | None]:
        with one_blas_thread():
            watch = Stopwatch()
            network.predict(inputs)
            return watch.seconds(), None

    return [
        Contestant(SOLVE, "strategy auto, pairing and ordering", partial(solved, "auto")),
        Contestant(FORWARD, f"the network on all {len(records):,} rows, once", forward),
        *(
            Contestant(one.name, one.source, partial(baseline, one.name), one.slow)
            for one in BASELINES.values()
        ),
        Contestant(
            CLASSIC,
            "greedy insertion, 2-opt, or-opt (gardberg.xyz)",
            partial(solved, "classic"),
            True,
        ),
    ]


def take_turns(
    chosen: list[Contestant], repeats: int, *, repeat_slow: bool = False
) -> dict[str, Times]:
    """Run all in turn, `repeats` times; slow ones once, unless asked."""
    times = {one.name: Times() for one in chosen}
    for repetition in range(repeats):
        for one in chosen:
            if repetition and one.slow and not repeat_slow:
                continue
            seconds, right = one.run(repetition)
            mine = times[one.name]
            mine.seconds[repetition] = seconds
            mine.right = right if mine.right is None else mine.right and right
    return times


def ratios(over: Times, under: Times) -> list[float]:
    """Ratios of the repetitions that both took part in."""
    both = over.seconds.keys() & under.seconds.keys()
    return [over.seconds[k] / under.seconds[k] for k in sorted(both)]


def compare(material: Material, args: argparse.Namespace) -> None:
    """Time everything in this process and print the table."""
    pile, records = material.read()
    known = contestants(pile, records, material.sha256)
    names = [one.name for one in known]
    refuse_unknown("", args.only, names)
    # What everything is measured by is always there; minutes of classic only when asked for.
    wanted = {*(args.only or [n for n in names if n != CLASSIC]), SOLVE, FORWARD}
    chosen = [one for one in known if one.name in wanted]
    times = take_turns(chosen, args.repeats, repeat_slow=args.repeat_slow)
    rows = []
    for one in chosen:
        mine = times[one.name]
        rows.append(
            [
                one.name,
                {None: "", True: "yes", False: "NO"}[mine.right],
                str(len(mine.seconds)),
                spread([1000 * s for s in mine.seconds.values()]),
                spread(ratios(mine, times[SOLVE])),
                spread(ratios(mine, times[FORWARD])),
            ]
        )
    header = ["", "right", "runs", "milliseconds", "times solve", "times forward"]
    print_table(header, rows)
    print("\nMedians, with least and greatest. Ratios are taken within repetitions.")
    for one in chosen:
        print(f"  {one.name}: {one.what}")


PARTS = """
import json, sys
from time import perf_counter
started = perf_counter()
import numpy
numpy_seconds = perf_counter() - started
import unshuffle
from unshuffle.blocks.assembly import build_network
from unshuffle.files import read_pile, read_records
from threadpoolctl import threadpool_limits

def read():
    started = perf_counter()
    pile, records = read_pile(sys.argv[1]), read_records(sys.argv[2])
    return perf_counter() - started, pile, records

first, pile, records = read()
again, _, _ = read()
network = build_network(pile, json.loads(sys.argv[3]))
with threadpool_limits(1, "blas"):
    inputs = records.inputs.astype(network.ends.dtype)
    started = perf_counter()
    network.predict(inputs)
    network.predict(inputs)
    forward = perf_counter() - started
print(json.dumps({"numpy": numpy_seconds, "read": again, "first read": first, "forward": forward}))
"""
"""Measures the parts inside a fresh process."""


def run_process(words: list[str]) -> tuple[float, str]:
    """Seconds and output of a process of this Python; ends the benchmark where it fails."""
    # As where the package is installed: bytecode is kept from run to run.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, *words]
    watch = Stopwatch()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = watch.seconds()
    if done.returncode not in (0, 3):  # 3: solved, but not exactly
        sys.exit(f"python {' '.join(words)[:200]}: {done.stderr}")
    return seconds, done.stdout


def compare_processes(material: Material, args: argparse.Namespace) -> None:
    """Time whole processes and their parts in turn, and print the table."""
    files = [str(material.pieces), str(material.record)]
    command = ["-m", "unshuffle", "solve", *files, "--json"]
    permutation = json.dumps(json.loads(run_process(command)[1])["permutation"])
    names = ["whole process", "interpreter start", "import numpy", "reading the files"]
    names += ["two forward passes", "sum of the parts"]
    times = {name: Times() for name in [*names, "first reading"]}
    right = True
    for repetition in range(args.repeats):
        # Each repetition draws other rows, which decide how many rounds the search takes.
        whole, output = run_process([*command, "--seed", str(repetition)])
        right &= json.loads(output)["sha256"] == material.sha256
        start, _ = run_process(["-c", "pass"])
        parts = json.loads(run_process(["-c", PARTS, *files, permutation])[1])
        seconds = [whole, start, parts["numpy"], parts["read"], parts["forward"]]
        for name, value in zip(names, [*seconds, sum(seconds[1:])], strict=True):
            times[name].seconds[repetition] = value
        times["first reading"].seconds[repetition] = parts["first read"]
    total = times["sum of the parts"]
    rows = [
        [name, spread([1000 * s for s in mine.seconds.values()]), spread(ratios(mine, total))]
        for name, mine in times.items()
    ]
    print_table(["", "milliseconds", "times the sum"], rows)
    print(
        f"\n{args.repeats} repetitions; every answer right: {'yes' if right else 'NO'}. Reading is "
        "the second reading in a process; the first one, which also imports the readers, stands "
        "below the sum and is not part of it."
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare the speed of solve with other methods.")
    add_puzzle(parser)
    parser.add_argument("--repeats", type=count, default=9, help="of each (%(default)s)")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help=f"only these, beside {SOLVE} and {FORWARD}: {', '.join([*BASELINES, CLASSIC])}",
    )
    parser.add_argument("--repeat-slow", action="store_true", help="repeat the slow ones as well")
    parser.add_argument("--process", action="store_true", help="time whole processes instead")
    args = parser.parse_args()
    material = find_material(args.puzzle)
    print(f"{machine()}\n")
    if args.process:
        compare_processes(material, args)
    else:
        compare(material, args)


if __name__ == "__main__":
    main()
