"""Beam search over moves, for records with so few predictions that descent goes astray.

With few predictions the error has many low places near the answer, some of them lower than all that
lies on the way to it, and a descent ends in the first. A beam keeps the best orders met so far and
moves on from each of them once, so that it climbs out of them together. The best are the likeliest:
what the predictions say counts beside what the steps of the blocks say, each in its own currency,
as in `unshuffle.ordering.descent`. Moves are chosen by their first-order effects and judged
exactly.

A beam can still be crowded by the neighbours of one wrong order that fits by accident. No order but
the right one should fit better than a typical wrong swap would spoil it, so a second, wider beam
counts all smaller errors alike. Only an exact fit tells the answer for certain.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unshuffle.ordering.adjoint import linearize, shift_effects, shifts
from unshuffle.ordering.journal import Errors, Numbers
from unshuffle.ordering.judge import Judge, Order, Run, Search
from unshuffle.ordering.precedence import Precedence
from unshuffle.ordering.selection import NOTHING
from unshuffle.ordering.trace import Step

WIDTH = 60
"""Orders in the first beam,"""
WIDER = 240
"""and in the second."""

WINDOW = 2
"""Places by which a block is moved."""

JUDGED = 12
"""Moves from each order that are judged, the most promising ones."""


@dataclass(frozen=True)
class _Cost:
    """What an order costs, in nats.

    Parameters
    ----------
    strength
        Predictions that count: all, but no more than there are blocks.
    floor
        Errors far below this count alike.
    """

    strength: int
    floor: float

    def of(self, errors: NDArray[np.float64], lost: NDArray[np.float64]) -> NDArray[np.float64]:
        """Costs of orders with these errors, to which moves have lost these log-odds."""
        costs: NDArray[np.float64] = self.strength / 2 * np.log(errors + self.floor) + lost
        return costs


def beam(judge: Judge, start: Run, known: Precedence, *, done: Callable[[Run], bool]) -> Search:
    """Move on from the likeliest orders met, until each of them has been moved on from.

    An order costs ``E / 2 * log(mean squared error)``, where E is the number of predictions, or of
    blocks if that is smaller, plus the log-odds that moves have lost from the start to it.

    Parameters
    ----------
    judge
        Judges orders.
    start
        Where to start.
    known
        What is known of the blocks without predictions.
    done
        Whether a run is as good as any can be.
    """
    strength = min(judge.predictions.size, len(start.order))
    errors, lost = {start.order: start.error}, {start.order: 0.0}
    steps = [(int(source), int(target)) for source, target in shifts(len(start.order), WINDOW)]
    expanded: set[Order] = set()
    best = start
    for width, floor in ((WIDTH, 0.0), (WIDER, _typical_effect(judge, start))):
        cost = _Cost(strength, max(floor, NOTHING))
        while not done(best):
            costs = cost.of(np.array(list(errors.values())), np.array(list(lost.values())))
            met = list(errors)
            front = (met[k] for k in np.argsort(costs, kind="stable")[:width].tolist())
            ahead = [order for order in front if order not in expanded]
            if not ahead:
                break
            tested: list[float] = []
            for order in ahead:
                expanded.add(order)
                losses = lost[order] + known.lost(order, WINDOW)
                moves, found = judge.journal.result(
                    partial(_expand, judge, order, losses, cost, near=best, met=errors),
                    lambda moves_and_errors: moves_and_errors,
                    partial(_unpack, len(losses)),
                )
                children = [_moved(order, *steps[move]) for move in moves]
                errors |= zip(children, found, strict=True)
                lost |= zip(children, losses[moves].tolist(), strict=True)
                tested += found
            first = min(errors, key=errors.__getitem__)
            kept = errors[first] < best.error
            if kept:
                best = judge.run(first, after=best)
            yield Step("beam", np.array(tested), kept, best.order, best.error, len(judge.inputs))
    return best


def _typical_effect(judge: Judge, run: Run) -> float:
    """The error that one swap of neighbours makes in the median."""
    if len(run.order) < 2:
        return 0.0
    effects = shift_effects(judge, linearize(judge, run), 1)
    return float(np.median(np.mean(np.square(effects, dtype=np.float64), axis=1)))


def _expand(
    judge: Judge,
    order: Order,
    lost: NDArray[np.float64],
    cost: _Cost,
    *,
    near: Run,
    met: Collection[Order],
) -> tuple[list[int], list[float]]:
    """The most promising shifts to orders not met yet, and the errors of where they lead."""
    run = judge.run(order, after=near)
    at = linearize(judge, run)
    after = shift_effects(judge, at, WINDOW)
    after += at.residual
    errors = np.mean(np.square(after, dtype=np.float64), axis=1)
    moves = shifts(len(order), WINDOW)
    children: dict[Order, int] = {}
    for move in np.argsort(cost.of(errors, lost), kind="stable").tolist():
        if (child := _moved(order, *moves[move].tolist())) not in met:
            children[child] = move
        if len(children) == JUDGED:
            break
    if not children:
        return [], []
    found = judge.errors(run, np.array(list(children), np.intp))
    return list(children.values()), found.tolist()


def _unpack(moves: int, numbers: Numbers, errors: Errors) -> tuple[list[int], list[float]]:
    if len(numbers) != len(errors) or any(not 0 <= move < moves for move in numbers.tolist()):
        raise ValueError("it moves blocks otherwise")
    return numbers.tolist(), errors.tolist()


def _moved(order: Order, source: int, target: int) -> Order:
    """The order after the block of one place was taken to another."""
    places = list(order)
    places.insert(target, places.pop(source))
    return tuple(places)
