"""Estimate layers that are missing from an arrangement, by least squares on the record.

A small change of a layer moves the predictions by an outer product. For an out layer ``[W | b]`` at
place t it is ``g ⊗ [hidden, 1]``, with g the adjoints after the block. For an inp layer it is ``(g
W_out ∘ a'(z)) ⊗ [x, 1]``. Gauss-Newton steps with Levenberg-Marquardt damping (Levenberg 1944,
Marquardt 1963) solve for all missing layers at once. With fewer equations than unknowns the dual
form is solved. Its kernel is an elementwise product of Gram matrices, and the result is the
smallest layer that fits.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, MlpNetwork, MlpStack
from unshuffle.blocks.network import mean_square
from unshuffle.ordering.judge import Doubles
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.pieces.pile import TINY, Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.independence import independent_rows
from unshuffle.repair.triangular import solve_positive


@dataclass(frozen=True)
class EstimationParameters:
    """Numbers that steer estimates. A pair is of thorough ones and of rough ones."""

    iterations: tuple[int, int] = (25, 6)  # Steps at most.
    equations: tuple[int, int] = (3000, 1200)  # Equations of the dual form.
    sufficient: float = 1.2  # Equations for each unknown from which on the rows determine a layer.
    plenty: float = 2.0  # Equations for each that are used; with hardly more, steps fit accidents.
    products: float = 1e9  # Multiplications that are always allowed; for rough estimates, at most.
    unknowns: int = 5000  # Unknowns of the normal equations at most.
    least_damping: float = 1e-13  # Relative to the mean diagonal of what is solved for.
    most_damping: float = 1e4  # Relative to the first damping.
    rounding: float = 5e-14  # Mean squared error, over that of the predictions, not worth lowering.
    slow: float = 1e-3  # Part by which a step lowers the error on unseen rows if it is no progress.
    patience: int = 4  # Such steps in a row that are the last.
    kept_apart: int = 10  # One row in so many is kept apart for a check.
    easing: float = 10.0  # Factor by which the damping falls after a step, and rises for the next.
    chunk: int = 512  # Rows whose Jacobian is laid out at once.


STANDARD = EstimationParameters()


class Unknown(NamedTuple):
    """A layer that is missing from an arrangement: the place of its block, and its role there."""

    place: int
    role: int


Unknowns = Sequence[Unknown]


class Estimate(NamedTuple):
    """A network with estimated layers, in float64.

    `unseen` is the mean squared error on rows that the layers were not fitted to, NaN without any.
    The fit takes up rounding errors of the predictions. `inflation` is the factor by which `unseen`
    then exceeds rounding. It is n / (n - p) for p unknowns and n equations (least squares with
    Gaussian inputs). It is infinite where the layers are not determined.
    """

    network: MlpNetwork
    unseen: float
    inflation: float


def estimate_layers(
    network: MlpNetwork,
    unknowns: Unknowns,
    records: Records,
    clock: Clock,
    *,
    rough: bool = False,
    by: EstimationParameters = STANDARD,
) -> Estimate:
    """Fit missing layers of a network to rows, from a first guess in their places.

    Some rows are kept apart for a check, and more of many rows. A rough estimate takes few rows and
    steps. Without time, the best so far stands.
    """
    fitting = _Fitting.of(network, unknowns, records, clock, by, rough=rough)
    at = best = fitting.judged(network.astype(np.float64))
    most, worse = by.most_damping * at.damping, 0
    enough = by.rounding * mean_square(fitting.y)
    with suppress(OutOfTimeError):
        for _ in range(by.iterations[rough]):
            after = fitting.step(at, best.unseen, most, enough)
            if after is at:
                break
            at = after
            # What no longer helps rows that the layers were not fitted to fits accidents.
            slow = at.unseen >= (1 - by.slow) * best.unseen
            best, worse = (best, worse + 1) if slow else (at, 0)
            if worse == by.patience or not max(at.error, best.unseen) >= enough:
                break
    return Estimate(best.network, best.unseen, fitting.inflation)


def fit_all_rows(
    network: MlpNetwork,
    unknowns: Unknowns,
    records: Records,
    clock: Clock,
    by: EstimationParameters = STANDARD,
) -> MlpNetwork:
    """From an estimate that is right to rounding, take one more step, to least squares on all rows.

    With few equations, the fit carries rounding errors over to other rows, where they are larger.
    The variance of a prediction is 1 + leverage times that of the noise (Seber & Lee, Linear
    Regression Analysis, 2003, section 5.3). The network stands where the step does not help.
    """
    x, y = records.inputs.astype(np.float64), records.predictions.astype(np.float64)
    fitting = _Fitting(unknowns, x, y, x[:0], y[:0], 1.0, clock, by)
    at = fitting.judged(network)
    with suppress(OutOfTimeError):
        at = fitting.step(at, np.nan, at.damping, np.inf)
    return at.network


def estimate_last(states: Floats, predictions: Floats) -> Linear:
    """The last layer that reads predictions (rows, outputs) off states (rows, width) best."""
    solution = np.linalg.lstsq(with_ones(states), predictions.astype(np.float64), rcond=None)[0].T
    return Linear(np.ascontiguousarray(solution[:, :-1]), np.ascontiguousarray(solution[:, -1]))


def with_ones(x: Floats) -> Doubles:
    """Rows with a 1 behind each, for a weight matrix with its bias behind it."""
    return np.concatenate([x, np.ones((len(x), 1))], axis=1, dtype=np.float64)


class _Estimate(NamedTuple):
    """Layers on their way: the network with them, its errors, and the damping of the next step."""

    network: MlpNetwork
    error: float
    unseen: float
    damping: float


@dataclass(frozen=True, eq=False)
class _Fitting:
    """Unknown layers, the rows x and y that they are fitted to, and rows for a check."""

    unknowns: Unknowns
    x: Doubles
    y: Doubles
    unseen_x: Doubles
    unseen_y: Doubles
    inflation: float
    clock: Clock
    by: EstimationParameters

    @classmethod
    def of(
        cls,
        network: MlpNetwork,
        unknowns: Unknowns,
        records: Records,
        clock: Clock,
        by: EstimationParameters,
        *,
        rough: bool,
    ) -> "_Fitting":
        """Divide independent rows, and find whether they determine the layers."""
        records, outputs = independent_rows(network, records), records.outputs
        width, hidden = network.blocks.width, network.blocks.hidden
        sizes = hidden * (width + 1), width * (hidden + 1)
        size = sum(sizes[unknown.role] for unknown in unknowns)
        held_out = np.arange(len(records)) % by.kept_apart == by.kept_apart - 1
        fit, check = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        determined = len(fit) * outputs >= by.sufficient * size and size <= by.unknowns
        determined &= not rough or by.sufficient * size**3 <= by.products
        plenty = round(max(by.plenty * size, by.products / size**2) / outputs)
        most = plenty if determined else by.equations[rough] // outputs
        fit, check = fit[:most], np.concatenate([check, fit[most:]])
        x, y = records.inputs.astype(np.float64), records.predictions.astype(np.float64)
        inflation = y[fit].size / (y[fit].size - size) if determined else np.inf
        return cls(unknowns, x[fit], y[fit], x[check], y[check], inflation, clock, by)

    @property
    def determined(self) -> bool:
        return self.inflation < np.inf

    def judged(self, network: MlpNetwork) -> _Estimate:
        """A network with its errors; the damping is the variance of what a step cannot explain."""
        error, unseen = network.error(self.x, self.y), np.nan
        if len(self.unseen_x):
            unseen = network.error(self.unseen_x, self.unseen_y)
        return _Estimate(network, error, unseen, error if np.isnan(unseen) else unseen)

    def step(self, fit: _Estimate, least: float, most: float, enough: float) -> _Estimate:
        """A step, damped until it helps, at most so much; what stands where none does."""
        solve, damping = self.solver(fit.network), fit.damping
        while damping <= most:
            self.clock.check()
            after = self.judged(_moved(fit.network, self.unknowns, solve(damping)))
            # With hardly more equations than unknowns, a step may fit these and nothing else.
            if after.error < fit.error and not (self.determined and after.unseen > least):
                return after._replace(damping=damping / self.by.easing)
            if fit.error < enough:
                break
            damping *= self.by.easing
        return fit

    def solver(self, network: MlpNetwork) -> Callable[[float], list[Doubles]]:
        """What solves for the change of each unknown ``[W | b]``, in units of how layers spread."""
        states = network.states(self.x)
        pulled = network.adjoints(states)
        residual = (self.y - network.last(states[-1])).T.reshape(-1)
        spreads = [_spread(network, unknown, self.by.least_damping) for unknown in self.unknowns]
        factors = []
        for unknown, spread in zip(self.unknowns, spreads, strict=True):
            left, right = _factors(network, unknown, states, pulled)
            factors.append((left @ spread, right))
        if self.determined:
            matrix, wanted = self._normal(factors, residual)
        else:
            matrix, wanted = np.zeros((len(residual), len(residual))), residual
            for left, right in factors:
                matrix += (left @ left.T) * (right @ right.T)

        def solve(damping: float) -> list[Doubles]:
            solved = _damped(matrix, wanted, damping, self.by.least_damping)
            changes, done = [], 0
            for (left, right), spread in zip(factors, spreads, strict=True):
                shape = left.shape[1], right.shape[1]
                if self.determined:
                    change = solved[done : done + shape[0] * shape[1]].reshape(shape)
                    done += change.size
                else:
                    change = (left * solved[:, None]).T @ right
                changes.append(spread @ change)
            return changes

        return solve

    def _normal(
        self, factors: list[tuple[Doubles, Doubles]], residual: Doubles
    ) -> tuple[Doubles, Doubles]:
        """The matrix of the normal equations, and their right side."""
        size = sum(left.shape[1] * right.shape[1] for left, right in factors)
        gram, slope = np.zeros((size, size)), np.zeros(size)
        for start in range(0, len(residual), self.by.chunk):
            self.clock.check()
            rows = slice(start, start + self.by.chunk)
            products = (
                np.einsum("na,nb->nab", left[rows], right[rows]).reshape(len(left[rows]), -1)
                for left, right in factors
            )
            jacobian = np.concatenate([*products], axis=1)
            gram += jacobian.T @ jacobian
            slope += jacobian.T @ residual[rows]
        return gram, slope


def _damped(matrix: Doubles, wanted: Doubles, damping: float, least: float) -> Doubles:
    """Solve equations with a larger diagonal."""
    damped = matrix.copy()
    least *= float(np.trace(matrix)) / len(matrix)
    damped.flat[:: len(damped) + 1] += max(damping, least) + np.finfo(float).tiny
    try:
        return solve_positive(damped, wanted).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:  # no step at all: the damping is too small for rounding
        return np.zeros(len(wanted))


def _spread(network: MlpNetwork, unknown: Unknown, least: float) -> Doubles:
    """A square root of the covariance of the columns that the layers of this role have."""
    blocks = network.blocks
    if unknown.role == INP:
        size = float(np.sqrt(mean_square(blocks.inp_weight)))
        return np.eye(blocks.hidden) * max(size, TINY)
    weight = blocks.out_weight
    covariance = np.einsum("bdh,beh->de", weight, weight) / (len(weight) * blocks.hidden)
    covariance.flat[:: len(covariance) + 1] += least * np.trace(covariance) + TINY
    return np.linalg.cholesky(covariance)


def _factors(
    network: MlpNetwork, unknown: Unknown, states: Floats, pulled: Floats
) -> tuple[Doubles, Doubles]:
    """The Jacobian's left and right factor of an unknown ``[W | b]``, equation by equation."""
    blocks, place = network.blocks, unknown.place
    x, g = states[place], pulled[place + 1]
    z = x @ blocks.inp_weight[place].T + blocks.inp_bias[place]
    if unknown.role == OUT:
        left, right = g, blocks.activation.apply(z)
    else:
        left, right = (g @ blocks.out_weight[place]) * blocks.activation.derivative(z), x
    left = left.reshape(-1, left.shape[2])
    return left.astype(np.float64), np.tile(with_ones(right), (len(g), 1))


def _moved(network: MlpNetwork, unknowns: Unknowns, changes: Sequence[Doubles]) -> MlpNetwork:
    blocks = network.blocks
    inp = blocks.inp_weight.copy(), blocks.inp_bias.copy()
    out = blocks.out_weight.copy(), blocks.out_bias.copy()
    for unknown, change in zip(unknowns, changes, strict=True):
        weight, bias = (inp, out)[unknown.role]
        weight[unknown.place] += change[:, :-1]
        bias[unknown.place] += change[:, -1]
    return replace(network, blocks=MlpStack(*inp, *out, blocks.activation))
