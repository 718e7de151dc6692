"""The landscape of orders: whether it is a funnel, and where local searches end."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unshuffle.lab.approach import Order, Task
from unshuffle.lab.metrics import Measurements
from unshuffle.oracle.evaluation import count_inversions
from unshuffle.oracle.workers import stop_if_asked
from unshuffle.ordering.judge import Judge, Run

ROWS = 64
"""Rows on which orders are judged."""

SAMPLED = 400
"""Orders whose errors are held against their distances."""

STARTS = 6
"""Random orders that are descended from."""

MOST_BLOCKS = 32
"""Descents take cubic time: deeper networks are only sampled."""

Neighbours = Callable[[NDArray[np.intp]], NDArray[np.intp]]
"""Maps an order to all that one move makes of it: shape (moves, blocks)."""


def landscape(task: Task, depth: Order) -> Measurements:
    """Error against distance from the truth, and where descents by exchanges and moves end.

    Parameters
    ----------
    task
        The blocks.
    depth
        The place of each block in the truth.

    Notes
    -----
    The distance is Kendall's (1938), the number of couples in the wrong order. Orders are sampled
    at distances spread evenly over all there are. 2-opt exchanges any two blocks, or-opt moves one
    anywhere; a descent takes the best move until none helps.
    """
    judge, rng, truth = task.judge(ROWS), task.rng, np.argsort(depth)
    most = len(truth) * (len(truth) - 1) // 2
    orders = [order_at_distance(truth, int(d), rng) for d in rng.integers(0, most + 1, SAMPLED)]
    distances = np.array([count_inversions(depth[order].tolist()) for order in orders])
    errors = judge.errors(judge.run(()), task.numbers(np.array(orders)))
    near = distances <= most // 4
    found = {
        "funnel": spearman(distances, errors),
        "funnel_near": spearman(distances[near], errors[near]),
    }
    if len(truth) > MOST_BLOCKS:
        return found
    starts = [task.numbers(rng.permutation(truth)) for _ in range(STARTS)]
    for name, neighbours in (("exchange", exchanges), ("move", insertions)):
        ends = [descend(judge, start, neighbours) for start in starts]
        right = tuple(task.numbers(truth).tolist())
        found[f"{name}_right"] = float(np.mean([run.order == right for run in ends]))
        found[f"{name}_optima"] = len({run.order for run in ends}) / STARTS
    return found


def descend(judge: Judge, start: Order, neighbours: Neighbours) -> Run:
    """Take the best of all moves until none lowers the error."""
    run = judge.run(start.tolist())
    while True:
        stop_if_asked()
        candidates = neighbours(np.array(run.order))
        errors = judge.errors(run, candidates)
        if not errors.min() < run.error:
            return run
        run = judge.run(candidates[errors.argmin()].tolist(), after=run)


def exchanges(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """All exchanges of two blocks."""
    s, t = np.triu_indices(len(order), 1)
    candidates = np.tile(order, (len(s), 1))
    rows = np.arange(len(s))
    candidates[rows, s], candidates[rows, t] = order[t], order[s]
    return candidates


def insertions(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """All moves of a block to another place; neighbours are exchanged once only."""
    count = len(order)
    moves = [(s, t) for s in range(count) for t in range(count) if t != s and t != s - 1]
    return np.array([np.insert(np.delete(order, s), t, order[s]) for s, t in moves], np.intp)


def order_at_distance(truth: Order, distance: int, rng: np.random.Generator) -> Order:
    """Disorder the truth by adjacent exchanges, each of which adds one inversion."""
    places = np.arange(len(truth))
    for _ in range(distance):
        in_order = np.flatnonzero(places[:-1] < places[1:])
        t = int(rng.choice(in_order))
        places[[t, t + 1]] = places[[t + 1, t]]
    return truth[places]


def spearman(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    """Rank correlation (Spearman 1904), ties by their mean rank; 0 where one is constant."""
    ranks = [_ranks(one) - (len(one) - 1) / 2 for one in (a, b)]
    scale = float(np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1]))
    return float(ranks[0] @ ranks[1]) / scale if scale > 0 else 0.0


def _ranks(values: NDArray[np.generic]) -> NDArray[np.float64]:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    mean: NDArray[np.float64] = last - (counts - 1) / 2
    return mean[which]
