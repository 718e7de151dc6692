"""Which pile is treated how: whole ones are arranged, all others taken for incomplete.

What a whole pile does not need is imported where it is called.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from threadpoolctl import threadpool_limits

from unshuffle.errors import PileError
from unshuffle.grouping import Pairing
from unshuffle.grouping.matching import optimal_matching
from unshuffle.ordering.trace import Step
from unshuffle.pieces.anatomy import Anatomy, read_anatomy
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.alterations import standardised
from unshuffle.proof.outcome import FINAL, SETTLED, Outcome
from unshuffle.repair.anatomy import SURE_PART, partial_anatomy
from unshuffle.repair.copies import identical_copies, near_copies
from unshuffle.repair.doubt import Doubt, OtherColumns
from unshuffle.solution.arranging import Cases, Options, arrange
from unshuffle.solution.findings import Findings, Leftover
from unshuffle.solution.solution import Solution

IMPOSSIBLE = -5.0
"""Log-odds of a matched pair below which it is tried first that both layers lack their partners,
although every piece might have its place."""

FIRST_STEPS = 32
"""Steps of a search for a whole network before pieces are left out and others estimated."""

CUT_OFF = (
    "a part of the pieces may still fit: the search that may leave some out was cut off, so give "
    "it more time if the pile may hold pieces of another network"
)
"""What is said where all pieces together are known not to fit, and no more."""


def recover(pile: Pile, records: Records, options: Options) -> Solution:
    """Find the pieces that belong, put them in order, and estimate single layers that are missing.

    Parameters
    ----------
    pile, records, options
        As for `arrange`; pieces may be missing, doubled, or of another network.

    Raises
    ------
    PileError
        If the pile is no whole network, and its shapes, or a record without predictions, do not
        tell what is missing.
    RecordError
        If the record does not fit the pile.
    """
    started = options.clock()
    copies = identical_copies(pile)
    if not copies:
        return _without_copies(pile, records, options)
    kept = Pile(piece for position, piece in enumerate(pile) if position not in copies)
    doubled = [
        Leftover(pile[copy].id, f"equals piece {pile[first].id} to the last bit")
        for copy, first in copies.items()
    ]
    # A network may hold the same layer twice, so copies are set aside only where that helps.
    try:
        solution = _with(_without_copies(kept, records, options), doubled, records)
    except PileError:
        return arrange(pile, records, options.with_time_left(started))
    if solution.outcome in FINAL:
        return solution
    try:
        everything = arrange(pile, records, options.with_time_left(started))
    except PileError:
        return solution
    return everything if everything.outcome in SETTLED else solution


def _without_copies(kept: Pile, records: Records, options: Options) -> Solution:
    """Recover from a pile of which no piece equals another."""
    started = options.clock()
    copies = near_copies(kept) if options.rebuilds and len(records.predicted()) > 1 else []
    if not copies:
        return _of_distinct(kept, records, options)
    from unshuffle.repair.versions import solve_versions

    solution = solve_versions(kept, records, options, copies)
    if solution is not None and solution.outcome in FINAL:
        return solution
    everything = _of_distinct(kept, records, options.with_time_left(started))
    if solution is None or everything.outcome in SETTLED or everything.mse < solution.mse:
        return everything
    cut_off = everything.outcome in FINAL
    return replace(solution, outcome=everything.outcome) if cut_off else solution


def _of_distinct(kept: Pile, records: Records, options: Options) -> Solution:
    """Recover from a pile whose pieces are all taken for layers of their own."""
    partial = None
    if options.rebuilds and len(records.predicted()) > 1:
        partial = partial_anatomy(kept, records)
    try:
        whole = read_anatomy(kept, records)
    except PileError:
        if partial is None:
            raise
        whole = None
    if whole is None:
        from unshuffle.repair.incomplete import solve_incomplete

        assert partial is not None
        return solve_incomplete(kept, records, options, partial)
    return _of_whole_number(kept, records, options, whole, partial)


def _of_whole_number(
    kept: Pile, records: Records, options: Options, whole: Anatomy, partial: Anatomy | None
) -> Solution:
    """Recover from a pile whose pieces are as many as a network has; some may be another's."""
    started = options.clock()
    if not options.rebuilds or not len(records.predicted()):
        return _as_recorded(kept, records, options, whole, partial)
    if standardised(records):
        from unshuffle.repair.scaled_inputs import solve_scaled

        scaled = solve_scaled(kept, records, options)
        if scaled is not None:
            return scaled
    timed = options.with_time_left(started)
    solution = _as_recorded(kept, records, timed, whole, partial)
    if solution.outcome not in (Outcome.LOCAL_OPTIMUM, Outcome.NO_FIT):
        return solution
    from unshuffle.repair.scaled_inputs import solve_scaled

    timed = options.with_time_left(started)
    return solve_scaled(kept, records, timed, solution) or solution


def _as_recorded(
    kept: Pile, records: Records, options: Options, whole: Anatomy, partial: Anatomy | None
) -> Solution:
    """The same, taking the inputs for those that the network read."""
    started = options.clock()
    with threadpool_limits(1, "blas"):
        cases = Cases(kept, records, whole, options)
    rebuilt = None
    if partial is not None and _has_orphans(cases.pairing):
        # What the weights call impossible may be two wrong pairs, which a short search mends.
        rebuilt = arrange(kept, records, options, cases=cases, watch=_first_steps)
        if rebuilt.outcome not in FINAL:
            from unshuffle.repair.incomplete import solve_incomplete

            timed = options.with_time_left(started)
            rebuilt = solve_incomplete(kept, records, timed, partial)
        if rebuilt.outcome in FINAL:
            return rebuilt
    doubt = Doubt(cases)
    solution = _searched(kept, records, options.with_time_left(started), doubt)
    if solution.outcome in FINAL or partial is None or doubt.unrelated:
        return solution
    if rebuilt is None:
        from unshuffle.repair.incomplete import solve_loose

        timed = options.with_time_left(started)
        again = solve_loose(kept, records, timed, partial, solution)
        if again.outcome in FINAL:  # settled, or cut off, and then nothing else is begun
            if again.outcome in SETTLED:
                return again
            refuted = solution.outcome is Outcome.NO_FIT
            return solution.noted(CUT_OFF) if refuted else replace(solution, outcome=again.outcome)
    elif rebuilt.mse < solution.mse:
        return rebuilt
    return solution


def _searched(kept: Pile, records: Records, options: Options, doubt: Doubt) -> Solution:
    """Arrange all pieces; where that comes to nothing, try other columns and doubt the record."""
    cases = doubt.cases
    if not options.rebuilds:
        return arrange(kept, records, options, cases=cases)
    columns = OtherColumns(cases, options)
    solution = arrange(
        kept,
        records,
        options,
        cases=cases,
        watch=lambda steps: columns.watch(doubt.watch(steps)),
    )
    if solution.outcome is Outcome.LOCAL_OPTIMUM:
        try:
            found = columns.attempt()
        except KeyboardInterrupt:  # what was found before is not lost for it
            return replace(solution, outcome=Outcome.INTERRUPTED)
        if found is not None:
            return found
    # Standardised inputs keep a right record from being reproduced just as well.
    if not standardised(records) and doubt.refutes(solution):
        return doubt.refuted(solution)
    return solution


def _first_steps(steps: Iterator[Step]) -> Iterator[Step]:
    return islice(steps, FIRST_STEPS)


def _with(solution: Solution, doubled: list[Leftover], records: Records) -> Solution:
    """The solution with copies among its leftovers."""
    unexplained = solution.mse / records.variance if solution.rows else 0.0
    findings = solution.findings or Findings(unexplained=unexplained)
    leftovers = (*doubled, *findings.leftovers)
    return replace(solution, findings=replace(findings, leftovers=leftovers))


def _has_orphans(pairing: Pairing) -> bool:
    """Whether most of the best pairs are sure by weights and some are all but impossible."""
    odds = pairing.scores[tuple(optimal_matching(pairing.scores).T)]
    return bool((odds > 0).mean() > SURE_PART and (odds < IMPOSSIBLE).any())
