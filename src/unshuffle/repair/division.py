"""Two networks in one pile: which blocks are of the network that a last layer belongs to.

Training writes into W_out what the last layer reads, and each network has a last layer of its own:
so the share of W_out that lies in the space of the last layer's rows is larger for its own blocks.
And the steps that they make from the inputs follow what the last layer alone leaves of the
predictions. Either tells most blocks of two trained networks apart, not all. But blocks of one
network are alike in many views of their weights (`unshuffle.ordering.seriation`), so the others
foretell of each block where it belongs: by self-training (Scudder 1965), in which every view
predicts the side of each block from the other blocks, and is listened to as far as it does so well.
How many blocks the network has is left to the record.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.activations import Activation
from unshuffle.blocks.assembly import last_layer
from unshuffle.blocks.network import Blocks, Linear, Network
from unshuffle.grouping import pair
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.seeds import SEEDS, Ranking
from unshuffle.ordering.seriation import (
    LEAST_AGREEMENT,
    MOST_AGREEMENT,
    leave_one_out,
    likeness,
    standardised,
    views,
)
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.solution.arranging import problem_of

Scores = NDArray[np.float64]

TRIED = 4
"""Sets of blocks that are tried."""

CLOSE = 0.25
"""Part of the predictions' variance that the best seed may leave; if none does so well, the next
activation is looked at."""

ROUNDS = 20

STEEPNESS = 2.0
"""How soon the score of a block, in spreads of all scores, counts as a decision."""

RECORD_ROWS = 1024
"""Rows, the first ones, on which steps are compared with the record."""

JUDGED_ROWS = 256
"""Rows on which seeds are judged,"""
SEED_ROWS = 32
"""and those that they look at."""

MOST_COUNTS = 64
"""Numbers of blocks that are tried, evenly spaced."""

TINY = 1e-30


def likely_networks(
    pile: Pile, records: Records, anatomy: Anatomy, activations: Sequence[Activation]
) -> Iterator[Problem]:
    """The blocks that seem to be of one network, with its last layer and activation.

    The weights rank the blocks for each last layer. How many there are, which last layer it is and
    which activation, the record decides: the likeliest are those whose best seed comes nearest it.

    Parameters
    ----------
    pile, records
        Pieces of two networks, and a record of one of them.
    anatomy
        With several pieces that can be the last layer, and two or more of the other roles.
    activations
        Those that the network may have, the likeliest first.
    """
    ranked: list[tuple[Problem, Ranking]] = []
    for last in anatomy.last:
        decided = anatomy.with_last(last)
        pairing = pair(pile, records, anatomy=decided, activation=activations[0])
        problem = problem_of(pile, records, decided, pairing, activations[0])
        rivals = [last_layer(pile, pile[other].id) for other in anatomy.last if other != last]
        everything = problem.network(tuple(problem.blocks.tolist()))
        ranked.append((problem, divide(everything, rivals, problem.known)))
    found: list[tuple[float, Problem]] = []
    for activation in activations:
        for problem, ranking in ranked:
            found += likeliest_counts(_with(problem, activation), ranking)
        found.sort(key=lambda each: each[0])
        if found[0][0] < CLOSE * records.variance:
            break
    likely = [problem for _, problem in found[:TRIED]]
    yield from likely
    for activation in activations:
        if activation is not likely[0].layers.activation:
            yield _with(likely[0], activation)


def _with(problem: Problem, activation: Activation) -> Problem:
    return replace(problem, layers=replace(problem.layers, activation=activation))


def divide(network: Network, rivals: Sequence[Linear], known: Records) -> Ranking:
    """Rank blocks by how likely they are of the network that the last layer belongs to.

    Parameters
    ----------
    network
        All blocks, at least two, in any sequence, with the last layer of the network asked for.
    rivals
        Layers that may be the last one of the other network.
    known
        Rows that all have predictions, at least two.

    Returns
    -------
    Ranking
        Indices of the blocks, the likeliest first.
    """
    blocks, last = network.blocks, network.last
    written = _written_for(blocks, last)
    if rivals:
        written -= np.mean([_written_for(blocks, rival) for rival in rivals], axis=0)
    signals = [standardised(written), standardised(_follows(network, known))]
    seen = [likeness(view) for name, view in views(network).items() if "last layer" not in name]
    smoothers = [leave_one_out(kernel) for kernel in seen if kernel.any()]
    scores: Scores = np.sum(signals, axis=0)
    for _ in range(ROUNDS):
        sides = standardised(np.tanh(STEEPNESS * scores / max(float(scores.std()), TINY)))
        told = [*(standardised(smoother @ sides) for smoother in smoothers), *signals]
        refined = np.zeros(len(scores))
        for one in told:
            agreed = min(float(one @ sides), MOST_AGREEMENT)
            if agreed > LEAST_AGREEMENT:
                refined += agreed / (1 - agreed**2) * one
        if not refined.any():
            break
        scores = refined
    return np.argsort(-scores, kind="stable")


def likeliest_counts(problem: Problem, ranking: Ranking) -> list[tuple[float, Problem]]:
    """How near the record the first blocks of a ranking come, for every number of them.

    Depths of one network may lie further apart than two networks do, so weights do not tell where
    the one ends and the other begins. With all blocks of a network and no other, the best seed is
    nearer the record than otherwise.

    Parameters
    ----------
    problem
        All blocks, with a last layer.
    ranking
        Indices into its pairs, the likeliest first.

    Returns
    -------
    list
        For each number the error of the best quick seed, and the problem with only so many blocks.
    """
    known = problem.known.take(np.arange(min(JUDGED_ROWS, len(problem.known))))
    judge = Judge(problem.layers, problem.last, known)
    found = []
    for count in range(1, len(ranking), -(-len(ranking) // MOST_COUNTS)):
        part = replace(problem, pairs=problem.pairs[np.sort(ranking[:count])])
        found.append((_seeded_error(part, judge), part))
    return found


def _seeded_error(problem: Problem, judge: Judge) -> float:
    """Error of the best quick seed."""
    blocks = problem.blocks
    with np.errstate(over="ignore", invalid="ignore"):
        network = problem.network(tuple(blocks.tolist()))
        seeded = [
            seed.rank(network, judge.inputs[:SEED_ROWS]) for seed in SEEDS.values() if seed.quick
        ]
    orders = [blocks[order].tolist() for each in seeded for order in (each, each[::-1])]
    errors = [run.error for run in judge.runs(orders)]
    return float(np.nan_to_num(errors, nan=np.inf).min())


def _written_for(blocks: Blocks, last: Linear) -> Scores:
    """Log of the share of each W_out that lies in the space of a last layer's rows."""
    read = np.linalg.qr(last.weight.T.astype(np.float64))[0].T
    inside = np.square(np.matmul(read, blocks.out_weight)).sum(axis=(1, 2))
    share = inside / np.maximum(np.square(blocks.out_weight).sum(axis=(1, 2)), TINY)
    logs: Scores = np.log(np.maximum(share, TINY)).astype(np.float64)
    return logs


def _follows(network: Network, known: Records) -> Scores:
    """Correlation of each block's step from the inputs with what the last layer alone leaves."""
    some = known.take(np.arange(min(RECORD_ROWS, len(known))))
    inputs = some.inputs.astype(network.last.weight.dtype)
    left = (some.predictions - network.last(inputs)).astype(np.float64)
    left -= left.mean(axis=0)
    scale = max(float(np.linalg.norm(left)), TINY)
    found = []
    for block in range(len(network.blocks)):
        step = network.blocks.apply(block, inputs) - inputs
        effect = (step @ network.last.weight.T).astype(np.float64)
        effect -= effect.mean(axis=0)
        found.append((effect * left).sum() / (max(float(np.linalg.norm(effect)), TINY) * scale))
    return np.array(found)
