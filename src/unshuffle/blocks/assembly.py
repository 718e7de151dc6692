"""From pieces to layers, blocks and the whole network, in the dtype of the pile."""

from collections.abc import Iterable, Sequence

from unshuffle.blocks.activations import RELU, Activation
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.forms import RESIDUAL, Form, FormBank
from unshuffle.blocks.mlp import MlpBank, MlpNetwork, MlpStack, stacked
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.pile import PieceId, Pile


def mlp_bank(
    pile: Pile, anatomy: Anatomy, activation: Activation = RELU, form: Form = RESIDUAL
) -> MlpBank:
    """Stack the pieces that can be inp and those that can be out, in the sequence of `anatomy`."""
    inp, out = (stacked((pile[i] for i in role), pile.dtype) for role in (anatomy.inp, anatomy.out))
    if form.factor != 1:
        factor = pile.dtype.type(form.factor)
        out = out[0] * factor, out[1] * factor
    if form.usual:
        return MlpBank(*inp, *out, activation, anatomy.inp, anatomy.out)
    return FormBank(
        *inp, *out, activation, inp_positions=anatomy.inp, out_positions=anatomy.out, form=form
    )


def stack_blocks(
    pile: Pile, pairs: Iterable[tuple[PieceId, PieceId]], activation: Activation = RELU
) -> MlpStack:
    """Stack blocks from the ids of their inp and out layers."""
    inp, out = (
        stacked((pile[pile.index[name]] for name in role), pile.dtype)
        for role in zip(*pairs, strict=True)
    )
    return MlpStack(*inp, *out, activation)


def last_layer(pile: Pile, name: PieceId) -> Linear:
    """The piece of that id as the last layer."""
    piece = pile[pile.index[name]]
    return Linear(piece.weight, piece.bias).astype(pile.dtype)


def build_network(
    pile: Pile, permutation: Sequence[PieceId], activation: Activation = RELU
) -> MlpNetwork:
    """The network of layers in the given sequence: inp, out, inp, out, …, last.

    The permutation is taken as it is. `check_answer` makes sure that it fits the pile.
    """
    pairs = zip(permutation[:-1:2], permutation[1::2], strict=True)
    return MlpNetwork(stack_blocks(pile, pairs, activation), last_layer(pile, permutation[-1]))
