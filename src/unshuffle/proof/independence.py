"""Rows that say the same count once, and what is affine in the inputs proves nothing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Network, mean_squares
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
    groups = same_rows(network.last_states(known.inputs), by)
    if len(groups) == len(known):
        return known
    return known.take(np.sort([group.min() for group in groups]))


def design_effect(network: Network, known: Records) -> float:
    """How many rows say as much as one independent row, by their residuals (Kish 1965).

    Rows are alike if their last states differ by no more than noise, in parts of the largest. It
    is 1 where the residuals of such rows are no more alike than others.
    """
    last = network.last_states(known.inputs)
    with np.errstate(over="ignore", invalid="ignore"):
        residual = network.ends.leave(last).astype(np.float64) - known.predictions
    squares = mean_squares(residual)
    share = float(np.sqrt(np.mean(squares / np.maximum(known.variances, TINY))))
    alike = same_rows(last, IndependenceParameters(max(share, TINY) / UNIT["float32"]))
    sizes = np.array([len(group) for group in alike])
    couples = float(np.sum(sizes * (sizes - 1)))
    sums = np.stack([residual[group].sum(axis=0) for group in alike])
    products = np.square(sums).sum(axis=0) - np.square(residual).sum(axis=0)
    correlations = products / np.maximum(couples * squares, TINY)
    correlation = float(np.clip(correlations.max(initial=0.0), 0.0, 1.0))
    return 1 + correlation * couples / len(known)


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


def same_rows(features: Floats, by: IndependenceParameters = STANDARD) -> list[NDArray[np.intp]]:
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
