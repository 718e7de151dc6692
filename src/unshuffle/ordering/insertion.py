"""Build an order from nothing: put each block where it is predicted to help most.

Like the greedy insertion of `classic`, but all places of all blocks are scored to first order from
one forward and one backward pass, and only the most promising few are judged exactly. Then every
block is taken out and put back where it fits best, in rounds, until that helps no more. This needs
no seed, and finds orders that no trace in the weights gives away.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unshuffle.ordering.adjoint import Linearization, linearize
from unshuffle.ordering.journal import Errors, Numbers
from unshuffle.ordering.judge import Judge, Run, Search
from unshuffle.trace import Step

JUDGED = 6
"""Insertions that are judged exactly, the most promising ones."""

ROUNDS = 4
"""Rounds of taking out and putting back."""


def insertion(judge: Judge, blocks: Sequence[int]) -> Search:
    """Insert one block after the other, then put each back where it fits best.

    Parameters
    ----------
    judge
        Judges orders.
    blocks
        Numbers of the blocks.
    """
    run = judge.run(())
    remaining = list(blocks)
    while remaining:
        run, tested = _best(judge, run, remaining)
        remaining.remove(next(iter({*run.order} & {*remaining})))
        yield Step("insertion", np.array(tested), True, run.order, run.error, len(judge.inputs))

    for _ in range(ROUNDS):
        before = run.error
        for block in run.order:
            rest = judge.run([other for other in run.order if other != block], after=run)
            best, tested = _best(judge, rest, [block])
            kept = best.error < run.error
            run = best if kept else run
            yield Step(
                "re-insertion", np.array(tested), kept, run.order, run.error, len(judge.inputs)
            )
        if not run.error < before:
            break
    return run


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


def _best(judge: Judge, run: Run, blocks: Sequence[int]) -> tuple[Run, list[float]]:
    """Judge the most promising insertions; return the best and all their errors."""

    def unpack(numbers: Numbers, errors: Errors) -> tuple[Run, list[float]]:
        order = numbers.tolist()
        if not any(sorted([*run.order, block]) == sorted(order) for block in blocks):
            raise ValueError("it inserts another block")
        return judge.run(order, after=run), errors.tolist()

    return judge.journal.result(
        lambda: _insert(judge, run, blocks), lambda found: (found[0].order, found[1]), unpack
    )


def _insert(judge: Judge, run: Run, blocks: Sequence[int]) -> tuple[Run, list[float]]:
    errors = insertion_errors(judge, linearize(judge, run), blocks)
    ranked = np.argsort(errors, axis=None, kind="stable")[:JUDGED]
    places = [divmod(int(flat), errors.shape[1]) for flat in ranked]
    orders = [(*run.order[:t], blocks[k], *run.order[t:]) for k, t in places]
    candidates = judge.runs(orders, after=run)
    return min(candidates, key=lambda each: each.error), [each.error for each in candidates]
