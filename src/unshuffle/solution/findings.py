"""What is wrong with a pile or a record: foreign pieces, gaps, traces."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from unshuffle.files.schema import Key, Word
from unshuffle.pieces.answer import LOST
from unshuffle.pieces.pile import PieceId
from unshuffle.pieces.records import Records


@dataclass(frozen=True)
class FindingParameters:
    """The number that decides which predictions behind a sigmoid are compared."""

    saturated: float = 4.0  # Logit from which on a sigmoid has lost too many digits.


STANDARD = FindingParameters()


NOT_NEEDED = "not needed: the record is reproduced without it"  # why a piece is left over


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
    """What is wrong with a pile or a record, and how much of it is explained."""

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
    # What each prediction of the network has to be multiplied by to be the record's, and what then
    # added; empty where nothing.
    prediction_scale: tuple[float, ...] = ()
    prediction_shift: tuple[float, ...] = ()
    sigmoid: bool = False  # Whether the record has what a sigmoid made of the predictions.

    @property
    def altered(self) -> bool:
        """Whether the record is reproduced only with numbers that no piece holds."""
        changed = self.scale or self.columns or self.prediction_scale or self.sigmoid
        return bool(changed) or self.factor != 1.0

    def undone(self, records: Records) -> Records:
        """The record as the network reads and predicts it.

        Of a sigmoid the predictions are NaN that have lost too many digits.
        """
        inputs, predictions = records.inputs, records.predictions.astype(np.float64)
        if self.columns:
            inputs = inputs[:, self.columns]
        if self.scale:
            inputs = inputs.astype(np.float64) * self.scale + self.shift
        if self.prediction_scale:
            predictions = (predictions - self.prediction_shift) / self.prediction_scale
        if self.sigmoid:
            with np.errstate(divide="ignore", invalid="ignore"):
                predictions = np.log(predictions / (1 - predictions))
            predictions[~(np.abs(predictions) < STANDARD.saturated)] = np.nan
        if not self.prediction_scale:
            predictions = predictions.astype(records.predictions.dtype)
        return replace(records, inputs=inputs, predictions=predictions)

    @property
    def stand_ins(self) -> tuple[PieceId, ...]:
        """Ids of the layers that were estimated."""
        return tuple(gap.stand_in for gap in self.gaps if gap.stand_in is not None)

    def answer_names(self, names: Sequence[PieceId]) -> tuple[PieceId, ...]:
        """An answer's ids, with `?` for each layer that was estimated."""
        return tuple(LOST if name in self.stand_ins else name for name in names)
