"""What weights tell of coarse storage, and how much of an error that explains.

Numbers that were rounded lie on a grid although they are stored as float32. It is that of a half
precision, or of at most 256 equal levels. Each tensor or row has one scale, as int8 weights have.
Pruned weights are exactly zero more often than training leaves them. The lost weights lie
within half a step of the stored ones, or below the smallest that was kept. Drawing them anew shows
by how much the predictions can be off.
"""

from dataclasses import dataclass

import numpy as np

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork, MlpStack, as_mlp
from unshuffle.blocks.network import Network, mean_squares
from unshuffle.pieces.pile import QUANTISED, Floats, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof import tolerance
from unshuffle.proof.effort import EFFORT, Effort
from unshuffle.proof.tolerance import UNIT, Tolerance


@dataclass(frozen=True)
class CoarsenessParameters:
    """Numbers that decide which weights were kept coarsely, and what that explains.

    Parameters
    ----------
    levels
        Largest magnitude in steps: int8 with a zero point at one end.
    integral
        How far numbers of steps may be from whole. float32 rounds 255 of them by a hundredth of it.
    fewest
        With fewer numbers a grid may be an accident.
    widest
        Steps that the smallest gap between levels in use is at most.
    pruned
        Part of a weight that is exactly zero from which on it was pruned.
    pruned_levels
        The same where small numbers become zero by rounding to levels.
    zeros
        Numbers that must be zero there, at least.
    beside
        Multiple of the numbers on a level beside zero that must be zero there.
    margin
        How many times the largest difference that drawn networks make is still explained.
    peak_margin
        The same of the worst row: there are more rows than are compared.
    share
        No error above this part of the predictions' variance is explained. What coarse weights
        leave follows from the inputs, as the error of a wrong arrangement does.
    """

    levels: int = 255
    integral: float = 1e-3
    fewest: int = 16
    widest: int = 3
    pruned: float = 0.005
    pruned_levels: float = 0.015
    zeros: int = 3
    beside: float = 3.0
    margin: float = 2.0
    peak_margin: float = 3.0
    share: float = 0.01


STANDARD = CoarsenessParameters()


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

    def drawn(self, values: Floats, rng: np.random.Generator) -> Floats:
        """Possible lost numbers, uniformly drawn, of a tensor that was kept so."""
        offset = rng.uniform(-1, 1, values.shape) * self.half_step
        another: Floats = (values + offset).astype(values.dtype)
        return another


def coarseness(
    values: Floats, *, quantised: bool = False, by: CoarsenessParameters = STANDARD
) -> Coarseness:
    """Find the grid that a tensor lies on, and whether it was pruned.

    A weight has shape (rows, columns), a bias (rows,). A weight that is known to lie on levels may
    show none. Then each row's largest magnitude counts as the 127th level.
    """
    zero = values == 0
    share = float(zero.mean())
    pruned = share if values.ndim == 2 and share >= by.pruned else 0.0
    kind, half_step = _grid(values, by)
    if quantised and not kind:
        largest = np.abs(values).max(axis=1, keepdims=True)
        kind, half_step = "levels", largest / 127 / 2
    if pruned and kind == "levels":
        step = 2 * half_step
        beside = float((np.abs(np.abs(values) - step) < step / 2).mean()) / 2
        least = max(by.beside * beside, by.zeros / values.size, by.pruned_levels)
        pruned = share if share > least else 0.0
    if pruned and not zero.all():
        smallest = np.abs(values[~zero]).min()
        half_step = np.where(zero, np.maximum(smallest, half_step), half_step)
    return Coarseness(kind, half_step, pruned)


def _grid(values: Floats, by: CoarsenessParameters) -> tuple[str, Floats]:
    """The kind of grid, and half of its step."""
    if values.size >= by.fewest and values.dtype == np.float32:
        if not (np.ascontiguousarray(values).view(np.uint32) & 0xFFFF).any():
            return "bfloat16", np.abs(values) * UNIT["bfloat16"]
        with np.errstate(over="ignore"):
            if np.array_equal(values.astype(np.float16).astype(np.float32), values):
                return "float16", np.abs(values) * UNIT["float16"]
    step = _step(values, by)
    if step is not None:
        return "levels", np.array(step / 2, values.dtype)
    if values.ndim == 2 and values.shape[1] >= by.fewest:
        steps = []
        for row in values:
            step = _step(row, by)
            if step is None:
                break
            steps.append(step)
        else:
            return "levels", np.array(steps, values.dtype)[:, None] / 2
    return "", np.zeros((), values.dtype)


def _step(values: Floats, by: CoarsenessParameters) -> float | None:
    """Distance of the equally spaced levels that numbers lie on; None if they lie on none."""
    levels = np.unique(np.abs(values).astype(np.float64))
    if values.size < by.fewest or len(levels) > by.levels + 1 or levels[-1] == 0:
        return None
    gaps = np.diff(np.concatenate([[0.0], levels]))
    smallest = gaps[gaps > by.integral * levels[-1] / by.levels].min(initial=np.inf)
    for divisor in range(1, by.widest + 1):
        counts = levels / (smallest / divisor)
        # The largest gives the step most precisely.
        counts *= np.round(counts[-1]) / counts[-1]
        if counts[-1] <= by.levels + 0.5 and np.all(
            np.abs(counts - np.round(counts)) < by.integral
        ):
            return float(levels[-1] / np.round(counts[-1]))
    return None


def coarse_tolerance(
    network: Network,
    inputs: Floats,
    *,
    quantised: bool = False,
    by: CoarsenessParameters = STANDARD,
    effort: Effort = EFFORT,
) -> Tolerance | None:
    """Measure the errors that coarsely kept weights explain. None where none were kept so.

    Networks are drawn whose weights may be those of the lost one, uniformly. `network` is any
    arrangement of the layers as they were kept. The closer to the truth, the better. `quantised`
    says that all weights were integers with scales. Then they lie on levels even where they are too
    few to show it.
    """
    if not isinstance(network.blocks, MlpStack):
        return None
    known = as_mlp(network)
    layers = known.layers()
    found = [
        (coarseness(layer.weight, quantised=quantised, by=by), coarseness(layer.bias, by=by))
        for layer in layers
    ]
    if not any(weight or bias for weight, bias in found):
        return None
    rng = np.random.default_rng(0)
    some = inputs[:: -(-len(inputs) // effort.coarse)]
    with np.errstate(over="ignore", invalid="ignore"):
        predictions = network.predict(some).astype(np.float64)
        differences = []
        for _ in range(effort.drawn):
            others = [
                Linear(weight.drawn(layer.weight, rng), bias.drawn(layer.bias, rng))
                for layer, (weight, bias) in zip(layers, found, strict=True)
            ]
            lost = MlpNetwork.from_layers(others, known.blocks.activation)
            differences.append(np.abs(lost.predict(some) - predictions))
        squares = [mean_squares(each) for each in differences]
    largest = np.max(differences, axis=(0, 1))
    return Tolerance(by.margin * np.sqrt(np.max(squares, axis=0)), by.peak_margin * largest)


def explained_by_weights(
    network: Network,
    known: Records,
    stored_as: tuple[str, ...],
    errors: Floats,
    by: CoarsenessParameters = STANDARD,
) -> bool:
    """Whether errors, shape (rows, outputs), are explained by how coarsely weights were kept.

    `stored_as` are the dtypes of the pieces in their files.
    """
    if not (mean_squares(errors) <= by.share * known.variances).all():
        return False
    quantised = {*stored_as} <= {*QUANTISED}
    explained = coarse_tolerance(network, known.inputs, quantised=quantised, by=by)
    return explained is not None and explained.admits(errors)


def storage_tolerance(
    rounding: Tolerance, arithmetic: str, stored_as: tuple[str, ...]
) -> Tolerance:
    """Errors that the dtypes of the pieces in their files explain, beyond the arithmetic.

    Where halves stand for float32 weights, every weight is off by half a unit in its last place.
    Integers with scales have no such unit. Their levels are measured as those of plain numbers are.
    """
    coarsest = max((UNIT[name] for name in stored_as if name in UNIT), default=0.0)
    return rounding.scaled(max(1.0, coarsest / UNIT[arithmetic] / tolerance.STANDARD.margin))


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
