"""The candidate layers that pairing compares, stacked."""

import numpy as np

from unshuffle.activations import RELU, Activation
from unshuffle.anatomy import Anatomy
from unshuffle.network import Layers
from unshuffle.pile import Floats, Pile


def stack_layers(pile: Pile, anatomy: Anatomy, activation: Activation = RELU) -> Layers:
    """Stack the pieces that can be inp and those that can be out, by the sequence in `anatomy`."""
    dtype = pile.dtype

    def stacked(positions: tuple[int, ...]) -> tuple[Floats, Floats]:
        weight = np.stack([pile[i].weight for i in positions]).astype(dtype, copy=False)
        bias = np.stack([pile[i].bias for i in positions]).astype(dtype, copy=False)
        return weight, bias

    return Layers(*stacked(anatomy.inp), *stacked(anatomy.out), activation)
