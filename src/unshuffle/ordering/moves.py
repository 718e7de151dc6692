"""Moves: what a search can do to an arrangement, many at a time.

An arrangement is a sequence of block numbers; with loose layers a number names a pair,
``i * J + j``. A shift takes the block of one place to another. Exchanges act on two places: of
their out layers, or of their inp layers. A turn exchanges the roles of a block's two layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from unshuffle.pieces.pile import Floats


class Kind(IntEnum):
    """What a move does to its places."""

    SHIFT = 0
    OUTS = 1
    INPS = 2
    TURN = 3


@dataclass(frozen=True, eq=False)
class Moves:
    """Candidate moves, with what each is expected to do.

    Parameters
    ----------
    kind, first, second
        Shape (moves,): kinds, and the places that they act on. A shift goes from the first place
        to the second; a turn acts on one place, given twice.
    effects
        Shape (moves, equations): first-order changes of the predictions.
    gains
        Shape (moves,): changes of the log-odds of the pairs.
    """

    kind: NDArray[np.intp]
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    effects: Floats
    gains: NDArray[np.float64]

    @classmethod
    def none(cls, equations: int, dtype: np.typing.DTypeLike) -> "Moves":
        """No moves at all."""
        no, effects = np.empty(0, np.intp), np.empty((0, equations), dtype)
        return cls(no, no, no, effects, np.empty(0))

    def __len__(self) -> int:
        return len(self.kind)

    def __add__(self, other: "Moves") -> "Moves":
        return Moves(
            np.concatenate([self.kind, other.kind]),
            np.concatenate([self.first, other.first]),
            np.concatenate([self.second, other.second]),
            np.concatenate([self.effects, other.effects]),
            np.concatenate([self.gains, other.gains]),
        )

    def take(self, chosen: NDArray[np.intp]) -> "Moves":
        """Some of the moves."""
        return Moves(
            self.kind[chosen],
            self.first[chosen],
            self.second[chosen],
            self.effects[chosen],
            self.gains[chosen],
        )

    def with_effects(self, effects: Floats) -> "Moves":
        """The same moves with their effects on other rows."""
        return replace(self, effects=effects)

    def compatible(self, move: int) -> NDArray[np.bool_]:
        """Which moves can be made together with one: shape (moves,), that one itself excluded.

        Moves whose places do not interleave act on different parts of the network: spans that do
        not overlap, and exchanges of other places than a shift passes.
        """
        low, high = np.minimum(self.first, self.second), np.maximum(self.first, self.second)
        a, b = low[move], high[move]
        together: NDArray[np.bool_] = (high < a) | (low > b)
        shift = self.kind == Kind.SHIFT
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
        reversing: NDArray[np.bool_] = (self.kind == Kind.SHIFT) & (forward | backward)
        return reversing

    def apply(self, chosen: NDArray[np.intp], order: tuple[int, ...], outs: int) -> tuple[int, ...]:
        """Make compatible moves on an order; `outs` is the number J of out layers."""
        places = list(order)
        for move in chosen.tolist():
            a, b = int(self.first[move]), int(self.second[move])
            (i, j), (u, v) = divmod(places[a], outs), divmod(places[b], outs)
            match Kind(int(self.kind[move])):
                case Kind.SHIFT:
                    places.insert(b, places.pop(a))
                case Kind.OUTS:
                    places[a], places[b] = i * outs + v, u * outs + j
                case Kind.INPS:
                    places[a], places[b] = u * outs + j, i * outs + v
                case Kind.TURN:
                    places[a] = j * outs + i
        return tuple(places)


def same_layers(one: Sequence[int], other: Sequence[int], *, outs: int, turns: bool) -> bool:
    """Whether two orders use the same layers, as any moves leave them.

    Parameters
    ----------
    one, other
        Block numbers.
    outs
        Number J of out layers, which block numbers are made with.
    turns
        Whether blocks may be turned, so that each layer may have either role.
    """
    used = []
    for order in (one, other):
        inp, out = np.divmod(np.array(order, np.intp), outs)
        used.append(
            [np.sort(np.concatenate([inp, out]))] if turns else [np.sort(inp), np.sort(out)]
        )
    return len(one) == len(other) and all(map(np.array_equal, *used))
