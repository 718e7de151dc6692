"""Strategy `classic`: greedy insertion, then 2-opt and or-opt, each candidate judged exactly.

The recipe of the puzzle's write-up ("dropped", gardberg.xyz). 2-opt is due to Croes (1958),
or-opt to Or (1976); on an order of blocks, where direction matters, the write-up's 2-opt exchanges
two blocks instead of reversing what lies between them.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from unshuffle.ordering.journal import Errors, Numbers
from unshuffle.ordering.judge import Judge, Run, Search
from unshuffle.ordering.trace import Step

PLACEMENTS = ("ends", "anywhere")
"""Where greedy insertion may put a block: before or after what stands, or at every position."""

Turn = Callable[[NDArray[np.intp]], NDArray[np.intp]]
"""Maps numbers of blocks to those of the blocks with inp and out exchanged."""


def classic(
    judge: Judge,
    blocks: Sequence[int],
    *,
    placement: str = "anywhere",
    turn: Turn | None = None,
) -> Search:
    """Build an order greedily and improve it until no move lowers the error.

    Parameters
    ----------
    judge
        Judges orders.
    blocks
        Numbers of the blocks to order.
    placement
        One of `PLACEMENTS`.
    turn
        Given where the roles of a block's two layers are uncertain: a block may turn around.
    """
    run = yield from greedy_insertion(judge, blocks, placement)
    improved = True
    while improved:
        before = run.error
        run = yield from two_opt(judge, run)
        run = yield from or_opt(judge, run)
        if turn is not None:
            run = yield from exchange_roles(judge, run, turn)
        improved = run.error < before
    return run


def greedy_insertion(judge: Judge, blocks: Sequence[int], placement: str) -> Search:
    """Start from the single block of lowest error; insert the block that lowers it most.

    Ties go to the block, then to the position, that comes first.
    """
    run = judge.run(())
    remaining = list(blocks)
    while remaining:
        stands = len(run.order)
        positions = range(stands + 1) if placement == "anywhere" else sorted({0, stands})
        candidates = np.array(
            [
                (*run.order[:position], block, *run.order[position:])
                for block in remaining
                for position in positions
            ],
            dtype=np.intp,
        )
        errors = _errors(judge, run, candidates)
        best = int(errors.argmin())
        run = judge.run(candidates[best].tolist(), after=run)
        remaining.pop(best // len(positions))
        yield Step("greedy insertion", errors, True, run.order, run.error, len(judge.inputs))
    return run


def two_opt(judge: Judge, run: Run) -> Search:
    """Exchange every pair of blocks once; keep each exchange that lowers the error."""
    length = len(run.order)
    for i in range(length - 1):
        j = i + 1
        while j < length:
            candidates = np.tile(np.array(run.order, dtype=np.intp), (length - j, 1))
            swapped = np.arange(j, length)
            candidates[:, i] = candidates[0, swapped]
            candidates[np.arange(length - j), swapped] = run.order[i]
            before = run
            run, errors, first = _keep_first(judge, run, candidates)
            yield Step("2-opt", errors, run is not before, run.order, run.error, len(judge.inputs))
            j += first + 1
    return run


def or_opt(judge: Judge, run: Run) -> Search:
    """Take out every block once and put it where the error is lowest."""
    length = len(run.order)
    for block in run.order:
        at = run.order.index(block)
        rest = run.order[:at] + run.order[at + 1 :]
        candidates = np.array(
            [(*rest[:p], block, *rest[p:]) for p in range(length) if p != at], dtype=np.intp
        )
        if not len(candidates):
            return run
        errors = _errors(judge, run, candidates)
        best = int(errors.argmin())
        kept = bool(errors[best] < run.error)
        if kept:
            run = judge.run(candidates[best].tolist(), after=run)
        yield Step("or-opt", errors, kept, run.order, run.error, len(judge.inputs))
    return run


def exchange_roles(judge: Judge, run: Run, turn: Turn) -> Search:
    """Turn every block around once; keep each exchange of roles that lowers the error."""
    length = len(run.order)
    at = 0
    while at < length:
        candidates = np.tile(np.array(run.order, dtype=np.intp), (length - at, 1))
        diagonal = np.arange(length - at), np.arange(at, length)
        candidates[diagonal] = turn(candidates[diagonal])
        before = run
        run, errors, first = _keep_first(judge, run, candidates)
        yield Step("roles", errors, run is not before, run.order, run.error, len(judge.inputs))
        at += first + 1
    return run


def _keep_first(
    judge: Judge, run: Run, candidates: NDArray[np.intp]
) -> tuple[Run, NDArray[np.float64], int]:
    """Judge candidates in sequence until one lowers the error.

    Returns
    -------
    tuple
        The run that stands, the errors of the candidates judged, and the index of the one kept
        (of the last one, where none was).
    """
    errors: list[NDArray[np.float64]] = []
    for batch in _batches(candidates):
        errors.append(_errors(judge, run, batch))
        better = np.flatnonzero(errors[-1] < run.error)
        if len(better):
            first = int(better[0])
            errors[-1] = errors[-1][: first + 1]
            tested = np.concatenate(errors)
            return judge.run(batch[first].tolist(), after=run), tested, len(tested) - 1
    return run, np.concatenate(errors), len(candidates) - 1


def _errors(judge: Judge, run: Run, candidates: NDArray[np.intp]) -> Errors:
    """The judge's word on candidates, from the journal if it was given before."""

    def unpack(_: Numbers, errors: Errors) -> Errors:
        if len(errors) != len(candidates):
            raise ValueError("it judges another number of candidates")
        return errors

    return judge.journal.result(
        lambda: judge.errors(run, candidates), lambda errors: ((), errors), unpack
    )


def _batches(candidates: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Split candidates into batches that grow, since an early success wastes the batch's rest."""
    start, size = 0, 4
    while start < len(candidates):
        yield candidates[start : start + size]
        start, size = start + size, 2 * size
