"""The judge: the exact error of an arrangement, for many arrangements at a time.

Candidates start from the states of the arrangement that stands, at the first difference. Most of
them then run the same block at the same depth. Their rows pass through it in one matrix product.
Batches are judged in parallel threads.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.bank import Bank
from unshuffle.blocks.ends import Ends
from unshuffle.blocks.network import Network, run_forward
from unshuffle.blocks.threads import pool
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records

# Numbers in double precision, and indices.
Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

# Stands for a squared error of 0, whose logarithm no objective can take.
NOTHING = 1e-200


@dataclass(frozen=True)
class JudgeParameters:
    """Numbers that steer how a judge divides its work.

    Parameters
    ----------
    few_rows
        Rows below which products block by block are so short that threads wait for each other.
    at_once
        Rows, over all candidates of a batch, that pass through a block together.
    numbers
        Numbers of their states, at most: a state of a module may be a whole sequence.
    """

    few_rows: int = 512
    at_once: int = 2048
    numbers: int = 1 << 20


@dataclass(frozen=True, eq=False)
class Run:
    """An arrangement of any number of blocks, with the states that it passes through."""

    arrangement: Arrangement
    states: Floats  # (blocks + 1, rows, width): the first state, then the state after each block
    error: float  # mean squared error of its predictions

    def __len__(self) -> int:
        return len(self.arrangement)


@dataclass(eq=False)
class Judge:
    """Judges arrangements by exact forward passes, on rows with predictions."""

    bank: Bank
    ends: Ends
    records: Records
    by: JudgeParameters = field(default_factory=JudgeParameters)
    inputs: Floats = field(init=False)
    predictions: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.inputs = self.ends.enter(self.records.inputs)
        self.predictions = np.ascontiguousarray(self.records.predictions, dtype=self.ends.dtype)

    def network(self, arrangement: Arrangement) -> Network:
        """The network of an arrangement."""
        return Network(self.bank.take(arrangement), self.ends)

    def run(self, arrangement: Arrangement, after: Run | None = None) -> Run:
        """Run an arrangement; states of another run are reused as far as the two agree."""
        arrangement = np.asarray(arrangement, np.intp).reshape(-1, len(self.bank.kind.roles))
        states = np.empty((len(arrangement) + 1, *self.inputs.shape), self.inputs.dtype)
        states[0] = self.inputs
        done = 0
        if after is not None:
            done = int(_departures(after.arrangement, arrangement[None])[0])
            states[: done + 1] = after.states[: done + 1]
        with np.errstate(over="ignore", invalid="ignore"):
            passed = run_forward(self.bank.apply, arrangement[done:], states[done])
            for place, state in enumerate(passed, done):
                states[place] = state
            error = self._errors(states[-1:])[0]
        return Run(arrangement, states, float(error))

    def runs(self, arrangements: Sequence[Arrangement], after: Run | None = None) -> list[Run]:
        """Run several arrangements, in parallel where that pays; see `run`."""
        each = map if len(self.inputs) < self.by.few_rows else pool().map
        return list(each(lambda arrangement: self.run(arrangement, after), arrangements))

    def by_rows(self, work: Callable[[slice], None], *, few: int = 0) -> None:
        """Do work on the two halves of the rows in parallel, or on all of few rows at once.

        There are two halves on any machine. The rounding of a matrix product may depend on its
        number of rows.
        """

        def quietly(part: slice) -> None:
            # What overflows is judged to be bad; each thread has an error state of its own.
            with np.errstate(over="ignore", invalid="ignore"):
                work(part)

        if len(self.inputs) < few:
            quietly(slice(None))
            return
        middle = (len(self.inputs) + 1) // 2
        halves = (slice(0, middle), slice(middle, None))
        for _ in pool().map(quietly, halves[: len(self.inputs)]):  # a single row is no two halves
            pass

    def errors(self, base: Run, candidates: Indices) -> Doubles:
        """Mean squared errors of candidates, which have shape (candidates, blocks, roles).

        The states of the base are reused. An error is infinite where an arrangement overflows.
        Candidates that differ more share a block only if more rows pass at once.
        """
        start = _departures(base.arrangement, candidates)
        sequence = np.argsort(start, kind="stable")
        errors = np.empty(len(candidates))
        rows, width = self.inputs.shape
        size = max(1, min(self.by.at_once, self.by.numbers // width) // rows)
        batches = [sequence[first : first + size] for first in range(0, len(candidates), size)]

        def judge(batch: Indices) -> None:
            errors[batch] = self._judge(base, candidates[batch], start[batch])

        for _ in pool().map(judge, batches):
            pass
        return errors

    def _judge(self, base: Run, candidates: Indices, start: Indices) -> Doubles:
        """Judge candidates that are sorted by the place at which they leave the base."""
        count, length = candidates.shape[:2]
        rows, width = self.inputs.shape
        states = np.empty((count, rows, width), self.inputs.dtype)
        active = 0
        with np.errstate(over="ignore", invalid="ignore"):
            for t in range(int(start[0]), length + 1):
                while active < count and start[active] == t:
                    states[active] = base.states[t]
                    active += 1
                if t < length:
                    for first, members in _alike(candidates[:active, t]):
                        x = states[members].reshape(-1, width)
                        y = self.bank.apply(candidates[first, t], x)
                        states[members] = y.reshape(-1, rows, width)
            return self._errors(states)

    def _errors(self, states: Floats) -> Doubles:
        """Mean squared errors of final states of shape (candidates, rows, width)."""
        residual = self.ends.leave(states.reshape(-1, states.shape[2]))
        residual = residual.reshape(len(states), *self.predictions.shape)
        residual -= self.predictions
        # As `mean_squares`, but in place and in the network's dtype: a search does this most.
        np.square(residual, out=residual)
        errors: Doubles = residual.mean(axis=(1, 2), dtype=np.float64)
        errors[np.isnan(errors)] = np.inf
        return errors


def _departures(base: Arrangement, candidates: Indices) -> Indices:
    """Places at which candidates leave a base, at the latest where one of them ends."""
    overlap = min(candidates.shape[1], len(base))
    differs = np.ones((len(candidates), overlap + 1), bool)
    differs[:, :overlap] = (candidates[:, :overlap] != base[:overlap]).any(axis=2)
    places: Indices = differs.argmax(axis=1)
    return places


def _alike(blocks: Arrangement) -> Iterator[tuple[int, slice | Indices]]:
    """The first of each different block, and where it occurs.

    Where it stands side by side it is a slice, which needs no copy.
    """
    sequence = np.lexsort(blocks.T[::-1])
    changes = (np.diff(blocks[sequence], axis=0) != 0).any(axis=1)
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(blocks)]
    for a, b in pairwise(edges):
        where = sequence[a:b]
        first, last = int(where[0]), int(where[-1])
        yield first, slice(first, last + 1) if last - first < len(where) else where
