"""The landscape of orders: whether it is a funnel, and where local searches end."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import INP
from unshuffle.lab.approach import Order, Task
from unshuffle.lab.metrics import Measurements
from unshuffle.oracle.evaluation import count_inversions
from unshuffle.oracle.workers import stop_if_asked
from unshuffle.ordering.classic import exchanged, inserted, moved
from unshuffle.ordering.judge import Judge, Run
from unshuffle.pieces.blueprint import Arrangement, key


@dataclass(frozen=True)
class Survey:
    """How much of a landscape is looked at.

    Parameters
    ----------
    rows
        Rows on which orders are judged.
    sampled
        Orders whose errors are held against their distances.
    starts
        Random orders that are descended from.
    most_blocks
        Blocks up to which there are descents from random orders, since these take cubic time.
    """

    rows: int = 200
    sampled: int = 400
    starts: int = 4
    most_blocks: int = 32


SURVEY = Survey()

# Tries each move of one kind once, and keeps those that lower the error.
Pass = Callable[[Judge, Run], Run]


def landscape(task: Task, depth: Order, by: Survey = SURVEY) -> Measurements:
    """Error against distance from the truth, and where greedy search and descents end.

    `depth` is the place of each block in the truth. The distance is Kendall's (1938), the number of
    couples in the wrong order; orders are sampled at distances spread evenly over all there are.
    2-opt exchanges any two blocks, or-opt moves one anywhere; a descent tries them until none
    helps. Greedy search is the published recipe: greedy insertion, then both in turn.
    """
    judge, rng, truth = task.judge(by.rows), task.rng, np.argsort(depth)
    most = len(truth) * (len(truth) - 1) // 2
    orders = [order_at_distance(truth, int(d), rng) for d in rng.integers(0, most + 1, by.sampled)]
    distances = np.array([count_inversions(depth[order].tolist()) for order in orders])
    none, right = (task.arranged(order) for order in (truth[:0], truth))
    errors = judge.errors(judge.run(none), task.arranged(np.array(orders)))
    near = distances <= most // 4
    found = {
        "funnel": spearman(distances, errors),
        "funnel_near": spearman(distances[near], errors[near]),
    }
    run = insertion(judge, task.arranged(np.arange(len(truth))))
    places = depth[run.arrangement[:, INP]].tolist()
    found["greedy_inversions"] = count_inversions(places) / max(most, 1)
    end = descend(judge, run, two_opt, or_opt)
    found["greedy_right"] = float(np.array_equal(end.arrangement, right))
    if len(truth) > by.most_blocks:
        return found
    starts = [judge.run(task.arranged(rng.permutation(truth))) for _ in range(by.starts)]
    for name, tried in (("exchange", two_opt), ("move", or_opt)):
        ends = [key(descend(judge, start, tried).arrangement) for start in starts]
        found[f"{name}_right"] = float(np.mean([end == key(right) for end in ends]))
        found[f"{name}_optima"] = len(set(ends)) / by.starts
    return found


def descend(judge: Judge, run: Run, *passes: Pass) -> Run:
    """Make passes in turn until none of them lowers the error."""
    before = np.inf
    while run.error < before:
        before = run.error
        for one in passes:
            run = one(judge, run)
    return run


def insertion(judge: Judge, blocks: Arrangement) -> Run:
    """Insert block after block, each time the one and where the error becomes lowest."""
    run = judge.run(blocks[:0])
    while len(blocks):
        stop_if_asked()
        run, errors = inserted(judge, run, blocks)
        blocks = np.delete(blocks, int(errors.argmin()) // len(run), axis=0)
    return run


def two_opt(judge: Judge, run: Run) -> Run:
    """Exchange every two blocks once; keep each exchange that lowers the error."""
    for at in range(len(run) - 1):
        to = at + 1
        while to < len(run):
            stop_if_asked()
            run, _, passed = exchanged(judge, run, at, to)
            to += passed + 1
    return run


def or_opt(judge: Judge, run: Run) -> Run:
    """Take out every block once and put it where the error is lowest."""
    for block in run.arrangement if len(run) > 1 else ():
        stop_if_asked()
        run, _ = moved(judge, run, block)
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
    from scipy.stats import rankdata

    ranks = [rankdata(one) - (len(one) + 1) / 2 for one in (a, b)]
    scale = float(np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1]))
    return float(ranks[0] @ ranks[1]) / scale if scale > 0 else 0.0
