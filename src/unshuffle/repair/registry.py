"""All repairs. What one needs is imported when it is asked, since most solves need none."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import PileError
from unshuffle.grouping.matching import optimal_matching
from unshuffle.grouping.pairs import Pairing
from unshuffle.pieces.pile import Pile
from unshuffle.proof.alterations import standardised
from unshuffle.proof.outcome import Outcome
from unshuffle.repair.anatomy import SURE_PART
from unshuffle.repair.copies import identical_copies, near_copies
from unshuffle.repair.interface import Case, Repair
from unshuffle.solution.findings import Findings, Leftover
from unshuffle.solution.solution import Solution

EVIDENT = 0.6
"""Suspicion from which on a repair is asked before any search."""

IMPOSSIBLE = -5.0
"""Log-odds of a matched pair below which both layers may lack their partners."""

UNSOLVED = (Outcome.LOCAL_OPTIMUM, Outcome.NO_FIT)


@dataclass(frozen=True)
class PermutedUnits:
    """Inp and out layers list hidden units in different sequences."""

    name: str = "permuted units"

    def requires(self, case: Case) -> str | None:
        """Nothing beyond what it checks itself."""
        return None

    def suspects(self, case: Case, solution: Solution | None) -> float:
        """Only if it was said."""
        return float(case.permuted_units)

    def run(self, case: Case, solution: Solution | None) -> Solution | None:
        """Search for the units and the order together."""
        from unshuffle.repair.permuted import solve_permuted

        with single_threaded_blas():  # that of SciPy too, which is loaded now
            return solve_permuted(case.pile, case.records, case.options)


@dataclass(frozen=True)
class DetachedTensors:
    """Weights and biases are separate pieces."""

    name: str = "detached biases"

    def requires(self, case: Case) -> str | None:
        """Nothing beyond what it checks itself."""
        return None

    def suspects(self, case: Case, solution: Solution | None) -> float:
        """Where any is."""
        return float(case.pile.detached and not case.permuted_units)

    def run(self, case: Case, solution: Solution | None) -> Solution | None:
        """Search for the biases and the order in turn."""
        from unshuffle.repair.detached import solve_detached

        return solve_detached(case.pile, case.records, case.options)


@dataclass(frozen=True)
class IdenticalCopies:
    """Pieces lie in the pile twice, to the last bit.

    A network may hold the same layer twice, so copies are set aside only where that helps.
    """

    name: str = "identical copies"

    def requires(self, case: Case) -> str | None:
        """Nothing."""
        return None

    def suspects(self, case: Case, solution: Solution | None) -> float:
        """Before a search, where any do."""
        return 0.98 * (solution is None and bool(identical_copies(case.pile)))

    def run(self, case: Case, solution: Solution | None) -> Solution | None:
        """Solve without the copies."""
        pile, copies = case.pile, identical_copies(case.pile)
        kept = Pile(piece for position, piece in enumerate(pile) if position not in copies)
        doubled = tuple(
            Leftover(pile[copy].id, f"equals piece {pile[first].id} to the last bit")
            for copy, first in copies.items()
        )
        try:
            found = case.solve(case.of(kept, without=self.name))
        except PileError:
            return None
        unexplained = found.mse / case.records.variance if found.rows else 0.0
        findings = found.findings or Findings(unexplained=unexplained)
        leftovers = (*doubled, *findings.leftovers)
        return replace(found, findings=replace(findings, leftovers=leftovers))


@dataclass(frozen=True)
class NearCopies:
    """Several versions of a layer are nearly equal, and one of them belongs."""

    name: str = "near copies"

    def requires(self, case: Case) -> str | None:
        """Predictions that tell the versions apart."""
        return None if case.rebuilds else "it needs two predictions and the fused evidence"

    def suspects(self, case: Case, solution: Solution | None) -> float:
        """Before a search, where any are."""
        asked = solution is None and case.rebuilds and not identical_copies(case.pile)
        return 0.97 * (asked and bool(near_copies(case.pile)))

    def run(self, case: Case, solution: Solution | None) -> Solution | None:
        """Search for the order with one version of each, and for the best versions, in turn."""
        from unshuffle.repair.versions import solve_versions

        return solve_versions(case.pile, case.records, case.options, near_copies(case.pile))


@dataclass(frozen=True)
class MissingPieces:
    """The pieces are not as many as a network has: some are missing, or belong to another one."""

    name: str = "missing or foreign pieces"

    def requires(self, case: Case) -> str | None:
        """Roles that shapes tell although the pile is no whole network."""
        return None if case.partial else "shapes do not tell what is missing"

    def suspects(self, case: Case, solution: Solution | None) -> float:
        """Where shapes say so; after a search, where all pieces together came to nothing."""
        if isinstance(case.whole, PileError):
            return 0.95 * (solution is None)
        return 0.5 * (solution is not None and solution.outcome in UNSOLVED)

    def run(self, case: Case, solution: Solution | None) -> Solution | None:
        """Leave pieces out, and estimate single layers that are missing."""
        from unshuffle.repair.incomplete import solve_incomplete, solve_loose

        assert case.partial is not None
        with single_threaded_blas():  # that of SciPy too, which is loaded now
            if solution is None:
                return solve_incomplete(case.pile, case.records, case.options, case.partial)
            return solve_loose(case.pile, case.records, case.options, case.partial, solution)


@dataclass(frozen=True)
class ScaledInputs:
    """The inputs were scaled and shifted after the network had read them."""

    name: str = "scaled inputs"

    def requires(self, case: Case) -> str | None:
        """Predictions to fit scales to."""
        return None if case.rebuilds else "it needs two predictions and the fused evidence"

    def suspects(self, case: Case, solution: Solution | None) -> float:
        """Where they are standardised on the rows of the record; else where a search failed."""
        if isinstance(case.whole, PileError) or not case.rebuilds:
            return 0.0
        if solution is None:
            return 0.7 * standardised(case.records)
        return 0.3 * (solution.outcome in UNSOLVED)

    def run(self, case: Case, solution: Solution | None) -> Solution | None:
        """Search for the order and fit scales in turn."""
        from unshuffle.repair.scaled_inputs import solve_scaled

        return solve_scaled(case.pile, case.records, case.options, solution)


REPAIRS: tuple[Repair, ...] = (
    PermutedUnits(),
    DetachedTensors(),
    IdenticalCopies(),
    NearCopies(),
    MissingPieces(),
    ScaledInputs(),
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
