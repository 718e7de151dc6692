"""Moves: what a search can do to an arrangement, many at a time.

A shift takes the block of one place to another. A swap exchanges the pieces of any two slots of one
class, within or between roles and blocks. Roles that the evidence ties together, a unit, are
swapped together too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, permutations

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
from unshuffle.pieces.blueprint import Arrangement, places_with, stretches
from unshuffle.pieces.pile import Floats

# Stands for the role in a shift, which moves whole blocks.
NO_ROLE = -1

# The fields of moves that are arrays.
_ARRAYS = ("first", "second", "first_role", "second_role", "effects", "gains")


@dataclass(frozen=True, eq=False)
class Moves:
    """Candidate moves, with what each is expected to do. Arrays have a first axis of moves."""

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
                made = exchange(made, a, b, *self.slots(made, move))
        return made

    def slots(self, arrangement: Arrangement, move: int) -> tuple[list[int], list[int]]:
        """The roles of the two blocks between which a swap exchanges pieces."""
        roles = arrangement.shape[1]
        one, other = int(self.first_role[move]), int(self.second_role[move])
        if one < roles:
            return [one], [other]
        unit = [*self.units[one - roles]]
        return unit, unit

    def swapped(self, arrangement: Arrangement) -> tuple[Arrangement, Arrangement]:
        """The two blocks after each swap, two arrays of shape (moves, roles)."""
        first, second = arrangement[self.first], arrangement[self.second]
        for move in range(len(self)):
            one, other = self.slots(arrangement, move)
            a, b = self.first[move], self.second[move]
            first[move, one], second[move, other] = arrangement[b, other], arrangement[a, one]
        return first, second


def shifted(arrangement: Arrangement, source: int, target: int) -> Arrangement:
    """The arrangement after the block of one place was taken to another."""
    rest = np.delete(arrangement, source, axis=0)
    return np.insert(rest, target, arrangement[source], axis=0)


def exchange(
    arrangement: Arrangement,
    a: int | Indices,
    b: int | Indices,
    one: int | Sequence[int],
    other: int | Sequence[int],
) -> Arrangement:
    """The arrangement after place a, in one role or several, and place b, in another, exchanged."""
    made = arrangement.copy()
    made[a, one], made[b, other] = arrangement[b, other], arrangement[a, one]
    return made


def neighbours(
    arrangement: Arrangement, evidence: Evidence, turns: Sequence[tuple[int, int]] = ()
) -> Indices:
    """What all shifts, and the swaps and turns that cost few log-odds, make of an arrangement.

    The shape is (neighbours, blocks, roles). As in `disturbed`, one costs no more log-odds than
    there are blocks.
    """
    length, roles = arrangement.shape
    pairs = (permutations(range(length)[part], 2) for part in stretches(arrangement))
    made = [shifted(arrangement, a, b) for a, b in chain(*pairs)]
    least = evidence.value(arrangement) - length
    exchanged = (
        exchange(arrangement, a, b, each, each)
        for each in (evidence.tied(roles) if roles > 1 else ())
        for a, b in combinations(places_with(arrangement, each).tolist(), 2)
    )
    turned = (
        exchange(arrangement, place, place, *pair)
        for pair in turns
        for place in places_with(arrangement, pair).tolist()
    )
    made += (one for one in chain(exchanged, turned) if evidence.value(one) > least)
    return np.array(made, np.intp).reshape(-1, length, roles)


def resequenced(arrangement: Arrangement, evidence: Evidence) -> Indices:
    """What becomes of an arrangement where one part of the blocks is moved along the depth.

    Its pieces run in the reverse sequence, or one is shifted by more than a place. A path through
    blocks has such faults. The shape is (arrangements, blocks, roles).
    """
    length, roles = arrangement.shape
    made, least = [], evidence.value(arrangement) - length
    for part in evidence.parts(roles) if roles > 1 else ():
        places = places_with(arrangement, part)
        numbers = np.arange(len(places))
        far = ((a, b) for a, b in permutations(numbers.tolist(), 2) if abs(a - b) > 1)
        for order in (numbers[::-1], *(np.insert(np.delete(numbers, a), b, a) for a, b in far)):
            moved = arrangement.copy()
            moved[places[:, None], [*part]] = arrangement[places[order][:, None], [*part]]
            if evidence.value(moved) > least:
                made.append(moved)
    return np.array(made, np.intp).reshape(-1, length, roles)


def shift_moves(judge: Judge, at: Linearization, window: int) -> Moves:
    """Move each block by up to `window` places. Adjacent swaps of blocks come first."""
    moves = _no_moves(len(at.residual), at.residual.dtype)
    for part in stretches(at.run.arrangement):
        first, second = shifts(part.stop - part.start, window).T + part.start
        none = np.full(len(first), NO_ROLE, np.intp)
        effects = shift_effects(judge, at.within(part), window)
        moves += Moves(first, second, none, none, effects, np.zeros(len(first)))
    return moves


def all_swaps(
    judge: Judge, at: Linearization, evidence: Evidence, least_gain: float = -np.inf
) -> Moves:
    """Exchange the pieces of each two slots of one class or unit, for each two blocks.

    All are run as steps of their own. So this is for few rows. Only swaps that gain more log-odds
    than the least gain are considered.
    """
    arrangement = at.run.arrangement
    length, roles = arrangement.shape
    own = evidence.of(arrangement)
    moves = _no_moves(len(at.residual), at.residual.dtype)
    tied = evidence.tied(roles)
    units = tuple(map(tuple, tied[roles:]))
    same = [(part, part) for part in reversed(range(len(tied)))]
    for one, other in [*same, *judge.bank.kind.turns()]:
        there = evidence.crossed(arrangement, tied[one], tied[other])
        back = evidence.crossed(arrangement, tied[other], tied[one])
        # Within a part each two places are one swap; between two roles they are two.
        places = np.tri(length, k=-1).T if one == other else 1 - np.eye(length)
        first, second = np.nonzero(places)
        with np.errstate(invalid="ignore"):  # what is ruled out stays so
            gains = there[first, second] + back[second, first] - own[first] - own[second]
        admitted = gains > least_gain
        if judge.bank.kind.variants:
            here, source = (places_with(arrangement, tied[part]) for part in (one, other))
            admitted &= np.isin(first, here) & np.isin(second, source)
        first, second = first[admitted], second[admitted]
        if len(first):
            effects = exchange_effects(judge, at, tied[one], tied[other])
            returned = effects
            if one != other:
                returned = exchange_effects(judge, at, tied[other], tied[one])
            both = effects[first, second] + returned[second, first]
            here, source = (np.full(len(first), part, np.intp) for part in (one, other))
            moves += Moves(first, second, here, source, both, gains[admitted], units)
    return moves


def with_swap_effects(judge: Judge, at: Linearization, swaps: Moves) -> Moves:
    """The same swaps, of two blocks each, with their effects on other rows, block by block."""
    first, second = swaps.swapped(at.run.arrangement)
    effects = replacement_effects(judge, at, swaps.first.tolist(), first)
    effects += replacement_effects(judge, at, swaps.second.tolist(), second)
    return swaps.with_effects(effects)


def turn_moves(judge: Judge, at: Linearization, evidence: Evidence) -> Moves:
    """Exchange the pieces of each block in two roles of one class."""
    arrangement = at.run.arrangement
    moves = _no_moves(len(at.residual), at.residual.dtype)
    for one, other in judge.bank.kind.turns():
        places = places_with(arrangement, (one, other))
        turned = exchange(arrangement, places, places, one, other)[places]
        first, second = (np.full(len(places), role, np.intp) for role in (one, other))
        effects = replacement_effects(judge, at, places.tolist(), turned)
        gains = evidence.of(turned) - evidence.of(arrangement[places])
        moves += Moves(places, places, first, second, effects, gains)
    return moves


def _no_moves(equations: int, dtype: np.typing.DTypeLike) -> Moves:
    """No moves at all."""
    no = np.empty(0, np.intp)
    return Moves(no, no, no, no, np.empty((0, equations), dtype), np.empty(0))
