"""Group, order and verify the pieces of a whole pile."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.blueprints import Blueprint
from unshuffle.blocks.forms import RESIDUAL, form_of
from unshuffle.blocks.mlp import MlpStack
from unshuffle.blocks.network import Network
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.grouping.edges import shown_edges
from unshuffle.ordering.auto import advance, begin
from unshuffle.ordering.classic import classic
from unshuffle.ordering.enumeration import Enumeration
from unshuffle.ordering.judge import Judge, Run
from unshuffle.ordering.local_record import recorded_arrangements
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.search import Ending, OnState, Stop, run_search, run_states
from unshuffle.ordering.seeds import SeedParameters, smallest_step
from unshuffle.ordering.stages import STAGES, Stage
from unshuffle.ordering.state import State
from unshuffle.ordering.trace import Step, Trace
from unshuffle.ordering.workbench import Workbench
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.answer import answer_hash
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.certificate import certify
from unshuffle.proof.decimals import cut_off, uncut
from unshuffle.proof.outcome import Outcome
from unshuffle.proof.tolerance import arithmetic_of
from unshuffle.proof.verification import (
    UNVERIFIED,
    Verification,
    best_fitting,
    clearly_best,
    judge_network,
)
from unshuffle.solution.alternatives import Problems
from unshuffle.solution.goal import Reproduction
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution


@dataclass(frozen=True, eq=False)
class Start:
    """The result of an earlier search over the same pieces. Its steps precede those of the next."""

    arrangement: Arrangement
    trace: Trace
    ending: Ending | None = None  # why no further search is to be begun, if none is


def arrange(
    pile: Pile,
    records: Records,
    options: Options,
    *,
    alternatives: Problems | None = None,
    start: Start | None = None,
    stops: Sequence[Stop] = (),
) -> Solution:
    """Group the pieces of a whole pile into blocks, order these, and verify the result.

    Each piece has its place. `alternatives` are given where they have been made already. `stops`
    are what stops the search beside the time limit.
    """
    search = Searching.of(pile, records, options, alternatives=alternatives, start=start)
    search.go_on(stops)
    return search.solution()


@dataclass(eq=False)
class Searching:
    """A search that can go on: what there is to order, what was done, and its state."""

    alternatives: Problems
    trace: Trace
    ending: Ending | None = None  # None where it can go on
    state: State | None = None  # None before the first round, and without predictions
    stages: Sequence[Stage] = STAGES  # of the strategy `auto`
    _bench: Workbench | None = None

    @classmethod
    def of(
        cls,
        pile: Pile,
        records: Records,
        options: Options,
        *,
        alternatives: Problems | None = None,
        anatomy: Anatomy | None = None,
        blueprint: Blueprint | None = None,
        start: Start | None = None,
    ) -> "Searching":
        """A search that has not begun. Parameters are those of `arrange` and `Problems`."""
        with single_threaded_blas():
            if alternatives is None:
                first = None if start is None else start.arrangement
                alternatives = Problems(
                    pile, records, options, anatomy=anatomy, blueprint=blueprint, start=first
                )
        if start is not None:
            return cls(alternatives, start.trace, start.ending)
        return cls(alternatives, Trace(pile.ids))

    @property
    def row_steps(self) -> int:
        """Rows of all steps, added up."""
        return self.trace.row_steps

    @property
    def to_enumerate(self) -> bool:
        """Whether every arrangement will be judged, but has not been yet."""
        state, bench, stages = self.state, self._bench, self.stages
        if state is None or bench is None or self.alternatives.options.strategy != "auto":
            return False
        ahead = (each for each in stages if isinstance(each, Enumeration))
        return any(state.stage == each.name or each.wanted(state, bench) for each in ahead)

    @property
    def standing(self) -> tuple[Judge, Run]:
        """The best arrangement of a search that has begun, run on its rows, and its judge."""
        state, bench = self.state, self._bench
        assert state is not None
        assert bench is not None
        number = state.best.alternative
        whole = _complete(state.best.arrangement, bench.problem(number))
        return bench.judge(number, state.rows), bench.run(number, state.rows, whole)

    def go_on(self, stops: Sequence[Stop] = (), on_state: OnState | None = None) -> Ending:
        """Search until the goal is met, nothing helps any more, or something stops it."""
        options = self.alternatives.options
        if self.ending in (None, Ending.STOPPED):
            with single_threaded_blas(), options.clock.phase("order"):
                self.ending = self._go_on((*options.stops, *stops), on_state)
        assert self.ending is not None
        return self.ending

    def _go_on(self, stops: Sequence[Stop], on_state: OnState | None) -> Ending:
        options, problem = self.alternatives.options, self.alternatives.problems[0]
        if not len(problem.known):
            steps = _estimate(problem, options.parameters.seeds, options.clock)
            return run_search(steps, self.trace, stops=stops, on_step=options.on_step)
        if self._bench is None:
            rng = np.random.default_rng(options.seed)
            self._bench = self._workbench(problem, rng)
            self.state = self.state or replace(begin(self._bench, rng), work=self.trace.work)
        assert self.state is not None
        if options.strategy == "auto":
            rounds = advance(self.state, self._bench, self.stages)
        else:
            rounds = classic(self.state, self._bench, options.placement, options.classic)
        self.state, ending = run_states(
            self.state, rounds, self.trace, stops=stops, on_step=options.on_step, on_state=on_state
        )
        return ending

    def _workbench(self, problem: Problem, rng: np.random.Generator) -> Workbench:
        pile, options = self.alternatives.pile, self.alternatives.options
        arithmetic = arithmetic_of(pile.dtype, problem.known.predictions)
        goal = Reproduction(
            arithmetic, len(problem.grouped), options.clock, pile.stored_as, options.goal
        )
        rows, clock = options.rows, options.clock
        if options.strategy == "classic":
            rows = min(rows or options.classic.rows, len(problem.known))
        sketches = (each.sketch for each in self.alternatives)
        return Workbench(sketches, rng, goal, options.parameters, rows, clock=clock)

    def solution(self) -> Solution:
        """What the search has come to, verified."""
        problem, steps = self.alternatives.problems[0], self.trace.steps
        standing = steps[-1].arrangement if steps else problem.grouped[:0]
        return conclude(self.alternatives, self.trace, _complete(standing, problem), self.ending)


def given(
    pile: Pile, records: Records, options: Options, blocks: Sequence[Sequence[PieceId]]
) -> Solution:
    """An arrangement that another search has found, verified and certified as it is.

    `blocks` are the ids of the pieces of each block, in the order in which they run.
    """
    with single_threaded_blas():
        alternatives = Problems(pile, records, options)
        problem = alternatives.problems[0]
        arrangement = np.array([[pile.index[name] for name in block] for block in blocks], np.intp)
        error = problem.judge(problem.known).run(arrangement).error
    trace = Trace(pile.ids)
    rows = len(problem.known)
    trace.add(Step("given", np.array([error]), True, arrangement, error, rows), 0.0)
    return conclude(alternatives, trace, arrangement, Ending.CONVERGED, as_it_is=True)


def certified(
    problem: Problem,
    arrangement: Arrangement,
    stored_as: tuple[str, ...],
    tested: NDArray[np.float64] | None = None,
    *,
    clock: Clock,
    finished: bool = True,
) -> Verification:
    """Judge a complete arrangement, and weigh it against its rivals where it is reproduced.

    Of an unfinished search only an exact reproduction is believed. The search might still mend what
    else is unexplained. Where the record speaks for a rival the arrangement is a misfit. Nothing is
    said of noise without time for it.
    """
    found = judge_network(problem.network(arrangement), problem.known, stored_as, clock)
    if found.outcome not in (Outcome.EXACT, Outcome.APPROXIMATE):
        return found
    exact = found.outcome is Outcome.EXACT
    if not (exact or finished):
        return found.withdrawn(Outcome.UNDECIDED)
    rounding = problem.projected(found.tolerance.rms)
    cut = problem.projected(cut_off(problem.known.predictions, found.cut))
    problem = replace(problem, records=uncut(problem.records, found.cut))
    try:
        certificate = certify(problem.sketch, arrangement, rounding, tested, cut=cut, clock=clock)
    except OutOfTimeError:
        return found.withdrawn(Outcome.BUDGET_SPENT)
    if certificate.refuted and not exact:
        return found.withdrawn(Outcome.MISFIT)
    outcome = found.outcome if certificate.decided else Outcome.AMBIGUOUS
    return replace(found, outcome=outcome, certificate=certificate)


def conclude(
    alternatives: Problems,
    trace: Trace,
    arrangement: Arrangement,
    ending: Ending | None,
    *,
    as_it_is: bool = False,
) -> Solution:
    """Verify and certify a complete arrangement.

    As it is, it stands although the evidence may rule out some of its blocks.
    """
    fitting = [one for one in alternatives.problems if as_it_is or one.evidence.admits(arrangement)]
    network, found, outcome = _judged(fitting, arrangement, alternatives, trace, ending)
    last = alternatives.last_of(arrangement)
    applied = [name for block in trace.names(arrangement) for name in block]
    edges = () if alternatives.pairing else fitting[0].evidence.edges
    mlp = network.blocks if isinstance(network.blocks, MlpStack) else None
    return Solution(
        outcome=outcome,
        arrangement=arrangement,
        last=last,
        mse=found.mse,
        max_abs_error=found.max_abs_error,
        rows=found.rows,
        sha256=answer_hash(applied if last is None else [*applied, last]),
        activation="" if mlp is None else mlp.activation.name,
        form=(RESIDUAL if mlp is None else form_of(mlp)).formula,
        pairing=alternatives.pairing,
        certificate=found.certificate,
        explanation=found.explanation,
        cut=found.cut,
        seconds=alternatives.options.clock.seconds,
        trace=trace,
        network=network,
        roles=tuple(role.name for role in fitting[0].bank.kind.roles),
        links=shown_edges(edges, arrangement, trace.ids),
        parameters=alternatives.options.numbers,
    )


def _judged(
    fitting: Sequence[Problem],
    arrangement: Arrangement,
    alternatives: Problems,
    trace: Trace,
    ending: Ending | None,
) -> tuple[Network, Verification, Outcome]:
    """What `_best_verified` says, and what comes of it. An interrupt leaves the answer alone."""
    clock = alternatives.options.clock
    try:
        with single_threaded_blas(), clock.phase("verify"):
            network, found = _best_verified(fitting, arrangement, alternatives, trace, ending)
            outcome = _outcome(found, ending)
    except KeyboardInterrupt:  # nothing is claimed of it
        network, found, outcome = fitting[0].network(arrangement), UNVERIFIED, Outcome.INTERRUPTED
        ending = Ending.INTERRUPTED
    # A repair may make nothing of this solution; the whole solve ends all the same.
    clock.interrupted |= ending is Ending.INTERRUPTED
    return network, found, outcome


def _best_verified(
    fitting: Sequence[Problem],
    arrangement: Arrangement,
    alternatives: Problems,
    trace: Trace,
    ending: Ending | None,
) -> tuple[Network, Verification]:
    """The network that fits best, and what may be claimed of it beside the others."""
    known, clock = fitting[0].known, alternatives.options.clock
    networks = [one.network(arrangement) for one in fitting]
    network = best_fitting(networks, known)
    found = certified(
        fitting[networks.index(network)],
        arrangement,
        alternatives.pile.stored_as,
        trace.errors,
        clock=clock,
        finished=ending not in (Ending.OUT_OF_TIME, Ending.INTERRUPTED),
    )
    doubtful = found.outcome in (Outcome.APPROXIMATE, Outcome.AMBIGUOUS)
    others = [each for each in networks if each is not network]
    if doubtful and not clearly_best(network, others, known):
        found = found.withdrawn(Outcome.UNDECIDED)
    return network, found


def _estimate(problem: Problem, by: SeedParameters, clock: Clock) -> Iterator[Step]:
    """Without predictions: as statistics say, or each block that moves the states least."""
    made = recorded_arrangements(problem, clock)
    if not made:
        ranking = smallest_step(problem.network(problem.grouped), problem.records.inputs, by)
        made = [problem.grouped[ranking]]
    yield Step("estimate", np.empty(0), True, made[0], np.nan, 0)


def _complete(arrangement: Arrangement, problem: Problem) -> Arrangement:
    """The arrangement with the blocks that it lacks, if it was cut short, at its end."""
    if len(arrangement) == len(problem.grouped):
        return arrangement
    placed = {*arrangement.ravel().tolist()}
    left = [not placed.intersection(block) for block in problem.grouped.tolist()]
    return np.concatenate([arrangement, problem.grouped[left]])


def _outcome(found: Verification, ending: Ending | None) -> Outcome:
    """What fits outranks why the search stopped."""
    if found.outcome not in (Outcome.MISFIT, Outcome.UNDECIDED):
        return found.outcome
    if ending is Ending.OUT_OF_TIME:
        return Outcome.BUDGET_SPENT
    if ending is Ending.INTERRUPTED:
        return Outcome.INTERRUPTED
    return Outcome.LOCAL_OPTIMUM if found.outcome is Outcome.MISFIT else Outcome.UNDECIDED
