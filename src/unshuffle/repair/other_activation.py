"""Networks with an activation that no search begins with."""

from dataclasses import replace

import numpy as np

from unshuffle.blocks.activations import FURTHER, LEAKY, leaky_relu
from unshuffle.blocks.mlp import as_mlp
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.ordering.search import InVain
from unshuffle.proof.activation import fitting_activation
from unshuffle.proof.outcome import FINAL
from unshuffle.repair.case import Case
from unshuffle.repair.registry import FAR
from unshuffle.solution.arranging import Start, arrange
from unshuffle.solution.solution import Solution

ROUNDS = 4  # of fitting the activation and searching on: a slope is fitted better each time
LOWER = 0.7  # part of the error up to which another activation is worth a search
WORK = 1024  # of a short search with each activation: rows of all steps, added up
SLOPE = 0.2  # of the leaky ReLU that is searched with


def solve_other_activation(case: Case, solution: Solution | None) -> Solution | None:
    """Search on with the activation that fits best; None where no other one fits better.

    What a search with the wrong activation has found is tried first. Where none fits it better each
    activation gets a short search of its own.
    """
    assert solution is not None
    found = _searched_on(case, solution)
    if found is not None and found.outcome in FINAL:
        return found
    best = found or solution
    for name in [leaky_relu(SLOPE).name if name == LEAKY else name for name in FURTHER]:
        if case.options.clock.out:
            break
        options = replace(case.options, activation=name)
        stop = InVain(WORK, FAR * case.records.variance)
        short = arrange(case.pile, case.records, options, stops=(stop,))
        if short.outcome not in FINAL and short.mse < LOWER * best.mse:
            short = _searched_on(case, short) or short
        best = short if short.outcome in FINAL or short.mse < best.mse else best
        if best.outcome in FINAL:
            break
    return None if best is solution else best


def _searched_on(case: Case, solution: Solution) -> Solution | None:
    """Search from an arrangement with the activation that fits it best, which is fitted anew."""
    best, known = None, case.records.predicted()
    for _ in range(ROUNDS):
        network = as_mlp(solution.network)
        with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore"):
            fitting = fitting_activation(network, known)
            blocks = replace(network.blocks, activation=fitting)
            left = replace(network, blocks=blocks).error(known.inputs, known.predictions)
        if not left < LOWER * solution.mse:
            break
        options = replace(case.options, activation=fitting.name)
        start = Start(solution.arrangement, solution.trace)
        best = solution = arrange(case.pile, case.records, options, start=start)
        if solution.outcome in FINAL:
            break
    return best
