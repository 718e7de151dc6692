"""Initial weights, drawn with NumPy: a seed gives the same ones whatever the version of PyTorch."""

from collections.abc import Callable

import numpy as np

from unshuffle.blocks.activations import Activation
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.pieces.pile import Floats

Draw = Callable[[np.random.Generator, int, int], Floats]


def _uniform(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    """Uniform within ±1/√columns, PyTorch's default for a linear layer."""
    weight: Floats = rng.uniform(-1, 1, (rows, columns)) / np.sqrt(columns)
    return weight


def _orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    """Orthonormal rows or columns, whichever are fewer (Saxe, McClelland & Ganguli 2014)."""
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diag(r))  # makes the distribution uniform (Mezzadri 2007)
    return q if rows >= columns else q.T


INITIALISATIONS: dict[str, tuple[Draw, bool]] = {
    "uniform": (_uniform, False),
    "orthogonal": (_orthogonal, False),
    "zero-out": (_uniform, True),
}
"""By name: how a weight is drawn, and whether out layers start at zero instead, so that every block
starts as the identity (Zhang, Dauphin & Ma 2019)."""


def initial_network(
    name: str,
    *,
    blocks: int,
    width: int,
    hidden: int,
    outputs: int,
    activation: Activation,
    rng: np.random.Generator,
) -> MlpNetwork:
    """Draw a network.

    Parameters
    ----------
    name
        One of `INITIALISATIONS`.
    blocks, width, hidden, outputs
        Its dimensions.
    activation
        Of the hidden layers.
    rng
        Draws the layers in the order in which they are applied, each weight before its bias.

    Returns
    -------
    MlpNetwork
        float32. Biases are uniform within ±1/√columns, PyTorch's default, but for zeroed layers.
    """
    draw, zero_out = INITIALISATIONS[name]

    def linear(rows: int, columns: int, *, zero: bool = False) -> Linear:
        weight = draw(rng, rows, columns)
        bias = rng.uniform(-1, 1, rows) / np.sqrt(columns)
        return Linear(weight * (not zero), bias * (not zero)).astype(np.float32)

    layers = []
    for _ in range(blocks):
        layers += [linear(hidden, width), linear(width, hidden, zero=zero_out)]
    return MlpNetwork.from_layers([*layers, linear(outputs, width)], activation)
