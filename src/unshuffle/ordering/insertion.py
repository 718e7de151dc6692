"""What inserting a block somewhere does to the error, to first order.

All places of all blocks are scored from one forward and one backward pass.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unshuffle.ordering.adjoint import Linearization
from unshuffle.ordering.judge import Judge


def insertion_errors(judge: Judge, at: Linearization, blocks: Sequence[int]) -> NDArray[np.float64]:
    """Mean squared error to first order after inserting each block at each place.

    Returns
    -------
    NDArray
        Shape (blocks, length + 1): entry (b, t) runs block b right before what is now place t.
    """
    states, adjoints = at.run.states, at.sensitivities
    length, rows, width = states.shape
    halves = np.zeros((2, len(blocks), length))
    middle = (rows + 1) // 2

    def work(part: slice) -> None:
        x = np.ascontiguousarray(states[:, part]).reshape(-1, width)
        g = np.ascontiguousarray(adjoints[:, :, part])
        residual = at.residual.reshape(adjoints.shape[1], -1)[:, part]
        for k, block in enumerate(blocks):
            steps = (judge.blocks.apply(block, x) - x).reshape(length, 1, -1, width)
            after = np.einsum("tond,tond->ton", g, np.broadcast_to(steps, g.shape)) + residual
            halves[int(part.start == middle), k] = np.einsum("ton,ton->t", after, after)

    judge.by_rows(work)
    errors: NDArray[np.float64] = halves.sum(axis=0) / len(at.residual)
    return errors
