"""What cannot be told apart: rows that say the same, blocks that compute the same."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import ROWS_AT_ONCE, Network
from unshuffle.pieces.pile import TINY, Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.tolerance import UNIT, arithmetic_of, rounding_tolerance


@dataclass(frozen=True)
class IndependenceParameters:
    """The number that decides what is the same.

    Parameters
    ----------
    resolution
        Units in the last place of float32 within which two numbers are the same.
    """

    resolution: float = 16.0


STANDARD = IndependenceParameters()


def independent_rows(
    network: Network, known: Records, by: IndependenceParameters = STANDARD
) -> Records:
    """One of each set of rows whose last states agree to within rounding.

    Copies of a row with another last digit repeat one equation, so they count once. So do inputs
    that vanish beside the biases, and rows that a contracting network forgets.
    """
    starts = range(0, len(known), ROWS_AT_ONCE)
    with np.errstate(over="ignore", invalid="ignore"):
        last = [network.states(known.inputs[at : at + ROWS_AT_ONCE])[-1] for at in starts]
    groups = _groups(np.concatenate(last), by)
    if len(groups) == len(known):
        return known
    return known.take(np.sort([group.min() for group in groups]))


def affine(network: Network, known: Records) -> bool:
    """Whether an affine function of the inputs reproduces a record to the rounding of a network.

    Scales and shifts of the inputs make any order of the blocks such a function.
    """
    arithmetic = arithmetic_of(network.ends.dtype, known.predictions)
    rounding = rounding_tolerance(network, known.inputs, known.predictions, arithmetic)
    inputs = known.inputs.astype(np.float64)
    given = np.column_stack([inputs / np.maximum(np.abs(inputs).max(0), TINY), np.ones(len(known))])
    predictions = known.predictions.astype(np.float64)
    return rounding.admits(given @ np.linalg.lstsq(given, predictions, rcond=None)[0] - predictions)


def alike_blocks(
    network: Network, known: Records, by: IndependenceParameters = STANDARD
) -> tuple[tuple[int, ...], ...]:
    """Places of blocks that compute the same on the states of a record's rows.

    Units in another sequence, or scaled, make another block of the same function. Exchanging such
    blocks changes nothing that any record could show. They are compared on states of every row and
    every depth, once each.
    """
    many = max(len(known), len(network.blocks) + 1)
    depths = np.linspace(0, len(network.blocks), many).round().astype(int)
    with np.errstate(over="ignore", invalid="ignore"):
        states = network.states(known.inputs)[depths, np.arange(many) % len(known)]
        found: list[tuple[int, ...]] = []
        for places in _of_one_form(network):
            # A block cannot be run on the states of places of another form.
            own = states[np.isin(np.minimum(depths, len(network.blocks) - 1), places)]
            after = [network.blocks.apply(place, own) for place in places]
            groups = _groups(np.stack(after).reshape(len(after), -1), by)
            found += (tuple(sorted(places[k] for k in group)) for group in groups if len(group) > 1)
    return tuple(sorted(found))


def _of_one_form(network: Network) -> list[list[int]]:
    """Places of blocks with the same tensors, form by form."""
    forms: dict[object, list[int]] = {}
    for place in range(len(network.blocks)):
        weights = network.blocks.weights(place)
        form = frozenset((r, n, t.shape) for r, each in weights.items() for n, t in each.items())
        forms.setdefault(form, []).append(place)
    return [*forms.values()]


def _groups(features: Floats, by: IndependenceParameters) -> list[NDArray[np.intp]]:
    """Rows of features that agree to within float32 rounding, group by group.

    Neighbours are found along a random direction (a projection as in Johnson & Lindenstrauss 1984),
    and then compared number by number.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        wide = features.astype(np.float64)
        wide /= np.abs(wide).max(axis=0) * by.resolution * UNIT["float32"] + 1e-300
        direction = np.random.default_rng(0).normal(size=wide.shape[1])
        sequence = np.argsort(wide @ direction, kind="stable")
        apart = ~(np.abs(np.diff(wide[sequence], axis=0)) <= 1).all(axis=1)
    return np.split(sequence, np.flatnonzero(apart) + 1)
