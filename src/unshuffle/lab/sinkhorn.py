"""Learning the order by gradients: a soft permutation, sharpened (Mena et al. 2018).

Place t runs a mixture of all blocks, weighed by row t of a doubly stochastic matrix. Sinkhorn's
iteration (1967) makes that of free scores. The adjoints of the mixed network and of the iteration
give the error's gradient by the scores. Adam (Kingma & Ba 2015) follows it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.blocks.network import mean_square
from unshuffle.grouping.matching import normalised, optimal_matching
from unshuffle.lab.approach import Order, Task
from unshuffle.oracle.workers import stop_if_asked
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Learning:
    """Numbers that steer the learning.

    Parameters
    ----------
    rows
        Rows of the record that are learned from.
    normalisations
        Normalisations of the rows of a matrix, each followed by one of its columns.
    steps
        Steps along the gradient.
    hot, cold
        First and last temperature of the softness.
    rate
        Learning rate.
    decays
        Of the gradients' first and second moments.
    """

    rows: int = 64
    normalisations: int = 20
    steps: int = 60
    hot: float = 1.0
    cold: float = 0.1
    rate: float = 0.1
    decays: tuple[float, float] = (0.9, 0.999)


LEARNING = Learning()


def learned_order(task: Task, by: Learning = LEARNING) -> Order:
    """Learn a soft permutation and round it to the nearest order."""
    count = len(task.network.blocks)
    rows = task.records.first(by.rows)
    scores = 0.01 * task.rng.standard_normal((count, count))
    first, second = np.zeros_like(scores), np.zeros_like(scores)
    for step in range(by.steps):
        stop_if_asked()
        temperature = by.hot * (by.cold / by.hot) ** (step / (by.steps - 1))
        gradient = soft_error_gradient(scores, temperature, task.network, rows, by)[1]
        if not np.isfinite(gradient).all():
            break
        first += (1 - by.decays[0]) * (gradient - first)
        second += (1 - by.decays[1]) * (np.square(gradient) - second)
        mean, square = (
            moment / (1 - decay ** (step + 1))
            for moment, decay in zip((first, second), by.decays, strict=True)
        )
        scores -= by.rate * mean / (np.sqrt(square) + 1e-12)
    return optimal_matching(scores)[:, 1]


def soft_error_gradient(
    scores: Matrix,
    temperature: float,
    network: MlpNetwork,
    records: Records,
    by: Learning = LEARNING,
) -> tuple[float, Matrix]:
    """Error of the softly ordered network, and its gradient by the scores.

    Scores and gradient have the shape (places, blocks). The scores are divided by the temperature.
    """
    trail = normalised(scores / temperature, by.normalisations)
    weights = np.exp(trail[-1])
    x = records.inputs.astype(np.float64)
    blocks, last = network.blocks.astype(np.float64), network.last.astype(np.float64)
    count = len(blocks)
    states: list[Floats] = [x]
    steps: list[Floats] = []
    for weight in weights:
        each = np.stack([blocks.apply(block, states[-1]) - states[-1] for block in range(count)])
        steps.append(each)
        states.append(states[-1] + np.tensordot(weight, each, 1))
    residual = last(states[-1]) - records.predictions
    g = 2 * residual @ last.weight / residual.size
    by_weight = np.empty_like(weights)
    for t in range(count - 1, -1, -1):
        by_weight[t] = np.einsum("bnd,nd->b", steps[t], g)
        through = [blocks.pullback(block, states[t], g) - g for block in range(count)]
        g = g + np.tensordot(weights[t], np.stack(through), 1)
    gradient = sinkhorn_adjoint(by_weight * weights, trail) / temperature
    return mean_square(residual), gradient


def sinkhorn_adjoint(g: Matrix, trail: list[Matrix]) -> Matrix:
    """Pull a gradient by the result's logarithms back to the logarithms that it began with."""
    for step in range(len(trail) - 1, -1, -1):
        axis = 1 - step % 2
        g = g - np.exp(trail[step]) * g.sum(axis=axis, keepdims=True)
    return g
