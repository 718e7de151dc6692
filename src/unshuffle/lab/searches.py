"""Searches for the order that `solve` does not use, and their landscape.

Each search is given the true blocks (`joint_growth`: loose layers) and a budget of exactly judged
candidates. They show what an idea can do, and are not made to be fast.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import INP, OUT
from unshuffle.blocks.network import mean_square
from unshuffle.grouping.matching import Pairs
from unshuffle.grouping.signals import Clues
from unshuffle.lab.approach import Arranging, Order, Task
from unshuffle.lab.metrics import Measurements
from unshuffle.oracle.evaluation import count_inversions
from unshuffle.oracle.workers import stop_if_asked
from unshuffle.ordering.judge import Judge, Run
from unshuffle.ordering.moves import shifted
from unshuffle.ordering.sweeps import exchanged, inserted, moved
from unshuffle.pieces.blueprint import Arrangement, key


@dataclass(frozen=True)
class SearchEffort:
    """Numbers that steer the searches, and how much of a landscape is looked at.

    Parameters
    ----------
    rows
        Rows on which candidates are judged.
    contexts
        Random orders in which each two blocks are compared.
    prior
        Wins that each of two blocks is given over the other, to keep strengths finite (Hunter
        2004).
    rounds
        Rounds of the iteration for the strengths.
    candidates
        Candidates of an annealing.
    hot, cold
        Its first and last temperature, as parts of the error that it starts from.
    sweeps
        Sweeps of the bubble repair, at most.
    beam
        Partial orders that a beam keeps.
    joint_rows
        Rows on which partial networks of loose layers are judged, of which there are many.
    sampled
        Orders of a landscape whose errors are held against their distances.
    starts
        Random orders that are descended from.
    most_blocks
        Blocks up to which there are descents from random orders, since these take cubic time.
    """

    rows: int = 200
    contexts: int = 4
    prior: float = 0.1
    rounds: int = 200
    candidates: int = 4000
    hot: float = 0.3
    cold: float = 1e-4
    sweeps: int = 20
    beam: int = 8
    joint_rows: int = 64
    sampled: int = 400
    starts: int = 4
    most_blocks: int = 32


SEARCH_EFFORT = SearchEffort()

# Tries each move of one kind once, and keeps those that lower the error.
Pass = Callable[[Judge, Run], Run]


def random_order(task: Task) -> Order:
    """Any order: what there is to beat."""
    return task.rng.permutation(len(task.network.blocks)).astype(np.intp)


def step_sizes(task: Task) -> Order:
    """Sort by the mean relative step that each block makes of the record's inputs."""
    blocks, x = task.network.blocks, task.records.inputs.astype(np.float32)
    lengths = np.linalg.norm(x, axis=1)
    steps = [
        np.mean(np.linalg.norm(blocks.apply(block, x) - x, axis=1) / lengths)
        for block in range(len(blocks))
    ]
    return np.argsort(steps, kind="stable")


def frobenius(task: Task) -> Order:
    """Sort by the Frobenius norm of W_out."""
    return np.argsort(np.square(task.network.blocks.out_weight).sum(axis=(1, 2)), kind="stable")


def bradley_terry(task: Task, by: SearchEffort = SEARCH_EFFORT) -> Order:
    """Rank blocks by the strengths that explain which of two should run first.

    In random orders, two blocks are exchanged. The one that ran first in the better order wins. The
    strengths are the maximum likelihood of Bradley & Terry (1952), by the iteration of Hunter
    (2004).
    """
    judge = task.judge(by.rows)
    count = len(task.network.blocks)
    wins = np.full((count, count), by.prior)
    for _ in range(by.contexts):
        order = random_order(task)
        run = judge.run(task.arranged(order))
        couples = [(s, t) for s in range(count) for t in range(s + 1, count)]
        candidates = np.tile(order, (len(couples), 1))
        for candidate, (s, t) in zip(candidates, couples, strict=True):
            candidate[[s, t]] = candidate[[t, s]]
        errors = judge.errors(run, task.arranged(candidates))
        for (s, t), error in zip(couples, errors.tolist(), strict=True):
            first, second = (order[s], order[t]) if run.error <= error else (order[t], order[s])
            wins[first, second] += 1
    return np.argsort(-strengths(wins, by.rounds), kind="stable")


def strengths(wins: NDArray[np.float64], rounds: int = SEARCH_EFFORT.rounds) -> NDArray[np.float64]:
    """Bradley-Terry strengths, of sum one, from how often each has beaten each: (n, n) → (n,)."""
    wins = wins * ~np.eye(len(wins), dtype=bool)
    games, won = wins + wins.T, wins.sum(axis=1)
    found = np.full(len(wins), 1 / len(wins))
    for _ in range(rounds):
        found = won / (games / (found[:, None] + found)).sum(axis=1)
        found /= found.sum()
    return found


def bubble(task: Task, start: Order, by: SearchEffort = SEARCH_EFFORT) -> Order:
    """Sweep adjacent swaps, each kept if it lowers the error, until a sweep keeps none."""
    judge = task.judge(by.rows)
    run = judge.run(task.arranged(start))
    for _ in range(by.sweeps):
        before = run.error
        for t in range(len(start) - 1):
            swapped = judge.run(shifted(run.arrangement, t, t + 1), after=run)
            run = swapped if swapped.error < run.error else run
        if not run.error < before:
            break
    return run.arrangement[:, INP]


def annealing(task: Task, start: Order, by: SearchEffort = SEARCH_EFFORT) -> Order:
    """Anneal: exchange two blocks or move one, and take worse orders while it is hot.

    Kirkpatrick, Gelatt & Vecchi 1983; the temperature falls geometrically. Returns the best order
    that it has seen.
    """
    judge, rng = task.judge(by.rows), task.rng
    run = best = judge.run(task.arranged(start))
    scale = min(run.error, mean_square(judge.predictions))
    for step in range(by.candidates):
        stop_if_asked()
        temperature = scale * by.hot * (by.cold / by.hot) ** (step / by.candidates)
        s, t = (int(place) for place in rng.choice(len(start), 2, replace=False))
        if rng.random() < 0.5:
            candidate = run.arrangement.copy()
            candidate[[s, t]] = candidate[[t, s]]
        else:
            candidate = shifted(run.arrangement, s, t)
        other = judge.run(candidate, after=run)
        if other.error - run.error < temperature * rng.exponential():
            run = other
            best = min(run, best, key=lambda one: one.error)
    return best.arrangement[:, INP]


def beam_from_scratch(task: Task, by: SearchEffort = SEARCH_EFFORT) -> Order:
    """Append blocks to the best few partial orders. All true pairs are given."""
    blocks = task.arranged(np.arange(len(task.network.blocks)))
    run = grow(task.judge(by.rows), blocks, len(blocks), by.beam)
    return run.arrangement[:, INP]


def joint_growth(clues: Clues, by: SearchEffort = SEARCH_EFFORT) -> Pairs:
    """Numbers of inp and out layers in order, from appending loose pairs to a partial network."""
    layers, last, records = clues.layers, clues.last, clues.records
    assert last is not None
    assert records is not None
    judge = Judge(layers, last, records.first(by.joint_rows))
    shape = len(layers.inp_weight), len(layers.out_weight)
    every = layers.arranged(np.indices(shape).reshape(2, -1).T)
    found = grow(judge, every, shape[0], 1).arrangement
    return np.column_stack([layers.rows[found[:, INP]], layers.columns[found[:, OUT]]])


def grow(judge: Judge, blocks: Arrangement, count: int, width: int) -> Run:
    """Append `count` blocks to the best `width` partial orders. No layer is used twice.

    The judge takes the error of the network that has only the blocks appended so far.
    """
    beam = [judge.run(blocks[:0])]
    for _ in range(count):
        found: list[tuple[float, int, int]] = []
        for which, run in enumerate(beam):
            free = np.flatnonzero(~np.isin(blocks, run.arrangement).any(axis=1))
            standing = np.tile(run.arrangement, (len(free), 1, 1))
            candidates = np.concatenate([standing, blocks[free, None]], axis=1)
            errors = judge.errors(run, candidates)
            found += [(e, which, n) for e, n in zip(errors.tolist(), free.tolist(), strict=True)]
        # Orders of the same blocks may both survive: they are different states.
        best = sorted(found)[:width]
        beam = [
            judge.run(np.concatenate([beam[which].arrangement, blocks[n, None]]), after=beam[which])
            for _, which, n in best
        ]
    return beam[0]


def landscape(task: Arranging, depth: Order, by: SearchEffort = SEARCH_EFFORT) -> Measurements:
    """Error against distance from the truth, and where greedy search and descents end.

    `depth` is the place of each block in the truth. The distance is Kendall's (1938), the number of
    couples in the wrong order. Orders are sampled at evenly spread distances. 2-opt exchanges any
    two blocks, or-opt moves one anywhere. A descent tries them until none helps. Greedy search is
    the published recipe: greedy insertion, then both in turn.
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
    whole = task.arranged(np.arange(len(truth)))
    run = insertion(judge, whole)
    place = {block: int(depth[k]) for k, block in enumerate(whole[:, 0].tolist())}
    places = [place[block] for block in run.arrangement[:, 0].tolist()]
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
    """Rank correlation (Spearman 1904), ties by their mean rank. 0 where one is constant."""
    ranks = []
    for values in (a, b):
        _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
        means = np.cumsum(counts) - (counts - 1) / 2
        ranks.append(means[which] - (len(values) + 1) / 2)
    scale = float(np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1]))
    return float(ranks[0] @ ranks[1]) / scale if scale > 0 else 0.0
