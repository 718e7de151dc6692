"""Hidden units that inp and out layers list in different sequences, where that is said."""

from unshuffle.blocks.mlp import as_mlp
from unshuffle.repair.case import Case
from unshuffle.repair.repair import Repair
from unshuffle.solution.solution import Solution


def _run(case: Case, _: Solution | None) -> Solution:
    from unshuffle.repair.unit_search import solve_permuted

    return solve_permuted(case.pile, case.records, case.options)


def _remark(case: Case, solution: Solution) -> str | None:
    """Whether units may be permuted although nobody said so."""
    pairing = solution.pairing
    # Where they can be matched at all, as `solve_permuted` would.
    if case.permuted_units or solution.biases or not pairing:
        return None
    if pairing.anatomy.interchangeable or pairing.anatomy.widths:
        return None
    from unshuffle.repair.unit_matching import permuted_units

    return permuted_units(as_mlp(solution.network).blocks, pairing, case.options.clock)


PERMUTED_UNITS = Repair(
    "permuted units",
    suspects=lambda case, _: float(case.permuted_units),
    run=_run,
    remark=_remark,
)
