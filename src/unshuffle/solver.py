"""The front door of the library: `solve`."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from hashlib import sha256

import numpy as np

import unshuffle
from unshuffle.blocks.network import Layers
from unshuffle.ordering.journal import Journal
from unshuffle.ordering.trace import OnStep
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.alterations import admits_clipped, altered_record, without_clipped
from unshuffle.proof.coarseness import kept_coarsely
from unshuffle.proof.outcome import SETTLED, Outcome
from unshuffle.proof.verification import shows_noise
from unshuffle.repair.recover import recover
from unshuffle.solution.arranging import Options
from unshuffle.solution.solution import Solution


def solve(
    pile: Pile,
    records: Records,
    *,
    strategy: str = "auto",
    signal: str | None = None,
    matching: str = "optimal",
    activation: str | None = None,
    placement: str = "anywhere",
    rows: int | None = None,
    seed: int = 0,
    permuted_units: bool = False,
    time_limit: float | None = None,
    on_step: OnStep | None = None,
    journal: Journal | None = None,
) -> Solution:
    """Put a dropped residual network back together.

    Parameters
    ----------
    pile
        The pieces, as from `read_pile`.
    records
        Inputs and predictions, as from `read_records`.
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
    time_limit
        Seconds after which the search stops and reports its best; with a journal, those that the
        search took before it was cut off count.
    on_step
        Called with the trace after every step of the search.
    journal
        What a search of the same has worked out before it was cut off, as from `checkpoint`; the
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
        If the journal is of another search.
    RecordError
        If the record does not fit the pile.
    UsageError
        If an option has a value that cannot work.

    Examples
    --------
    >>> solution = solve(read_pile("pieces"), read_records("record.csv"))
    >>> solution.exact
    True
    """
    options = Options(
        strategy,
        signal,
        matching,
        activation,
        placement,
        rows,
        seed,
        time_limit,
        on_step,
        journal,
    )
    if journal is not None:
        journal.claim({**_key(pile, records, options), "kind of pile": str(permuted_units)})
    started = options.clock()
    given, records = len(records), records.distinct()
    usable = without_clipped(records)
    solution = _solve(pile, usable, options, permuted_units=permuted_units)
    if usable is not records and solution.rows and not _fits_clipped(solution, records):
        usable = records
        solution = _solve(pile, records, options, permuted_units=permuted_units)
    if not permuted_units:
        solution = _with_word_of_units(
            solution,
            lambda: time_limit is None or options.clock() - started < time_limit,
        )
    solution = _annotated(solution, pile, records, usable)
    repeated = given - len(records)
    if repeated and not solution.exact:
        note = f"{repeated} of {given} rows repeat another one, and count for nothing"
        solution = solution.noted(note)
    return solution


# Hostile numbers overflow; whatever is not finite is judged infinitely wrong.
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _solve(pile: Pile, records: Records, options: Options, *, permuted_units: bool) -> Solution:
    # Most piles are whole, and need not wait for what the others take to import.
    if permuted_units:
        from unshuffle.repair.permuted import solve_permuted

        return solve_permuted(pile, records, options)
    if pile.detached:
        from unshuffle.repair.detached import solve_detached

        return solve_detached(pile, records, options)
    return recover(pile, records, options)


def _fits_clipped(solution: Solution, records: Records) -> bool:
    """Whether clipped predictions speak for a solution, or do not matter since it is none."""
    if solution.outcome not in SETTLED:
        return True
    return admits_clipped(solution.network, records, slack=2 * solution.max_abs_error)


def _with_word_of_units(solution: Solution, in_time: Callable[[], bool]) -> Solution:
    """The solution with a note where it failed since the pile's hidden units may be permuted."""
    failed = solution.outcome in (Outcome.LOCAL_OPTIMUM, Outcome.BUDGET_SPENT, Outcome.NO_FIT)
    # Where units can be matched at all, as `solve_permuted` would.
    if not failed or solution.biases or solution.pairing.anatomy.interchangeable:
        return solution
    from unshuffle.repair.unit_matching import permuted_units

    blocks = solution.network.blocks
    layers = Layers(*blocks.inp, *blocks.out, blocks.activation)
    note = permuted_units(layers, solution.pairing, in_time)
    return solution if note is None else solution.noted(note)


def _annotated(solution: Solution, pile: Pile, records: Records, usable: Records) -> Solution:
    """The solution with what was noticed of weights and record, where it is not exact on all rows.

    The record is given as it is, and as far as it was usable. What is exact but for clipped
    predictions is approximate.
    """
    if solution.exact and solution.rows == len(records.predicted()):
        return solution
    notes = (*kept_coarsely(pile), *altered_record(records))
    if solution.outcome in (Outcome.APPROXIMATE, Outcome.AMBIGUOUS):
        with suppress(KeyboardInterrupt):  # the answer is there, and is not lost for a note
            notes += _noise(solution, pile, usable.predicted())
    if not notes:
        return solution
    outcome = Outcome.APPROXIMATE if solution.exact else solution.outcome
    return replace(solution, outcome=outcome).noted(*notes)


def _noise(solution: Solution, pile: Pile, known: Records) -> tuple[str, ...]:
    """What is to be said of noise in the predictions."""
    if not shows_noise(solution.network, known, pile.stored_as):
        return ()
    left = solution.mse**0.5
    share = 100 * left / float(known.predictions.std())
    return (
        f"predictions carry what looks like noise: {left:.2g}, {share:.2g} % of their spread, "
        "does not follow from the inputs",
    )


def _key(pile: Pile, records: Records, options: Options) -> dict[str, str]:
    """Everything that decides what a search comes to."""
    pieces, record = sha256(), sha256()
    for piece in pile:
        pieces.update(f"{piece.id!r} {piece.shape} {piece.weight.dtype} {piece.stored_as}".encode())
        pieces.update(piece.weight.tobytes() + piece.bias.tobytes())
    for bias in pile.biases:
        pieces.update(f"{bias.id!r} {bias.values.dtype} {bias.stored_as}".encode())
        pieces.update(bias.values.tobytes())
    for part in (records.inputs, records.predictions):
        record.update(f"{part.shape} {part.dtype}".encode() + part.tobytes())
    chosen = {field.name: getattr(options, field.name) for field in fields(options)}
    for name in ("time_limit", "on_step", "journal"):
        del chosen[name]
    return {
        "version of unshuffle": unshuffle.__version__,
        "pile": pieces.hexdigest(),
        "record": record.hexdigest(),
        "set of options": json.dumps(chosen, default=int),
    }
