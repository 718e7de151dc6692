"""Weights and biases that are separate pieces.

Where each bias was kept right behind a weight that it fits, they are joined so first.
"""

from dataclasses import replace

from unshuffle.pieces.answer import answer_hash, with_biases
from unshuffle.pieces.pile import PieceId
from unshuffle.repair.case import Case
from unshuffle.repair.repair import UNSOLVED, Repair, better
from unshuffle.solution.solution import Solution


def _run(case: Case, _: Solution | None) -> Solution:
    following = {bias.behind: bias.id for bias in case.pile.biases if bias.behind is not None}
    joined = _solve_joined(case, following) if following else None
    if joined is not None and joined.outcome not in UNSOLVED:
        return joined
    from unshuffle.repair.bias_search import solve_detached

    return better(joined, solve_detached(case.pile, case.records, case.options))


def _solve_joined(case: Case, bias_of: dict[PieceId, PieceId]) -> Solution:
    """The solution of the pile with a bias for each weight."""
    values = {bias.id: bias.values for bias in case.pile.biases}
    whole = case.pile.joined({weight: values[bias] for weight, bias in bias_of.items()})
    return with_loose(case.solve(replace(case, pile=whole)), bias_of)


def with_loose(solution: Solution, bias_of: dict[PieceId, PieceId]) -> Solution:
    """A solution of joined pieces that names the loose biases too."""
    sha256 = answer_hash(with_biases(solution.layers, bias_of))
    return replace(solution, biases=bias_of, sha256=sha256)


DETACHED_BIASES = Repair(
    "detached biases",
    suspects=lambda case, _: float(case.pile.detached and not case.permuted_units),
    run=_run,
)
