"""What counts as exact: the only place where that line is drawn.

Two correct evaluations of one network differ by rounding, and by how much depends on its depth,
its weights and its inputs. So the rounding level is measured, not assumed: the network is
evaluated in float32 and in float64, and the difference is a sample of float32 rounding. Rounding
errors are proportional to the unit roundoff (Higham, Accuracy and Stability of Numerical
Algorithms, 2002, section 3.1), which carries the sample over to float64 arithmetic.
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Network, mean_squares
from unshuffle.files.schema import BESIDE, Derived
from unshuffle.pieces.pile import Floats

SAMPLE_ROWS = 128
"""Rows on which the rounding level is measured, spread evenly over the record."""

MARGIN = 8.0
"""An error counts as rounding up to this multiple of the measured level: the lost network summed
in another sequence, perhaps on another machine, and largest errors grow slowly with the rows."""

ACCIDENT = 1e-3  # probability up to which numbers are not taken to be rounded by chance

UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Unit roundoff by dtype."""


Column = NDArray[np.float64]
"""Shape (outputs,): a number for each column of predictions."""


@dataclass(frozen=True, eq=False)
class Tolerance:
    """Largest errors that rounding explains, column by column.

    Parameters
    ----------
    rms, peak
        Shape (outputs,): bounds on the root mean squared and on the maximum absolute error, in the
        unit of each column of predictions.
    """

    derived: ClassVar[Derived] = {name: attrgetter(name) for name in ("mse", "max_abs_error")}

    rms: Annotated[Column, BESIDE]
    peak: Annotated[Column, BESIDE]

    @property
    def mse(self) -> float:
        """Mean over the columns of the mean squared error that is admitted."""
        return float(np.mean(np.square(self.rms)))

    @property
    def max_abs_error(self) -> float:
        """The largest of the bounds on the maximum absolute error."""
        return float(self.peak.max(initial=0.0))

    def admits(self, errors: Floats) -> bool:
        """Whether errors, shape (rows, outputs), lie within the bounds in every column."""
        squares = mean_squares(errors, axis=0)
        return bool((squares <= self.rms**2).all() and (np.abs(errors) <= self.peak).all())

    def scaled(self, factor: float) -> "Tolerance":
        """The tolerance of an arithmetic that is coarser by `factor`."""
        return Tolerance(self.rms * factor, self.peak * factor)


def rounding_tolerance(
    network: Network, inputs: Floats, predictions: Floats, arithmetic: str
) -> Tolerance:
    """Measure the errors that rounding alone makes in this network on these inputs.

    Parameters
    ----------
    network
        Any arrangement; the closer to the truth, the better the measurement.
    inputs, predictions
        Shapes (rows, width) and (rows, outputs).
    arithmetic
        The dtype in which the lost network computed and its predictions were kept.
    """
    every = max(1, len(inputs) // SAMPLE_ROWS)
    sample = inputs[::every]
    with np.errstate(over="ignore", invalid="ignore"):
        difference = network.astype(np.float32).predict(sample) - network.astype(
            np.float64
        ).predict(sample)
    relative = UNIT[arithmetic] / UNIT["float32"]
    # Predictions are themselves kept in that arithmetic: half a unit in the last place at least.
    floor = UNIT[arithmetic] * _rms(predictions)
    largest = UNIT[arithmetic] * np.abs(predictions).max(axis=0).astype(np.float64)
    peak = relative * np.abs(difference).max(axis=0)
    return Tolerance(
        MARGIN * np.maximum(relative * _rms(difference), floor), MARGIN * np.maximum(peak, largest)
    )


def _rms(values: Floats) -> Column:
    """Root mean square of each column."""
    rms: Column = np.sqrt(mean_squares(values, axis=0))
    return rms


def arithmetic_of(weights: np.dtype[np.floating], predictions: Floats) -> str:
    """The coarser of the weights' dtype and the precision that the predictions carry.

    A network in float64 whose predictions were written with float32 digits can only be compared
    to float32 rounding. That is the case where every prediction is the shortest decimal of some
    float32.
    """
    if np.float32 in (weights, predictions.dtype):
        return "float32"
    shortest = predictions.astype(np.float32).astype(str).astype(np.float64)
    return "float32" if np.array_equal(shortest, predictions) else "float64"


def storage_tolerance(
    rounding: Tolerance, arithmetic: str, stored_as: tuple[str, ...], predictions: Floats
) -> Tolerance:
    """Errors that the coarseness of the stored numbers explains, beyond the arithmetic.

    Parameters
    ----------
    rounding
        The tolerance of the arithmetic on the same network and rows.
    arithmetic
        The dtype that it is of.
    stored_as
        The dtypes of the pieces in their files. Where halves stand for the weights of a network
        that computed in float32, every weight is off by half a unit in its last place. Integers
        with scales have no such unit; their levels are measured as those of plain numbers are.
    predictions
        Shape (rows, outputs). Columns rounded to k decimals are off by half a unit of the k-th.
    """
    coarsest = max((UNIT[name] for name in stored_as if name in UNIT), default=0.0)
    tolerance = rounding.scaled(max(1.0, coarsest / UNIT[arithmetic] / MARGIN))
    step = np.array([_step(column) for column in predictions.T])
    # Of n numbers that are rounded anyhow, the mean square varies by 0.9 of itself over sqrt(n).
    rms = step / np.sqrt(12) * (1 + 2 / np.sqrt(len(predictions)))
    return Tolerance(tolerance.rms + rms, tolerance.peak + step / 2)


def _step(column: Floats) -> float:
    """Distance of the decimals that predictions were rounded to; 0 where they were not."""
    places = decimals(column)
    return 0.0 if places is None else 10.0**-places


def decimals(predictions: Floats) -> int | None:
    """Decimal places to which predictions were rounded; None if to none that float32 resolves."""
    largest = float(np.abs(predictions).max(initial=0.0))
    resolution = 2 * UNIT["float32"] * largest
    for places in range(8):
        step = 10.0**-places
        if step < 16 * resolution:
            break
        if (2 * resolution / step) ** predictions.size > ACCIDENT:
            continue
        if np.allclose(np.round(predictions, places), predictions, rtol=0.0, atol=resolution):
            return places
    return None
