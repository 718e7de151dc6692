"""What counts as exact: the only place where that line is drawn.

Two correct evaluations of one network differ by rounding. Depth, weights and inputs decide by how
much. So the level is measured. The network is evaluated in float32 and in float64, and the
difference is a sample of float32 rounding. Rounding errors are proportional to the unit roundoff
(Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). That carries the sample
over to float64 arithmetic.
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Network, mean_squares
from unshuffle.files.schema import BESIDE, Derived
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.effort import EFFORT, Effort

UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Unit roundoff by dtype."""


Column = NDArray[np.float64]
"""Shape (outputs,): a number for each column of predictions."""


@dataclass(frozen=True)
class ToleranceParameters:
    """The number that draws the line of *exact*.

    Parameters
    ----------
    margin
        An error counts as rounding up to this multiple of the measured level. The lost network was
        summed in another sequence, perhaps on another machine. Largest errors grow with the rows.
    """

    margin: float = 8.0


STANDARD = ToleranceParameters()


@dataclass(frozen=True, eq=False)
class Tolerance:
    """Largest errors that rounding explains, column by column.

    Parameters
    ----------
    rms, peak
        Shape (outputs,): bounds on the root mean squared and the maximum absolute error, in the
        unit of each column.
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
        small = mean_squares(errors) <= self.rms**2
        return bool(small.all() and (np.abs(errors) <= self.peak).all())

    def scaled(self, factor: float) -> "Tolerance":
        """The tolerance of an arithmetic that is coarser by `factor`."""
        return Tolerance(self.rms * factor, self.peak * factor)


def rounding_tolerance(
    network: Network,
    inputs: Floats,
    predictions: Floats,
    arithmetic: str,
    *,
    by: ToleranceParameters = STANDARD,
    effort: Effort = EFFORT,
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
    every = max(1, len(inputs) // effort.rounding)
    sample = inputs[::every]
    with np.errstate(over="ignore", invalid="ignore"):
        difference = network.astype(np.float32).predict(sample) - network.astype(
            np.float64
        ).predict(sample)
    relative = UNIT[arithmetic] / UNIT["float32"]
    level = relative * np.sqrt(mean_squares(difference))
    peak = relative * np.abs(difference).max(axis=0)
    # Predictions are themselves kept in that arithmetic: half a unit in the last place at least.
    floor = UNIT[arithmetic] * np.sqrt(mean_squares(predictions))
    largest = UNIT[arithmetic] * np.abs(predictions).max(axis=0).astype(np.float64)
    return Tolerance(np.maximum(level, floor), np.maximum(peak, largest)).scaled(by.margin)


def relative_error(network: Network, known: Records) -> float:
    """Mean squared error, that of each column in parts of its variance; infinite on overflow.

    So an output with a large spread decides no more than others. A column that does not vary counts
    as it is.
    """
    variances = known.variances
    with np.errstate(over="ignore", invalid="ignore"):
        squares = mean_squares(network.predict(known.inputs) - known.predictions)
        error = float(np.mean(squares / np.where(variances > 0, variances, 1.0)))
    return error if np.isfinite(error) else np.inf


def arithmetic_of(weights: np.dtype[np.floating], predictions: Floats) -> str:
    """The coarser of the weights' dtype and the precision that the predictions carry.

    Predictions of a float64 network that were written with float32 digits are compared to float32
    rounding. Then every prediction is some float32, or the shortest decimal of one.
    """
    if np.float32 in (weights, predictions.dtype):
        return "float32"
    single = predictions.astype(np.float32)
    kept = (single.astype(np.float64), single.astype(str).astype(np.float64))
    return "float32" if any(np.array_equal(each, predictions) for each in kept) else "float64"
