"""Order the blocks of an arrangement that lacks some, whatever the missing ones did.

A search that only lowers the error puts blocks where they make up for those that are missing. What
a missing block would have added is a Gaussian process (`unshuffle.repair.gaps`), so residuals and
effects of moves are compared after whitening by its covariance: what it could explain counts for
little, and what no missing block could explain decides. With that metric the joint regression on
adjacent swaps is generalised least squares (Aitken 1936).
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial

import numpy as np

from unshuffle.blocks.network import Network
from unshuffle.ordering.adjoint import linearize
from unshuffle.ordering.candidates import shift_moves
from unshuffle.ordering.journal import Errors, Numbers
from unshuffle.ordering.judge import Judge, Order, Run
from unshuffle.ordering.selection import pursuit, regression
from unshuffle.ordering.trace import Step
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.repair.gaps import Doubles, Orphan, Traces, locate, missing_effect, whitening

ROUNDS = 8
"""Rounds of locating the gaps and ordering the blocks around them,"""
MOVES = 16
"""and rounds of moves between two of these, at most."""

LOCATED_EQUATIONS = 800
"""Equations by which gaps are located,"""
LAST_EQUATIONS = 2000
"""and in the last look at the places around them."""

WINDOWS = (1, 4)
"""Places by which blocks are moved: the second where the first no longer helps."""


def order_around(
    judge: Judge, run: Run, orphans: Sequence[Orphan], known: Records, outs: int
) -> Generator[Step, None, tuple[Run, list[int]]]:
    """Locate the gaps and order the blocks around them, in turn.

    Parameters
    ----------
    judge
        Judges orders.
    run
        The arrangement to begin with, without the blocks of which a layer is missing.
    orphans
        The layers of these that are at hand.
    known
        Rows for the last look at the gaps.
    outs
        Number J of out layers, which block numbers are made with.

    Returns
    -------
    tuple
        The arrangement, still without them, and the gap of each.
    """
    gaps: list[int] = []
    for _ in range(ROUNDS):
        network = Network(judge.blocks.take(run.order), judge.last)
        traces = Traces.of(network, judge.inputs, judge.predictions, rows=len(judge.inputs))
        few = traces.first_rows(-(-LOCATED_EQUATIONS // len(traces.residual)))
        before, gaps = gaps, _located(judge, few, orphans)
        yield Step("gaps", np.array([run.error]), False, run.order, run.error, len(judge.inputs))
        parts = (missing_effect(traces, gap, each) for gap, each in zip(gaps, orphans, strict=True))
        kernel = sum(parts, np.zeros((traces.residual.size,) * 2))
        better = yield from _moved(judge, run, whitening(kernel, traces.residual), outs)
        if better is run and gaps == before:
            break
        run = better
    rows = LAST_EQUATIONS // judge.last.bias.size
    traces = Traces.of(network, known.inputs, known.predictions, rows=rows)
    return run, _located(judge, traces, orphans, near=gaps)


def _located(
    judge: Judge, traces: Traces, orphans: Sequence[Orphan], near: Sequence[int] | None = None
) -> list[int]:
    """The likeliest gaps, from the journal if they were found before."""

    def unpack(numbers: Numbers, _: Errors) -> list[int]:
        gaps: list[int] = numbers.tolist()
        if len(gaps) != len(orphans) or not {*gaps} <= {*range(len(traces.states))}:
            raise ValueError("it has gaps of another arrangement")
        return gaps

    return judge.journal.result(
        lambda: locate(traces, orphans, near), lambda gaps: (gaps, ()), unpack
    )


def _moved(judge: Judge, run: Run, factor: Doubles, outs: int) -> Generator[Step, None, Run]:
    """Move blocks while that lowers the whitened error."""
    from scipy.linalg import solve_triangular

    def whitened(values: Floats) -> Doubles:
        """Whiten along the last axis."""
        white = solve_triangular(factor, values.T.astype(np.float64), lower=True)
        return np.ascontiguousarray(white.T)

    def value(run: Run) -> float:
        residual = judge.last(run.states[-1]) - judge.predictions
        return float(np.square(whitened(residual.T.reshape(-1))).sum())

    def improved(run: Run, window: int, lowest: float) -> tuple[Run, float]:
        at = linearize(judge, run)
        moves = shift_moves(judge, at, window)
        moves = moves.with_effects(whitened(moves.effects))
        residual = whitened(at.residual)
        orders = (
            moves.apply(chosen[: len(chosen) >> halving], run.order, outs)
            for chosen in (
                regression(moves, residual),
                pursuit(moves, residual, strength=len(run.order)),
            )
            for halving in range(len(chosen).bit_length())
        )
        return _better(judge, run, orders, value, lowest) or (run, lowest)

    lowest = value(run)
    effort = 0
    for _ in range(MOVES):
        better, lowest = judge.journal.result(
            partial(improved, run, WINDOWS[effort], lowest),
            partial(_pack, run),
            partial(_unpack, judge, run),
        )
        kept = better is not run
        run = better
        if kept:
            effort = 0
        elif effort + 1 < len(WINDOWS):
            effort += 1
        else:
            break
        rows = judge.predictions.size
        yield Step("around", np.array([run.error]), kept, run.order, run.error, rows)
    return run


def _pack(run: Run, found: tuple[Run, float]) -> tuple[Order, list[float]]:
    """The better order, none where the run still stands, and its value."""
    better, lowest = found
    return () if better is run else better.order, [lowest]


def _unpack(judge: Judge, run: Run, numbers: Numbers, errors: Errors) -> tuple[Run, float]:
    order = tuple(numbers.tolist())
    if order and sorted(order) != sorted(run.order):
        raise ValueError("it arranges other blocks")
    if len(errors) != 1:
        raise ValueError("it has another number of errors")
    return judge.run(order, after=run) if order else run, float(errors[0])


def _better(
    judge: Judge,
    run: Run,
    orders: Iterable[Order],
    value: Callable[[Run], float],
    lowest: float,
) -> tuple[Run, float] | None:
    """The first order with a lower value."""
    for order in orders:
        candidate = judge.run(order, after=run)
        found = value(candidate)
        if found < lowest:
            return candidate, found
    return None
