"""Which activation an arrangement fits best with, and what another one would change."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.activations import ACTIVATIONS, FURTHER, Activation, leaky_relu
from unshuffle.blocks.mlp import MlpNetwork, MlpStack
from unshuffle.blocks.network import Network
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.effort import EFFORT, Effort
from unshuffle.proof.tolerance import relative_error


@dataclass(frozen=True)
class ActivationParameters:
    """Numbers that decide which activation is believed.

    Parameters
    ----------
    decimals
        Decimal places to which the slope of a leaky ReLU is fitted.
    clearly
        Part of the mean squared error up to which a further activation is believed, since a slope
        bends to noise.
    bend
        How much of a bend is added to an activation, to see what that changes.
    """

    decimals: int = 3
    clearly: float = 0.5
    bend: float = 1e-3


STANDARD = ActivationParameters()

# What another activation differs by, near 0 or far from it: roughly a weighted sum of these.
BENDS: tuple[Callable[[Floats], Floats], ...] = (
    np.positive,
    np.abs,
    np.tanh,
    np.square,
    lambda z: z * np.abs(z),
)


def fitting_activation(
    network: MlpNetwork,
    known: Records,
    by: ActivationParameters = STANDARD,
    effort: Effort = EFFORT,
) -> Activation:
    """The activation with which a network errs least on some rows; its own where none is better.

    A leaky ReLU has its slope, between 0 and 1, fitted decimal by decimal. An activation that no
    search begins with has to fit clearly better.
    """
    some = known.thinned(effort.activation)

    def error(activation: Activation) -> float:
        blocks = replace(network.blocks, activation=activation)
        return relative_error(MlpNetwork(blocks, network.last), some)

    first = min([network.blocks.activation, *ACTIVATIONS.values()], key=error)
    further = min(FURTHER.values(), key=error)
    slope = 0.5
    for places in range(1, by.decimals + 1):
        near = (round(slope + k * 0.1**places, places) for k in range(-10, 11))
        slope = min((one for one in near if 0 < one < 1), key=lambda one: error(leaky_relu(one)))
    further = min([further, leaky_relu(slope)], key=error)
    return further if error(further) < by.clearly * error(first) else first


def bent(
    network: Network, blocks: MlpStack, inputs: Floats, by: ActivationParameters = STANDARD
) -> NDArray[np.float64]:
    """What a little of each bend in the activation changes: shape (rows, outputs, bends).

    `blocks` are those of the network.
    """
    own, activation = network.predict(inputs).astype(np.float64), blocks.activation

    def changed(bend: Callable[[Floats], Floats]) -> NDArray[np.float64]:
        def apply(z: Floats) -> Floats:
            added: Floats = np.asarray(by.bend, z.dtype) * bend(z)
            return added + activation.apply(z)

        bent_ones = replace(blocks, activation=replace(activation, apply=apply))
        other: NDArray[np.float64] = replace(network, blocks=bent_ones).predict(inputs) - own
        return other

    return np.stack([changed(bend) for bend in BENDS], axis=-1)
