"""Networks with an activation that no search begins with."""

from dataclasses import dataclass, replace

from unshuffle.blocks.activations import FURTHER, LEAKY, leaky_relu
from unshuffle.blocks.mlp import as_mlp
from unshuffle.ordering.search import InVain
from unshuffle.proof.activation import fitting_activation
from unshuffle.proof.outcome import FINAL, Outcome
from unshuffle.repair.case import Case
from unshuffle.repair.repair import UNSOLVED, Repair, far_from, needs_known_blocks, was_tried
from unshuffle.solution.arranging import Start, arrange
from unshuffle.solution.solution import Solution

NAME = "another activation"


@dataclass(frozen=True)
class ActivationParameters:
    """Numbers that steer the search for an activation."""

    rounds: int = 4  # Rounds of fitting it and searching on: a slope is fitted better each time.
    lower: float = 0.7  # Part of the error up to which another activation is worth a search.
    work: int = 1024  # Rows of all steps of a short search with each activation.
    slope: float = 0.2  # Slope of the leaky ReLU that is searched with, for negative numbers.


STANDARD = ActivationParameters()


def _run(case: Case, solution: Solution | None) -> Solution | None:
    """Search on with the activation that fits best; None where no other one fits better.

    What a search with the wrong activation has found is tried first. Where none fits it better each
    activation gets a short search of its own.
    """
    assert solution is not None
    by, found = STANDARD, _searched_on(case, solution)
    if found is not None and found.outcome in FINAL:
        return found
    best = found or solution
    for name in [leaky_relu(by.slope).name if name == LEAKY else name for name in FURTHER]:
        if case.options.clock.out:
            break
        options = replace(case.options, activation=name)
        stop = InVain(by.work, far_from(case.records))
        short = arrange(case.pile, case.records, options, stops=(stop,))
        if short.outcome not in FINAL and short.mse < by.lower * best.mse:
            short = _searched_on(case, short) or short
        best = short if short.outcome in FINAL or short.mse < best.mse else best
        if best.outcome in FINAL:
            break
    return None if best is solution else best


def _searched_on(case: Case, solution: Solution) -> Solution | None:
    """Search from an arrangement with the activation that fits it best, which is fitted anew."""
    best, known, by = None, case.records.predicted(), STANDARD
    for _ in range(by.rounds):
        network = as_mlp(solution.network)
        fitting = fitting_activation(network, known)
        blocks = replace(network.blocks, activation=fitting)
        left = replace(network, blocks=blocks).error(known.inputs, known.predictions)
        if not left < by.lower * solution.mse:
            break
        options = replace(case.options, activation=fitting.name)
        start = Start(solution.arrangement, solution.trace)
        best = solution = arrange(case.pile, case.records, options, start=start)
        if solution.outcome in FINAL:
            break
    return best


def _requires(case: Case) -> str | None:
    given = None if case.options.activation is None else "the activation is given"
    return needs_known_blocks(case) or given


def _remark(case: Case, solution: Solution) -> str | None:
    """Which activations were tried, where this repair was."""
    if not was_tried(NAME, solution) or solution.outcome is Outcome.BUDGET_SPENT:
        return None
    tried = ", ".join([each.name for each in case.options.activations] + [*FURTHER])
    return f"no activations but these were tried: {tried}"


OTHER_ACTIVATION = Repair(
    NAME,
    suspects=lambda _, solution: 0.6 * (solution is not None and solution.outcome in UNSOLVED),
    run=_run,
    requires=_requires,
    remark=_remark,
)
