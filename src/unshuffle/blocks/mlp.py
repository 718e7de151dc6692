"""The block of the puzzle, ``x + out(a(inp(x)))``: its kernels, and the bank of its layers.

Products of many blocks are stacked, and all layers are tried in one place at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.activations import RELU, Activation
from unshuffle.blocks.bank import Bank, Weights
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.network import Network
from unshuffle.errors import UsageError
from unshuffle.pieces.blueprint import Arrangement, Edge, Kind, Parts, Role
from unshuffle.pieces.pile import Floats

INP, OUT = 0, 1
"""Numbers of the two roles."""


def mlp_kind(width: int, hidden: int) -> Kind:
    """The kind of blocks that read a stream of some width into so many hidden units."""
    inp = Role("inp", {"weight": (hidden, width), "bias": (hidden,)})
    out = Role("out", {"weight": (width, hidden), "bias": (width,)})
    return Kind("mlp", (inp, out), (Edge(INP, OUT, 0, 1),))


@dataclass(frozen=True, eq=False)
class MlpStack:
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

    def __str__(self) -> str:
        return f"{self.width} → {self.hidden} {self.activation.name} → {self.width}"

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

    def apply(self, place: int, x: Floats) -> Floats:
        """Run one block on rows x of shape (n, width); returns a new array of that shape."""
        inp = self.inp_weight[place], self.inp_bias[place]
        out = self.out_weight[place], self.out_bias[place]
        return _apply(inp, out, self.activation, x)

    def pullback(self, place: int, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of one block.

        Parameters
        ----------
        place
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
        inp = self.inp_weight[place], self.inp_bias[place]
        return _pullback(inp, self.out_weight[place], self.activation, x, g)

    def apply_each(self, x: Floats) -> Floats:
        """Run each block on rows of its own: x and the result have shape (K, n, width)."""
        return _apply(self.inp, self.out, self.activation, x)

    def pullback_each(self, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian products of each block at rows of its own; x as in `apply_each`.

        Sensitivities g and the result have shape (K, outputs, n, width).
        """
        inp = self.inp_weight[:, None], self.inp_bias[:, None]
        return _pullback(inp, self.out_weight[:, None], self.activation, x[:, None], g)

    def replaced(self, place: int, role: int, x: Floats, g: Floats) -> Floats:
        """Projected steps of a block with each inp, or out, layer; see `Stack.replaced`."""
        if role == OUT:
            z = _read((self.inp_weight[place], self.inp_bias[place]), x)
            steps = self.activation.apply(z) @ self.out_weight.reshape(-1, self.hidden).T
            steps = steps.reshape(len(x), *self.out_bias.shape)
            steps += self.out_bias
            # (rows, blocks, width) @ (rows, width, outputs)
            pushed: Floats = steps @ g.transpose(1, 2, 0)
            return pushed
        z = x @ self.inp_weight.reshape(-1, self.width).T
        z = z.reshape(len(x), *self.inp_bias.shape)
        z += self.inp_bias
        # To pull g through the out layer once is cheaper than to push each hidden layer.
        pulled = g @ self.out_weight[place]
        projected: Floats = self.activation.apply(z) @ pulled.transpose(1, 2, 0)
        projected += (g @ self.out_bias[place]).T[:, None]
        return projected

    def __getitem__(self, places: slice) -> "MlpStack":
        """Consecutive blocks, without a copy."""
        return self._indexed(places)

    def take(self, order: Sequence[int] | NDArray[np.intp]) -> "MlpStack":
        """The blocks of the given indices, stacked in that sequence."""
        return self._indexed(np.asarray(order, dtype=np.intp))

    def _indexed(self, index: slice | NDArray[np.intp]) -> "MlpStack":
        return MlpStack(
            self.inp_weight[index],
            self.inp_bias[index],
            self.out_weight[index],
            self.out_bias[index],
            self.activation,
        )

    def weights(self, place: int) -> Weights:
        """The tensors of one block."""
        return {
            "inp": {"weight": self.inp_weight[place], "bias": self.inp_bias[place]},
            "out": {"weight": self.out_weight[place], "bias": self.out_bias[place]},
        }

    def copy(self) -> "MlpStack":
        """The same blocks in memory of their own."""
        return self._indexed(np.arange(len(self)))

    def overwrite(self, place: int, other: int) -> None:
        """Put another of the blocks in a place; the one that was there is gone."""
        for values in (*self.inp, *self.out):
            values[place] = values[other]

    def astype(self, dtype: np.typing.DTypeLike) -> "MlpStack":
        """The same blocks with their numbers in another dtype."""
        return MlpStack(
            self.inp_weight.astype(dtype, copy=False),
            self.inp_bias.astype(dtype, copy=False),
            self.out_weight.astype(dtype, copy=False),
            self.out_bias.astype(dtype, copy=False),
            self.activation,
        )


@dataclass(frozen=True, eq=False)
class MlpBank:
    """The inp and out layers of a pile, any two of which can make a block.

    Parameters
    ----------
    inp_weight, inp_bias
        Shapes (I, hidden, width) and (I, hidden).
    out_weight, out_bias
        Shapes (J, width, hidden) and (J, width).
    activation
        The elementwise function of the hidden layer.
    inp_positions, out_positions
        The position of each layer in the pile. By default inp layers come first.
    """

    inp_weight: Floats
    inp_bias: Floats
    out_weight: Floats
    out_bias: Floats
    activation: Activation = RELU
    inp_positions: Sequence[int] = ()
    out_positions: Sequence[int] = ()
    rows: NDArray[np.intp] = field(init=False)
    columns: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        inps, outs = len(self.inp_weight), len(self.out_weight)
        positions = (
            np.array(self.inp_positions or range(inps), np.intp),
            np.array(self.out_positions or range(inps, inps + outs), np.intp),
        )
        size = max((int(each.max(initial=-1)) for each in positions), default=-1) + 1
        for name, listed in zip(("rows", "columns"), positions, strict=True):
            numbers = np.full(size, -1, np.intp)
            numbers[listed] = np.arange(len(listed))
            object.__setattr__(self, name, numbers)
        object.__setattr__(self, "inp_positions", tuple(positions[INP].tolist()))
        object.__setattr__(self, "out_positions", tuple(positions[OUT].tolist()))

    @property
    def kind(self) -> Kind:
        """The kind of the blocks."""
        return mlp_kind(self.inp_weight.shape[2], self.inp_weight.shape[1])

    def apply(self, parts: Parts, x: Floats) -> Floats:
        """Run the block of two layers on rows x of shape (n, width)."""
        i, j = self.rows[parts[INP]], self.columns[parts[OUT]]
        inp, out = (
            (self.inp_weight[i], self.inp_bias[i]),
            (self.out_weight[j], self.out_bias[j]),
        )
        return _apply(inp, out, self.activation, x)

    def pullback(self, parts: Parts, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of the block of two layers; see `MlpStack.pullback`."""
        i, j = self.rows[parts[INP]], self.columns[parts[OUT]]
        inp = self.inp_weight[i], self.inp_bias[i]
        return _pullback(inp, self.out_weight[j], self.activation, x, g)

    def take(self, arrangement: Arrangement) -> MlpStack:
        """The blocks of an arrangement in a row."""
        i, j = self.rows[arrangement[:, INP]], self.columns[arrangement[:, OUT]]
        return MlpStack(
            self.inp_weight[i],
            self.inp_bias[i],
            self.out_weight[j],
            self.out_bias[j],
            self.activation,
        )

    def positions(self, role: int) -> Sequence[int]:
        """Positions in the pile of the pieces that can be in a role."""
        return self.out_positions if role == OUT else self.inp_positions

    def arranged(self, pairs: NDArray[np.intp]) -> Arrangement:
        """The arrangement of pairs given as indices of inp and out layers: shape (pairs, 2)."""
        inp, out = np.array(self.inp_positions, np.intp), np.array(self.out_positions, np.intp)
        return np.column_stack([inp[pairs[:, 0]], out[pairs[:, 1]]])

    def inp_layer(self, position: int) -> Linear:
        """The inp layer at a position of the pile."""
        i = self.rows[position]
        return Linear(self.inp_weight[i], self.inp_bias[i])

    def out_layer(self, position: int) -> Linear:
        """The out layer at a position of the pile."""
        j = self.columns[position]
        return Linear(self.out_weight[j], self.out_bias[j])


@dataclass(frozen=True, eq=False, repr=False)
class MlpNetwork(Network):
    """A network of blocks ``x + out(a(inp(x)))`` with a last layer.

    Examples
    --------
    >>> network.predict(inputs)  # inputs (rows, width) → (rows, outputs)
    """

    blocks: MlpStack
    ends: Linear

    @staticmethod
    def from_layers(layers: Sequence[Linear], activation: Activation = RELU) -> "MlpNetwork":
        """The network whose layers are applied in the given sequence: inp, out, inp, out, …, last.

        All inp layers must be of one shape, and all out layers.
        """
        *paired, last = layers
        inps, outs = paired[::2], paired[1::2]
        blocks = MlpStack(
            np.stack([layer.weight for layer in inps]),
            np.stack([layer.bias for layer in inps]),
            np.stack([layer.weight for layer in outs]),
            np.stack([layer.bias for layer in outs]),
            activation,
        )
        return MlpNetwork(blocks, last)

    @property
    def last(self) -> Linear:
        """The last layer."""
        return self.ends

    def layers(self) -> list[Linear]:
        """The layers in the order in which they are applied: inp, out, inp, out, …, last."""
        tensors = list(self.tensors().values())
        return [
            Linear(weight, bias) for weight, bias in zip(tensors[::2], tensors[1::2], strict=True)
        ]


def as_mlp(network: Network) -> MlpNetwork:
    """The network, if it is of this kind.

    Raises
    ------
    UsageError
        If it is not.
    """
    if isinstance(network.blocks, MlpStack) and isinstance(network.ends, Linear):
        return MlpNetwork(network.blocks, network.ends)
    raise UsageError(
        "this serves networks of blocks x + out(a(inp(x))) only, and this network has other blocks"
    )


def as_mlp_bank(bank: Bank) -> MlpBank:
    """The bank, if it is of this kind.

    Raises
    ------
    UsageError
        If it is not.
    """
    if isinstance(bank, MlpBank):
        return bank
    raise UsageError(
        "this serves networks of blocks x + out(a(inp(x))) only, and this pile has other blocks"
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
