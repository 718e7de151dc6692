"""Which blocks belong: take out those that do harm, put in those that help, exchange layers.

A piece of another network does harm wherever it stands, and a missing one would help. To first
order one forward and one backward pass score every block that could be put in at every place
(`unshuffle.ordering.insertion`) and every layer that could replace another; what is proposed is
judged exactly.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import numpy as np

from unshuffle.blocks.network import Layers
from unshuffle.ordering.adjoint import linearize, replacement_effects
from unshuffle.ordering.descent import Objective, descend
from unshuffle.ordering.insertion import insertion_errors
from unshuffle.ordering.journal import Errors, Numbers
from unshuffle.ordering.judge import Judge, Order, Run, Search
from unshuffle.ordering.trace import Step

LEAST_GAIN = 0.1
"""A change is made if it takes away at least this part of the error: pieces that belong do."""

LEAST_HELP = 0.01
"""The same of a block that is put in while an arrangement is built from nothing."""

INSERTED = 48
"""Blocks of spare layers that are scored, the likeliest by weights,"""
REPLACED = 600
"""replacements of layers that are,"""
JUDGED = 8
"""and proposals of each kind that are judged exactly."""

SCREENED_ROWS = 128
"""Rows on which replacements are scored."""


def settle_membership(
    judge: Judge,
    layers: Layers,
    run: Run,
    objective: Objective,
    *,
    done: Callable[[Run], bool],
) -> Search:
    """Change which blocks stand in an arrangement until no change helps.

    Parameters
    ----------
    judge
        Judges orders of the blocks that `layers` can make.
    layers
        All layers, those that do not stand in the arrangement included.
    run
        The arrangement to begin with.
    objective
        The pairing evidence; what it rules out is never put in.
    done
        Whether a run is as good as any can be.
    """
    run = yield from descend(judge, run, objective, done=done)
    while not done(run):
        better, tested = judge.journal.result(
            partial(_change, judge, layers, run, objective),
            partial(_pack, run),
            partial(_unpack, judge, run, objective),
        )
        if not tested:
            break
        kept = better is not run
        run = better
        yield Step("membership", np.array(tested), kept, run.order, run.error, len(judge.inputs))
        if not kept:
            break
        run = yield from descend(judge, run, objective, done=done)
    return run


def grow(judge: Judge, blocks: Order, objective: Objective) -> Search:
    """Build an arrangement from nothing, as long as some block helps.

    Where many blocks are of another network, taking them out one by one does not help: each does
    little harm beside the others.

    Parameters
    ----------
    judge
        Judges orders.
    blocks
        Numbers of the blocks that there are.
    objective
        The pairing evidence, which says what blocks there can be.
    """
    run = judge.run(())
    while len(run.order) < len(blocks):
        better, tested = judge.journal.result(
            partial(_grown, judge, run, blocks),
            partial(_pack, run),
            partial(_unpack, judge, run, objective),
        )
        kept = better is not run
        run = better
        yield Step("growth", np.array(tested), kept, run.order, run.error, len(judge.inputs))
        if not kept:
            break
    return run


Judged = tuple[Run, list[float]]
"""The best run, or the one that stands where none helps enough, and the errors of all."""


def _change(judge: Judge, layers: Layers, run: Run, objective: Objective) -> Judged:
    """Change the blocks of an arrangement, if that helps."""
    return _best(judge, run, _changes(judge, layers, run, objective), LEAST_GAIN)


def _grown(judge: Judge, run: Run, blocks: Order) -> Judged:
    """Put in a block, if that helps."""
    spare = [block for block in blocks if block not in run.order]
    errors = insertion_errors(judge, linearize(judge, run), spare)
    orders = [
        (*run.order[:t], spare[k], *run.order[t:])
        for k, t in (
            divmod(int(flat), errors.shape[1])
            for flat in np.argsort(errors, axis=None, kind="stable")[:JUDGED]
        )
    ]
    return _best(judge, run, orders, LEAST_HELP)


def _best(judge: Judge, run: Run, orders: Sequence[Order], gain: float) -> Judged:
    runs = judge.runs(orders, after=run)
    best = min(runs, key=lambda one: one.error, default=run)
    kept = best.error < (1 - gain) * run.error
    return best if kept else run, [one.error for one in runs]


def _pack(run: Run, found: Judged) -> tuple[Order, list[float]]:
    """The better order, none where the run still stands, and the errors."""
    better, tested = found
    return () if better is run else better.order, tested


def _unpack(
    judge: Judge, run: Run, objective: Objective, numbers: Numbers, errors: Errors
) -> Judged:
    order = tuple(numbers.tolist())
    if any(not 0 <= block < objective.log_odds.size for block in order):
        raise ValueError("it has other blocks")
    for layers in np.divmod(numbers, objective.outs):
        if len({*layers.tolist()}) < len(order):
            raise ValueError("it names a layer twice")
    if not np.isfinite(objective.evidence(order)):
        raise ValueError("it has pairs that are ruled out")
    return judge.run(order, after=run) if order else run, errors.tolist()


def _changes(judge: Judge, layers: Layers, run: Run, objective: Objective) -> list[Order]:
    """Orders with one block taken out, one put in, or one layer replaced by a spare one."""
    order, outs = run.order, objective.outs
    log_odds = objective.log_odds
    orders: list[Order] = []
    if len(order) > 1:
        orders += [(*order[:t], *order[t + 1 :]) for t in range(len(order))]
    inps, used_outs = {b // outs for b in order}, {b % outs for b in order}
    spare_inps = [i for i in range(len(log_odds)) if i not in inps]
    spare_outs = [j for j in range(outs) if j not in used_outs]
    spare = [
        i * outs + j for i, j in product(spare_inps, spare_outs) if np.isfinite(log_odds[i, j])
    ]
    if spare:
        spare = sorted(spare, key=lambda b: -log_odds.flat[b])[:INSERTED]
        errors = insertion_errors(judge, linearize(judge, run), spare)
        for flat in np.argsort(errors, axis=None, kind="stable")[:JUDGED]:
            k, t = divmod(int(flat), errors.shape[1])
            orders.append((*order[:t], spare[k], *order[t:]))
    swaps = [
        (t, other)
        for t, block in enumerate(order)
        for other in (
            *(i * outs + block % outs for i in spare_inps),
            *(block // outs * outs + j for j in spare_outs),
        )
        if np.isfinite(log_odds.flat[other])
    ]
    if swaps:
        swaps.sort(key=lambda swap: log_odds.flat[order[swap[0]]] - log_odds.flat[swap[1]])
        few = Judge(
            layers, judge.last, judge.records.take(np.arange(min(SCREENED_ROWS, len(judge.inputs))))
        )
        at = linearize(few, few.run(order))
        effects = replacement_effects(few, at, np.array(swaps[:REPLACED], np.intp))
        errors = np.square(effects + at.residual, dtype=np.float64).mean(axis=1)
        for k in np.argsort(errors, kind="stable")[:JUDGED]:
            t, other = swaps[int(k)]
            orders.append((*order[:t], other, *order[t + 1 :]))
    return orders
