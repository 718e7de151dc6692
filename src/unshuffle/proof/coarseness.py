"""What weights betray of how coarsely they were kept, and how much of an error that explains.

Numbers that were rounded lie on a grid although they are stored as float32: on that of a half
precision, or on at most 256 equally spaced levels with one scale for each tensor or row (as int8
weights are kept). Pruned weights are exactly zero more often than any training leaves them. The
weights that were lost are then known to lie within half a step of those that are there, or below
the smallest that was kept, so drawing them anew shows by how much the predictions can be off.
"""

from dataclasses import dataclass

import numpy as np

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork, MlpStack, as_mlp
from unshuffle.blocks.network import Network
from unshuffle.pieces.pile import QUANTISED, Floats, Pile
from unshuffle.proof.tolerance import UNIT, Tolerance

LEVELS = 255
"""The largest magnitude is at most so many steps: int8 with a zero point at one end."""

INTEGRAL = 1e-3
"""Numbers of steps are whole to within this: float32 rounds 255 of them by a hundredth of it."""

FEWEST = 16
"""With fewer numbers a grid may be an accident."""

DIVISORS = (1, 2, 3)
"""The smallest gap between levels in use is so many steps at most."""

PRUNED = 0.005
"""Part of a weight that is exactly zero from which on it was pruned,"""
ON_LEVELS = 0.015
"""and the same where small numbers become zero by rounding to levels."""

DRAWS = 4
"""Networks that are drawn,"""
MARGIN = 2.0
"""and how far beyond the largest difference that they make an error is still explained."""

PEAK_MARGIN = 3.0
"""The same of the worst row: there are more rows than are compared."""

SAMPLE_ROWS = 512
"""Rows on which they are compared."""


KINDS = {
    "float16": "only numbers that float16 has, though stored as float32",
    "bfloat16": "only numbers that bfloat16 has, though stored as float32",
    "levels": "at most 256 equally spaced levels, as int8 has them",
}
"""The grids by name, and what a weight on one of them holds."""


@dataclass(frozen=True)
class Coarseness:
    """How coarsely a tensor was kept.

    Parameters
    ----------
    kind
        "float16", "bfloat16", "levels", or "" for full precision.
    half_step
        The lost numbers are within this of those that are there; broadcasts against the tensor.
    pruned
        Part of it that was set to zero.
    """

    kind: str
    half_step: Floats
    pruned: float

    def __bool__(self) -> bool:
        return bool(self.kind) or self.pruned > 0


def coarseness(values: Floats, *, quantised: bool = False) -> Coarseness:
    """Find the grid that a tensor lies on, and whether it was pruned.

    Parameters
    ----------
    values
        A weight, shape (rows, columns), or a bias, shape (rows,).
    quantised
        Whether it is known of a weight that it lies on levels. Where none are found, those are
        assumed on which each row's largest magnitude is the 127th.
    """
    zero = values == 0
    share = float(zero.mean())
    pruned = share if values.ndim == 2 and share >= PRUNED else 0.0
    kind, half_step = _grid(values)
    if quantised and not kind:
        largest = np.abs(values).max(axis=1, keepdims=True)
        kind, half_step = "levels", largest / 127 / 2
    if pruned and kind == "levels":
        step = 2 * half_step
        beside = float((np.abs(np.abs(values) - step) < step / 2).mean()) / 2
        pruned = share if share > max(3 * beside, 3 / values.size, ON_LEVELS) else 0.0
    if pruned and not zero.all():
        smallest = np.abs(values[~zero]).min()
        half_step = np.where(zero, np.maximum(smallest, half_step), half_step)
    return Coarseness(kind, half_step, pruned)


def _grid(values: Floats) -> tuple[str, Floats]:
    """The kind of grid, and half of its step."""
    if values.size >= FEWEST and values.dtype == np.float32:
        if not (np.ascontiguousarray(values).view(np.uint32) & 0xFFFF).any():
            return "bfloat16", np.abs(values) * UNIT["bfloat16"]
        with np.errstate(over="ignore"):
            if np.array_equal(values.astype(np.float16).astype(np.float32), values):
                return "float16", np.abs(values) * UNIT["float16"]
    step = _step(values)
    if step is not None:
        return "levels", np.array(step / 2, values.dtype)
    if values.ndim == 2 and values.shape[1] >= FEWEST:
        steps = []
        for row in values:
            step = _step(row)
            if step is None:
                break
            steps.append(step)
        else:
            return "levels", np.array(steps, values.dtype)[:, None] / 2
    return "", np.zeros((), values.dtype)


def _step(values: Floats) -> float | None:
    """Distance of the equally spaced levels that numbers lie on; None if they lie on none."""
    levels = np.unique(np.abs(values).astype(np.float64))
    if values.size < FEWEST or len(levels) > LEVELS + 1 or levels[-1] == 0:
        return None
    gaps = np.diff(np.concatenate([[0.0], levels]))
    smallest = gaps[gaps > INTEGRAL * levels[-1] / LEVELS].min(initial=np.inf)
    for divisor in DIVISORS:
        counts = levels / (smallest / divisor)
        # The largest gives the step most precisely.
        counts *= np.round(counts[-1]) / counts[-1]
        if counts[-1] <= LEVELS + 0.5 and np.all(np.abs(counts - np.round(counts)) < INTEGRAL):
            return float(levels[-1] / np.round(counts[-1]))
    return None


def coarse_tolerance(
    network: Network, inputs: Floats, *, quantised: bool = False
) -> Tolerance | None:
    """Measure the errors that coarsely kept weights explain.

    Parameters
    ----------
    network
        Any arrangement of the layers as they were kept; the closer to the truth, the better.
    inputs
        Shape (rows, width). At most 512 of them, spread evenly, are used.
    quantised
        Whether all weights are known to have been integers with scales, so that they lie on levels
        even where they are too few to show it.

    Returns
    -------
    Tolerance or None
        From networks whose weights are drawn, evenly, from what those of the lost one can have
        been; None where nothing was kept coarsely.
    """
    if not isinstance(network.blocks, MlpStack):
        return None
    known = as_mlp(network)
    layers = known.layers()
    found = [
        (coarseness(layer.weight, quantised=quantised), coarseness(layer.bias)) for layer in layers
    ]
    if not any(weight or bias for weight, bias in found):
        return None
    rng = np.random.default_rng(0)
    some = inputs[:: -(-len(inputs) // SAMPLE_ROWS)]

    def drawn(values: Floats, coarse: Coarseness) -> Floats:
        offset = rng.uniform(-1, 1, values.shape) * coarse.half_step
        another: Floats = (values + offset).astype(values.dtype)
        return another

    with np.errstate(over="ignore", invalid="ignore"):
        predictions = network.predict(some).astype(np.float64)
        differences = []
        for _ in range(DRAWS):
            others = [
                Linear(drawn(layer.weight, weight), drawn(layer.bias, bias))
                for layer, (weight, bias) in zip(layers, found, strict=True)
            ]
            lost = MlpNetwork.from_layers(others, known.blocks.activation)
            differences.append(np.abs(lost.predict(some) - predictions))
        squares = np.mean(np.square(differences), axis=1)
    largest = np.max(differences, axis=(0, 1))
    return Tolerance(MARGIN * np.sqrt(squares.max(axis=0)), PEAK_MARGIN * largest)


def kept_coarsely(pile: Pile) -> tuple[str, ...]:
    """What of the pieces shows that they are not as they were trained, in sentences."""
    weights = [coarseness(piece.weight, quantised=piece.stored_as in QUANTISED) for piece in pile]
    notes = []
    for name in QUANTISED:
        count = sum(piece.stored_as == name for piece in pile)
        if count:
            notes.append(f"{count} of {len(pile)} weights are stored as {name} with scales")
    plain = [
        one for one, piece in zip(weights, pile, strict=True) if piece.stored_as not in QUANTISED
    ]
    for kind, words in KINDS.items():
        count = sum(one.kind == kind for one in plain)
        formats = (kind,) if kind in UNIT else ()
        if count and pile.stored_as != formats:
            notes.append(f"{count} of {len(pile)} weights hold {words}")
    pruned = [one.pruned for one in weights if one.pruned]
    if pruned:
        notes.append(
            f"{len(pruned)} of {len(pile)} weights are pruned: {100 * min(pruned):.2g} to "
            f"{100 * max(pruned):.2g} % of their numbers are exactly 0"
        )
    return tuple(notes)
