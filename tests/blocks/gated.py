"""A second kind of block, and all that it takes: ``x + down(silu(gate(norm x)) * up(norm x))``.

Nothing in `unshuffle` knows of it. It is two functions in NumPy, and the names, shapes and shared
axes of its four parts.
"""

import numpy as np

from unshuffle.blocks.bank import Weights
from unshuffle.blocks.blueprints import LoopBlueprint
from unshuffle.blocks.ends import Linear
from unshuffle.pieces.blueprint import Edge, Kind, Role
from unshuffle.pieces.pile import Floats

NORM, GATE, UP, DOWN = range(4)
ROLES = ("norm", "gate", "up", "down")
LITTLE = 1e-5
"""Added to the variance that a layer norm divides by."""


def gated_kind(width: int, hidden: int) -> Kind:
    """The kind; gates and ups have one shape, so only what they do tells them apart."""
    shapes = (
        {"weight": (width,), "bias": (width,)},
        {"weight": (hidden, width)},
        {"weight": (hidden, width)},
        {"weight": (width, hidden)},
    )
    roles = tuple(Role(name, tensors) for name, tensors in zip(ROLES, shapes, strict=True))
    return Kind("gated", roles, (Edge(GATE, DOWN, 0, 1), Edge(UP, DOWN, 0, 1)))


def gated_blueprint(width: int, hidden: int, ends: Linear) -> LoopBlueprint:
    """What `solve` is given."""
    return LoopBlueprint(gated_kind(width, hidden), apply, pullback, ends)


def apply(weights: Weights, x: Floats) -> Floats:
    """Run a block on rows of shape (n, width)."""
    y = normalized(x)[0] * weights["norm"]["weight"] + weights["norm"]["bias"]
    gate, up = y @ weights["gate"]["weight"].T, y @ weights["up"]["weight"].T
    after: Floats = x + (gate * sigmoid(gate) * up) @ weights["down"]["weight"].T
    return after


def pullback(weights: Weights, x: Floats, g: Floats) -> Floats:
    """Pull adjoints of shape (outputs, n, width) back through a block at rows (n, width)."""
    z, deviation = normalized(x)
    y = z * weights["norm"]["weight"] + weights["norm"]["bias"]
    gate, up = y @ weights["gate"]["weight"].T, y @ weights["up"]["weight"].T
    opened = sigmoid(gate)
    hidden = g @ weights["down"]["weight"]
    by_gate = hidden * up * opened * (1 + gate * (1 - opened))
    by_y = by_gate @ weights["gate"]["weight"] + (hidden * gate * opened) @ weights["up"]["weight"]
    by_z = by_y * weights["norm"]["weight"]
    along = np.mean(by_z * z, axis=-1, keepdims=True)
    back: Floats = g + (by_z - by_z.mean(axis=-1, keepdims=True) - along * z) / deviation
    return back


def normalized(x: Floats) -> tuple[Floats, Floats]:
    """Rows with mean 0 and variance 1, and what they were divided by."""
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.mean(np.square(centred), axis=-1, keepdims=True) + LITTLE)
    return centred / deviation, deviation


def sigmoid(z: Floats) -> Floats:
    """The logistic function."""
    opened: Floats = (1 + np.tanh(z / 2)) / 2
    return opened
