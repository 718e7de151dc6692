"""Which pieces share a block, for roles with tensors of any shape: links between two roles.

A face is an axis of a tensor: the hidden units of a layer, or the stream that it reads or writes.
Two pieces of one block that share an axis treat its units alike. Units that one piece writes and
the other reads point the same way (sum of squared cosines), units that are alike in one are alike
in the other (their Gram matrices correlate), and units that are large in one are large in the other
(their norms correlate). The same holds, more weakly, of the stream: what neighbouring layers do
with its directions is alike.

Which axes are the same hidden units is known from the kind; all others face the stream. A link
counts where its best matching stands out from all other pairs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.grouping.matching import optimal_matching
from unshuffle.grouping.signals import Scores
from unshuffle.pieces.blueprint import Arrangement, Kind
from unshuffle.pieces.pile import Floats, Pile

TINY = 1e-30


@dataclass(frozen=True)
class LinkParameters:
    """Numbers that steer links.

    Parameters
    ----------
    least
        Standard deviations of all other pairs by which the matched pairs of a link must stand out
        on average.
    surely
        Standard deviations by which those of a link by the stream must stand out more than those
        of random scores do.
    draws
        Matchings of random scores that this is told from.
    rounds
        Rounds of assigning each role anew to the blocks that all links agree on.
    """

    least: float = 3.0
    surely: float = 5.0
    draws: int = 100
    rounds: int = 4


@dataclass(frozen=True, eq=False)
class Face:
    """An axis of the tensors in a role, by piece: (pieces, units, numbers of a unit)."""

    units: Floats
    hidden: int | None  # the number of the hidden units that these are; None for the stream

    @property
    def length(self) -> int:
        """How many units the axis has."""
        return int(self.units.shape[1])


@dataclass(frozen=True, eq=False)
class Link:
    """What speaks for two pieces sharing a block, in two roles: scores of shape (I, J)."""

    first: int
    second: int
    scores: Scores  # in standard deviations of pairs that do not belong together
    strength: float  # mean of the matched pairs

    def log_odds(self) -> Scores:
        """Natural log-odds, as Fisher's discriminant (1936) of matched and other pairs."""
        count = max(len(self.scores), 2)
        odds: Scores = self.strength * self.scores - self.strength**2 / 2 - np.log(count)
        return odds


def faces(tensors: Sequence[Mapping[str, Floats]], kind: Kind, role: int) -> Iterator[Face]:
    """The axes of the tensors of pieces in a role."""
    for name, shape in kind.shapes(role).items():
        stacked = np.stack([each[name] for each in tensors]).astype(np.float64)
        for axis in range(min(len(shape), 2)):
            units = np.moveaxis(stacked, axis + 1, 1)
            units = units.reshape(*units.shape[:2], -1)
            yield Face(units, kind.units(role, name, axis))


def links(roles: Mapping[int, Sequence[Face]], blocks: int, by: LinkParameters) -> list[Link]:
    """The links that stand out, at most one for each two roles, the strongest first."""
    found: list[Link] = []
    least = _least(blocks, by)
    for a, b in combinations(roles, 2):
        scored = []
        for one, other in product(roles[a], roles[b]):
            if one.length == other.length and one.hidden == other.hidden:
                link = _link(a, b, one, other)
                if link.strength >= (least if one.hidden is None else by.least):
                    scored.append(link)
        found += sorted(scored, key=lambda link: -link.strength)[:1]
    return sorted(found, key=lambda link: -link.strength)


def _least(blocks: int, by: LinkParameters) -> float:
    """What the matched pairs of a link of so many blocks must be worth not to be chance."""
    rng = np.random.default_rng(0)
    scores = (_standardised(rng.normal(size=(blocks, blocks))) for _ in range(by.draws))
    chance = np.array([_measured(0, 0, each).strength for each in scores])
    return max(by.least, float(chance.mean() + by.surely * chance.std()))


def _link(first: int, second: int, one: Face, other: Face) -> Link:
    """How far matched pairs stand out, for the axes of two roles that may be the same."""
    signals = [_norms(one, other)]
    if min(one.units.shape[2], other.units.shape[2]) > 1:
        signals.append(_grams(one, other))
        if one.units.shape[2] == other.units.shape[2]:
            signals.append(_squared_cosines(one, other))
    standard = [_standardised(scores) for scores in signals]
    links = [_measured(first, second, scores) for scores in standard]
    if len(standard) > 1:
        links.append(_measured(first, second, sum(standard[1:], standard[0])))
    return max(links, key=lambda link: link.strength)


def _measured(first: int, second: int, scores: Scores) -> Link:
    """Scores in standard deviations of the pairs that are not matched."""
    matched = np.zeros(scores.shape, bool)
    matched[tuple(optimal_matching(scores).T)] = True
    others = scores[~matched]
    if not others.size:
        return Link(first, second, np.zeros_like(scores), 0.0)
    scores = (scores - others.mean()) / max(float(others.std()), TINY)
    return Link(first, second, scores, float(scores[matched].mean()))


def _standardised(scores: Scores) -> Scores:
    """Centre rows and columns and scale to unit variance; a constant signal becomes 0."""
    scores = scores - scores.mean(axis=0)
    scores -= scores.mean(axis=1, keepdims=True)
    spread = float(scores.std())
    return scores / spread if spread > TINY else np.zeros_like(scores)


def _correlations(one: NDArray[np.float64], other: NDArray[np.float64]) -> Scores:
    """Cosines between vectors, less the mean of their role: shapes (I, n) and (J, n)."""
    first, second = (each - each.mean(axis=0) for each in (one, other))
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), TINY)
    second /= np.maximum(np.linalg.norm(second, axis=1, keepdims=True), TINY)
    cosines: Scores = first @ second.T
    return cosines


def _norms(one: Face, other: Face) -> Scores:
    """Correlation of the logarithms of the units' norms."""
    logs = [np.log(np.linalg.norm(each.units, axis=2) + TINY) for each in (one, other)]
    return _correlations(*(each - each.mean(axis=1, keepdims=True) for each in logs))


def _grams(one: Face, other: Face) -> Scores:
    """Correlation of the Gram matrices of units, off their diagonals."""
    across = ~np.eye(one.length, dtype=bool)
    grams = (each.units @ each.units.transpose(0, 2, 1) for each in (one, other))
    return _correlations(*(each[:, across] for each in grams))


def _squared_cosines(one: Face, other: Face) -> Scores:
    """Sum over units of the squared cosine of what they read and write."""
    first, second = (
        each.units / np.maximum(np.linalg.norm(each.units, axis=2, keepdims=True), TINY)
        for each in (one, other)
    )
    scores: Scores = np.stack(
        [np.square(np.einsum("kd,jkd->jk", row, second)).sum(axis=1) for row in first]
    )
    return scores


def linked(
    members: Sequence[NDArray[np.intp]], found: Sequence[Link], by: LinkParameters
) -> tuple[Arrangement, Evidence]:
    """Blocks that links speak for, in any order, and the evidence on them.

    `members` has the positions in the pile of the pieces of each role, one for each block.
    """
    blocks, roles = len(members[0]), len(members)
    numbers = np.tile(np.arange(blocks)[:, None], roles)  # of the pieces among those of their role
    units: list[tuple[int, ...]] = [(role,) for role in range(roles)]
    for link in found:
        one, other = (next(u for u in units if role in u) for role in (link.first, link.second))
        if one == other:
            continue
        sequence = np.empty(blocks, np.intp)  # the block that the second unit comes from
        pairs = optimal_matching(link.scores)
        sequence[_inverse(numbers[:, link.first])[pairs[:, 0]]] = _inverse(numbers[:, link.second])[
            pairs[:, 1]
        ]
        numbers[:, other] = numbers[sequence][:, other]
        units = [unit for unit in units if unit not in (one, other)] + [tuple(sorted(one + other))]
    for _ in range(by.rounds):
        before = numbers.copy()
        for role in range(roles):
            _assign(numbers, role, found)
        if np.array_equal(numbers, before):
            break
    positions = [each[numbers[:, role]] for role, each in enumerate(members)]
    tied = tuple(unit for unit in units if 1 < len(unit) < roles)
    return np.stack(positions, axis=1), Evidence(
        tuple(_edge(link, members) for link in found), tied
    )


def _assign(numbers: NDArray[np.intp], role: int, found: Sequence[Link]) -> None:
    """Give the pieces of a role to the blocks that all links together speak for."""
    votes = np.zeros((len(numbers), len(numbers)))  # of pieces, for blocks
    for link in found:
        if role == link.first:
            votes += link.log_odds()[:, numbers[:, link.second]]
        elif role == link.second:
            votes += link.log_odds()[numbers[:, link.first]].T
    if votes.any():
        pieces, blocks = optimal_matching(votes).T
        numbers[blocks, role] = pieces


def _inverse(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    inverse: NDArray[np.intp] = np.argsort(numbers)
    return inverse


def _edge(link: Link, members: Sequence[NDArray[np.intp]]) -> EdgeOdds:
    """A link as evidence on positions in the pile."""
    count = 1 + max(int(each.max()) for each in members)
    rows, columns = (np.full(count, -1, np.intp) for _ in range(2))
    rows[members[link.first]] = np.arange(len(members[link.first]))
    columns[members[link.second]] = np.arange(len(members[link.second]))
    return EdgeOdds(link.first, link.second, link.log_odds(), rows, columns)


def group_by_links(
    pile: Pile, kind: Kind, by: LinkParameters | None = None
) -> tuple[Arrangement, Evidence]:
    """Group the pieces of a whole pile into blocks of a kind that names no edges.

    Pieces of roles that share a class lie there in any sequence: the record has to tell.
    """
    by = by or LinkParameters()
    members: list[NDArray[np.intp]] = []
    for role in range(len(kind.roles)):
        alike = next(each for each in kind.classes if role in each)
        fitting = [p for p, piece in enumerate(pile) if piece.shapes == kind.shapes(role)]
        members.append(np.array(fitting[alike.index(role) :: len(alike)], np.intp))
    told = [each[0] for each in kind.classes if len(each) == 1]
    of_role = {
        role: [*faces([pile[p].tensors for p in members[role]], kind, role)] for role in told
    }
    return linked(members, links(of_role, len(members[0]), by), by)
