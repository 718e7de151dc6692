"""Paths: orders in which what neighbouring blocks do with the stream changes least.

What reads the stream and what writes to it changes slowly with depth. So Gram matrices of the axes
that face the stream, and vectors that do, are compared between blocks. Similarities of roles that
are tied together are added. The order is the path of largest similarity. Roles that nothing ties
together have paths of their own. The record tells which end of a path comes first.

Pieces of one role are more alike than those of two. So likeness also tells roles of one shape
apart, up to their names: the record tells which is which.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, permutations, product

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.bank import Bank, Stack
from unshuffle.grouping.evidence import Evidence
from unshuffle.grouping.units import Face, faces
from unshuffle.ordering.moves import exchange
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.seriation import correlations, leading, off_diagonal
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement, key, stretches
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import TINY, Floats


@dataclass(frozen=True)
class PathParameters:
    """Numbers that steer paths.

    Parameters
    ----------
    turned
        Paths of which all directions are tried. All others run in the direction of the last.
    most
        Arrangements that are made of the paths of some units, at most.
    moved
        Blocks that are moved together, at most.
    least_gain
        Similarity below which a change is rounding.
    """

    turned: int = 6
    most: int = 64
    moved: int = 3
    least_gain: float = 1e-9


STANDARD = PathParameters()

Similarity = NDArray[np.float64]  # shape (blocks, blocks)

# Places, some roles, and the pieces in them along a path: shape (places, roles).
Path = tuple[slice, Sequence[int], NDArray[np.intp]]


def path_arrangements(
    problem: Problem, clock: Clock, by: PathParameters = STANDARD
) -> list[Arrangement]:
    """The grouped pieces along their paths, in all directions; none where time runs out.

    Paths are of all units, and of what hidden units tie together.
    """
    if problem.bank.kind.edges or clock.out:
        return []
    evidence, found = problem.evidence, dict[bytes, Arrangement]()
    for units in dict.fromkeys((evidence.units, evidence.cores)):
        versions = _all_versions(problem, units, clock, by)
        for made in islice(_joined(problem.grouped, versions, by.turned), by.most):
            found[key(made)] = made
    return [*found.values()]


def _all_versions(
    problem: Problem, units: tuple[tuple[int, ...], ...], clock: Clock, by: PathParameters
) -> list[list[list[Path]]]:
    """The paths of all parts of the blocks: of units, and of other roles class by class."""
    versions: list[list[list[Path]]] = []
    for places in stretches(problem.grouped):
        held = np.flatnonzero(problem.grouped[places.start] != NO_PIECE).tolist()
        tied = [[r for r in each if r in held] for each in units]
        alone = {*held}.difference(*tied)
        pools = [[r for r in each if r in alone] for each in problem.bank.kind.classes]
        if places.stop - places.start > 1:
            versions += [_of_unit(problem, places, each, clock, by) for each in tied if each]
            versions += [_of_class(problem, places, each, clock, by) for each in pools if each]
    return versions


def _joined(
    grouped: Arrangement, versions: Sequence[Sequence[Sequence[Path]]], turned: int
) -> Iterator[Arrangement]:
    """Arrangements of one version of each part, with their paths in all directions."""
    if not versions:
        return
    for chosen in product(*versions):
        paths = [path for some in chosen for path in some]
        for backward in product((False, True), repeat=min(len(paths), turned)):
            made = grouped.copy()
            for k, (places, roles, pieces) in enumerate(paths):
                turn = -1 if backward[min(k, turned - 1)] else 1
                made[places, [*roles]] = pieces[::turn]
            yield made


def _of_class(
    problem: Problem, places: slice, roles: Sequence[int], clock: Clock, by: PathParameters
) -> list[list[Path]]:
    """Paths of the pieces in roles of one class, one for each role, for each way to name them.

    There are none where nothing that faces the stream is alike.
    """
    pool, count = problem.grouped[places][:, [*roles]].T.reshape(-1), len(roles)
    alike = _alike(problem.bank, roles[0], pool)
    if not alike.any():
        return [[]]
    path = best_path(alike, clock, by, count)
    each = pool[path].reshape(count, -1, 1)
    return [
        [(places, [role], one) for role, one in zip(named, each, strict=True)]
        for named in islice(permutations(roles), by.most)
    ]


def _of_unit(
    problem: Problem, places: slice, roles: Sequence[int], clock: Clock, by: PathParameters
) -> list[list[Path]]:
    """The path of roles that are tied together, for each way to name those that are untold."""
    bank, blocks = problem.bank, problem.grouped[places]
    untold = [
        pair
        for pair in bank.kind.turns()
        if {*pair} <= {*roles} and _untold(problem.evidence, blocks, pair)
    ]
    for pair in untold:
        blocks = _in_one_sense(bank, blocks, pair)
    alike = path_similarity(bank.take(blocks), roles)
    if not alike.any():
        return [[]]
    versions = [blocks[best_path(alike, clock, by)]]
    for pair in untold:
        every = np.arange(len(blocks))
        versions += [exchange(each, every, every, *pair) for each in versions]
    return [[(places, roles, each[:, [*roles]])] for each in versions]


def _untold(evidence: Evidence, blocks: Arrangement, pair: tuple[int, int]) -> bool:
    """Whether the evidence does not tell which of two roles is which in each block."""
    every = np.arange(len(blocks))
    change = evidence.of(exchange(blocks, every, every, *pair)) - evidence.of(blocks)
    return bool((np.abs(change) < 1).all())


def _in_one_sense(bank: Bank, blocks: Arrangement, pair: tuple[int, int]) -> Arrangement:
    """Blocks whose pieces in two roles are turned so that those in each role are alike."""
    count = len(blocks)
    alike = _alike(bank, pair[0], blocks[:, [*pair]].T.reshape(-1))
    alike = alike.reshape(2, count, 2, count)
    same = alike[0, :, 0] + alike[1, :, 1] - alike[0, :, 1] - alike[1, :, 0]
    np.fill_diagonal(same, 0.0)
    # Signs of blocks for which the sum over all pairs is large: a relaxation to the unit sphere.
    signs = np.linalg.eigh(same)[1][:, -1]
    other = np.flatnonzero(signs * signs[0] < 0)
    return exchange(blocks, other, other, *pair)


def _alike(bank: Bank, role: int, pieces: NDArray[np.intp]) -> Similarity:
    """How alike pieces of one class are, as in one role of a block."""
    alone = np.full((len(pieces), len(bank.kind.roles)), NO_PIECE)
    alone[:, role] = pieces
    return path_similarity(bank.take(alone), (role,))


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
            if face.hidden is None and face.length > 1:
                alike = correlations(_view(face))
                others = alike[~np.eye(len(alike), dtype=bool)]
                spread = max(float(others.std()), TINY)
                total[np.ix_(held, held)] += (alike - others.mean()) / spread
    np.fill_diagonal(total, 0.0)
    return np.nan_to_num(total)  # weights may be so large that nothing can be said of them


def _view(face: Face) -> Floats:
    """What blocks do with the stream: a Gram matrix off its diagonal, or a vector."""
    each = map(face.units, range(len(face)))
    if face.numbers == 1:
        return np.stack([units[:, 0] for units in each])
    return np.stack([off_diagonal(units @ units.T) for units in each])


def best_path(
    similarity: Similarity, clock: Clock, by: PathParameters = STANDARD, count: int = 1
) -> NDArray[np.intp]:
    """A path through all blocks of large similarity of neighbours, or so many paths of one length.

    Paths lie one behind the other. They start as the order of the leading eigenvector (Atkins,
    Boman & Hendrickson 1998). Parts are reversed (2-opt, Croes 1958) or moved (or-opt, Or 1976) as
    long as that helps.
    """
    path = np.argsort(leading(similarity), kind="stable")
    counts = np.arange(1, len(path)) % (len(path) // count) != 0  # not from one path to the next

    def value(one: NDArray[np.intp]) -> float:
        return float(similarity[one[:-1], one[1:]] @ counts)

    while not clock.out:
        better = max(_changed(path, by.moved), key=value)
        if not value(better) > value(path) + by.least_gain:
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
