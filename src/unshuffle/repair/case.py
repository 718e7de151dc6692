"""What is to be put together, and what it shows before any search."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.blueprints import Blueprint
from unshuffle.errors import PileError
from unshuffle.pieces.anatomy import Anatomy, read_anatomy
from unshuffle.pieces.pile import Piece, Pile
from unshuffle.pieces.records import Records
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution

# Of the matched pairs: if more have positive log-odds, those with the least are doubted.
SURE_PART = 0.5


@dataclass(frozen=True)
class CopyParameters:
    """Numbers that say what a copy is."""

    # Part of their norm by which two versions of one layer differ at most. Layers of different
    # networks, or of different places in one, differ by more than their whole norm.
    alike: float = 0.05
    # Squared difference of two weights, over the larger squared norm, up to which they are compared
    # in earnest: biases count too, and the first look rounds.
    screened: float = 0.01


STANDARD = CopyParameters()


@dataclass(frozen=True, eq=False)
class Case:
    """A pile and a record that are to be put together.

    `solve` solves another case as this one is solved, such as one with some pieces set aside.
    Repairs whose names are in `without` are not asked.
    """

    pile: Pile
    records: Records
    options: Options
    solve: "Callable[[Case], Solution]"
    blueprint: Blueprint | None = None
    permuted_units: bool = False
    without: frozenset[str] = frozenset()

    @cached_property
    def whole(self) -> Anatomy | PileError:
        """The roles of the pieces if they are as many as a network has; else what is wrong."""
        try:
            return read_anatomy(self.pile, self.records)
        except PileError as error:
            return error

    @cached_property
    def partial(self) -> Anatomy | None:
        """The roles of the pieces where some may be missing or too many; None if unknown."""
        return partial_anatomy(self.pile, self.records) if self.rebuilds else None

    @cached_property
    def identical_copies(self) -> dict[int, int]:
        """Positions of pieces that equal an earlier one, with that one's position."""
        return identical_copies(self.pile)

    @cached_property
    def near_copies(self) -> list[tuple[int, int, float]]:
        """Positions of each two pieces that nearly equal each other, with their difference."""
        return near_copies(self.pile)

    @property
    def rebuilds(self) -> bool:
        """Whether pieces may be left out: that takes predictions, and the fused evidence."""
        return self.options.rebuilds and len(self.records.predicted()) > 1


def identical_copies(pile: Pile) -> dict[int, int]:
    """Positions of pieces that equal an earlier piece to the last bit, with that one's position."""
    first: dict[tuple[tuple[int, int], bytes, bytes], int] = {}
    copies = {}
    for position, piece in enumerate(pile):
        key = piece.shape, piece.weight.tobytes(), piece.bias.tobytes()
        if first.setdefault(key, position) != position:
            copies[position] = first[key]
    return copies


def near_copies(pile: Pile) -> list[tuple[int, int, float]]:
    """Positions of each two pieces that are nearly the same, the smaller first.

    With them comes the norm of their difference over that of the larger one.
    """
    shapes: dict[tuple[int, int], list[int]] = {}
    for position, piece in enumerate(pile):
        shapes.setdefault(piece.shape, []).append(position)
    by, found = STANDARD, []
    for members in shapes.values():
        weights = np.stack([pile[i].weight.astype(pile.dtype).ravel() for i in members])
        gram = weights @ weights.T
        squares = gram.diagonal()
        limit = by.screened * np.maximum(squares[:, None], squares)
        near = squares[:, None] + squares - 2 * gram <= limit
        for a, b in np.argwhere(np.triu(near, 1)).tolist():
            one, other = _numbers(pile[members[a]]), _numbers(pile[members[b]])
            larger = max(float(np.linalg.norm(one)), float(np.linalg.norm(other)))
            difference = float(np.linalg.norm(one - other))
            if difference <= by.alike * larger:
                found.append((members[a], members[b], difference / larger if larger else 0.0))
    return found


def _numbers(piece: Piece) -> NDArray[np.float64]:
    return np.concatenate([piece.weight.ravel(), piece.bias], dtype=np.float64)


def partial_anatomy(pile: Pile, records: Records) -> Anatomy | None:
    """The likeliest dimensions of a network of which pieces are missing or to which some are added.

    The record gives the width of the stream and the number of outputs. Among the shapes of that
    width, the one that the most pieces have or mirror is that of the inp layers. None where shapes
    do not tell the roles apart, or no two pieces can form a block.
    """
    width, outputs = records.width, records.outputs
    counts = Counter(piece.shape for piece in pile)
    mirrored = {
        hidden: min(count, counts[width, hidden])
        for (hidden, columns), count in counts.items()
        if columns == width and hidden != width and counts[width, hidden]
    }
    if not outputs or not mirrored:
        return None
    hidden = max(mirrored, key=lambda units: (mirrored[units], units))
    if outputs in (hidden, width):
        return None

    def fitting(rows: int, columns: int) -> tuple[int, ...]:
        return tuple(i for i, piece in enumerate(pile) if piece.shape == (rows, columns))

    return Anatomy(
        width,
        hidden,
        outputs,
        inp=fitting(hidden, width),
        out=fitting(width, hidden),
        last=fitting(outputs, width),
    )
