"""Where in an arrangement a block is missing, and how the others are ordered around the gap.

A block that is missing at a gap adds ``g · f(x)`` to the predictions. Here x are the states and g
the adjoints at that gap. A Gaussian prior on f makes this a Gaussian process over the rows. Its
kernel is the elementwise product of two Gram matrices. One is that of the adjoints, the other that
of the hidden units. Without an inp layer the other is the arc-cosine kernel of the states (Cho &
Saul 2009). Cross-prediction of two halves of the rows tells how much a block in a gap could
explain. The marginal likelihood of the residual tells where it ran (MacKay 1992). Priors are as
wide as the layers at hand.

A search that only lowers the error puts blocks where they make up for missing ones. So residuals
and effects of moves are whitened by the covariance of the missing effects. The regression on
adjacent swaps is then generalised least squares (Aitken 1936).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, MlpNetwork, as_mlp
from unshuffle.blocks.network import mean_square
from unshuffle.ordering.judge import Doubles, Judge, Run
from unshuffle.ordering.linearization import linearize
from unshuffle.ordering.moves import shift_moves
from unshuffle.ordering.selection import pursuit, regression
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import TINY, Floats
from unshuffle.pieces.records import Records
from unshuffle.repair.estimation import with_ones
from unshuffle.repair.triangular import solve_lower


@dataclass(frozen=True)
class GapParameters:
    """Numbers that steer how gaps are judged."""

    equations: int = 1200  # Predictions by which a gap is judged.
    ridges: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)  # Over the mean diagonal of the kernel.
    near: int = 3  # Places around a gap that are looked at again with more rows.
    sweeps: int = 2  # Rounds over several layers, each located given where the others are.
    rounds: int = 8  # Rounds of locating gaps and moving blocks in turn, at most.
    moves: int = 16  # Rounds of moves in each of these, at most.
    moving_equations: int = 800  # Predictions by which gaps are located in these rounds.
    last_equations: int = 2000  # Predictions by which they are in the end.
    windows: tuple[int, ...] = (1, 4)  # Places by which blocks move; the next if one is no help.


STANDARD = GapParameters()


@dataclass(frozen=True, eq=False)
class Traces:
    """What an arrangement leaves of some rows, with the states and adjoints at each gap.

    The network is in float64. States have shape (gaps, rows, width), `pulled` (gaps, outputs, rows,
    width). The residual, record minus predictions, has shape (outputs, rows).
    """

    network: MlpNetwork
    states: Floats
    pulled: Floats
    residual: Doubles
    clock: Clock
    by: GapParameters

    @classmethod
    def of(
        cls,
        network: MlpNetwork,
        records: Records,
        clock: Clock,
        most: int | None = None,
        by: GapParameters = STANDARD,
    ) -> "Traces":
        """Follow the first rows, as many as make so many predictions, through an arrangement."""
        some = slice((most or by.equations) // records.outputs)
        network = network.astype(np.float64)
        states = network.states(records.inputs[some])
        residual = (records.predictions[some] - network.last(states[-1])).T
        return cls(network, states, network.adjoints(states), residual, clock, by)

    def gaps(self) -> Iterator[int]:
        """All gaps; it raises `OutOfTimeError` where no time is left."""
        for gap in range(len(self.states)):
            self.clock.check()
            yield gap


@dataclass(frozen=True, eq=False)
class Unmatched:
    """A layer at hand in the pile, in float64, and the role of its missing partner."""

    role: int
    layer: Linear
    position: int = -1


def locate(
    traces: Traces, unmatched: Sequence[Unmatched], near: Sequence[int] | None = None
) -> list[int]:
    """The likeliest gap of each layer whose partner is missing, near to given gaps if there are."""
    nothing = np.zeros((traces.residual.size,) * 2)
    found: list[tuple[int, Doubles]] = []
    for _ in range(traces.by.sweeps if len(unmatched) > 1 else 1):
        for k, lone in enumerate(unmatched):
            base = sum((part for at, (_, part) in enumerate(found) if at != k), nothing)
            effects = (
                (gap, missing_effect(traces, gap, lone))
                for gap in traces.gaps()
                if near is None or abs(gap - near[k]) <= traces.by.near
            )
            best = max(effects, key=lambda each: _likeliest(traces, base + each[1])[1])
            found[k : k + 1] = [best]
    return [gap for gap, _ in found]


def missing_effect(traces: Traces, gap: int, lone: Unmatched) -> Doubles:
    """Prior covariance of what a block would have added to the predictions, outputs first."""
    blocks = traces.network.blocks
    x, left = traces.states[gap], traces.pulled[gap]
    times = (len(traces.residual),) * 2
    if lone.role == OUT:
        units = blocks.activation.apply(lone.layer(x))
        columns = np.einsum("bdh,beh->de", blocks.out_weight, blocks.out_weight)
        columns /= len(blocks) * blocks.hidden
        bias = mean_square(blocks.out_bias)
        left = left.reshape(-1, blocks.width)
        effect = (left @ columns @ left.T) * np.tile(units @ units.T, times)
        return np.asarray(effect + bias * (left @ left.T), np.float64)
    spread = mean_square(blocks.inp_weight)
    read = (left @ lone.layer.weight).reshape(-1, blocks.hidden)
    alike = np.tile(_arc_cosine(with_ones(x)), times)
    return np.asarray((read @ read.T) * alike * (spread / 2), np.float64)


def unexplained(traces: Traces, lone: Unmatched | None = None) -> Doubles:
    """Part of the residual that a block in each gap leaves. A layer of it may be at hand."""
    before = max(mean_square(traces.residual[:, 1::2]), np.finfo(float).tiny)
    return np.array([_left(traces, gap, lone) for gap in traces.gaps()]) / before


def fill(traces: Traces, gap: int, inp: Linear) -> Linear:
    """A first guess of an out layer that is missing at a gap: the smallest that explains most."""
    left = traces.pulled[gap]
    right = with_ones(traces.network.blocks.activation.apply(inp(traces.states[gap])))
    outputs, _, width = left.shape
    rights, left = np.tile(right, (outputs, 1)), left.reshape(-1, width)
    kernel, residual = (left @ left.T) * (rights @ rights.T), traces.residual.reshape(-1)
    ridge, _ = _best_ridge(traces, kernel, residual)
    np.fill_diagonal(kernel, kernel.diagonal() + ridge)
    weights = (left * np.linalg.solve(kernel, residual)[:, None]).T @ rights
    return Linear(weights[:, :-1], weights[:, -1])


def _likeliest(traces: Traces, kernel: Doubles) -> tuple[float, float]:
    """The ridge under which the residual is likeliest, and the log-likelihood at the best scale."""
    r = traces.residual.reshape(-1)
    scale = float(np.trace(kernel)) / len(kernel)
    results = []
    for ridge in traces.by.ridges:
        factor = np.linalg.cholesky(kernel + (ridge * scale + TINY) * np.eye(len(kernel)))
        size = mean_square(solve_lower(factor, r))
        evidence = -len(r) / 2 * np.log(size + TINY) - np.log(factor.diagonal()).sum()
        results.append((float(evidence), ridge * scale + TINY))
    evidence, ridge = max(results)
    return ridge, evidence


def _left(traces: Traces, gap: int, lone: Unmatched | None) -> float:
    """Mean squared error that a block missing at a gap would leave."""
    x, left, residual = traces.states[gap], traces.pulled[gap], traces.residual
    outputs, rows, _ = left.shape
    if lone is not None and lone.role == OUT:
        right = with_ones(traces.network.blocks.activation.apply(lone.layer(x)))
        kernel = right @ right.T
    else:
        kernel = _arc_cosine(with_ones(x))
    if lone is not None and lone.role == INP:
        residual = residual - left @ lone.layer.bias
        left = left @ lone.layer.weight
    left = left.reshape(outputs * rows, -1)
    kernel = (left @ left.T) * np.tile(kernel, (outputs, outputs))
    return _best_ridge(traces, kernel, residual.reshape(-1))[1]


def _best_ridge(traces: Traces, kernel: Doubles, residual: Doubles) -> tuple[float, float]:
    """The ridge with which one half of the rows foretells the other best, and its error."""
    even = np.arange(len(residual)) % traces.residual.shape[1] % 2 == 0
    inner, across = kernel[np.ix_(even, even)], kernel[np.ix_(~even, even)]
    scale = float(np.trace(inner)) / len(inner)
    if not scale > 0:
        return 1.0, mean_square(residual[~even])
    results = []
    for ridge in traces.by.ridges:
        damped = inner + ridge * scale * np.eye(len(inner))
        left = residual[~even] - across @ np.linalg.solve(damped, residual[even])
        results.append((mean_square(left), ridge * scale))
    error, ridge = min(results)
    return ridge, error


def _arc_cosine(x: Doubles) -> Doubles:
    """Kernel of infinitely many random ReLU units, after Cho & Saul (2009), equation 6."""
    gram = x @ x.T
    norms = np.sqrt(gram.diagonal())
    lengths = np.outer(norms, norms)
    cosine = np.clip(gram / lengths, -1.0, 1.0)
    angle = np.arccos(cosine)
    return np.asarray(lengths * (np.sin(angle) + (np.pi - angle) * cosine) / np.pi)


def order_around(
    judge: Judge,
    run: Run,
    unmatched: Sequence[Unmatched],
    known: Records,
    clock: Clock,
    *,
    by: GapParameters = STANDARD,
) -> Iterator[tuple[Run, list[int]]]:
    """Locate the gaps and order the blocks around them, in turn, while there is time.

    After each round it yields what stands and the gap of each layer. The last is the result, with
    more rows for the gaps. It raises `OutOfTimeError` where no time is left.
    """

    def traced(run: Run, records: Records, equations: int) -> Traces:
        return Traces.of(as_mlp(judge.network(run.arrangement)), records, clock, equations, by)

    gaps = list[int]()
    for _ in range(by.rounds):
        traces = traced(run, judge.records, judge.predictions.size)
        before, coarse = gaps, traced(run, judge.records, by.moving_equations)
        gaps = locate(coarse, unmatched)
        yield run, gaps
        kernel = np.zeros((traces.residual.size,) * 2)
        for gap, lone in zip(gaps, unmatched, strict=True):
            kernel += missing_effect(traces, gap, lone)
        start, (ridge, _) = run, _likeliest(traces, kernel)
        factor = np.linalg.cholesky(kernel + ridge * np.eye(len(kernel)))
        for moved in _moved(judge, start, factor, by):
            run = moved
            yield run, gaps
        if run is start and gaps == before:
            break
    yield run, locate(traced(run, known, by.last_equations), unmatched, gaps)


def _moved(judge: Judge, run: Run, factor: Floats, by: GapParameters) -> Iterator[Run]:
    """Move blocks while that lowers the whitened error; yield what stands after each round."""

    def whitened(values: Floats) -> Doubles:
        white = solve_lower(factor, values.T.astype(np.float64))
        return np.ascontiguousarray(white.T)

    def value(run: Run) -> float:
        residual = judge.ends.leave(run.states[-1]) - judge.predictions
        return float(np.square(whitened(residual.T.reshape(-1))).sum())

    def improved(run: Run, window: int) -> Run:
        """Linearize anew, and take the first proposal that is better; else what stands."""
        at, lowest = linearize(judge, run), value(run)
        moves = shift_moves(judge, at, window)
        moves, residual = moves.with_effects(whitened(moves.effects)), whitened(at.residual)
        for chosen in (regression(moves, residual), pursuit(moves, residual, strength=len(run))):
            for halving in range(len(chosen).bit_length()):
                part = chosen[: len(chosen) >> halving]
                better = judge.run(moves.apply(part, run.arrangement), after=run)
                if value(better) < lowest:
                    return better
        return run

    effort = 0
    for _ in range(by.moves):
        better = improved(run, by.windows[effort])
        kept = better is not run
        if not kept and effort + 1 == len(by.windows):
            return
        run, effort = better, 0 if kept else effort + 1
        yield run
