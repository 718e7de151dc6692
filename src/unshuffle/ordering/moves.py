"""Moves: what a search can do to an arrangement, many at a time.

A shift takes the block of one place to another. A swap exchanges the pieces of any two slots of
one class: of one role or of two, in two blocks or in one.
"""

from dataclasses import dataclass, replace

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
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import Floats

# Stands for the role in a shift, which moves whole blocks.
NO_ROLE = -1


@dataclass(frozen=True, eq=False)
class Moves:
    """Candidate moves, with what each is expected to do; arrays have a first axis of moves."""

    first: Indices  # the places that they act on: a shift goes from the first
    second: Indices  # to the second
    first_role: Indices  # the roles of the two slots of a swap; `NO_ROLE` for a shift
    second_role: Indices
    effects: Floats  # first-order changes of the predictions: shape (moves, equations)
    gains: Doubles  # changes of the log-odds of the blocks

    def __len__(self) -> int:
        return len(self.first)

    @property
    def swap(self) -> NDArray[np.bool_]:
        """Which moves are swaps: shape (moves,)."""
        swaps: NDArray[np.bool_] = self.first_role != NO_ROLE
        return swaps

    def __add__(self, other: "Moves") -> "Moves":
        names = self.__dataclass_fields__
        return Moves(*(np.concatenate([getattr(each, n) for each in (self, other)]) for n in names))

    def take(self, chosen: Indices) -> "Moves":
        """Some of the moves."""
        return Moves(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

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
                one, other = (a, self.first_role[move]), (b, self.second_role[move])
                made[one], made[other] = made[other], made[one]
        return made


def shifted(arrangement: Arrangement, source: int, target: int) -> Arrangement:
    """The arrangement after the block of one place was taken to another."""
    rest = np.delete(arrangement, source, axis=0)
    return np.insert(rest, target, arrangement[source], axis=0)


def shift_moves(judge: Judge, at: Linearization, window: int) -> Moves:
    """Move each block by up to `window` places; adjacent swaps of blocks come first."""
    first, second = shifts(len(at.run), window).T
    none = np.full(len(first), NO_ROLE, np.intp)
    gains = np.zeros(len(first))
    return Moves(first, second, none, none, shift_effects(judge, at, window), gains)


def all_swaps(
    judge: Judge, at: Linearization, evidence: Evidence, least_gain: float = -np.inf
) -> Moves:
    """Exchange the pieces of each two slots of one class, for each two blocks.

    All are run as steps of their own, so this is for few rows. Only swaps that change the sum of
    the log-odds by more than the least gain are considered.
    """
    arrangement = at.run.arrangement
    length, roles = arrangement.shape
    own = evidence.of(arrangement)
    moves = _no_moves(len(at.residual), at.residual.dtype)
    same = [(role, role) for role in reversed(range(roles))]
    for one, other in [*same, *judge.bank.kind.turns()]:
        there = evidence.crossed(arrangement, one, other)
        back = evidence.crossed(arrangement, other, one)
        # Within a role each two places are one swap; between two roles they are two.
        places = np.tri(length, k=-1).T if one == other else 1 - np.eye(length)
        first, second = np.nonzero(places)
        with np.errstate(invalid="ignore"):  # what is ruled out stays so
            gains = there[first, second] + back[second, first] - own[first] - own[second]
        admitted = gains > least_gain
        first, second = first[admitted], second[admitted]
        if len(first):
            effects = exchange_effects(judge, at, one, other)
            returned = effects if one == other else exchange_effects(judge, at, other, one)
            both = effects[first, second] + returned[second, first]
            here, source = (np.full(len(first), role, np.intp) for role in (one, other))
            moves += Moves(first, second, here, source, both, gains[admitted])
    return moves


def with_swap_effects(judge: Judge, at: Linearization, swaps: Moves) -> Moves:
    """The same swaps, of two blocks each, with their effects on other rows, block by block."""
    arrangement, each = at.run.arrangement, np.arange(len(swaps))
    first, second = (swaps.first, swaps.first_role), (swaps.second, swaps.second_role)
    changed = []
    for (here, role), there in ((first, second), (second, first)):
        blocks = arrangement[here]
        blocks[each, role] = arrangement[there]
        changed.append(replacement_effects(judge, at, here.tolist(), blocks))
    effects, more = changed
    effects += more
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
