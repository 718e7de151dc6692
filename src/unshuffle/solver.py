"""The front door of the library: `solve`."""

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from unshuffle.blocks.activations import FURTHER
from unshuffle.blocks.blueprints import Blueprint
from unshuffle.blocks.mlp import MlpBank, as_mlp
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import PileError, UsageError
from unshuffle.files.given import as_pile, as_records
from unshuffle.ordering.search import Ending, InVain, OnState
from unshuffle.ordering.trace import OnStep
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.alterations import admits_clipped, altered_record, without_clipped
from unshuffle.proof.coarseness import kept_coarsely
from unshuffle.proof.outcome import CONVERGED, FINAL, SETTLED, Outcome
from unshuffle.proof.verification import shows_noise
from unshuffle.repair.case import Case
from unshuffle.repair.registry import (
    EVIDENT,
    FAR,
    MISSING_PIECES,
    OTHER_ACTIVATION,
    REPAIRS,
    VAIN,
    Repair,
    has_improbable_pairs,
    suspected,
)
from unshuffle.solution.arranging import Searching
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution

if TYPE_CHECKING:
    from unshuffle.solution.checkpointing import Checkpoint

NOT_TRIED = "not tried: "
NO_TIME = "no time was left"
GRACE = 1.0  # seconds beyond the time limit up to which weights are still looked at for a note

# What is said where all pieces together are known not to fit, and no more.
CUT_OFF = (
    "a part of the pieces may still fit: the search that may leave some out was cut off, so give "
    "it more time if the pile may hold pieces of another network"
)


def solve(
    pile: Pile | str | os.PathLike[str],
    records: Records | str | os.PathLike[str],
    *,
    strategy: str = "auto",
    signal: str | None = None,
    matching: str = "optimal",
    activation: str | None = None,
    placement: str = "anywhere",
    rows: int | None = None,
    seed: int = 0,
    permuted_units: bool = False,
    blueprint: Blueprint | None = None,
    time_limit: float | None = None,
    on_step: OnStep | None = None,
    checkpoint: "Checkpoint | None" = None,
) -> Solution:
    """Put a dropped residual network back together.

    Parameters
    ----------
    pile
        The pieces, or their path; see `read_pile`.
    records
        Inputs and predictions, or their path; see `read_records`.
    strategy
        How the order is found. "auto": several seeds, then many first-order moves at once, which
        may also correct the pairs. "classic": greedy insertion, 2-opt and or-opt, each candidate
        judged by an exact forward pass.
    signal, matching
        How the pairs are found; see `pair`. The default signal is "fused", for "classic" it is
        "trace".
    activation
        Name of the hidden layers' activation. By default "auto" tries those in
        `unshuffle.blocks.activations.ACTIVATIONS` against the record, ReLU first; "classic"
        takes ReLU.
    placement
        Where the greedy insertion of "classic" may put a block: "ends" or "anywhere".
    rows
        How many rows with predictions the search uses, drawn at random; all rows if there are
        fewer. "auto" begins with as many as make 256 predictions and takes more where it needs
        them; "classic" uses 500. The final error is always over all rows.
    seed
        Seed of the one random generator.
    permuted_units
        Whether inp and out layers list hidden units in different sequences, so that it has to be
        found which unit is which as well.
    blueprint
        What the network is made of, such as an `unshuffle.blocks.blueprints.LoopBlueprint`. By
        default the blocks are ``x + out(a(inp(x)))``, and the shapes of the pieces tell the rest.
    time_limit
        Seconds after which the whole solve stops and reports its best; those that the search took
        before it was cut off count.
    on_step
        Called with the trace after every step of the search.
    checkpoint
        Keeps the search in a file while it runs, and goes on from it, as from `checkpoint`; the
        solution is then the one that the search would have come to.

    Returns
    -------
    Solution
        With the outcome `EXACT` only if all rows are reproduced to rounding. A
        `KeyboardInterrupt` during the search ends it with the best order so far and the outcome
        `INTERRUPTED`. Without any predictions the outcome is `ESTIMATE` and the errors are NaN.

    Raises
    ------
    PileError
        If the pieces cannot be one residual network.
    FileError
        If the checkpoint is of another search.
    RecordError
        If the record does not fit the pile.
    UsageError
        If an option has a value that cannot work.

    Examples
    --------
    >>> solution = solve("pieces", "record.csv")
    >>> solution.exact
    True
    """
    pile, records = as_pile(pile), as_records(records)
    for one, name, does in ((blueprint, "blueprint", "bank"), (checkpoint, "checkpoint", "claim")):
        if one is not None and not hasattr(one, does):
            raise UsageError(f"the {name} is a {type(one).__name__}; see help(unshuffle.solve)")
    clock = Clock(time_limit, 0.0 if checkpoint is None else checkpoint.seconds)
    options = Options(strategy, signal, matching, activation, placement, rows, seed, on_step, clock)
    if checkpoint is not None:
        checkpoint.claim(pile, records, options, blueprint, permuted_units=permuted_units)
    given, records = len(records), records.distinct()
    usable = without_clipped(records)

    def put_together(case: Case) -> Solution:
        return _put_together(case, checkpoint)

    case = Case(pile, usable, options, put_together, blueprint, permuted_units)
    with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # Hostile numbers overflow; whatever is not finite is judged infinitely wrong.
        solution = put_together(case)
        if usable is not records and solution.rows and not _fits_clipped(solution, records):
            usable = records
            solution = put_together(replace(case, records=records))
        if not permuted_units:
            solution = _with_word_of_units(solution, clock)
        solution = _annotated(solution, pile, records, usable, clock)
        solution = _with_word_of_untried(solution, options)
    repeated = given - len(records)
    if repeated and not solution.exact:
        note = f"{repeated} of {given} rows repeat another one, and count for nothing"
        solution = solution.noted(note)
    # Statements are made of what reproduces the record, and of nothing else.
    certificate = solution.certificate if solution.outcome in SETTLED else None
    repairs = _untried(solution, case) | dict(solution.repairs)
    return replace(solution, certificate=certificate, repairs=repairs, seconds=clock.seconds)


def _untried(solution: Solution, case: Case) -> dict[str, str]:
    """Why repairs were not asked, by name, where the record is not reproduced."""
    if solution.outcome in SETTLED:
        return {}
    reason = "nothing spoke for it"
    if case.blueprint is not None:
        reason = "it serves blocks x + out(a(inp(x))) alone"
    elif solution.outcome in FINAL:
        reason = "the search was cut off"
    return {repair.name: f"{NOT_TRIED}{reason}" for repair in REPAIRS}


def _put_together(case: Case, checkpoint: "Checkpoint | None") -> Solution:
    """Mend what is evident, search, and where that comes to nothing ask the other repairs."""
    asked: dict[str, str] = {}
    best: Solution | None = None
    if case.blueprint is None:
        for repair in suspected(case, None, EVIDENT):
            best = _asked(repair, case, best, asked)
            if best is not None and best.outcome in FINAL:
                return replace(best, repairs=asked)
        if case.permuted_units or case.pile.detached or isinstance(case.whole, PileError):
            if best is None:  # and it cannot be searched as it is
                assert isinstance(case.whole, PileError)
                raise case.whole
            return replace(best, repairs=asked)
    solution = _search(case, checkpoint, asked)
    found = _better(best, solution)
    if solution.outcome in FINAL or case.blueprint is not None:
        return replace(_cut_off(found, solution), repairs=asked)
    return replace(_repaired(case, solution, found, asked), repairs=asked)


def _better(one: Solution | None, other: Solution) -> Solution:
    """The one that reproduces the record, else the one with the lower error, else the first."""
    if one is None:
        return other
    better = one.outcome not in SETTLED and (other.outcome in SETTLED or other.mse < one.mse)
    return other if better else one


def _cut_off(best: Solution, last: Solution) -> Solution:
    """The best so far, with the outcome of the last search where that was cut off."""
    stopped = last.outcome in FINAL and last.outcome not in SETTLED
    return replace(best, outcome=last.outcome) if stopped and best is not last else best


def _repaired(case: Case, solution: Solution, best: Solution, asked: dict[str, str]) -> Solution:
    """What the repairs make of a search that has come to nothing, the likeliest first."""
    for repair in suspected(case, solution, 0.0):
        if repair.name in asked:
            continue
        found = _asked(repair, case, solution, asked)
        if found is None or found is solution:
            continue
        if found.outcome in SETTLED:
            return found
        if found.outcome in FINAL:
            refuted = solution.outcome is Outcome.NO_FIT
            return solution.noted(CUT_OFF) if refuted else _cut_off(best, found)
    return best


def _asked(
    repair: Repair, case: Case, solution: Solution | None, asked: dict[str, str]
) -> Solution | None:
    """What a repair makes of a case, or what stood before; it is noted what came of it."""
    obstacle = repair.requires(case)
    if obstacle is None and solution is not None and case.options.clock.out:
        obstacle = NO_TIME
    if obstacle is not None:
        asked[repair.name] = f"{NOT_TRIED}{obstacle}"
        return solution
    with case.options.clock.phase(repair.name):
        found = repair.run(case, solution)
    asked[repair.name] = "nothing came of it" if found is None else str(found.outcome)
    return solution if found is None else found


def _search(case: Case, checkpoint: "Checkpoint | None", asked: dict[str, str]) -> Solution:
    """Search for the order of all pieces; a search in vain is doubted now and then."""
    anatomy = None if case.blueprint is not None else case.whole
    assert not isinstance(anatomy, PileError)
    searching = Searching.of(
        case.pile, case.records, case.options, anatomy=anatomy, blueprint=case.blueprint
    )
    on_state = None if checkpoint is None else checkpoint.resumed(searching)
    if case.blueprint is not None or not case.rebuilds:
        searching.go_on(on_state=on_state)
        return searching.solution()
    stop = InVain(VAIN, FAR * case.records.variance)
    if searching.go_on((stop,), on_state) is not Ending.STOPPED:
        solution = searching.solution()
        if solution.outcome not in CONVERGED:
            return solution
    return _doubted(case, searching, on_state, asked)


def _doubted(
    case: Case, searching: Searching, on_state: OnState | None, asked: dict[str, str]
) -> Solution:
    """Go on with a search that is far from its record, or has ended there."""
    from unshuffle.repair import vain

    columns = vain.OtherColumns(searching)
    doubts = vain.WrongRecord(searching), columns
    pairing = searching.alternatives.pairing
    if case.partial is not None and pairing is not None and has_improbable_pairs(pairing):
        # The whole pile comes first: what weights call impossible may be two wrong pairs.
        found = vain.search_with_doubts(searching, doubts, most=columns.hard, on_state=on_state)
        if found is None and searching.ending is Ending.STOPPED:
            mended = _asked(MISSING_PIECES, case, None, asked)
            found = mended if mended is not None and mended.outcome in FINAL else None
        if found is not None:
            return found
    found = vain.search_with_doubts(searching, doubts, on_state=on_state)
    if found is not None:
        return found
    solution = searching.solution()
    if solution.outcome in CONVERGED:
        try:
            return columns.attempt() or solution
        except KeyboardInterrupt:  # what was found before is not lost for it
            return solution.ended(Outcome.INTERRUPTED)
    return solution


def _fits_clipped(solution: Solution, records: Records) -> bool:
    """Whether clipped predictions speak for a solution, or do not matter since it is none."""
    if solution.outcome not in SETTLED:
        return True
    return admits_clipped(solution.network, records, slack=2 * solution.max_abs_error)


def _with_word_of_units(solution: Solution, clock: Clock) -> Solution:
    """The solution with a note where it failed since the pile's hidden units may be permuted."""
    failed = solution.outcome in (*CONVERGED, Outcome.BUDGET_SPENT, Outcome.NO_FIT)
    pairing = solution.pairing
    # Where units can be matched at all, as `solve_permuted` would.
    if not failed or solution.biases or pairing is None or pairing.anatomy.interchangeable:
        return solution
    from unshuffle.repair.unit_matching import permuted_units

    blocks = as_mlp(solution.network).blocks
    layers = MlpBank(*blocks.inp, *blocks.out, blocks.activation)
    note = permuted_units(layers, pairing, clock)
    return solution if note is None else solution.noted(note)


def _with_word_of_untried(solution: Solution, options: Options) -> Solution:
    """The solution with notes on what was not tried, where it does not reproduce the record."""
    if solution.outcome not in (*CONVERGED, Outcome.NO_FIT, Outcome.BUDGET_SPENT):
        return solution
    notes = []
    looked = solution.repairs.get(OTHER_ACTIVATION, NOT_TRIED)
    if solution.outcome is not Outcome.BUDGET_SPENT and not looked.startswith(NOT_TRIED):
        tried = ", ".join([each.name for each in options.activations] + [*FURTHER])
        notes.append(f"no activations but these were tried: {tried}")
    late = [name for name, what in solution.repairs.items() if what.endswith(NO_TIME)]
    if late:
        notes.append(f"for lack of time it was not tried to mend this: {', '.join(late)}")
    return solution.noted(*notes) if notes else solution


def _annotated(
    solution: Solution, pile: Pile, records: Records, usable: Records, clock: Clock
) -> Solution:
    """The solution with what was noticed of weights and record, where it is not exact on all rows.

    What is exact but for clipped predictions, which are not `usable`, is approximate.
    """
    if solution.exact and solution.rows == len(records.predicted()):
        return solution
    notes = altered_record(records)
    if solution.pairing is not None and clock.left > -GRACE:
        notes = (*kept_coarsely(pile), *notes)
    if solution.outcome in (Outcome.APPROXIMATE, Outcome.AMBIGUOUS):
        with suppress(KeyboardInterrupt):  # the answer is there, and is not lost for a note
            notes += _noise(solution, pile, usable.predicted())
    if not notes:
        return solution
    outcome = Outcome.APPROXIMATE if solution.exact else solution.outcome
    return solution.ended(outcome).noted(*notes)


def _noise(solution: Solution, pile: Pile, known: Records) -> tuple[str, ...]:
    if not shows_noise(solution.network, known, pile.stored_as):
        return ()
    left = solution.mse**0.5
    share = 100 * left / float(known.predictions.std())
    return (
        f"predictions carry what looks like noise: {left:.2g}, {share:.2g} % of their spread, "
        "does not follow from the inputs",
    )
