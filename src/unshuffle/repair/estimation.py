"""Estimate layers that are missing from an arrangement, by least squares on the record.

With everything else in place, a small change of a layer moves the predictions by an outer product.
Of an out layer ``[W | b]`` at place t it is ``g ⊗ [hidden, 1]``, with g the sensitivities after the
block; of an inp layer it is ``(g W_out ∘ a'(z)) ⊗ [x, 1]``. So the Jacobian of each row is a vector
on the left times a vector on the right, and Gauss-Newton steps with Levenberg-Marquardt damping
(Levenberg 1944, Marquardt 1963) solve for all missing layers at once. With fewer equations than
unknowns the step is solved for in its dual form, whose kernel is an elementwise product of Gram
matrices; the result is then the smallest layer that fits.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Blocks, Linear, Network
from unshuffle.ordering.journal import Errors, Journal, Numbers, bits, from_bits
from unshuffle.pieces.pile import Floats

Doubles = NDArray[np.float64]

ITERATIONS = 25
"""Steps at most."""

LEAST_DAMPING = 1e-13
"""Relative to the mean diagonal of what is solved for."""

MOST_DAMPING = 1e4
"""Relative to the first damping: where nothing helps even so, no step does."""

ROUNDING = 5e-14
"""Mean squared error, relative to that of the predictions, from which down nothing is to be won."""

FEW_ITERATIONS = 6
"""Steps of a rough estimate."""

SUFFICIENT = 1.2
"""Equations for each unknown from which on the rows determine a layer,"""
PLENTY = 2.0
"""and as many as are used: with hardly more than unknowns, steps fit accidents."""

WORK = 1e9
"""Multiplications that are always spent on the normal equations, so that few unknowns get many
equations; a rough estimate spends no more."""

MOST_EQUATIONS = 3000
"""Equations of the dual form,"""
FEW_EQUATIONS = 1200
"""and of a rough estimate."""

MOST_UNKNOWNS = 5000
"""Unknowns of the normal equations."""

TINY = 1e-30

CHUNK = 512
"""Rows whose Jacobian is laid out at once."""

SLOW = 1e-3
"""A step that lowers the error on unseen rows by a smaller part than this is no progress,"""
PATIENCE = 4
"""and so many of them in a row are the last."""


@dataclass(frozen=True)
class Unknown:
    """A layer that is missing from an arrangement.

    Parameters
    ----------
    place
        Of its block, counted from 0.
    role
        "inp" or "out".
    """

    place: int
    role: str


@dataclass(frozen=True, eq=False)
class Estimate:
    """A network with estimated layers.

    Parameters
    ----------
    network
        In float64.
    fitted
        Mean squared error on the rows that the layers were fitted to.
    unseen
        The same on rows that they were not fitted to; NaN where there were none.
    inflation
        What n / (n - p) is for p unknowns and n equations: rounding errors of the predictions,
        which the fit takes up, make the expected squared error on unseen rows so many times as
        large as rounding alone does (least squares with Gaussian inputs); infinite where the
        layers are not determined.
    """

    network: Network
    fitted: float
    unseen: float
    inflation: float

    @property
    def determined(self) -> bool:
        """Whether there were more equations than unknowns."""
        return bool(np.isfinite(self.inflation))


def unknowns_in(network: Network, unknowns: Sequence[Unknown]) -> int:
    """How many numbers the missing layers have."""
    width, hidden = network.blocks.width, network.blocks.hidden
    sizes = {"inp": hidden * (width + 1), "out": width * (hidden + 1)}
    return sum(sizes[unknown.role] for unknown in unknowns)


def estimate_layers(
    network: Network,
    unknowns: Sequence[Unknown],
    inputs: Floats,
    predictions: Floats,
    journal: Journal,
    *,
    thorough: bool = True,
) -> Generator[None, None, Estimate]:
    """Fit missing layers of a network to rows, from what stands in their places.

    It yields about once a second of work, so that it can be left.

    Parameters
    ----------
    network
        The arrangement, with a first guess in the places of the missing layers; the closer the
        guess for an inp layer, the better. The guess for an out layer may be 0.
    unknowns
        The missing layers.
    inputs, predictions
        Shapes (rows, width) and (rows, outputs). Every tenth row is kept apart for a check, and
        more where there are more rows than it takes.
    journal
        Keeps what each step comes to.
    thorough
        Whether as many rows and steps are taken as it takes, or few for a rough estimate.
    """
    network = network.astype(np.float64)
    inputs, predictions = inputs.astype(np.float64), predictions.astype(np.float64)
    size, outputs = unknowns_in(network, unknowns), predictions.shape[1]
    held_out = np.arange(len(inputs)) % 10 == 9
    fit, check = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    most = round(max(PLENTY * size, WORK / size**2) / outputs)
    determined = len(fit) * outputs >= SUFFICIENT * size and size <= MOST_UNKNOWNS
    if not thorough and SUFFICIENT * size**3 > WORK:
        determined = False
    if not determined:
        most = (MOST_EQUATIONS if thorough else FEW_EQUATIONS) // outputs
    fit, check = fit[:most], np.concatenate([check, fit[most:]])
    x, y = inputs[fit], predictions[fit]

    def unseen_error(network: Network) -> float:
        return _error(network, inputs[check], predictions[check]) if len(check) else np.nan

    error, unseen = _error(network, x, y), unseen_error(network)
    # In units of the layers' spread, the damping is the variance of what a step cannot explain.
    damping = error if np.isnan(unseen) else unseen
    most, enough = MOST_DAMPING * damping, ROUNDING * float(np.mean(np.square(y)))

    def better(fit: _Fit, least: float) -> Generator[None, None, _Fit]:
        """A step, damped until it helps; what stands where none does."""
        step = yield from _Step.at(fit.network, unknowns, x, y, primal=determined)
        damping = fit.damping
        while damping <= most:
            candidate = _moved(fit.network, unknowns, step.solve(damping))
            after, unseen = _error(candidate, x, y), unseen_error(candidate)
            yield
            # With hardly more equations than unknowns, a step may fit these and nothing else.
            if after < fit.error and not (determined and unseen > least):
                return _Fit(candidate, after, unseen, damping / 10)
            if fit.error < enough:
                break
            damping *= 10
        return fit

    at = best = _Fit(network, error, unseen, damping)
    worse = 0
    for _ in range(ITERATIONS if thorough else FEW_ITERATIONS):
        if journal.recalling:
            after = journal.recalled(partial(_unpack, at, unknowns))
        else:
            after = yield from better(at, best.unseen)
            journal.keep(*_pack(at, after, unknowns))
        if after is at:
            break
        at = after
        # What no longer helps rows that the layers were not fitted to fits accidents.
        if not at.unseen >= (1 - SLOW) * best.unseen:
            best, worse = at, 0
        else:
            worse += 1
        if worse == PATIENCE or not max(at.error, best.unseen) >= enough:
            break
    inflation = y.size / (y.size - size) if determined else np.inf
    return Estimate(best.network, best.error, best.unseen, inflation)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Layers on their way: the network with them, its errors, and the damping of the next step."""

    network: Network
    error: float
    unseen: float
    damping: float


def _pack(before: _Fit, after: _Fit, unknowns: Sequence[Unknown]) -> tuple[Numbers, list[float]]:
    """The layers, none where no step helped, and the numbers beside them."""
    if after is before:
        return np.empty(0, np.int32), []
    errors = [after.error, after.damping, *([] if np.isnan(after.unseen) else [after.unseen])]
    matrices = _matrices(after.network, unknowns)
    return bits(np.concatenate([matrix.reshape(-1) for matrix in matrices])), errors


def _unpack(before: _Fit, unknowns: Sequence[Unknown], numbers: Numbers, errors: Errors) -> _Fit:
    if not len(numbers):
        return before
    if len(errors) != (2 if np.isnan(before.unseen) else 3):
        raise ValueError("it has another number of errors")
    error, damping, unseen = [*errors.tolist(), np.nan][:3]
    return _Fit(_recalled(before.network, unknowns, numbers), error, unseen, damping)


def _recalled(network: Network, unknowns: Sequence[Unknown], numbers: Numbers) -> Network:
    """The network with unknown layers as a journal holds them."""
    like = _matrices(network, unknowns)
    values = from_bits(numbers, np.concatenate([matrix.reshape(-1) for matrix in like]))
    parts = np.split(values, np.cumsum([matrix.size for matrix in like])[:-1])
    matrices = [part.reshape(each.shape) for part, each in zip(parts, like, strict=True)]
    return _with_matrices(network, unknowns, matrices)


def fit_all_rows(
    network: Network,
    unknowns: Sequence[Unknown],
    inputs: Floats,
    predictions: Floats,
    journal: Journal,
) -> Generator[None, None, Network]:
    """Take one more step, to least squares on all rows, from an estimate that is right to rounding.

    With hardly more equations than unknowns, what rounded the predictions is carried over to rows
    that the layers were not fitted to and is larger there (the variance of a prediction is
    1 + leverage times that of the noise; Seber & Lee, Linear Regression Analysis, 2003,
    section 5.3). Fitted rows err by less than they were rounded by, as a right network does.

    Parameters
    ----------
    network
        The estimate, in float64.
    unknowns, inputs, predictions, journal
        As for `estimate_layers`.
    """
    if journal.recalling:
        return journal.recalled(
            lambda numbers, _: _recalled(network, unknowns, numbers) if len(numbers) else network
        )
    inputs, predictions = inputs.astype(np.float64), predictions.astype(np.float64)
    step = yield from _Step.at(network, unknowns, inputs, predictions, primal=True)
    error = _error(network, inputs, predictions)
    moved = _moved(network, unknowns, step.solve(error))
    kept = _error(moved, inputs, predictions) < error
    numbers = [bits(matrix) for matrix in _matrices(moved, unknowns)] if kept else []
    journal.keep(np.concatenate([np.empty(0, np.int32), *numbers]), [])
    return moved if kept else network


def estimate_last(states: Floats, predictions: Floats) -> Linear:
    """The last layer that reads predictions (rows, outputs) off states (rows, width) best."""
    solution = np.linalg.lstsq(with_ones(states), predictions.astype(np.float64), rcond=None)[0].T
    return Linear(np.ascontiguousarray(solution[:, :-1]), np.ascontiguousarray(solution[:, -1]))


def with_ones(x: Floats) -> Doubles:
    """Rows with a 1 behind each, for a weight matrix with its bias behind it."""
    return np.concatenate([x, np.ones((len(x), 1))], axis=1, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _Step:
    """The least-squares problem of one step: `factors` by unknown, left and right, by equation.

    What is solved for is each change in units of how the layers at hand spread, `spreads`.
    """

    factors: list[tuple[Doubles, Doubles]]
    spreads: list[Doubles]
    residual: Doubles
    matrix: Doubles
    slope: Doubles | None

    @classmethod
    def at(
        cls,
        network: Network,
        unknowns: Sequence[Unknown],
        x: Floats,
        y: Floats,
        *,
        primal: bool,
    ) -> Generator[None, None, "_Step"]:
        from scipy.linalg.blas import dsyrk

        spreads = [_spread(network, unknown) for unknown in unknowns]
        factors, residual = _linearized(network, unknowns, spreads, x, y)
        if not primal:
            kernel = np.zeros((len(residual), len(residual)))
            for left, right in factors:
                kernel += (left @ left.T) * (right @ right.T)
            return cls(factors, spreads, residual, kernel, None)
        size = sum(left.shape[1] * right.shape[1] for left, right in factors)
        gram, slope = np.zeros((size, size), order="F"), np.zeros(size)
        for start in range(0, len(residual), CHUNK):
            rows = slice(start, start + CHUNK)
            jacobian = np.concatenate(
                [
                    np.einsum("na,nb->nab", left[rows], right[rows]).reshape(len(left[rows]), -1)
                    for left, right in factors
                ],
                axis=1,
            )
            gram = dsyrk(1.0, jacobian.T, 1.0, gram, overwrite_c=True)  # the upper triangle
            slope += jacobian.T @ residual[rows]
            yield
        return cls(factors, spreads, residual, gram, slope)

    def solve(self, damping: float) -> list[Doubles]:
        """The change of each unknown matrix ``[W | b]``."""
        from scipy.linalg import LinAlgError, cho_factor, cho_solve

        damped = self.matrix.copy(order="K")
        least = LEAST_DAMPING * float(np.trace(self.matrix)) / len(self.matrix)
        damped.flat[:: len(damped) + 1] += max(damping, least) + np.finfo(float).tiny
        wanted = self.residual if self.slope is None else self.slope
        try:
            solved = cho_solve(cho_factor(damped, overwrite_a=True, check_finite=False), wanted)
        except LinAlgError:  # no step at all: the damping is too small for rounding
            solved = np.zeros(len(wanted))
        changes = []
        done = 0
        for (left, right), spread in zip(self.factors, self.spreads, strict=True):
            if self.slope is None:
                change = (left * solved[:, None]).T @ right
            else:
                shape = left.shape[1], right.shape[1]
                change = solved[done : done + shape[0] * shape[1]].reshape(shape)
                done += shape[0] * shape[1]
            changes.append(spread @ change)
        return changes


def _linearized(
    network: Network,
    unknowns: Sequence[Unknown],
    spreads: Sequence[Doubles],
    x: Floats,
    y: Floats,
) -> tuple[list[tuple[Doubles, Doubles]], Doubles]:
    """The Jacobian's factors for each unknown, and the residual, equation by equation."""
    states = [*network.states(x)]
    pulled = network.sensitivities(states)
    residual = (y - network.last(states[-1])).T.reshape(-1)
    factors = (_factors(network, unknown, states, pulled) for unknown in unknowns)
    scaled = [
        (left @ spread, right) for (left, right), spread in zip(factors, spreads, strict=True)
    ]
    return scaled, residual


def _spread(network: Network, unknown: Unknown) -> Doubles:
    """A square root of the covariance of the columns that the layers of this role have."""
    blocks = network.blocks
    weight = blocks.out_weight if unknown.role == "out" else blocks.inp_weight
    if unknown.role == "inp":
        return np.eye(blocks.hidden) * max(float(np.sqrt(np.mean(np.square(weight)))), TINY)
    covariance = np.einsum("bdh,beh->de", weight, weight) / (len(weight) * blocks.hidden)
    covariance.flat[:: len(covariance) + 1] += LEAST_DAMPING * np.trace(covariance) + TINY
    return np.linalg.cholesky(covariance)


def _factors(
    network: Network, unknown: Unknown, states: list[Floats], pulled: list[Floats]
) -> tuple[Doubles, Doubles]:
    """The Jacobian's left and right factor of an unknown ``[W | b]``, equation by equation."""
    blocks, place = network.blocks, unknown.place
    x, g = states[place], pulled[place + 1]
    z = x @ blocks.inp_weight[place].T + blocks.inp_bias[place]
    if unknown.role == "out":
        left, right = g, blocks.activation.apply(z)
    else:
        left, right = (g @ blocks.out_weight[place]) * blocks.activation.derivative(z), x
    left = left.reshape(-1, left.shape[2])
    return left.astype(np.float64), np.tile(with_ones(right), (len(g), 1))


def _moved(network: Network, unknowns: Sequence[Unknown], changes: Sequence[Doubles]) -> Network:
    """The network with its unknown layers changed."""
    layers = _matrices(network, unknowns)
    moved = [layer + change for layer, change in zip(layers, changes, strict=True)]
    return _with_matrices(network, unknowns, moved)


def _matrices(network: Network, unknowns: Sequence[Unknown]) -> list[Doubles]:
    """Each unknown layer as ``[W | b]``."""
    parts = {"inp": network.blocks.inp, "out": network.blocks.out}
    layers = [[part[each.place] for part in parts[each.role]] for each in unknowns]
    return [np.column_stack(layer).astype(np.float64) for layer in layers]


def _with_matrices(
    network: Network, unknowns: Sequence[Unknown], matrices: Sequence[Doubles]
) -> Network:
    """The network with its unknown layers replaced."""
    blocks = network.blocks
    arrays = {
        "inp": (blocks.inp_weight.copy(), blocks.inp_bias.copy()),
        "out": (blocks.out_weight.copy(), blocks.out_bias.copy()),
    }
    for unknown, matrix in zip(unknowns, matrices, strict=True):
        weight, bias = arrays[unknown.role]
        weight[unknown.place] = matrix[:, :-1]
        bias[unknown.place] = matrix[:, -1]
    moved = Blocks(*arrays["inp"], *arrays["out"], blocks.activation)
    return replace(network, blocks=moved)


def _error(network: Network, x: Floats, y: Floats) -> float:
    """Mean squared error; infinite where a state overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(np.mean(np.square(network.predict(x) - y)))
    return error if np.isfinite(error) else np.inf
