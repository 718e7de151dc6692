"""Predictions that were kept to a few decimals, and how they were cut to them.

The predictions alone show that they stand on a grid of decimals. A network shows whether they were
rounded to the nearest, toward zero or down. Its own predictions lie within half a step of rounded
ones. They lie within a step on one side of the others.
"""

from dataclasses import dataclass, replace
from enum import Enum
from itertools import count

import numpy as np

from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.tolerance import UNIT, Column, Tolerance


@dataclass(frozen=True)
class DecimalsParameters:
    """Numbers that decide whether predictions were cut to decimals, and what that explains.

    Parameters
    ----------
    accident
        Probability up to which numbers are not taken to stand on a grid by chance.
    resolution
        Roundoffs of float32, of the largest number, within which a number is on a grid.
    finest
        Multiple of that distance which the step of a grid must be at least.
    sampling
        Of n numbers the root mean squared error may exceed the expected one by so many parts in √n.
        It varies by 0.45 parts in √n where errors spread evenly over a step.
    """

    accident: float = 1e-3
    resolution: float = 2.0
    finest: float = 16.0
    sampling: float = 2.0


STANDARD = DecimalsParameters()


class Cut(Enum):
    """How numbers were cut to decimals."""

    ROUNDED = "rounded"
    TRUNCATED = "truncated"
    FLOORED = "rounded down"

    def __str__(self) -> str:
        return self.value

    def middle(self, kept: Floats, step: Column) -> Floats:
        """The middle of what kept numbers, shape (rows, outputs), can have been."""
        if self is Cut.ROUNDED:
            return kept
        upwards = np.sign(kept) if self is Cut.TRUNCATED else np.ones_like(kept)
        middle: Floats = kept + upwards * step / 2
        return middle


def decimals(predictions: Floats, by: DecimalsParameters = STANDARD) -> int | None:
    """Decimal places to which predictions were cut. None if to none that float32 resolves."""
    largest = float(np.abs(predictions).max(initial=0.0))
    resolution = by.resolution * UNIT["float32"] * largest
    for places in count():
        step = 10.0**-places
        if step <= by.finest * resolution:
            return None
        if (2 * resolution / step) ** predictions.size > by.accident:
            continue
        if np.allclose(np.round(predictions, places), predictions, rtol=0.0, atol=resolution):
            return places
    raise AssertionError("steps become too small")


def steps(predictions: Floats) -> Column:
    """Distance of the decimals that each column was cut to. 0 where it was not."""
    places = [decimals(column) for column in predictions.T]
    return np.array([0.0 if each is None else 10.0**-each for each in places])


def cut_of(
    own: Floats, kept: Floats, exact: Tolerance, by: DecimalsParameters = STANDARD
) -> Cut | None:
    """How kept predictions were cut to decimals, where that explains all that a network leaves.

    Parameters
    ----------
    own
        What the network predicts, shape (rows, outputs).
    kept
        The predictions of the record, of the same shape.
    exact
        What else explains errors.
    """
    step = steps(kept)
    if not step.any():
        return None
    rms = step / np.sqrt(12) * (1 + by.sampling / np.sqrt(len(kept)))
    admitted = Tolerance(exact.rms + rms, exact.peak + step / 2)
    for cut in Cut:
        with np.errstate(over="ignore", invalid="ignore"):
            errors = own - cut.middle(kept, step)
        if cut is Cut.TRUNCATED:  # what was cut to zero may have been on either side of it
            errors = np.where(kept == 0, errors / 2, errors)
        if admitted.admits(errors):
            return cut
    return None


def cut_off(kept: Floats, cut: Cut | None) -> Column:
    """Root mean square of what a cut takes off kept predictions: evenly spread over a step."""
    spread: Column = steps(kept) / np.sqrt(12) if cut else np.zeros(kept.shape[1])
    return spread


def uncut(records: Records, cut: Cut | None) -> Records:
    """The record with the middle of each prediction's interval; itself if none was cut."""
    if cut is None or cut is Cut.ROUNDED:
        return records
    step = steps(records.predicted().predictions)
    return replace(records, predictions=cut.middle(records.predictions, step))
