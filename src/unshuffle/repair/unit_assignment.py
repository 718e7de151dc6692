"""Other columns for many units of a few blocks at once, by least squares and linear assignment.

With everything else in place the prediction is linear in an out layer: a change of column k moves
it by a_k (g · change), with the unit's activation a and the sensitivities g. The changes that
explain the residual best, under a Gaussian prior with the covariance of the block's own columns,
are those of a Gaussian process whose kernel is an elementwise product of Gram matrices, as in
`unshuffle.repair.gaps`. Each unit then gets the column that is closest to what it should have, as
far as the record sees it, weighed against what the weights say.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from unshuffle.grouping.matching import optimal_matching
from unshuffle.repair.unit_exchange import TINY, Units

RIDGE = 0.1
"""Of the regression, relative to the mean squared error."""

TRUST = (1.0, 0.1)
"""Factors on what the record says; units of one block act alike, so it says less than it seems."""

JITTER = 1e-3
"""Added to the covariance of columns, relative to their mean variance."""

MOST_EQUATIONS = 4000
"""Equations of the regression."""


def doubtful_blocks(units: Units, columns: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """The blocks whose columns weights believe in least."""
    odds = (units.scores - units.scores.max(axis=2, keepdims=True)).astype(np.float64)
    likelihoods = np.exp(odds)
    stay = np.take_along_axis(likelihoods, columns[:, :, None], 2)[:, :, 0]
    sure = (stay / likelihoods.sum(axis=2)).mean(axis=1)
    return np.argsort(sure, kind="stable")[:most]


def reassigned_units(
    units: Units, columns: NDArray[np.intp], chosen: NDArray[np.intp]
) -> Iterator[NDArray[np.intp]]:
    """Propose other columns for all units of the chosen blocks, by several trusts in the record.

    Parameters
    ----------
    units
        The blocks and the rows.
    columns
        Shape (blocks, hidden): the column of each unit.
    chosen
        The blocks.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    rows = slice(MOST_EQUATIONS // len(units.last.bias))
    blocks, states, pulled, excess = units.linearized(columns, rows)
    residual = -excess
    error = max(float(np.mean(np.square(residual))), TINY)
    kernel = np.zeros((len(residual), len(residual)), residual.dtype)
    parts = []
    for block in chosen.tolist():
        a, g = units.activations(block, states[block]), pulled[block]
        covariance = np.atleast_2d(np.cov(blocks.out_weight[block])).astype(g.dtype)
        covariance.flat[:: blocks.width + 1] += JITTER * covariance.diagonal().mean()
        kernel += (a @ a.T) * (g @ covariance @ g.T)
        parts.append((block, a, g, covariance))
    kernel.flat[:: len(kernel) + 1] += RIDGE * error
    try:
        solved = cho_solve(cho_factor(kernel, overwrite_a=True, check_finite=False), residual)
    except LinAlgError:  # so little is left that the ridge is below the kernel's rounding
        return
    distances: list[NDArray[np.float64]] = []
    for block, a, g, covariance in parts:
        wanted = blocks.out_weight[block] + covariance @ ((g * solved[:, None]).T @ a)
        distances.append(_distances(a, g, wanted, units.blocks.out_weight[block]) / error)
    for trust in TRUST:
        proposal = columns.copy()
        for block, distance in zip(chosen.tolist(), distances, strict=True):
            proposal[block] = optimal_matching(units.scores[block] - trust * distance)[:, 1]
        yield proposal


def _distances(
    a: NDArray[np.floating],
    g: NDArray[np.floating],
    wanted: NDArray[np.floating],
    columns: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Half the squared effect of giving each unit each column in place of the wanted one."""
    distances = np.empty((a.shape[1], columns.shape[1]))
    for unit in range(a.shape[1]):
        seen = (g * np.square(a[:, unit, None])).T @ g
        change = wanted[:, unit, None] - columns
        distances[unit] = np.einsum("dl,dl->l", change, seen @ change) / 2
    return distances
