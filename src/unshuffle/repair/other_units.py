"""Records in other units than those of the network.

The inputs may be raw while the network read them standardised, or scaled to the range from 0 to 1.
The predictions may be in the units of a target, or behind a sigmoid. The record gives a first
guess, and fits to what searches find improve it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.pieces.pile import TINY, Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import Outcome
from unshuffle.repair.case import Case
from unshuffle.repair.in_turn import LONGER, Distortion, FittedNumbers, repair_by
from unshuffle.repair.least_squares import Linearized, fit, linearized_inputs
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
    rows
        Rows that units of inputs and predictions are fitted to together, at most.
    equations
        Predictions for each fitted number, so that a fit says something.
    after
        Row steps of the main search before other orders are tried.
    """

    alike: float = 0.05
    rows: int = 2048
    equations: float = 1.5
    after: int = 32_768


STANDARD = OtherUnitParameters()


@dataclass(frozen=True, eq=False)
class ScaledPredictions(FittedNumbers):
    """Predictions that were multiplied by a scale and shifted, output by output."""

    assumption = "the predictions were scaled and shifted behind the last layer"
    scale: Floats
    shift: Floats

    def fitted(self, network: MlpNetwork, case: Case) -> "ScaledPredictions":
        """Scales and shifts by the regression of the record on what a network predicts."""
        known = case.records.predicted()
        own = network.astype(np.float64).predict(known.inputs)
        scale, shift = np.ones(own.shape[1]), np.zeros(own.shape[1])
        for output, (x, y) in enumerate(zip(own.T, known.predictions.T, strict=True)):
            design = np.column_stack([x, np.ones(len(x))])
            scale[output], shift[output] = np.linalg.lstsq(design, y.astype(np.float64))[0]
        return ScaledPredictions(np.where(scale == 0, 1.0, scale), shift)

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

    patience, begun = 16.0, None
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


@dataclass(frozen=True, eq=False)
class BothUnits(FittedNumbers):
    """Inputs and predictions in other units."""

    assumption = "inputs and predictions are both in other units than those of the network"
    inputs: Scaling
    predictions: ScaledPredictions
    by: OtherUnitParameters = STANDARD

    def fitted(self, network: MlpNetwork, case: Case) -> "BothUnits | None":
        """The scales and shifts of both with which a network errs least, fitted together."""
        known = case.records.predicted().thinned(self.by.rows)
        count = 2 * (known.width + known.outputs)
        if known.predictions.size < self.by.equations * count:
            return None
        at = _linearized(network.astype(np.float64), known)
        ours, theirs = self.inputs, self.predictions
        begun = np.concatenate([ours.scale, ours.shift, theirs.scale, theirs.shift])
        numbers = fit(at, begun, case.options.clock)
        width, outputs = known.width, known.outputs
        scale, shift, *others = np.split(numbers, np.cumsum([width, width, outputs]))
        return replace(self, inputs=Scaling(scale, shift), predictions=ScaledPredictions(*others))

    @property
    def findings(self) -> Findings:
        """What a solution says of it."""
        inputs, predictions = self.inputs.findings, self.predictions.findings
        notes = inputs.notes + predictions.notes
        return replace(predictions, notes=notes, scale=inputs.scale, shift=inputs.shift)


def _linearized(network: MlpNetwork, known: Records) -> Linearized:
    """Residuals by scales and shifts of inputs and predictions, in last digits of predictions."""
    inputs, given = known.inputs.astype(np.float64), known.predictions.astype(np.float64)
    digit = np.maximum(np.abs(given).max(axis=0), TINY) * np.finfo(np.float32).eps

    def at(numbers: Floats) -> tuple[Floats, Floats]:
        ours, theirs = np.split(numbers, [2 * known.width])
        scale, shift = np.split(theirs, 2)
        units = scale / digit
        last = Linear(units[:, None] * network.last.weight, units * network.last.bias)
        at_inputs = linearized_inputs(MlpNetwork(network.blocks, last), inputs, 0.0 * given)
        scaled, slopes = at_inputs(ours)
        scaled = scaled.reshape(known.outputs, -1)
        residual = scaled + ((shift - given) / digit).T
        by_scale, by_shift = (
            np.einsum("on,op->onp", each, np.eye(known.outputs)).reshape(-1, known.outputs)
            for each in (scaled / scale[:, None], np.ones_like(scaled) / digit[:, None])
        )
        return residual.reshape(-1), np.concatenate([slopes, by_scale, by_shift], axis=1)

    return at


def _candidates(case: Case, by: OtherUnitParameters = STANDARD) -> Iterator[Distortion]:
    known = case.records.predicted()
    y = known.predictions.astype(np.float64)
    if (y > 0).all() and (y < 1).all():
        yield Sigmoid()
    inputs, predictions = [*_scalings(known, by)], ScaledPredictions(y.std(axis=0), y.mean(axis=0))
    yield from inputs
    yield predictions
    yield from (BothUnits(each, predictions) for each in inputs)


def _scalings(known: Records, by: OtherUnitParameters) -> Iterator[Scaling]:
    """Inputs standardised, or from 0 to 1, where they are not so."""
    x = known.inputs.astype(np.float64)
    low, size = x.min(axis=0), np.ptp(x, axis=0)
    for middle, width in ((x.mean(axis=0), x.std(axis=0)), (low, size)):
        spread = np.where(width > 0, width, 1.0)
        scale, shift = 1 / spread, -middle / spread
        if max(np.abs(scale - 1).max(), np.abs(shift).max()) > by.alike:
            yield Scaling(scale, shift)


def _nearest(case: Case) -> list[Distortion]:
    """What came near its record before, the nearest first; nothing where there are many blocks."""
    left = case.left
    near = [one for one in _candidates(case) if left.get(one.assumption, np.inf) < LONGER.moved]
    few = len(case.pile) // 2 <= case.options.parameters.few_blocks
    return sorted(near, key=lambda one: left[one.assumption]) if few else []


OTHER_UNITS = repair_by("other units", 0.5, _candidates)
OTHER_UNITS_LONGER = repair_by(
    "other units, for longer", 0.38, _nearest, after=STANDARD.after, by=LONGER
)
