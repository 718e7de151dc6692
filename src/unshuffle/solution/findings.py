"""What was found to be wrong with a pile or a record: pieces that do not belong, gaps, traces."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from unshuffle.files.schema import Key, Word
from unshuffle.pieces.answer import LOST
from unshuffle.pieces.pile import PieceId


@dataclass(frozen=True)
class Leftover:
    """A piece that has no place in the network.

    Parameters
    ----------
    id
        The piece.
    reason
        Why, in words.
    """

    id: Annotated[PieceId, Key("piece")]
    reason: Word


@dataclass(frozen=True)
class Gap:
    """A place where a layer, or a whole block, is missing.

    Parameters
    ----------
    place
        Of the block, counted from 0, in the network with its gaps filled; the number of blocks
        for the last layer.
    missing
        "inp", "out", "block" or "last".
    stand_in
        Id of the layer that was estimated in its place; None where none was.
    share
        How much of the predictions it carries: the mean square of what is lost without the block,
        over the predictions' variance.
    """

    place: int
    missing: Word
    stand_in: PieceId | None
    share: float


@dataclass(frozen=True)
class Findings:
    """What was wrong with a pile or a record, and how much of it is explained nevertheless.

    Parameters
    ----------
    leftovers
        Pieces that were set aside.
    gaps
        Where layers are missing.
    unexplained
        Mean squared error over the predictions' variance.
    notes
        Whatever else was noticed, a sentence each.
    scale, shift
        What each input column of the record has to be multiplied by, and what then added, for the
        network to reproduce it; empty where nothing.
    columns
        For each input of the network the column of the record that holds it, counted from 0; empty
        where they stand in sequence.
    """

    leftovers: tuple[Leftover, ...] = ()
    gaps: tuple[Gap, ...] = ()
    unexplained: float = 0.0
    notes: tuple[Word, ...] = ()
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()
    columns: tuple[int, ...] = ()

    @property
    def stand_ins(self) -> tuple[PieceId, ...]:
        """Ids of the layers that were estimated."""
        return tuple(gap.stand_in for gap in self.gaps if gap.stand_in is not None)

    def answer_names(self, names: Sequence[PieceId]) -> tuple[PieceId, ...]:
        """An answer's ids, with `?` for each layer that was estimated."""
        return tuple(LOST if name in self.stand_ins else name for name in names)
