"""Which block ran before which, by the sizes of their steps: evidence that needs no predictions.

Along most networks the steps grow, or shrink, with the depth, little by little and with exceptions:
of two blocks at the same state the earlier one mostly moves it less. An order at hand tells how
much that says in a network. Its neighbours are in the right order for the most part, so the ratios
of their steps show how such ratios are distributed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.bank import Bank
from unshuffle.ordering.linearization import shifts
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import Floats

# Standard deviation of a Gaussian, in median absolute deviations.
SPREAD = 1.4826


@dataclass(frozen=True, eq=False)
class Precedence:
    """Log-odds that the block at one place of an arrangement ran before the one at another."""

    arrangement: Arrangement
    log_odds: NDArray[np.float64]  # shape (blocks, blocks), antisymmetric

    def lost(self, arrangement: Arrangement, window: int) -> NDArray[np.float64]:
        """Log-odds lost by each of the `shifts` of an order of the same blocks: shape (shifts,)."""
        place = {block: t for t, block in enumerate(map(tuple, self.arrangement.tolist()))}
        places = [place[block] for block in map(tuple, arrangement.tolist())]
        log_odds = self.log_odds[np.ix_(places, places)]
        summed = np.cumsum(log_odds, axis=1)
        source, target = shifts(len(arrangement), window).T
        # Forward it falls behind the blocks up to its target; back, its target falls behind too.
        lost: NDArray[np.float64] = summed[source, target] - summed[source, source]
        return lost - np.where(target < source, log_odds[source, target], 0.0)


def precedence(bank: Bank, arrangement: Arrangement, first: Floats) -> Precedence:
    """What the steps of blocks from the first states say for an order that is about right.

    The evidence on two blocks is the log of the ratio of their steps from the state at which the
    first of them runs. If that is Gaussian with mean m and variance s² for blocks in the right
    order, and with mean −m for others, the log-odds are 2 m / s² times the log ratio (the linear
    discriminant of Fisher 1936). Mean and variance are those of neighbours in the order given, by
    medians, since some neighbours are wrong and the ends of a network are often peculiar. Where
    steps say nothing about the order, the mean is close to 0, and so are the log-odds.
    """
    ratios = _step_ratios(bank, arrangement, first)
    neighbours = np.diagonal(ratios, 1)
    log_odds = np.zeros_like(ratios)
    if np.isfinite(ratios).all() and len(neighbours):
        mean = np.median(neighbours)
        deviation = SPREAD * np.median(np.abs(neighbours - mean))
        if deviation > 0:
            log_odds = 2 * mean / deviation**2 * np.triu(ratios, 1)
    return Precedence(arrangement, log_odds - log_odds.T)


def _step_ratios(bank: Bank, arrangement: Arrangement, first: Floats) -> NDArray[np.float64]:
    """Entry (t, u), t ≤ u: log of the step of block u over that of block t, where that one runs."""
    ordered = bank.take(arrangement)
    ratios = np.zeros((len(arrangement), len(arrangement)))
    state = first
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for t in range(len(arrangement)):
            rest = ordered[t:]
            after = rest.apply_each(np.broadcast_to(state, (len(rest), *state.shape)))
            steps = after - state
            squares = np.einsum("bnd,bnd->b", steps, steps)
            ratios[t, t:] = np.log(squares / squares[0]) / 2
            state = after[0]
    return ratios
