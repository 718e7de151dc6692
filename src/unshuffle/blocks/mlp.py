"""The block of the puzzle, ``x + out(a(inp(x)))``: its kernels, and its bank.

Products of many blocks are stacked, and all layers are tried in one place at once.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.activations import RELU, Activation
from unshuffle.blocks.bank import Bank, Mixtures, Slots, Weights, named, numbered
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.network import Network
from unshuffle.blocks.work import Work
from unshuffle.errors import UsageError
from unshuffle.pieces.blueprint import Arrangement, Edge, Kind, Parts, Role
from unshuffle.pieces.pile import Floats, Piece

# Numbers of the two roles.
INP, OUT = 0, 1

# Weights and biases, of one layer or of several.
Affine = tuple[Floats, Floats]


def mlp_kind(width: int, hidden: int) -> Kind:
    """The kind of blocks that read a stream of this width into so many hidden units."""
    inp = Role("inp", {"weight": (hidden, width), "bias": (hidden,)})
    out = Role("out", {"weight": (width, hidden), "bias": (width,)})
    return Kind("mlp", (inp, out), (Edge(INP, OUT, 0, 1),))


def stacked(layers: Iterable[Linear | Piece], dtype: np.typing.DTypeLike | None = None) -> Affine:
    """Weights (layers, rows, columns) and biases (layers, rows) of layers.

    Smaller ones get zeros behind: hidden units that read and write nothing.
    """
    each = list(layers)
    rows, columns = np.max([layer.weight.shape for layer in each], axis=0).tolist()

    def filled(values: Floats, *shape: int) -> Floats:
        missing = [(0, most - size) for most, size in zip(shape, values.shape, strict=True)]
        return np.pad(values, missing) if values.shape != shape else values

    weights = np.stack([filled(layer.weight, rows, columns) for layer in each], dtype=dtype)
    return weights, np.stack([filled(layer.bias, rows) for layer in each], dtype=dtype)


@dataclass(frozen=True, eq=False)
class _Layers:
    """I inp layers and J out layers of blocks of one kind."""

    inp_weight: Floats  # shape (I, hidden, width)
    inp_bias: Floats  # shape (I, hidden)
    out_weight: Floats  # shape (J, width, hidden)
    out_bias: Floats  # shape (J, width)
    activation: Activation = RELU  # of the hidden units
    work: Work = field(default_factory=Work, kw_only=True)  # of all that is made of them

    @property
    def width(self) -> int:
        """Width d of the stream."""
        return int(self.inp_weight.shape[2])

    @property
    def hidden(self) -> int:
        """Number h of hidden units in a block."""
        return int(self.inp_weight.shape[1])

    @property
    def kind(self) -> Kind:
        """The kind of the blocks."""
        return mlp_kind(self.width, self.hidden)

    @property
    def inp(self) -> Affine:
        """Weights and biases of the inp layers."""
        return self.inp_weight, self.inp_bias

    @property
    def out(self) -> Affine:
        """Weights and biases of the out layers."""
        return self.out_weight, self.out_bias


@dataclass(frozen=True, eq=False)
class MlpStack(_Layers):
    """A stack of K residual blocks ``x ↦ x + W_out a(W_in x + b_in) + b_out``."""

    def __len__(self) -> int:
        return len(self.inp_weight)

    def __str__(self) -> str:
        return f"{self.width} → {self.hidden} {self.activation.name} → {self.width}"

    def __getitem__(self, places: slice) -> Self:
        """Consecutive blocks, without a copy."""
        return self._mapped(lambda values: values[places])

    def take(self, order: Sequence[int] | NDArray[np.intp]) -> Self:
        """The blocks of the given indices, stacked in that sequence."""
        indices = np.asarray(order, np.intp)
        return self._mapped(lambda values: values[indices])

    def copy(self) -> Self:
        """The same blocks in memory of their own."""
        return self.take(range(len(self)))

    def astype(self, dtype: np.typing.DTypeLike) -> Self:
        """The same blocks with their numbers in another dtype."""
        return self._mapped(lambda values: values.astype(dtype, copy=False))

    def _mapped(self, change: Callable[[Floats], Floats]) -> Self:
        (inp, inp_bias), (out, out_bias) = map(change, self.inp), map(change, self.out)
        return replace(self, inp_weight=inp, inp_bias=inp_bias, out_weight=out, out_bias=out_bias)

    def apply(self, place: int, x: Floats) -> Floats:
        """Run one block on rows x of shape (n, width). It returns a new array of that shape."""
        self.work.forward(len(x))
        inp = self.inp_weight[place], self.inp_bias[place]
        return _apply(inp, (self.out_weight[place], self.out_bias[place]), self.activation, x)

    def pullback(self, place: int, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of one block at x, shape (n, width), for g (…, n, width)."""
        self.work.add(pulled(x, g))
        inp = self.inp_weight[place], self.inp_bias[place]
        return _pullback(inp, self.out_weight[place], self.activation, x, g)

    def apply_each(self, x: Floats) -> Floats:
        """Run each block on rows of its own. `x` and the result have shape (K, n, width)."""
        self.work.forward(x.size // self.width)
        return _apply(self.inp, self.out, self.activation, x)

    def pullback_each(self, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian products of each block: x (K, n, width), g (K, outputs, n, width)."""
        self.work.add(pulled(x, g))
        inp = self.inp_weight[:, None], self.inp_bias[:, None]
        return _pullback(inp, self.out_weight[:, None], self.activation, x[:, None], g)

    def replaced(self, place: int, role: int, others: "MlpStack", x: Floats, g: Floats) -> Floats:
        """Projected steps of a block with each other inp, or out, layer; see `Stack.replaced`."""
        self.work.add(len(x) * (len(others) + (1 if role == OUT else len(g))))
        if role == OUT:
            z = affine((self.inp_weight[place], self.inp_bias[place]), x)
            steps = self.activation.apply(z) @ others.out_weight.reshape(-1, self.hidden).T
            steps = steps.reshape(len(x), *others.out_bias.shape)
            steps += others.out_bias
            # (rows, blocks, width) @ (rows, width, outputs)
            return steps @ g.transpose(1, 2, 0)
        z = x @ others.inp_weight.reshape(-1, self.width).T
        z = z.reshape(len(x), *others.inp_bias.shape)
        z += others.inp_bias
        # To pull g through the out layer once is cheaper than to push each hidden layer.
        pulled = g @ self.out_weight[place]
        projected: Floats = self.activation.apply(z) @ pulled.transpose(1, 2, 0)
        projected += (g @ self.out_bias[place]).T[:, None]
        return projected

    def weights(self, place: int) -> Weights:
        """The tensors of one block."""
        return {
            "inp": {"weight": self.inp_weight[place], "bias": self.inp_bias[place]},
            "out": {"weight": self.out_weight[place], "bias": self.out_bias[place]},
        }

    def tensors(self) -> dict[str, Floats]:
        """Every tensor by its name in the network."""
        return named(self)

    def slots(self) -> Slots:
        """The names of the slots, such as ``blocks.0.inp``."""
        return numbered(self)

    def overwrite(self, place: int, other: int) -> None:
        """Put another of the blocks in a place. The one that was there is gone."""
        for values in (*self.inp, *self.out):
            values[place] = values[other]


@dataclass(frozen=True, eq=False)
class MlpBank(_Layers):
    """The inp and out layers of a pile, any two of which can make a block."""

    inp_positions: Sequence[int] = ()  # of each inp layer in the pile: by default they come first
    out_positions: Sequence[int] = ()

    def __post_init__(self) -> None:
        inps, outs = len(self.inp_weight), len(self.out_weight)
        inp, out = self.inp_positions or range(inps), self.out_positions or range(inps, inps + outs)
        object.__setattr__(self, "inp_positions", tuple(map(int, inp)))
        object.__setattr__(self, "out_positions", tuple(map(int, out)))

    @property
    def kind(self) -> Kind:
        """The kind of the blocks; its roles have one shape where some piece can be in both."""
        apart = {*self.inp_positions}.isdisjoint(self.out_positions)
        return mlp_kind(self.width, self.hidden if apart else self.width)

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """The index of the inp layer at each position of the pile; −1 elsewhere."""
        return self._indices(self.inp_positions)

    @cached_property
    def columns(self) -> NDArray[np.intp]:
        """The index of the out layer at each position of the pile; −1 elsewhere."""
        return self._indices(self.out_positions)

    def _indices(self, positions: Sequence[int]) -> NDArray[np.intp]:
        size = max((*self.inp_positions, *self.out_positions), default=-1) + 1
        indices = np.full(size, -1, np.intp)
        indices[np.array(positions, np.intp)] = np.arange(len(positions))
        return indices

    def apply(self, parts: Parts, x: Floats) -> Floats:
        """Run the block of two layers on rows x of shape (n, width)."""
        self.work.forward(len(x))
        inp, out = self._tensors(parts)
        return _apply(inp, out, self.activation, x)

    def pullback(self, parts: Parts, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of the block of two layers; see `MlpStack.pullback`."""
        self.work.add(pulled(x, g))
        inp, out = self._tensors(parts)
        return _pullback(inp, out[0], self.activation, x, g)

    def hidden_units(self, index: int, x: Floats) -> Floats:
        """Hidden units of an inp layer, by index, on rows x of shape (n, width): (n, hidden)."""
        self.work.add(len(x))
        return self.activation.apply(affine((self.inp_weight[index], self.inp_bias[index]), x))

    def take(self, arrangement: Arrangement) -> MlpStack:
        """The blocks of an arrangement in a row."""
        inp, out = self._tensors(arrangement)
        return MlpStack(*inp, *out, self.activation, work=self.work)

    def mixed(self, arrangement: Arrangement, mixtures: Mixtures) -> MlpStack:
        """The blocks of an arrangement, with weighted means of pieces in some roles."""
        layers = [*self._tensors(arrangement)]
        for role, (pieces, shares) in mixtures.items():
            indices, every = (self.columns, self.out) if role == OUT else (self.rows, self.inp)
            weight, bias = (each[indices[pieces]] for each in every)
            mean = shares.astype(weight.dtype)
            layers[role] = np.tensordot(mean, weight, 1), mean @ bias
        return MlpStack(*layers[INP], *layers[OUT], self.activation, work=self.work)

    def _tensors(self, parts: Arrangement | Parts) -> tuple[Affine, Affine]:
        i, j = self.rows[parts.T[INP]], self.columns[parts.T[OUT]]
        return (self.inp_weight[i], self.inp_bias[i]), (self.out_weight[j], self.out_bias[j])

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
        """The network of layers in the given sequence: inp, out, inp, out, …, last.

        All inp layers must be of one shape, and all out layers.
        """
        *paired, last = layers
        blocks = MlpStack(*stacked(paired[::2]), *stacked(paired[1::2]), activation)
        return MlpNetwork(blocks, last)

    @property
    def last(self) -> Linear:
        """The last layer."""
        return self.ends

    def layers(self) -> list[Linear]:
        """The layers in the order of their application: inp, out, inp, out, …, last."""
        tensors = list(self.tensors().values())
        return [
            Linear(weight, bias) for weight, bias in zip(tensors[::2], tensors[1::2], strict=True)
        ]


def as_mlp(network: Network) -> MlpNetwork:
    """The network, if it is of this kind; raises `UsageError` if it is not."""
    if isinstance(network.blocks, MlpStack) and isinstance(network.ends, Linear):
        return MlpNetwork(network.blocks, network.ends)
    raise UsageError(
        "this serves networks of blocks x + out(a(inp(x))) only, and this network has other blocks"
    )


def as_mlp_bank(bank: Bank) -> MlpBank:
    """The bank, if it is of this kind; raises `UsageError` if it is not."""
    if isinstance(bank, MlpBank):
        return bank
    raise UsageError(
        "this serves networks of blocks x + out(a(inp(x))) only, and this pile has other blocks"
    )


def affine(inp: Affine, x: Floats) -> Floats:
    """A layer, or each of a stack of layers, on rows x of shape (…, n, columns)."""
    z: Floats = x @ np.swapaxes(inp[0], -1, -2)
    z += inp[1][..., None, :]
    return z


def _apply(inp: Affine, out: Affine, activation: Activation, x: Floats) -> Floats:
    """Run a block; with weights and rows stacked along a first axis, each on its own rows."""
    y: Floats = activation.apply(affine(inp, x)) @ np.swapaxes(out[0], -1, -2)
    y += out[1][..., None, :]
    y += x
    return y


def pulled(x: Floats, g: Floats) -> int:
    """The work of a `_pullback`: what is read once, and two products for each adjoint."""
    width: int = x.shape[-1]
    return (x.size + 2 * g.size) // width


def _pullback(
    inp: Affine, out_weight: Floats, activation: Activation, x: Floats, g: Floats
) -> Floats:
    """Pull adjoints back through a block; leading axes are broadcast."""
    gated = g @ out_weight
    gated *= activation.derivative(affine(inp, x))
    back: Floats = gated @ inp[0]
    back += g
    return back
