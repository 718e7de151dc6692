"""Detached tensors: weights and biases as separate pieces.

Pairs and order hardly depend on the biases, and which bias fits where depends on the order, so the
two are found in turn: from the best seed, with the mean bias everywhere, a round on the biases,
then a few rounds on the order, and so on until the record is reproduced. The order must not be
polished before the biases are about right: it would make up for them, and move away from the truth.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_limits

from unshuffle.grouping.matching import optimal_matching
from unshuffle.ordering.adjoint import linearize
from unshuffle.ordering.auto import NEAR, Stage, disturbed, ranked_seeds
from unshuffle.ordering.descent import Objective, descend
from unshuffle.ordering.journal import Errors, Journal, Numbers
from unshuffle.ordering.judge import Judge, Order, Run
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.search import Ending, run_search, while_kept
from unshuffle.ordering.trace import Step, Trace
from unshuffle.pieces.anatomy import check_biases, read_anatomy
from unshuffle.pieces.answer import answer_hash, with_biases
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import Outcome
from unshuffle.proof.tolerance import arithmetic_of
from unshuffle.proof.verification import judge_network
from unshuffle.repair.bias_assignment import (
    Group,
    Held,
    bias_effects,
    exchanged,
    groups_of,
    holding,
    nothing_held,
    reassigned,
)
from unshuffle.repair.bias_signals import bias_log_odds, unit_features
from unshuffle.solution.arranging import Cases, Options, Start, arrange, reproduces_rows
from unshuffle.solution.solution import Solution

EQUATIONS = 1024
"""Predictions that the search uses."""

SIGNAL_ROWS = 1000
"""Inputs whose mean and spread the signals look at."""

STARTS = 4
"""Seeds that are started from."""

RESTARTS = 16
"""Restarts, without a new best, before the search ends."""

SHORT = 3
"""Rounds on the order between two rounds on the biases."""

SLOW = 1e-3
"""Rounds that lower the error by a smaller part than this are followed by a whole descent."""


@dataclass(frozen=True, eq=False)
class State:
    """An arrangement of weights and biases.

    Parameters
    ----------
    bare
        What is to be ordered, whatever biases its layers have.
    held
        Which weight holds which bias.
    stage
        The search for the order with these biases.
    run
        The order that stands.
    """

    bare: Problem
    held: Held
    stage: Stage
    run: Run

    @property
    def done(self) -> bool:
        """Whether the rows of the search are reproduced."""
        return self.stage.done(self.run)


Rounds = Generator[Step, None, State]
"""Rounds yield what they do and return the state that they end with."""


def solve_detached(pile: Pile, records: Records, options: Options) -> Solution:
    """Put together a network whose biases are pieces of their own.

    Parameters
    ----------
    pile
        A pile with loose biases.
    records, options
        As for `unshuffle.solve`. "classic" orders the blocks once the biases are placed.

    Raises
    ------
    PileError
        If the pieces cannot be one residual network.
    RecordError
        If the record does not fit the pile.
    """
    started = perf_counter()
    check_biases(pile)
    journal = options.journal or Journal()
    with threadpool_limits(1, "blas"):
        search = JointSearch(pile, records, options, journal)
        ending = run_search(
            search.steps(),
            search.trace,
            time_limit=options.time_limit,
            on_step=options.on_step,
            clock=lambda: journal.seconds,
        )
    best = search.best
    bias_of = _bias_of(pile, search.groups, best.held)
    placed = perf_counter()
    start = None
    if search.trace.steps:
        stopped = None if ending is Ending.CONVERGED else ending
        start = Start(best.run.order, search.trace, stopped)
    solution = arrange(_joined(pile, bias_of), records, options, start=start)
    seconds = {"biases": placed - started, **solution.seconds, "total": perf_counter() - started}
    answer = with_biases(solution.layers, bias_of)
    return replace(solution, biases=bias_of, sha256=answer_hash(answer), seconds=seconds)


def _bias_of(pile: Pile, groups: Iterable[Group], held: Held) -> dict[PieceId, PieceId]:
    """Ids of the biases by the ids of the weights; those not held are handed out in sequence."""
    bias_of = {}
    for group, holds in zip(groups, held, strict=True):
        free = iter(sorted({*range(len(group.ids))} - {*holds.tolist()}))
        for piece, bias in zip(group.pieces.tolist(), holds.tolist(), strict=True):
            bias_of[pile[piece].id] = group.ids[bias if bias >= 0 else next(free)]
    return bias_of


def _joined(pile: Pile, bias_of: Mapping[PieceId, PieceId]) -> Pile:
    values = {bias.id: bias.values for bias in pile.biases}
    return pile.joined({weight: values[bias] for weight, bias in bias_of.items()})


class JointSearch:
    """A search for pairs, order and biases together.

    Attributes
    ----------
    groups
        The loose biases, with the weights that each might belong to.
    trace
        What was done; block numbers are of the layers that it names.
    best
        The best arrangement so far.
    """

    def __init__(self, pile: Pile, records: Records, options: Options, journal: Journal) -> None:
        self.journal = journal
        groups = groups_of(pile)
        bare = pile.joined(
            {
                pile[piece].id: bias
                for group, holds in zip(groups, nothing_held(groups), strict=True)
                for piece, bias in zip(group.pieces.tolist(), group.values(holds), strict=True)
            }
        )
        self.anatomy = read_anatomy(bare, records)
        self.groups = groups
        self.cases = Cases(bare, records, self.anatomy, options)
        self.pile = bare
        self.rng = np.random.default_rng(options.seed)
        problem = self.cases.problems[0]
        self.known = problem.known.take(self.rng.permutation(len(problem.known)))
        rows = options.rows or -(-EQUATIONS // max(self.known.outputs, 1))
        self.sample = self.known.take(np.arange(min(rows, len(self.known))))
        self.arithmetic = arithmetic_of(bare.dtype, self.known.predictions)
        self.trace = Trace(
            [bare[i].id for i in self.anatomy.inp], [bare[j].id for j in self.anatomy.out]
        )
        self.groups = tuple(self._with_odds(problem, group) for group in groups)
        # Before the record is looked at, what the numbers alone say is the best.
        held = tuple(optimal_matching(group.odds)[:, 1] for group in self.groups)
        self.best = self._state(problem, held, tuple(problem.blocks.tolist()))

    def steps(self) -> Iterator[Step]:
        """Rounds on biases and on the order in turn until the record is reproduced."""
        if not len(self.known):
            return
        waiting: list[tuple[State, list[Order]]] = []
        for problem in self.cases:
            state, orders = yield from self._first_round(problem)
            if not self._near(state):
                waiting.append((state, orders))
                continue
            yield from self._starts(state, orders)
            if self._settled():
                return
        for state, orders in sorted(waiting, key=lambda each: each[0].run.error):
            yield from self._starts(state, orders)
            if self._settled():
                return
        failures = 0
        while failures < RESTARTS and not self._settled():
            before = self.best
            objective = Objective(before.bare.log_odds)
            order = disturbed(before.run.order, objective, self.rng, turns=before.bare.turns)
            # The biases may be what holds the search back, as well as the order.
            held = nothing_held(self.groups) if failures % 2 else before.held
            yield from self._alternate(self._state(before.bare, held, order))
            failures = 0 if self.best is not before else failures + 1

    def _first_round(self, problem: Problem) -> Generator[Step, None, tuple[State, list[Order]]]:
        """Place biases once in the order of the best seed; return that, and all seeds."""
        state = self._state(problem, nothing_held(self.groups), self.best.run.order)
        orders, errors = ranked_seeds(state.stage, quick=False)
        state = self._state(problem, state.held, orders[0])
        yield self._step("seeds", errors.tolist(), state)
        state = yield from self._round(state)
        return state, orders

    def _starts(self, state: State, orders: list[Order]) -> Iterator[Step]:
        """Go on from the first round, and begin anew from other seeds."""
        yield from self._alternate(state)
        for order in orders[1:STARTS]:
            if self._settled():
                return
            yield from self._alternate(self._state(state.bare, nothing_held(self.groups), order))

    def _alternate(self, state: State) -> Rounds:
        """Rounds on the biases and on the order in turn, until neither helps."""
        while not state.done:
            before = state.run.error
            state = yield from self._round(state)
            state = yield from self._descend(state, SHORT)
            if not (state.done or state.run.error < (1 - SLOW) * before):
                state = yield from self._descend(state, None)
                if not state.run.error < (1 - SLOW) * before:
                    break
        return state

    def _round(self, state: State) -> Rounds:
        """Propose biases, judge them exactly, keep the best."""

        def unpack(numbers: Numbers, errors: Errors) -> tuple[Held, list[float]]:
            if len(numbers) != sum(map(len, state.held)):
                raise ValueError("it has biases of another number of weights")
            sizes = np.cumsum([len(holds) for holds in state.held])[:-1]
            return tuple(np.split(numbers.astype(np.intp), sizes)), errors.tolist()

        held, tested = self.journal.result(
            lambda: self._better(state),
            lambda found: (np.concatenate(found[0]).tolist(), found[1]),
            unpack,
        )
        state = self._state(state.bare, held, state.run.order)
        yield self._step("biases", tested, state)
        return state

    def _better(self, state: State) -> tuple[Held, list[float]]:
        """The best of the proposals, or what stands; and the errors of all."""
        at = linearize(state.stage.judge, state.run)
        effects = [
            bias_effects(state.stage.problem, self.anatomy, self._last(state.bare), group, at)
            for group in self.groups
        ]
        best = state
        tested: list[float] = []
        seen = set()

        def judged(held: Held) -> bool:
            """Judge a proposal; whether it is the best so far."""
            nonlocal best
            key = np.concatenate(held).tobytes()
            if key in seen:
                return False
            seen.add(key)
            candidate = self._state(state.bare, held, state.run.order)
            tested.append(candidate.run.error)
            if not candidate.run.error < best.run.error:
                return False
            best = candidate
            return True

        if all((holds >= 0).all() for holds in state.held):
            for held in exchanged(effects, at.residual, state.held, len(state.run.order)):
                if judged(held):
                    break
        for held in reassigned(effects, at.residual, self.groups, state.held):
            judged(held)
        return best.held, tested

    def _descend(self, state: State, rounds: int | None) -> Rounds:
        """Rounds on the order while they help, at most so many; a whole descent without a limit."""
        stage = state.stage
        search = descend(
            stage.judge,
            state.run,
            Objective(stage.problem.log_odds),
            done=stage.done,
            turns=stage.problem.turns,
        )
        for step in search if rounds is None else while_kept(search, rounds):
            if step.kept:
                state = replace(state, run=stage.judge.run(step.order))
            yield self._step(step.phase, step.tested.tolist(), state)
        return state

    def _step(self, phase: str, tested: list[float], state: State) -> Step:
        """Report the best arrangement so far, which this may be."""
        kept = not self.trace.steps or state.run.error < self.best.run.error
        if kept:
            self.best = state
        run = self.best.run
        return Step(phase, np.array(tested), kept, run.order, run.error, len(self.sample))

    def _state(self, bare: Problem, held: Held, order: Order) -> State:
        """An order with the biases that the weights hold."""
        problem = holding(bare, self.anatomy, self._last(bare), self.groups, held)
        judge = Judge(problem.layers, problem.last, self.sample, self.journal)
        reproduces = partial(
            reproduces_rows, judge, blocks=len(bare.blocks), arithmetic=self.arithmetic
        )
        stage = Stage(problem, judge, self.rng, reproduces)
        if not len(self.sample):
            return State(bare, held, stage, Run(order, judge.inputs[None], np.inf))
        return State(bare, held, stage, judge.run(order))

    def _settled(self) -> bool:
        """Whether the best arrangement reproduces its rows, or as well as noise allows."""
        if self.best.done:
            return True
        if not self._near(self.best):
            return False
        network = self.best.stage.problem.network(self.best.run.order)
        verdict = judge_network(network, self.known, self.pile.stored_as)
        return verdict.outcome is Outcome.APPROXIMATE

    def _near(self, state: State) -> bool:
        return state.run.error < NEAR * float(np.var(self.sample.predictions))

    def _last(self, problem: Problem) -> int:
        """Position of the last layer in the pile."""
        return next(
            p for p in self.anatomy.last if np.array_equal(self.pile[p].weight, problem.last.weight)
        )

    def _with_odds(self, problem: Problem, group: Group) -> Group:
        """The same group with log-odds for the weights that read, by the numbers."""
        order = problem.blocks
        readers = [self.anatomy.inp[i] for i in order // len(problem.layers.out_weight)]
        rows = [int(np.flatnonzero(group.pieces == p)[0]) for p in readers if p in group.pieces]
        if group.decided or len(rows) < len(readers):
            return group
        network = problem.network(tuple(order.tolist()))
        inputs = problem.records.inputs
        some = inputs[:: -(-len(inputs) // SIGNAL_ROWS)]
        odds = np.zeros(group.odds.shape)
        odds[rows] = bias_log_odds(
            unit_features(network.blocks, network.last.weight, some), group.biases
        )
        return replace(group, odds=odds)
