"""Numbers that take the misfit of an arrangement away, by least squares.

The method is that of Levenberg (1944) and Marquardt (1963).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.blocks.network import last_of, pull_back
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats

# Residuals, shape (equations,), and their derivatives, (equations, numbers), at some numbers.
Linearized = Callable[[Floats], tuple[Floats, Floats]]


@dataclass(frozen=True)
class FitParameters:
    """Numbers that steer a fit."""

    iterations: int = 60  # Iterations, at most.
    damping: float = 1e-2  # Damping that a fit begins with, relative to the curvature.
    least_damping: float = 1e-12  # Damping that a fit ends with, at least.
    most_damping: float = 1e8  # Damping with which a fit gives up.
    easing: float = 10.0  # Factor by which it falls after an iteration, and rises for the next.
    converged: float = 1e-6  # Part of the error; an iteration that helps less is the last.


STANDARD = FitParameters()


def fit(
    linearized: Linearized,
    numbers: Floats,
    clock: Clock,
    iterations: int | None = None,
    by: FitParameters = STANDARD,
) -> Floats:
    """The numbers with the least squared residual near given ones. Time may end it earlier."""
    residual, jacobian = linearized(numbers)
    damping = by.damping
    for _ in range(by.iterations if iterations is None else iterations):
        gram, slope = jacobian.T @ jacobian, jacobian.T @ residual
        before = after = float(residual @ residual)
        curvature = gram.diagonal() + np.finfo(float).eps * np.trace(gram)
        while damping <= by.most_damping and not clock.out:
            damped = gram + np.diag(damping * curvature + np.finfo(float).tiny)
            tried = numbers - np.linalg.solve(damped, slope)
            found = linearized(tried)
            after = float(found[0] @ found[0])
            if after < before:
                numbers, (residual, jacobian) = tried, found
                break
            damping *= by.easing
        damping = max(damping / by.easing, by.least_damping)
        if not after < (1 - by.converged) * before or after == 0:
            break
    return numbers


def linearized_inputs(network: MlpNetwork, inputs: Floats, predictions: Floats) -> Linearized:
    """Residuals by the scales and then the shifts of inputs, outputs first."""

    def at(numbers: Floats) -> tuple[Floats, Floats]:
        scale, shift = np.split(numbers, 2)
        with np.errstate(over="ignore", invalid="ignore"):
            states = network.states(inputs * scale + shift)
            places, last = range(len(network.blocks)), network.last.pull(states[-1])
            adjoint = last_of(pull_back(network.blocks.pullback, places, states, last))
            residual = (network.last(states[-1]) - predictions).T.reshape(-1)
        derivatives = np.concatenate([adjoint * inputs, adjoint], axis=2)
        return residual, derivatives.reshape(len(residual), -1)

    return at
