"""Descent: rounds of many moves at once, each proposed to first order and judged exactly.

What descends is ``K / 2 * log(mean squared error) − Σ log-odds of the pairs``: the record and the
pairing evidence, each in its own currency. Far from the answer a change of pairs against the
evidence must explain a large part of the error; close to it the error decides alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unshuffle.ordering.adjoint import Linearization, linearize
from unshuffle.ordering.candidates import (
    all_exchanges,
    exchange_moves,
    shift_moves,
    turn_moves,
)
from unshuffle.ordering.journal import Errors, Numbers
from unshuffle.ordering.judge import Judge, Order, Run, Search
from unshuffle.ordering.moves import Moves, same_layers
from unshuffle.ordering.reassignment import reassignments
from unshuffle.ordering.selection import promising, pursuit, regression
from unshuffle.ordering.trace import Step

WINDOW = 4
"""Places by which a block is moved where adjacent swaps no longer help."""

SCREENED_ROWS = 48
"""Rows on which all exchanges are scored, to find those worth scoring on all rows."""

EXCHANGES = 64
"""Exchanges that are scored on all rows."""

SINGLES = 24
"""Single moves that are judged where no set of moves helps."""

SLOW = 1e-3
"""A round that lowers the error by a smaller part than this is followed by a wider one."""


@dataclass(frozen=True, eq=False)
class Objective:
    """What a search lowers.

    Parameters
    ----------
    log_odds
        Shape (I, J): natural log-odds of the pairs; −∞ for pairs that are ruled out.
    """

    log_odds: NDArray[np.float64]

    @property
    def outs(self) -> int:
        """Number J of out layers, which block numbers are made with."""
        return int(self.log_odds.shape[1])

    def trusted(self, factor: float) -> "Objective":
        """The same with the log-odds multiplied by a factor; what is ruled out stays so."""
        possible = np.isfinite(self.log_odds)
        return Objective(
            np.multiply(self.log_odds, factor, where=possible, out=self.log_odds.copy())
        )

    def evidence(self, order: Order) -> float:
        """Sum of the log-odds of an order's pairs."""
        return float(self.log_odds.ravel()[list(order)].sum())

    def value(self, run: Run) -> float:
        """What the search lowers: half the log of the error for each block, minus evidence."""
        error = max(run.error, np.finfo(float).tiny)
        return len(run.order) / 2 * float(np.log(error)) - self.evidence(run.order)


def descend(
    judge: Judge,
    run: Run,
    objective: Objective,
    *,
    done: Callable[[Run], bool],
    turns: bool = False,
    short: bool = False,
) -> Search:
    """Move blocks, and exchange layers where the evidence admits it, until nothing improves.

    Each round linearizes the order once, proposes sets of moves, and keeps the best set on the
    judge's word; a set that fails is halved. The moves are adjacent swaps while these help, then
    wider ones, then exchanges too.

    Parameters
    ----------
    judge
        Judges orders of the blocks that loose layers can make.
    run
        Where to start.
    objective
        What to lower.
    done
        Whether a run is as good as any can be.
    turns
        Whether the roles of a block's layers may be exchanged (h = d).
    short
        Whether to end where adjacent swaps no longer help.
    """
    effort, most = 0, 0 if short else 2
    value = objective.value(run)
    while effort <= most and not done(run):
        best, tested = judge.journal.result(
            partial(_round, judge, run, objective, effort, turns=turns),
            partial(_pack, run),
            partial(_unpack, judge, run, partial(same_layers, outs=objective.outs, turns=turns)),
        )
        best_value = objective.value(best)
        kept = best is not run
        slow = not best_value < value + len(run.order) / 2 * np.log1p(-SLOW)
        run, value = best, best_value
        phase = "repair" if effort == 2 else "descent"
        yield Step(phase, np.array(tested), kept, run.order, run.error, len(judge.inputs))
        effort = 0 if not slow else effort + 1
    return run


def _round(
    judge: Judge, run: Run, objective: Objective, effort: int, *, turns: bool
) -> tuple[Run, list[float]]:
    """Linearize once, propose, judge: the best run, or the one that stands, and all errors."""
    at = linearize(judge, run)
    moves = shift_moves(judge, at, WINDOW if effort else 1)
    if effort == 2:
        moves += _exchanges(judge, at, objective)
        if turns:
            moves += turn_moves(judge, at, objective.log_odds)
    proposals = [regression(moves, at.residual)]
    if effort:
        proposals.append(pursuit(moves, at.residual, strength=len(run.order)))
    best, tested = _judge(judge, run, moves, proposals, objective)
    if best is run and not effort:
        # As long as adjacent swaps help, their regression nearly always chooses best, so the
        # pursuit is asked only where that fails.
        proposals = [pursuit(moves, at.residual, strength=len(run.order))]
        best, more = _judge(judge, run, moves, proposals, objective)
        tested += more
    if best is run and effort:
        ranked = promising(moves, at.residual, len(run.order))
        singles = [ranked[k : k + 1] for k in range(min(SINGLES, len(ranked)))]
        best, more = _judge(judge, run, moves, singles, objective)
        tested += more
    if best is run and effort == 2:
        others = reassignments(judge, at, objective.log_odds)
        best, more = _better(judge, run, others, objective)
        tested += more
    return best, tested


def _pack(run: Run, found: tuple[Run, list[float]]) -> tuple[Order, list[float]]:
    """The best order, none where the run still stands, and the errors."""
    best, tested = found
    return () if best is run else best.order, tested


def _unpack(
    judge: Judge,
    run: Run,
    fits: Callable[[Order, Order], bool],
    numbers: Numbers,
    errors: Errors,
) -> tuple[Run, list[float]]:
    order = tuple(numbers.tolist())
    if order and not fits(order, run.order):
        raise ValueError("it arranges other layers")
    return judge.run(order, after=run) if order else run, errors.tolist()


def _judge(
    judge: Judge,
    run: Run,
    moves: Moves,
    proposals: Sequence[NDArray[np.intp]],
    objective: Objective,
) -> tuple[Run, list[float]]:
    """Judge proposals exactly; halve those that fail; return the best, or the run that stands."""
    best = run
    tested: list[float] = []
    while proposals and best is run:
        orders = {moves.apply(chosen, run.order, objective.outs): chosen for chosen in proposals}
        orders.pop(run.order, None)
        best, more = _better(judge, run, list(orders), objective)
        tested += more
        proposals = [chosen[: len(chosen) // 2] for chosen in orders.values() if len(chosen) > 1]
    return best, tested


def _better(
    judge: Judge, run: Run, orders: Sequence[Order], objective: Objective
) -> tuple[Run, list[float]]:
    """Judge orders exactly; return the best of them, or the run that stands, and all errors."""
    best, best_value = run, objective.value(run)
    candidates = judge.runs(orders, after=run)
    for candidate in candidates:
        value = objective.value(candidate)
        if value < best_value:
            best, best_value = candidate, value
    return best, [candidate.error for candidate in candidates]


def _exchanges(judge: Judge, at: Linearization, objective: Objective) -> Moves:
    """The exchanges that the evidence admits and that promise most on a few rows."""
    length = len(at.run.order)
    few = at.first_rows(SCREENED_ROWS)
    # One exchange can be expected to explain much of the error, but not nearly all of it.
    rough = all_exchanges(judge, few, objective.log_odds, least_gain=-length)
    best = promising(rough, few.residual, length)[:EXCHANGES]
    return exchange_moves(judge, at, rough.take(best), objective.outs)
