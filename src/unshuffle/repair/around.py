"""Order the blocks of an arrangement that lacks some, whatever the missing ones did.

A search that only lowers the error puts blocks where they make up for those that are missing. What
a missing block would have added is a Gaussian process (`unshuffle.repair.gaps`), so residuals and
effects of moves are compared after whitening by its covariance: what it could explain counts for
little, and what no missing block could explain decides. With that metric the joint regression on
adjacent swaps is generalised least squares (Aitken 1936).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from unshuffle.blocks.mlp import as_mlp
from unshuffle.ordering.judge import Judge, Run
from unshuffle.ordering.linearization import linearize
from unshuffle.ordering.moves import shift_moves
from unshuffle.ordering.selection import pursuit, regression
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.repair.gaps import Doubles, Orphan, Traces, locate, missing_effect, whitening


@dataclass(frozen=True)
class AroundParameters:
    """Numbers that steer the search around gaps."""

    rounds: int = 8
    moves: int = 16
    """Rounds of locating the gaps, and of moves between two of these, at most."""
    equations: int = 800
    last_equations: int = 2000
    """Predictions by which gaps are located, and by which they are in the end."""
    windows: tuple[int, ...] = (1, 4)
    """Places by which blocks are moved: the next where one no longer helps."""


STANDARD = AroundParameters()


def order_around(
    judge: Judge,
    run: Run,
    orphans: Sequence[Orphan],
    known: Records,
    clock: Clock,
    *,
    by: AroundParameters = STANDARD,
) -> Iterator[tuple[Run, list[int]]]:
    """Locate the gaps and order the blocks around them, in turn, while there is time.

    Parameters
    ----------
    judge, run
        The arrangement to begin with, without the blocks of which a layer is missing.
    orphans
        The layers of these that are at hand.
    known
        Rows for the last look at the gaps.
    clock, by
        Raises `OutOfTimeError` where no time is left; what steers the search.

    Yields
    ------
    tuple
        What stands after each round, and the gap of each layer at hand; the last is the result.
    """

    def traced(run: Run, records: Records, equations: int) -> Traces:
        return Traces.of(as_mlp(judge.network(run.arrangement)), records, clock, equations)

    gaps: list[int] = []
    for _ in range(by.rounds):
        traces = traced(run, judge.records, judge.predictions.size)
        before, gaps = gaps, locate(traced(run, judge.records, by.equations), orphans)
        yield run, gaps
        kernel = np.zeros((traces.residual.size,) * 2)
        for gap, orphan in zip(gaps, orphans, strict=True):
            kernel += missing_effect(traces, gap, orphan)
        start = run
        for moved in _moved(judge, start, whitening(traces, kernel), by):
            run = moved
            yield run, gaps
        if run is start and gaps == before:
            break
    yield run, locate(traced(run, known, by.last_equations), orphans, near=gaps)


def _moved(judge: Judge, run: Run, factor: Doubles, by: AroundParameters) -> Iterator[Run]:
    """Move blocks while that lowers the whitened error; yield what stands after each round.

    Each round linearizes anew, and keeps the first proposal that is better.
    """

    def whitened(values: Floats) -> Doubles:
        """Whiten along the last axis."""
        white = solve_triangular(factor, values.T.astype(np.float64), lower=True)
        return np.ascontiguousarray(white.T)

    def value(run: Run) -> float:
        residual = judge.ends.leave(run.states[-1]) - judge.predictions
        return float(np.square(whitened(residual.T.reshape(-1))).sum())

    def improved(run: Run, window: int) -> Run:
        at, lowest = linearize(judge, run), value(run)
        moves = shift_moves(judge, at, window)
        moves, residual = moves.with_effects(whitened(moves.effects)), whitened(at.residual)
        for chosen in (regression(moves, residual), pursuit(moves, residual, strength=len(run))):
            for halving in range(len(chosen).bit_length()):
                part = chosen[: len(chosen) >> halving]
                better = judge.run(moves.apply(part, run.arrangement), after=run)
                if value(better) < lowest:
                    return better
        return run

    effort = 0
    for _ in range(by.moves):
        better = improved(run, by.windows[effort])
        kept = better is not run
        if not kept and effort + 1 == len(by.windows):
            return
        run, effort = better, 0 if kept else effort + 1
        yield run
