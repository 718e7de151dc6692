"""Tournament: how likely each block runs before each other, by one regression around an order.

The regression of the residual on the effects of all exchanges of two blocks gives every pair a
wanted change. Borda's scores (1781) of the sums make an order again. Steps of several lengths are
judged exactly.
"""

from dataclasses import dataclass, field

import numpy as np

from unshuffle.ordering.brackets import bracket_effects, borda, sides
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.linearization import Linearization
from unshuffle.ordering.regression import RidgeParameters, fit
from unshuffle.pieces.blueprint import Arrangement


@dataclass(frozen=True)
class TournamentParameters:
    """Numbers that steer a tournament.

    Parameters
    ----------
    equations
        Predictions (rows times outputs) that the regression uses at most.
    lengths
        Parts of the wanted change that are tried.
    ridge
        What steers the regression.
    """

    equations: int = 512
    lengths: tuple[float, ...] = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.125)
    ridge: RidgeParameters = field(default_factory=RidgeParameters)


def tournament(judge: Judge, at: Linearization, by: TournamentParameters) -> list[Arrangement]:
    """Orders of the same blocks that the residual asks for, the longest step first."""
    outputs = judge.predictions.shape[1]
    few = at.first_rows(-(-by.equations // outputs))
    states, length = few.run.states, len(few.run)
    effects = bracket_effects(states, few.sensitivities, np.arange(length))
    found = fit(effects.reshape(len(few.residual), -1), -few.residual, by.ridge)
    before = sides(np.arange(length))
    orders = (
        np.argsort(borda(before + part * found.coefficients, length), kind="stable")
        for part in by.lengths
    )
    return [at.run.arrangement[order] for order in orders]
