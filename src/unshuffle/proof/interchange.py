"""What can change places, and the network still computes the same.

Such are equal pieces, and whole blocks whose hidden units stand in another sequence. Such is the
bias of a key without rotary positions, which adds the same to all scores of a query. No record
tells which of them is where. So they are no rivals, and an answer holds up to their exchange.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Network, mean_square
from unshuffle.ordering.moves import NO_ROLE, Moves
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.effort import EFFORT, Effort
from unshuffle.proof.independence import STANDARD as SAME
from unshuffle.proof.independence import same_rows
from unshuffle.proof.tolerance import UNIT

Slot = tuple[int, int]  # a place, and the number of a role
Part = tuple[Slot, ...]  # of one block


@dataclass(frozen=True)
class Interchange:
    """Groups of parts of an arrangement: those of one group can change places."""

    groups: tuple[tuple[Part, ...], ...] = ()

    def same(self, one: Part, other: Part) -> bool:
        """Whether an exchange of two parts changes nothing: as a whole, or slot by slot."""
        if any(one in group and other in group for group in self.groups):
            return True
        several = len(one) == len(other) > 1
        return several and all(self.same((a,), (b,)) for a, b in zip(one, other, strict=True))

    def idle(self, moves: Moves, arrangement: Arrangement) -> NDArray[np.bool_]:
        """Which moves change nothing: shape (moves,)."""
        if not self.groups:
            return np.zeros(len(moves), bool)
        parts = (_parts(moves, move, arrangement) for move in range(len(moves)))
        return np.array([pair is not None and self.same(*pair) for pair in parts], bool)

    def of_blocks(self, arrangement: Arrangement, first: int, second: int) -> bool:
        """Whether the blocks of two places compute the same."""
        return self.same(_whole(arrangement, first), _whole(arrangement, second))

    def numbered(self, arrangement: Arrangement) -> tuple[tuple[Part, ...], ...]:
        """The groups, with the number of a slot among those of its block in place of its role."""
        number = (np.cumsum(arrangement != NO_PIECE, axis=1) - 1).tolist()

        def numbered(part: Part) -> Part:
            return tuple((place, number[place][role]) for place, role in part)

        return tuple(tuple(map(numbered, group)) for group in self.groups)


def find_interchange(
    problem: Problem,
    arrangement: Arrangement,
    moves: Moves,
    rows: Records,
    effort: Effort = EFFORT,
) -> Interchange:
    """The parts of an arrangement that can change places, among those that moves exchange.

    The blocks must make the same of states of every row and every depth with either part. The
    outputs must stay as they are when all parts of a group change places. Some rows say which
    blocks may be alike, and all rows of the record have the last word.
    """
    known, network = problem.known, problem.network(arrangement)
    whole = alike_blocks(network, rows) and alike_blocks(network, known)
    groups = [tuple(_whole(arrangement, place) for place in places) for places in whole]
    size = effort.negligible * np.sqrt(mean_square(known.predictions))
    small = np.flatnonzero(np.abs(moves.effects).max(axis=1, initial=0.0) <= size)
    pairs = [pair for move in small.tolist() if (pair := _parts(moves, move, arrangement))]
    if pairs:
        check = _Check.of(problem, arrangement)
        groups += [group for group in _joined(pairs, check) if check.outputs_stay(group)]
    return Interchange(_without_unions(groups))


def alike_blocks(network: Network, known: Records) -> tuple[tuple[int, ...], ...]:
    """Places of blocks that compute the same on the states that rows of a record pass through.

    Units in another sequence, or scaled, make another block of the same function. They are compared
    on states of every row and every depth, once each.
    """
    depths, states = _on_the_way(network, known)
    found: list[tuple[int, ...]] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for places in _of_one_form(network):
            # A block cannot be run on the states of places of another form.
            own = states[np.isin(depths, places)]
            after = [network.blocks.apply(place, own) for place in places]
            groups = same_rows(np.stack(after).reshape(len(after), -1))
            found += (tuple(sorted(places[k] for k in group)) for group in groups if len(group) > 1)
    return tuple(sorted(found))


@dataclass(frozen=True, eq=False)
class _Check:
    """Whether exchanges change anything, in double precision."""

    problem: Problem
    arrangement: Arrangement
    network: Network
    states: dict[int, Floats]  # that the block of each place is compared on

    @classmethod
    def of(cls, problem: Problem, arrangement: Arrangement) -> "_Check":
        """On states of every row and every depth, as far as they have the form of a place."""
        network = problem.network(arrangement).astype(np.float64)
        depths, states = _on_the_way(network, problem.known)
        forms = {place: places for places in _of_one_form(network) for place in places}
        own = {place: states[np.isin(depths, places)] for place, places in forms.items()}
        return cls(problem, arrangement, network, own)

    def blocks_stay(self, one: Part, other: Part) -> bool:
        """Whether the blocks of two parts make the same of states with either."""
        made = _exchanged(self.arrangement, (one, other))
        return all(
            _agree(*(self._block(each[[place]], place) for each in (self.arrangement, made)))
            for place in {one[0][0], other[0][0]}
        )

    def _block(self, row: Arrangement, place: int) -> Floats:
        return self.problem.bank.take(row).astype(np.float64).apply(0, self.states[place])

    def outputs_stay(self, group: Sequence[Part]) -> bool:
        """Whether outputs are the same when all parts of a group change places."""
        made = self.problem.network(_exchanged(self.arrangement, group)).astype(np.float64)
        inputs = self.problem.known.inputs
        return _agree(self.network.predict(inputs), made.predict(inputs))


def _joined(pairs: Sequence[tuple[Part, Part]], check: _Check) -> list[tuple[Part, ...]]:
    """Groups of the parts that pairs say may be exchanged, and that blocks cannot tell apart."""
    groups: dict[Part, set[Part]] = {}
    for one, other in pairs:
        first, second = (groups.setdefault(part, {part}) for part in (one, other))
        if first is not second and check.blocks_stay(one, other):
            first |= second
            groups |= dict.fromkeys(second, first)
    several = {id(group): group for group in groups.values() if len(group) > 1}
    return sorted(tuple(sorted(group)) for group in several.values())


def _without_unions(groups: Sequence[tuple[Part, ...]]) -> tuple[tuple[Part, ...], ...]:
    """The groups, but for those whose parts can change places slot by slot."""
    found = Interchange()
    for group in sorted({*groups}, key=lambda group: (len(group[0]), group)):
        if not all(found.same(group[0], part) for part in group):
            found = Interchange((*found.groups, group))
    return found.groups


def _exchanged(arrangement: Arrangement, group: Sequence[Part]) -> Arrangement:
    """The arrangement with the pieces of each part in the part before it."""
    made = arrangement.copy()
    for here, source in zip(group, (*group[1:], group[0]), strict=True):
        for (place, role), (other, there) in zip(here, source, strict=True):
            made[place, role] = arrangement[other, there]
    return made


def _parts(moves: Moves, move: int, arrangement: Arrangement) -> tuple[Part, Part] | None:
    """What a move exchanges; None for a block that is shifted over several others."""
    a, b = int(moves.first[move]), int(moves.second[move])
    if moves.first_role[move] != NO_ROLE:
        one, other = moves.slots(arrangement, move)
        return tuple((a, role) for role in one), tuple((b, role) for role in other)
    return (_whole(arrangement, a), _whole(arrangement, b)) if abs(a - b) == 1 else None


def _whole(arrangement: Arrangement, place: int) -> Part:
    """All slots of a block."""
    return tuple((place, role) for role in np.flatnonzero(arrangement[place] != NO_PIECE).tolist())


def _on_the_way(network: Network, known: Records) -> tuple[NDArray[np.intp], Floats]:
    """States of every row, each at one depth, with the places where blocks are given these."""
    many = max(len(known), len(network.blocks) + 1)
    depths = np.linspace(0, len(network.blocks), many).round().astype(np.intp)
    with np.errstate(over="ignore", invalid="ignore"):
        states = network.states(known.inputs)[depths, np.arange(many) % len(known)]
    return np.minimum(depths, len(network.blocks) - 1), states


def _of_one_form(network: Network) -> list[list[int]]:
    """Places of blocks with the same tensors, form by form."""
    forms: dict[object, list[int]] = {}
    for place in range(len(network.blocks)):
        weights = network.blocks.weights(place)
        form = frozenset((r, n, t.shape) for r, each in weights.items() for n, t in each.items())
        forms.setdefault(form, []).append(place)
    return [*forms.values()]


def _agree(one: Floats, other: Floats) -> bool:
    """Whether numbers agree to within float32 rounding, beside the largest of their column."""
    size = SAME.resolution * UNIT["float32"] * np.abs(one).max(axis=0, initial=0.0)
    return bool((np.abs(one - other) <= size).all())
