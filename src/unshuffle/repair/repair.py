"""A repair mends one kind of damage to a pile or a record, or says what is wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

from unshuffle.ordering.search import Ending, InVain, OnState
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import CONVERGED, FINAL, SETTLED, Outcome
from unshuffle.repair.case import Case
from unshuffle.solution.arranging import Searching
from unshuffle.solution.solution import Solution

NOT_TRIED = "not tried: "

UNSOLVED = (*CONVERGED, Outcome.NO_FIT)
"""Outcomes of a search of all pieces after which repairs are asked."""

# Of each pause of a search in vain, what is to be tried then; None where nothing is due yet.
Looks = Iterator[Callable[[], Solution | None] | None]


@dataclass(frozen=True)
class AskingParameters:
    """Numbers that say when repairs are asked. Row steps are rows of all steps, added up."""

    evident: float = 0.6  # Suspicion from which on a repair is asked before any search.
    far: float = 0.1  # Share of the predictions' variance from which on a search is far.
    vain: int = 2048  # Row steps after which a search that is far pauses for the first time.
    near: int = 16_384  # Row steps after which any search pauses for the first time.
    pause: float = 1.5  # Factor by which row steps grow from one pause to the next.
    hard: int = 8192  # Row steps for each block that right but hard records take.
    hardest: int = 200_000  # The same in all.
    grace: float = 1.0  # Seconds beyond the time limit in which weights are looked at for a note.


STANDARD = AskingParameters()


def needs_known_blocks(case: Case) -> str | None:
    """Why a repair that reads weights cannot serve a case. None where it can."""
    return None if case.blueprint is None else "it serves blocks x + out(a(inp(x))) alone"


def needs_predictions(case: Case) -> str | None:
    """The same of a repair that leaves pieces out, or compares what they predict."""
    lacking = None if case.rebuilds else "it needs two predictions and the fused evidence"
    return needs_known_blocks(case) or lacking


def far_from(records: Records, by: AskingParameters = STANDARD) -> float:
    """Mean squared error from which on a search is far from its record, if it has predictions."""
    return by.far * records.variance if len(records.predicted()) else inf


@dataclass(frozen=True)
class Repair:
    """Mends one kind of damage.

    Parameters
    ----------
    name
        What results call it.
    suspects
        How likely this is what is wrong, from 0 to 1, after a search; None before one.
    run
        Mends it; None where nothing came of it.
    requires
        Why it cannot serve a case, in a sentence. None where it can.
    looks
        Looks at a search in vain each time it pauses; by default it waits for the end.
    near
        Whether it looks at a search that has come near its record, too.
    decisive
        Whether no arrangement can be said to fit before it was tried to the end.
    remark
        What is to be said of a solution that does not reproduce the record; None where nothing.
    """

    name: str
    suspects: Callable[[Case, Solution | None], float] = lambda case, solution: 0.0
    run: Callable[[Case, Solution | None], Solution | None] = lambda case, solution: None
    requires: Callable[[Case], str | None] = needs_known_blocks
    looks: Callable[[Case, Searching], Looks] = lambda case, searching: iter(())
    near: bool = False
    decisive: bool = False
    remark: Callable[[Case, Solution], str | None] = lambda case, solution: None


def better(one: Solution | None, other: Solution) -> Solution:
    """The one that reproduces the record, else the one with the lower error, else the first."""
    if one is None:
        return other
    settled = other.outcome in SETTLED
    return other if one.outcome not in SETTLED and (settled or other.mse < one.mse) else one


def leaving_out(case: Case, solution: Solution | None) -> bool:
    """Whether to leave pieces out: at once where all make no network, else after their search."""
    return not case.searchable if solution is None else solution.outcome in UNSOLVED


def looks_once(suspected: bool, run: Callable[[], Solution | None]) -> Looks:
    """Leave pieces out at the first pause. What only comes near so is no reason to stop."""

    def settled() -> Solution | None:
        found = run()
        return found if found is not None and found.outcome in FINAL else None

    if suspected:
        yield settled


def was_tried(name: str, solution: Solution) -> bool:
    """Whether a repair was tried on the way to a solution."""
    return not solution.repairs.get(name, NOT_TRIED).startswith(NOT_TRIED)


def hard_row_steps(searching: Searching, by: AskingParameters = STANDARD) -> int:
    """Row steps up to which a right record may be hard to reproduce. 0 for few blocks.

    Where shapes do not tell roles, each piece counts as a block.
    """
    problem = searching.alternatives.problems[0]
    blocks = len(problem.grouped) * (1 + problem.bank.kind.coupled)
    few = searching.alternatives.options.parameters.few_blocks
    return 0 if blocks <= few else min(by.hard * blocks, by.hardest)


def patient_row_steps(searching: Searching, by: AskingParameters = STANDARD) -> int:
    """Row steps before what takes long: few blocks too may need rows enough to come from far."""
    equations = searching.alternatives.problems[0].known.predictions.size
    many = equations >= searching.alternatives.options.parameters.many
    return hard_row_steps(searching, by) or by.hardest * many


def pauses(
    searching: Searching, on_state: OnState | None = None, by: AskingParameters = STANDARD
) -> Iterator[bool]:
    """Go on with a search. Pause each time it has taken many more row steps, early where it is far.

    Yields whether it is near its record. A search that is resumed pauses at the same. Where every
    arrangement can be judged, that comes first.
    """
    stop = InVain(by.vain, far_from(searching.alternatives.records, by))
    later = InVain(by.near, 0.0)
    hard, longer = hard_row_steps(searching, by), float(by.vain)
    while searching.go_on((stop, later), on_state) is Ending.STOPPED:
        if not searching.to_enumerate:
            yield not is_far(searching, by)
        longer = _beyond(stop.done, longer, by.pause)
        stop.row_steps = min(longer, hard) if stop.done < hard else longer
        later.row_steps = _beyond(later.done, later.row_steps, by.pause)


def _beyond(done: float, row_steps: float, factor: float) -> float:
    """The first row steps beyond what is done, of those that grow by a factor."""
    while row_steps <= done:
        row_steps *= factor
    return row_steps


def is_far(searching: Searching, by: AskingParameters = STANDARD) -> bool:
    """Whether a search that pauses is far from its record."""
    steps = searching.trace.steps
    return not steps or steps[-1].error > far_from(searching.alternatives.records, by)


def needs_one_width(case: Case) -> str | None:
    """Why a repair whose blocks all have one form cannot serve a case. None where it can."""
    uneven = isinstance(case.whole, Anatomy) and case.whole.widths
    return needs_known_blocks(case) or ("blocks differ in hidden width" if uneven else None)
