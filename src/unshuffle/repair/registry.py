"""All repairs, each of which mends one kind of damage to a pile or a record.

What one needs is imported when it runs, since most solves need none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import PileError
from unshuffle.grouping.matching import optimal_matching
from unshuffle.grouping.pairs import Pairing
from unshuffle.pieces.pile import Pile
from unshuffle.proof.alterations import standardised
from unshuffle.proof.outcome import CONVERGED, Outcome
from unshuffle.repair.case import SURE_PART, Case
from unshuffle.solution.findings import Findings, Leftover
from unshuffle.solution.solution import Solution

# Suspicion from which on a repair is asked before any search.
EVIDENT = 0.6
# Log-odds of a matched pair below which both layers may lack their partners.
IMPOSSIBLE = -5.0
# Work after which a search far from its record is doubted: rows of all steps, added up.
VAIN = 2048
# Share of the predictions' variance from which on a search is far from its record.
FAR = 0.1

UNSOLVED = (*CONVERGED, Outcome.NO_FIT)
IDENTICAL, OTHER_ACTIVATION = "identical copies", "another activation"


@dataclass(frozen=True)
class Repair:
    """Mends one kind of damage.

    Parameters
    ----------
    name
        What results call it.
    suspects
        How likely this is what is wrong, from 0 to 1, by what a search came to; that is None before
        there was one.
    run
        Mends it; None where nothing came of it.
    requires
        Why it cannot serve a case, in a sentence; None where it can.
    """

    name: str
    suspects: Callable[[Case, Solution | None], float]
    run: Callable[[Case, Solution | None], Solution | None]
    requires: Callable[[Case], str | None] = lambda _: None


def _solve_permuted(case: Case, _: Solution | None) -> Solution:
    from unshuffle.repair.permuted import solve_permuted

    with single_threaded_blas():  # that of SciPy too, which is loaded now
        return solve_permuted(case.pile, case.records, case.options)


def _solve_detached(case: Case, _: Solution | None) -> Solution:
    from unshuffle.repair.detached import solve_detached

    return solve_detached(case.pile, case.records, case.options)


def _solve_without_copies(case: Case, _: Solution | None) -> Solution | None:
    """Set copies aside, if that helps: a network may hold the same layer twice."""
    pile, copies = case.pile, case.identical_copies
    kept = Pile(piece for position, piece in enumerate(pile) if position not in copies)
    doubled = tuple(
        Leftover(pile[copy].id, f"equals piece {pile[first].id} to the last bit")
        for copy, first in copies.items()
    )
    try:
        found = case.solve(replace(case, pile=kept, without=case.without | {IDENTICAL}))
    except PileError:
        return None
    unexplained = found.mse / case.records.variance if found.rows else 0.0
    findings = found.findings or Findings(unexplained=unexplained)
    leftovers = (*doubled, *findings.leftovers)
    return replace(found, findings=replace(findings, leftovers=leftovers))


def _suspects_versions(case: Case, solution: Solution | None) -> float:
    asked = solution is None and case.rebuilds and not case.identical_copies
    return 0.97 * (asked and bool(case.near_copies))


def _solve_versions(case: Case, _: Solution | None) -> Solution | None:
    from unshuffle.repair.versions import solve_versions

    return solve_versions(case.pile, case.records, case.options, case.near_copies)


def _suspects_missing(case: Case, solution: Solution | None) -> float:
    """Where shapes say so; after a search, where all pieces together came to nothing."""
    if isinstance(case.whole, PileError):
        return 0.95 * (solution is None)
    return 0.5 * (solution is not None and solution.outcome in UNSOLVED)


def _solve_incomplete(case: Case, solution: Solution | None) -> Solution:
    """Leave pieces out, and estimate single layers that are missing."""
    from unshuffle.repair.incomplete import solve_incomplete, solve_loose

    assert case.partial is not None
    with single_threaded_blas():  # that of SciPy too, which is loaded now
        if solution is None:
            return solve_incomplete(case.pile, case.records, case.options, case.partial)
        return solve_loose(case.pile, case.records, case.options, case.partial, solution)


def _suspects_scales(case: Case, solution: Solution | None) -> float:
    """Where inputs are standardised on the rows of the record; else where a search failed."""
    if isinstance(case.whole, PileError) or not case.rebuilds:
        return 0.0
    if solution is None:
        return 0.7 * standardised(case.records)
    return 0.3 * (solution.outcome in UNSOLVED)


def _solve_scaled(case: Case, solution: Solution | None) -> Solution | None:
    from unshuffle.repair.scaled_inputs import solve_scaled

    return solve_scaled(case.pile, case.records, case.options, solution)


def _solve_other_activation(case: Case, solution: Solution | None) -> Solution | None:
    from unshuffle.repair.other_activation import solve_other_activation

    return solve_other_activation(case, solution)


def _needs_predictions(case: Case) -> str | None:
    return None if case.rebuilds else "it needs two predictions and the fused evidence"


MISSING_PIECES = Repair(
    "missing or foreign pieces",
    _suspects_missing,
    _solve_incomplete,
    lambda case: None if case.partial else "shapes do not tell what is missing",
)

REPAIRS = (
    Repair("permuted units", lambda case, _: float(case.permuted_units), _solve_permuted),
    Repair(
        "detached biases",
        lambda case, _: float(case.pile.detached and not case.permuted_units),
        _solve_detached,
    ),
    Repair(
        IDENTICAL,
        lambda case, solution: 0.98 * (solution is None and bool(case.identical_copies)),
        _solve_without_copies,
    ),
    Repair("near copies", _suspects_versions, _solve_versions, _needs_predictions),
    MISSING_PIECES,
    Repair(
        OTHER_ACTIVATION,
        lambda _, solution: 0.6 * (solution is not None and solution.outcome in UNSOLVED),
        _solve_other_activation,
        lambda case: None if case.options.activation is None else "the activation is given",
    ),
    Repair("scaled inputs", _suspects_scales, _solve_scaled, _needs_predictions),
)


def suspected(case: Case, solution: Solution | None, least: float) -> Iterator[Repair]:
    """The repairs that are suspected that much, the likeliest first."""
    suspicions = {
        repair: repair.suspects(case, solution)
        for repair in REPAIRS
        if repair.name not in case.without
    }
    ranked = sorted(suspicions, key=lambda repair: -suspicions[repair])
    return (repair for repair in ranked if suspicions[repair] > least)


def has_improbable_pairs(pairing: Pairing) -> bool:
    """Whether most of the best pairs are sure by weights and some are all but impossible."""
    scores = pairing.scores
    odds = scores[tuple(optimal_matching(scores).T)]
    return bool((odds > 0).mean() > SURE_PART and (odds < IMPOSSIBLE).any())
