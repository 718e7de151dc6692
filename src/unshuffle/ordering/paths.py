"""Paths: orders in which what neighbouring blocks do with the stream changes least.

What reads the stream and what writes to it changes slowly with depth. So Gram matrices of the axes
that face the stream, and vectors that do, are compared between blocks. Similarities of roles that
are tied together are added. The order is the path of largest similarity. Roles that nothing ties
together have paths of their own. The record tells which end of a path comes first.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.bank import Stack
from unshuffle.grouping.units import Face, faces
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.seriation import leading, likeness, off_diagonal
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement, stretches
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import TINY, Floats


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
                stack = problem.bank.take(grouped[places])
                path = best_path(path_similarity(stack, roles), clock, by)
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


def path_similarity(blocks: Stack, roles: Iterable[int] | None = None) -> Similarity:
    """How alike blocks are in what they do with the stream, in some roles or in all.

    It is a sum over axes and vectors that face the stream. Each is in standard deviations of all
    pairs of blocks that have it. No block is compared with itself.
    """
    kind, count = blocks.kind, len(blocks)
    weights = [blocks.weights(place) for place in range(count)]
    total = np.zeros((count, count))
    for role in range(len(kind.roles)) if roles is None else roles:
        name = kind.roles[role].name
        held = [place for place, each in enumerate(weights) if name in each]
        if len(held) < 2:
            continue
        for face in faces([weights[place][name] for place in held], kind, role):
            if face.hidden is None:
                alike = likeness(_view(face))
                others = alike[~np.eye(len(alike), dtype=bool)]
                spread = max(float(others.std()), TINY)
                total[np.ix_(held, held)] += (alike - others.mean()) / spread
    np.fill_diagonal(total, 0.0)
    return np.nan_to_num(total)  # weights may be so large that nothing can be said of them


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
