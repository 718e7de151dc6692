"""Paths: orders in which what neighbouring blocks do with the stream changes least.

What reads the stream and what writes to it changes slowly with depth. So Gram matrices of the axes
that face the stream, and vectors that do, are compared between blocks. Similarities of roles that
are tied together are added. The order is the path of largest similarity. Roles that nothing ties
together have paths of their own. The record tells which end of a path comes first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from unshuffle.grouping.units import Face, faces
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.seriation import leading, likeness, off_diagonal
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement, stretches
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats


@dataclass(frozen=True)
class PathParameters:
    """Numbers that steer paths.

    Parameters
    ----------
    turned
        Paths of which all directions are tried. All others run in the direction of the last.
    moved
        Blocks that are moved together, at most.
    least_gain
        Similarity below which a change is rounding.
    """

    turned: int = 5
    moved: int = 3
    least_gain: float = 1e-9


STANDARD = PathParameters()

Similarity = NDArray[np.float64]  # shape (blocks, blocks)


def path_arrangements(
    problem: Problem, clock: Clock, by: PathParameters = STANDARD
) -> list[Arrangement]:
    """The grouped pieces along their paths, in all directions; none where time runs out."""
    grouped, evidence = problem.grouped, problem.evidence
    if problem.bank.kind.edges:
        return []
    paths: list[tuple[slice, tuple[int, ...], NDArray[np.intp]]] = []
    for places in stretches(grouped):
        held = np.flatnonzero(grouped[places.start] != NO_PIECE)
        for part in evidence.parts(grouped.shape[1]):
            roles = tuple(role for role in part if role in held)
            if roles and places.stop - places.start > 1 and not clock.out:
                path = best_path(_similarity(problem, places, roles), clock, by)
                paths.append((places, roles, path))
    found = []
    for turned in product((False, True), repeat=min(len(paths), by.turned)):
        made = grouped.copy()
        for k, (places, roles, path) in enumerate(paths):
            backward = turned[min(k, len(turned) - 1)]
            blocks = grouped[places][path[::-1] if backward else path]
            made[places, [*roles]] = blocks[:, [*roles]]
        found.append(made)
    return found if paths else []


def _similarity(problem: Problem, places: slice, part: tuple[int, ...]) -> Similarity:
    """How alike the blocks of some places are in some roles, in what they do with the stream."""
    kind = problem.bank.kind
    blocks = problem.bank.take(problem.grouped[places])
    weights = [blocks.weights(place) for place in range(len(blocks))]
    total = np.zeros((len(blocks), len(blocks)))
    for role in part:
        tensors = [each[kind.roles[role].name] for each in weights]
        for face in faces(tensors, kind, role):
            if face.hidden is None:
                alike = likeness(_view(face))
                others = alike[~np.eye(len(alike), dtype=bool)]
                total += (alike - others.mean()) / max(float(others.std()), 1e-30)
    return total


def _view(face: Face) -> Floats:
    """What blocks do with the stream: a Gram matrix off its diagonal, or a vector."""
    if face.units.shape[2] == 1:
        return face.units[:, :, 0]
    return off_diagonal(face.units @ face.units.transpose(0, 2, 1))


def best_path(
    similarity: Similarity, clock: Clock, by: PathParameters = STANDARD
) -> NDArray[np.intp]:
    """A path through all blocks of large similarity of neighbours.

    The path starts as the order of the leading eigenvector (Atkins, Boman & Hendrickson 1998).
    Parts are reversed (2-opt, Croes 1958) or moved (or-opt, Or 1976) as long as that helps.
    """
    path = np.argsort(leading(similarity), kind="stable")
    while not clock.out:
        better = max(_changed(path, by.moved), key=lambda one: _value(similarity, one))
        if not _value(similarity, better) > _value(similarity, path) + by.least_gain:
            break
        path = better
    return path


def _changed(path: NDArray[np.intp], moved: int) -> Iterator[NDArray[np.intp]]:
    """The path with each part reversed, and each part of few blocks moved anywhere."""
    length = len(path)
    for a, b in combinations(range(length + 1), 2):
        rest, part = np.concatenate([path[:a], path[b:]]), path[a:b]
        yield np.insert(rest, a, part[::-1])
        for at in range(len(rest) + 1) if b - a <= moved else (0, len(rest)):
            yield np.insert(rest, at, part)
            yield np.insert(rest, at, part[::-1])


def _value(similarity: Similarity, path: NDArray[np.intp]) -> float:
    return float(similarity[path[:-1], path[1:]].sum())
