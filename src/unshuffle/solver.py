"""The pipeline: pair, order, verify."""

from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from unshuffle.activations import RELU
from unshuffle.anatomy import read_anatomy
from unshuffle.assembly import answer_hash, last_layer, stack_blocks
from unshuffle.errors import UsageError
from unshuffle.network import Blocks, Network
from unshuffle.ordering.classic import PLACEMENTS, classic
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.search import Ending, run_search
from unshuffle.outcome import Outcome
from unshuffle.pairing import pair
from unshuffle.pile import PieceId, Pile
from unshuffle.records import Records
from unshuffle.solution import Solution
from unshuffle.tolerance import arithmetic_of, rounding_tolerance
from unshuffle.trace import OnStep, Step
from unshuffle.verification import judge_network, require_predictions

STRATEGIES = ("classic",)

DEFAULT_ROWS = 500
"""Rows that `classic` judges candidates on: enough for the puzzle, few enough for minutes."""

PROMISING = 1e-3
"""Only errors below this fraction of the predictions' scale are compared with rounding."""


def solve(
    pile: Pile,
    records: Records,
    *,
    strategy: str = "classic",
    signal: str = "trace",
    matching: str = "optimal",
    placement: str = "anywhere",
    rows: int | None = None,
    seed: int = 0,
    time_limit: float | None = None,
    on_step: OnStep | None = None,
) -> Solution:
    """Put a dropped residual network back together.

    Parameters
    ----------
    pile
        The pieces, as from `read_pile`.
    records
        Inputs and predictions, as from `read_records`.
    strategy
        How the order is found. "classic": greedy insertion, 2-opt and or-opt, each candidate
        judged by an exact forward pass.
    signal, matching
        How the pairs are found; see `pair`.
    placement
        Where greedy insertion may put a block: "ends" or "anywhere".
    rows
        How many rows with predictions the search uses, drawn at random; all rows if there are
        fewer. The default is 500. The final error is always over all rows.
    seed
        Seed of the one random generator.
    time_limit
        Seconds after which the search stops and reports its best.
    on_step
        Called with the trace after every step of the search.

    Returns
    -------
    Solution
        With the outcome `EXACT` only if all rows are reproduced to rounding. A
        `KeyboardInterrupt` during the search ends it with the best order so far and the outcome
        `INTERRUPTED`.

    Raises
    ------
    PileError
        If the pieces cannot be one residual network.
    RecordError
        If the record does not fit the pile or has no predictions.
    UsageError
        If an option has a value that cannot work.

    Examples
    --------
    >>> solution = solve(read_pile("pieces"), read_records("record.csv"))
    >>> solution.exact
    True
    """
    _check_options(strategy, placement, rows, time_limit)
    rng = np.random.default_rng(seed)
    started = perf_counter()
    anatomy = read_anatomy(pile, records)
    known = require_predictions(records)
    pairing = pair(pile, signal=signal, matching=matching, anatomy=anatomy)
    paired = perf_counter()

    blocks = stack_blocks(pile, pairing.pairs)
    twins = None
    if anatomy.interchangeable:
        blocks, twins = _with_twins(pile, pairing.pairs)
    last = last_layer(pile, pairing.last)
    judge = Judge(blocks, last, _sample(known, rows or DEFAULT_ROWS, rng))
    arithmetic = arithmetic_of(pile.dtype, known.predictions)

    def reproduces_the_record(step: Step) -> bool:
        scale = np.mean(np.square(judge.predictions, dtype=np.float64))
        if len(step.order) < anatomy.blocks or step.error > PROMISING**2 * scale:
            return False
        network = Network(blocks.take(step.order), last)
        tolerance = rounding_tolerance(network, judge.inputs, judge.predictions, arithmetic)
        return step.error <= tolerance.rms**2

    trace, ending = run_search(
        classic(judge, placement=placement, twins=twins),
        satisfied=reproduces_the_record,
        time_limit=time_limit,
        on_step=on_step,
    )
    ordered = perf_counter()

    order = _complete(trace.steps[-1].order if trace.steps else (), anatomy.blocks)
    applied = [_pair_of(block, pairing.pairs) for block in order]
    pairs = tuple(sorted(applied, key=lambda ids: (isinstance(ids[0], str), ids)))
    permutation = [name for ids in applied for name in ids] + [pairing.last]
    network = Network(blocks.take(order), last)
    verdict = judge_network(network, known, pile.stored_as, answer_hash(permutation))
    verified = perf_counter()
    return Solution(
        outcome=_outcome(verdict.outcome, ending),
        pairs=pairs,
        order=tuple(pairs.index(ids) for ids in applied),
        last=pairing.last,
        mse=verdict.mse,
        max_abs_error=verdict.max_abs_error,
        rows=verdict.rows,
        sha256=verdict.sha256,
        pairing=pairing,
        seconds={
            "pair": paired - started,
            "order": ordered - paired,
            "verify": verified - ordered,
            "total": verified - started,
        },
        trace=trace,
        network=network,
    )


def _check_options(
    strategy: str, placement: str, rows: int | None, time_limit: float | None
) -> None:
    if strategy not in STRATEGIES:
        raise UsageError(f"there is no strategy {strategy!r}; there are: {', '.join(STRATEGIES)}")
    if placement not in PLACEMENTS:
        raise UsageError(f"there is no placement {placement!r}; there are: {', '.join(PLACEMENTS)}")
    if rows is not None and rows < 1:
        raise UsageError(f"the search cannot use {rows} rows; give it at least 1")
    if time_limit is not None and not time_limit > 0:
        raise UsageError(f"a time limit of {time_limit} s leaves no time; give more than 0")


def _sample(known: Records, rows: int, rng: np.random.Generator) -> Records:
    """Draw rows at random, without repetition, and keep them in the record's sequence."""
    if rows >= len(known):
        return known
    return known.take(np.sort(rng.choice(len(known), size=rows, replace=False)))


def _with_twins(
    pile: Pile, pairs: tuple[tuple[PieceId, PieceId], ...]
) -> tuple[Blocks, NDArray[np.intp]]:
    """The blocks followed by their twins, and the index of each one's twin."""
    count = len(pairs)
    blocks = stack_blocks(pile, [*pairs, *(ids[::-1] for ids in pairs)], RELU)
    return blocks, np.roll(np.arange(2 * count), count)


def _pair_of(block: int, pairs: tuple[tuple[PieceId, PieceId], ...]) -> tuple[PieceId, PieceId]:
    """Ids of the inp and out layers of a block or, beyond the blocks, of a twin."""
    if block < len(pairs):
        return pairs[block]
    inp, out = pairs[block - len(pairs)]
    return out, inp


def _complete(order: tuple[int, ...], blocks: int) -> tuple[int, ...]:
    """The order with the blocks that it lacks, if it was cut short, at its end."""
    placed = {block % blocks for block in order}
    return order + tuple(block for block in range(blocks) if block not in placed)


def _outcome(verdict: Outcome, ending: Ending) -> Outcome:
    """What fits outranks why the search stopped."""
    if verdict in (Outcome.EXACT, Outcome.APPROXIMATE):
        return verdict
    return {
        Ending.OUT_OF_TIME: Outcome.BUDGET_SPENT,
        Ending.INTERRUPTED: Outcome.INTERRUPTED,
    }.get(ending, Outcome.LOCAL_OPTIMUM)
