"""Detached tensors: weights and biases as separate pieces.

The places of the biases depend on the order, and pairs and order hardly on the biases. So the two
are found in turn. First comes the best seed with mean biases. A round on the biases is followed by
a few rounds on the order. The order is not polished before the biases are about right. It would
make up for them, and move away from the truth.
"""

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from unshuffle.blocks.mlp import INP, as_mlp
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import PileError
from unshuffle.ordering.descent import descend
from unshuffle.ordering.judge import Judge, Run
from unshuffle.ordering.linearization import linearize
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.restarts import disturbed
from unshuffle.ordering.search import Ending, run_search
from unshuffle.ordering.trace import Step, Trace
from unshuffle.ordering.workbench import rank_seeds
from unshuffle.pieces.anatomy import check_biases, read_anatomy
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.clock import OutOfTimeError
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.tolerance import arithmetic_of
from unshuffle.repair.bias_assignment import (
    Group,
    HeldBiases,
    LooseBiases,
    bias_log_odds,
    exchanged,
    reassigned_biases,
    unit_features,
)
from unshuffle.repair.detached_biases import with_loose
from unshuffle.solution.alternatives import Problems
from unshuffle.solution.arranging import Start, arrange
from unshuffle.solution.goal import Reproduction
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution


@dataclass(frozen=True)
class DetachedParameters:
    """Numbers that steer the search for biases and order."""

    equations: int = 1024  # Predictions that the search uses.
    signal_rows: int = 1000  # Inputs whose mean and spread the signals look at.
    starts: int = 4  # Seeds that are started from.
    restarts: int = 16  # Restarts without a new best before the search ends.
    short: int = 3  # Rounds on the order between two rounds on the biases.
    slow: float = 1e-3  # Part of the error; rounds that help less are followed by a whole descent.


STANDARD = DetachedParameters()


@dataclass(frozen=True, eq=False)
class Joint:
    """An arrangement of weights and biases: who holds which bias, and the run of an order."""

    held: HeldBiases
    problem: Problem
    judge: Judge
    run: Run


# Rounds yield what they do and return what they end with.
Rounds = Generator[Step, None, Joint]


def solve_detached(pile: Pile, records: Records, options: Options) -> Solution:
    """Put together a network whose biases are pieces of their own. Errors are those of `solve`."""
    check_biases(pile)
    if read_anatomy(pile, records).widths:
        raise PileError(
            "biases are pieces of their own and blocks differ in hidden width, and both at once "
            "are not served; save each weight with its bias"
        )
    with single_threaded_blas():  # that of SciPy too, which is loaded now
        search = JointSearch(pile, records, options)
        stops, trace = options.stops, search.trace
        ending = run_search(search.steps(), trace, stops=stops, on_step=options.on_step)
    stopped = None if ending is Ending.CONVERGED else ending
    start = Start(search.best.run.arrangement, trace, stopped) if trace.steps else None
    bias_of = search.loose.named(pile, search.best.held)
    values = {bias.id: bias.values for bias in pile.biases}
    whole = pile.joined({weight: values[bias] for weight, bias in bias_of.items()})
    return with_loose(arrange(whole, records, options, start=start), bias_of)


class JointSearch:
    """A search for pairs, order and biases together, the best of which is `best`."""

    def __init__(
        self,
        pile: Pile,
        records: Records,
        options: Options,
        by: DetachedParameters = STANDARD,
    ) -> None:
        self.by, self.options, loose = by, options, LooseBiases.of(pile)
        means = {pile[p].id: bias for p, bias in loose.values(loose.nothing).items()}
        self.alternatives = Problems(pile.joined(means), records, options)
        problem, self.rng = self.alternatives.problems[0], np.random.default_rng(options.seed)
        known = problem.known.take(self.rng.permutation(len(problem.known)))
        rows = options.rows or -(-self.by.equations // max(known.outputs, 1))
        self.sample = known.first(rows)
        arithmetic = arithmetic_of(pile.dtype, known.predictions)
        self.goal = Reproduction(
            arithmetic, len(problem.grouped), options.clock, pile.stored_as, options.goal
        )
        self.trace = Trace(pile.ids)
        self.loose = LooseBiases(tuple(self._with_odds(problem, group) for group in loose.groups))
        # Before the record is looked at, what the numbers alone say is the best.
        self.best = self._joint(problem, self.loose.likeliest, problem.grouped)

    def _with_odds(self, problem: Problem, group: Group) -> Group:
        """The same group with log-odds for the weights that read, by the numbers."""
        readers, inputs = problem.grouped[:, INP], problem.records.inputs
        if group.decided or not np.isin(readers, group.pieces).all():
            return group
        some = inputs[:: -(-len(inputs) // self.by.signal_rows)]
        features = unit_features(as_mlp(problem.network(problem.grouped)), some)
        odds, rows = np.zeros(group.odds.shape), np.searchsorted(group.pieces, readers)
        odds[rows] = bias_log_odds(features, group.biases, self.options.clock)
        return replace(group, odds=odds)

    def steps(self) -> Iterator[Step]:
        """Rounds on biases and on the order in turn until the record is reproduced."""
        if not len(self.sample):
            return
        waiting: list[tuple[Joint, list[Arrangement]]] = []
        for problem in self.alternatives:
            joint, seeds = yield from self._first_round(problem)
            if not self._near(joint):
                waiting.append((joint, seeds))
                continue
            yield from self._starts(joint, seeds)
            if self._settled():
                return
        for joint, seeds in sorted(waiting, key=lambda each: each[0].run.error):
            yield from self._starts(joint, seeds)
            if self._settled():
                return
        failures, by = 0, self.options.parameters
        while failures < self.by.restarts and not self._settled():
            before, problem = self.best, self.best.problem
            made, kind = before.run.arrangement, problem.bank.kind
            made = disturbed(made, problem.evidence, kind, self.rng, by.restarts)
            # The biases may be what holds the search back, as well as the order.
            held = self.loose.nothing if failures % 2 else before.held
            yield from self._alternate(self._joint(problem, held, made))
            failures = 0 if self.best is not before else failures + 1

    def _first_round(
        self, problem: Problem
    ) -> Generator[Step, None, tuple[Joint, list[Arrangement]]]:
        """Place biases once in the order of the best seed; return that, and all seeds."""
        joint = self._joint(problem, self.loose.nothing, problem.grouped)
        by, inputs, judge = self.options.parameters, problem.records.inputs, joint.judge
        enough = judge.predictions.size >= by.quick
        most = by.seeds.rows if enough else by.seeds.many_rows
        some = inputs[self.rng.permutation(len(inputs))[:most]]
        seeds, errors = rank_seeds(
            joint.problem,
            judge,
            some,
            by.seeds.ranked_rows,
            quick=False,
            clock=self.options.clock,
            by=by.seeds,
        )
        joint = replace(joint, run=judge.run(seeds[0]))
        errors[errors.argmin()] = joint.run.error  # the best stands with its error on all rows
        yield self._step("seeds", errors.tolist(), joint)
        return (yield from self._round(joint)), seeds

    def _starts(self, joint: Joint, seeds: list[Arrangement]) -> Iterator[Step]:
        yield from self._alternate(joint)
        for seed in seeds[1 : self.by.starts]:
            if self._settled():
                return
            yield from self._alternate(self._joint(joint.problem, self.loose.nothing, seed))

    def _alternate(self, joint: Joint) -> Rounds:
        """Rounds on the biases and on the order in turn, until neither helps."""
        while not self._done(joint):
            enough = (1 - self.by.slow) * joint.run.error
            joint = yield from self._round(joint)
            joint = yield from self._descend(joint, self.by.short)
            if not (self._done(joint) or joint.run.error < enough):
                joint = yield from self._descend(joint, None)
                if not joint.run.error < enough:
                    break
        return joint

    def _round(self, joint: Joint) -> Rounds:
        """Propose biases, judge them exactly, keep the best."""
        tested: dict[bytes, float] = {}
        with suppress(OutOfTimeError):
            joint = self._better(joint, tested)
        yield self._step("biases", [*tested.values()], joint)
        return joint

    def _better(self, joint: Joint, tested: dict[bytes, float]) -> Joint:
        judge, held, best = joint.judge, joint.held, joint
        at = linearize(judge, joint.run)
        effects = self.loose.effects(judge, at, self.options.clock)
        if all((holds >= 0).all() for holds in held):
            few = exchanged(effects, at.residual, held, len(joint.run))
            best = self._lowest(best, few, tested, first=True)
        many = reassigned_biases(effects, at.residual, self.loose.groups, held)
        return self._lowest(best, many, tested)

    def _lowest(
        self,
        best: Joint,
        many: Iterator[HeldBiases],
        tested: dict[bytes, float],
        *,
        first: bool = False,
    ) -> Joint:
        """The best of what stands and of proposals, or the first of these that is better."""
        for held in many:
            key = np.concatenate(held).tobytes()
            if key in tested:
                continue
            other = self._joint(best.problem, held, best.run.arrangement)
            tested[key] = other.run.error
            better = other.run.error < best.run.error
            best = other if better else best
            if (better and first) or self.options.clock.out:
                break
        return best

    def _descend(self, joint: Joint, rounds: int | None) -> Rounds:
        """Rounds on the order while they help, at most so many; a whole descent without a limit."""
        evidence, done = joint.problem.evidence, partial(self.goal.reproduces, joint.judge)
        for step in descend(joint.judge, joint.run, evidence, done=done, rounds=rounds):
            if step.kept:
                joint = replace(joint, run=joint.judge.run(step.arrangement))
            yield self._step(step.phase, step.tested.tolist(), joint)
        return joint

    def _step(self, phase: str, tested: list[float], joint: Joint) -> Step:
        """Report the best arrangement so far, which this may be."""
        kept = not self.trace.steps or joint.run.error < self.best.run.error
        if kept:
            self.best = joint
        run = self.best.run
        return Step(phase, np.array(tested), kept, run.arrangement, run.error, len(self.sample))

    def _joint(self, problem: Problem, held: HeldBiases, arrangement: Arrangement) -> Joint:
        problem = self.loose.problem(problem, held)
        judge = problem.judge(self.sample)
        if len(self.sample):
            return Joint(held, problem, judge, judge.run(arrangement))
        return Joint(held, problem, judge, Run(arrangement, judge.inputs[None], np.inf))

    def _done(self, joint: Joint) -> bool:
        return self.goal.reproduces(joint.judge, joint.run)

    def _near(self, joint: Joint) -> bool:
        return joint.run.error < self.options.parameters.near * self.sample.variance

    def _settled(self) -> bool:
        """Whether the best arrangement reproduces its rows, or as well as noise allows."""
        best, explains = self.best, self.goal.explains
        near = self._near(best)
        return self._done(best) or (near and explains(best.problem, best.run.arrangement))
