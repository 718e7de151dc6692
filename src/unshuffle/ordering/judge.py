"""The judge: the exact error of an order of blocks, for many orders at a time.

Candidates differ from the order that stands in a few places, so they start from its states at the
first place of difference. From there on most of them run the same block at the same depth: their
rows are stacked and pass through it in one matrix product. Batches are judged in parallel threads.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import BlockMaps, Linear, cores
from unshuffle.ordering.journal import Journal
from unshuffle.ordering.trace import Step
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records

Order = tuple[int, ...]

FEW_ROWS = 512
"""With fewer rows, products block by block are so short that threads wait for each other."""

ROWS_TOGETHER = 2048
"""Rows, over all candidates of a batch, that pass through a block together."""


@dataclass(frozen=True, eq=False)
class Run:
    """An order with the states that it passes through.

    Parameters
    ----------
    order
        Blocks in the order in which they run; any number of them.
    states
        Shape (len(order) + 1, rows, width): the inputs, then the state after each block.
    error
        Mean squared error of its predictions.
    """

    order: Order
    states: Floats
    error: float


Search = Generator[Step, None, Run]
"""A search yields what it does, step by step, and returns the run that it ends with."""


@dataclass(eq=False)
class Judge:
    """Judges orders of blocks by exact forward passes.

    Parameters
    ----------
    blocks
        The blocks; an order may use any of them, each at most once.
    last
        The last layer.
    records
        Rows with predictions, on which orders are judged.
    journal
        Keeps what the rounds of a search came to.
    """

    blocks: BlockMaps
    last: Linear
    records: Records
    journal: Journal = field(default_factory=Journal)
    inputs: Floats = field(init=False)
    predictions: Floats = field(init=False)
    threads: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.threads = ThreadPoolExecutor(cores())
        dtype = self.last.weight.dtype
        self.inputs = np.ascontiguousarray(self.records.inputs, dtype=dtype)
        self.predictions = np.ascontiguousarray(self.records.predictions, dtype=dtype)

    def run(self, order: Sequence[int], after: Run | None = None) -> Run:
        """Run an order and keep its states.

        Parameters
        ----------
        order
            The blocks.
        after
            A run whose states are reused as far as the two orders agree.
        """
        states = np.empty((len(order) + 1, *self.inputs.shape), self.inputs.dtype)
        states[0] = self.inputs
        done = 0
        if after is not None:
            done = _agreement(order, after.order)
            states[: done + 1] = after.states[: done + 1]
        with np.errstate(over="ignore", invalid="ignore"):
            for t in range(done, len(order)):
                states[t + 1] = self.blocks.apply(order[t], states[t])
            error = self._errors(states[-1:])[0]
        return Run(tuple(order), states, float(error))

    def runs(self, orders: Sequence[Sequence[int]], after: Run | None = None) -> list[Run]:
        """Run several orders, in parallel where that pays; see `run`."""
        each = map if len(self.inputs) < FEW_ROWS else self.threads.map
        return list(each(lambda order: self.run(order, after), orders))

    def by_rows(self, work: Callable[[slice], None], *, few: int = 0) -> None:
        """Do work on the two halves of the rows in parallel; on all at once if there are so few.

        There are two halves on any machine, since the rounding of a matrix product may depend on
        how many rows it has.
        """

        def quietly(part: slice) -> None:
            # What overflows is judged to be bad; each thread has an error state of its own.
            with np.errstate(over="ignore", invalid="ignore"):
                work(part)

        if len(self.inputs) < few:
            quietly(slice(None))
            return
        middle = (len(self.inputs) + 1) // 2
        for _ in self.threads.map(quietly, (slice(0, middle), slice(middle, None))):
            pass

    def errors(
        self, base: Run, candidates: NDArray[np.intp], *, at_once: int = ROWS_TOGETHER
    ) -> NDArray[np.float64]:
        """Mean squared error of each candidate.

        Parameters
        ----------
        base
            The order that stands; its states are reused.
        candidates
            Shape (candidates, length): block indices, in the order in which they run.
        at_once
            Rows, over all candidates of a batch, that pass through a block together. The more the
            candidates differ, the larger a batch must be for them to share a block.

        Returns
        -------
        NDArray
            Shape (candidates,); infinite where an order overflows.
        """
        count, length = candidates.shape
        overlap = min(length, len(base.order))
        differs = np.ones((count, overlap + 1), bool)  # at the latest where one of them ends
        differs[:, :overlap] = candidates[:, :overlap] != np.array(base.order[:overlap], np.intp)
        start = differs.argmax(axis=1)
        sequence = np.argsort(start, kind="stable")
        errors = np.empty(count)
        size = max(1, at_once // len(self.inputs))
        batches = [sequence[first : first + size] for first in range(0, count, size)]

        def judge(batch: NDArray[np.intp]) -> None:
            errors[batch] = self._judge(base, candidates[batch], start[batch])

        for _ in self.threads.map(judge, batches):
            pass
        return errors

    def _judge(
        self, base: Run, candidates: NDArray[np.intp], start: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Judge candidates that are sorted by the position at which they leave the base."""
        count, length = candidates.shape
        rows, width = self.inputs.shape
        states = np.empty((count, rows, width), self.inputs.dtype)
        active = 0
        with np.errstate(over="ignore", invalid="ignore"):
            for t in range(int(start[0]), length + 1):
                while active < count and start[active] == t:
                    states[active] = base.states[t]
                    active += 1
                if t < length:
                    for block, members in _alike(candidates[:active, t]):
                        x = states[members].reshape(-1, width)
                        states[members] = self.blocks.apply(block, x).reshape(-1, rows, width)
            return self._errors(states)

    def _errors(self, states: Floats) -> NDArray[np.float64]:
        """Mean squared errors of final states of shape (candidates, rows, width)."""
        residual = self.last(states.reshape(-1, states.shape[2]))
        residual = residual.reshape(len(states), *self.predictions.shape)
        residual -= self.predictions
        np.square(residual, out=residual)
        errors: NDArray[np.float64] = residual.mean(axis=(1, 2), dtype=np.float64)
        errors[np.isnan(errors)] = np.inf
        return errors


def _agreement(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning of two orders."""
    for t, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return t
    return min(len(one), len(other))


def _alike(ids: NDArray[np.intp]) -> Iterator[tuple[int, slice | NDArray[np.intp]]]:
    """Each block id that occurs, and where: as a slice, which needs no copy, if side by side."""
    sequence = np.argsort(ids, kind="stable")
    edges = [0, *(np.flatnonzero(np.diff(ids[sequence])) + 1).tolist(), len(ids)]
    for a, b in pairwise(edges):
        where = sequence[a:b]
        first, last = int(where[0]), int(where[-1])
        yield int(ids[first]), slice(first, last + 1) if last - first < len(where) else where
