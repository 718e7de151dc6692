"""Pieces that equal another one to the last bit."""

from dataclasses import replace

from unshuffle.errors import PileError
from unshuffle.pieces.pile import Pile
from unshuffle.repair.case import Case
from unshuffle.repair.repair import Repair, leaving_out, looks_once
from unshuffle.solution.findings import Findings, Leftover
from unshuffle.solution.solution import Solution

NAME = "identical copies"


def _run(case: Case, _: Solution | None) -> Solution | None:
    """Set copies aside, if that helps: a network may hold the same layer twice."""
    pile, copies = case.pile, case.identical_copies
    kept = Pile(piece for position, piece in enumerate(pile) if position not in copies)
    doubled = tuple(
        Leftover(pile[copy].id, f"equals piece {pile[first].id} to the last bit")
        for copy, first in copies.items()
    )
    try:
        found = case.solve(replace(case, pile=kept, without=case.without | {NAME}))
    except PileError:
        return None
    unexplained = found.mse / case.records.variance if found.rows else 0.0
    findings = found.findings or Findings(unexplained=unexplained)
    leftovers = (*doubled, *findings.leftovers)
    return replace(found, findings=replace(findings, leftovers=leftovers))


IDENTICAL_COPIES = Repair(
    NAME,
    suspects=lambda case, solution: (
        0.98 * (bool(case.identical_copies) and leaving_out(case, solution))
    ),
    run=_run,
    looks=lambda case, _: looks_once(bool(case.identical_copies), lambda: _run(case, None)),
    near=True,
)
