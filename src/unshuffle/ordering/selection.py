"""Choose moves that fit together, from their first-order effects.

Effects add up to first order. So their Gram matrix tells the error after any set of moves. A joint
regression sees how overlapping swaps explain the residual together. Matching pursuit takes the best
move, subtracts what it explains, and goes on.
"""

from dataclasses import dataclass

import numpy as np

from unshuffle.ordering.judge import NOTHING, Indices
from unshuffle.ordering.moves import Moves
from unshuffle.pieces.pile import Floats


@dataclass(frozen=True)
class SelectionParameters:
    """Numbers that steer the choice of moves that fit together.

    Parameters
    ----------
    ridge
        Of the joint regression, relative to the mean squared norm of an effect.
    needed
        Coefficient above which a swap is chosen: 1 if the regression were exact, 0 without need.
    most
        Moves in one pursuit.
    """

    ridge: float = 1e-2
    needed: float = 0.5
    most: int = 64


STANDARD = SelectionParameters()


def regression(moves: Moves, residual: Floats, by: SelectionParameters = STANDARD) -> Indices:
    """Choose adjacent swaps by how much of each the residual asks for.

    It is damped Gauss-Newton on the permutation. Ridge regression of the residual on the effects of
    all adjacent swaps gives each a coefficient. It is 1 for a swap that is needed, and 0 for
    others. Swaps are chosen from the largest down, if they do not overlap.
    """
    swaps = np.flatnonzero(~moves.swap & (moves.second == moves.first + 1))
    effects = moves.effects[swaps]
    gram = (effects @ effects.T).astype(np.float64)
    damping = by.ridge * float(np.trace(gram)) / max(len(gram), 1)
    if not damping > 0:
        return swaps[:0]
    np.fill_diagonal(gram, gram.diagonal() + damping)
    wanted = np.linalg.solve(gram, -(effects @ residual).astype(np.float64))
    chosen: list[int] = []
    taken: set[int] = set()
    for k in np.argsort(-wanted, kind="stable").tolist():
        if wanted[k] <= by.needed:
            break
        place = int(moves.first[swaps[k]])
        if taken.isdisjoint((place, place + 1)):
            chosen.append(int(swaps[k]))
            taken |= {place, place + 1}
    return np.array(chosen, np.intp)


def promising(moves: Moves, residual: Floats, strength: float) -> Indices:
    """Rank single moves by the objective that `pursuit` states, the most promising first."""
    effects = moves.effects
    error = max(float(residual.astype(np.float64) @ residual), NOTHING)
    squares = np.einsum("me,me->m", effects, effects, dtype=np.float64)
    errors = error + 2 * (effects @ residual).astype(np.float64) + squares
    change = strength / 2 * np.log(np.maximum(errors, 1e-12 * error) / error) - moves.gains
    return np.argsort(change, kind="stable")


def pursuit(
    moves: Moves, residual: Floats, strength: float, by: SelectionParameters = STANDARD
) -> Indices:
    """Choose compatible moves, each the best for what the earlier ones leave.

    The best lowers ``strength / 2 * log(squared error) − log-odds`` most, the objective of
    `unshuffle.ordering.descent`. Matching pursuit is due to Mallat & Zhang (1993).
    """
    gram = (moves.effects @ moves.effects.T).astype(np.float64)
    slopes = (moves.effects @ residual).astype(np.float64)
    squares = gram.diagonal()
    error = start = max(float(residual.astype(np.float64) @ residual), NOTHING)
    possible = np.ones(len(moves), bool)
    chosen: list[int] = []
    while possible.any() and len(chosen) < by.most:
        errors = np.maximum(error + 2 * slopes + squares, 1e-12 * start)
        change = strength / 2 * np.log(errors / error) - moves.gains
        best = int(np.where(possible, change, np.inf).argmin())
        if not change[best] < 0:
            break
        chosen.append(best)
        error = float(errors[best])
        slopes = slopes + gram[best]
        possible &= moves.compatible(best)
        possible[best] = False
    return np.array(chosen, np.intp)
