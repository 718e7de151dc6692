"""What happened during a search: the source of progress reports, pictures and animations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import UsageError
from unshuffle.files.schema import OrInfinite
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement, names
from unshuffle.pieces.fact_table import fact_table
from unshuffle.pieces.pile import PieceId


@dataclass(frozen=True, eq=False)
class Step:
    """One batch of candidates that was judged together, and what stands after it.

    While a network is being built the arrangement has fewer blocks than it will have.
    """

    phase: str  # name of the phase of the search
    tested: NDArray[np.float64]  # mean squared error of each candidate, shape (candidates,)
    kept: bool  # whether one of them replaced the arrangement
    arrangement: Arrangement  # what stands after this step
    error: OrInfinite  # mean squared error of that on the rows of the search
    rows: int  # number of rows that the candidates were judged on
    work: int = 0  # of the search so far; see `unshuffle.blocks.work.Work`


# Of a step: whoever draws it counts in 32 bits.
MOST_ROWS = 2**31 - 1

# Called after every step with the trace so far: a progress bar, a logger, a plot.
OnStep = Callable[["Trace"], None]

# Arrays with one value a step, in the sequence of `Trace.arrays`, and NumPy's kind of each.
_PER_STEP = {"phase": "U", "seconds": "f", "kept": "b", "error": "f"}
_PER_STEP |= {"candidates": "i", "blocks": "i", "rows": "i", "work": "i"}


class Trace:
    """The steps of a search and the second in which each ended.

    Parameters
    ----------
    ids
        Ids of the pieces, by their positions in the pile.
    """

    def __init__(self, ids: Sequence[PieceId] = ()) -> None:
        self.ids = tuple(ids)
        self.steps: list[Step] = []
        self.seconds: list[float] = []

    @property
    def row_steps(self) -> int:
        """Rows of all steps, added up."""
        return sum(step.rows for step in self.steps)

    def copy(self) -> "Trace":
        """A trace with the same steps, to which others may be added."""
        other = Trace(self.ids)
        other.steps, other.seconds = [*self.steps], [*self.seconds]
        return other

    def add(self, step: Step, seconds: float) -> None:
        """Append a step that ended `seconds` after the search began."""
        self.steps.append(step)
        self.seconds.append(seconds)

    def first(self, count: int) -> "Trace":
        """The first steps only."""
        trace = Trace(self.ids)
        trace.steps, trace.seconds = self.steps[:count], self.seconds[:count]
        return trace

    @property
    def tested(self) -> int:
        """Number of candidates judged."""
        return sum(len(step.tested) for step in self.steps)

    @property
    def work(self) -> int:
        """What passed through blocks; see `unshuffle.blocks.work.Work`."""
        return max((step.work for step in self.steps), default=0)

    @property
    def errors(self) -> NDArray[np.float64]:
        """Mean squared errors of all candidates, in the sequence in which they were judged."""
        return np.concatenate([np.empty(0), *(step.tested for step in self.steps)])

    @property
    def kept(self) -> int:
        """Number of steps that changed the arrangement."""
        return sum(step.kept for step in self.steps)

    @property
    def rows(self) -> int:
        """The most rows that candidates were judged on."""
        return max((step.rows for step in self.steps), default=0)

    @property
    def told(self) -> str:
        """How many candidates were tested and moves kept, in words."""
        counted = ("candidate", self.tested, "tested"), ("move", self.kept, "kept")
        return ", ".join(
            f"{number} {what}{'s' if number != 1 else ''} {done}" for what, number, done in counted
        )

    def names(self, arrangement: Arrangement) -> tuple[tuple[PieceId, ...], ...]:
        """Ids of the pieces of each block in an arrangement."""
        return names(arrangement, self.ids)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Lay the whole trace out in flat arrays, for storage.

        Per step: `phase`, `seconds`, `kept`, `error`, `candidates` (how many were tested), `blocks`
        (how many are in the arrangement), `rows` and `work`. Concatenated over the steps: `tested`
        (errors, float32) and `arrangement`. The latter has shape (blocks of all steps that kept a
        move, roles), and holds positions in the list `ids`.
        """
        kept = [step.arrangement for step in self.steps if step.kept]
        roles = kept[0].shape[1] if kept else 0
        return {
            "phase": np.array([step.phase for step in self.steps], dtype=np.str_),
            "seconds": np.array(self.seconds, dtype=np.float64),
            "kept": np.array([step.kept for step in self.steps], dtype=np.bool_),
            "error": np.array([step.error for step in self.steps], dtype=np.float64),
            "candidates": np.array([len(step.tested) for step in self.steps], dtype=np.int64),
            "blocks": np.array([len(step.arrangement) for step in self.steps], dtype=np.int64),
            "rows": np.array([step.rows for step in self.steps], dtype=np.int64),
            "work": np.array([step.work for step in self.steps], dtype=np.int64),
            "tested": np.array([e for step in self.steps for e in step.tested], dtype=np.float32),
            "arrangement": np.concatenate([np.empty((0, roles), np.int64), *kept]),
            "ids": np.array(self.ids),
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]], ids: Sequence[PieceId]) -> "Trace":
        """Make a trace out of what `arrays` laid out; the errors of candidates stay rounded.

        The ids in the arrays are not used, since an array of numbers and names makes text of all.
        Raises `UsageError` if the arrays make no trace of arrangements of the pieces.
        """
        _check(arrays, len(ids))
        trace = Trace(ids)
        tested, blocks = arrays["tested"].astype(np.float64), arrays["arrangement"].astype(np.intp)
        arrangement, read, placed = blocks[:0], 0, 0
        per_step = (arrays[name].tolist() for name in _PER_STEP)
        for phase, seconds, kept, error, candidates, size, *rest in zip(*per_step, strict=True):
            if kept:
                arrangement = blocks[placed : placed + size]
                placed += size
            errors = tested[read : read + candidates]
            read += candidates
            trace.add(Step(phase, errors, kept, arrangement, error, *rest), seconds)
        return trace

    def __len__(self) -> int:
        return len(self.steps)

    def _repr_html_(self) -> str:
        """What was searched as a table for notebooks."""
        facts = {"steps": len(self), "candidates tested": self.tested, "moves kept": self.kept}
        if not self.steps:
            return fact_table(facts)
        error, seconds = f"{self.steps[-1].error:.3g}", f"{self.seconds[-1]:.1f}"
        return fact_table({**facts, "mean squared error": error, "seconds": seconds})

    def __repr__(self) -> str:
        if not self.steps:
            return "Trace(empty)"
        return (
            f"Trace({len(self)} steps, {self.told}, error {self.steps[-1].error:.3g} after "
            f"{self.seconds[-1]:.1f} s)"
        )


def _check(arrays: Mapping[str, NDArray[Any]], pieces: int) -> None:
    """Refuse arrays that make no trace over so many pieces."""
    for name, kind in {**_PER_STEP, "tested": "f", "arrangement": "i"}.items():
        axes = 2 if name == "arrangement" else 1
        if name not in arrays or arrays[name].dtype.kind != kind or arrays[name].ndim != axes:
            raise UsageError(
                f"a trace needs an array {name!r} of {axes} axes and NumPy's kind {kind!r}"
            )
    kept, sizes, blocks = arrays["kept"], arrays["blocks"], arrays["arrangement"]
    standing = np.maximum.accumulate(np.where(kept, np.arange(len(kept)), -1))
    fits = (
        len({len(arrays[name]) for name in _PER_STEP}) == 1
        and min(arrays["candidates"].min(initial=0), sizes.min(initial=0)) >= 0
        and arrays["candidates"].sum() == len(arrays["tested"])
        and sizes[kept].sum() == len(blocks)
        and np.array_equal(sizes, np.where(standing < 0, 0, sizes[standing]))
    )
    if not fits:
        raise UsageError("the arrays of this trace contradict each other in their lengths")
    if blocks.min(initial=0) < NO_PIECE or blocks.max(initial=0) >= max(pieces, 1):
        raise UsageError(f"this trace has positions outside 0 … {pieces - 1}")
    rows = arrays["rows"]
    if arrays["work"].min(initial=0) < 0:
        raise UsageError("this trace has steps of negative work")
    if rows.min(initial=0) < 0 or rows.max(initial=0) > MOST_ROWS:
        raise UsageError(f"this trace has steps on less than 0 or more than {MOST_ROWS} rows")
