"""Rebuild what can be rebuilt: which pieces belong, in which order, and what is missing where.

First the sure pairs are ordered. Then blocks are taken out and put in by the record. Where a misfit
remains, the pieces without a partner are tried in every gap. The partner of the best one is
estimated by least squares, and the order is searched again.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain

import numpy as np

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, MlpBank, MlpNetwork, MlpStack, as_mlp_bank
from unshuffle.blocks.network import mean_squares
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.ordering.auto import advance, begin
from unshuffle.ordering.descent import DescentSteps, descend
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.stages import FIRST_STAGES
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import Workbench, rank_seeds
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.tolerance import rounding_tolerance
from unshuffle.repair.estimation import (
    Estimate,
    Unknown,
    estimate_last,
    estimate_layers,
    fit_all_rows,
)
from unshuffle.repair.gaps import Traces, Unmatched, fill, order_around, unexplained
from unshuffle.repair.membership import grow, settle_membership, spare_layers
from unshuffle.solution.goal import Reproduction
from unshuffle.solution.options import Options


@dataclass(frozen=True)
class RebuildingParameters:
    """Numbers that steer rebuilding."""

    slots: int = 16  # Layers that can be estimated.
    sure: float = 50.0  # Log-odds of a block with a layer that was made to fit it.
    judging: int = 3  # One row in so many judges arrangements, at most; the others fit layers.
    few_equations: int = 384  # With fewer predictions, all rows judge arrangements and fit layers.
    far: float = 0.02  # Share of the variance above which an arrangement is grown from nothing too.
    growth_rows: int = 192  # Rows on which it is.
    hopeless: float = 0.5  # Share of the variance above which blocks are not one of two networks.
    fits: float = 1.5  # A layer is tried if it leaves at most so many times what any block does.
    gaps: int = 2  # Gaps in which a layer is tried.
    tried: int = 4  # Layers that are tried.
    worthwhile: float = 0.9  # Part of the error that a layer that is filled in leaves at most.
    helpful: float = 0.98  # Part of the error that a round that helps leaves at most.
    most_unmatched: int = 4  # Unmatched layers around which the others are ordered first.
    seed_rows: int = 256  # Inputs that seeds look at then.
    explained: float = 0.5  # Part of the error that estimated partners leave if none is a stranger.
    rounds: int = 4  # Rounds of estimating all missing layers and ordering blocks again.
    refits: int = 12  # Rounds of fitting a missing last layer and ordering blocks again.
    ridge: float = 1e-2  # Of the regression that guesses inp layers, relative to the mean diagonal.


STANDARD = RebuildingParameters()


@dataclass(frozen=True, eq=False)
class StandIn:
    """An estimated layer, with a position behind those of the pile, and that of its partner."""

    role: int
    position: int
    partner: int
    layer: Linear

    @property
    def block(self) -> tuple[int, int]:
        """Positions of the block's inp and out layer."""
        both = self.position, self.partner
        return both if self.role == INP else both[::-1]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """An arrangement of pieces and of stand-ins at positions in `slots`, the newest last.

    The `error` is on rows that arrangements are judged on; `complete` if these are reproduced.
    """

    problem: Problem
    last: Linear
    arrangement: Arrangement
    slots: range
    stand_ins: tuple[StandIn, ...] = ()
    error: float = np.inf
    complete: bool = False
    by: RebuildingParameters = STANDARD

    @cached_property
    def bank(self) -> MlpBank:
        """All layers, stand-ins behind the pieces."""
        bank = as_mlp_bank(self.problem.bank)
        inp, out = ([one for one in self.stand_ins if one.role == role] for role in (INP, OUT))

        def joined(values: Floats, more: list[Floats]) -> Floats:
            return np.concatenate([values, *(each[None] for each in more)], dtype=values.dtype)

        return MlpBank(
            joined(bank.inp_weight, [one.layer.weight for one in inp]),
            joined(bank.inp_bias, [one.layer.bias for one in inp]),
            joined(bank.out_weight, [one.layer.weight for one in out]),
            joined(bank.out_bias, [one.layer.bias for one in out]),
            bank.activation,
            (*bank.inp_positions, *(one.position for one in inp)),
            (*bank.out_positions, *(one.position for one in out)),
        )

    @cached_property
    def evidence(self) -> Evidence:
        """On which layers share a block: a stand-in with none but its partner."""
        bank, (edge,) = self.bank, self.problem.evidence.edges
        odds = np.full((len(bank.inp_positions), len(bank.out_positions)), -np.inf)
        odds[: edge.log_odds.shape[0], : edge.log_odds.shape[1]] = edge.log_odds
        for one in self.stand_ins:
            odds[bank.rows[one.block[INP]], bank.columns[one.block[OUT]]] = self.by.sure
        return Evidence((EdgeOdds(INP, OUT, odds, bank.rows, bank.columns),))

    def network(self) -> MlpNetwork:
        """The network of the arrangement."""
        return MlpNetwork(self.bank.take(self.arrangement), self.last)

    def judge(self, records: Records) -> Judge:
        """A judge of arrangements on rows."""
        return Judge(self.bank, self.last, records)

    def unmatched(self) -> list[Unmatched]:
        """The pieces that do not stand in the arrangement, as layers whose partners are missing."""
        bank = as_mlp_bank(self.problem.bank)
        inp, out = spare_layers(bank, self.arrangement)
        return [
            *(Unmatched(OUT, bank.inp_layer(each).astype(np.float64), each) for each in inp),
            *(Unmatched(INP, bank.out_layer(each).astype(np.float64), each) for each in out),
        ]

    def unknowns(self) -> list[Unknown]:
        """The places of all stand-ins in the arrangement, the newest last."""
        found = [np.argwhere(self.arrangement == one.position).tolist() for one in self.stand_ins]
        return [Unknown(*where[0]) for where in found if where]

    @property
    def free(self) -> int | None:
        """A position that no stand-in in the arrangement has. None where all are taken."""
        return next((slot for slot in self.slots if slot not in self.arrangement), None)

    def with_block(self, gap: int, one: StandIn) -> "Reconstruction":
        """The same with one more block, of a stand-in and its partner."""
        others = (other for other in self.stand_ins if other.position != one.position)
        arrangement = np.insert(self.arrangement, gap, one.block, axis=0)
        return replace(self, arrangement=arrangement, stand_ins=(*others, one))

    def refitted(self, network: MlpNetwork, unknowns: Sequence[Unknown]) -> "Reconstruction":
        """The same with those layers of a network that is arranged in the same way."""
        blocks, layers = network.blocks, {}
        for unknown in unknowns:
            weight, bias = (blocks.inp, blocks.out)[unknown.role]
            position = int(self.arrangement[unknown.place, unknown.role])
            layers[position] = Linear(weight[unknown.place], bias[unknown.place])
        refitted = (
            replace(one, layer=layers.get(one.position, one.layer)) for one in self.stand_ins
        )
        return replace(self, stand_ins=tuple(refitted))


# A search that comes to a reconstruction.
Rebuilt = Generator[Step, None, Reconstruction]


@dataclass(eq=False)
class Rebuilding:
    """A search on loose layers, which can be cut off at any time, and has a whole result.

    There is a problem for each possible activation and last layer. If the pile was divided, blocks
    seem to be of one of two networks. Then only their membership is settled.
    """

    problems: Iterator[Problem]
    pieces: int
    options: Options
    goal: Reproduction
    guessed_last: bool = False
    searched: bool = False
    divided: bool = False
    by: RebuildingParameters = STANDARD

    def __post_init__(self) -> None:
        self.slots = range(self.pieces, self.pieces + self.by.slots)
        self.first, self.rng = next(self.problems), np.random.default_rng(self.options.seed)
        self.known = self.judged = self.fitted = self.first.known
        self.standing = self._of(self.first, self.first.grouped)

    def steps(self) -> Iterator[Step]:
        """Order the blocks that are given, settle which of them belong, and fill gaps."""
        self.standing = yield from self._rebuilt()

    def _of(self, problem: Problem, arrangement: Arrangement) -> Reconstruction:
        assert isinstance(problem.ends, Linear)
        return Reconstruction(problem, problem.ends, arrangement, self.slots, by=self.by)

    def _rebuilt(self) -> Rebuilt:
        one, around = self.standing, None
        if not self.searched:
            few = 0 < len(one.unmatched()) <= self.by.most_unmatched
            if few and not (self.guessed_last or self.divided):
                around = yield from self._filled_around(self._on_other_rows(one))
                if around is not None and around.complete:
                    return around
            one = yield from self._first_descents()
        one = self._on_other_rows(one)
        if self.divided:
            hopeless = self._leaves(one, self.by.hopeless)
            return one if hopeless else (yield from self._settled(one))
        if self.guessed_last:
            one = yield from self._with_last(one)
        one = yield from self._improved(one)
        # Layers without a partner may be missing none, but belong to another network.
        return one if around is None or one.complete or one.error < around.error else around

    def _first_descents(self) -> Rebuilt:
        """Descend from seeds with each problem that may be the right one."""
        problems, options = chain([self.first], self.problems), self.options
        by, rows, clock = options.parameters, options.rows, options.clock
        bench = Workbench(problems, self.rng, self.goal, by, rows, clock=clock)
        state = begin(bench, self.rng)
        one = self.standing
        for after in advance(state, bench, FIRST_STAGES):
            if after.best is not state.best:
                one = self._of(bench.problem(after.best.alternative), after.best.arrangement)
                self._stands(replace(one, error=after.best.error))
            if after.step is not state.step:
                yield after.step
            state = after
        self.rng = state.generator()
        return one

    def _on_other_rows(self, one: Reconstruction) -> Reconstruction:
        """Divide rows anew: if many, some judge arrangements, and layers fit the others."""
        known, many = self.first.known, self.options.parameters.many
        self.known = self.judged = self.fitted = known.take(self.rng.permutation(len(known)))
        if known.predictions.size >= self.by.few_equations:
            count = min(-(-many // known.outputs), len(known) // self.by.judging)
            self.judged = self.known.first(count)
            self.fitted = self.known.take(np.arange(count, len(known)))
        self.standing = replace(self.standing, error=np.inf)  # it was judged on other rows
        self._judged(self.standing)
        return self._judged(one)

    def _judged(self, one: Reconstruction) -> Reconstruction:
        judge = one.judge(self.judged)
        run = judge.run(one.arrangement)
        complete = self.goal.reproduces(judge, run)
        return self._stands(replace(one, error=run.error, complete=complete))

    def _leaves(self, one: Reconstruction, share: float) -> bool:
        """Whether an arrangement leaves more than a share of the variance of some column."""
        rows, variances = self.judged, self.judged.variances
        residual = one.network().predict(rows.inputs) - rows.predictions
        return not (mean_squares(residual) <= share * variances)[variances > 0].all()

    def _stands(self, one: Reconstruction) -> Reconstruction:
        """The same; it is remembered if it is the best so far."""
        if one.error < self.standing.error:
            self.standing = one
        return one

    def _followed(self, one: Reconstruction, search: Iterable[Step]) -> Rebuilt:
        """Take the steps of a search; come to the arrangement with which it ends."""
        for step in search:
            one = self._stands(replace(one, arrangement=step.arrangement, error=step.error))
            yield step
        return self._judged(one)

    def _membership(self, one: Reconstruction) -> DescentSteps:
        judge = one.judge(self.judged)
        run, done = judge.run(one.arrangement), partial(self.goal.reproduces, judge)
        return settle_membership(judge, run, one.evidence, done=done)

    def _settled(self, one: Reconstruction) -> Rebuilt:
        return (yield from self._followed(one, self._membership(one)))

    def _filled_around(self, one: Reconstruction) -> Generator[Step, None, Reconstruction | None]:
        """Order sure blocks around unmatched layers; estimate partners, if that helps enough."""
        judge, inputs = one.judge(self.judged), self.known.inputs[: self.by.seed_rows]
        rows, clock = len(judge.inputs), self.options.clock
        seeds, _ = rank_seeds(self.first, judge, inputs, rows, quick=False, clock=clock)
        run, done = judge.run(seeds[0]), partial(self.goal.reproduces, judge)
        search = descend(judge, run, one.evidence, done=done, short=True)
        one = yield from self._followed(replace(one, arrangement=run.arrangement), search)
        if one.complete:
            return one
        gaps, run, unmatched = [0], judge.run(one.arrangement), one.unmatched()
        for after in order_around(judge, run, unmatched, self.known, self.options.clock):
            kept, (run, gaps) = after[0] is not run, after
            one = self._stands(replace(one, arrangement=run.arrangement, error=run.error))
            yield _step("around", one, len(judge.inputs), kept=kept)
        one = self._judged(one)
        if one.complete:  # then no partner is missing
            return one
        traces, left = self._traces(one), one.error
        for gap, lone in sorted(zip(gaps, unmatched, strict=True), key=lambda each: -each[0]):
            one = self._inserted(one, traces, gap, lone)
        one = yield from self._fitted(one)
        return one if one.complete or one.error < self.by.explained * left else None

    def _traces(self, one: Reconstruction) -> Traces:
        return Traces.of(one.network(), self.fitted, self.options.clock)

    def _improved(self, one: Reconstruction) -> Rebuilt:
        """Settle which blocks belong, fill gaps, and estimate what is missing."""
        everything = one.arrangement
        one = yield from self._settled(one)
        if self._leaves(one, self.by.far):
            one = yield from self._regrown(one, everything)
        while not one.complete:
            better = yield from self._one_filled(one)
            if better is one:
                break
            one = better
        for _ in range(self.by.rounds):
            if one.complete or not one.unknowns():
                break
            before = one.error
            one = yield from self._estimated(one)
            if not one.error < self.by.helpful * before:
                break
        return one

    def _regrown(self, one: Reconstruction, blocks: Arrangement) -> Rebuilt:
        grown = yield from grow(one.judge(self.judged.first(self.by.growth_rows)), blocks)
        run = yield from self._membership(replace(one, arrangement=grown.arrangement))
        if len(run) and run.error < self.by.worthwhile * one.error:
            return self._judged(replace(one, arrangement=run.arrangement))
        return one

    def _with_last(self, one: Reconstruction) -> Rebuilt:
        """Fit the last layer to the arrangement and search for a better one, in turn."""
        error = np.inf
        for _ in range(self.by.refits):
            final = one.network().states(self.fitted.inputs)[-1]
            last = estimate_last(final, self.fitted.predictions).astype(final.dtype)
            one = yield from self._settled(replace(one, last=last))
            if not one.error < self.by.worthwhile * error:
                break
            error = one.error
        return one

    def _one_filled(self, one: Reconstruction) -> Rebuilt:
        """Fill the gap for which a piece without a partner speaks most; as it was if none does."""
        by, unmatched = self.by, one.unmatched()
        if len(unmatched) > by.slots:
            return one
        traces = self._traces(one)
        most = by.fits * float(unexplained(traces).min())
        # Without any block there is nothing to guess inp layers from.
        left = [
            (unexplained(traces, lone), lone)
            for lone in unmatched
            if one.free is not None and (lone.role == OUT or len(one.arrangement))
        ]
        likely = sorted((each for each in left if each[0].min() < most), key=lambda x: x[0].min())
        for by_gap, lone in likely[: by.tried]:
            best = one
            for gap in np.argsort(by_gap, kind="stable")[: by.gaps].tolist():
                filled = self._inserted(one, traces, gap, lone)
                filled = yield from self._estimated(filled, newest=True)
                if filled.complete:
                    return filled
                best = filled if filled.error < by.worthwhile * best.error else best
            if best is not one:
                return (yield from self._estimated(best, newest=True))
        return one

    def _inserted(
        self, one: Reconstruction, traces: Traces, gap: int, lone: Unmatched
    ) -> Reconstruction:
        assert one.free is not None
        if lone.role == OUT:
            layer = fill(traces, gap, lone.layer)
        else:
            layer = _guessed_inp(one.network().blocks, lone.layer, self.by.ridge)
        return one.with_block(gap, StandIn(lone.role, one.free, lone.position, layer))

    def _estimated(self, one: Reconstruction, *, newest: bool = False) -> Rebuilt:
        """Estimate all missing layers, or the newest one, by least squares; then descend."""
        one = yield from self._fitted(one, newest=newest)
        return one if one.complete else (yield from self._settled(one))

    def _fitted(self, one: Reconstruction, *, newest: bool = False) -> Rebuilt:
        unknowns, clock = one.unknowns()[-1 if newest else 0 :], self.options.clock
        if unknowns:
            used = self.fitted if newest else self.known
            estimate = estimate_layers(one.network(), unknowns, used, clock, rough=newest)
            one = self._judged(one.refitted(estimate.network, unknowns))
            if not newest and self._foretells(estimate, used):
                network = fit_all_rows(estimate.network, unknowns, used, clock)
                one = self._judged(one.refitted(network, unknowns))
            yield _step("estimate", one, len(self.judged), kept=True)
        return one

    def _foretells(self, estimate: Estimate, used: Records) -> bool:
        """Whether rows that the layers were not fitted to are reproduced to rounding on average."""
        known = used.inputs, used.predictions
        tolerance = rounding_tolerance(estimate.network, *known, self.goal.arithmetic)
        most = estimate.inflation * tolerance.mse
        return bool(np.isfinite(most)) and estimate.unseen <= most


def _step(phase: str, one: Reconstruction, rows: int, *, kept: bool) -> Step:
    return Step(phase, np.array([one.error]), kept, one.arrangement, one.error, rows)


def _guessed_inp(blocks: MlpStack, out: Linear, ridge: float) -> Linear:
    """An inp layer as the other blocks' out layers have theirs: one regression over all units."""

    def features(weight: Floats) -> Floats:
        units = weight.T.astype(np.float64)
        return np.column_stack([units, np.linalg.norm(units, axis=1), np.ones(len(units))])

    x = np.concatenate([features(weight) for weight in blocks.out_weight])
    y = np.concatenate([blocks.inp_weight, blocks.inp_bias[:, :, None]], axis=2)
    gram = x.T @ x
    gram += ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    guessed = features(out.weight) @ np.linalg.solve(gram, x.T @ y.reshape(len(x), -1))
    return Linear(guessed[:, :-1], guessed[:, -1])
