"""Which block ran before which, by the sizes of their steps: evidence that needs no predictions.

In most networks the steps grow, or shrink, with the depth, with exceptions. The ratios of
neighbours' steps, in an order that is mostly right, tell how much that says.
"""

from dataclasses import dataclass

import numpy as np

from unshuffle.blocks.bank import Bank
from unshuffle.blocks.normal import robust_spread
from unshuffle.ordering.judge import Doubles
from unshuffle.ordering.linearization import shifts
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import Floats


@dataclass(frozen=True, eq=False)
class Precedence:
    """Log-odds that the block at one place of an arrangement ran before the one at another."""

    arrangement: Arrangement
    log_odds: Doubles  # shape (blocks, blocks), antisymmetric

    def lost(self, arrangement: Arrangement, window: int) -> Doubles:
        """Log-odds lost by each of the `shifts` of an order of the same blocks: shape (shifts,)."""
        place = {block: t for t, block in enumerate(map(tuple, self.arrangement.tolist()))}
        places = [place[block] for block in map(tuple, arrangement.tolist())]
        log_odds = self.log_odds[np.ix_(places, places)]
        summed = np.cumsum(log_odds, axis=1)
        source, target = shifts(len(arrangement), window).T
        # Forward it falls behind the blocks up to its target; back, its target falls behind too.
        lost: Doubles = summed[source, target] - summed[source, source]
        return lost - np.where(target < source, log_odds[source, target], 0.0)


def precedence(bank: Bank, arrangement: Arrangement, first: Floats) -> Precedence:
    """What the blocks' first steps say for an order that is about right.

    The log ratio of the steps of two blocks is taken from the state at which the first runs. It
    counts as Gaussian, with mean m and variance s² in the right order, with mean −m otherwise. The
    log-odds are 2 m / s² times the log ratio (the linear discriminant of Fisher 1936). Medians over
    neighbours give mean and variance, since some neighbours are wrong.
    """
    ratios = _step_ratios(bank, arrangement, first)
    neighbours = np.diagonal(ratios, 1)
    log_odds = np.zeros_like(ratios)
    if np.isfinite(ratios).all() and len(neighbours):
        mean = np.median(neighbours)
        deviation = robust_spread(neighbours)
        if deviation > 0:
            log_odds = 2 * mean / deviation**2 * np.triu(ratios, 1)
    return Precedence(arrangement, log_odds - log_odds.T)


def _step_ratios(bank: Bank, arrangement: Arrangement, first: Floats) -> Doubles:
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
