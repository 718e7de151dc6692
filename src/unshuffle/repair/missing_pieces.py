"""Pieces that are missing, or that do not belong."""

from dataclasses import dataclass, replace
from functools import partial

from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import PileError
from unshuffle.grouping.matching import optimal_matching
from unshuffle.proof.outcome import SETTLED
from unshuffle.repair.case import Case
from unshuffle.repair.repair import (
    UNSOLVED,
    Looks,
    Repair,
    hard_row_steps,
    needs_one_width,
    needs_predictions,
)
from unshuffle.solution.arranging import Searching
from unshuffle.solution.solution import Solution


@dataclass(frozen=True)
class MissingParameters:
    """Numbers that say when layers are left out before a search of all pieces has ended."""

    sure: float = 0.5  # Part of the matched pairs with positive log-odds where others are doubted.
    impossible: float = -5.0  # Log-odds of a pair below which both layers may lack their partners.
    longer: float = 3.0  # Factor by which row steps grow from one look to the next.


STANDARD = MissingParameters()


def _requires(case: Case) -> str | None:
    lacking = needs_predictions(case) or needs_one_width(case)
    return lacking or (None if case.partial else "shapes do not tell what is missing")


def _suspects(case: Case, solution: Solution | None) -> float:
    """Where shapes say so; after a search, where all pieces together came to nothing."""
    if isinstance(case.whole, PileError):
        return 0.95 * (solution is None)
    return 0.5 * (solution is not None and solution.outcome in UNSOLVED)


def _run(case: Case, solution: Solution | None) -> Solution:
    """Leave pieces out, and estimate single layers that are missing."""
    from unshuffle.repair.incomplete import solve_incomplete, solve_loose

    assert case.partial is not None
    with single_threaded_blas():  # that of SciPy too, which is loaded now
        if solution is None:
            return solve_incomplete(case.pile, case.records, case.options, case.partial)
        return solve_loose(case.pile, case.records, case.options, case.partial, solution)


def looks(case: Case, searching: Searching, by: MissingParameters = STANDARD) -> Looks:
    """Leave pieces out where weights call some pairs impossible. The whole pile comes first.

    What weights call impossible may be two wrong pairs. So either search has as many row steps as
    the other, until that is as much as hard records take.
    """
    if not _seem_foreign(searching, by):
        return
    done = 0.0
    while searching.row_steps < hard_row_steps(searching):
        if searching.row_steps < by.longer * done:
            yield None
            continue
        done = searching.row_steps
        yield partial(_settled, replace(case, options=replace(case.options, row_steps=done)))
    yield lambda: _run(case, None)


def _seem_foreign(searching: Searching, by: MissingParameters) -> bool:
    """Whether weights call some of the likeliest pairs impossible, and are sure of most others."""
    pairing = searching.alternatives.pairing
    if pairing is None:
        return False
    odds = pairing.scores[tuple(optimal_matching(pairing.scores).T)]
    return bool((odds > 0).mean() > by.sure and (odds < by.impossible).any())


def _settled(case: Case) -> Solution | None:
    """What leaving pieces out comes to within limited row steps; None where nothing is proved."""
    found = _run(case, None)
    return found if found.outcome in SETTLED else None


MISSING_PIECES = Repair(
    "missing or foreign pieces",
    suspects=_suspects,
    run=_run,
    requires=_requires,
    looks=looks,
    near=True,
)
