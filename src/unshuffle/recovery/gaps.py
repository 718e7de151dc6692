"""Where in an arrangement a block is missing.

A block that is missing at a gap adds ``g · f(x)`` to the predictions, with the states x and the
sensitivities g at that gap. What is not known of f is given a Gaussian prior, so that the missing
effect is a Gaussian process over the rows, whose kernel is an elementwise product: of the Gram
matrix of the sensitivities with that of the hidden units, where the inp layer is at hand; where it
is not, with the arc-cosine kernel of the states, to which infinitely many random ReLU units
converge (Cho & Saul 2009). The gap at which the residual of one half of the rows foretells that of
the other half best is where the block ran.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.network import Linear, Network
from unshuffle.pile import Floats
from unshuffle.recovery.estimation import with_ones

Doubles = NDArray[np.float64]

MOST_EQUATIONS = 1200
"""Equations that a gap is judged by."""

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Relative to the mean diagonal of the kernel."""


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
    def of(cls, network: Network, inputs: Floats, predictions: Floats) -> "Traces":
        """Follow rows through an arrangement: as many of the first as are looked at."""
        rows = slice(MOST_EQUATIONS // predictions.shape[1])
        network = network.astype(np.float64)
        x, y = inputs[rows].astype(np.float64), predictions[rows].astype(np.float64)
        states = [*network.states(x)]
        residual = (y - network.last(states[-1])).T
        return cls(network, states, network.sensitivities(states), residual)


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
