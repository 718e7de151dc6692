"""Pair, order and verify the pieces of a whole pile."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, product
from numbers import Integral
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from unshuffle.blocks.activations import ACTIVATIONS, RELU, Activation, find_activation
from unshuffle.blocks.assembly import last_layer, stack_layers
from unshuffle.blocks.network import Network
from unshuffle.errors import UsageError
from unshuffle.grouping import Pairing, pair
from unshuffle.grouping.pairs import FUSED
from unshuffle.ordering.auto import auto
from unshuffle.ordering.classic import PLACEMENTS, Turn, classic
from unshuffle.ordering.journal import Journal
from unshuffle.ordering.judge import Judge, Order, Run
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.search import Ending, run_search, until
from unshuffle.ordering.seeds import smallest_step
from unshuffle.ordering.trace import OnStep, Step, Trace
from unshuffle.pieces.anatomy import Anatomy, read_anatomy
from unshuffle.pieces.answer import answer_hash
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.certificate import Certificate, certify
from unshuffle.proof.outcome import Outcome
from unshuffle.proof.tolerance import arithmetic_of, rounding_tolerance
from unshuffle.proof.verification import UNVERIFIED, best_fitting, judge_network
from unshuffle.solution.solution import Solution

STRATEGIES = ("auto", "classic")

CLASSIC_ROWS = 500
"""Rows that `classic` judges candidates on: enough for the puzzle, few enough for minutes."""

LEAST_SECONDS = 1e-9
"""Of a search whose time is up before it begins: it takes one step."""

TOLERANCE_ROWS = 16
"""Rows on which the search measures the rounding level; the final word takes more."""

PROMISING = 1e-3
"""Only errors below this fraction of the predictions' scale are compared with rounding."""


@dataclass(frozen=True)
class Options:
    """How an arrangement is searched for; what each means stands at `unshuffle.solve`.

    Raises
    ------
    UsageError
        If an option has a value that cannot work.
    """

    strategy: str = "auto"
    signal: str | None = None
    matching: str = "optimal"
    activation: str | None = None
    placement: str = "anywhere"
    rows: int | None = None
    seed: int = 0
    time_limit: float | None = None
    on_step: OnStep | None = None
    journal: Journal | None = None

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UsageError.unknown("strategy", self.strategy, STRATEGIES)
        if self.placement not in PLACEMENTS:
            raise UsageError.unknown("placement", self.placement, PLACEMENTS)
        rows, seed, limit = self.rows, self.seed, self.time_limit
        if rows is not None and not (isinstance(rows, Integral) and rows >= 1):
            raise UsageError(f"the search cannot use {rows} rows; give it a whole number from 1 on")
        if not (isinstance(seed, Integral) and seed >= 0):
            raise UsageError(f"the seed cannot be {seed}; give it a whole number from 0 on")
        if limit is not None and not limit > 0:
            raise UsageError(f"a time limit of {limit} s leaves no time; give more than 0")

    @property
    def activations(self) -> list[Activation]:
        """The activations to try, in sequence."""
        if self.activation is not None:
            return [find_activation(self.activation)]
        return list(ACTIVATIONS.values()) if self.strategy == "auto" else [RELU]

    @property
    def rebuilds(self) -> bool:
        """Whether a search may leave pieces out and estimate what is missing."""
        return self.strategy == "auto" and self.chosen_signal == FUSED

    def clock(self) -> float:
        """What second it is; with a journal, of the search, those before an interruption too."""
        return perf_counter() if self.journal is None else self.journal.seconds

    def with_time_left(self, started: float) -> "Options":
        """The options with what is left of the time limit since a moment of `clock`."""
        if self.time_limit is None:
            return self
        left = self.time_limit - (self.clock() - started)
        return replace(self, time_limit=max(left, LEAST_SECONDS))

    @property
    def chosen_signal(self) -> str:
        """The signal that pairs."""
        return self.signal or ("trace" if self.strategy == "classic" else FUSED)


@dataclass(frozen=True, eq=False)
class Start:
    """What an earlier search over the same layers came to.

    Parameters
    ----------
    order
        The best order.
    trace
        Its steps, to which those of the next search are added.
    ending
        Why no further search is to be begun; None where one may.
    """

    order: Order
    trace: Trace
    ending: Ending | None = None


class Cases:
    """What there is to order, by activation, and by last layer where shapes leave a choice.

    Each case is paired only when the search asks for it, and remembered; the first one is paired at
    once, which takes `seconds`.
    """

    def __init__(
        self,
        pile: Pile,
        records: Records,
        anatomy: Anatomy,
        options: Options,
        start: Order | None = None,
    ) -> None:
        self.pile, self.records, self.anatomy, self.options = pile, records, anatomy, options
        self.start = start
        activations = options.activations
        started = perf_counter()
        self.pairing, problem = self._case(anatomy, activations[0])
        self.seconds = perf_counter() - started
        self.problems = [problem]
        chosen = pile.index[self.pairing.last]
        lasts = [chosen, *(other for other in anatomy.last if other != chosen)]
        self._others = iter([*product(lasts, activations)][1:])

    def __iter__(self) -> Iterator[Problem]:
        yield from [*self.problems]
        for last, activation in self._others:
            _, problem = self._case(self.anatomy.with_last(last), activation)
            self.problems.append(problem)
            yield problem

    def _case(self, anatomy: Anatomy, activation: Activation) -> tuple[Pairing, Problem]:
        pairing = pair(
            self.pile,
            self.records,
            signal=self.options.chosen_signal,
            matching=self.options.matching,
            anatomy=anatomy,
            activation=activation,
        )
        problem = problem_of(self.pile, self.records, self.anatomy, pairing, activation)
        return pairing, replace(problem, start=self.start)


def arrange(
    pile: Pile,
    records: Records,
    options: Options,
    *,
    cases: Cases | None = None,
    start: Start | None = None,
    given: Sequence[tuple[PieceId, PieceId]] | None = None,
    watch: Callable[[Iterator[Step]], Iterator[Step]] = iter,
) -> Solution:
    """Pair the layers of a whole pile, order the blocks, and verify the result.

    Parameters
    ----------
    pile, records
        The pieces, each of which has its place, and the record.
    options
        How to search.
    cases
        What there is to order, if it has been paired already.
    start
        What an earlier search found.
    given
        Ids of the inp and out layer of each block in the order in which they run, if another
        search has found it: it is verified and certified as it is.
    watch
        Takes the steps of the search, and may end it.

    Raises
    ------
    PileError
        If the pieces cannot be one residual network.
    RecordError
        If the record does not fit the pile.
    """
    rng = np.random.default_rng(options.seed)
    journal = options.journal or Journal()
    # A search multiplies many small matrices, which is faster with whole batches in parallel than
    # with a parallel BLAS, and its rounding then does not depend on the number of cores.
    with threadpool_limits(1, "blas"):
        if cases is None:
            anatomy = read_anatomy(pile, records)
            cases = Cases(pile, records, anatomy, options, start.order if start else None)
        anatomy = cases.anatomy
        paired = perf_counter()
        problem = cases.problems[0]
        known = problem.known
        turn = partial(_turned, outs=len(anatomy.out)) if anatomy.interchangeable else None
        trace = Trace([pile[i].id for i in anatomy.inp], [pile[i].id for i in anatomy.out])
        if start is not None:
            trace = start.trace
        ending = start.ending if start is not None else None
        if given is not None:
            run_search(_given(problem, trace, given), trace)
            ending = Ending.CONVERGED
        elif ending is None:
            ending = run_search(
                watch(_search(cases, turn, rng, journal)),
                trace,
                time_limit=options.time_limit,
                on_step=options.on_step,
                clock=lambda: journal.seconds,
            )
        ordered = perf_counter()
        order = _complete(trace.steps[-1].order if trace.steps else (), problem.blocks, turn)
        fitting = [one for one in cases.problems if given is not None or one.admits(order)]
        networks = [one.network(order) for one in fitting]
        network, verdict, certificate = networks[0], UNVERIFIED, None
        try:
            network = best_fitting(networks, known)
            verdict = judge_network(network, known, pile.stored_as)
            if verdict.outcome in (Outcome.EXACT, Outcome.APPROXIMATE):
                arranged = fitting[networks.index(network)]
                certificate = certify(arranged, order, verdict.tolerance.rms, trace.errors)
            outcome = _outcome(verdict.outcome, ending, certificate)
        except KeyboardInterrupt:  # what is known is the answer; nothing is claimed of it
            outcome = Outcome.INTERRUPTED
        verified = perf_counter()
    applied = trace.pairs(order)
    placed = [*chain.from_iterable(applied)]
    last = next(name for name in pile.ids if name not in {*placed})
    pairs = tuple(sorted(applied, key=lambda ids: (isinstance(ids[0], str), ids)))
    return Solution(
        outcome=outcome,
        pairs=pairs,
        order=tuple(pairs.index(ids) for ids in applied),
        last=last,
        mse=verdict.mse,
        max_abs_error=verdict.max_abs_error,
        rows=verdict.rows,
        sha256=answer_hash((*placed, last)),
        activation=network.blocks.activation.name,
        pairing=cases.pairing,
        certificate=certificate,
        seconds={
            "pair": cases.seconds,
            "order": ordered - paired,
            "verify": verified - ordered,
            "total": cases.seconds + verified - paired,
        },
        trace=trace,
        network=network,
    )


def _search(
    cases: Cases, turn: Turn | None, rng: np.random.Generator, journal: Journal
) -> Iterator[Step]:
    """The steps of the strategy."""
    pile, options = cases.pile, cases.options
    problem = cases.problems[0]
    known = problem.known
    arithmetic = arithmetic_of(pile.dtype, known.predictions)

    def reproduces(judge: Judge, run: Run) -> bool:
        return reproduces_rows(judge, run, len(problem.blocks), arithmetic)

    if not len(known):
        return _estimate(problem)
    if options.strategy == "auto":

        def explains(problem: Problem, order: Order) -> bool:
            verdict = judge_network(problem.network(order), known, pile.stored_as)
            return verdict.outcome is Outcome.APPROXIMATE

        def decides(problem: Problem, order: Order, rows: Records) -> bool:
            return certify(replace(problem, records=rows), order, rounding=0.0).decided

        return auto(
            cases,
            rng,
            journal=journal,
            rows=options.rows,
            reproduces=reproduces,
            explains=explains,
            decides=decides,
        )
    sample = _sample(known, options.rows or CLASSIC_ROWS, rng)
    judge = Judge(problem.layers, problem.last, sample, journal)
    return until(
        classic(judge, problem.blocks.tolist(), placement=options.placement, turn=turn),
        lambda step: reproduces(judge, Run(step.order, judge.inputs, step.error)),
    )


def _sample(known: Records, rows: int, rng: np.random.Generator) -> Records:
    """Draw rows at random, without repetition, and keep them in the record's sequence."""
    if rows >= len(known):
        return known
    return known.take(np.sort(rng.choice(len(known), size=rows, replace=False)))


def problem_of(
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


def _given(
    problem: Problem, trace: Trace, pairs: Sequence[tuple[PieceId, PieceId]]
) -> Iterator[Step]:
    """An order that is known, as the only step of a search."""
    inp, out = (
        {name: number for number, name in enumerate(names)} for names in (trace.inp, trace.out)
    )
    order = tuple(inp[a] * len(out) + out[b] for a, b in pairs)
    run = Judge(problem.layers, problem.last, problem.known).run(order)
    yield Step("given", np.array([run.error]), True, order, run.error, len(problem.known))


def reproduces_rows(judge: Judge, run: Run, blocks: int, arithmetic: str) -> bool:
    """Whether a run of at least so many blocks reproduces the judge's rows to rounding."""
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
