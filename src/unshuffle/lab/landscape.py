"""The landscape of orders: whether it is a funnel, and where local searches end."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unshuffle.lab.approach import Order, Task
from unshuffle.lab.metrics import Measurements
from unshuffle.oracle.evaluation import count_inversions
from unshuffle.oracle.workers import stop_if_asked
from unshuffle.ordering.classic import greedy_insertion, or_opt, two_opt
from unshuffle.ordering.judge import Judge, Run, Search

ROWS = 200
"""Rows on which orders are judged."""

SAMPLED = 400
"""Orders whose errors are held against their distances."""

STARTS = 4
"""Random orders that are descended from."""

MOST_BLOCKS = 32
"""Descents take cubic time: deeper networks are spared them."""

Pass = Callable[[Judge, Run], Search]
"""Tries each move of one kind once, and keeps those that lower the error."""


def landscape(task: Task, depth: Order) -> Measurements:
    """Error against distance from the truth, and where greedy search and descents end.

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
    anywhere; a descent tries them until none helps. Greedy search is the published recipe: greedy
    insertion, then both in turn.
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
    numbers = task.numbers(truth)
    right = tuple(numbers.tolist())
    inserted = _end(greedy_insertion(judge, sorted(right), "anywhere"))
    places = [right.index(number) for number in inserted.order]
    found["greedy_inversions"] = count_inversions(places) / max(most, 1)
    found["greedy_right"] = float(descend(judge, inserted, two_opt, or_opt).order == right)
    if len(truth) > MOST_BLOCKS:
        return found
    starts = [judge.run(rng.permutation(numbers).tolist()) for _ in range(STARTS)]
    for name, tried in (("exchange", two_opt), ("move", or_opt)):
        ends = [descend(judge, start, tried) for start in starts]
        found[f"{name}_right"] = float(np.mean([run.order == right for run in ends]))
        found[f"{name}_optima"] = len({run.order for run in ends}) / STARTS
    return found


def descend(judge: Judge, run: Run, *passes: Pass) -> Run:
    """Make passes in turn until none of them lowers the error."""
    before = np.inf
    while run.error < before:
        before = run.error
        for one in passes:
            run = _end(one(judge, run))
    return run


def _end(search: Search) -> Run:
    """What a search ends with."""
    while True:
        stop_if_asked()
        try:
            next(search)
        except StopIteration as end:
            run: Run = end.value
            return run


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
