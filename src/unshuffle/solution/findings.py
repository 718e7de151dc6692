"""What was found to be wrong with a pile or a record: pieces that do not belong, gaps, traces."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from unshuffle.files.schema import Key, Word
from unshuffle.pieces.answer import LOST
from unshuffle.pieces.pile import PieceId


@dataclass(frozen=True)
class Leftover:
    """A piece that has no place in the network, and why, in words."""

    id: Annotated[PieceId, Key("piece")]
    reason: Word


@dataclass(frozen=True)
class Gap:
    """A place where a layer, or a whole block, is missing."""

    # Of the block, from 0, in the network with its gaps filled; for the last layer, their number.
    place: int
    missing: Word  # "inp", "out", "block" or "last"
    stand_in: PieceId | None  # the layer that was estimated in its place
    share: float  # mean square of what is lost without the block, over the predictions' variance


@dataclass(frozen=True)
class Findings:
    """What was wrong with a pile or a record, and how much of it is explained nevertheless."""

    leftovers: tuple[Leftover, ...] = ()  # pieces that were set aside
    gaps: tuple[Gap, ...] = ()
    unexplained: float = 0.0  # mean squared error over the predictions' variance
    notes: tuple[Word, ...] = ()  # whatever else was noticed, a sentence each
    # What each input column has to be multiplied by, and what then added; empty where nothing.
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()
    factor: float = 1.0  # What each block's step was multiplied by; no piece holds it.
    # For each input the record's column that holds it, from 0; empty where they are in sequence.
    columns: tuple[int, ...] = ()

    @property
    def stand_ins(self) -> tuple[PieceId, ...]:
        """Ids of the layers that were estimated."""
        return tuple(gap.stand_in for gap in self.gaps if gap.stand_in is not None)

    def answer_names(self, names: Sequence[PieceId]) -> tuple[PieceId, ...]:
        """An answer's ids, with `?` for each layer that was estimated."""
        return tuple(LOST if name in self.stand_ins else name for name in names)
