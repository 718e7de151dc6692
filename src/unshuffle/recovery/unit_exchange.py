"""Exchange columns of out layers, many at once: the last few units that gradient descent leaves.

To first order the effect of giving units k and l of a block each other's columns is
−(a_k − a_l) (c_k − c_l), with a the unit's activation and c what the sensitivities read from its
column. The most promising exchanges are chosen together by matching pursuit and judged exactly.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.network import Blocks, Linear, Network
from unshuffle.ordering.moves import Kind, Moves
from unshuffle.ordering.selection import pursuit
from unshuffle.pile import Floats

CANDIDATES = 512
"""Exchanges that pursuit chooses among."""


def exchanged_units(
    blocks: Blocks,
    columns: NDArray[np.intp],
    last: Linear,
    inputs: Floats,
    predictions: Floats,
) -> NDArray[np.intp]:
    """Exchange columns while that lowers the error.

    Parameters
    ----------
    blocks
        The blocks in the order in which they run, the columns of out as they are in the pile.
    columns
        Shape (blocks, hidden): the column of each unit.
    last
        The last layer.
    inputs, predictions
        The rows, of the dtype of the weights.

    Returns
    -------
    NDArray
        Better columns, or the same.
    """
    error = _error(blocks, columns, last, inputs, predictions)
    while error > 0:
        moves, residual = _moves(permuted_columns(blocks, columns), last, inputs, predictions)
        chosen = pursuit(moves, residual, strength=len(blocks))
        better, before = columns, error
        while len(chosen):
            candidate = columns.copy()
            flat = candidate.reshape(-1)
            for a, b in zip(moves.first[chosen], moves.second[chosen], strict=True):
                flat[[a, b]] = flat[[b, a]]
            found = _error(blocks, candidate, last, inputs, predictions)
            if found < error:
                better, error = candidate, found
            chosen = chosen[: len(chosen) // 2]
        if not error < before:
            break
        columns = better
    return columns


def permuted_columns(blocks: Blocks, columns: NDArray[np.intp]) -> Blocks:
    """The blocks with the columns of out in the sequence of the rows of inp."""
    out = np.take_along_axis(blocks.out_weight, columns[:, None, :], axis=2)
    return replace(blocks, out_weight=out)


def _error(
    blocks: Blocks, columns: NDArray[np.intp], last: Linear, inputs: Floats, predictions: Floats
) -> float:
    network = Network(permuted_columns(blocks, columns), last)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.mean(np.square(network.predict(inputs) - predictions, dtype=np.float64))
    return float(np.nan_to_num(error, nan=np.inf))


def _moves(
    blocks: Blocks, last: Linear, inputs: Floats, predictions: Floats
) -> tuple[Moves, Floats]:
    """The most promising exchanges with their effects, and the residual; outputs first."""
    network = Network(blocks, last)
    states = [*network.states(inputs)]
    pulled = network.sensitivities(states)
    residual = (last(states[-1]) - predictions).T  # (outputs, rows)
    found = []
    for block in range(len(blocks) - 1, -1, -1):
        z = states[block] @ blocks.inp_weight[block].T
        z += blocks.inp_bias[block]
        activations = blocks.activation.apply(z)
        reads = pulled[block + 1] @ blocks.out_weight[block]  # (outputs, rows, hidden)
        found.append(_promising(block, activations, reads, residual))
    first, second, effects, gains = (np.concatenate(part) for part in zip(*found, strict=True))
    best = np.argsort(gains, kind="stable")[:CANDIDATES]
    moves = Moves(
        np.full(len(best), Kind.OUTS), first[best], second[best], effects[best], np.zeros(len(best))
    )
    return moves, residual.reshape(-1)


def _promising(
    block: int, activations: Floats, reads: Floats, residual: Floats
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats, NDArray[np.float64]]:
    """Exchanges in one block: units, effects, and expected changes of the squared error."""
    hidden = activations.shape[1]
    changes = np.full((hidden, hidden), np.inf)
    for unit in range(hidden - 1):
        effects = -(activations[:, unit, None] - activations[:, unit + 1 :]) * (
            reads[:, :, unit, None] - reads[:, :, unit + 1 :]
        )
        slopes = np.einsum("onu,on->u", effects, residual)
        squares = np.einsum("onu,onu->u", effects, effects)
        changes[unit, unit + 1 :] = 2 * slopes + squares
    best = np.argsort(changes, axis=None, kind="stable")[:CANDIDATES]
    best = best[changes.ravel()[best] < 0]
    one, other = np.divmod(best, hidden)
    effects = -(activations[:, one] - activations[:, other]) * (
        reads[:, :, one] - reads[:, :, other]
    )
    flat = np.moveaxis(effects, 2, 0).reshape(len(best), residual.size)
    start = block * hidden
    return one + start, other + start, flat, changes.ravel()[best]
