"""Permuted hidden units: inp and out of a block list its units in different sequences.

Pairs come from what no permutation changes, by one signal after the other, and a first guess at the
units from what weights tell of them. Units and order are then mended in turn: some rounds on the
order, other columns for the blocks in most doubt by least squares, and exchanges of columns. Where
the guess is too far off for that, some steps of gradient descent on soft permutations, and some
rounds on the order of the blocks that they make on average, go before.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from unshuffle.blocks.activations import RELU, find_activation
from unshuffle.blocks.assembly import last_layer, stack_layers
from unshuffle.blocks.network import Layers
from unshuffle.errors import PileError
from unshuffle.grouping.matching import Pairs
from unshuffle.ordering.auto import Stage, ranked_seeds
from unshuffle.ordering.descent import Objective, descend
from unshuffle.ordering.journal import Errors, Journal, Numbers
from unshuffle.ordering.judge import Judge, Order
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.search import Ending, run_search, while_kept
from unshuffle.ordering.trace import Step, Trace
from unshuffle.pieces.anatomy import Anatomy, read_anatomy
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.tolerance import arithmetic_of
from unshuffle.proof.verification import require_predictions
from unshuffle.repair.unit_assignment import doubtful_blocks, reassigned_units
from unshuffle.repair.unit_descent import EVIDENCE, UnitDescent, mixed
from unshuffle.repair.unit_exchange import (
    Units,
    columns_from,
    exchanged_units,
    permuted_columns,
)
from unshuffle.repair.unit_matching import assigned, likely_pairs, unit_scores
from unshuffle.solution.arranging import Options, Start, arrange, reproduces_rows
from unshuffle.solution.solution import Solution

EQUATIONS = 1024
"""Predictions on which orders are compared and permutations checked,"""
UNIT_EQUATIONS = 4000
"""and from which hard permutations are mended."""

STRENGTH = 0.1
"""Part of these that count as independent, at first,"""
GAIN = 4.0
"""and what that is multiplied by from round to round."""

DOUBTED = 4
"""Blocks whose units are all assigned anew in a round."""

STEPS = 100
"""Steps of gradient descent between two looks at the order."""

ROUNDS = 4
"""Rounds on the order, at most, in such a look."""

PATIENCE = 8
"""Looks without progress before the search ends."""

EXCHANGED = 3
"""Looks without progress after which columns are exchanged in the hard permutations."""

ATTEMPTS = 2
"""Searches from each matching of the layers, with other rows and batches."""

PROGRESS = 0.98
"""What a look's error may be of the best before, to be progress."""


def solve_permuted(pile: Pile, records: Records, options: Options) -> Solution:
    """Put together a network whose inp and out layers list hidden units in other sequences.

    Parameters
    ----------
    pile
        Whole pieces.
    records, options
        As for `unshuffle.solve`; the activation is ReLU unless it is named.

    Raises
    ------
    PileError
        If the pieces cannot be one residual network, if they are detached, or if inp and out
        layers, or the last one, cannot be told apart by their shapes.
    RecordError
        If the record does not fit the pile or has no predictions.
    """
    started, clock = perf_counter(), options.clock()
    anatomy = read_anatomy(pile, records)
    if pile.detached or anatomy.interchangeable or len(anatomy.last) > 1:
        raise PileError(
            "hidden units can only be matched where shapes tell inp, out and last layers apart and "
            "each piece has its bias; solve without looking for permuted units"
        )
    known = require_predictions(records)
    with threadpool_limits(1, "blas"):
        search, ending = _search(pile, anatomy, records, known, options)
    options = options.with_time_left(clock)
    found = perf_counter()
    units = {name: tuple(which.tolist()) for name, which in search.columns().items()}
    start = Start(search.order, search.trace, None if search.solved else ending)
    solution = arrange(pile.with_columns(units), records, options, start=start)
    return replace(
        solution,
        units={name: which for name, which in units.items() if which != tuple(range(len(which)))},
        seconds={
            "units": found - started,
            **solution.seconds,
            "total": perf_counter() - started,
        },
    )


def _search(
    pile: Pile, anatomy: Anatomy, records: Records, known: Records, options: Options
) -> "tuple[UnitSearch, Ending]":
    """Search with each matching that weights suggest, and again with other rows, until one solves.

    The search with the lowest error is returned, and why the last one ended.
    """
    clock = options.clock()
    journal = options.journal or Journal()
    activation = RELU if options.activation is None else find_activation(options.activation)
    layers = stack_layers(pile, anatomy, activation)
    trace = Trace([pile[i].id for i in anatomy.inp], [pile[j].id for j in anatomy.out])
    matchings, sign = _matchings(layers, journal)
    best: UnitSearch | None = None
    ending = Ending.CONVERGED
    for attempt, pairs in product(range(ATTEMPTS), matchings):
        left = options.with_time_left(clock).time_limit
        if best is not None and left is not None and left <= 0:
            return best, Ending.OUT_OF_TIME
        try:
            rng = np.random.default_rng([options.seed, attempt] if attempt else options.seed)
            search = UnitSearch(
                pile, anatomy, records, known, options, journal, layers, pairs, sign, trace, rng
            )
        except KeyboardInterrupt:
            if best is None:
                raise
            return best, Ending.INTERRUPTED
        before = trace.seconds[-1] if trace.seconds else 0.0
        left = options.with_time_left(clock).time_limit
        ending = run_search(
            search.steps(),
            trace,
            time_limit=None if left is None else before + left,
            on_step=options.on_step,
            clock=options.clock,
        )
        if best is None or search.solved or search.error < best.error:
            best = search
        if search.solved or ending is not Ending.CONVERGED:
            break
    assert best is not None
    return best, ending


def _matchings(layers: Layers, journal: Journal) -> tuple[list[Pairs], float]:
    """The pairs by each signal, and the sign of what is alike, by weights."""
    count = len(layers.inp_weight)

    def unpack(numbers: Numbers, _: Errors) -> tuple[list[Pairs], float]:
        *flat, sign = numbers.tolist()
        matchings = np.array(flat, np.intp).reshape(-1, count, 2)
        each = np.tile(np.arange(count)[:, None], (len(matchings), 1, 2))
        if not np.array_equal(np.sort(matchings, axis=1), each) or sign not in (-1, 1):
            raise ValueError("it has pairs of other layers")
        return list(matchings), float(sign)

    def work() -> tuple[list[Pairs], float]:
        matches = likely_pairs(layers)
        return [match.pairs for match in matches], matches[0].sign

    return journal.result(
        work, lambda found: ([*np.ravel(found[0]).tolist(), int(found[1])], ()), unpack
    )


@dataclass(eq=False)
class UnitSearch:
    """A search for the units and the order together, the pairs given.

    After it, `order` is the last order, in block numbers, `error` that of its hard permutations,
    and `solved` whether these reproduce the rows that it compares orders on.
    """

    pile: Pile
    anatomy: Anatomy
    records: Records
    known: Records
    options: Options
    journal: Journal
    layers: Layers
    pairs: Pairs
    sign: float
    trace: Trace
    rng: np.random.Generator

    def __post_init__(self) -> None:
        pile, anatomy, options = self.pile, self.anatomy, self.options
        self.last = last_layer(pile, pile[anatomy.last[0]].id)
        self.numbers = self.pairs @ np.array([len(self.layers.out_weight), 1], np.intp)
        self.blocks = self.layers.take(self.numbers)
        self.scores = (EVIDENCE * unit_scores(self.blocks, self.sign)).astype(np.float32)
        known = self.known.take(self.rng.permutation(len(self.known)))
        dtype = self.last.weight.dtype
        self.units = UnitDescent(
            self.scores.copy(),
            self.blocks,
            self.last,
            known.inputs.astype(dtype),
            known.predictions.astype(dtype),
            self.rng,
        )
        self.rows = max(options.rows or 0, UNIT_EQUATIONS // known.outputs)
        rows = options.rows or -(-EQUATIONS // known.outputs)
        self.sample = known.take(np.arange(min(rows, len(known))))
        self.arithmetic = arithmetic_of(pile.dtype, known.predictions)
        self.order: Order = tuple(self.numbers.tolist())
        self.hard = assigned(self.units.logits)
        self.solved, self.error = False, np.inf

    def columns(self) -> dict[PieceId, NDArray[np.intp]]:
        """The column of each unit, by the id of the out layer."""
        outs = self.pairs[:, 1].tolist()
        return {self.trace.out[j]: which for j, which in zip(outs, self.hard, strict=True)}

    def steps(self) -> Iterator[Step]:
        """Units and order in turn until the record is reproduced or nothing helps any more."""
        # What blocks do to the states hardly shows in soft ones, which do too little.
        orders, errors = ranked_seeds(self._stage(soft=False), quick=False)
        self.order = orders[0]
        yield Step("seeds", errors, True, self.order, float(errors[0]), len(self.sample))
        yield from self._mend()
        best, failures = np.inf, 0
        while not self.solved and failures < PATIENCE:
            error = self.units.descend(self._running(), STEPS, self.journal)
            yield from self._descend(soft=True)
            self.hard = assigned(self.units.logits)
            yield self._check()
            if failures % EXCHANGED == EXCHANGED - 1:
                yield from self._mend()
            failures = failures + 1 if error > PROGRESS * best else 0
            best = min(best, error)

    def _mend(self) -> Iterator[Step]:
        """The order, many units at once, and exchanges in turn, with hard permutations.

        The record gains weight against what weights say from round to round.
        """
        strength = STRENGTH * self.units.predictions[: self.rows].size
        yield self._check()
        error = np.inf
        while not self.solved and self.error < PROGRESS * error:
            error = self.error
            yield from self._descend(soft=False)
            running = self._running()
            units = self._units(running)
            columns = self.hard[running]
            self.hard[running] = self.journal.result(
                partial(_reassigned, units, columns, strength),
                lambda found: (found.reshape(-1), ()),
                lambda numbers, _: columns_from(numbers, self.hard),
            )
            yield self._check()
            for columns in exchanged_units(units, self.hard[running], strength, self.journal):
                self.hard[running] = columns
                yield self._check()
                if self.solved:
                    return
            strength *= GAIN
        self.units.prefer(self.hard)

    def _units(self, running: NDArray[np.intp]) -> Units:
        """The blocks in their order, with the rows that units are found by."""
        rows = slice(self.rows)
        return Units(
            self.blocks.take(running),
            self.last,
            self.scores[running],
            self.units.inputs[rows],
            self.units.predictions[rows],
        )

    def _descend(self, *, soft: bool) -> Iterator[Step]:
        """Rounds on the order, with hard permutations or what the soft ones make on average."""
        stage = self._stage(soft=soft)
        run = stage.judge.run(self.order)
        search = descend(
            stage.judge, run, Objective(stage.problem.log_odds), done=stage.done, turns=False
        )
        for step in while_kept(search, ROUNDS):
            self.order = step.order
            yield step

    def _check(self) -> Step:
        """Whether the hard permutations reproduce the rows."""
        stage = self._stage(soft=False)
        run = stage.judge.run(self.order)
        self.solved, self.error = stage.done(run), run.error
        return Step("units", np.array([run.error]), True, self.order, run.error, len(self.sample))

    def _running(self) -> NDArray[np.intp]:
        """The blocks in their order."""
        place = {number: block for block, number in enumerate(self.numbers.tolist())}
        return np.array([place[number] for number in self.order], np.intp)

    def _stage(self, *, soft: bool) -> Stage:
        """The search for the order with soft or with hard permutations."""
        if soft:
            blocks = mixed(self.blocks, self.units.soft())
        else:
            blocks = permuted_columns(self.blocks, self.hard)
        inps, outs = self.pairs.T
        weight = self.layers.out_weight.copy()
        weight[outs] = blocks.out_weight
        layers = replace(self.layers, out_weight=weight)
        log_odds = np.full((len(self.layers.inp_weight), len(weight)), -np.inf)
        log_odds[inps, outs] = 0.0
        problem = Problem(layers, self.last, self.pairs, log_odds, self.records, turns=False)
        judge = Judge(layers, self.last, self.sample, self.journal)
        done = partial(reproduces_rows, judge, blocks=len(self.pairs), arithmetic=self.arithmetic)
        return Stage(problem, judge, self.rng, done)


def _reassigned(units: Units, columns: NDArray[np.intp], strength: float) -> NDArray[np.intp]:
    """The best of other columns for the blocks in most doubt, or those that stand."""
    proposals = reassigned_units(units, columns, doubtful_blocks(units, columns, DOUBTED))
    return min([columns, *proposals], key=lambda each: units.objective(each, strength))
