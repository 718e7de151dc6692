"""Rebuild what can be rebuilt: which pieces belong, in which order, and what is missing where.

The search works on loose layers, with empty slots beside them for layers that are missing. First
the pairs of which the weights are sure are ordered. Then blocks are taken out and put in on the
record's word. Where a misfit remains, the pieces that found no partner are tried in every gap, the
partner of the best is estimated by least squares, and the order is searched again with it.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Layers, Linear, Network
from unshuffle.ordering.auto import MANY_EQUATIONS, first_descents
from unshuffle.ordering.descent import Objective, descend
from unshuffle.ordering.journal import Errors, Journal, Numbers
from unshuffle.ordering.judge import Judge, Order, Run, Search
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.seeds import SEEDS
from unshuffle.ordering.trace import Step
from unshuffle.pieces.records import Records
from unshuffle.proof.tolerance import rounding_tolerance
from unshuffle.repair.around import order_around
from unshuffle.repair.estimation import (
    Estimate,
    Unknown,
    estimate_last,
    estimate_layers,
    fit_all_rows,
)
from unshuffle.repair.gaps import Orphan, Traces, fill, unexplained
from unshuffle.repair.membership import grow, settle_membership
from unshuffle.solution.arranging import reproduces_rows

Fitted = TypeVar("Fitted")

HELPFUL = 0.98
"""A round helps if it leaves at most this part of the error."""

SLOTS = 8
"""Layers of each kind that can be estimated."""

FITS = 1.5
"""A layer is tried in the gaps if it explains the residual nearly as well as any block might: if it
leaves at most so many times as much,"""
GAPS = 2
"""in the best so many gaps,"""
TRIED = 4
"""and so many layers at most."""

WORTHWHILE = 0.9
"""A layer is filled in if that leaves at most this part of the error."""

HOPELESS = 0.5
"""Part of the predictions' variance above which blocks that were taken for those of one of two
networks are not."""

FEW_EQUATIONS = 384
"""With fewer, rows have to do for judging arrangements and for fitting layers."""

FAR = 0.02
"""Share of the predictions' variance from which on an arrangement is grown from nothing too."""

GROWTH_ROWS = 192
"""Rows on which an arrangement is grown from nothing."""

MOST_ORPHANS = 4
"""Layers without a partner around which the others are ordered before anything else,"""
EXPLAINED = 0.5
"""if estimates of their partners leave at most this part of the error."""

SEED_ROWS = 256
"""Inputs that seeds look at then."""

ROUNDS = 4
"""Rounds of estimating all missing layers and searching for the order again."""

REFITS = 12
"""Rounds of fitting a missing last layer and searching for the order again."""

RIDGE = 1e-2
"""Of the regression that guesses inp layers from out layers."""

SURE = 50.0
"""Log-odds of a pair with a layer that was made to fit it."""


@dataclass(frozen=True, eq=False)
class Filled:
    """A block with an estimated layer: the role of that layer, and the block's number."""

    role: str
    block: int


@dataclass(eq=False)
class Workbench:
    """Loose layers with empty slots, and the best arrangement so far; a search changes it.

    Parameters
    ----------
    layers
        The pieces, then `SLOTS` empty layers of either kind.
    last
        The last layer.
    log_odds
        Shape (I, J): of all pairs, −∞ for those with an empty slot.
    order
        The arrangement.
    filled
        The blocks in it that have an estimated layer.
    guessed_last
        Whether the last layer is estimated too.
    complete
        Whether the record is reproduced to rounding on the rows of the search.
    journal
        Keeps what the rounds come to.
    """

    layers: Layers
    last: Linear
    log_odds: NDArray[np.float64]
    order: Order = ()
    filled: list[Filled] = field(default_factory=list)
    guessed_last: bool = False
    complete: bool = False
    journal: Journal = field(default_factory=Journal)

    @classmethod
    def of(cls, problem: Problem, order: Order, journal: Journal, *, guessed: bool) -> "Workbench":
        """The layers of a problem with slots beside them, and an order of its blocks."""
        layers = problem.layers

        def padded(values: NDArray[np.floating]) -> NDArray[np.floating]:
            return np.concatenate([values, np.zeros((SLOTS, *values.shape[1:]), values.dtype)])

        log_odds = np.full(tuple(size + SLOTS for size in problem.log_odds.shape), -np.inf)
        inps, outs = problem.log_odds.shape
        log_odds[:inps, :outs] = problem.log_odds
        roomy = Layers(
            padded(layers.inp_weight),
            padded(layers.inp_bias),
            padded(layers.out_weight),
            padded(layers.out_bias),
            layers.activation,
        )
        roomier = tuple(block // outs * (outs + SLOTS) + block % outs for block in order)
        return cls(roomy, problem.last, log_odds, roomier, guessed_last=guessed, journal=journal)

    @property
    def outs(self) -> int:
        """Number of out layers, slots included: block numbers are made with it."""
        return int(self.log_odds.shape[1])

    def network(self) -> Network:
        """The network of the arrangement."""
        return Network(self.layers.take(self.order), self.last)

    def judge(self, records: Records) -> Judge:
        """A judge of arrangements on rows."""
        return Judge(self.layers, self.last, records, self.journal)

    def free_slot(self, role: str) -> int | None:
        """Index of an empty slot; None where all are taken."""
        axis = 0 if role == "inp" else 1
        taken = {divmod(one.block, self.outs)[axis] for one in self.filled if one.role == role}
        size = self.log_odds.shape[axis]
        return next((slot for slot in range(size - SLOTS, size) if slot not in taken), None)

    def put(self, role: str, slot: int, layer: Linear) -> None:
        """Put an estimated layer into a slot."""
        weight, bias = (
            (self.layers.inp_weight, self.layers.inp_bias)
            if role == "inp"
            else (self.layers.out_weight, self.layers.out_bias)
        )
        weight[slot], bias[slot] = layer.weight, layer.bias

    def unused(self) -> tuple[list[int], list[int]]:
        """Inp and out layers, slots aside, that do not stand in the arrangement."""
        inps, outs = ({*part} for part in np.divmod(np.array(self.order, np.intp), self.outs))
        rows, columns = (size - SLOTS for size in self.log_odds.shape)
        return (
            [i for i in range(rows) if i not in inps],
            [j for j in range(columns) if j not in outs],
        )


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of the record by what they are used for.

    Parameters
    ----------
    known
        All of them, in the sequence in which they were drawn; the last estimate uses them.
    judged, fitted
        Those on which arrangements are judged, and those that layers are fitted to meanwhile.
    arithmetic
        The dtype of the record.
    """

    known: Records
    judged: Records
    fitted: Records
    arithmetic: str

    @classmethod
    def of(cls, known: Records, arithmetic: str, rng: np.random.Generator) -> "Rows":
        """Divide the rows: some judge arrangements, the others fit layers; all do both if few."""
        shuffled = known.take(rng.permutation(len(known)))
        if known.predictions.size < FEW_EQUATIONS:
            return cls(shuffled, shuffled, shuffled, arithmetic)
        judged = min(-(-MANY_EQUATIONS // known.outputs), len(known) // 3)
        others = shuffled.take(np.arange(judged, len(known)))
        return cls(shuffled, shuffled.take(np.arange(judged)), others, arithmetic)

    def done(self, judge: Judge, run: Run) -> bool:
        """Whether a run reproduces a judge's rows to rounding."""
        return reproduces_rows(judge, run, 1, self.arithmetic)


def rebuild(
    problems: Iterable[Problem],
    found: list[Workbench],
    rng: np.random.Generator,
    arithmetic: str,
    *,
    journal: Journal,
    rows: int | None,
    guessed_last: bool,
    searched: bool,
    divided: bool,
) -> Search:
    """Order the pairs that are given, settle which blocks belong, and fill gaps.

    Parameters
    ----------
    problems
        One for each activation and last layer that may be the network's; their pairs are those
        that are sure.
    found
        Where the workbench is put, as soon as there is one.
    rng
        Draws the rows.
    arithmetic
        The dtype of the record, for what counts as rounding.
    journal
        Keeps what the rounds come to.
    rows
        How many rows the search begins with.
    guessed_last
        Whether the last layer of the problems is but a guess.
    searched
        Whether the pairs of the only problem stand in the order that a search has found.
    divided
        Whether the problems are of blocks that seem to be of one of two networks: then it is only
        settled which blocks belong, and not even that if none of them leads near the record.
    """

    def reproduces(judge: Judge, run: Run) -> bool:
        return reproduces_rows(judge, run, 1, arithmetic)

    around: Run | None = None
    if searched:
        problem = next(iter(problems))
        order: Order = tuple(problem.blocks.tolist())
    else:
        problems = iter(problems)
        problem = next(problems)
        pairs = tuple(problem.blocks.tolist())
        found.append(Workbench.of(problem, pairs, journal, guessed=guessed_last))
        if not (guessed_last or divided) and 0 < orphans_of(found[0]) <= MOST_ORPHANS:
            share = Rows.of(problem.known, arithmetic, rng)
            around = yield from fill_around(found[0], share)
            if around is not None and found[0].complete:
                return around
        stage, best = yield from first_descents(
            chain([problem], problems), rng, journal=journal, rows=rows, reproduces=reproduces
        )
        problem, order = stage.problem, best.order
    bench = Workbench.of(problem, order, journal, guessed=guessed_last)
    share = Rows.of(problem.known, arithmetic, rng)
    if around is not None:
        # They may be missing no partner, but belong to another network.
        run = yield from improve(bench, share)
        if not (bench.complete or run.error < around.error):
            return around
        found[:] = [bench]
        return run
    found[:] = [bench]
    if divided:
        run = bench.judge(share.judged).run(bench.order)
        hopeless = run.error > HOPELESS * float(np.var(share.judged.predictions))
        return run if hopeless else (yield from _settle(bench, share))
    if guessed_last:
        yield from _refit_last(bench, share)
    return (yield from improve(bench, share))


def orphans_of(bench: Workbench) -> int:
    """How many layers stand in no block."""
    return sum(map(len, bench.unused()))


def fill_around(bench: Workbench, rows: Rows) -> Generator[Step, None, Run | None]:
    """Order the sure pairs around the gaps of layers without a partner, and estimate the partners.

    Returns
    -------
    Run or None
        None, with the bench as it was, where estimates explain too little of what is left.
    """
    judge = bench.judge(rows.judged)
    before = bench.order
    network = bench.network()
    inputs = rows.known.inputs[:SEED_ROWS].astype(network.last.weight.dtype)
    seeds = [
        tuple(np.array(before)[direction].tolist())
        for seed in SEEDS.values()
        for ranking in (seed.rank(network, inputs),)
        for direction in (ranking, ranking[::-1])
    ]
    run = min(judge.runs(seeds), key=lambda one: one.error)
    objective = Objective(bench.log_odds)

    def done(run: Run) -> bool:
        return rows.done(judge, run)

    run = yield from _kept(bench, descend(judge, run, objective, done=done, short=True))
    bench.complete = done(run)
    if bench.complete:
        return run
    inps, outs = bench.unused()
    orphans = [
        *(Orphan("out", _inp(bench.layers, number)) for number in inps),
        *(Orphan("inp", _out(bench.layers, number)) for number in outs),
    ]
    around = order_around(judge, run, orphans, rows.known, bench.outs)
    while True:
        try:
            step = next(around)
        except StopIteration as end:
            ordered: tuple[Run, list[int]] = end.value
            break
        bench.order = step.order
        yield step
    run, gaps = ordered
    bench.order, bench.complete = run.order, done(run)
    if bench.complete:  # then no partner is missing
        return run
    placed = sorted(zip(gaps, orphans, (*inps, *outs), strict=True), key=lambda each: -each[0])
    traces = Traces.of(bench.network(), rows.fitted.inputs, rows.fitted.predictions)
    for gap, orphan, number in placed:
        _insert(bench, traces, gap, orphan.role, number)
    filled = yield from _fit(bench, rows)
    if bench.complete or filled.error < EXPLAINED * run.error:
        return filled
    bench.order, bench.filled = before, []
    return None


def improve(bench: Workbench, rows: Rows) -> Search:
    """Settle which blocks belong, fill gaps, and estimate what is missing."""
    everything = bench.order
    run = yield from _settle(bench, rows)
    if run.error > FAR * float(np.var(rows.judged.predictions)):
        judge = bench.judge(rows.judged)
        some = np.arange(min(GROWTH_ROWS, len(rows.judged)))
        # The arrangement that stands stays on the workbench until a better one is found.
        grown = yield from grow(
            bench.judge(rows.judged.take(some)), everything, Objective(bench.log_odds)
        )
        rival = yield from settle_membership(
            judge,
            bench.layers,
            judge.run(grown.order),
            Objective(bench.log_odds),
            done=lambda one: rows.done(judge, one),
        )
        if rival.order and rival.error < WORTHWHILE * run.error:
            run, bench.order = rival, rival.order
            bench.complete = rows.done(judge, run)
    while not bench.complete:
        better = yield from _fill_one(bench, rows, run)
        if better is run:
            break
        run = better
    for _ in range(ROUNDS if bench.filled and not bench.complete else 0):
        before = run.error
        run = yield from _estimate(bench, rows)
        if bench.complete or not run.error < HELPFUL * before:
            break
    return run


def _kept(bench: Workbench, search: Search) -> Search:
    """Take the steps of a search and keep the order of each on the workbench."""
    while True:
        try:
            step = next(search)
        except StopIteration as end:
            run: Run = end.value
            bench.order = run.order
            return run
        bench.order = step.order
        yield step


def _settle(bench: Workbench, rows: Rows) -> Search:
    """Settle which blocks belong, and in which sequence."""
    judge = bench.judge(rows.judged)
    search = settle_membership(
        judge,
        bench.layers,
        judge.run(bench.order),
        Objective(bench.log_odds),
        done=lambda run: rows.done(judge, run),
    )
    run = yield from _kept(bench, search)
    bench.filled = [one for one in bench.filled if one.block in run.order]
    bench.complete = rows.done(judge, run)
    return run


def _refit_last(bench: Workbench, rows: Rows) -> Search:
    """Fit the last layer to the arrangement and search for a better one, in turn."""
    error = np.inf
    run = bench.judge(rows.judged).run(bench.order)
    for _ in range(REFITS):
        inputs = rows.fitted.inputs.astype(bench.last.weight.dtype)
        *_, final = bench.network().states(inputs)
        bench.last = estimate_last(final, rows.fitted.predictions).astype(inputs.dtype)
        run = yield from _settle(bench, rows)
        if not run.error < WORTHWHILE * error:
            break
        error = run.error
    return run


def _fill_one(bench: Workbench, rows: Rows, run: Run) -> Search:
    """Fill the gap for which a piece without a partner speaks most; the run that stands if none.

    More pieces than could be estimated partners for are another network's.
    """
    if orphans_of(bench) > 2 * SLOTS:
        return run
    network = bench.network()
    traces = Traces.of(network, rows.fitted.inputs, rows.fitted.predictions)
    any_block = float(_unexplained(bench, traces).min())
    inps, outs = bench.unused()
    choices: list[tuple[float, list[int], str, int]] = []
    # Without any block there is nothing to guess inp layers from.
    for role, numbers in (("out", inps), ("inp", outs if bench.order else [])):
        for number in numbers if bench.free_slot(role) is not None else ():
            if role == "out":
                left = _unexplained(bench, traces, inp=_inp(bench.layers, number))
            else:
                left = _unexplained(bench, traces, out=_out(bench.layers, number))
            if left.min() < FITS * any_block:
                gaps = np.argsort(left, kind="stable")[:GAPS].tolist()
                choices.append((float(left.min()), gaps, role, number))
    before = bench.order, bench.filled
    for _, gaps, role, number in sorted(choices)[:TRIED]:
        best, found = run, before
        for gap in gaps:
            bench.order, bench.filled = before
            _insert(bench, traces, gap, role, number)
            filled = yield from _estimate(bench, rows, newest=True)
            if filled.error < WORTHWHILE * best.error:
                best, found = filled, (bench.order, bench.filled)
            if bench.complete:
                return filled
        bench.order, bench.filled = found
        if best is not run:
            if bench.filled:
                yield from _estimate(bench, rows, newest=True)
            return bench.judge(rows.judged).run(bench.order)
    return run


def _unexplained(
    bench: Workbench, traces: Traces, inp: Linear | None = None, out: Linear | None = None
) -> NDArray[np.float64]:
    """What blocks that are missing would leave, from the journal if it was found before."""

    def unpack(_: Numbers, errors: Errors) -> NDArray[np.float64]:
        if len(errors) != len(traces.states):
            raise ValueError("it has gaps of another arrangement")
        return errors

    return bench.journal.result(
        lambda: unexplained(traces, inp, out), lambda left: ((), left), unpack
    )


def _insert(bench: Workbench, traces: Traces, gap: int, role: str, layer: int) -> None:
    """Put a block with a guessed layer into a gap."""
    slot = bench.free_slot(role)
    assert slot is not None
    if role == "out":
        bench.put(role, slot, fill(traces, gap, _inp(bench.layers, layer)))
        block = layer * bench.outs + slot
    else:
        bench.put(role, slot, _guessed_inp(bench, _out(bench.layers, layer)))
        block = slot * bench.outs + layer
    bench.log_odds[divmod(block, bench.outs)] = SURE
    bench.filled = [*bench.filled, Filled(role, block)]
    bench.order = (*bench.order[:gap], block, *bench.order[gap:])


def _estimate(bench: Workbench, rows: Rows, *, newest: bool = False) -> Search:
    """Estimate all missing layers, or the newest one, by least squares; then descend."""
    run = yield from _fit(bench, rows, newest=newest)
    return run if bench.complete else (yield from _settle(bench, rows))


def _fit(bench: Workbench, rows: Rows, *, newest: bool = False) -> Search:
    """Estimate all missing layers, or the newest one, by least squares."""
    chosen = bench.filled[-1:] if newest else bench.filled
    unknowns = [Unknown(bench.order.index(one.block), one.role) for one in chosen]
    if not unknowns:
        return bench.judge(rows.judged).run(bench.order)
    used = rows.fitted if newest else rows.known
    fitting = estimate_layers(
        bench.network(),
        unknowns,
        used.inputs,
        used.predictions,
        bench.journal,
        thorough=not newest,
    )
    estimate = yield from _steps(bench, rows, fitting)
    run = _put_estimate(bench, rows, chosen, estimate.network)
    if not newest and estimate.determined and _foretells(estimate, used, rows.arithmetic):
        fitting_all = fit_all_rows(
            estimate.network, unknowns, used.inputs, used.predictions, bench.journal
        )
        network = yield from _steps(bench, rows, fitting_all)
        run = _put_estimate(bench, rows, chosen, network)
    yield Step("estimate", np.array([run.error]), True, run.order, run.error, len(rows.judged))
    return run


def _steps(
    bench: Workbench, rows: Rows, fitting: Generator[None, None, Fitted]
) -> Generator[Step, None, Fitted]:
    """The result of a fit, with a step of the search wherever it can be left."""
    run = bench.judge(rows.judged).run(bench.order)
    while True:
        try:
            next(fitting)
        except StopIteration as end:
            result: Fitted = end.value
            return result
        yield Step("estimate", np.empty(0), False, run.order, run.error, len(rows.judged))


def _foretells(estimate: Estimate, used: Records, arithmetic: str) -> bool:
    """Whether rows that the layers were not fitted to are reproduced to rounding on average."""
    tolerance = rounding_tolerance(estimate.network, used.inputs, used.predictions, arithmetic)
    return estimate.unseen <= estimate.inflation * tolerance.rms**2


def _put_estimate(bench: Workbench, rows: Rows, filled: Sequence[Filled], network: Network) -> Run:
    """Put estimated layers of a network that is arranged as the workbench is into their slots."""
    blocks = network.blocks
    for one in filled:
        place = bench.order.index(one.block)
        i, j = divmod(one.block, bench.outs)
        if one.role == "out":
            bench.put("out", j, Linear(blocks.out_weight[place], blocks.out_bias[place]))
        else:
            bench.put("inp", i, Linear(blocks.inp_weight[place], blocks.inp_bias[place]))
    judge = bench.judge(rows.judged)
    run = judge.run(bench.order)
    bench.complete = rows.done(judge, run)
    return run


def _guessed_inp(bench: Workbench, out: Linear) -> Linear:
    """An inp layer as the other blocks' out layers have theirs: one regression over all units."""
    blocks = bench.network().blocks

    def features(weight: NDArray[np.floating]) -> NDArray[np.float64]:
        units = weight.T.astype(np.float64)
        return np.column_stack([units, np.linalg.norm(units, axis=1), np.ones(len(units))])

    x = np.concatenate([features(weight) for weight in blocks.out_weight])
    y = np.concatenate(
        [
            np.column_stack([weight, bias])
            for weight, bias in zip(blocks.inp_weight, blocks.inp_bias, strict=True)
        ]
    )
    gram = x.T @ x
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    guessed = features(out.weight) @ np.linalg.solve(gram, x.T @ y)
    return Linear(guessed[:, :-1], guessed[:, -1])


def _inp(layers: Layers, i: int) -> Linear:
    return Linear(layers.inp_weight[i], layers.inp_bias[i]).astype(np.float64)


def _out(layers: Layers, j: int) -> Linear:
    return Linear(layers.out_weight[j], layers.out_bias[j]).astype(np.float64)
