"""Reassignment: give many places other out layers, or other inp layers, all at once.

Exchanges two at a time cannot mend a pairing of which a third is wrong: each must help by itself.
To first order the prediction is linear in which layer stands in which place, so one ridge
regression of the residual on the effects of all layers in all places gives each a coefficient:
near 1 for a layer that the place lacks, near 0 for others. The assignment with the largest sum of
coefficients and log-odds (Kuhn 1955) is proposed, for several ridges and several degrees of trust
in the layers that stand.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from unshuffle.grouping.matching import optimal_matching
from unshuffle.ordering.adjoint import Linearization, exchange_effects
from unshuffle.ordering.judge import Judge, Order
from unshuffle.pieces.pile import Floats

RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Relative to the mean squared norm of an effect."""

STAYING = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Coefficients of the layers that stand: 1 if the regression were exact, less to move more."""

TRUST = (0.0, 1.0)
"""Factors on the log-odds."""

MOST_EFFECTS = 5_000_000
"""Layers times places times equations up to which this is done."""


def reassignments(judge: Judge, at: Linearization, log_odds: NDArray[np.float64]) -> list[Order]:
    """Orders with other out layers, or other inp layers, in many places.

    Parameters
    ----------
    judge, at
        The judge and the linearized order.
    log_odds
        Shape (I, J): of all pairs; −∞ for those that are ruled out.

    Returns
    -------
    list
        Different orders, none of them the one that stands.
    """
    length, outs = len(at.run.order), log_odds.shape[1]
    if length < 2 or length**2 * len(at.residual) > MOST_EFFECTS:
        return []
    i, j = np.divmod(np.array(at.run.order, np.intp), outs)
    if np.isfinite(log_odds[np.ix_(i, j)]).sum() <= length:
        return []
    other_out, other_inp = exchange_effects(judge, at)
    # Entry (t, u) is about the layer of place u in place t.
    odds_out, odds_inp = log_odds[np.ix_(i, j)], log_odds[np.ix_(i, j)].T
    found: dict[Order, None] = {}
    for places in _assignments(other_out, at.residual, odds_out):
        found[tuple((i * outs + j[places]).tolist())] = None
    for places in _assignments(other_inp, at.residual, odds_inp):
        found[tuple((i[places] * outs + j).tolist())] = None
    found.pop(at.run.order, None)
    return list(found)


def _assignments(
    effects: Floats, residual: Floats, log_odds: NDArray[np.float64]
) -> Iterator[NDArray[np.intp]]:
    """For each place, the place whose layer it gets: one proposal for each choice of trust."""
    length = len(effects)
    flat = effects.reshape(length**2, -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    wanted = (residual.mean() - residual).astype(np.float64)
    possible = np.isfinite(log_odds)
    odds = np.where(possible, log_odds, 0.0)
    if not wanted.any():
        return
    for (values,) in ridge_regressions([flat], wanted, RIDGES):
        coefficients = values.reshape(length, length)
        variance = float(np.var(coefficients))
        for staying in STAYING:
            estimates = coefficients + staying * np.eye(length)
            for trust in TRUST:
                scores = estimates / variance + trust * odds
                scores[~possible] = -1e12
                yield optimal_matching(scores)[:, 1]


def ridge_regressions(
    effects: Sequence[Floats], wanted: NDArray[np.float64], ridges: Sequence[float]
) -> Iterator[list[NDArray[np.float64]]]:
    """Coefficients of all effects in one ridge regression, for each of several ridges.

    There are more effects than equations, so the regression is solved for the equations.

    Parameters
    ----------
    effects
        Arrays of shape (effects, equations), which explain what is wanted together.
    wanted
        Shape (equations,).
    ridges
        Relative to the mean squared norm of an effect.

    Yields
    ------
    list
        For each array of effects, their coefficients; nothing where no effect does anything.
    """
    kernel = sum((each.T @ each).astype(np.float64) for each in effects)
    scale = np.trace(kernel) / sum(map(len, effects))
    for ridge in ridges if 0 < scale < np.inf else ():
        dual = np.linalg.solve(kernel + ridge * scale * np.eye(len(wanted)), wanted)
        yield [(each @ dual.astype(each.dtype)).astype(np.float64) for each in effects]
