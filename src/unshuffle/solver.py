"""The pipeline: pair, order, verify."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, product
from numbers import Integral
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from unshuffle.activations import ACTIVATIONS, RELU, Activation, find_activation
from unshuffle.anatomy import Anatomy, read_anatomy
from unshuffle.assembly import answer_hash, last_layer
from unshuffle.certificate import Certificate, certify
from unshuffle.errors import UsageError
from unshuffle.network import Network
from unshuffle.ordering.auto import auto
from unshuffle.ordering.classic import PLACEMENTS, Turn, classic
from unshuffle.ordering.judge import Judge, Order, Run
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.search import Ending, run_search, until
from unshuffle.ordering.seeds import smallest_step
from unshuffle.outcome import Outcome
from unshuffle.pairing import Pairing, pair
from unshuffle.pairing.layers import stack_layers
from unshuffle.pile import Pile
from unshuffle.records import Records
from unshuffle.solution import Solution
from unshuffle.tolerance import arithmetic_of, rounding_tolerance
from unshuffle.trace import OnStep, Step, Trace
from unshuffle.verification import best_fitting, judge_network

STRATEGIES = ("auto", "classic")

CLASSIC_ROWS = 500
"""Rows that `classic` judges candidates on: enough for the puzzle, few enough for minutes."""

TOLERANCE_ROWS = 16
"""Rows on which the search measures the rounding level; the final word takes more."""

PROMISING = 1e-3
"""Only errors below this fraction of the predictions' scale are compared with rounding."""


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
        How the order is found. "auto": several seeds, then many first-order moves at once, which
        may also correct the pairs. "classic": greedy insertion, 2-opt and or-opt, each candidate
        judged by an exact forward pass.
    signal, matching
        How the pairs are found; see `pair`. The default signal is "fused", for "classic" it is
        "trace".
    activation
        Name of the hidden layers' activation. By default "auto" tries those in
        `unshuffle.activations.ACTIVATIONS` against the record, ReLU first; "classic" takes ReLU.
    placement
        Where the greedy insertion of "classic" may put a block: "ends" or "anywhere".
    rows
        How many rows with predictions the search uses, drawn at random; all rows if there are
        fewer. "auto" begins with as many as make 256 predictions and takes more where it needs
        them; "classic" uses 500. The final error is always over all rows.
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
        `INTERRUPTED`. Without any predictions the outcome is `ESTIMATE` and the errors are NaN.

    Raises
    ------
    PileError
        If the pieces cannot be one residual network.
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
    _check_options(strategy, placement, rows, seed, time_limit)
    activations = _activations(strategy, activation)
    signal = signal or ("trace" if strategy == "classic" else "fused")
    rng = np.random.default_rng(seed)
    started = perf_counter()
    # A search multiplies many small matrices, which is faster with whole batches in parallel than
    # with a parallel BLAS, and its rounding then does not depend on the number of cores.
    with threadpool_limits(1, "blas"):
        anatomy = read_anatomy(pile, records)
        known = records.predicted()
        cases = _cases(pile, records, anatomy, activations, signal=signal, matching=matching)
        pairing, problem = next(cases)
        paired = perf_counter()
        problems = [problem]

        def all_problems() -> Iterator[Problem]:
            """The first and the others, each remembered once it is made."""
            yield problem
            for _, other in cases:
                problems.append(other)
                yield other

        arithmetic = arithmetic_of(pile.dtype, known.predictions)

        def reproduces(judge: Judge, run: Run) -> bool:
            return _reproduces(judge, run, anatomy.blocks, arithmetic)

        def explains(problem: Problem, order: Order) -> bool:
            verdict = judge_network(problem.network(order), known, pile.stored_as)
            return verdict.outcome is Outcome.APPROXIMATE

        def decides(problem: Problem, order: Order, rows: Records) -> bool:
            return certify(replace(problem, records=rows), order, rounding=0.0).decided

        turn = partial(_turned, outs=len(anatomy.out)) if anatomy.interchangeable else None
        steps: Iterator[Step]
        if not len(known):
            steps = _estimate(problem)
        elif strategy == "auto":
            steps = auto(
                all_problems(),
                rng,
                rows=rows,
                reproduces=reproduces,
                explains=explains,
                decides=decides,
            )
        else:
            judge = Judge(problem.layers, problem.last, _sample(known, rows or CLASSIC_ROWS, rng))
            steps = until(
                classic(judge, problem.blocks.tolist(), placement=placement, turn=turn),
                lambda step: reproduces(judge, Run(step.order, judge.inputs, step.error)),
            )
        trace = Trace([pile[i].id for i in anatomy.inp], [pile[i].id for i in anatomy.out])
        ending = run_search(steps, trace, time_limit=time_limit, on_step=on_step)
        ordered = perf_counter()

        order = _complete(trace.steps[-1].order if trace.steps else (), problem.blocks, turn)
        applied = trace.pairs(order)
        last = next(name for name in pile.ids if name not in {*chain.from_iterable(applied)})
        permutation = (*chain.from_iterable(applied), last)
        fitting = [one for one in problems if one.admits(order)]
        networks = [one.network(order) for one in fitting]
        network = best_fitting(networks, known)
        verdict = judge_network(network, known, pile.stored_as)
        certificate = None
        if verdict.outcome in (Outcome.EXACT, Outcome.APPROXIMATE):
            arranged = fitting[networks.index(network)]
            certificate = certify(arranged, order, verdict.tolerance.rms, trace.errors)
        verified = perf_counter()
    pairs = tuple(sorted(applied, key=lambda ids: (isinstance(ids[0], str), ids)))
    return Solution(
        outcome=_outcome(verdict.outcome, ending, certificate),
        pairs=pairs,
        order=tuple(pairs.index(ids) for ids in applied),
        last=last,
        mse=verdict.mse,
        max_abs_error=verdict.max_abs_error,
        rows=verdict.rows,
        sha256=answer_hash(permutation),
        activation=network.blocks.activation.name,
        pairing=pairing,
        certificate=certificate,
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
    strategy: str, placement: str, rows: int | None, seed: int, time_limit: float | None
) -> None:
    if strategy not in STRATEGIES:
        raise UsageError.unknown("strategy", strategy, STRATEGIES)
    if placement not in PLACEMENTS:
        raise UsageError.unknown("placement", placement, PLACEMENTS)
    if rows is not None and not (isinstance(rows, Integral) and rows >= 1):
        raise UsageError(f"the search cannot use {rows} rows; give it a whole number from 1 on")
    if not (isinstance(seed, Integral) and seed >= 0):
        raise UsageError(f"the seed cannot be {seed}; give it a whole number from 0 on")
    if time_limit is not None and not time_limit > 0:
        raise UsageError(f"a time limit of {time_limit} s leaves no time; give more than 0")


def _sample(known: Records, rows: int, rng: np.random.Generator) -> Records:
    """Draw rows at random, without repetition, and keep them in the record's sequence."""
    if rows >= len(known):
        return known
    return known.take(np.sort(rng.choice(len(known), size=rows, replace=False)))


def _activations(strategy: str, name: str | None) -> list[Activation]:
    """The activations to try, in sequence."""
    if name is not None:
        return [find_activation(name)]
    return list(ACTIVATIONS.values()) if strategy == "auto" else [RELU]


def _cases(
    pile: Pile,
    records: Records,
    anatomy: Anatomy,
    activations: Sequence[Activation],
    **options: str,
) -> Iterator[tuple[Pairing, Problem]]:
    """What there is to order, by activation, and by last layer where shapes leave a choice."""
    pairing = pair(pile, records, **options, anatomy=anatomy, activation=activations[0])
    yield pairing, _problem(pile, records, anatomy, pairing, activations[0])
    chosen = pile.index[pairing.last]
    lasts = [chosen, *(other for other in anatomy.last if other != chosen)]
    for last, other in product(lasts, activations):
        if (last, other) != (chosen, activations[0]):
            decided = anatomy.with_last(last)
            pairing = pair(pile, records, **options, anatomy=decided, activation=other)
            yield pairing, _problem(pile, records, anatomy, pairing, other)


def _problem(
    pile: Pile, records: Records, anatomy: Anatomy, pairing: Pairing, activation: Activation
) -> Problem:
    """What is to be ordered, in terms of the candidate layers of the whole pile.

    The pairing may be of an anatomy whose last layer is decided. What it leaves out belongs to no
    block, and without fused log-odds no pair but the matched ones is considered.
    """
    inp = {position: i for i, position in enumerate(anatomy.inp)}
    out = {position: j for j, position in enumerate(anatomy.out)}
    pairs = np.array([(inp[pile.index[a]], out[pile.index[b]]) for a, b in pairing.pairs], np.intp)
    log_odds = np.full((len(inp), len(out)), -np.inf)
    if pairing.evidence is None:
        log_odds[tuple(pairs.T)] = 0.0
        if anatomy.interchangeable:
            log_odds[tuple(pairs.T[::-1])] = 0.0
    else:
        rows = [inp[position] for position in pairing.anatomy.inp]
        columns = [out[position] for position in pairing.anatomy.out]
        log_odds[np.ix_(rows, columns)] = pairing.scores
    return Problem(
        stack_layers(pile, anatomy, activation),
        last_layer(pile, pairing.last),
        pairs,
        log_odds,
        records,
        turns=anatomy.interchangeable,
    )


def _reproduces(judge: Judge, run: Run, blocks: int, arithmetic: str) -> bool:
    """Whether a run of all blocks reproduces the judge's rows to rounding."""
    scale = np.mean(np.square(judge.predictions, dtype=np.float64))
    if len(run.order) < blocks or run.error > PROMISING**2 * scale:
        return False
    network = Network(judge.blocks.take(run.order), judge.last)
    sample = slice(TOLERANCE_ROWS)
    tolerance = rounding_tolerance(
        network, judge.inputs[sample], judge.predictions[sample], arithmetic
    )
    return run.error <= tolerance.rms**2


def _estimate(problem: Problem) -> Iterator[Step]:
    """Without predictions: the blocks in the sequence in which they move the states least."""
    ranking = smallest_step(problem.network(tuple(problem.blocks)), problem.records.inputs)
    yield Step("estimate", np.empty(0), True, tuple(problem.blocks[ranking].tolist()), np.nan, 0)


def _turned(blocks: NDArray[np.intp], outs: int) -> NDArray[np.intp]:
    """Numbers of the blocks whose inp and out layers are exchanged."""
    inp, out = np.divmod(blocks, outs)
    return out * outs + inp


def _complete(order: Sequence[int], blocks: NDArray[np.intp], turn: Turn | None) -> tuple[int, ...]:
    """The order with the blocks that it lacks, if it was cut short, at its end."""
    if len(order) == len(blocks):
        return tuple(order)
    placed = np.array(order, np.intp)
    if turn is not None:
        placed = np.concatenate([placed, turn(placed)])
    return (*order, *np.setdiff1d(blocks, placed).tolist())


def _outcome(verdict: Outcome, ending: Ending, certificate: Certificate | None) -> Outcome:
    """What fits outranks why the search stopped."""
    if certificate is not None and not certificate.decided:
        return Outcome.AMBIGUOUS
    if verdict is not Outcome.MISFIT:
        return verdict
    return {
        Ending.OUT_OF_TIME: Outcome.BUDGET_SPENT,
        Ending.INTERRUPTED: Outcome.INTERRUPTED,
    }.get(ending, Outcome.LOCAL_OPTIMUM)
