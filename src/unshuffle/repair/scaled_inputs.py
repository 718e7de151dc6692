"""Inputs that were scaled and shifted column by column after the network had read them.

Scale and shift of every column are a nonlinear least-squares problem, with two unknowns a column.
One backward pass gives the derivatives. Let g be the adjoint and x' a column of a state. The
prediction changes by g x' with the column's scale, and by g with its shift.
"""

from dataclasses import dataclass

import numpy as np

from unshuffle.blocks.mlp import MlpNetwork, as_mlp
from unshuffle.errors import PileError
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.alterations import standardised
from unshuffle.proof.independence import independent_rows
from unshuffle.proof.outcome import Outcome
from unshuffle.repair.case import Case
from unshuffle.repair.in_turn import CUT_OFF, FittedNumbers, arrange_on, believed
from unshuffle.repair.least_squares import fit, linearized_inputs
from unshuffle.repair.repair import UNSOLVED, Repair, needs_predictions
from unshuffle.solution.findings import Findings
from unshuffle.solution.solution import Solution

SCALED = (
    "the inputs are not as the network read them: with every column scaled and shifted, by numbers "
    "fitted to the record, all rows are reproduced to rounding"
)


@dataclass(frozen=True)
class ScalingParameters:
    """Numbers that steer the search for scales and order."""

    rows: int = 2048  # Rows that scales are fitted to, at most.
    few_rows: int = 512  # Rows where it is only asked whether scales help.
    few_iterations: int = 10  # Iterations where it is only asked whether scales help.
    equations: float = 1.5  # Predictions for each fitted number, so that a fit says something.
    rounds: int = 5  # Rounds of searching for the order and fitting scales in turn.
    steps: int = 120  # Steps of a search between two fits.
    helpful: float = 0.9  # A round helps if it leaves at most this part of the error.
    # Part of the error that scales leave at most where nothing else is wrong: fitted to the record
    # of another network, they left 0.4 to 0.7.
    scaled: float = 0.25


STANDARD = ScalingParameters()


@dataclass(frozen=True, eq=False)
class Scaling(FittedNumbers):
    """What the network read, as a map of what the record has: ``x = scale * x' + shift``."""

    assumption = "the network read the inputs scaled and shifted"
    scale: Floats
    shift: Floats

    @property
    def findings(self) -> Findings:
        """What a solution says of it."""
        scale, shift = (tuple(each.tolist()) for each in (self.scale, self.shift))
        return Findings(notes=(SCALED,), scale=scale, shift=shift)

    def applied(self, records: Records) -> Records:
        """The record with the inputs that the network read."""
        return self.findings.undone(records)

    def fitted(self, network: MlpNetwork, case: Case) -> "Scaling | None":
        """The scales and shifts with which a network errs least."""
        known, clock = case.records.predicted(), case.options.clock
        return fit_scaling(network, known, clock, begun=self)


def _run(case: Case, found: Solution | None, by: ScalingParameters = STANDARD) -> Solution | None:
    """Search for the order and fit the scales of the inputs in turn; `found` is without scales.

    It is `EXACT` if the record is reproduced as it stands; `APPROXIMATE` with scales among the
    findings. Where the first search was cut off it is that one's; else None.
    """
    pile, records, options = case.pile, case.records, case.options
    known, clock = records.predicted(), options.clock
    if (
        found is not None
        and found.outcome is Outcome.NO_FIT
        and not _helps(found, known, clock, by)
    ):
        return None
    first = solution = found or arrange_on(pile, records, options, by.steps)
    error = np.inf
    for _ in range(by.rounds):
        ended = solution.exact or solution.outcome in CUT_OFF
        if ended or not solution.mse < by.helpful * error:
            break
        error = solution.mse
        scaling = fit_scaling(as_mlp(solution.network), known, clock, by=by)
        if scaling is None:
            return None
        solution = arrange_on(pile, scaling.applied(records), options, by.steps, solution)
        if solution.exact:
            return believed(case, scaling, solution)
    if solution.exact:
        return solution
    # Of what was found before there is more to say than that no scales were found in time.
    cut_off = found is None and solution.outcome in CUT_OFF
    return first.ended(solution.outcome) if cut_off else None


def _helps(found: Solution, known: Records, clock: Clock, by: ScalingParameters) -> bool:
    """Whether scales take most of a misfit away."""
    if not found.mse < known.variance:
        return False
    some, network = known.first(by.few_rows), as_mlp(found.network)
    scaling = fit_scaling(network, some, clock, by.few_iterations, by=by)
    if scaling is None:
        return False
    before, after = (
        network.error(each.inputs, each.predictions) for each in (some, scaling.applied(some))
    )
    return after < by.scaled * before


def fit_scaling(
    network: MlpNetwork,
    known: Records,
    clock: Clock,
    iterations: int | None = None,
    begun: Scaling | None = None,
    *,
    by: ScalingParameters = STANDARD,
) -> Scaling | None:
    """Fit scale and shift of every column to rows spread over the record, if there are enough.

    Rows that the network cannot tell apart are one equation. A constant column keeps the scale that
    it began with. Time may end it with the best so far.
    """
    some = independent_rows(network, known).thinned(by.rows)
    if some.predictions.size < by.equations * 2 * some.width:
        return None
    begun = begun or Scaling(np.ones(some.width), np.zeros(some.width))
    inputs, predictions = some.inputs.astype(np.float64), some.predictions.astype(np.float64)
    at = linearized_inputs(network.astype(np.float64), inputs, predictions)
    return Scaling(
        *np.split(fit(at, np.concatenate([begun.scale, begun.shift]), clock, iterations), 2)
    )


def _suspects(case: Case, solution: Solution | None) -> float:
    """Where inputs are standardised on the rows of the record; else where a search failed."""
    if isinstance(case.whole, PileError):
        return 0.0
    if solution is None:
        return 0.7 * standardised(case.records)
    return 0.3 * (solution.outcome in UNSOLVED)


SCALED_INPUTS = Repair("scaled inputs", suspects=_suspects, run=_run, requires=needs_predictions)
