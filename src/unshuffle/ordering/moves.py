"""Moves: what a search can do to an arrangement, many at a time.

A shift takes the block of one place to another. A swap exchanges the pieces of two slots of one
class: of one role in two blocks, or of two roles in one block. Roles that the evidence ties
together, a unit, are swapped between two blocks together too.
"""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from unshuffle.grouping.evidence import Evidence
from unshuffle.ordering.judge import Doubles, Indices, Judge
from unshuffle.ordering.linearization import (
    Linearization,
    exchange_effects,
    replacement_effects,
    shift_effects,
    shifts,
)
from unshuffle.pieces.blueprint import Arrangement, Kind, same_pieces
from unshuffle.pieces.pile import Floats

# Stands for the role in a shift, which moves whole blocks.
NO_ROLE = -1

# The fields of moves that are arrays.
_ARRAYS = ("first", "second", "first_role", "second_role", "effects", "gains")


@dataclass(frozen=True, eq=False)
class Moves:
    """Candidate moves, with what each is expected to do; arrays have a first axis of moves."""

    first: Indices  # the places that they act on: a shift goes from the first
    second: Indices  # to the second
    # The roles of the two slots of a swap; `NO_ROLE` for a shift. Numbers behind those of all roles
    # are of units.
    first_role: Indices
    second_role: Indices
    effects: Floats  # first-order changes of the predictions: shape (moves, equations)
    gains: Doubles  # changes of the log-odds of the blocks
    units: tuple[tuple[int, ...], ...] = ()  # the roles of each, and of their unions

    def __len__(self) -> int:
        return len(self.first)

    @property
    def swap(self) -> NDArray[np.bool_]:
        """Which moves are swaps: shape (moves,)."""
        swaps: NDArray[np.bool_] = self.first_role != NO_ROLE
        return swaps

    def __add__(self, other: "Moves") -> "Moves":
        pairs = ((getattr(self, name), getattr(other, name)) for name in _ARRAYS)
        joined = dict(zip(_ARRAYS, map(np.concatenate, pairs), strict=True))
        return replace(self, **joined, units=self.units or other.units)

    def take(self, chosen: Indices) -> "Moves":
        """Some of the moves."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in _ARRAYS})

    def with_effects(self, effects: Floats) -> "Moves":
        """The same moves with their effects on other rows."""
        return replace(self, effects=effects)

    def compatible(self, move: int) -> NDArray[np.bool_]:
        """Which other moves can be made together with one: those whose places do not interleave.

        These are spans that do not overlap, and swaps in other places than a shift passes.
        """
        low, high = np.minimum(self.first, self.second), np.maximum(self.first, self.second)
        a, b = low[move], high[move]
        together: NDArray[np.bool_] = (high < a) | (low > b)
        shift = ~self.swap
        if shift[move]:
            inside = ((low >= a) & (low <= b)) | ((high >= a) & (high <= b))
            together[~shift] = ~inside[~shift]
        else:
            between = ((a < low) | (a > high)) & ((b < low) | (b > high))
            shares = (low == a) | (low == b) | (high == a) | (high == b)
            together = (shift & between) | (~shift & ~shares)
        return together

    def reverses(self, place: int) -> NDArray[np.bool_]:
        """Which moves run the block of a place after that of the next place: shape (moves,)."""
        forward = (self.first == place) & (self.second > place)
        backward = (self.first == place + 1) & (self.second <= place)
        reversing: NDArray[np.bool_] = ~self.swap & (forward | backward)
        return reversing

    def apply(self, chosen: Indices, arrangement: Arrangement) -> Arrangement:
        """Make compatible moves on an arrangement."""
        made = arrangement.copy()
        for move in chosen.tolist():
            a, b = int(self.first[move]), int(self.second[move])
            if self.first_role[move] == NO_ROLE:
                made = shifted(made, a, b)
            else:
                one, other = self._slots(made, move)
                made[a, one], made[b, other] = made[b, other], made[a, one]
        return made

    def _slots(self, arrangement: Arrangement, move: int) -> tuple[list[int], list[int]]:
        """The roles of the two blocks between which a swap exchanges pieces."""
        roles = arrangement.shape[1]
        one, other = int(self.first_role[move]), int(self.second_role[move])
        if one < roles:
            return [one], [other]
        unit = [*self.units[one - roles]]
        return unit, unit

    def swapped(self, arrangement: Arrangement) -> tuple[Arrangement, Arrangement]:
        """The two blocks of each swap as they are after it, two arrays of shape (moves, roles)."""
        first, second = arrangement[self.first], arrangement[self.second]
        for move in range(len(self)):
            one, other = self._slots(arrangement, move)
            a, b = self.first[move], self.second[move]
            first[move, one], second[move, other] = arrangement[b, other], arrangement[a, one]
        return first, second


def shifted(arrangement: Arrangement, source: int, target: int) -> Arrangement:
    """The arrangement after the block of one place was taken to another."""
    rest = np.delete(arrangement, source, axis=0)
    return np.insert(rest, target, arrangement[source], axis=0)


def neighbours(arrangement: Arrangement, evidence: Evidence) -> Indices:
    """What all shifts, and the swaps that cost few log-odds, make of an arrangement.

    The shape is (neighbours, blocks, roles). As in `disturbed`, a swap costs no more log-odds than
    there are blocks.
    """
    length, roles = arrangement.shape
    made = [shifted(arrangement, a, b) for a in range(length) for b in range(length) if a != b]
    least = evidence.value(arrangement) - length
    for each in evidence.tied(roles) if roles > 1 else ():
        for a, b in combinations(range(length), 2):
            swapped = arrangement.copy()
            swapped[a, each], swapped[b, each] = arrangement[b, each], arrangement[a, each]
            if evidence.value(swapped) > least:
                made.append(swapped)
    return np.array(made, np.intp).reshape(-1, length, roles)


def disturbed(
    arrangement: Arrangement,
    evidence: Evidence,
    kind: Kind,
    rng: np.random.Generator,
    *,
    moves: int,
    reach: int,
) -> Arrangement:
    """A few random moves: blocks shifted, pieces swapped, and roles within a block exchanged.

    There are so many moves at most, which take a block as many places as they reach at most. A swap
    is made only where the log-odds that it costs do not exceed the number of blocks.
    """
    made, turns = arrangement.copy(), kind.turns()
    length, roles = made.shape
    for _ in range(int(rng.integers(1, moves + 1))):
        if roles > 1 and rng.random() < 0.5:
            a, b = (int(place) for place in rng.integers(length, size=2))
            tied = evidence.tied(roles)
            role = roles - 1 if roles == 2 else int(rng.integers(len(tied)))
            swapped = made.copy()
            swapped[a, tied[role]], swapped[b, tied[role]] = (
                made[b, tied[role]],
                made[a, tied[role]],
            )
            gain = evidence.of(swapped[[a, b]]).sum() - evidence.of(made[[a, b]]).sum()
            if gain > -length:
                made = swapped
                continue
        s = int(rng.integers(length))
        if turns and rng.random() < 0.5:
            one, other = turns[0] if len(turns) == 1 else turns[int(rng.integers(len(turns)))]
            made[s, [one, other]] = made[s, [other, one]]
            continue
        t = int(np.clip(s + rng.integers(-reach, reach + 1), 0, length - 1))
        made = shifted(made, s, t)
    assert same_pieces(made, arrangement, kind)
    return made


def shift_moves(judge: Judge, at: Linearization, window: int) -> Moves:
    """Move each block by up to `window` places; adjacent swaps of blocks come first."""
    first, second = shifts(len(at.run), window).T
    none = np.full(len(first), NO_ROLE, np.intp)
    gains = np.zeros(len(first))
    return Moves(first, second, none, none, shift_effects(judge, at, window), gains)


def all_swaps(
    judge: Judge, at: Linearization, evidence: Evidence, least_gain: float = -np.inf
) -> Moves:
    """Exchange the pieces that each two blocks have in a role, for every role and every unit.

    All are run as steps of their own, so this is for few rows. Only swaps that change the sum of
    the log-odds by more than the least gain are considered.
    """
    arrangement = at.run.arrangement
    length, roles = arrangement.shape
    every, other = np.triu_indices(length, 1)
    own = evidence.of(arrangement)
    moves = _no_moves(len(at.residual), at.residual.dtype)
    for role, each in reversed([*enumerate(evidence.tied(roles))]):
        crossed = evidence.crossed(arrangement, each)
        with np.errstate(invalid="ignore"):  # what is ruled out stays so
            gains = crossed[every, other] + crossed[other, every] - own[every] - own[other]
        admitted = gains > least_gain
        first, second = every[admitted], other[admitted]
        if len(first):
            effects = exchange_effects(judge, at, each)
            both = (effects + effects.transpose(1, 0, 2))[first, second]
            kinds = np.full(len(first), role, np.intp)
            tied = tuple(map(tuple, evidence.tied(roles)[roles:]))
            moves += Moves(first, second, kinds, kinds, both, gains[admitted], tied)
    return moves


def with_swap_effects(judge: Judge, at: Linearization, swaps: Moves) -> Moves:
    """The same swaps between blocks with their effects on other rows, block by block."""
    first, second = swaps.swapped(at.run.arrangement)
    effects = replacement_effects(judge, at, swaps.first.tolist(), first)
    effects += replacement_effects(judge, at, swaps.second.tolist(), second)
    return swaps.with_effects(effects)


def turn_moves(judge: Judge, at: Linearization, evidence: Evidence) -> Moves:
    """Exchange the pieces of each block in two roles of one class."""
    arrangement = at.run.arrangement
    places = np.arange(len(arrangement))
    moves = _no_moves(len(at.residual), at.residual.dtype)
    for one, other in judge.bank.kind.turns():
        turned = arrangement.copy()
        turned[:, [one, other]] = turned[:, [other, one]]
        first, second = (np.full(len(places), role, np.intp) for role in (one, other))
        effects = replacement_effects(judge, at, places.tolist(), turned)
        gains = evidence.of(turned) - evidence.of(arrangement)
        moves += Moves(places, places, first, second, effects, gains)
    return moves


def _no_moves(equations: int, dtype: np.typing.DTypeLike) -> Moves:
    """No moves at all."""
    no = np.empty(0, np.intp)
    return Moves(no, no, no, no, np.empty((0, equations), dtype), np.empty(0))
