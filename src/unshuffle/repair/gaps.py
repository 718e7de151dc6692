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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Linear, Network
from unshuffle.pieces.pile import Floats
from unshuffle.repair.estimation import with_ones

Doubles = NDArray[np.float64]

TINY = 1e-30
"""Added where a logarithm is taken or a matrix factored."""

MOST_EQUATIONS = 1200
"""Equations that a gap is judged by."""

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Relative to the mean diagonal of the kernel."""

NEAR = 3
"""Places around a gap that are looked at again with more rows."""

SWEEPS = 2
"""Rounds over several such layers, each located given where the others are."""


@dataclass(frozen=True, eq=False)
class Traces:
    """What an arrangement leaves of some rows, with the states and sensitivities at each gap.

    Parameters
    ----------
    network
        The arrangement, in float64.
    states, pulled
        At each gap: shapes (rows, width) and (outputs, rows, width).
    residual
        Shape (outputs, rows): the record minus what the arrangement predicts.
    """

    network: Network
    states: list[Floats]
    pulled: list[Floats]
    residual: Doubles

    @classmethod
    def of(
        cls, network: Network, inputs: Floats, predictions: Floats, *, rows: int | None = None
    ) -> "Traces":
        """Follow the first rows through an arrangement, by default as many as are looked at."""
        some = slice(MOST_EQUATIONS // predictions.shape[1] if rows is None else rows)
        network = network.astype(np.float64)
        x, y = inputs[some].astype(np.float64), predictions[some].astype(np.float64)
        states = [*network.states(x)]
        residual = (y - network.last(states[-1])).T
        return cls(network, states, network.sensitivities(states), residual)

    def first_rows(self, rows: int) -> "Traces":
        """The same on the first rows only."""
        return Traces(
            self.network,
            [x[:rows] for x in self.states],
            [g[:, :rows] for g in self.pulled],
            self.residual[:, :rows],
        )


@dataclass(frozen=True, eq=False)
class Orphan:
    """A layer whose partner is missing.

    Parameters
    ----------
    role
        Of the missing layer: "inp" or "out".
    layer
        The one at hand, in float64.
    """

    role: str
    layer: Linear


def locate(
    traces: Traces, orphans: Sequence[Orphan], near: Sequence[int] | None = None
) -> list[int]:
    """The likeliest gap of each layer whose partner is missing.

    Parameters
    ----------
    traces
        Of the arrangement that lacks their blocks; all its rows are used.
    orphans
        The layers at hand.
    near
        Gaps from which none is more than `NEAR` places away; any gap by default.
    """
    count, gaps = traces.residual.size, range(len(traces.states))
    found: list[tuple[int, Doubles]] = []
    for _ in range(SWEEPS if len(orphans) > 1 else 1):
        for k, orphan in enumerate(orphans):
            others = [part for at, (_, part) in enumerate(found) if at != k]
            base = sum(others, np.zeros((count, count)))
            parts = (
                (gap, missing_effect(traces, gap, orphan))
                for gap in gaps
                if near is None or abs(gap - near[k]) <= NEAR
            )
            best = max(parts, key=lambda each: _likeliest(base + each[1], traces.residual)[1])
            found[k : k + 1] = [best]
    return [gap for gap, _ in found]


def missing_effect(traces: Traces, gap: int, orphan: Orphan) -> Doubles:
    """Prior covariance of what a block would have added to the predictions.

    Returns
    -------
    NDArray
        Shape (equations, equations), outputs first.
    """
    blocks = traces.network.blocks
    x, left = traces.states[gap], traces.pulled[gap]
    if orphan.role == "out":
        units = blocks.activation.apply(orphan.layer(x))
        columns = np.einsum("bdh,beh->de", blocks.out_weight, blocks.out_weight)
        columns /= len(blocks) * blocks.hidden
        bias = float(np.mean(np.square(blocks.out_bias)))
        left = left.reshape(-1, blocks.width)
        right = np.tile(units @ units.T, (len(traces.residual),) * 2)
        effect = (left @ columns @ left.T) * right + bias * (left @ left.T)
        return np.asarray(effect, np.float64)
    spread = float(np.mean(np.square(blocks.inp_weight)))
    alike = np.tile(_arc_cosine(with_ones(x)), (len(traces.residual),) * 2)
    read = (left @ orphan.layer.weight).reshape(-1, blocks.hidden)
    return np.asarray((read @ read.T) * alike * (spread / 2), np.float64)


def whitening(kernel: Doubles, residual: Doubles) -> Doubles:
    """Cholesky factor of a kernel with the noise that makes a residual likeliest."""
    ridge, _ = _likeliest(kernel, residual)
    return np.asarray(np.linalg.cholesky(kernel + ridge * np.eye(len(kernel))), np.float64)


def _likeliest(kernel: Doubles, residual: Doubles) -> tuple[float, float]:
    """The ridge under which a residual is likeliest, and the log-likelihood at the best scale."""
    from scipy.linalg import solve_triangular

    r = residual.reshape(-1)
    scale = float(np.trace(kernel)) / len(kernel)
    results = []
    for ridge in RIDGES:
        factor = np.linalg.cholesky(kernel + (ridge * scale + TINY) * np.eye(len(kernel)))
        size = float(np.square(solve_triangular(factor, r, lower=True, check_finite=False)).mean())
        evidence = -len(r) / 2 * np.log(size + TINY) - np.log(factor.diagonal()).sum()
        results.append((float(evidence), ridge * scale + TINY))
    evidence, ridge = max(results)
    return ridge, evidence


def unexplained(traces: Traces, inp: Linear | None = None, out: Linear | None = None) -> Doubles:
    """Part of the residual that a block missing at each gap would leave unexplained.

    Parameters
    ----------
    traces
        Of the arrangement that lacks the block.
    inp, out
        The layer of the block that is at hand; neither if both are missing.

    Returns
    -------
    NDArray
        Shape (gaps,): mean squared error on the second half of the rows, by the best of some
        ridges, relative to the mean square of the residual.
    """
    return np.array(
        [_unexplained(traces, gap, inp, out) for gap in range(len(traces.states))], np.float64
    )


def fill(traces: Traces, gap: int, inp: Linear) -> Linear:
    """A first guess of the out layer that is missing at a gap: the smallest that explains most."""
    activation = traces.network.blocks.activation
    left = traces.pulled[gap]
    right = with_ones(activation.apply(inp(traces.states[gap])))
    outputs, rows, width = left.shape
    rights = np.tile(right, (outputs, 1))
    left = left.reshape(-1, width)
    kernel = (left @ left.T) * (rights @ rights.T)
    ridge, _ = _best_ridge(kernel, traces.residual.reshape(-1), rows)
    np.fill_diagonal(kernel, kernel.diagonal() + ridge)
    solved = np.linalg.solve(kernel, traces.residual.reshape(-1))
    weights = (left * solved[:, None]).T @ rights
    return Linear(weights[:, :-1], weights[:, -1])


def _unexplained(traces: Traces, gap: int, inp: Linear | None, out: Linear | None) -> float:
    activation = traces.network.blocks.activation
    x, left, residual = traces.states[gap], traces.pulled[gap], traces.residual
    outputs, rows, _ = left.shape
    before = float(np.mean(np.square(residual[:, 1::2])))
    if inp is not None:
        right = with_ones(activation.apply(inp(x)))
        kernel = right @ right.T
    else:
        kernel = _arc_cosine(with_ones(x))
    if out is not None:
        residual = residual - left @ out.bias
        left = left @ out.weight
    left = left.reshape(outputs * rows, -1)
    kernel = (left @ left.T) * np.tile(kernel, (outputs, outputs))
    _, error = _best_ridge(kernel, residual.reshape(-1), rows)
    return error / max(before, np.finfo(float).tiny)


def _best_ridge(kernel: Doubles, residual: Doubles, rows: int) -> tuple[float, float]:
    """The ridge with which one half of the rows foretells the other best, and its error."""
    even = np.arange(len(residual)) % rows % 2 == 0
    fit, check = np.flatnonzero(even), np.flatnonzero(~even)
    inner, across = kernel[np.ix_(fit, fit)], kernel[np.ix_(check, fit)]
    scale = float(np.trace(inner)) / len(inner)
    if not scale > 0:
        return 1.0, float(np.mean(np.square(residual[check])))
    results = []
    for ridge in RIDGES:
        damped = inner + ridge * scale * np.eye(len(inner))
        left = residual[check] - across @ np.linalg.solve(damped, residual[fit])
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
