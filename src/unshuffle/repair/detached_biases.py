"""Weights and biases that are separate pieces."""

from unshuffle.repair.case import Case
from unshuffle.repair.repair import Repair
from unshuffle.solution.solution import Solution


def _run(case: Case, _: Solution | None) -> Solution:
    from unshuffle.repair.bias_search import solve_detached

    return solve_detached(case.pile, case.records, case.options)


DETACHED_BIASES = Repair(
    "detached biases",
    suspects=lambda case, _: float(case.pile.detached and not case.permuted_units),
    run=_run,
)
