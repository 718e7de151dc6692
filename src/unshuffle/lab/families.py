"""What is asked of networks that are modules: their edges, their path, their landscape.

The pieces are loose layers. All is measured on the true blocks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.module_blueprint import blueprint
from unshuffle.grouping.evidence import Evidence
from unshuffle.grouping.signals import Scores
from unshuffle.grouping.units import (
    Face,
    aligned,
    faces,
    gram_correlations,
    measured,
    norm_correlations,
    squared_cosines,
    standardised,
)
from unshuffle.lab.approach import Order
from unshuffle.lab.metrics import Measurements
from unshuffle.lab.searches import landscape, spearman
from unshuffle.lab.subjects import Subject, load_module
from unshuffle.oracle.module_dropping import drop_module, emptied
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.paths import best_path, path_similarity
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.clock import Clock

if TYPE_CHECKING:
    from torch import nn

EdgeSignal = Callable[[Face, Face], Scores]


@dataclass(frozen=True, eq=False)
class ModuleTask:
    """True blocks to be put in order, whose numbers are their places in the truth."""

    problem: Problem
    rng: np.random.Generator

    def judge(self, rows: int) -> Judge:
        """A judge of arrangements on the first rows."""
        return self.problem.judge(self.problem.known.first(rows))

    def arranged(self, order: Order) -> Arrangement:
        """Orders, shape (…, blocks), as arrangements for the judge, shape (…, blocks, roles)."""
        return self.problem.grouped[order]


@lru_cache(2)
def task_of_module(subject: Subject) -> ModuleTask:
    """The true blocks of an oracle that is a module, dropped as loose layers."""
    module, records = load_module(subject)
    return module_task(module, {"rows": records.inputs}, subject.rng())


def module_task(
    module: "nn.Module", inputs: Mapping[str, NDArray[Any]], rng: np.random.Generator
) -> ModuleTask:
    """The true blocks of a module, dropped as loose layers, with a record of such inputs."""
    dropped = drop_module(module, inputs, level="layers", rng=rng)
    given = blueprint(emptied(module, rng))
    pile = given.fitted(dropped.pile())
    bank, ends = given.parts(pile, dropped.records)
    truth = np.array([[pile.index[name] for name in block] for block in dropped.answer], np.intp)
    problem = Problem(bank, ends, truth, Evidence(()), dropped.records)
    return ModuleTask(problem.sketch, rng)


def traces(one: Face, other: Face) -> Scores:
    """Trace of the product of two matrices along the axis that they share, of all pairs."""
    first, second = (
        np.stack([face.units(piece).reshape(-1) for piece in range(len(face))])
        for face in (one, other)
    )
    return np.asarray(first @ second.T)


# By name: what is compared, and whether both must have as many numbers for each unit.
EDGE_SIGNALS: dict[str, tuple[EdgeSignal, bool]] = {
    "trace": (traces, True),
    "cosines": (squared_cosines, True),
    "grams": (gram_correlations, False),
    "norms": (norm_correlations, False),
}


def edges(signal: str, task: ModuleTask) -> dict[tuple[str, str], tuple[float, float]]:
    """How often true pairs rank first, and are negative, by two roles that share hidden units.

    Two roles may have several faces. The one counts whose matched pairs lead their rivals the most.
    A trace has the sign for which they do.
    """
    blocks = task.problem
    stack = blocks.bank.take(blocks.grouped)
    kind, weights = stack.kind, [stack.weights(place) for place in range(len(stack))]
    of_role = {
        role.name: [*faces([each[role.name] for each in weights], kind, number)]
        for number, role in enumerate(kind.roles)
    }
    return {
        (a, b): best
        for a, b in combinations(of_role, 2)
        if (best := _best(signal, of_role[a], of_role[b]))
    }


def measure_edges(signal: str, task: ModuleTask) -> Measurements:
    """How often true pairs rank first, over all edges."""
    found = edges(signal, task)
    if not found:
        return {}
    firsts, negative = zip(*found.values(), strict=True)
    measurements = {
        "edge_first": float(np.mean(firsts)),
        "edge_first_least": min(firsts),
        "edges": float(len(found)),
    }
    return measurements | ({"edge_negative": float(np.mean(negative))} if signal == "trace" else {})


def _best(signal: str, a: list[Face], b: list[Face]) -> tuple[float, float] | None:
    """Of two roles: the share of true pairs that rank first, and of those with negative scores."""
    score, alike = EDGE_SIGNALS[signal]
    found = []
    for first, second in product(a, b):
        for one, other in aligned(first, second):
            sizes = one.numbers, other.numbers
            if one.hidden is None or min(sizes) < 2 or (alike and sizes[0] != sizes[1]):
                continue
            scores = score(one, other)
            for sign in (1, -1) if signal == "trace" else (1,):
                gap = measured(0, 0, sign * standardised(scores)).gap
                found.append((gap, sign, scores))
    if not found:
        return None
    _, sign, scores = max(found, key=lambda one: one[0])
    return _first(sign * standardised(scores)), float(np.mean(np.diag(scores) < 0))


def _first(scores: Scores) -> float:
    """Share of true pairs, on the diagonal, that rank first in their row or column, on average."""
    places = np.arange(len(scores))
    return float(np.mean([scores.argmax(axis=axis) == places for axis in (0, 1)]))


def measure_path(task: ModuleTask, rng: np.random.Generator) -> Measurements:
    """How far the order along the path of similarity is that of depth, in either direction."""
    blocks = task.problem
    drawn = rng.permutation(len(blocks.grouped))
    similarity = path_similarity(blocks.bank.take(blocks.grouped[drawn]))
    path = drawn[best_path(similarity, Clock())]
    return {"path_depth": abs(spearman(np.arange(len(path)), path))}


def measure_landscape(task: ModuleTask) -> Measurements:
    """The landscape of orders of whole blocks."""
    return landscape(task, np.arange(len(task.problem.grouped)))
