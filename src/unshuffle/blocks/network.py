"""A network: blocks in the order in which they run, between two ends."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.bank import Stack
from unshuffle.blocks.ends import Ends
from unshuffle.blocks.threads import pool, single_threaded_blas
from unshuffle.pieces.fact_table import fact_table
from unshuffle.pieces.pile import Floats

# Rows pushed through the network together: few enough for the hidden layer to stay in cache.
ROWS_AT_ONCE = 1024


def mean_squares(residual: Floats, axis: int = 0) -> NDArray[np.float64]:
    """Means of squares along an axis, by default of each column, in double precision."""
    means: NDArray[np.float64] = np.mean(np.square(residual, dtype=np.float64), axis=axis)
    return means


def mean_square(residual: Floats) -> float:
    """Mean of squares in double precision; infinite where a number is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(np.mean(np.square(residual, dtype=np.float64)))
    return error if np.isfinite(error) else np.inf


def run_forward(apply: Callable[[int, Floats], Floats], states: Floats, start: int = 0) -> None:
    """Fill in the states behind the blocks from a start on: shape (places + 1, rows, width)."""
    for place in range(start, len(states) - 1):
        states[place + 1] = apply(place, states[place])


def pull_back(
    pullback: Callable[[int, Floats, Floats], Floats],
    states: Sequence[Floats] | Floats,
    last: Floats,
) -> Iterator[Floats]:
    """Yield the derivatives of each output by each state, from the last to the first.

    Each is of shape (outputs, rows, width), for places + 1 states of shape (rows, width).
    """
    yield last
    for place in range(len(states) - 2, -1, -1):
        last = pullback(place, states[place], last)
        yield last


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
        state = self.ends.enter(inputs)
        parts = [slice(k, k + ROWS_AT_ONCE) for k in range(0, len(state), ROWS_AT_ONCE)]

        def predict(rows: slice) -> Floats:
            # Each thread has an error state of its own.
            with np.errstate(over="ignore", invalid="ignore"):
                x = state[rows]
                for place in range(len(self.blocks)):
                    x = self.blocks.apply(place, x)
                return self.ends.leave(x)

        # Threads of the BLAS beside these would wait for each other.
        with single_threaded_blas():
            if len(parts) < 2:
                return predict(slice(None))
            return np.concatenate([*pool().map(predict, parts)])

    def error(self, inputs: Floats, predictions: Floats) -> float:
        """Mean squared error on rows with predictions; infinite where a state overflows."""
        return mean_square(self.predict(inputs) - predictions)

    def states(self, inputs: Floats) -> Floats:
        """The K + 1 states of the stream, shape (K + 1, rows, width), from the first on."""
        first = self.ends.enter(inputs)
        states = np.empty((len(self.blocks) + 1, *first.shape), first.dtype)
        states[0] = first
        run_forward(self.blocks.apply, states)
        return states

    def adjoints(self, states: Floats) -> Floats:
        """Derivatives of each output by each state: shape (K + 1, outputs, rows, width)."""
        pulled = pull_back(self.blocks.pullback, states, self.ends.pull(states[-1]))
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
