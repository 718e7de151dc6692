"""Which activation an arrangement fits best with, beyond those that a search begins with."""

from dataclasses import replace

from unshuffle.blocks.activations import ACTIVATIONS, FURTHER, Activation, leaky_relu
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.pieces.records import Records

ROWS = 256  # on which activations are compared
STEPS = (0.05, 0.01, 0.001)  # between slopes of leaky ReLUs that are compared, round by round
LARGEST_SLOPE = 0.5  # that is tried
CLEARLY = 0.5  # part of the error up to which one of `FURTHER` is believed: a slope bends to noise


def fitting_activation(network: MlpNetwork, known: Records) -> Activation:
    """The activation with which a network errs least on some rows; its own where none is better.

    A leaky ReLU has its slope fitted to three decimals. An activation that no search begins with
    has to fit clearly better.
    """
    some = known.thinned(ROWS)

    def error(activation: Activation) -> float:
        blocks = replace(network.blocks, activation=activation)
        return MlpNetwork(blocks, network.last).error(some.inputs, some.predictions)

    first = min([network.blocks.activation, *ACTIVATIONS.values()], key=error)
    further = min(FURTHER.values(), key=error)
    slope = LARGEST_SLOPE / 2
    for step, reach in zip(STEPS, (LARGEST_SLOPE / 2, *STEPS), strict=False):
        count = round(reach / step)
        slopes = [round(slope + step * k, 3) for k in range(-count, count + 1)]
        slope = min((each for each in slopes if each > 0), key=lambda each: error(leaky_relu(each)))
    further = min([further, leaky_relu(slope)], key=error)
    return further if error(further) < CLEARLY * error(first) else first
