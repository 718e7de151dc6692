"""Residual blocks and the network that they make in an order.

A network is a stream of states x_0 → x_1 → … → x_K and a last layer that reads x_K. A block is a
map of the stream to itself; the search for the order asks nothing of a block but `apply` and
`pullback`, so it need not know that today's block is ``x + out(relu(inp(x)))``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.activations import RELU, Activation
from unshuffle.pile import Floats

ROWS_AT_ONCE = 2048
"""Rows pushed through the network together: small enough for the hidden layer to stay in cache."""


@dataclass(frozen=True, eq=False)
class Linear:
    """An affine map ``x ↦ x Wᵀ + b`` of rows: weight (rows, columns), bias (rows,)."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """Map rows x of shape (n, columns) to shape (n, rows)."""
        y: Floats = x @ self.weight.T
        y += self.bias
        return y

    def astype(self, dtype: np.typing.DTypeLike) -> "Linear":
        """The same map with its numbers in another dtype."""
        return Linear(self.weight.astype(dtype), self.bias.astype(dtype))


@dataclass(frozen=True, eq=False)
class Blocks:
    """A stack of K residual blocks ``x ↦ x + W_out a(W_in x + b_in) + b_out``.

    Parameters
    ----------
    inp_weight, inp_bias
        Shapes (K, hidden, width) and (K, hidden).
    out_weight, out_bias
        Shapes (K, width, hidden) and (K, width).
    activation
        The elementwise function a.
    """

    inp_weight: Floats
    inp_bias: Floats
    out_weight: Floats
    out_bias: Floats
    activation: Activation = RELU

    def __len__(self) -> int:
        return len(self.inp_weight)

    @property
    def width(self) -> int:
        """Width d of the stream."""
        return int(self.inp_weight.shape[2])

    @property
    def hidden(self) -> int:
        """Number h of hidden units in a block."""
        return int(self.inp_weight.shape[1])

    def apply(self, block: int, x: Floats) -> Floats:
        """Run one block on rows x of shape (n, width); returns a new array of that shape."""
        z = x @ self.inp_weight[block].T
        z += self.inp_bias[block]
        y: Floats = self.activation.apply(z) @ self.out_weight[block].T
        y += self.out_bias[block]
        y += x
        return y

    def pullback(self, block: int, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of one block.

        Parameters
        ----------
        block
            Which block.
        x
            States before the block, shape (n, width).
        g
            Sensitivities ∂ŷ/∂(state after the block), shape (n, width).

        Returns
        -------
        Floats
            Sensitivities ∂ŷ/∂x, shape (n, width).
        """
        z = x @ self.inp_weight[block].T
        z += self.inp_bias[block]
        gate = self.activation.derivative(z)
        gate *= g @ self.out_weight[block]
        back: Floats = gate @ self.inp_weight[block]
        back += g
        return back

    def take(self, order: Sequence[int] | NDArray[np.intp]) -> "Blocks":
        """The blocks of the given indices, stacked in that sequence."""
        index = np.asarray(order, dtype=np.intp)
        return Blocks(
            self.inp_weight[index],
            self.inp_bias[index],
            self.out_weight[index],
            self.out_bias[index],
            self.activation,
        )

    def astype(self, dtype: np.typing.DTypeLike) -> "Blocks":
        """The same blocks with their numbers in another dtype."""
        return Blocks(
            self.inp_weight.astype(dtype),
            self.inp_bias.astype(dtype),
            self.out_weight.astype(dtype),
            self.out_bias.astype(dtype),
            self.activation,
        )


@dataclass(frozen=True, eq=False)
class Network:
    """Residual blocks in the order in which they run, and the last layer.

    Examples
    --------
    >>> network.predict(inputs)  # inputs (rows, width) → (rows, outputs)
    """

    blocks: Blocks
    last: Linear

    @staticmethod
    def from_layers(layers: Sequence[Linear], activation: Activation = RELU) -> "Network":
        """The network whose layers are applied in the given sequence: inp, out, inp, out, …, last.

        All inp layers must be of one shape, and all out layers.
        """
        *paired, last = layers
        inps, outs = paired[::2], paired[1::2]
        blocks = Blocks(
            np.stack([layer.weight for layer in inps]),
            np.stack([layer.bias for layer in inps]),
            np.stack([layer.weight for layer in outs]),
            np.stack([layer.bias for layer in outs]),
            activation,
        )
        return Network(blocks, last)

    def layers(self) -> list[Linear]:
        """The layers in the order in which they are applied: inp, out, inp, out, …, last."""
        tensors = list(self.tensors().values())
        return [
            Linear(weight, bias) for weight, bias in zip(tensors[::2], tensors[1::2], strict=True)
        ]

    def predict(self, inputs: Floats) -> Floats:
        """Predict rows.

        Parameters
        ----------
        inputs
            Shape (rows, width), float32 or float64; cast to the dtype of the weights.

        Returns
        -------
        Floats
            Shape (rows, outputs), of the weights' dtype.
        """
        inputs = np.asarray(inputs, dtype=self.last.weight.dtype)
        predictions = np.empty((len(inputs), len(self.last.bias)), inputs.dtype)
        for start in range(0, len(inputs), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            *_, final = self.states(inputs[rows])
            predictions[rows] = self.last(final)
        return predictions

    def states(self, inputs: Floats) -> Iterator[Floats]:
        """Yield the stream's K + 1 states, each of shape (rows, width), from the inputs on."""
        state = inputs
        yield state
        for block in range(len(self.blocks)):
            state = self.blocks.apply(block, state)
            yield state

    def astype(self, dtype: np.typing.DTypeLike) -> "Network":
        """The same network with its numbers in another dtype."""
        return Network(self.blocks.astype(dtype), self.last.astype(dtype))

    def tensors(self) -> dict[str, Floats]:
        """Every tensor under the name that it has in the module of `to_torch`."""
        named: dict[str, Floats] = {}
        for k in range(len(self.blocks)):
            named[f"blocks.{k}.inp.weight"] = self.blocks.inp_weight[k]
            named[f"blocks.{k}.inp.bias"] = self.blocks.inp_bias[k]
            named[f"blocks.{k}.out.weight"] = self.blocks.out_weight[k]
            named[f"blocks.{k}.out.bias"] = self.blocks.out_bias[k]
        return named | {"last.weight": self.last.weight, "last.bias": self.last.bias}

    def __repr__(self) -> str:
        width, hidden, outputs = self.blocks.width, self.blocks.hidden, len(self.last.bias)
        return (
            f"Network({len(self.blocks)} × [{width} → {hidden} {self.blocks.activation.name} → "
            f"{width}], last {width} → {outputs}, {self.last.weight.dtype})"
        )
