"""Beam search over moves, for records with so few predictions that descent goes astray.

With few rows the error has many low places near the answer, and a descent ends in the first. A beam
keeps the best orders met so far and moves on from each of them once, so that it climbs out of them
together. Moves are chosen by their first-order effects and judged exactly.
"""

from collections.abc import Callable, Collection

import numpy as np

from unshuffle.ordering.adjoint import linearize, shift_effects, shifts
from unshuffle.ordering.judge import Judge, Order, Run, Search
from unshuffle.trace import Step

WIDTH = 60
"""Orders in the beam."""

WINDOW = 2
"""Places by which a block is moved."""

JUDGED = 12
"""Moves from each order that are judged, the most promising ones."""


def beam(judge: Judge, start: Run, *, done: Callable[[Run], bool]) -> Search:
    """Move on from the best orders met, until each of them has been moved on from.

    Parameters
    ----------
    judge
        Judges orders.
    start
        Where to start.
    done
        Whether a run is as good as any can be.
    """
    met: dict[Order, float] = {start.order: start.error}
    expanded: set[Order] = set()
    best = start
    while not done(best):
        front = sorted(met, key=lambda order: met[order])[:WIDTH]
        ahead = [order for order in front if order not in expanded]
        if not ahead:
            break
        tested: list[float] = []
        for order in ahead:
            expanded.add(order)
            run = judge.run(order, after=best)
            children = _children(judge, run, met)
            errors = judge.errors(run, np.array(children, np.intp)).tolist() if children else []
            met.update(zip(children, errors, strict=True))
            tested += errors
        first = min(met, key=lambda order: met[order])
        kept = met[first] < best.error
        if kept:
            best = judge.run(first, after=best)
        yield Step("beam", np.array(tested), kept, best.order, best.error, len(judge.inputs))
    return best


def _children(judge: Judge, run: Run, met: Collection[Order]) -> list[Order]:
    """The most promising moves that lead to orders not met yet."""
    at = linearize(judge, run)
    after = shift_effects(judge, at, WINDOW)
    after += at.residual
    errors = np.einsum("me,me->m", after, after)
    moves = shifts(len(run.order), WINDOW)
    orders: list[Order] = []
    for move in np.argsort(errors, kind="stable"):
        source, target = moves[move].tolist()
        places = list(run.order)
        places.insert(target, places.pop(source))
        if (order := tuple(places)) not in met:
            orders.append(order)
        if len(orders) == JUDGED:
            break
    return orders
