"""Searches for the order that `solve` does not use: from preferences, by annealing, by beams.

Each is given the true blocks (`joint_growth`: loose layers) and a budget of candidates that are
judged exactly. They are written to show what an idea can do, not to be fast.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Layers, Linear
from unshuffle.lab.approach import Order, Task
from unshuffle.oracle.workers import stop_if_asked
from unshuffle.ordering.judge import Judge, Run
from unshuffle.pieces.records import Records

ROWS = 200
"""Rows on which candidates are judged."""

COMPARISONS = 4
"""Contexts in which the order of each two blocks is tried."""

PRIOR_WINS = 0.1
"""Added to the wins of each of two blocks, so that strengths stay finite (Hunter 2004)."""

ROUNDS = 200
"""Of the iteration for the strengths."""

COOLING_STEPS = 4000
"""Candidates of an annealing."""

HOT, COLD = 0.3, 1e-4
"""Its first and last temperature, relative to the error that it starts from."""

SWEEPS = 20
"""Of the bubble repair, at most."""

BEAM = 8
"""Partial orders that a beam keeps."""

JOINT_ROWS = 64
"""Rows on which partial networks of loose layers are judged, of which there are many."""


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


def bradley_terry(task: Task) -> Order:
    """Rank blocks by the strengths that explain which of two should run first.

    In random orders, two blocks are exchanged: the one that ran first in the better order wins.
    The strengths are the maximum likelihood of Bradley & Terry (1952), found by the iteration of
    Hunter (2004).
    """
    judge = task.judge(ROWS)
    count = len(task.network.blocks)
    wins = np.full((count, count), PRIOR_WINS)
    for _ in range(COMPARISONS):
        order = random_order(task)
        run = judge.run(task.numbers(order).tolist())
        couples = [(s, t) for s in range(count) for t in range(s + 1, count)]
        candidates = np.tile(order, (len(couples), 1))
        for candidate, (s, t) in zip(candidates, couples, strict=True):
            candidate[[s, t]] = candidate[[t, s]]
        errors = judge.errors(run, task.numbers(candidates))
        for (s, t), error in zip(couples, errors.tolist(), strict=True):
            first, second = (order[s], order[t]) if run.error <= error else (order[t], order[s])
            wins[first, second] += 1
    return np.argsort(-strengths(wins), kind="stable")


def strengths(wins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bradley-Terry strengths, of sum one, from how often each has beaten each: (n, n) → (n,)."""
    wins = wins * ~np.eye(len(wins), dtype=bool)
    games, won = wins + wins.T, wins.sum(axis=1)
    found = np.full(len(wins), 1 / len(wins))
    for _ in range(ROUNDS):
        found = won / (games / (found[:, None] + found)).sum(axis=1)
        found /= found.sum()
    return found


def bubble(task: Task, start: Order) -> Order:
    """Sweep adjacent swaps, each kept if it lowers the error, until a sweep keeps none."""
    judge = task.judge(ROWS)
    run = judge.run(task.numbers(start).tolist())
    for _ in range(SWEEPS):
        before = run.error
        for t in range(len(start) - 1):
            candidate = list(run.order)
            candidate[t], candidate[t + 1] = candidate[t + 1], candidate[t]
            swapped = judge.run(candidate, after=run)
            run = swapped if swapped.error < run.error else run
        if not run.error < before:
            break
    return _blocks(run, task)


def annealing(task: Task, start: Order) -> Order:
    """Anneal: exchange two blocks or move one, and take worse orders while it is hot.

    Kirkpatrick, Gelatt & Vecchi 1983; the temperature falls geometrically. Returns the best order
    that it has seen.
    """
    judge, rng = task.judge(ROWS), task.rng
    run = best = judge.run(task.numbers(start).tolist())
    scale = min(run.error, float(np.mean(np.square(judge.predictions))))
    for step in range(COOLING_STEPS):
        stop_if_asked()
        temperature = scale * HOT * (COLD / HOT) ** (step / COOLING_STEPS)
        s, t = (int(place) for place in rng.choice(len(start), 2, replace=False))
        candidate = list(run.order)
        if rng.random() < 0.5:
            candidate[s], candidate[t] = candidate[t], candidate[s]
        else:
            candidate.insert(t, candidate.pop(s))
        other = judge.run(candidate, after=run)
        if other.error - run.error < temperature * rng.exponential():
            run = other
            best = min(run, best, key=lambda one: one.error)
    return _blocks(best, task)


def beam_from_scratch(task: Task) -> Order:
    """Append blocks to partial orders, of which the best few survive; all true pairs are given."""
    blocks = task.numbers(np.arange(len(task.network.blocks)))
    run = grow(task.judge(ROWS), blocks.tolist(), len(task.network.blocks), BEAM)
    return _blocks(run, task)


def joint_growth(layers: Layers, last: Linear, records: Records) -> list[int]:
    """Append pairs of loose layers to a partial network: pairs and order in one search.

    Returns
    -------
    list[int]
        Numbers of blocks, as `Layers` numbers them.
    """
    judge = Judge(layers, last, records.take(np.arange(min(JOINT_ROWS, len(records)))))
    count = len(layers.inp_weight)
    return list(grow(judge, range(count * count), count, 1).order)


def grow(judge: Judge, blocks: Sequence[int], count: int, width: int) -> Run:
    """Append blocks one by one to the best partial orders; no layer is used twice.

    Parameters
    ----------
    judge
        Judges partial orders by the error of the network that has only those blocks.
    blocks
        The numbers to choose from, inp layer times `count` plus out layer.
    count
        How many blocks an order takes.
    width
        How many partial orders survive each step.
    """
    beam = [judge.run(())]
    inp, out = np.divmod(np.array(blocks, np.intp), count)
    for _ in range(count):
        found: list[tuple[float, int, int]] = []
        for which, run in enumerate(beam):
            used_inp, used_out = np.divmod(np.array(run.order, np.intp), count)
            free = ~np.isin(inp, used_inp) & ~np.isin(out, used_out)
            numbers = np.array(blocks, np.intp)[free]
            candidates = np.column_stack([np.tile(run.order, (len(numbers), 1)), numbers])
            errors = judge.errors(run, candidates.astype(np.intp))
            found += [(e, which, n) for e, n in zip(errors.tolist(), numbers.tolist(), strict=True)]
        # Orders of the same blocks may both survive: they are different states.
        best = sorted(found)[:width]
        beam = [judge.run([*beam[which].order, n], after=beam[which]) for _, which, n in best]
    return beam[0]


def _blocks(run: Run, task: Task) -> Order:
    """An order in the judge's numbers as one of block indices."""
    return np.array(run.order, np.intp) // (len(task.network.blocks) + 1)
