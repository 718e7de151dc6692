"""Whether the residual of a record is noise, or a sign that the network is wrong.

A wrong arrangement errs by a function of the input. So rows that are alike err alike. Noise does
not. The kernel score test (Liu, Lin & Ghosh 2007) asks whether rows with like states have residuals
of one sign. Its spread under noise is that of independent random signs. A wrong activation changes
all blocks alike. So it is asked, too, whether the residual is what another activation would change.

Finding no pattern says nothing where the test could not find one. So the same test is put to
misfits of the same size on the same rows, made by wrong arrangements of the network. Noise is
believed only where it finds all of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpStack
from unshuffle.blocks.network import Network, mean_square, mean_squares
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.activation import bent
from unshuffle.proof.effort import EFFORT, Effort

LEAST: Final = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class NoiseParameters:
    """Numbers that decide what is noise, and what follows from the inputs.

    Parameters
    ----------
    depths
        States that rows are compared by, spread over the depth, inputs and end included.
    each
        Rows that the regression on the states is fitted to, for each of its features at least. Of
        wider states it sees projections.
    ridge
        Of the regression on the states, relative to their mean square.
    foretold
        Standard deviations of a chance correlation of that regression.
    significant
        Standard deviations of a chance agreement of rows, from which on there is a pattern.
    clearer
        Times the score of the residual, by which a misfit has to show more than it does.
    largest_share
        Part of a column's variance: what leaves more is no reconstruction at all.
    largest_peak
        Root mean squares: a few rows that err by more are damage, not noise.
    misfits
        Wrong arrangements, those with misfits closest in size, that the test has to find …
    drawn
        … of so many that are drawn.
    exchanges
        Exchanges of neighbours in one of them, in turn; single ones are rivals, weighed apart.
    fitted
        Predictions for each block, below which a search fits misfits away.
    kernel_ridges
        Of a kernel regression, over the kernel's diagonal, from the least to the largest.
    """

    depths: int = 5
    each: int = 2
    ridge: float = 1e-3
    foretold: float = 4.0
    significant: float = 5.0
    clearer: float = 2.0
    largest_share: float = 0.1
    largest_peak: float = 8.0
    misfits: int = 6
    drawn: int = 12
    exchanges: tuple[int, ...] = (4, 8, 16, 32)
    fitted: int = 48
    kernel_ridges: tuple[float, ...] = (1e-3, 1e-2, 1e-1)


STANDARD = NoiseParameters()


def standard_score(terms: Floats) -> float:
    """A sum of independent terms that are 0 on average, in its standard deviations."""
    with np.errstate(over="ignore"):
        return float(terms.sum() / (np.sqrt(np.square(terms).sum()) + LEAST))


@dataclass(frozen=True)
class Pattern:
    """What of a residual is a function of the states.

    Parameters
    ----------
    share
        Share of the mean square on unseen rows that the regression explains: from 0 to 1.
    features
        Number of features of the states.
    significant
        Whether the regression explains more than chance would.
    """

    share: float
    features: int
    significant: bool


def find_pattern(
    network: Network, known: Records, by: NoiseParameters = STANDARD, effort: Effort = EFFORT
) -> Pattern:
    """Regress the residual of a network, on rows that all have predictions, on its states."""
    some = known.thinned(effort.regressed)
    most = max(1, (len(some) + 1) // 2 // by.each // by.depths)
    return _regress(*_states_and_residual(network, some, most, by), by)


def _states_and_residual(
    network: Network, known: Records, most: int, by: NoiseParameters
) -> tuple[list[Floats], Floats]:
    """States at some depths, each of shape (rows, width), and what they leave unexplained.

    Of wide states there are as many projections as `most` says.
    """
    depths = np.linspace(0, len(network.blocks), by.depths).round().astype(int)
    with np.errstate(over="ignore", invalid="ignore"):
        states = [x for depth, x in enumerate(network.states(known.inputs)) if depth in depths]
        residual: Floats = known.predictions - network.ends.leave(states[-1]).astype(np.float64)
    width = states[0].shape[1]
    if width > most:  # what projections show is a function of the states as well
        probes = np.random.default_rng(0).normal(size=(width, most)) / np.sqrt(width)
        states = [state @ probes.astype(state.dtype) for state in states]
    return states, residual


def _regress(states: list[Floats], residual: Floats, by: NoiseParameters) -> Pattern:
    features = np.concatenate([*states, np.ones((len(residual), 1))], axis=1).astype(np.float64)
    features /= np.sqrt(mean_squares(features)) + LEAST
    fit, check = slice(0, None, 2), slice(1, None, 2)
    gram = features[fit].T @ features[fit]
    np.fill_diagonal(gram, gram.diagonal() * (1 + by.ridge))
    coefficients = np.linalg.lstsq(gram, features[fit].T @ residual[fit], rcond=None)[0]
    expected = features[check] @ coefficients
    found = residual[check]
    agreements = expected * found
    explained = 2 * float(np.sum(agreements)) - float(np.sum(np.square(expected)))
    total = max(float(np.sum(np.square(found))), LEAST)
    return Pattern(
        share=float(np.clip(explained / total, 0.0, 1.0)),
        features=features.shape[1],
        significant=standard_score(agreements) > by.foretold,
    )


def looks_like_noise(
    network: Network,
    known: Records,
    clock: Clock | None = None,
    by: NoiseParameters = STANDARD,
    effort: Effort = EFFORT,
) -> bool | None:
    """Whether the residual of a network on rows that all have predictions is noise.

    It is False where the residual is large or has a pattern. It is None where it has none, and
    these rows would not show one of a wrong arrangement either. Many blocks take long: without time
    on the clock an `OutOfTimeError` is raised.
    """
    clock = clock or Clock()
    clock.check()
    some = known.thinned(effort.tested)
    states, residual = _states_and_residual(network, some, effort.width, by)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(residual)
    means = squares.mean(axis=0)
    if not np.isfinite(squares).all() or (means > by.largest_share * known.variances).any():
        return False
    if (squares.max(axis=0) > by.largest_peak**2 * means).any():
        return False
    kernels = _kernels(states)
    score = _score(kernels, residual)
    if score > by.significant or _tells_of_activation(network, some, residual, by):
        return False
    first = network.ends.enter(some.inputs)  # the states may be projections
    misfits = _misfits(network, first, np.sqrt(means), clock, by)
    if known.predictions.size < by.fitted * len(network.blocks):
        basis = _exchanges(network, first, clock)
        misfits = [_without(misfit, basis) for misfit in misfits]
    return tells(score, [_score(kernels, misfit) for misfit in misfits], by) or None


def _tells_of_activation(
    network: Network, some: Records, residual: Floats, by: NoiseParameters
) -> bool:
    """Whether what another activation would change foretells the residual.

    Its coefficients are fitted to each half of the rows, for the other half.
    """
    blocks = network.blocks
    if not isinstance(blocks, MlpStack):
        return False
    squares = mean_squares(residual)
    scale = np.sqrt(np.where(squares > 0, squares, 1.0))
    found = (residual - residual.mean(axis=0)) / scale
    with np.errstate(over="ignore", invalid="ignore"):
        changes = bent(network, blocks, some.inputs)
        features = (changes - changes.mean(axis=0)) / scale[:, None]
        features /= np.sqrt(mean_squares(features, axis=(0, 1))) + LEAST
    features = features[..., np.isfinite(features).all(axis=(0, 1))]
    agreements, even, odd = np.zeros(len(found)), slice(0, None, 2), slice(1, None, 2)
    for fit, check in ((even, odd), (odd, even)):
        gram = np.einsum("noi,noj->ij", features[fit], features[fit])
        np.fill_diagonal(gram, gram.diagonal() * (1 + by.ridge))
        moments = np.einsum("noi,no->i", features[fit], found[fit])
        expected = features[check] @ np.linalg.lstsq(gram, moments, rcond=None)[0]
        agreements[check] = (expected * found[check]).sum(axis=1)
    return standard_score(agreements) > by.significant


def _kernels(states: list[Floats]) -> list[NDArray[np.float64]]:
    """How alike the rows are, by their states: a linear and a Gaussian kernel, centred."""
    features = np.concatenate(states, axis=1).astype(np.float64)
    features -= features.mean(axis=0)
    features /= np.sqrt(mean_squares(features) * features.shape[1]) + LEAST
    linear = features @ features.T
    squares = linear.diagonal()
    apart = np.maximum(squares[:, None] + squares - 2 * linear, 0.0)
    return [_centred(linear), _centred(np.exp(-apart / max(float(np.median(apart)), LEAST)))]


def _centred(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """A kernel of centred features, without what each row has in common with itself."""
    centred: NDArray[np.float64] = kernel - kernel.mean(axis=0)
    centred -= centred.mean(axis=1, keepdims=True)
    np.fill_diagonal(centred, 0.0)
    return centred


def _score(kernels: list[NDArray[np.float64]], residual: Floats) -> float:
    """How far rows that are alike have residuals alike, in standard deviations of chance.

    Of all columns and kernels it is the highest.
    """
    centred, scores = residual - residual.mean(axis=0), [0.0]
    for kernel in kernels:
        agreement = np.einsum("no,no->o", centred, kernel @ centred)
        squares = np.square(centred)
        chance = 2 * np.einsum("no,no->o", squares, np.square(kernel) @ squares)
        scores += (agreement / np.sqrt(np.maximum(chance, LEAST))).tolist()
    return max(scores)


def tells(residual: float, misfits: Sequence[float], by: NoiseParameters = STANDARD) -> bool:
    """Whether the scores of misfits, all of them, show what that of a residual does not."""
    least = max(by.significant, by.clearer * residual)
    return bool(misfits) and min(misfits) > least


def _misfits(
    network: Network,
    first: Floats,
    sizes: NDArray[np.float64],
    clock: Clock,
    by: NoiseParameters,
) -> list[NDArray[np.float64]]:
    """What wrong arrangements change in the predictions, of all drawn those closest in size.

    Some blocks are exchanged with their neighbours, or one is left out where there is but one.
    """
    rng = np.random.default_rng(0)
    length, free = len(network.blocks), _exchangeable(network)
    spare = (
        sorted({*free, *(at + 1 for at in free)}) if network.blocks.kind.variants else range(length)
    )
    right = _in_order(network, first, range(length))
    misfits, distances = [], []
    for draw in range(by.drawn if spare else 0):
        clock.check()
        order = list(range(length))
        exchanges = by.exchanges[draw % len(by.exchanges)] if free else 0
        for _ in range(exchanges):
            at = free[int(rng.integers(len(free)))]
            order[at : at + 2] = order[at + 1], order[at]
        if order == sorted(order):
            del order[spare[int(rng.integers(len(spare)))]]
        misfit = _in_order(network, first, order) - right
        size = np.sqrt(mean_squares(misfit))
        if np.isfinite(size).all() and (size > 0).all():
            misfits.append(misfit)
            distances.append(float(np.abs(np.log(size / np.maximum(sizes, LEAST))).mean()))
    closest = np.argsort(distances, kind="stable")[: by.misfits]
    return [misfits[k] for k in closest]


def _exchanges(network: Network, first: Floats, clock: Clock) -> NDArray[np.float64]:
    """What each exchange of neighbours changes in the predictions, as orthonormal columns."""
    length, state, free = len(network.blocks), first, _exchangeable(network)
    right, changes = _in_order(network, first, range(length)), []
    for at in range(length - 1):
        clock.check()
        if at in free:
            after = _in_order(network, state, [at + 1, at, *range(at + 2, length)])
            change = (after - right).reshape(-1)
            changes.append(change if np.isfinite(change).all() else np.zeros_like(change))
        with np.errstate(over="ignore", invalid="ignore"):
            state = network.blocks.apply(at, state)
    basis, _ = np.linalg.qr(np.stack(changes, axis=1)) if changes else (np.empty((0, 0)), None)
    return basis


def _exchangeable(network: Network) -> list[int]:
    """Places whose block can be exchanged with the next one: both have the same roles."""
    roles = network.blocks.kind.variants
    return [at for at in range(len(network.blocks) - 1) if not roles or roles[at] == roles[at + 1]]


def _without(misfit: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """What no combination of the basis explains, as a search leaves it behind."""
    if not basis.size:
        return misfit
    flat = misfit.reshape(-1)
    return (flat - basis @ (basis.T @ flat)).reshape(misfit.shape)


def _in_order(network: Network, first: Floats, order: Sequence[int]) -> NDArray[np.float64]:
    """Predictions of some of the blocks in another order, from the first state on."""
    with np.errstate(over="ignore", invalid="ignore"):
        return network.ends.leave(network.pass_through(first, order)).astype(np.float64)


def foretold(
    inputs: Floats,
    predictions: Floats,
    by: NoiseParameters = STANDARD,
    effort: Effort = EFFORT,
) -> float:
    """How clearly predictions follow from inputs: about normal with variance 1 where they do not.

    It tells how well a kernel regression agrees with rows that it has not seen, in standard
    deviations of chance. Ranks stand for predictions, of which a few large ones would hide all
    others. Shapes are (rows, width) and (rows, outputs).
    """
    ranks = [np.unique(each, return_inverse=True)[1] for each in predictions.T]
    ranked = np.column_stack(ranks).astype(np.float64)
    expected, found = _kernel_regression(inputs, ranked, by.kernel_ridges[-1], effort)
    return standard_score((expected * found).sum(axis=1))


def noise_at_most(
    inputs: Floats,
    predictions: Floats,
    by: NoiseParameters = STANDARD,
    effort: Effort = EFFORT,
) -> float:
    """Share of the predictions' variance that can be noise: what a kernel regression leaves.

    Shapes are those of `foretold`. Of a few ridges the best counts.
    """
    left = []
    for ridge in by.kernel_ridges:
        expected, found = _kernel_regression(inputs, predictions, ridge, effort)
        left.append(mean_square(expected - found) / mean_square(found))
    return min(left)


def _kernel_regression(
    inputs: Floats, predictions: Floats, ridge: float, effort: Effort
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What every second row foretells of the others, and what these are, both standardised.

    Kernel ridge regression (Saunders, Gammerman & Vovk 1998), with a Gaussian kernel as wide as the
    median distance.
    """
    chosen = np.arange(0, len(inputs), -(-len(inputs) // effort.kernel))
    x, y = inputs[chosen].astype(np.float64), predictions[chosen].astype(np.float64)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + LEAST)
    y = (y - y.mean(axis=0)) / (y.std(axis=0) + LEAST)
    fit, check = slice(0, None, 2), slice(1, None, 2)
    squares = np.square(x).sum(axis=1)
    apart = np.maximum(squares[:, None] + squares[fit] - 2 * x @ x[fit].T, 0.0)
    kernel = np.exp(-apart / max(float(np.median(apart)), LEAST))
    damped = kernel[fit] + ridge * np.eye(len(x[fit]))
    expected: NDArray[np.float64] = kernel[check] @ np.linalg.solve(damped, y[fit])
    return expected, y[check]
