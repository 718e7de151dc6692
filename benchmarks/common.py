"""What the benchmarks share: the puzzle, the machine, spreads, intervals and tables."""

import argparse
import os
import platform
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import NormalDist, median
from time import perf_counter, process_time

import numpy as np

from unshuffle import Pile, Records, read_pile, read_records
from unshuffle.blocks.threads import cores, single_threaded_blas
from unshuffle.pieces.clock import Clock

PROJECT = Path(__file__).resolve().parent.parent
PUZZLE = PROJECT.parent / "shared" / "puzzle"
EXAMPLE = PROJECT / "examples" / "dropped"

PUBLISHED = "093be1cf2d24094db903cbc3e8d33d306ebca49c6accaa264e44b0b675e7d9c4"
"""SHA-256 of the published puzzle's answer."""


@dataclass(frozen=True)
class Material:
    """A dropped network on disk, whose answer is known by its hash.

    Parameters
    ----------
    pieces, record
        The folder of pieces and the file of rows.
    sha256
        Of the answer text.
    """

    pieces: Path
    record: Path
    sha256: str

    def read(self) -> tuple[Pile, Records]:
        """Read the pieces and the rows; what the network was trained towards is left out."""
        records = read_records(self.record)
        return read_pile(self.pieces), Records(records.inputs, records.predictions)


def find_material(folder: Path | None) -> Material:
    """The puzzle in a folder; the shipped example, saying so, where there is none.

    A folder holds `pieces/`, one CSV file, and `answer.sha256` unless it is the published puzzle.
    """
    wanted = PUZZLE if folder is None else folder
    if not (wanted / "pieces").is_dir():
        if folder is not None:
            sys.exit(f"{folder}: there is no folder of pieces in it")
        print("The published puzzle is not there: this runs on the shipped example.\n")
        wanted = EXAMPLE
    record = next(iter(sorted(wanted.glob("*.csv"))), None)
    if record is None:
        sys.exit(f"{wanted}: there is no CSV file of rows in it")
    answer = wanted / "answer.sha256"
    sha256 = answer.read_text(encoding="ascii").split()[0] if answer.exists() else PUBLISHED
    return Material(wanted / "pieces", record, sha256)


def add_puzzle(parser: argparse.ArgumentParser) -> None:
    """Declare the argument that names the puzzle's folder."""
    parser.add_argument(
        "puzzle",
        nargs="?",
        type=Path,
        help="folder with pieces/ and a CSV file (default: ../shared/puzzle, else the example)",
    )


def count(text: str) -> int:
    """Read a whole number from 1 on, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def refuse_unknown(what: str, asked: Iterable[str] | None, known: Collection[str]) -> None:
    """End the benchmark where something is asked for that there is not."""
    for name in asked or ():
        if name not in known:
            sys.exit(f"there is no {what}{name!r}; there are: {', '.join(known)}")


def machine() -> str:
    """The machine and the versions, in one line, with how busy it is."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{platform.system()} {platform.machine()}, {cores()} cores{load}; "
        f"Python {platform.python_version()}, NumPy {np.__version__}"
    )


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread: the code inside runs rows in threads of its own, as `solve` does."""
    with single_threaded_blas():
        yield


class ProcessorClock(Clock):
    """A clock that counts processor seconds, or how often it is looked at."""

    def __init__(self, limit: float | None, looks: int | None = None) -> None:
        self._looks = looks
        super().__init__(limit, now=process_time)

    @property
    def total(self) -> float:
        """Processor seconds so far; the limit after so many looks."""
        if self._looks is not None:
            self._looks -= 1
            return 0.0 if self._looks > 0 else self.limit or 0.0
        return super().total


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = perf_counter()

    def seconds(self) -> float:
        """Seconds so far."""
        return perf_counter() - self._started


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Median with the range, as in "0.41 (0.38–0.47)"; the value alone where there is but one."""
    middle = f"{median(values):.{digits}g}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}g}–{max(values):.{digits}g})"


def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a success rate, Wilson 1927: sensible at 0 and at all successes too."""
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate = successes / trials
    scale = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z * sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / scale
    # At the ends the bound is the end itself, which rounding would miss.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high


def growth_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of a least-squares line through the logarithms: the p of value ∝ size^p."""
    slope, _ = np.polyfit(np.log(sizes), np.log(values), 1)
    return float(slope)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, the first flush left and the others flush right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, ["-" * width for width in widths], *rows):
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())


def print_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table for a page of the documents."""
    for line in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(line)} |")
