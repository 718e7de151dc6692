"""What stands before and behind the blocks: from inputs to states, and to predictions."""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from unshuffle.errors import UsageError
from unshuffle.pieces.pile import Floats


class Ends(Protocol):
    """The two ends of a network."""

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The dtype that the network computes in."""

    def enter(self, inputs: Floats) -> Floats:
        """The first state, shape (rows, width), of inputs, shape (rows, columns)."""

    def leave(self, state: Floats) -> Floats:
        """Predictions, shape (rows, outputs), of last states, shape (rows, width)."""

    def pull(self, state: Floats, probes: Floats | None = None) -> Floats:
        """Derivatives of each output by the last state: shape (outputs, rows, width).

        With probes, shape (directions, outputs), those of the outputs along these directions. They
        have shape (directions, rows, width).
        """

    def tensors(self) -> dict[str, Floats]:
        """Every tensor by its name."""

    def astype(self, dtype: np.typing.DTypeLike) -> Self:
        """The same ends with their numbers in another dtype."""


@dataclass(frozen=True, eq=False)
class Linear:
    """An affine map ``x ↦ x Wᵀ + b`` of rows: weight (rows, columns), bias (rows,).

    As the ends of a network it is the last layer. The blocks read the inputs themselves.
    """

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """Map rows x of shape (n, columns) to shape (n, rows)."""
        y: Floats = x @ self.weight.T
        y += self.bias
        return y

    def __str__(self) -> str:
        outputs, width = self.weight.shape
        return f"last {width} → {outputs}"

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The dtype of the numbers."""
        return self.weight.dtype

    def enter(self, inputs: Floats) -> Floats:
        """The inputs in the dtype of the weights; raises `UsageError` for rows of another width."""
        inputs, width = np.ascontiguousarray(inputs, dtype=self.dtype), self.weight.shape[1]
        if inputs.ndim != 2 or inputs.shape[1] != width:
            raise UsageError(
                f"the network reads rows of {width} inputs, but got an array of shape "
                f"{inputs.shape}; give it one of shape (rows, {width})"
            )
        return inputs

    leave = __call__

    def pull(self, state: Floats, probes: Floats | None = None) -> Floats:
        """The rows of the weight, or mixtures of them, the same for each state."""
        weight = self.weight if probes is None else probes.astype(self.dtype) @ self.weight
        weight = weight[:, None]
        return np.broadcast_to(weight, (len(weight), *state.shape))

    def tensors(self) -> dict[str, Floats]:
        """Weight and bias under the names of a last layer."""
        return {"last.weight": self.weight, "last.bias": self.bias}

    def astype(self, dtype: np.typing.DTypeLike) -> "Linear":
        """The same map with its numbers in another dtype."""
        return Linear(self.weight.astype(dtype, copy=False), self.bias.astype(dtype, copy=False))


@dataclass(frozen=True, eq=False)
class Projected:
    """Ends whose outputs are random projections of those of others: few equations for many outputs.

    The probes have shape (directions, outputs) and independent entries of variance 1 / outputs. So
    mean squared errors of projections are those of the outputs, on average (Johnson & Lindenstrauss
    1984).
    """

    ends: Ends
    probes: Floats

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The dtype that the network computes in."""
        return self.ends.dtype

    def enter(self, inputs: Floats) -> Floats:
        """The first state."""
        return self.ends.enter(inputs)

    def leave(self, state: Floats) -> Floats:
        """Projections of the outputs, shape (rows, directions)."""
        return self.of(self.ends.leave(state)).astype(self.dtype)

    def of(self, outputs: Floats) -> Floats:
        """Projections of outputs, (rows, outputs), in double precision: (rows, directions)."""
        projections: Floats = outputs.astype(np.float64) @ self.probes.T
        return projections

    def pull(self, state: Floats, probes: Floats | None = None) -> Floats:
        """Derivatives of each projection by the last state: shape (directions, rows, width)."""
        return self.ends.pull(state, self.probes if probes is None else probes @ self.probes)

    def tensors(self) -> dict[str, Floats]:
        """Every tensor by its name."""
        return self.ends.tensors()

    def astype(self, dtype: np.typing.DTypeLike) -> "Projected":
        """The same ends with their numbers in another dtype."""
        return Projected(self.ends.astype(dtype), self.probes)


def in_units(ends: Ends, units: Floats) -> Ends:
    """Ends whose outputs are those of others times units, shape (outputs,)."""
    if (units == 1).all():
        return ends
    if isinstance(ends, Linear):
        scaled = Linear(units[:, None] * ends.weight, units * ends.bias)
        return scaled.astype(ends.dtype)
    return Projected(ends, np.diag(units))
