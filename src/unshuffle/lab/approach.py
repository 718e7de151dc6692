"""What an approach is, and how each kind of approach is tried on a subject and measured.

Pairing approaches are told which layers are inp and which are out. Ordering approaches are given
the true pairs. Neither is told anything else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.assembly import build_network, last_layer, stack_blocks
from unshuffle.blocks.mlp import MlpBank, MlpNetwork
from unshuffle.grouping.matching import Pairs
from unshuffle.grouping.signals import Clues, Scores
from unshuffle.lab.metrics import Measurements
from unshuffle.lab.subjects import Subject, load
from unshuffle.oracle.evaluation import DroppedOracle, count_inversions
from unshuffle.ordering.judge import Judge
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import PieceId
from unshuffle.pieces.records import Records

Order = NDArray[np.intp]  # shape (blocks,): numbers of blocks, the first to run first


class ApproachKind(StrEnum):
    """What an approach finds or explains: whole means pairs and order, look a description.

    A part finds what a whole does, by some of its stages.
    """

    PAIRING = "pairing"
    ORDERING = "ordering"
    WHOLE = "whole"
    PART = "part"
    LOOK = "look"
    CAUSE = "cause"


@dataclass(frozen=True)
class Approach:
    """What a name such as `out-norm` tries: its bet, its source, and its measurements."""

    name: str
    kind: ApproachKind
    hypothesis: str
    source: str
    measure: Callable[[Subject], Measurements]


class Arranging(Protocol):
    """Blocks of any kind to be put in order, on some record."""

    @property
    def rng(self) -> np.random.Generator:
        """Draws whatever is drawn."""

    def judge(self, rows: int) -> Judge:
        """A judge of arrangements on the first rows."""

    def arranged(self, order: Order) -> Arrangement:
        """Orders, shape (…, blocks), as arrangements for the judge, shape (…, blocks, roles)."""


@dataclass(frozen=True, eq=False)
class Task:
    """The true blocks, to be put in order, in the sequence of their inp layers in the pile."""

    network: MlpNetwork
    records: Records
    rng: np.random.Generator

    def judge(self, rows: int) -> Judge:
        """A judge of arrangements on the first rows."""
        blocks = self.network.blocks
        bank = MlpBank(*blocks.inp, *blocks.out, blocks.activation)
        some = self.records.first(rows)
        return Judge(bank, self.network.last, some)

    def arranged(self, order: Order) -> Arrangement:
        """Orders, shape (…, blocks), as arrangements for the judge, shape (…, blocks, 2)."""
        return order[..., None] + np.array([0, len(self.network.blocks)], np.intp)


def measure_pairs(find: Callable[[Clues], Pairs], subject: Subject) -> Measurements:
    """Measure the pairs that are found."""
    clues, truth = clues_of(load(subject))
    return pairs_found(find(clues), truth)


def measure_scores(
    score: Callable[[Clues], Scores], match: Callable[[Scores], Pairs], subject: Subject
) -> Measurements:
    """Measure scores of pairs, and the pairs that a matching makes of them."""
    clues, truth = clues_of(load(subject))
    scores = score(clues)
    return pairs_found(match(scores), truth) | _separation(scores, truth)


def measure_order(
    rank: Callable[[Task], Order], reversible: bool, subject: Subject
) -> Measurements:
    """Measure an order of the true pairs. The record chooses the direction of a reversible one."""
    task, depth = task_of(load(subject), subject.rng())
    order = rank(task)
    orders = [order, order[::-1]] if reversible else [order]
    found = [order_found(task, depth, one) for one in orders]
    return min(found, key=lambda one: one["error"])


def clues_of(case: DroppedOracle) -> tuple[Clues, Pairs]:
    """What pairing looks at, inp and out layers in the pile's sequence, and the true pairs."""
    inps = sorted((inp for inp, _ in case.pairs), key=case.pile.index.__getitem__)
    outs = sorted((out for _, out in case.pairs), key=case.pile.index.__getitem__)
    blocks = stack_blocks(case.pile, zip(inps, outs, strict=True), case.activation)
    layers = MlpBank(*blocks.inp, *blocks.out, case.activation)
    truth = np.array(sorted((inps.index(i), outs.index(j)) for i, j in case.pairs), np.intp)
    return Clues(layers, last_layer(case.pile, case.answer[-1]), case.records), truth


def task_of(case: DroppedOracle, rng: np.random.Generator) -> tuple[Task, Order]:
    """The true blocks in the pile's sequence, and the place of each in the network."""
    pairs = _in_sequence(case)
    blocks = stack_blocks(case.pile, pairs, case.activation)
    network = MlpNetwork(blocks, last_layer(case.pile, case.answer[-1]))
    depth = np.array([case.pairs.index(pair) for pair in pairs], np.intp)
    return Task(network, case.records, rng), depth


def pairs_found(pairs: Pairs, truth: Pairs) -> dict[str, float]:
    """Share of the true pairs among those found."""
    right = len({*map(tuple, pairs.tolist())} & {*map(tuple, truth.tolist())})
    return {"pairs_right": right / len(truth), "pairs_exact": float(right == len(truth))}


def order_found(task: Task, depth: Order, order: Order) -> dict[str, float]:
    """Inversions and error of an order."""
    couples = len(order) * (len(order) - 1) / 2
    inversions = count_inversions(depth[order].tolist())
    network = MlpNetwork(task.network.blocks.take(order), task.network.last)
    return {
        "inversions": inversions / max(couples, 1),
        "order_exact": float(inversions == 0),
        "error": relative_error(network, task.records),
    }


def whole_found(
    case: DroppedOracle, permutation: Sequence[PieceId], subject: Subject
) -> dict[str, float]:
    """Pairs, order and error of a whole arrangement; inversions only where all pairs are right."""
    pairs = list(zip(permutation[:-1:2], permutation[1::2], strict=True))
    right = len(set(pairs) & set(case.pairs)) / len(pairs)
    network = build_network(case.pile, permutation, case.activation)
    found = {
        "pairs_right": right,
        "pairs_exact": float(right == 1),
        "solved": float(tuple(permutation) == case.answer),
        "error": relative_error(network, case.records),
    }
    if right == 1:
        task, depth = task_of(case, subject.rng())
        names = _in_sequence(case)
        order = np.array([names.index(pair) for pair in pairs], np.intp)
        found |= order_found(task, depth, order)
    return found


def relative_error(network: MlpNetwork, records: Records) -> float:
    """Mean squared error relative to the variance of the predictions."""
    wanted = records.predictions.astype(np.float64)
    return network.error(records.inputs, wanted) / records.variance


def _in_sequence(case: DroppedOracle) -> list[tuple[PieceId, PieceId]]:
    """The true pairs in the pile's sequence of their inp layers."""
    return sorted(case.pairs, key=lambda ids: case.pile.index[ids[0]])


def _separation(scores: Scores, truth: Pairs) -> dict[str, float]:
    wrong = np.ones(scores.shape, bool)
    wrong[tuple(truth.T)] = False
    others = scores[wrong]
    if len(others) < 2 or not others.std() > 0:
        return {}
    true = scores[tuple(truth.T)]
    return {"separation": float((true.mean() - others.mean()) / others.std())}
