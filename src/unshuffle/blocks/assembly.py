"""From pieces to layers, blocks and the whole network."""

from collections.abc import Iterable, Sequence

import numpy as np

from unshuffle.blocks.activations import RELU, Activation
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpBank, MlpNetwork, MlpStack
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.pile import Floats, PieceId, Pile


def mlp_bank(pile: Pile, anatomy: Anatomy, activation: Activation = RELU) -> MlpBank:
    """Stack the pieces that can be inp and those that can be out, by the sequence in `anatomy`."""
    dtype = pile.dtype

    def stacked(positions: tuple[int, ...]) -> tuple[Floats, Floats]:
        weight = np.stack([pile[i].weight for i in positions]).astype(dtype, copy=False)
        bias = np.stack([pile[i].bias for i in positions]).astype(dtype, copy=False)
        return weight, bias

    return MlpBank(
        *stacked(anatomy.inp), *stacked(anatomy.out), activation, anatomy.inp, anatomy.out
    )


def stack_blocks(
    pile: Pile, pairs: Iterable[tuple[PieceId, PieceId]], activation: Activation = RELU
) -> MlpStack:
    """Stack blocks from the ids of their inp and out layers, in the pile's dtype."""
    pairs = list(pairs)
    inp = [pile[pile.index[inp]] for inp, _ in pairs]
    out = [pile[pile.index[out]] for _, out in pairs]
    return MlpStack(
        np.stack([piece.weight for piece in inp]).astype(pile.dtype, copy=False),
        np.stack([piece.bias for piece in inp]).astype(pile.dtype, copy=False),
        np.stack([piece.weight for piece in out]).astype(pile.dtype, copy=False),
        np.stack([piece.bias for piece in out]).astype(pile.dtype, copy=False),
        activation,
    )


def last_layer(pile: Pile, name: PieceId) -> Linear:
    """The piece of that id as the last layer, in the pile's dtype."""
    piece = pile[pile.index[name]]
    return Linear(piece.weight, piece.bias).astype(pile.dtype)


def build_network(
    pile: Pile, permutation: Sequence[PieceId], activation: Activation = RELU
) -> MlpNetwork:
    """The network whose layers are applied in the given sequence: inp, out, inp, out, …, last.

    The permutation is taken as it is; `check_answer` makes sure that it fits the pile.
    """
    pairs = zip(permutation[:-1:2], permutation[1::2], strict=True)
    return MlpNetwork(stack_blocks(pile, pairs, activation), last_layer(pile, permutation[-1]))
