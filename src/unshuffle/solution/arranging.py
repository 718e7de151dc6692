"""Group, order and verify the pieces of a whole pile."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.blueprints import Blueprint
from unshuffle.blocks.mlp import MlpStack
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.ordering.auto import advance, begin
from unshuffle.ordering.classic import classic
from unshuffle.ordering.judge import Judge, Run
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.search import Ending, OnState, Stop, run_search, run_states
from unshuffle.ordering.seeds import smallest_step
from unshuffle.ordering.state import State
from unshuffle.ordering.trace import Step, Trace
from unshuffle.ordering.workbench import Workbench
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.answer import answer_hash
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.certificate import certify
from unshuffle.proof.outcome import Outcome
from unshuffle.proof.tolerance import arithmetic_of, rounding_tolerance
from unshuffle.proof.verification import (
    UNVERIFIED,
    Verdict,
    best_fitting,
    clearly_best,
    judge_network,
)
from unshuffle.solution.alternatives import Alternatives
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution

CLASSIC_ROWS = 500  # that `classic` judges on: enough for the puzzle, few enough for minutes
TOLERANCE_ROWS = 16  # that the search measures rounding on; the final word takes more
PROMISING = 1e-3  # only errors below this part of the predictions' scale may be rounding


@dataclass(frozen=True)
class Reproduction:
    """The goal of a search: to reproduce the record to rounding, or as well as noise allows."""

    arithmetic: str  # the dtype that the record was computed in
    blocks: int  # of a complete arrangement, at least
    stored_as: tuple[str, ...] | None = None  # None where noise is never an explanation

    def reproduces(self, judge: Judge, run: Run) -> bool:
        """Whether a run reproduces a judge's rows to rounding."""
        scale = np.mean(np.square(judge.predictions, dtype=np.float64))
        if len(run) < self.blocks or run.error > PROMISING**2 * scale:
            return False
        some = judge.records.take(np.arange(min(TOLERANCE_ROWS, len(judge.inputs))))
        network = judge.network(run.arrangement)
        tolerance = rounding_tolerance(network, some.inputs, some.predictions, self.arithmetic)
        if not run.error <= tolerance.mse:  # the mean over the columns
            return False
        errors = judge.ends.leave(judge.run(run.arrangement).states[-1]) - judge.predictions
        squares = np.mean(np.square(errors, dtype=np.float64), axis=0)
        return bool((squares <= np.square(tolerance.rms)).all())

    def explains(self, problem: Problem, arrangement: Arrangement) -> bool:
        """Whether noise, or coarsely stored numbers, explain what is left of the record."""
        if self.stored_as is None:
            return False
        verdict = judge_network(problem.network(arrangement), problem.known, self.stored_as)
        return verdict.outcome is Outcome.APPROXIMATE

    def decides(self, problem: Problem, arrangement: Arrangement, rows: Records) -> bool:
        """Whether rows tell such an arrangement from all that it could be mistaken for."""
        return certify(replace(problem, records=rows), arrangement, rounding=0.0).decided


@dataclass(frozen=True, eq=False)
class Start:
    """What an earlier search over the same pieces came to; its steps precede those of the next."""

    arrangement: Arrangement
    trace: Trace
    ending: Ending | None = None  # why no further search is to be begun, if none is


def arrange(
    pile: Pile,
    records: Records,
    options: Options,
    *,
    alternatives: Alternatives | None = None,
    start: Start | None = None,
    stops: Sequence[Stop] = (),
) -> Solution:
    """Group the pieces of a whole pile into blocks, order the blocks, and verify the result.

    Each piece has its place. `alternatives` are given where they have been made already; `stops`
    are what stops the search beside the time limit.
    """
    search = Searching.of(pile, records, options, alternatives=alternatives, start=start)
    search.go_on(stops)
    return search.solution()


@dataclass(eq=False)
class Searching:
    """A search that can go on: what there is to order, what was done, and where it stands."""

    alternatives: Alternatives
    trace: Trace
    ending: Ending | None = None  # None where it can go on
    state: State | None = None  # None before the first round, and without predictions
    _bench: Workbench | None = None

    @classmethod
    def of(
        cls,
        pile: Pile,
        records: Records,
        options: Options,
        *,
        alternatives: Alternatives | None = None,
        anatomy: Anatomy | None = None,
        blueprint: Blueprint | None = None,
        start: Start | None = None,
    ) -> "Searching":
        """A search that has not begun; parameters are those of `arrange` and `Alternatives`."""
        with single_threaded_blas():
            if alternatives is None:
                first = None if start is None else start.arrangement
                alternatives = Alternatives(
                    pile, records, options, anatomy=anatomy, blueprint=blueprint, start=first
                )
        if start is not None:
            return cls(alternatives, start.trace, start.ending)
        return cls(alternatives, Trace(pile.ids))

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
            steps = _estimate(problem)
            return run_search(steps, self.trace, stops=stops, on_step=options.on_step)
        if self._bench is None:
            rng = np.random.default_rng(options.seed)
            self._bench = self._workbench(problem, rng)
            self.state = self.state or begin(self._bench, rng)
        assert self.state is not None
        if options.strategy == "auto":
            rounds = advance(self.state, self._bench)
        else:
            rounds = classic(self.state, self._bench, options.placement)
        self.state, ending = run_states(
            self.state, rounds, self.trace, stops=stops, on_step=options.on_step, on_state=on_state
        )
        return ending

    def _workbench(self, problem: Problem, rng: np.random.Generator) -> Workbench:
        pile, options = self.alternatives.pile, self.alternatives.options
        arithmetic = arithmetic_of(pile.dtype, problem.known.predictions)
        goal = Reproduction(arithmetic, len(problem.grouped), pile.stored_as)
        rows, clock = options.rows, options.clock
        if options.strategy == "classic":
            rows = min(rows or CLASSIC_ROWS, len(problem.known))
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

    `blocks` are the ids of the pieces of each block, in the order in which the blocks run.
    """
    with single_threaded_blas():
        alternatives = Alternatives(pile, records, options)
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
    finished: bool = True,
) -> Verdict:
    """Judge a complete arrangement, and weigh it against its rivals where it is reproduced.

    Of what a search has not finished only an exact reproduction is believed: what else it leaves
    unexplained might be what it would still have mended. Where the record speaks for a rival the
    arrangement is a misfit.
    """
    verdict = judge_network(problem.network(arrangement), problem.known, stored_as)
    if verdict.outcome not in (Outcome.EXACT, Outcome.APPROXIMATE):
        return verdict
    exact = verdict.outcome is Outcome.EXACT
    if not (exact or finished):
        return replace(verdict, outcome=Outcome.UNDECIDED)
    rounding = problem.projected(verdict.tolerance.rms)
    certificate = certify(problem.sketch, arrangement, rounding, tested)
    if certificate.refuted and not exact:
        return replace(verdict, outcome=Outcome.MISFIT)
    outcome = verdict.outcome if certificate.decided else Outcome.AMBIGUOUS
    return replace(verdict, outcome=outcome, certificate=certificate)


def conclude(
    alternatives: Alternatives,
    trace: Trace,
    arrangement: Arrangement,
    ending: Ending | None,
    *,
    as_it_is: bool = False,
) -> Solution:
    """Verify and certify a complete arrangement.

    As it is, it stands although the evidence may rule out some of its blocks.
    """
    pile, known = alternatives.pile, alternatives.problems[0].known
    fitting = [one for one in alternatives.problems if as_it_is or one.evidence.admits(arrangement)]
    networks = [one.network(arrangement) for one in fitting]
    network, verdict, outcome = networks[0], UNVERIFIED, Outcome.INTERRUPTED
    finished = ending not in (Ending.OUT_OF_TIME, Ending.INTERRUPTED)
    phase = alternatives.options.clock.phase("verify")
    # After an interruption what is known is the answer, and nothing is claimed of it.
    with suppress(KeyboardInterrupt), single_threaded_blas(), phase:
        network = best_fitting(networks, known)
        arranged = fitting[networks.index(network)]
        verdict = certified(arranged, arrangement, pile.stored_as, trace.errors, finished=finished)
        doubtful = verdict.outcome in (Outcome.APPROXIMATE, Outcome.AMBIGUOUS)
        others = [each for each in networks if each is not network]
        if doubtful and not clearly_best(network, others, known):
            verdict = replace(verdict, outcome=Outcome.UNDECIDED, certificate=None)
        outcome = _outcome(verdict, ending)
    last = alternatives.last_of(arrangement)
    applied = [name for block in trace.names(arrangement) for name in block]
    return Solution(
        outcome=outcome,
        arrangement=arrangement,
        last=last,
        mse=verdict.mse,
        max_abs_error=verdict.max_abs_error,
        rows=verdict.rows,
        sha256=answer_hash(applied if last is None else [*applied, last]),
        activation=network.blocks.activation.name if isinstance(network.blocks, MlpStack) else "",
        pairing=alternatives.pairing,
        certificate=verdict.certificate,
        seconds=alternatives.options.clock.seconds,
        trace=trace,
        network=network,
    )


def _estimate(problem: Problem) -> Iterator[Step]:
    """Without predictions: the blocks in the sequence in which they move the states least."""
    ranking = smallest_step(problem.network(problem.grouped), problem.records.inputs)
    yield Step("estimate", np.empty(0), True, problem.grouped[ranking], np.nan, 0)


def _complete(arrangement: Arrangement, problem: Problem) -> Arrangement:
    """The arrangement with the blocks that it lacks, if it was cut short, at its end."""
    if len(arrangement) == len(problem.grouped):
        return arrangement
    placed = {*arrangement.ravel().tolist()}
    left = [not placed.intersection(block) for block in problem.grouped.tolist()]
    return np.concatenate([arrangement, problem.grouped[left]])


def _outcome(verdict: Verdict, ending: Ending | None) -> Outcome:
    """What fits outranks why the search stopped."""
    if verdict.outcome not in (Outcome.MISFIT, Outcome.UNDECIDED):
        return verdict.outcome
    if ending is Ending.OUT_OF_TIME:
        return Outcome.BUDGET_SPENT
    if ending is Ending.INTERRUPTED:
        return Outcome.INTERRUPTED
    return Outcome.LOCAL_OPTIMUM if verdict.outcome is Outcome.MISFIT else Outcome.UNDECIDED
