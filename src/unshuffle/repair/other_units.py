"""Records in other units than those of the network.

The inputs may be raw while the network read them standardised, or scaled to the range from 0 to 1.
The predictions may be in the units of a target, or behind a sigmoid. The record gives a first
guess, and fits to what searches find improve it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import Outcome
from unshuffle.repair.case import Case
from unshuffle.repair.in_turn import Distortion, repair_by
from unshuffle.repair.scaled_inputs import Scaling
from unshuffle.solution.findings import Findings
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution


@dataclass(frozen=True)
class OtherUnitParameters:
    """Numbers that say which units are tried.

    Parameters
    ----------
    alike
        Part of their spread by which inputs may miss being standardised, or from 0 to 1.
    """

    alike: float = 0.05


STANDARD = OtherUnitParameters()


@dataclass(frozen=True, eq=False)
class ScaledPredictions:
    """Predictions that were multiplied by a scale and shifted, output by output."""

    patience = 1.0
    assumption = "the predictions were scaled and shifted behind the last layer"
    scale: Floats
    shift: Floats

    def undone(self, case: Case) -> tuple[Records, Options]:
        """The record with the predictions of the last layer."""
        return self.findings.undone(case.records), case.options

    def fitted(self, network: MlpNetwork, case: Case) -> "ScaledPredictions":
        """Scales and shifts by the regression of the record on what a network predicts."""
        known = case.records.predicted()
        own = network.astype(np.float64).predict(known.inputs)
        scale, shift = np.ones(own.shape[1]), np.zeros(own.shape[1])
        for output, (x, y) in enumerate(zip(own.T, known.predictions.T, strict=True)):
            design = np.column_stack([x, np.ones(len(x))])
            scale[output], shift[output] = np.linalg.lstsq(design, y.astype(np.float64))[0]
        return ScaledPredictions(np.where(scale == 0, 1.0, scale), shift)

    def told(self, solution: Solution) -> Solution:
        """The solution with its scales. Fitted numbers leave it approximate."""
        return solution.ended(Outcome.APPROXIMATE, self.findings)

    @property
    def findings(self) -> Findings:
        """What a solution says of it."""
        scale, shift = self.scale.tolist(), self.shift.tolist()
        numbers = "; ".join(
            f"{scale:.7g} × prediction {shift:+.7g}"
            for scale, shift in zip(scale, shift, strict=True)
        )
        note = (
            f"the predictions of the record are those of the network in other units: {numbers}, "
            "fitted to the record, reproduces all rows to rounding; errors are in the network's "
            "units"
        )
        return Findings(notes=(note,), prediction_scale=tuple(scale), prediction_shift=tuple(shift))


@dataclass(frozen=True, eq=False)
class Sigmoid:
    """Predictions behind a sigmoid."""

    patience = 16.0
    assumption = "a sigmoid came behind the last layer"

    def undone(self, case: Case) -> tuple[Records, Options]:
        """The record with the logits, but for those that have lost too many digits."""
        return Findings(sigmoid=True).undone(case.records), case.options

    def fitted(self, network: MlpNetwork, case: Case) -> None:
        """There is nothing to fit."""

    def told(self, solution: Solution) -> Solution:
        """The solution, which reproduces logits."""
        note = (
            f"a sigmoid came behind the last layer: the logits of the {solution.rows} predictions "
            "that it has not pressed too close to 0 or 1 are reproduced, and errors are theirs"
        )
        return solution.ended(Outcome.APPROXIMATE, Findings(notes=(note,), sigmoid=True))


def _candidates(case: Case, by: OtherUnitParameters = STANDARD) -> Iterator[Distortion]:
    known = case.records.predicted()
    y = known.predictions.astype(np.float64)
    if (y > 0).all() and (y < 1).all():
        yield Sigmoid()
    x = known.inputs.astype(np.float64)
    low, size = x.min(axis=0), np.ptp(x, axis=0)
    for middle, width in ((x.mean(axis=0), x.std(axis=0)), (low, size)):
        spread = np.where(width > 0, width, 1.0)
        scale, shift = 1 / spread, -middle / spread
        if max(np.abs(scale - 1).max(), np.abs(shift).max()) > by.alike:
            yield Scaling(scale, shift)
    yield ScaledPredictions(y.std(axis=0), y.mean(axis=0))


OTHER_UNITS = repair_by("other units", 0.5, _candidates)
