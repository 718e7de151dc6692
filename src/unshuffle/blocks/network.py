"""A network: blocks in the order in which they run, between two ends."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.bank import Stack
from unshuffle.blocks.ends import Ends
from unshuffle.blocks.threads import pool, single_threaded_blas
from unshuffle.errors import UsageError
from unshuffle.pieces.fact_table import fact_table
from unshuffle.pieces.pile import Floats

# Rows pushed through the network together: few enough for the hidden layer to stay in cache.
ROWS_AT_ONCE = 1024

# What a bank calls a block by its pieces, and a stack by its place.
Block = TypeVar("Block")


def mean_squares(residual: Floats, axis: int | tuple[int, ...] | None = 0) -> NDArray[np.float64]:
    """Means of squares along axes, by default of each column, in double precision."""
    squares = np.square(residual, dtype=np.float64)
    return np.asarray(squares.mean(axis=axis), np.float64)


def mean_square(residual: Floats) -> float:
    """Mean of squares in double precision; infinite where a number is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(mean_squares(residual, axis=None))
    return error if np.isfinite(error) else np.inf


def run_forward(
    apply: Callable[[Block, Floats], Floats], blocks: Iterable[Block], state: Floats
) -> Iterator[Floats]:
    """Yield the states before and behind blocks: one more than these, of shape (rows, width)."""
    yield state
    for block in blocks:
        state = apply(block, state)
        yield state


def pull_back(
    pullback: Callable[[Block, Floats, Floats], Floats],
    blocks: Sequence[Block],
    states: Sequence[Floats] | Floats,
    last: Floats,
) -> Iterator[Floats]:
    """Yield the derivatives of each output by each state, from the last to the first.

    Each is of shape (outputs, rows, width), for the states that `run_forward` yields.
    """
    yield last
    for place in reversed(range(len(blocks))):
        last = pullback(blocks[place], states[place], last)
        yield last


def last_of(passed: Iterator[Floats]) -> Floats:
    """What a pass ends with; nothing before that is kept."""
    (last,) = deque(passed, maxlen=1)
    return last


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """Residual blocks in the order in which they run, and their ends.

    Examples
    --------
    >>> network.predict(inputs)  # inputs (rows, width) → (rows, outputs)
    """

    blocks: Stack
    ends: Ends

    def predict(self, inputs: Floats) -> Floats:
        """Predict rows.

        Parameters
        ----------
        inputs
            Shape (rows, columns), float32 or float64; cast to the dtype of the weights.

        Returns
        -------
        Floats
            Shape (rows, outputs), of the weights' dtype; infinite or NaN where a state overflows.

        Raises
        ------
        UsageError
            If the inputs have another shape.
        """
        return self._in_parts(lambda x: self.ends.leave(self.pass_through(x)), inputs)

    def last_states(self, inputs: Floats) -> Floats:
        """The states that the head reads, shape (rows, width)."""
        return self._in_parts(self.pass_through, inputs)

    def pass_through(self, state: Floats, places: Iterable[int] | None = None) -> Floats:
        """The states behind all blocks, or behind some of them in another order."""
        order = range(len(self.blocks)) if places is None else places
        return last_of(run_forward(self.blocks.apply, order, state))

    def _in_parts(self, run: Callable[[Floats], Floats], inputs: Floats) -> Floats:
        """Run something on the first states of inputs, in parallel where there are many."""
        state = self.ends.enter(inputs)
        parts = [slice(k, k + ROWS_AT_ONCE) for k in range(0, len(state), ROWS_AT_ONCE)]

        def quietly(rows: slice) -> Floats:
            # Each thread has an error state of its own.
            with np.errstate(over="ignore", invalid="ignore"):
                return run(state[rows])

        # Threads of the BLAS beside these would wait for each other.
        with single_threaded_blas():
            if len(parts) < 2:
                return quietly(slice(None))
            return np.concatenate([*pool().map(quietly, parts)])

    def error(self, inputs: Floats, predictions: Floats) -> float:
        """Mean squared error on rows with predictions; infinite where a state overflows."""
        predicted = self.predict(inputs)
        if predicted.shape != np.shape(predictions):
            raise UsageError(
                f"the predictions have shape {np.shape(predictions)}, but the network's have "
                f"{predicted.shape}; give them in that shape"
            )
        return mean_square(predicted - predictions)

    def states(self, inputs: Floats) -> Floats:
        """The K + 1 states of the stream, shape (K + 1, rows, width), from the first on."""
        first = self.ends.enter(inputs)
        states = np.empty((len(self.blocks) + 1, *first.shape), first.dtype)
        passed = run_forward(self.blocks.apply, range(len(self.blocks)), first)
        for place, state in enumerate(passed):
            states[place] = state
        return states

    def adjoints(self, states: Floats) -> Floats:
        """Derivatives of each output by each state: shape (K + 1, outputs, rows, width)."""
        places = range(len(self.blocks))
        pulled = pull_back(self.blocks.pullback, places, states, self.ends.pull(states[-1]))
        return np.stack([*pulled][::-1])

    def astype(self, dtype: np.typing.DTypeLike) -> Self:
        """The same network with its numbers in another dtype."""
        return replace(self, blocks=self.blocks.astype(dtype), ends=self.ends.astype(dtype))

    def tensors(self) -> dict[str, Floats]:
        """Every tensor by its name, such as ``blocks.0.inp.weight`` or ``last.bias``."""
        blocks = self.blocks.tensors()
        # The ends of a module have all its tensors, those of its blocks too, with other values.
        return blocks | self.ends.tensors() | blocks

    def _repr_html_(self) -> str:
        """What it is made of as a table for notebooks."""
        return fact_table({"blocks": f"{len(self.blocks)} × [{self.blocks}]", "ends": self.ends})

    def __repr__(self) -> str:
        return f"Network({len(self.blocks)} × [{self.blocks}], {self.ends}, {self.ends.dtype})"
