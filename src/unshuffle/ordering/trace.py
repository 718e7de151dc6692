"""What happened during a search: the source of progress reports, pictures and animations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import UsageError
from unshuffle.pieces.pile import PieceId


@dataclass(frozen=True, eq=False)
class Step:
    """One batch of candidates that was judged together.

    Parameters
    ----------
    phase
        Name of the phase of the search.
    tested
        Mean squared error of each candidate, shape (candidates,).
    kept
        Whether one of them replaced the order.
    order
        Block numbers in the order that stands after this step; shorter than the network while it
        is being built. `Trace.pairs` translates them.
    error
        Mean squared error of that order on the rows of the search.
    rows
        Number of rows that the candidates were judged on.
    """

    phase: str
    tested: NDArray[np.float64]
    kept: bool
    order: tuple[int, ...]
    error: float
    rows: int


MOST_ROWS = 2**31 - 1
"""Of a step: whoever draws it counts in 32 bits."""

OnStep = Callable[["Trace"], None]
"""Called after every step with the trace so far: a progress bar, a logger, a plot."""


class Trace:
    """The steps of a search and the second in which each ended.

    Parameters
    ----------
    inp, out
        Ids of the layers that block numbers are made of: number ``i * len(out) + j`` is the block
        of inp layer i and out layer j.
    """

    def __init__(self, inp: Sequence[PieceId] = (), out: Sequence[PieceId] = ()) -> None:
        self.inp = tuple(inp)
        self.out = tuple(out)
        self.steps: list[Step] = []
        self.seconds: list[float] = []

    def add(self, step: Step, seconds: float) -> None:
        """Append a step that ended `seconds` after the search began."""
        self.steps.append(step)
        self.seconds.append(seconds)

    @property
    def tested(self) -> int:
        """Number of candidates judged."""
        return sum(len(step.tested) for step in self.steps)

    @property
    def errors(self) -> NDArray[np.float64]:
        """Mean squared errors of all candidates, in the sequence in which they were judged."""
        return np.concatenate([np.empty(0), *(step.tested for step in self.steps)])

    @property
    def kept(self) -> int:
        """Number of steps that changed the order."""
        return sum(step.kept for step in self.steps)

    @property
    def rows(self) -> int:
        """The most rows that candidates were judged on."""
        return max((step.rows for step in self.steps), default=0)

    def pairs(self, order: Sequence[int]) -> tuple[tuple[PieceId, PieceId], ...]:
        """Ids of the inp and the out layer of each block in an order."""
        halves = (divmod(block, len(self.out)) for block in order)
        return tuple((self.inp[i], self.out[j]) for i, j in halves)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Lay the whole trace out in flat arrays, for storage.

        Returns
        -------
        dict
            Per step: `phase`, `seconds`, `kept`, `error`, `candidates` (how many were tested),
            `blocks` (how many are in the order) and `rows`. Concatenated over the steps: `tested`
            (errors, float32) and `order`, the latter for the steps that kept a move. The ids `inp`
            and `out` translate the block numbers in `order`: number b is the block of inp layer
            ``inp[b // len(out)]`` and out layer ``out[b % len(out)]``.
        """
        kept = [step for step in self.steps if step.kept]
        return {
            "phase": np.array([step.phase for step in self.steps], dtype=np.str_),
            "seconds": np.array(self.seconds, dtype=np.float64),
            "kept": np.array([step.kept for step in self.steps], dtype=np.bool_),
            "error": np.array([step.error for step in self.steps], dtype=np.float64),
            "candidates": np.array([len(step.tested) for step in self.steps], dtype=np.int64),
            "blocks": np.array([len(step.order) for step in self.steps], dtype=np.int64),
            "rows": np.array([step.rows for step in self.steps], dtype=np.int64),
            "tested": np.array([e for step in self.steps for e in step.tested], dtype=np.float32),
            "order": np.array([block for step in kept for block in step.order], dtype=np.int64),
            "inp": np.array(self.inp),
            "out": np.array(self.out),
        }

    @staticmethod
    def from_arrays(
        arrays: Mapping[str, NDArray[Any]], inp: Sequence[PieceId], out: Sequence[PieceId]
    ) -> "Trace":
        """Make a trace out of what `arrays` laid out; the errors of candidates stay rounded.

        Parameters
        ----------
        arrays
            As from `arrays`. The ids in them are not used: an array that has both numbers and
            names makes text of all of them.
        inp, out
            The ids.

        Raises
        ------
        UsageError
            If the arrays do not make a trace of blocks of these layers.
        """
        _check(arrays, len(inp) * len(out))
        trace, order = Trace(inp, out), ()
        tested, orders = arrays["tested"].astype(np.float64), arrays["order"].tolist()
        read = placed = 0
        per_step = (arrays[name].tolist() for name in _PER_STEP)
        for phase, seconds, kept, error, candidates, blocks, rows in zip(*per_step, strict=True):
            if kept:
                order = tuple(orders[placed : placed + blocks])
                placed += blocks
            step = Step(phase, tested[read : read + candidates], kept, order, error, rows)
            read += candidates
            trace.add(step, seconds)
        return trace

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        if not self.steps:
            return "Trace(empty)"
        return (
            f"Trace({len(self)} steps, {self.tested} candidates tested, {self.kept} moves kept, "
            f"error {self.steps[-1].error:.3g} after {self.seconds[-1]:.1f} s)"
        )


_PER_STEP = {
    "phase": "U",
    "seconds": "f",
    "kept": "b",
    "error": "f",
    "candidates": "i",
    "blocks": "i",
    "rows": "i",
}
"""Arrays with one value a step, in the sequence of `Trace.arrays`, and NumPy's kind of each."""


def _check(arrays: Mapping[str, NDArray[Any]], blocks: int) -> None:
    """Refuse arrays that make no trace over so many block numbers."""
    for name, kind in {**_PER_STEP, "tested": "f", "order": "i"}.items():
        if name not in arrays or arrays[name].dtype.kind != kind or arrays[name].ndim != 1:
            raise UsageError(f"a trace needs a vector {name!r} of NumPy's kind {kind!r}")
    kept, sizes, order = arrays["kept"], arrays["blocks"], arrays["order"]
    standing = np.maximum.accumulate(np.where(kept, np.arange(len(kept)), -1))
    fits = (
        len({len(arrays[name]) for name in _PER_STEP}) == 1
        and min(arrays["candidates"].min(initial=0), sizes.min(initial=0)) >= 0
        and arrays["candidates"].sum() == len(arrays["tested"])
        and sizes[kept].sum() == len(order)
        and np.array_equal(sizes, np.where(standing < 0, 0, sizes[standing]))
    )
    if not fits:
        raise UsageError("the arrays of this trace contradict each other in their lengths")
    if order.min(initial=0) < 0 or order.max(initial=0) >= max(blocks, 1):
        raise UsageError(f"this trace has block numbers outside 0 … {blocks - 1}")
    rows = arrays["rows"]
    if rows.min(initial=0) < 0 or rows.max(initial=0) > MOST_ROWS:
        raise UsageError(f"this trace has steps on less than 0 or more than {MOST_ROWS} rows")
