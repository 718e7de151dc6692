"""Descent: rounds of many moves at once, each proposed to first order and judged exactly.

What descends is ``K / 2 * log(mean squared error) − Σ log-odds of the pairs``: the record and the
pairing evidence, each in its own currency. Far from the answer a change of pairs against the
evidence must explain a large part of the error; close to it the error decides alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.network import Layers
from unshuffle.ordering.adjoint import (
    Linearization,
    exchange_effects,
    linearize,
    replacement_effects,
    shift_effects,
    shifts,
)
from unshuffle.ordering.judge import Judge, Order, Run, Search
from unshuffle.ordering.moves import Kind, Moves
from unshuffle.ordering.selection import promising, pursuit, regression
from unshuffle.trace import Step

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
    layers: Layers,
    run: Run,
    objective: Objective,
    *,
    done: Callable[[Run], bool],
    turns: bool = False,
) -> Search:
    """Move blocks, and exchange layers where the evidence admits it, until nothing improves.

    Each round linearizes the order once, proposes sets of moves, and keeps the best set on the
    judge's word; a set that fails is halved. The moves are adjacent swaps while these help, then
    wider ones, then exchanges too.

    Parameters
    ----------
    judge
        Judges orders of the blocks that `layers` can make.
    layers
        The loose layers.
    run
        Where to start.
    objective
        What to lower.
    done
        Whether a run is as good as any can be.
    turns
        Whether the roles of a block's layers may be exchanged (h = d).
    """
    effort = 0
    value = objective.value(run)
    while effort < 3 and not done(run):
        at = linearize(judge, run)
        moves = _shifts(judge, at, WINDOW if effort else 1)
        if effort == 2:
            moves += _exchanges(judge, layers, at, objective)
            if turns:
                moves += _turns(judge, layers, at, objective)
        proposals = [
            regression(moves, at.residual),
            pursuit(moves, at.residual, strength=len(run.order)),
        ]
        best, best_value, tested = _judge(judge, run, moves, proposals, objective)
        if best is run and effort:
            ranked = promising(moves, at.residual, len(run.order))
            singles = [ranked[k : k + 1] for k in range(min(SINGLES, len(ranked)))]
            best, best_value, more = _judge(judge, run, moves, singles, objective)
            tested += more
        kept = best is not run
        slow = not best_value < value + len(run.order) / 2 * np.log1p(-SLOW)
        run, value = best, best_value
        yield Step(
            "repair" if effort == 2 else "descent", np.array(tested), kept, run.order, run.error
        )
        effort = 0 if not slow else effort + 1
    return run


def _judge(
    judge: Judge,
    run: Run,
    moves: Moves,
    proposals: Sequence[NDArray[np.intp]],
    objective: Objective,
) -> tuple[Run, float, list[float]]:
    """Judge proposals exactly; halve those that fail; return the best, or the run that stands."""
    best, best_value = run, objective.value(run)
    tested: list[float] = []
    while proposals and best is run:
        orders = {moves.apply(chosen, run.order, objective.outs): chosen for chosen in proposals}
        orders.pop(run.order, None)
        for candidate in judge.runs(list(orders), after=run):
            tested.append(candidate.error)
            value = objective.value(candidate)
            if value < best_value:
                best, best_value = candidate, value
        proposals = [chosen[: len(chosen) // 2] for chosen in orders.values() if len(chosen) > 1]
    return best, best_value, tested


def _shifts(judge: Judge, at: Linearization, window: int) -> Moves:
    first, second = shifts(len(at.run.order), window).T
    kind = np.full(len(first), Kind.SHIFT, np.intp)
    return Moves(kind, first, second, shift_effects(judge, at, window), np.zeros(len(first)))


def _exchanges(judge: Judge, layers: Layers, at: Linearization, objective: Objective) -> Moves:
    """The exchanges that the evidence admits and that promise most on a few rows."""
    order = np.array(at.run.order, np.intp)
    length, outs = len(order), len(layers.out_weight)
    i, j = np.divmod(order, outs)
    first, second = np.triu_indices(length, 1)
    gains = objective.log_odds[i[first], j[second]] + objective.log_odds[i[second], j[first]]
    gains -= objective.log_odds[i[first], j[first]] + objective.log_odds[i[second], j[second]]
    # One exchange can be expected to explain much of the error, but not nearly all of it.
    admitted = gains > -length
    first, second, gains = first[admitted], second[admitted], gains[admitted]
    if not len(first):
        return Moves.none(len(at.residual), at.residual.dtype)

    few = at.first_rows(SCREENED_ROWS)
    rough = [
        Moves(np.full(len(first), kind), first, second, effects[first, second], gains)
        for kind, effects in zip(
            (Kind.OUTS, Kind.INPS),
            (each + each.transpose(1, 0, 2) for each in exchange_effects(layers, few)),
            strict=True,
        )
    ]
    candidates = rough[0] + rough[1]
    best = promising(candidates, few.residual, length)[:EXCHANGES]
    kind, first, second = candidates.kind[best], candidates.first[best], candidates.second[best]
    # Giving two places each other's inp layers makes the blocks that exchanging the out layers
    # makes, in the opposite places.
    at_first, at_second = i[first] * outs + j[second], i[second] * outs + j[first]
    swapped = kind == Kind.INPS
    at_first[swapped], at_second[swapped] = at_second[swapped], at_first[swapped]
    effects = replacement_effects(judge, at, np.column_stack([first, at_first]))
    effects += replacement_effects(judge, at, np.column_stack([second, at_second]))
    return Moves(kind, first, second, effects, candidates.gains[best])


def _turns(judge: Judge, layers: Layers, at: Linearization, objective: Objective) -> Moves:
    """Exchange the roles of the two layers of each block."""
    order = np.array(at.run.order, np.intp)
    i, j = np.divmod(order, len(layers.out_weight))
    places = np.arange(len(order))
    turned = j * len(layers.out_weight) + i
    return Moves(
        np.full(len(order), Kind.TURN),
        places,
        places,
        replacement_effects(judge, at, np.column_stack([places, turned])),
        objective.log_odds[j, i] - objective.log_odds[i, j],
    )
