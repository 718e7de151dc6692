"""Two networks in one pile: which blocks are of the network that a last layer belongs to.

Training writes into W_out what the last layer reads. So the rows of the last layer explain more of
W_out in its own blocks. Their steps from the inputs follow what the last layer alone leaves of the
predictions. Either tells most blocks of two networks apart. Blocks of one network are also alike in
many views of their weights (`unshuffle.ordering.seriation`). Self-training (Scudder 1965) predicts
each block's network from the others. Every view counts as far as it predicts the sides. The record
tells how many blocks the network has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from unshuffle.blocks.activations import Activation
from unshuffle.blocks.assembly import last_layer
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork, MlpStack, as_mlp, as_mlp_bank
from unshuffle.grouping import pair
from unshuffle.grouping.signals import Scores
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.seeds import Ranking
from unshuffle.ordering.seriation import (
    SeriationParameters,
    leave_one_out,
    likeness,
    listened,
    standardised,
    views,
)
from unshuffle.ordering.workbench import rank_seeds
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import TINY, Pile
from unshuffle.pieces.records import Records
from unshuffle.solution.alternatives import problem_of
from unshuffle.solution.options import Options


@dataclass(frozen=True)
class DivisionParameters:
    """Numbers that steer the division of a pile."""

    tried: int = 4  # Sets of blocks that are tried.
    close: float = 0.25  # Another activation is tried if the best seed leaves more of the variance.
    rounds: int = 20  # Rounds of self-training.
    steepness: float = 2.0  # How soon a score, in spreads of all scores, counts as a decision.
    record_rows: int = 1024  # Rows, the first ones, on which steps are compared with the record.
    judged_rows: int = 256  # Rows on which seeds are judged.
    seed_rows: int = 32  # Rows that seeds look at.
    counts: int = 64  # Numbers of blocks that are tried, evenly spaced.
    seriation: SeriationParameters = field(default_factory=SeriationParameters)  # Of all views.


STANDARD = DivisionParameters()


def likely_networks(
    pile: Pile,
    records: Records,
    anatomy: Anatomy,
    options: Options,
    by: DivisionParameters = STANDARD,
) -> Iterator[Problem]:
    """The blocks that seem to be of one network, with its last layer and activation.

    Weights rank blocks for each last layer. The record decides how many, and everything else.
    """
    activations, clock = options.activations, options.clock
    ranked: list[tuple[Problem, Ranking]] = []
    for last in anatomy.last:
        if ranked and clock.out:
            break
        decided = anatomy.with_last(last)
        with clock.phase("pair"):
            pairing = pair(
                pile,
                records,
                anatomy=decided,
                activation=activations[0],
                clock=clock,
                by=options.grouping,
            )
        problem = problem_of(pile, records, decided, pairing, activations[0])
        rivals = [last_layer(pile, pile[other].id) for other in anatomy.last if other != last]
        everything = as_mlp(problem.network(problem.grouped))
        ranked.append((problem, divide(everything, rivals, problem.known, by)))
    found: list[tuple[float, Problem]] = []
    for activation in activations:
        for problem, ranking in ranked:
            found += likeliest_counts(_with(problem, activation), ranking, clock, by)
        found.sort(key=lambda each: each[0])
        if found[0][0] < by.close * records.variance or clock.out:
            break
    likely = [problem for _, problem in found[: by.tried]]
    yield from likely
    for activation in activations:
        if activation is not as_mlp_bank(likely[0].bank).activation:
            yield _with(likely[0], activation)


def _with(problem: Problem, activation: Activation) -> Problem:
    return replace(problem, bank=replace(as_mlp_bank(problem.bank), activation=activation))


def divide(
    network: MlpNetwork,
    rivals: Sequence[Linear],
    known: Records,
    by: DivisionParameters = STANDARD,
) -> Ranking:
    """Rank blocks by how likely they are of the last layer's network, not of its rivals."""
    blocks, last = network.blocks, network.last
    written = _written_for(blocks, last)
    if rivals:
        written -= np.mean([_written_for(blocks, rival) for rival in rivals], axis=0)
    some = known.first(by.record_rows)
    signals = [standardised(written), standardised(_follows(network, some))]
    seen = [likeness(view) for name, view in views(network).items() if "last layer" not in name]
    smoothers = [leave_one_out(kernel, by.seriation) for kernel in seen if kernel.any()]
    scores: Scores = np.sum(signals, axis=0)
    for _ in range(by.rounds):
        sides = standardised(np.tanh(by.steepness * scores / max(float(scores.std()), TINY)))
        told = [*(standardised(smoother @ sides) for smoother in smoothers), *signals]
        refined = listened(told, sides, by.seriation)
        if not refined.any():
            break
        scores = refined
    return np.argsort(-scores, kind="stable")


def likeliest_counts(
    problem: Problem, ranking: Ranking, clock: Clock, by: DivisionParameters = STANDARD
) -> list[tuple[float, Problem]]:
    """The error of the best quick seed, for each number of first blocks in a ranking.

    Weights do not tell where one network ends, since its depths may differ as much as two networks.
    The best seed is nearest where all blocks are of one network.
    """
    rows = min(by.judged_rows, len(problem.known))
    judge = problem.judge(problem.known.first(rows))
    inputs = judge.inputs[: by.seed_rows]
    found: list[tuple[float, Problem]] = []
    for count in range(1, len(ranking), -(-len(ranking) // by.counts)):
        if found and clock.out:
            break
        part = replace(problem, grouped=problem.grouped[np.sort(ranking[:count])])
        _, errors = rank_seeds(part, judge, inputs, rows, quick=True, clock=clock)
        found.append((float(errors.min()), part))
    return found


def _written_for(blocks: MlpStack, last: Linear) -> Scores:
    """Log of the share of each W_out that lies in the space of a last layer's rows."""
    read = np.linalg.qr(last.weight.T.astype(np.float64))[0].T
    inside = np.square(np.matmul(read, blocks.out_weight)).sum(axis=(1, 2))
    share = inside / np.maximum(np.square(blocks.out_weight).sum(axis=(1, 2)), TINY)
    return np.asarray(np.log(np.maximum(share, TINY)), np.float64)


def _follows(network: MlpNetwork, known: Records) -> Scores:
    """Correlation of each block's step from the inputs with what the last layer alone leaves."""
    inputs = network.last.enter(known.inputs)
    left = (known.predictions - network.last(inputs)).astype(np.float64)
    left -= left.mean(axis=0)
    scale = max(float(np.linalg.norm(left)), TINY)
    found = []
    for block in range(len(network.blocks)):
        step = network.blocks.apply(block, inputs) - inputs
        effect = (step @ network.last.weight.T).astype(np.float64)
        effect -= effect.mean(axis=0)
        found.append((effect * left).sum() / (max(float(np.linalg.norm(effect)), TINY) * scale))
    return np.array(found)
