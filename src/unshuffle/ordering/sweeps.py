"""The moves of the strategy `classic`, in sequence: insert, exchange, move and turn blocks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from unshuffle.ordering.judge import Doubles, Indices, Judge, Run
from unshuffle.ordering.moves import shifted
from unshuffle.pieces.blueprint import Arrangement

# Where greedy insertion may put a block: before or after what stands, or at every position.
PLACEMENTS = ("ends", "anywhere")


@dataclass(frozen=True)
class ClassicParameters:
    """Numbers that steer the strategy `classic`.

    Parameters
    ----------
    rows
        Rows that candidates are judged on: enough for the puzzle, few enough for minutes.
    batch
        Candidates in the first batch of exchanges. Later batches grow, since an early success
        wastes the rest.
    """

    rows: int = 500
    batch: int = 4


STANDARD = ClassicParameters()


def inserted(
    judge: Judge, run: Run, blocks: Arrangement, placement: str = "anywhere"
) -> tuple[Run, Doubles]:
    """Insert the block that lowers the error most, or raises it least; with the errors of all.

    Ties go to the block, then to the position, that comes first.
    """
    positions = range(len(run) + 1) if placement == "anywhere" else sorted({0, len(run)})
    made = [np.insert(run.arrangement, at, block, axis=0) for block in blocks for at in positions]
    candidates = np.stack(made)
    errors = judge.errors(run, candidates)
    return judge.run(candidates[int(errors.argmin())], after=run), errors


def exchanged(
    judge: Judge, run: Run, at: int, start: int, by: ClassicParameters = STANDARD
) -> tuple[Run, Doubles, int]:
    """Exchange the block of a place with later ones until that lowers the error.

    The errors of what was judged come with the run, and the index of the last.
    """
    others = np.arange(start, len(run))
    candidates = np.tile(run.arrangement, (len(others), 1, 1))
    candidates[:, at] = run.arrangement[others]
    candidates[np.arange(len(others)), others] = run.arrangement[at]
    return _first_better(judge, run, candidates, by.batch)


def moved(judge: Judge, run: Run, block: Indices) -> tuple[Run, Doubles]:
    """Take a block out and put it where the error is lowest, if that lowers it."""
    at = int(np.flatnonzero((run.arrangement == block).all(axis=1))[0])
    places = [place for place in range(len(run)) if place != at]
    candidates = np.stack([shifted(run.arrangement, at, place) for place in places])
    errors = judge.errors(run, candidates)
    best = int(errors.argmin())
    kept = bool(errors[best] < run.error)
    return judge.run(candidates[best], after=run) if kept else run, errors


def turned(
    judge: Judge, run: Run, start: int, by: ClassicParameters = STANDARD
) -> tuple[Run, Doubles, int]:
    """Exchange the roles within one block after the other until that lowers the error."""
    (one, other), *_ = judge.bank.kind.turns()
    places = np.arange(start, len(run))
    candidates = np.tile(run.arrangement, (len(places), 1, 1))
    each = np.arange(len(places))
    candidates[each, places, one] = run.arrangement[places, other]
    candidates[each, places, other] = run.arrangement[places, one]
    return _first_better(judge, run, candidates, by.batch)


def _first_better(
    judge: Judge, run: Run, candidates: Indices, size: int
) -> tuple[Run, Doubles, int]:
    """Judge candidates in sequence until one lowers the error; results as of `exchanged`."""
    errors: list[Doubles] = []
    for batch in _batches(candidates, size):
        errors.append(judge.errors(run, batch))
        better = np.flatnonzero(errors[-1] < run.error)
        if len(better):
            first = int(better[0])
            errors[-1] = errors[-1][: first + 1]
            tested = np.concatenate(errors)
            return judge.run(batch[first], after=run), tested, len(tested) - 1
    return run, np.concatenate(errors), len(candidates) - 1


def _batches(candidates: Indices, size: int) -> Iterator[Indices]:
    """Split candidates into batches that grow from a size."""
    while len(candidates):
        yield candidates[:size]
        candidates, size = candidates[size:], 2 * size
