"""The candidate layers that pairing compares, stacked."""

from dataclasses import dataclass

import numpy as np

from unshuffle.anatomy import Anatomy
from unshuffle.pile import Floats, Pile


@dataclass(frozen=True, eq=False)
class Layers:
    """Layers that can be inp and layers that can be out.

    Parameters
    ----------
    inp_weight, inp_bias
        Shapes (I, hidden, width) and (I, hidden).
    out_weight, out_bias
        Shapes (J, width, hidden) and (J, width).
    """

    inp_weight: Floats
    inp_bias: Floats
    out_weight: Floats
    out_bias: Floats


def stack_layers(pile: Pile, anatomy: Anatomy) -> Layers:
    """Stack the pieces of a pile by the roles that their shapes admit."""
    dtype = pile.dtype

    def stacked(positions: tuple[int, ...]) -> tuple[Floats, Floats]:
        weight = np.stack([pile[i].weight for i in positions]).astype(dtype, copy=False)
        bias = np.stack([pile[i].bias for i in positions]).astype(dtype, copy=False)
        return weight, bias

    return Layers(*stacked(anatomy.inp), *stacked(anatomy.out))
