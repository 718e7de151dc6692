"""Residual blocks and the network that they make in an order.

A network is a stream of states x_0 → x_1 → … → x_K and a last layer that reads x_K. A block is a
map of the stream to itself; the search for the order asks nothing of a block but `apply` and
`pullback`, so it need not know that today's block is ``x + out(relu(inp(x)))``.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from unshuffle.blocks.activations import RELU, Activation
from unshuffle.errors import UsageError
from unshuffle.pieces.pile import Floats

ROWS_AT_ONCE = 1024
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
        return Linear(self.weight.astype(dtype, copy=False), self.bias.astype(dtype, copy=False))


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(1)
def _threads() -> ThreadpoolController:
    """The thread pools of the libraries that are loaded; finding them takes longest."""
    return ThreadpoolController()


class BlockMaps(Protocol):
    """Maps of the stream to itself, by number: all that a search needs to know of blocks."""

    def apply(self, block: int, x: Floats) -> Floats:
        """Run one block on rows x of shape (n, width); returns a new array of that shape."""
        ...

    def pullback(self, block: int, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of one block at x, shape (n, width), for g (…, n, width)."""
        ...

    def take(self, order: Sequence[int] | NDArray[np.intp]) -> "Blocks":
        """The blocks of the given numbers, stacked in that sequence."""
        ...


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

    @property
    def inp(self) -> tuple[Floats, Floats]:
        """Weights and biases of the inp layers."""
        return self.inp_weight, self.inp_bias

    @property
    def out(self) -> tuple[Floats, Floats]:
        """Weights and biases of the out layers."""
        return self.out_weight, self.out_bias

    def apply(self, block: int, x: Floats) -> Floats:
        """Run one block on rows x of shape (n, width); returns a new array of that shape."""
        inp = self.inp_weight[block], self.inp_bias[block]
        out = self.out_weight[block], self.out_bias[block]
        return _apply(inp, out, self.activation, x)

    def pullback(self, block: int, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of one block.

        Parameters
        ----------
        block
            Which block.
        x
            States before the block, shape (n, width).
        g
            Sensitivities ∂ŷ/∂(state after the block), shape (…, n, width): one set of rows for
            each output.

        Returns
        -------
        Floats
            Sensitivities ∂ŷ/∂x, of the shape of g.
        """
        inp = self.inp_weight[block], self.inp_bias[block]
        return _pullback(inp, self.out_weight[block], self.activation, x, g)

    def apply_each(self, x: Floats) -> Floats:
        """Run each block on rows of its own: x and the result have shape (K, n, width)."""
        return _apply(self.inp, self.out, self.activation, x)

    def pullback_each(self, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian products of each block at rows of its own; x as in `apply_each`.

        Sensitivities g and the result have shape (K, outputs, n, width).
        """
        inp = self.inp_weight[:, None], self.inp_bias[:, None]
        return _pullback(inp, self.out_weight[:, None], self.activation, x[:, None], g)

    def steps_with_each_out(self, block: int, x: Floats) -> Floats:
        """Steps of rows x, (n, width), by one block with the out layer of each: (n, K, width)."""
        hidden = self.activation.apply(_read((self.inp_weight[block], self.inp_bias[block]), x))
        steps = hidden @ self.out_weight.reshape(-1, self.hidden).T
        steps = steps.reshape(len(x), *self.out_bias.shape)
        steps += self.out_bias
        return steps

    def pulled_steps_with_each_inp(self, block: int, x: Floats, g: Floats) -> Floats:
        """Steps of rows by one block with the inp layer of each, projected on sensitivities.

        Parameters
        ----------
        block
            Whose out layer it is.
        x
            States before the block, shape (n, width).
        g
            Sensitivities behind the block, shape (outputs, n, width).

        Returns
        -------
        Floats
            Shape (n, K, outputs).
        """
        z = x @ self.inp_weight.reshape(-1, self.width).T
        z = z.reshape(len(x), *self.inp_bias.shape)
        z += self.inp_bias
        # To pull g through the out layer once is cheaper than to push each hidden layer.
        pulled = g @ self.out_weight[block]
        steps: Floats = self.activation.apply(z) @ pulled.transpose(1, 2, 0)
        steps += (g @ self.out_bias[block]).T[:, None]
        return steps

    def __getitem__(self, places: slice) -> "Blocks":
        """Consecutive blocks, without a copy."""
        return self._indexed(places)

    def take(self, order: Sequence[int] | NDArray[np.intp]) -> "Blocks":
        """The blocks of the given indices, stacked in that sequence."""
        return self._indexed(np.asarray(order, dtype=np.intp))

    def _indexed(self, index: slice | NDArray[np.intp]) -> "Blocks":
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
            self.inp_weight.astype(dtype, copy=False),
            self.inp_bias.astype(dtype, copy=False),
            self.out_weight.astype(dtype, copy=False),
            self.out_bias.astype(dtype, copy=False),
            self.activation,
        )


@dataclass(frozen=True, eq=False)
class Layers:
    """Loose layers, and every block that two of them could make.

    Block number ``i * J + j`` is made of inp layer i and out layer j, where J is the number of out
    layers.

    Parameters
    ----------
    inp_weight, inp_bias
        Shapes (I, hidden, width) and (I, hidden).
    out_weight, out_bias
        Shapes (J, width, hidden) and (J, width).
    activation
        The elementwise function of the hidden layer.
    """

    inp_weight: Floats
    inp_bias: Floats
    out_weight: Floats
    out_bias: Floats
    activation: Activation = RELU

    def apply(self, block: int, x: Floats) -> Floats:
        """Run one block on rows x of shape (n, width); returns a new array of that shape."""
        i, j = divmod(block, len(self.out_weight))
        inp, out = (
            (self.inp_weight[i], self.inp_bias[i]),
            (self.out_weight[j], self.out_bias[j]),
        )
        return _apply(inp, out, self.activation, x)

    def pullback(self, block: int, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of one block; see `Blocks.pullback`."""
        i, j = divmod(block, len(self.out_weight))
        inp = self.inp_weight[i], self.inp_bias[i]
        return _pullback(inp, self.out_weight[j], self.activation, x, g)

    def take(self, order: Sequence[int] | NDArray[np.intp]) -> Blocks:
        """The blocks of the given numbers, stacked in that sequence."""
        i, j = np.divmod(np.asarray(order, dtype=np.intp), len(self.out_weight))
        return Blocks(
            self.inp_weight[i],
            self.inp_bias[i],
            self.out_weight[j],
            self.out_bias[j],
            self.activation,
        )


def _read(inp: tuple[Floats, Floats], x: Floats) -> Floats:
    """What hidden units read, before their activation."""
    z: Floats = x @ np.swapaxes(inp[0], -1, -2)
    z += inp[1][..., None, :]
    return z


def _apply(
    inp: tuple[Floats, Floats], out: tuple[Floats, Floats], activation: Activation, x: Floats
) -> Floats:
    """Run a block; with weights and rows stacked along a first axis, each on its own rows."""
    y: Floats = activation.apply(_read(inp, x)) @ np.swapaxes(out[0], -1, -2)
    y += out[1][..., None, :]
    y += x
    return y


def _pullback(
    inp: tuple[Floats, Floats], out_weight: Floats, activation: Activation, x: Floats, g: Floats
) -> Floats:
    """Pull sensitivities back through a block; leading axes are broadcast."""
    gated = g @ out_weight
    gated *= activation.derivative(_read(inp, x))
    back: Floats = gated @ inp[0]
    back += g
    return back


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
            Shape (rows, outputs), of the weights' dtype; infinite or NaN where a state overflows.

        Raises
        ------
        UsageError
            If the inputs have another shape.
        """
        inputs = np.asarray(inputs, dtype=self.last.weight.dtype)
        if inputs.ndim != 2 or inputs.shape[1] != self.blocks.width:
            raise UsageError(
                f"the network reads rows of {self.blocks.width} inputs, but got an array of shape "
                f"{inputs.shape}; give it one of shape (rows, {self.blocks.width})"
            )
        predictions = np.empty((len(inputs), len(self.last.bias)), inputs.dtype)

        def predict(start: int) -> None:
            rows = slice(start, start + ROWS_AT_ONCE)
            # Each thread has an error state of its own.
            with np.errstate(over="ignore", invalid="ignore"):
                *_, final = self.states(inputs[rows])
                predictions[rows] = self.last(final)

        # Threads of the BLAS beside these would wait for each other.
        with _threads().limit(limits=1, user_api="blas"), ThreadPoolExecutor(cores()) as threads:
            for _ in threads.map(predict, range(0, len(inputs), ROWS_AT_ONCE)):
                pass
        return predictions

    def states(self, inputs: Floats) -> Iterator[Floats]:
        """Yield the stream's K + 1 states, each of shape (rows, width), from the inputs on."""
        state = inputs
        yield state
        for block in range(len(self.blocks)):
            state = self.blocks.apply(block, state)
            yield state

    def sensitivities(self, states: Sequence[Floats]) -> list[Floats]:
        """Derivatives of each output by each of the K + 1 states, from the inputs on.

        Parameters
        ----------
        states
            As from `states`: K + 1 arrays of shape (rows, width).

        Returns
        -------
        list
            K + 1 arrays of shape (outputs, rows, width).
        """
        weight = self.last.weight[:, None]
        pulled: list[Floats] = [np.broadcast_to(weight, (len(weight), *states[-1].shape))]
        for block in range(len(self.blocks) - 1, -1, -1):
            pulled.append(self.blocks.pullback(block, states[block], pulled[-1]))
        return pulled[::-1]

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
