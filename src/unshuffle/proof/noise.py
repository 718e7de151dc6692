"""Whether what a network leaves of a record is noise, or a sign that the network is wrong.

A wrong arrangement errs by a function of the input, which shows in the states that the network
itself computes; noise in the record does not. So the residual is regressed on the states for one
half of the rows, and the regression must say nothing about the other half.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Network
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records

MOST_ROWS = 4096
FEWEST_ROWS = 256
"""With fewer rows nothing can be said."""

DEPTHS = 5
"""States that the residual is regressed on, spread over the depth, inputs and end included."""

RIDGE = 1e-3
"""Relative to the mean square of the states."""

SIGNIFICANT = 4.0
"""Standard deviations of a chance correlation."""

LARGEST_SHARE = 0.1
"""Of the predictions' variance: what leaves more unexplained is no reconstruction at all."""

LARGEST_PEAK = 8.0
"""Root mean squares: a few rows that err by more are damage, not noise."""

KERNEL_ROWS = 2048
"""Rows of a kernel regression, half of which it is fitted to,"""
KERNEL_RIDGES = (1e-3, 1e-2, 1e-1)
"""and ridges, over the kernel's diagonal."""


@dataclass(frozen=True)
class Pattern:
    """What of a residual is a function of the states.

    Parameters
    ----------
    share
        Part of its mean square, on rows that the regression has not seen, that the regression
        explains: from 0 to 1.
    features
        Number of features of the states.
    significant
        Whether the regression explains more than chance would.
    """

    share: float
    features: int
    significant: bool


def find_pattern(network: Network, known: Records) -> Pattern:
    """Regress the residual of a network on its states.

    Parameters
    ----------
    network
        The arrangement.
    known
        Rows that all have predictions. At most 4096 of them, spread evenly, are looked at.
    """
    return _regress(*_states_and_residual(network, _some(known)))


def _states_and_residual(network: Network, known: Records) -> tuple[list[Floats], Floats]:
    """States at some depths, each of shape (rows, width), and what they leave unexplained."""
    depths = np.linspace(0, len(network.blocks), DEPTHS).round().astype(int)
    with np.errstate(over="ignore", invalid="ignore"):
        states = [x for depth, x in enumerate(network.states(known.inputs)) if depth in depths]
        residual: Floats = known.predictions - network.ends.leave(states[-1]).astype(np.float64)
    return states, residual


def _regress(states: list[Floats], residual: Floats) -> Pattern:
    features = np.concatenate([*states, np.ones((len(residual), 1))], axis=1).astype(np.float64)
    features /= np.sqrt(np.mean(np.square(features), axis=0)) + np.finfo(float).tiny
    fit, check = slice(0, None, 2), slice(1, None, 2)
    gram = features[fit].T @ features[fit]
    np.fill_diagonal(gram, gram.diagonal() * (1 + RIDGE))
    coefficients = np.linalg.lstsq(gram, features[fit].T @ residual[fit], rcond=None)[0]
    expected = features[check] @ coefficients
    found = residual[check]
    agreement = float(np.sum(expected * found))
    chance = np.sqrt(np.sum(np.square(expected) * np.square(found)))
    explained = 2 * agreement - float(np.sum(np.square(expected)))
    total = max(float(np.sum(np.square(found))), np.finfo(float).tiny)
    return Pattern(
        share=float(np.clip(explained / total, 0.0, 1.0)),
        features=features.shape[1],
        significant=bool(agreement > SIGNIFICANT * chance),
    )


def looks_like_noise(network: Network, known: Records) -> bool:
    """Whether the residual of a network on rows with predictions is small and patternless.

    Parameters
    ----------
    network
        The arrangement.
    known
        Rows that all have predictions. At most 4096 of them, spread evenly, are looked at.
    """
    if len(known) < FEWEST_ROWS:
        return False
    states, residual = _states_and_residual(network, _some(known))
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(residual)
    if not np.isfinite(squares).all() or squares.mean() > LARGEST_SHARE * known.variance:
        return False
    if squares.max() > LARGEST_PEAK**2 * squares.mean():
        return False
    return not _regress(states, residual).significant


def _some(known: Records) -> Records:
    return known.take(np.arange(0, len(known), -(-len(known) // MOST_ROWS)))


def foretold(inputs: Floats, predictions: Floats) -> float:
    """How clearly predictions follow from inputs: about normal with variance 1 where they do not.

    Parameters
    ----------
    inputs, predictions
        Shapes (rows, width) and (rows, outputs). At most 2048 rows, spread evenly, are looked at.

    Returns
    -------
    float
        How well a kernel regression agrees with rows that it has not seen, in standard deviations
        of what chance would make of it.
    """
    expected, found = _kernel_regression(inputs, predictions, KERNEL_RIDGES[-1])
    agreements = (expected * found).sum(axis=1)
    chance = np.sqrt(np.square(agreements).sum()) + np.finfo(float).tiny
    return float(agreements.sum() / chance)


def noise_at_most(inputs: Floats, predictions: Floats) -> float:
    """Share of the predictions' variance that can be noise: what a kernel regression leaves.

    Parameters are those of `foretold`; of a few ridges the best counts.
    """
    left = []
    for ridge in KERNEL_RIDGES:
        expected, found = _kernel_regression(inputs, predictions, ridge)
        left.append(float(np.square(expected - found).mean() / np.square(found).mean()))
    return min(left)


def _kernel_regression(
    inputs: Floats, predictions: Floats, ridge: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What every second row foretells of the others, and what these are, both standardised.

    Kernel ridge regression (Saunders, Gammerman & Vovk 1998), with a Gaussian kernel as wide as the
    median distance.
    """
    chosen = np.arange(0, len(inputs), -(-len(inputs) // KERNEL_ROWS))
    x, y = inputs[chosen].astype(np.float64), predictions[chosen].astype(np.float64)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + np.finfo(float).tiny)
    y = (y - y.mean(axis=0)) / (y.std(axis=0) + np.finfo(float).tiny)
    fit, check = slice(0, None, 2), slice(1, None, 2)
    squares = np.square(x).sum(axis=1)
    apart = np.maximum(squares[:, None] + squares[fit] - 2 * x @ x[fit].T, 0.0)
    kernel = np.exp(-apart / max(float(np.median(apart)), np.finfo(float).tiny))
    damped = kernel[fit] + ridge * np.eye(len(x[fit]))
    expected: NDArray[np.float64] = kernel[check] @ np.linalg.solve(damped, y[fit])
    return expected, y[check]
