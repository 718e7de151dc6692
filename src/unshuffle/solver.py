"""The front door of the library: `solve`."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from unshuffle.blocks.assembly import last_layer
from unshuffle.blocks.blueprints import Blueprint, check_blueprint
from unshuffle.blocks.mlp import as_mlp
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import PileError, UsageError, shown
from unshuffle.files.given import GivenPile, GivenRecords, read_for
from unshuffle.ordering.trace import OnStep
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.pieces.softmax import BEHIND_SOFTMAX, without_softmax
from unshuffle.proof.alterations import admits_clipped, altered_record, without_clipped
from unshuffle.proof.coarseness import kept_coarsely
from unshuffle.proof.outcome import FINAL, SETTLED, Outcome
from unshuffle.proof.verification import Explanation, judge_network
from unshuffle.repair.assumptions import may_be_wrong
from unshuffle.repair.case import Case
from unshuffle.repair.registry import REPAIRS, serving, suspected
from unshuffle.repair.repair import NOT_TRIED, STANDARD, UNSOLVED, Repair, better, pauses, was_tried
from unshuffle.solution.findings import Findings
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution

if TYPE_CHECKING:
    from unshuffle.solution.checkpointing import Checkpoint

FAILED = (*UNSOLVED, Outcome.BUDGET_SPENT)
NO_TIME = "no time was left"
NOTHING = "nothing came of it"

# What is said where all pieces together are known not to fit, and no more.
MAY_STILL_FIT = (
    "a part of the pieces may still fit: the search that may leave some out was cut off, so give "
    "it more time if the pile may hold pieces of another network"
)

# What came of each repair that was asked, by its name.
Asked = dict[str, str]


def solve(
    pile: GivenPile,
    records: GivenRecords,
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
    time_limit: float | str | Clock | None = None,
    on_step: OnStep | None = None,
    checkpoint: "Checkpoint | None" = None,
) -> Solution:
    """Put a dropped residual network back together.

    Parameters
    ----------
    pile
        The pieces, or their path; see `read_pile`. Also a list of pairs (weight, bias) or of state
        dicts, which get the ids 0, 1 and so on.
    records
        Inputs and predictions, as `Records` or a pair, or their path; see `read_records`.
    strategy
        How the order is found. "auto" tries several seeds, then many first-order moves at once.
        These may also correct the pairs. "classic" is greedy insertion, 2-opt and or-opt. Exact
        forward passes judge its candidates.
    signal, matching
        How the pairs are found; see `pair`. The default signal is "fused", for "classic" it is
        "trace".
    activation
        Name of the hidden layers' activation. Without one, or with "auto", the strategy "auto"
        tries those in `unshuffle.blocks.activations.ACTIVATIONS` against the record, ReLU first.
        "classic" takes ReLU.
    placement
        Where the greedy insertion of "classic" may put a block: "ends" or "anywhere".
    rows
        How many rows with predictions the search uses, drawn at random; all of fewer. The strategy
        "auto" begins with 256 predictions and takes more where it needs them. The strategy
        "classic" uses 500 rows. The final error is always over all rows.
    seed
        Seed of the one random generator.
    permuted_units
        Whether inp and out layers list hidden units in different sequences. Then it is found which
        unit is which as well.
    blueprint
        What the network is made of, such as an `unshuffle.blocks.blueprints.LoopBlueprint`. By
        default the blocks are ``x + out(a(inp(x)))``, and shapes tell the rest. `signal`,
        `matching`, `activation` and `permuted_units` serve these blocks only.
    time_limit
        Seconds after which the whole solve stops and reports its best, or a text such as "10s",
        "1.5m" or "2h". Seconds before an
        interruption count. A `Clock` counts from when it was made. So one limit may include
        `read_records`.
    on_step
        Called with the trace after every step of the search.
    checkpoint
        A file that keeps the search while it runs, as from `checkpoint`. A search that was cut off
        continues from it, with the same solution.

    Returns
    -------
    Solution
        With the outcome `EXACT` only if all rows are reproduced to rounding. A `KeyboardInterrupt`
        during the search ends it with the best order so far. The outcome is then `INTERRUPTED`.
        Without any predictions the outcome is `ESTIMATE` and the errors are NaN.

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
    own = {"signal": signal, "activation": activation, "permuted_units": permuted_units}
    clock = Clock.of(time_limit)
    options = Options(strategy, signal, matching, activation, placement, rows, seed, on_step, clock)
    _check_kinds(blueprint, checkpoint, own | {"matching": options.matching != "optimal"})
    with clock.phase("read"):
        pile, records = read_for(blueprint, pile, records, clock)
    if checkpoint is not None:
        clock.used = checkpoint.seconds
        checkpoint.claim(pile, records, options, blueprint, permuted_units=permuted_units)

    def put_together(case: Case) -> Solution:
        asked: Asked = {}
        return replace(_put_together(case, checkpoint, asked), repairs=asked)

    distinct = records.distinct()
    searched = (pile, distinct) if blueprint else without_softmax(pile, distinct)
    case = Case(*searched, options, put_together, blueprint, permuted_units)
    with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # Hostile numbers overflow; whatever is not finite is judged infinitely wrong.
        solution = _solved(case)
    if searched[1] is not distinct:
        solution = _behind_softmax(solution, pile)
    return _closed(solution, case, repeated=len(records) - len(distinct))


def _behind_softmax(solution: Solution, pile: Pile) -> Solution:
    """The solution of logits less their mean, with the last layer of the pile as it was given."""
    outcome = Outcome.APPROXIMATE if solution.exact else solution.outcome
    network = solution.network
    if solution.last in pile.index:
        network = replace(as_mlp(network), ends=last_layer(pile, solution.last))
    findings = solution.findings or Findings()
    findings = replace(findings, notes=(BEHIND_SOFTMAX, *findings.notes))
    return replace(solution, network=network).ended(outcome, findings)


def _solved(case: Case) -> Solution:
    """Put a case together without clipped rows, or with them where those speak against that."""
    records = case.records
    usable = without_clipped(records)
    case = replace(case, records=usable)
    solution = case.solve(case)
    if usable is not records and solution.rows and not _fits_clipped(solution, records):
        case = replace(case, records=records)
        solution = case.solve(case)
    elif usable is not records and solution.exact:
        solution = _on_all(solution, case.pile, records, case.options.clock)
    solution = _annotated(solution, case.pile, records, case.records, case.options.clock)
    return solution.noted(*_remarks(solution, case)) if solution.outcome in FAILED else solution


def _check_kinds(blueprint: object, checkpoint: object, of_puzzle: Mapping[str, object]) -> None:
    """Refuse arguments of another kind, and those that say nothing of a blueprint's blocks."""
    check_blueprint(blueprint)
    if not isinstance(of_puzzle["permuted_units"], bool):
        given = shown(repr(of_puzzle["permuted_units"]))
        raise UsageError(f"permuted_units is {given}; give it True or False")
    if checkpoint is not None and not hasattr(checkpoint, "claim"):
        what = type(checkpoint).__name__
        raise UsageError(f"the checkpoint is a {what}; see help(unshuffle.solve)")
    names = " and ".join(f"{name}=" for name, value in of_puzzle.items() if value)
    if blueprint is not None and names:
        raise UsageError(
            f"{names} cannot be used with blueprint=, whose functions say all about its blocks; "
            "leave one of them out"
        )


def _closed(solution: Solution, case: Case, *, repeated: int) -> Solution:
    """The solution with what holds of the whole solve, and no statement of what fits no record."""
    if case.options.clock.interrupted and solution.outcome not in SETTLED:
        solution = solution.ended(Outcome.INTERRUPTED)
    if repeated and not solution.exact:
        given = repeated + len(case.records)
        note = f"{repeated} of {given} rows repeat another one, and count for nothing"
        solution = solution.noted(note)
    return replace(
        solution,
        certificate=solution.certificate if solution.outcome in SETTLED else None,
        repairs=_untried(solution, case) | dict(solution.repairs),
        seconds=case.options.clock.seconds,
    )


def _put_together(case: Case, checkpoint: "Checkpoint | None", asked: Asked) -> Solution:
    """Mend what is evident, search, and where that comes to nothing ask the other repairs."""
    best: Solution | None = None
    for repair in suspected(case, None, STANDARD.evident):
        best = _asked(repair, case, best, asked)
        if best is not None and best.outcome in FINAL:
            return best
    if not case.searchable:
        if best is None:
            assert isinstance(case.whole, PileError)
            raise case.whole
        return best
    solution = _search(case, checkpoint, asked)
    best = better(best, solution)
    if solution.outcome in FINAL:
        return _cut_off(best, solution)
    return _confirmed(_repaired(case, solution, best, asked), case, asked)


def _confirmed(solution: Solution, case: Case, asked: Asked) -> Solution:
    """The solution; that no arrangement fits is said only after all that could refute it."""
    ended = (asked.get(each.name) == NOTHING for each in serving(case) if each.decisive)
    cut_off = solution.outcome is Outcome.NO_FIT and not all(ended)
    return solution.ended(Outcome.BUDGET_SPENT) if cut_off else solution


def _search(case: Case, checkpoint: "Checkpoint | None", asked: Asked) -> Solution:
    """Search for the order of all pieces; where that is in vain, repairs look at it meanwhile."""
    searching = case.searching()
    on_state = None if checkpoint is None else checkpoint.resumed(searching)
    looks = [(repair, repair.looks(case, searching)) for repair in serving(case)]
    try:
        for near in pauses(searching, on_state):
            for repair, look in looks:
                due = next(look, None) if repair.near or not near else None
                found = due and _tried(repair, case, due, asked)
                # What leaves pieces out and proves nothing is no reason to stop.
                if found and found.outcome is not Outcome.INCOMPLETE:
                    return found
    except KeyboardInterrupt:  # of a look: what was found before is not lost for it
        return searching.solution().ended(Outcome.INTERRUPTED)
    return searching.solution()


def _repaired(case: Case, solution: Solution, best: Solution, asked: Asked) -> Solution:
    """What the repairs make of a search that has come to nothing, the likeliest first."""
    for repair in suspected(case, solution):
        if repair.name in asked and not repair.decisive:
            continue
        found = _asked(repair, case, solution, asked)
        if found is None or found is solution:
            continue
        if found.outcome in SETTLED:
            return found
        if found.outcome in FINAL:
            refuted = solution.outcome is Outcome.NO_FIT
            return solution.noted(MAY_STILL_FIT) if refuted else _cut_off(best, found)
    return best


def _asked(repair: Repair, case: Case, solution: Solution | None, asked: Asked) -> Solution | None:
    """What a repair makes of a case; what stood before where nothing comes of it."""
    if solution is not None and case.options.clock.out:
        asked[repair.name] = f"{NOT_TRIED}{NO_TIME}"
        return solution
    try:
        return _tried(repair, case, lambda: repair.run(case, solution), asked) or solution
    except KeyboardInterrupt:
        if solution is None:
            raise
        return solution.ended(Outcome.INTERRUPTED)


def _tried(
    repair: Repair, case: Case, run: Callable[[], Solution | None], asked: Asked
) -> Solution | None:
    """What comes of a repair, which is noted."""
    found, late = None, True
    with case.options.clock.phase(repair.name), suppress(OutOfTimeError):
        found = run()
        late = case.options.clock.out
    nothing = f"cut off: {NO_TIME}" if late else NOTHING
    asked[repair.name] = nothing if found is None else str(found.outcome)
    return found


def _cut_off(best: Solution, last: Solution) -> Solution:
    """The best so far, with the outcome of the last search where that was cut off."""
    stopped = last.outcome in FINAL and last.outcome not in SETTLED
    return replace(best, outcome=last.outcome) if stopped and best is not last else best


def _untried(solution: Solution, case: Case) -> Asked:
    """Why repairs were not asked, by name, where the record is not reproduced."""
    if solution.outcome in SETTLED:
        return {}
    cut_off = solution.outcome in FINAL
    reason = "the search was cut off" if cut_off else "nothing spoke for it"
    return {each.name: f"{NOT_TRIED}{each.requires(case) or reason}" for each in REPAIRS}


def _remarks(solution: Solution, case: Case) -> list[str]:
    """What may be otherwise than assumed, what repairs say of it, and which came too late."""
    remarks = [may_be_wrong(case, solution)]
    remarks += [repair.remark(case, solution) for repair in serving(case)]
    late = [name for name, what in solution.repairs.items() if what.endswith(NO_TIME)]
    for how, begun in (("cut off", True), ("not tried", False)):
        names = [n for n in late if was_tried(n, solution) is begun]
        if names:
            remarks.append(f"{how} for lack of time: {', '.join(names)}")
    return [remark for remark in remarks if remark]


def _fits_clipped(solution: Solution, records: Records) -> bool:
    """Whether clipped predictions speak for a solution, or do not matter since it is none."""
    if solution.outcome not in SETTLED:
        return True
    return admits_clipped(solution.network, records, solution.max_abs_error)


def _on_all(solution: Solution, pile: Pile, records: Records, clock: Clock) -> Solution:
    """An exact solution with its errors on all rows, where nothing was clipped: it saturates."""
    found = judge_network(solution.network, records.predicted(), pile.stored_as, clock)
    if found.outcome is not Outcome.EXACT:
        return solution
    return replace(solution, mse=found.mse, max_abs_error=found.max_abs_error, rows=found.rows)


def _annotated(
    solution: Solution, pile: Pile, records: Records, usable: Records, clock: Clock
) -> Solution:
    """The solution with what was noticed of weights and record, where it is not exact on all rows.

    What is exact but for clipped predictions, which are not `usable`, is approximate.
    """
    if solution.exact and solution.rows == len(records.predicted()):
        return solution
    told = solution.findings is not None and solution.findings.sigmoid
    notes = altered_record(records, solution.cut, sigmoid=told)
    if solution.pairing is not None and clock.left > -STANDARD.grace:
        notes = (*kept_coarsely(pile), *notes)
    fitted = solution.findings is not None and solution.findings.prediction_scale
    # Where units were fitted, what is left is less than a last digit.
    if solution.explanation is Explanation.NOISE and not fitted:
        left = solution.mse**0.5
        share = 100 * left / usable.variance**0.5
        notes += (
            f"predictions carry what looks like noise: {left:.2g}, {share:.2g} % of their spread, "
            "does not follow from the inputs",
        )
    if not notes:
        return solution
    outcome = Outcome.APPROXIMATE if solution.exact else solution.outcome
    return solution.ended(outcome).noted(*notes)
