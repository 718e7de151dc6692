"""Where in an arrangement a block is missing.

A block that is missing at a gap adds ``g · f(x)`` to the predictions, with the states x and the
sensitivities g at that gap. What is not known of f is given a Gaussian prior, so that the missing
effect is a Gaussian process over the rows, whose kernel is an elementwise product: of the Gram
matrix of the sensitivities with that of the hidden units, where the inp layer is at hand; where it
is not, with the arc-cosine kernel of the states, to which infinitely many random ReLU units
converge (Cho & Saul 2009). How much of a residual a block in some gap could explain is told by how
well one half of the rows foretells the other. Where it ran is told by the marginal likelihood of
the residual, with priors as wide as the layers at hand (MacKay 1992).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, MlpNetwork
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.repair.estimation import with_ones

Doubles = NDArray[np.float64]

TINY = 1e-30
"""Added where a logarithm is taken or a matrix factored."""


@dataclass(frozen=True)
class GapParameters:
    """Numbers that steer how gaps are judged."""

    equations: int = 1200
    """Predictions by which a gap is judged."""
    ridges: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    """Relative to the mean diagonal of the kernel; the best one counts."""
    near: int = 3
    """Places around a gap that are looked at again with more rows."""
    sweeps: int = 2
    """Rounds over several layers, each located given where the others are."""


STANDARD = GapParameters()


@dataclass(frozen=True, eq=False)
class Traces:
    """What an arrangement leaves of some rows, with the states and sensitivities at each gap.

    Parameters
    ----------
    network
        The arrangement, in float64.
    states, pulled
        Shapes (gaps, rows, width) and (gaps, outputs, rows, width).
    residual
        Shape (outputs, rows): the record minus what the arrangement predicts.
    clock, by
        Who looks at all gaps raises `OutOfTimeError` where no time is left; what steers the look.
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
        equations: int = STANDARD.equations,
        by: GapParameters = STANDARD,
    ) -> "Traces":
        """Follow the first rows, as many as make so many predictions, through an arrangement."""
        some, network = slice(equations // records.outputs), network.astype(np.float64)
        states = network.states(records.inputs[some])
        residual = (records.predictions[some] - network.last(states[-1])).T
        return cls(network, states, network.sensitivities(states), residual, clock, by)

    def gaps(self) -> Iterator[int]:
        """All gaps, as long as there is time."""
        for gap in range(len(self.states)):
            self.clock.check()
            yield gap


@dataclass(frozen=True, eq=False)
class Orphan:
    """A layer at hand, in float64, whose partner is missing.

    `role` is that of the missing one, and `position` that of the one at hand in the pile.
    """

    role: int
    layer: Linear
    position: int = -1


def locate(
    traces: Traces, orphans: Sequence[Orphan], near: Sequence[int] | None = None
) -> list[int]:
    """The likeliest gap of each layer whose partner is missing, by all rows of the traces.

    None is far from the gaps `near`, if these are given.
    """
    by, nothing = traces.by, np.zeros((traces.residual.size,) * 2)
    found: list[tuple[int, Doubles]] = []
    for _ in range(by.sweeps if len(orphans) > 1 else 1):
        for k, orphan in enumerate(orphans):
            base = sum((part for at, (_, part) in enumerate(found) if at != k), nothing)
            effects = (
                (gap, missing_effect(traces, gap, orphan))
                for gap in traces.gaps()
                if near is None or abs(gap - near[k]) <= by.near
            )
            best = max(effects, key=lambda each: _likeliest(traces, base + each[1])[1])
            found[k : k + 1] = [best]
    return [gap for gap, _ in found]


def missing_effect(traces: Traces, gap: int, orphan: Orphan) -> Doubles:
    """Prior covariance of what a block would have added to the predictions, outputs first."""
    blocks = traces.network.blocks
    x, left = traces.states[gap], traces.pulled[gap]
    times = (len(traces.residual),) * 2
    if orphan.role == OUT:
        units = blocks.activation.apply(orphan.layer(x))
        columns = np.einsum("bdh,beh->de", blocks.out_weight, blocks.out_weight)
        columns /= len(blocks) * blocks.hidden
        bias = float(np.mean(np.square(blocks.out_bias)))
        left = left.reshape(-1, blocks.width)
        effect = (left @ columns @ left.T) * np.tile(units @ units.T, times)
        return np.asarray(effect + bias * (left @ left.T), np.float64)
    spread = float(np.mean(np.square(blocks.inp_weight)))
    read = (left @ orphan.layer.weight).reshape(-1, blocks.hidden)
    alike = np.tile(_arc_cosine(with_ones(x)), times)
    return np.asarray((read @ read.T) * alike * (spread / 2), np.float64)


def whitening(traces: Traces, kernel: Doubles) -> Doubles:
    """Cholesky factor of a kernel with the noise that makes the residual likeliest."""
    ridge, _ = _likeliest(traces, kernel)
    return np.asarray(np.linalg.cholesky(kernel + ridge * np.eye(len(kernel))), np.float64)


def unexplained(traces: Traces, orphan: Orphan | None = None) -> Doubles:
    """Part of the residual that a block missing at each gap would leave unexplained: shape (gaps,).

    It is what the best of some ridges leaves of the second half of the rows. Without an orphan both
    layers of the block are missing.
    """
    before = max(float(np.mean(np.square(traces.residual[:, 1::2]))), np.finfo(float).tiny)
    return np.array([_left(traces, gap, orphan) for gap in traces.gaps()]) / before


def fill(traces: Traces, gap: int, inp: Linear) -> Linear:
    """A first guess of the out layer that is missing at a gap: the smallest that explains most."""
    left = traces.pulled[gap]
    right = with_ones(traces.network.blocks.activation.apply(inp(traces.states[gap])))
    outputs, rows, width = left.shape
    rights, left = np.tile(right, (outputs, 1)), left.reshape(-1, width)
    kernel, residual = (left @ left.T) * (rights @ rights.T), traces.residual.reshape(-1)
    ridge, _ = _best_ridge(kernel, residual, rows, traces.by.ridges)
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
        size = float(np.square(solve_triangular(factor, r, lower=True, check_finite=False)).mean())
        evidence = -len(r) / 2 * np.log(size + TINY) - np.log(factor.diagonal()).sum()
        results.append((float(evidence), ridge * scale + TINY))
    evidence, ridge = max(results)
    return ridge, evidence


def _left(traces: Traces, gap: int, orphan: Orphan | None) -> float:
    """Mean squared error that a block missing at a gap would leave."""
    x, left, residual = traces.states[gap], traces.pulled[gap], traces.residual
    outputs, rows, _ = left.shape
    if orphan is not None and orphan.role == OUT:
        right = with_ones(traces.network.blocks.activation.apply(orphan.layer(x)))
        kernel = right @ right.T
    else:
        kernel = _arc_cosine(with_ones(x))
    if orphan is not None and orphan.role == INP:
        residual = residual - left @ orphan.layer.bias
        left = left @ orphan.layer.weight
    left = left.reshape(outputs * rows, -1)
    kernel = (left @ left.T) * np.tile(kernel, (outputs, outputs))
    return _best_ridge(kernel, residual.reshape(-1), rows, traces.by.ridges)[1]


def _best_ridge(
    kernel: Doubles, residual: Doubles, rows: int, ridges: Sequence[float]
) -> tuple[float, float]:
    """The ridge with which one half of the rows foretells the other best, and its error."""
    even = np.arange(len(residual)) % rows % 2 == 0
    inner, across = kernel[np.ix_(even, even)], kernel[np.ix_(~even, even)]
    scale = float(np.trace(inner)) / len(inner)
    if not scale > 0:
        return 1.0, float(np.mean(np.square(residual[~even])))
    results = []
    for ridge in ridges:
        damped = inner + ridge * scale * np.eye(len(inner))
        left = residual[~even] - across @ np.linalg.solve(damped, residual[even])
        results.append((float(np.mean(np.square(left))), ridge * scale))
    error, ridge = min(results)
    return ridge, error


def _arc_cosine(x: Doubles) -> Doubles:
    """Kernel of infinitely many random ReLU units, after Cho & Saul (2009), equation 6."""
    gram = x @ x.T
    norms = np.sqrt(gram.diagonal())
    lengths = np.outer(norms, norms)
    cosine = np.clip(gram / lengths, -1.0, 1.0)
    angle = np.arccos(cosine)
    kernel: Doubles = lengths * (np.sin(angle) + (np.pi - angle) * cosine) / np.pi
    return kernel
