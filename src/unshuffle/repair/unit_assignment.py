"""Other columns for many units of a few blocks at once, by least squares and linear assignment.

With everything else in place the prediction is linear in an out layer: a change of column k moves
it by a_k (g · change), with the unit's activation a and the sensitivities g. The changes that
explain the residual best, under a Gaussian prior with the covariance of the block's own columns,
are those of a Gaussian process whose kernel is an elementwise product of Gram matrices, as in
`unshuffle.repair.gaps`. Each unit then gets the column that is closest to what it should have, as
far as the record sees it, weighed against what the weights say.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from unshuffle.grouping.matching import optimal_matching
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats
from unshuffle.repair.unit_exchange import TINY, Columns, Units


@dataclass(frozen=True)
class UnitAssignmentParameters:
    """Numbers that steer the assignment."""

    doubted: int = 4
    """Blocks whose units are all assigned anew."""
    equations: int = 4000
    """Predictions of the regression, at most."""
    ridge: float = 0.1
    """Of the regression, relative to the mean squared error."""
    jitter: float = 1e-3
    """Added to the covariance of columns, relative to their mean variance."""
    trust: tuple[float, ...] = (1.0, 0.1)
    """Factors on what the record says: since units act alike, that is less than it seems."""


STANDARD = UnitAssignmentParameters()


def doubtful_blocks(units: Units, columns: Columns, most: int) -> NDArray[np.intp]:
    """The blocks whose columns weights believe in least."""
    odds = (units.scores - units.scores.max(axis=2, keepdims=True)).astype(np.float64)
    likelihoods = np.exp(odds)
    stay = np.take_along_axis(likelihoods, columns[:, :, None], 2)[:, :, 0]
    sure = (stay / likelihoods.sum(axis=2)).mean(axis=1)
    return np.argsort(sure, kind="stable")[:most]


def reassigned_units(
    units: Units, columns: Columns, clock: Clock, by: UnitAssignmentParameters = STANDARD
) -> Iterator[Columns]:
    """Propose other columns for all units of the blocks in most doubt, by several trusts.

    None are proposed where so little is left that the ridge is below the kernel's rounding. It
    raises `OutOfTimeError` where the time does not suffice.
    """
    chosen = doubtful_blocks(units, columns, by.doubted)
    some = units.rows(slice(by.equations // len(units.last.bias)))
    blocks, effects, residual = some.linearized(columns, chosen)
    parts = [*effects]
    error = max(float(np.mean(np.square(residual))), TINY)
    kernel = np.zeros((len(residual), len(residual)), residual.dtype)
    covariances = []
    for block, (a, g) in zip(chosen, parts, strict=True):
        clock.check()
        covariance = np.atleast_2d(np.cov(blocks.out_weight[block])).astype(g.dtype)
        covariance.flat[:: blocks.width + 1] += by.jitter * covariance.diagonal().mean()
        kernel += (a @ a.T) * (g @ covariance @ g.T)
        covariances.append(covariance)
    kernel.flat[:: len(kernel) + 1] += by.ridge * error
    try:
        solved = cho_solve(cho_factor(kernel, overwrite_a=True, check_finite=False), -residual)
    except LinAlgError:
        return
    distances = []
    for block, (a, g), covariance in zip(chosen, parts, covariances, strict=True):
        wanted = blocks.out_weight[block] + covariance @ ((g * solved[:, None]).T @ a)
        own = units.blocks.out_weight[block]
        distances.append(_distances(a, g, wanted, own, clock) / error)
    for trust in by.trust:
        proposal = columns.copy()
        for block, distance in zip(chosen, distances, strict=True):
            proposal[block] = optimal_matching(units.scores[block] - trust * distance)[:, 1]
        yield proposal


def _distances(
    a: Floats, g: Floats, wanted: Floats, columns: Floats, clock: Clock
) -> NDArray[np.float64]:
    """Half the squared effect of giving each unit each column in place of the wanted one."""
    distances = np.empty((a.shape[1], columns.shape[1]))
    for unit in range(a.shape[1]):
        clock.check()
        seen = (g * np.square(a[:, unit, None])).T @ g
        change = wanted[:, unit, None] - columns
        distances[unit] = np.einsum("dl,dl->l", change, seen @ change) / 2
    return distances
