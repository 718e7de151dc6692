"""Orders from responses: which block undoes what another one does. No predictions are needed.

A block's response to another one is the change of its own step when it runs behind it. Where steps
are large, a block has learned to undo part of what earlier blocks write. It knows nothing of later
blocks. So of two blocks, the one that undoes more of the other's step runs later.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Network
from unshuffle.ordering.seeds import Ranking
from unshuffle.pieces.pile import Floats


@dataclass(frozen=True)
class ResponseParameters:
    """Numbers that steer orders from responses.

    Parameters
    ----------
    rows
        Inputs on which blocks respond to each other.
    leads
        Blocks that are tried as the first one.
    most_steps
        Blocks squared times rows that are run for all of these orders together.
    least_gain
        Of summed odds: a smaller one is rounding.
    """

    rows: int = 24
    leads: int = 16
    most_steps: int = 20_000_000
    least_gain: float = 1e-9


def response_rankings(network: Network, inputs: Floats, by: ResponseParameters) -> list[Ranking]:
    """Orders by responses to each other, at the first states and behind each likely first block.

    Where steps are as large as the states, blocks respond to each other behind the first block
    alone. The likeliest first blocks move the states least.

    Parameters
    ----------
    network
        K blocks in any sequence.
    inputs
        Shape (rows, columns).
    by
        How many rows and first blocks are tried.

    Returns
    -------
    list
        Of each order the indices of all blocks, the first to run first.
    """
    blocks, affordable = network.blocks, by.most_steps // len(network.blocks) ** 2
    first = network.ends.enter(inputs[: max(1, min(by.rows, affordable))])
    behind = blocks.apply_each(np.broadcast_to(first, (len(blocks), *first.shape)))
    rankings = [best_precedence(undone(network, first), by)]
    leads = np.argsort(_norms(behind - first), kind="stable")[
        : min(by.leads, affordable // len(first))
    ]
    for lead in leads.tolist():
        others = np.delete(np.arange(len(blocks)), lead)
        odds = undone(network, behind[lead])[np.ix_(others, others)]
        rankings.append(np.concatenate([[lead], others[best_precedence(odds, by)]]))
    return rankings


def undone(network: Network, state: Floats) -> NDArray[np.float64]:
    """How much more the second block undoes of the first one's step than the other way round.

    They are differences of negative cosines between the step of one block and the response of
    another. States have shape (rows, width). The result is antisymmetric, of shape (blocks,
    blocks).
    """
    blocks, count = network.blocks, len(network.blocks)
    moved = blocks.apply_each(np.broadcast_to(state, (count, *state.shape)))
    steps, flat = moved - state, moved.reshape(-1, *state.shape[1:])
    cosines = np.zeros((count, count))
    for place in range(count):
        responses = (blocks.apply(place, flat) - flat).reshape(steps.shape) - steps[place]
        sizes = _norms(responses) * _norms(steps)
        products = np.einsum("bnd,bnd->b", responses, steps, dtype=np.float64)
        np.divide(products, sizes, out=cosines[:, place], where=(sizes > 0) & np.isfinite(sizes))
    return cosines.T - cosines


def best_precedence(odds: NDArray[np.float64], by: ResponseParameters) -> Ranking:
    """An order of large sum of the odds over all couples, the first before the second.

    The odds are antisymmetric. The order begins with each one's sum (Borda 1781). One block at a
    time is moved to where it adds most, as long as that adds anything (after Kemeny 1959).
    """
    order = np.argsort(-odds.sum(axis=1), kind="stable")
    behind = np.tri(len(order), k=-1, dtype=bool)
    while len(order) > 1:
        ordered = odds[np.ix_(order, order)]
        summed = np.cumsum(ordered, axis=1)
        # From its place to another it falls behind those between; back, it overtakes its target.
        lost = summed - summed.diagonal()[:, None] - np.where(behind, ordered, 0.0)
        source, target = np.unravel_index(int(lost.argmin()), lost.shape)
        if not lost[source, target] < -by.least_gain:
            break
        order = np.insert(np.delete(order, source), target, order[source])
    return order


def _norms(states: Floats) -> NDArray[np.float64]:
    """Norm of the states of each block, which have shape (blocks, rows, width)."""
    norms: NDArray[np.float64] = np.sqrt(np.square(states, dtype=np.float64).sum(axis=(1, 2)))
    return norms
