"""Kill a resumable solve at random moments, and see whether the same comes out in the end.

    python benchmarks/kills.py [PUZZLE] [--kills N] [--seed S] [--solve "OPTIONS"]

One solve is left alone and timed. Another keeps a checkpoint. It gets SIGKILL at a moment drawn
from the time that the first one took, and is begun again, until so many have been killed. What one
keeps that comes to its end must be what the first one keeps, but for its cost. That is seconds, and
passes, since what lay in memory is worked out again. It is also the list of repairs: one that was
asked in vain before the kill is not asked again. The next one begins without a checkpoint.
"""

import argparse
import json
import random
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from common import add_puzzle, count, find_material, machine
from unshuffle.solution.checkpointing import Checkpoint
from unshuffle.solution.storage import ANSWER, EVIDENCE, NETWORK, SOLUTION, TRACE

COSTS = ("seconds", "passes", "work", "repairs")


def command(pieces: Path, record: Path, out: Path, options: Sequence[str]) -> list[str]:
    """A solve that keeps its result."""
    paths = map(str, (pieces, record, "--out", out))
    return [sys.executable, "-m", "unshuffle", "solve", *paths, "--quiet", *options]


def run(args: Sequence[str], seconds: float | None = None) -> int:
    """Run a program, perhaps killing it after some seconds; its exit status."""
    with subprocess.Popen(args, stdout=subprocess.DEVNULL) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return process.wait()


def differences(one: Path, other: Path) -> list[str]:
    """What two solutions' folders do not have in common, their costs apart."""
    differ = [
        name
        for name in (ANSWER, NETWORK, EVIDENCE)
        if (one / name).read_bytes() != (other / name).read_bytes()
    ]
    facts = [json.loads((folder / SOLUTION).read_text()) for folder in (one, other)]
    differ += [key for key in facts[0] if key not in COSTS and facts[0][key] != facts[1][key]]
    with np.load(one / TRACE) as mine, np.load(other / TRACE) as theirs:
        differ += [
            f"{TRACE} {name}"
            for name in mine
            if name not in COSTS and not np.array_equal(mine[name], theirs[name])
        ]
    return differ


def main() -> int:
    """Run the benchmark; 1 if the results differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_puzzle(parser)
    parser.add_argument("--kills", type=count, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--solve", default="", metavar="OPTIONS", help="of unshuffle solve")
    args = parser.parse_args()
    material = find_material(args.puzzle)
    options = shlex.split(args.solve)
    moments = random.Random(args.seed)
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        whole, resumed, search = (Path(scratch) / name for name in ("whole", "resumed", "search"))
        started = perf_counter()
        status = run(command(material.pieces, material.record, whole, options))
        taken = perf_counter() - started
        print(f"left alone: {taken:.1f} s, exit status {status}")
        resumable = command(material.pieces, material.record, resumed, options)
        resumable += ["--force", "--checkpoint", str(search)]
        killed, differ = 0, list[str]()
        while killed < args.kills or search.exists():
            moment = moments.uniform(0, taken) if killed < args.kills else None
            started = perf_counter()
            ended = run(resumable, moment)
            kept = Checkpoint(search).seconds if search.exists() else 0.0
            what = f"exit status {ended}" if ended >= 0 else "killed"
            print(f"{what} after {perf_counter() - started:.1f} s, {kept:.2f} s of work kept")
            if ended == -signal.SIGKILL:
                killed += 1
                continue
            differ += differences(whole, resumed)
            differ += ["exit status"] * (ended != status)
            search.unlink()
    print(f"killed {killed} times; different: {', '.join(differ) or 'nothing'}")
    return int(bool(differ))


if __name__ == "__main__":
    sys.exit(main())
