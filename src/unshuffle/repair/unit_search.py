"""Permuted hidden units: inp and out of a block list its units in different sequences.

Pairs come from what no permutation changes, and a first guess at the units from weights. Units and
order are then mended in turn. Least squares give the blocks in most doubt other columns, and
exchanges of columns follow. Where the guess is too far off, gradient descent on soft permutations
goes before. It takes turns with rounds on the order.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.activations import RELU, find_activation
from unshuffle.blocks.assembly import last_layer, mlp_bank
from unshuffle.blocks.mlp import INP, OUT, MlpStack, as_mlp, as_mlp_bank
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import PileError
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.ordering.descent import descend
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.search import Ending, run_search
from unshuffle.ordering.trace import Step, Trace
from unshuffle.ordering.workbench import Workbench
from unshuffle.pieces.anatomy import Anatomy, read_anatomy
from unshuffle.pieces.clock import OutOfTimeError
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.tolerance import arithmetic_of
from unshuffle.proof.verification import require_predictions
from unshuffle.repair.unit_matching import assigned, likely_pairs, unit_scores
from unshuffle.repair.unit_mending import (
    UnitColumns,
    UnitDescent,
    Units,
    exchanged_units,
    permuted_columns,
    reassigned_units,
)
from unshuffle.solution.arranging import Start, arrange
from unshuffle.solution.goal import Reproduction
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution


@dataclass(frozen=True)
class PermutedParameters:
    """Numbers that steer the search for units and order."""

    equations: int = 1024  # Predictions on which orders are compared and permutations checked.
    unit_equations: int = 4000  # Predictions from which hard permutations are mended.
    evidence: float = 0.7  # Factor on the log-likelihoods by weights, which were matched by these.
    strength: float = 0.1  # Part of the predictions that count as independent at first.
    gain: float = 4.0  # Factor on that part from round to round.
    rounds: int = 4  # Rounds on the order in a look at it, at most.
    patience: int = 8  # Looks without progress before the search ends.
    exchanged: int = 3  # Looks without progress before hard permutations have columns exchanged.
    attempts: int = 2  # Searches from each matching of the layers, with other rows and batches.
    progress: float = 0.98  # Part of the best error so far that a look leaves if it is progress.


STANDARD = PermutedParameters()


def solve_permuted(
    pile: Pile, records: Records, options: Options, by: PermutedParameters = STANDARD
) -> Solution:
    """Put together a network whose inp and out layers list hidden units in other sequences.

    The activation is ReLU unless it is named. It raises `PileError` if pieces are detached, or
    shapes do not tell the roles apart. Other errors are those of `solve`.
    """
    anatomy = read_anatomy(pile, records)
    if pile.detached or anatomy.interchangeable or len(anatomy.last) > 1 or anatomy.widths:
        raise PileError(
            "hidden units can only be matched where shapes tell inp, out and last layers apart. "
            "All blocks must have equally many, and each piece its bias; solve without looking for "
            "permuted units"
        )
    with single_threaded_blas():  # that of SciPy too, which is loaded now
        search, start = _search(pile, anatomy, records, options, by)
    outs = [pile[position].id for position in search.problem.grouped[:, OUT]]
    units = {name: tuple(which.tolist()) for name, which in zip(outs, search.hard, strict=True)}
    solution = arrange(pile.with_columns(units), records, options, start=start)
    units = {name: which for name, which in units.items() if which != tuple(range(len(which)))}
    return replace(solution, units=units)


def _search(
    pile: Pile, anatomy: Anatomy, records: Records, options: Options, by: PermutedParameters
) -> "tuple[UnitSearch, Start]":
    """Search with each matching by weights, and again with other rows, until one solves."""
    activation = RELU if options.activation is None else find_activation(options.activation)
    bank = mlp_bank(pile, anatomy, activation)
    last = last_layer(pile, pile[anatomy.last[0]].id)
    arithmetic = arithmetic_of(pile.dtype, require_predictions(records).predictions)
    goal = Reproduction(arithmetic, anatomy.blocks, options.clock, by=options.goal)
    trace = Trace(pile.ids)
    best, ending = None, Ending.CONVERGED
    for attempt, match in product(range(by.attempts), likely_pairs(bank, options.clock)):
        log_odds = np.full(match.scores.shape, -np.inf)  # rules out all pairs but the matched ones
        log_odds[tuple(match.pairs.T)] = 0.0
        evidence = Evidence((EdgeOdds(INP, OUT, log_odds, bank.rows, bank.columns),))
        problem = Problem(bank, last, bank.arranged(match.pairs), evidence, records)
        rng = np.random.default_rng([options.seed, attempt] if attempt else options.seed)
        search = UnitSearch(problem, match.sign, goal, options, rng, by)
        ending = run_search(search.steps(), trace, stops=options.stops, on_step=options.on_step)
        if best is None or search.solved or search.error < best.error:
            best = search
        if search.solved or ending is not Ending.CONVERGED:
            break
    assert best is not None
    return best, Start(best.order, trace, None if best.solved else ending)


@dataclass(eq=False)
class UnitSearch:
    """A search for the units and the order together, the pairs given by the evidence.

    After it, `order` is the last order, and `hard` the column of each unit in the blocks as
    grouped. `error` is theirs. `solved` says whether they reproduce the rows that orders are
    compared on.
    """

    problem: Problem
    sign: float
    goal: Reproduction
    options: Options
    rng: np.random.Generator
    by: PermutedParameters
    solved: bool = False
    error: float = np.inf

    def __post_init__(self) -> None:
        self.bank, self.order = as_mlp_bank(self.problem.bank), self.problem.grouped
        self.blocks = self.bank.take(self.order)
        self.hard = np.tile(np.arange(self.blocks.hidden), (len(self.blocks), 1))

    def steps(self) -> Iterator[Step]:
        """Units and order in turn until the record is reproduced or nothing helps any more."""
        by = self.by
        yield self._begin()
        yield from self._mend()
        best, failures = np.inf, 0
        while not self.solved and failures < by.patience:
            error = self.soft.descend(self._running(), self.options.clock)
            yield from self._descend(self.units.mixed(self.soft.soft()).blocks)
            self.hard = assigned(self.soft.logits)
            yield self._check()
            if failures % by.exchanged == by.exchanged - 1:
                yield from self._mend()
            failures = failures + 1 if error > by.progress * best else 0
            best = min(best, error)

    def _begin(self) -> Step:
        """Guess the units by weights, and the order by seeds."""
        options, by, last = self.options, self.by, as_mlp(self.problem.network(self.order)).last
        scores = by.evidence * unit_scores(self.blocks, self.sign, options.clock)
        scores = scores.astype(np.float32)
        self.hard = assigned(scores)
        # What blocks do to the states hardly shows in soft ones, which do too little.
        problem = self._problem(permuted_columns(self.blocks, self.hard))
        bench = Workbench([problem], self.rng, self.goal, options.parameters, clock=options.clock)
        rows = min(options.rows or bench.rows_for(by.equations), len(bench.known))
        self.sample = bench.known.first(rows)
        orders, errors = bench.ranked_seeds(0, rows, self.rng, quick=False)
        self.order = orders[0]
        self.units = Units.of(self.blocks, last, scores, bench.known)
        self.soft = UnitDescent(self.units, self.rng)
        return Step("seeds", errors, True, self.order, float(errors.min()), rows)

    def _mend(self) -> Iterator[Step]:
        """The order, many units at once, and exchanges in turn, by the record more and more."""
        by, last = self.by, np.inf
        rows = max(self.options.rows or 0, by.unit_equations // self.sample.outputs)
        some = self.units.rows(slice(rows))
        strength = by.strength * some.predictions.size
        yield self._check()
        while not self.solved and self.error < by.progress * last:
            last = self.error
            yield from self._descend(permuted_columns(self.blocks, self.hard))
            with suppress(OutOfTimeError):
                running = self._running()
                for count, columns in enumerate(self._better(some.take(running), strength)):
                    self.hard[running] = columns
                    yield self._check()
                    if self.solved and count:  # weights have had their say too
                        return
            strength *= by.gain
        self.soft.prefer(self.hard)

    def _better(self, units: Units, strength: float) -> Iterator[UnitColumns]:
        """Columns of blocks in their order, many assigned anew and then two by two exchanged."""
        clock, columns = self.options.clock, self.hard[self._running()]
        others = reassigned_units(units, columns, clock)
        columns = min([columns, *others], key=partial(units.objective, strength=strength))
        yield columns
        yield from exchanged_units(units, columns, strength, clock)

    def _descend(self, blocks: MlpStack) -> Iterator[Step]:
        """Rounds on the order of blocks whose columns are in sequence."""
        judge = self._problem(blocks).judge(self.sample)
        done, evidence = partial(self.goal.reproduces, judge), self.problem.evidence
        run, rounds = judge.run(self.order), self.by.rounds
        for step in descend(judge, run, evidence, done=done, rounds=rounds):
            self.order = step.arrangement
            yield step

    def _check(self) -> Step:
        """Whether the hard permutations reproduce the rows."""
        judge = self._problem(permuted_columns(self.blocks, self.hard)).judge(self.sample)
        run = judge.run(self.order)
        self.solved, self.error = self.goal.reproduces(judge, run), run.error
        return Step("units", np.array([run.error]), True, self.order, run.error, len(self.sample))

    def _running(self) -> NDArray[np.intp]:
        """The blocks, as they are grouped, in their order."""
        return self.bank.rows[self.order[:, INP]]

    def _problem(self, blocks: MlpStack) -> Problem:
        """The same problem with the columns of some blocks, which are grouped alike."""
        weight = np.empty_like(self.bank.out_weight)
        weight[self.bank.columns[self.problem.grouped[:, OUT]]] = blocks.out_weight
        return replace(self.problem, bank=replace(self.bank, out_weight=weight))
