"""Which pieces share a block, for roles with tensors of any shape: links between two roles.

A face is an axis of a tensor: the hidden units of a layer, or the stream that it reads or writes.
Two pieces of one block that share an axis treat its units alike.

- What one piece writes and the other reads points the same way (sum of squared cosines).
- Units that are alike in one are alike in the other (their Gram matrices correlate).
- Units that are large in one are large in the other (their norms correlate).

The same holds, more weakly, of the stream's directions in neighbouring layers.

The kind says which axes, or chunks of them, are the same hidden units. All others face the stream.
A link counts if its best matching stands out from all other pairs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.grouping.matching import optimal_matching
from unshuffle.grouping.signals import Scores
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement, Kind
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import TINY, Floats, Pile


@dataclass(frozen=True)
class LinkParameters:
    """Numbers that steer links.

    Parameters
    ----------
    least
        Lead that the matched pairs of a link must have on average, in standard deviations of all
        other pairs.
    rare, rarest
        Parts of all matchings of random scores that may stand out as much as a link: by hidden
        units, and by the stream.
    draws
        Matchings of random scores that this is told from.
    rounds
        Rounds of assigning each role, and what hidden units tie together, anew to the blocks that
        all links agree on.
    held
        Numbers of the units or Gram matrices of all pieces in a role that are held at a time.
    most_parts
        Parts of a block up to which all unions of them are exchanged; of more, unions of two.
    """

    least: float = 3.0
    rare: float = 0.03
    rarest: float = 0.001
    draws: int = 1000
    rounds: int = 4
    held: int = 1 << 18
    most_parts: int = 4


STANDARD = LinkParameters()

EVERY = slice(None)


@dataclass(frozen=True, eq=False)
class Face:
    """An axis of the tensors in a role, by piece. Nothing is copied before it is looked at.

    Parameters
    ----------
    tensors
        A tensor of each piece.
    hidden
        The number of the hidden units that the axis is of; None for the stream.
    axis, chunk, chunks
        Which axis of the tensors it is, or which of so many equal chunks of it.
    heads, times
        Into so many parts the axis is cut, and each of them counts so many times in a row.
    """

    tensors: Sequence[Floats]
    hidden: int | None
    axis: int = 0
    chunk: int = 0
    chunks: int = 1
    heads: int = 1
    times: int = 1

    def __len__(self) -> int:
        return len(self.tensors)

    @property
    def length(self) -> int:
        """How many units the axis has."""
        return int(self.tensors[0].shape[self.axis]) // self.chunks * self.times

    @property
    def numbers(self) -> int:
        """How many numbers a unit has."""
        return int(self.tensors[0].size) // int(self.tensors[0].shape[self.axis])

    def units(self, piece: int, some: slice = EVERY) -> Floats:
        """The units of a piece, or some of them, in double precision: shape (units, numbers)."""
        units = np.moveaxis(self.tensors[piece], self.axis, 0)
        if self.chunks > 1:
            length = len(units) // self.chunks
            units = units[self.chunk * length :][:length]
        if self.times > 1:
            parts = units.reshape(self.heads, -1, *units.shape[1:]).repeat(self.times, axis=0)
            units = parts.reshape(-1, *units.shape[1:])
        return units[some].reshape(-1, self.numbers).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Link:
    """What speaks for two pieces sharing a block, in two roles: scores of shape (I, J)."""

    first: int
    second: int
    scores: Scores  # in standard deviations of pairs that do not belong together
    strength: float  # mean of the matched pairs
    gap: float  # mean of these less their best rivals
    axes: tuple[int, int] = (0, 0)  # numbers of the axes, among those of each role
    hidden: bool = True  # whether these are hidden units, and not the stream

    def log_odds(self) -> Scores:
        """Natural log-odds, as Fisher's discriminant (1936) of matched and other pairs."""
        count = max(*self.scores.shape, 2)
        odds: Scores = self.strength * self.scores - self.strength**2 / 2 - np.log(count)
        return odds


def faces(tensors: Sequence[Mapping[str, Floats]], kind: Kind, role: int) -> Iterator[Face]:
    """The axes of the tensors of pieces in a role, chunk by chunk."""
    for name, shape in kind.shapes(role).items():
        for axis in range(min(len(shape), 2)):
            units = kind.units(role, name, axis)
            for chunk, hidden in enumerate(units):
                yield Face([each[name] for each in tensors], hidden, axis, chunk, len(units))


def links(roles: Mapping[int, Sequence[Face]], clock: Clock, by: LinkParameters) -> list[Link]:
    """The links that stand out, at most one for each two roles, the strongest first."""
    found: list[Link] = []
    for a, b in combinations(roles, 2):
        if clock.out:
            break
        shape = len(roles[a][0]), len(roles[b][0])
        scored = []
        for (m, first), (n, second) in product(enumerate(roles[a]), enumerate(roles[b])):
            for one, other in aligned(first, second):
                link, hidden = _link(a, b, one, other, by), one.hidden is not None
                part = by.rare if hidden else by.rarest
                if link.strength >= max(by.least, _least(shape, by.draws, part)):
                    scored.append(replace(link, axes=(m, n), hidden=hidden))
        found += sorted(scored, key=lambda link: -link.strength)[:1]
    return sorted(found, key=lambda link: -link.strength)


def _least(shape: tuple[int, int], draws: int, part: float) -> float:
    """What the matched pairs of a link must be worth, for so many pieces, not to be chance."""
    return float(np.quantile(_chance(shape, draws), 1 - part))


@cache
def _chance(shape: tuple[int, int], draws: int) -> NDArray[np.float64]:
    """What matched pairs of random scores are worth. Of few pieces, few other pairs are left."""
    rng = np.random.default_rng(0)
    scores = (standardised(rng.normal(size=shape)) for _ in range(draws))
    return np.array([measured(0, 0, each).strength for each in scores])


def aligned(one: Face, other: Face) -> Iterator[tuple[Face, Face]]:
    """Two faces of as many units each, if they may be the same.

    Units of one may be shared by several of the other, as keys are by queries. Then whole heads of
    them are repeated. How many heads there are is not known.
    """
    if one.hidden != other.hidden:
        return
    if one.length == other.length:
        yield one, other
        return
    times, rest = divmod(max(one.length, other.length), min(one.length, other.length))
    if one.hidden is None or rest:
        return
    if one.length > other.length:
        yield from ((large, small) for small, large in aligned(other, one))
        return
    for heads in range(1, one.length + 1):
        if one.length % heads == 0:
            yield replace(one, heads=heads, times=times), other


def _link(first: int, second: int, one: Face, other: Face, by: LinkParameters) -> Link:
    """How far matched pairs stand out, for the axes of two roles that may be the same.

    Of several signals, that one counts whose matched pairs lie farthest before their best rivals.
    """
    signals = [norm_correlations(one, other)]
    if min(one.numbers, other.numbers) > 1:
        signals.append(gram_correlations(one, other, by))
        if one.numbers == other.numbers:
            signals.append(squared_cosines(one, other, by))
    standard = [standardised(scores) for scores in signals]
    links = [measured(first, second, scores) for scores in standard]
    if len(standard) > 1:
        links.append(measured(first, second, sum(standard[1:], standard[0])))
    return max(links, key=lambda link: link.gap)


def measured(first: int, second: int, scores: Scores) -> Link:
    """Scores in standard deviations of the pairs that are not matched."""
    matched = np.zeros(scores.shape, bool)
    matched[tuple(optimal_matching(scores).T)] = True
    others = scores[~matched]
    if not others.size:
        return Link(first, second, np.zeros_like(scores), 0.0, 0.0)
    scores = (scores - others.mean()) / max(float(others.std()), TINY)
    rivals = np.where(matched, -np.inf, scores)
    best = np.maximum(rivals.max(axis=0, keepdims=True), rivals.max(axis=1, keepdims=True))
    gaps = (scores - best)[matched]
    gap = float(gaps[np.isfinite(gaps)].mean()) if np.isfinite(gaps).any() else 0.0
    return Link(first, second, scores, float(scores[matched].mean()), gap)


def standardised(scores: Scores) -> Scores:
    """Centre rows and columns and scale to unit variance; a constant signal becomes 0."""
    scores = scores - scores.mean(axis=0)
    scores -= scores.mean(axis=1, keepdims=True)
    spread = float(scores.std())
    return scores / spread if spread > TINY else np.zeros_like(scores)


def _correlations(parts: Iterable[tuple[Floats, Floats]]) -> Scores:
    """Cosines between vectors, less the mean of their role: parts of shapes (I, n) and (J, n)."""
    cosines, sizes = np.zeros((1, 1)), [np.zeros(1), np.zeros(1)]
    for part in parts:
        first, second = (each - each.mean(axis=0) for each in part)
        cosines = cosines + first @ second.T
        squares = (np.einsum("in,in->i", each, each) for each in (first, second))
        sizes = [one + more for one, more in zip(sizes, squares, strict=True)]
    first, second = (np.maximum(np.sqrt(each), TINY) for each in sizes)
    scores: Scores = cosines / first[:, None] / second
    return scores


def norm_correlations(one: Face, other: Face) -> Scores:
    """Correlation of the logarithms of the units' norms."""
    logs = (
        np.log([np.linalg.norm(face.units(piece), axis=1) + TINY for piece in range(len(face))])
        for face in (one, other)
    )
    first, second = (each - each.mean(axis=1, keepdims=True) for each in logs)
    return _correlations([(first, second)])


def gram_correlations(one: Face, other: Face, by: LinkParameters = STANDARD) -> Scores:
    """Correlation of the Gram matrices of units, off their diagonals."""
    numbers = np.arange(one.length)

    def products(face: Face, some: slice) -> Floats:
        across = numbers[some, None] != numbers
        each = map(face.units, range(len(face)))
        return np.stack([(units[some] @ units.T)[across] for units in each])

    parts = _parts(one, other, one.length, by)
    return _correlations((products(one, some), products(other, some)) for some in parts)


def squared_cosines(one: Face, other: Face, by: LinkParameters = STANDARD) -> Scores:
    """Sum over units of the squared cosine of what they read and write."""
    scores: Scores = np.zeros((len(one), len(other)))
    for some in _parts(one, other, one.numbers, by):
        stacks = (
            np.stack([face.units(piece, some) for piece in range(len(face))], axis=1)
            for face in (one, other)
        )
        first, second = (
            units / np.maximum(np.linalg.norm(units, axis=2, keepdims=True), TINY)
            for units in stacks
        )
        scores += np.square(first @ second.transpose(0, 2, 1)).sum(axis=0)
    return scores


def _parts(one: Face, other: Face, width: int, by: LinkParameters) -> Iterator[slice]:
    """The units of two faces, few at a time, where so many numbers are made of each."""
    at_once = max(1, by.held // (width * max(len(one), len(other))))
    return (slice(start, start + at_once) for start in range(0, one.length, at_once))


def partners(
    tensors: Sequence[Mapping[str, Floats]],
    kind: Kind,
    alike: Sequence[int],
    held: NDArray[np.bool_],
) -> dict[int, NDArray[np.intp]]:
    """Pieces of one class for those of its roles that share hidden units with another of them.

    The axes that fit each other best tell which two roles a pair of pieces is in, and which piece
    is in which. The best pairs come first, until the slots of two roles are full. Where an exchange
    of the two axes fits as well, the record decides.
    """
    scored = []
    for a, b in combinations(alike, 2):
        if (held[:, a] != held[:, b]).any():
            continue
        for one, other in product(faces(tensors, kind, a), faces(tensors, kind, b)):
            same = one.hidden is not None and one.hidden == other.hidden
            if same and min(one.numbers, other.numbers) > 1:
                scored.append((a, b, _standing_out(one, other)))
    if not scored:
        return {}
    found: dict[int, list[int]] = {role: [] for a, b, _ in scored for role in (a, b)}
    room = {(a, b): int(held[:, a].sum()) for a, b, _ in scored}
    free = np.ones(len(tensors), bool)
    ranked = np.argsort(-np.stack([scores for _, _, scores in scored]), axis=None, kind="stable")
    for flat in ranked.tolist():
        number, pair = divmod(flat, len(tensors) ** 2)
        (a, b, _), (p, q) = scored[number], divmod(pair, len(tensors))
        if p != q and free[p] and free[q] and room[a, b]:
            free[[p, q]], room[a, b] = False, room[a, b] - 1
            found[a].append(p)
            found[b].append(q)
    return {
        role: np.array(some, np.intp)
        for role, some in found.items()
        if len(some) == held[:, role].sum()
    }


def _standing_out(one: Face, other: Face) -> Scores:
    """How far pairs among pieces of one class stand out from the median pair, by two signals."""
    total = np.zeros((len(one), len(other)))
    across = ~np.eye(len(total), dtype=bool)
    signals = [gram_correlations(one, other)]
    if one.numbers == other.numbers:
        signals.append(squared_cosines(one, other))
    for scores in signals:
        median = np.median(scores[across])
        spread = np.median(np.abs(scores[across] - median))
        total += (scores - median) / max(float(spread), TINY)
    return total


def linked(
    kind: Kind,
    held: NDArray[np.bool_],
    members: Sequence[NDArray[np.intp]],
    found: Sequence[Link],
    by: LinkParameters,
) -> tuple[Arrangement, Evidence]:
    """Blocks that links speak for, in any order, and the evidence on them.

    `held` says which places have slots of which roles, shape (places, roles). `members` has the
    positions in the pile of the pieces of each role, one for each of these places.
    """
    roles = len(members)
    # Of the piece in each place, among those of its role; -1 where there is no slot.
    numbers = np.where(held, np.cumsum(held, axis=0) - 1, NO_PIECE)
    units: list[tuple[int, ...]] = [(role,) for role in range(roles)]
    cores = units
    for link in found:
        if link.hidden:
            cores = _united(cores, link)
        one, other = (next(u for u in units if role in u) for role in (link.first, link.second))
        if one != other and _joined(numbers, held, link, one, other):
            units = _united(units, link)
    for _ in range(by.rounds):
        before = numbers.copy()
        for part in [*((role,) for role in range(roles)), *cores]:
            _assign(numbers, part, found)
        if np.array_equal(numbers, before):
            break
    positions = [np.append(each, NO_PIECE)[numbers[:, r]] for r, each in enumerate(members)]
    tied, told = (tuple(unit for unit in each if 1 < len(unit) < roles) for each in (units, cores))
    edges = tuple(_edge(link, members, kind) for link in found)
    return np.stack(positions, axis=1), Evidence(edges, tied, told, by.most_parts)


def _united(units: list[tuple[int, ...]], link: Link) -> list[tuple[int, ...]]:
    """Units of roles of which two are one by a link."""
    met = [unit for unit in units if link.first in unit or link.second in unit]
    return [u for u in units if u not in met] + [tuple(sorted(role for u in met for role in u))]


def _joined(
    numbers: NDArray[np.intp],
    held: NDArray[np.bool_],
    link: Link,
    one: tuple[int, ...],
    other: tuple[int, ...],
) -> bool:
    """Bring two units into the same places as the matched pairs of a link; whether that can be.

    The one with slots in more places is moved. Units of several forms that overlap stay apart.
    """
    first, second = link.first, link.second
    pairs = optimal_matching(link.scores)
    if (held[:, first] > held[:, second]).any() and (held[:, second] > held[:, first]).any():
        return False
    if held[:, first].sum() > held[:, second].sum():
        first, second, one, other, pairs = second, first, other, one, pairs[:, ::-1]
    places = {
        role: np.flatnonzero(held[:, role])[np.argsort(numbers[held[:, role], role])]
        for role in (first, second)
    }
    if any((held[:, role] != held[:, second]).any() for role in other):
        return False
    sources, targets = places[second][pairs[:, 1]], places[first][pairs[:, 0]]
    every = np.flatnonzero(held[:, second])
    moved = numbers.copy()
    moved[targets] = numbers[sources]
    moved[np.setdiff1d(every, targets)] = numbers[np.setdiff1d(every, sources)]
    numbers[:, other] = moved[:, other]
    return True


def _assign(numbers: NDArray[np.intp], roles: tuple[int, ...], found: Sequence[Link]) -> None:
    """Give what places have in some roles to the places that all other links speak for."""
    held = numbers[:, roles] != NO_PIECE
    places = np.flatnonzero(held.any(axis=1))
    if not held[places].all():
        return
    votes = np.zeros((len(places), len(places)))  # of what a place has, for places
    for link in found:
        if (link.first in roles) != (link.second in roles):
            odds, own, other = link.log_odds(), link.first, link.second
            if other in roles:
                odds, own, other = odds.T, other, own
            there = numbers[places, other]
            each = odds[numbers[places, own]][:, there]
            votes += np.where(there == NO_PIECE, 0.0, each)
    if votes.any():
        sources, targets = optimal_matching(votes).T
        numbers[places[targets][:, None], roles] = numbers[places[sources][:, None], roles]


def _edge(link: Link, members: Sequence[NDArray[np.intp]], kind: Kind) -> EdgeOdds:
    """A link as evidence on positions in the pile.

    Where it is of the same axis in two roles of one class, it does not tell which is which.
    """
    first, second, odds = members[link.first], members[link.second], link.log_odds()
    if (link.first, link.second) in kind.turns() and link.axes[0] == link.axes[1]:
        apart = np.full((len(odds), len(odds)), odds.min())
        odds = np.block([[apart, odds], [odds.T, apart]])
        first = second = np.concatenate([first, second])
    count = 1 + max(int(each.max()) for each in members)
    # The last entry is of no piece, on which nothing is known.
    rows, columns = (np.full(count + 1, -1, np.intp) for _ in range(2))
    rows[first], columns[second] = np.arange(len(first)), np.arange(len(second))
    odds = np.pad(odds, ((0, 1), (0, 1)))
    return EdgeOdds(link.first, link.second, odds, rows, columns)


def group_by_links(
    pile: Pile, kind: Kind, clock: Clock, by: LinkParameters | None = None
) -> tuple[Arrangement, Evidence]:
    """Group the pieces of a whole pile into blocks of a kind that names no edges.

    Pieces of roles that share a class lie there in any sequence, and the record has to tell. So do
    all pieces of roles that were not compared before time ran out.
    """
    by = by or STANDARD
    fitting = {
        each: np.array(
            [p for p, piece in enumerate(pile) if piece.shapes == kind.shapes(each[0])], np.intp
        )
        for each in kind.classes
    }
    roles = range(len(kind.roles))
    if kind.variants:
        held = np.array([[role in form for role in roles] for form in kind.variants])
    else:
        each, pieces = next(iter(fitting.items()))
        held = np.ones((len(pieces) // len(each), len(kind.roles)), bool)
    members = [np.empty(0, np.intp) for _ in roles]
    for each, pieces in fitting.items():
        ends = np.cumsum(held[:, [*each]].sum(axis=0))[:-1]
        for role, some in zip(each, np.split(pieces, ends), strict=True):
            members[role] = some
    told = [each[0] for each in kind.classes if len(each) == 1]
    for each, pieces in fitting.items():
        if len(each) > 1 and not clock.out:
            found = partners([pile[p].tensors for p in pieces.tolist()], kind, each, held)
            members = [pieces[found[r]] if r in found else one for r, one in enumerate(members)]
            told += found
    of_role = {
        role: [*faces([pile[p].tensors for p in members[role].tolist()], kind, role)]
        for role in sorted(told)
        if len(members[role]) > 1
    }
    return linked(kind, held, members, links(of_role, clock, by), by)
