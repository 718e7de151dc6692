"""Inputs that were scaled and shifted column by column after the network had read them.

Where an arrangement is near the truth, the scale and shift of every column that take its misfit
away are a nonlinear least-squares problem of two unknowns a column, with derivatives from one
backward pass: the prediction changes by g x' with the scale of a column of x' and by g with its
shift, g being its sensitivity. It is solved by the method of Levenberg (1944) and Marquardt (1963).
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from threadpoolctl import threadpool_limits

from unshuffle.blocks.network import Network
from unshuffle.ordering.journal import Errors, Journal, Numbers, bits, from_bits
from unshuffle.ordering.trace import Step
from unshuffle.pieces.pile import Floats, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import Outcome
from unshuffle.solution.arranging import Options, Start, arrange
from unshuffle.solution.findings import Findings
from unshuffle.solution.solution import Solution

ROWS = 2048
"""Rows that scales are fitted to, at most."""

EQUATIONS_PER_UNKNOWN = 1.5
"""Predictions that are needed for each number that is fitted, so that a fit says something."""

ITERATIONS = 60
DAMPING, SMALLEST_DAMPING, LARGEST_DAMPING = 1e-2, 1e-12, 1e8
CONVERGED = 1e-12
"""An iteration that takes away less of the error than this part of it is the last one."""


ENDED = (Outcome.EXACT, Outcome.BUDGET_SPENT, Outcome.INTERRUPTED)
"""Outcomes after which nothing is fitted."""

ROUNDS = 5
"""Rounds of searching for the order and fitting scales."""

STEPS = 120
"""Steps of a search between two fits."""

HELPFUL = 0.9
"""A round helps if it leaves at most this part of the error."""

SCALED = 0.25
"""Part of the error that scales leave at most where nothing but the inputs is wrong: fitted to the
record of another network, they left 0.4 to 0.7. It is asked with fewer rows"""
FEW_ROWS = 512
FEW_ITERATIONS = 10
"""and iterations."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """What the network read, as a map of what the record has: ``x = scale * x' + shift``.

    Parameters
    ----------
    scale, shift
        Shape (width,) each.
    """

    scale: Floats
    shift: Floats

    def applied(self, records: Records) -> Records:
        """The record with the inputs that the network read."""
        inputs = records.inputs.astype(np.float64) * self.scale + self.shift
        return Records(inputs, records.predictions, records.targets, records.name)


def solve_scaled(
    pile: Pile, records: Records, options: Options, found: Solution | None = None
) -> Solution | None:
    """Search for the order and fit the scales of the inputs in turn.

    Parameters
    ----------
    pile, records, options
        As for `arrange`; the pile is whole.
    found
        What a search without scales came to.

    Returns
    -------
    Solution or None
        `EXACT` if the record is reproduced as it stands; `APPROXIMATE` if it is reproduced to
        rounding with scales and shifts, which its findings then hold. Where the first search was
        cut off, that one's; else None.
    """
    known = records.predicted()
    if found is not None and found.outcome is Outcome.NO_FIT and not _promises(found, known):
        return None
    if found is not None and options.time_limit is not None:
        # The limit is of what is left, but a search goes on from the seconds of its trace.
        left = options.time_limit + found.trace.seconds[-1]
        options = replace(options, time_limit=left)
    first = solution = found or arrange(pile, records, options, watch=_some)
    error = np.inf
    for _ in range(ROUNDS):
        if solution.outcome in ENDED or not solution.mse < HELPFUL * error:
            break
        error = solution.mse
        with threadpool_limits(1, "blas"):
            scaling = _fitted(solution.network, known, options.journal or Journal())
        if scaling is None:
            return None
        # A search adds to the trace that it begins with; the one that was found stays as it is.
        start = Start(solution.trace.steps[-1].order, deepcopy(solution.trace))
        solution = arrange(pile, scaling.applied(records), options, start=start, watch=_some)
        if solution.exact:
            return _told(solution, scaling)
    if solution.exact:
        return solution
    # Of what was found before there is more to say than that no scales were found in time.
    return (
        replace(first, outcome=solution.outcome) if found is None and _cut_off(solution) else None
    )


def _cut_off(solution: Solution) -> bool:
    return solution.outcome in (Outcome.BUDGET_SPENT, Outcome.INTERRUPTED)


def _fitted(network: Network, known: Records, journal: Journal) -> Scaling | None:
    """The scales, from the journal if they were fitted before."""

    def pack(found: Scaling | None) -> tuple[Numbers, tuple[()]]:
        parts = [] if found is None else [found.scale, found.shift]
        return np.concatenate([np.empty(0, np.int32), *map(bits, parts)]), ()

    def unpack(numbers: Numbers, _: Errors) -> Scaling | None:
        if not len(numbers):
            return None
        return Scaling(*from_bits(numbers, np.empty((2, known.width))))

    return journal.result(lambda: fit_scaling(network, known), pack, unpack)


def _promises(found: Solution, known: Records) -> bool:
    """Whether scales take most of a misfit away."""
    if not found.mse < known.predictions.var():
        return False
    some = known.take(np.arange(min(FEW_ROWS, len(known))))
    with threadpool_limits(1, "blas"):
        scaling = fit_scaling(found.network, some, iterations=FEW_ITERATIONS)
    if scaling is None:
        return False
    before, after = (
        float(np.mean(np.square(found.network.predict(each.inputs) - each.predictions)))
        for each in (some, scaling.applied(some))
    )
    return after < SCALED * before


def _some(steps: Iterator[Step]) -> Iterator[Step]:
    return islice(steps, STEPS)


def _told(solution: Solution, scaling: Scaling) -> Solution:
    """The solution with its scales among the findings; fitted numbers leave it approximate."""
    note = (
        "the inputs are not as the network read them: with every column scaled and shifted, by "
        "numbers fitted to the record, all rows are reproduced to rounding"
    )
    findings = Findings(
        notes=(note,), scale=tuple(scaling.scale.tolist()), shift=tuple(scaling.shift.tolist())
    )
    return replace(solution, outcome=Outcome.APPROXIMATE, findings=findings)


def fit_scaling(
    network: Network, known: Records, *, iterations: int = ITERATIONS
) -> Scaling | None:
    """Fit the scale and shift of every input column to the record.

    Parameters
    ----------
    network
        An arrangement that is near the truth.
    known
        Rows that all have predictions. At most 2048 of them, spread evenly, are used.
    iterations
        How many at most.

    Returns
    -------
    Scaling or None
        None where there are too few predictions. A column that is constant keeps its scale of 1.
    """
    some = known.take(np.arange(0, len(known), -(-len(known) // ROWS)))
    width = some.width
    if some.predictions.size < EQUATIONS_PER_UNKNOWN * 2 * width:
        return None
    network = network.astype(np.float64)
    inputs = some.inputs.astype(np.float64)
    predictions = some.predictions.astype(np.float64)
    numbers = np.concatenate([np.ones(width), np.zeros(width)])
    residual, jacobian = _linearized(network, inputs, predictions, numbers)
    damping = DAMPING
    for _ in range(iterations):
        gram, slope = jacobian.T @ jacobian, jacobian.T @ residual
        before = float(residual @ residual)
        while damping <= LARGEST_DAMPING:
            diagonal = damping * (gram.diagonal() + np.finfo(float).eps * np.trace(gram))
            step = np.linalg.solve(gram + np.diag(diagonal + np.finfo(float).tiny), -slope)
            found = _linearized(network, inputs, predictions, numbers + step)
            after = float(found[0] @ found[0])
            if after < before:
                break
            damping *= 10
        else:
            break
        numbers, (residual, jacobian) = numbers + step, found
        damping = max(damping / 10, SMALLEST_DAMPING)
        if after > (1 - CONVERGED) * before or after == 0:
            break
    return Scaling(numbers[:width], numbers[width:])


def _linearized(
    network: Network, inputs: Floats, predictions: Floats, numbers: Floats
) -> tuple[Floats, Floats]:
    """Residual, outputs first, and its derivatives by all scales and then by all shifts."""
    width = inputs.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        states = [*network.states(inputs * numbers[:width] + numbers[width:])]
        sensitivity = np.repeat(network.last.weight[:, None], len(inputs), axis=1)
        for block in range(len(network.blocks) - 1, -1, -1):
            sensitivity = network.blocks.pullback(block, states[block], sensitivity)
        residual = (network.last(states[-1]) - predictions).T.reshape(-1)
    derivatives = np.concatenate([sensitivity * inputs, sensitivity], axis=2)
    return residual, derivatives.reshape(len(residual), 2 * width)
