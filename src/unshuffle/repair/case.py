"""What is to be put together, and what it shows before any search."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from unshuffle.blocks.blueprints import Blueprint
from unshuffle.errors import PileError
from unshuffle.pieces.anatomy import Anatomy, other_network, read_anatomy
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.solution.arranging import Searching
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution


@dataclass(frozen=True)
class CopyParameters:
    """Numbers that say what a copy is."""

    # Part of their norm by which versions of a layer differ at most; others differ by more than it.
    alike: float = 0.05
    # Squared difference of two weights, over the larger squared norm, up to which they are compared
    # in earnest: biases count too, and the first look rounds.
    screened: float = 0.01


STANDARD = CopyParameters()


@dataclass(frozen=True, eq=False)
class Case:
    """A pile and a record that are to be put together.

    `solve` solves another case alike, and repairs whose names are in `without` are not asked.
    `left` is what searches with another assumption left of the predictions' variance, by that.
    `tests` is whether what was tried on the way speaks for an assumption being wrong, by that.
    """

    pile: Pile
    records: Records
    options: Options
    solve: "Callable[[Case], Solution]"
    blueprint: Blueprint | None = None
    permuted_units: bool = False
    without: frozenset[str] = frozenset()
    left: dict[str, float] = field(default_factory=dict)
    tests: dict[str, bool] = field(default_factory=dict)

    @cached_property
    def whole(self) -> Anatomy | PileError:
        """The roles of the pieces if there are as many as a network has; else what is wrong."""
        try:
            return read_anatomy(self.pile, self.records)
        except PileError as error:
            return error

    @property
    def searchable(self) -> bool:
        """Whether the pieces can be searched for their order as they are."""
        if self.blueprint is not None:
            return True
        obstacle = self.permuted_units or self.pile.detached or isinstance(self.whole, PileError)
        return not obstacle

    def searching(self) -> Searching:
        """The search for the order of all pieces, which has not begun."""
        anatomy = None if self.blueprint is not None else self.whole
        assert not isinstance(anatomy, PileError)
        blueprint = self.blueprint
        return Searching.of(
            self.pile, self.records, self.options, anatomy=anatomy, blueprint=blueprint
        )

    @cached_property
    def partial(self) -> Anatomy | None:
        """The roles of the pieces where some may be missing or too many; None if unknown."""
        if not self.rebuilds or other_network(self.pile, self.records) is not None:
            return None
        return partial_anatomy(self.pile, self.records)

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


def near_copies(pile: Pile, by: CopyParameters = STANDARD) -> list[tuple[int, int, float]]:
    """Positions of each two pieces that differ by little, and by what part of the larger norm."""
    shapes: dict[tuple[int, int], list[int]] = {}
    for position, piece in enumerate(pile):
        shapes.setdefault(piece.shape, []).append(position)
    found = []
    for members in shapes.values():
        weights = np.stack([pile[i].weight.astype(pile.dtype).ravel() for i in members])
        gram = weights @ weights.T
        squares = gram.diagonal()
        limit = by.screened * np.maximum(squares[:, None], squares)
        near = squares[:, None] + squares - 2 * gram <= limit
        for a, b in np.argwhere(np.triu(near, 1)).tolist():
            one, other = (
                np.concatenate([pile[i].weight.ravel(), pile[i].bias], dtype=np.float64)
                for i in (members[a], members[b])
            )
            larger = max(float(np.linalg.norm(one)), float(np.linalg.norm(other)))
            difference = float(np.linalg.norm(one - other))
            if difference <= by.alike * larger:
                found.append((members[a], members[b], difference / larger if larger else 0.0))
    return found


def partial_anatomy(pile: Pile, records: Records) -> Anatomy | None:
    """The likeliest dimensions of a network of which pieces are missing or to which some are added.

    The inp shape has the record's width, and most pieces have or mirror it. None where shapes do
    not tell the roles apart, or no two pieces can form a block.
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

    shapes = (hidden, width), (width, hidden), (outputs, width)
    inp, out, last = (
        tuple(i for i, piece in enumerate(pile) if piece.shape == shape) for shape in shapes
    )
    return Anatomy(width, hidden, outputs, inp=inp, out=out, last=last)
