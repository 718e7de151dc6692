"""Which activation an arrangement fits best with, beyond those that a search begins with."""

from dataclasses import dataclass, replace

from unshuffle.blocks.activations import ACTIVATIONS, FURTHER, Activation, leaky_relu
from unshuffle.blocks.mlp import MlpNetwork
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
    """

    decimals: int = 3
    clearly: float = 0.5


STANDARD = ActivationParameters()


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
