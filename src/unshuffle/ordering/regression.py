"""Regression on many effects at once, with the ridge that the residual itself makes likeliest."""

from dataclasses import dataclass

import numpy as np

from unshuffle.ordering.judge import Doubles
from unshuffle.pieces.pile import Floats


@dataclass(frozen=True)
class RidgeParameters:
    """Numbers that steer a regression.

    Parameters
    ----------
    least, most
        Lowest and highest ridge, over the mean square of the effects in an equation.
    steps
        Ridges that are compared, evenly spaced in their logarithms.
    """

    least: float = 1e-4
    most: float = 1e3
    steps: int = 36

    @property
    def ridges(self) -> Doubles:
        """All ridges that are compared."""
        ridges: Doubles = np.geomspace(self.least, self.most, self.steps)
        return ridges


@dataclass(frozen=True, eq=False)
class Regression:
    """What a regression on P effects comes to."""

    coefficients: Doubles  # shape (P,): the posterior mean
    resolution: Doubles  # shape (P,): how much of each the equations tell, from 0 to 1
    ridge: float  # that was chosen


def fit(effects: Floats, wanted: Floats, by: RidgeParameters) -> Regression:
    """Explain what is wanted, shape (E,), by a sum of effects, shape (E, P).

    Coefficients have a Gaussian prior of mean 0 and equal spreads. Ridge regression gives the
    posterior mean. The marginal likelihood at its best overall scale chooses the ridge (MacKay
    1992). The smaller of the two Gram matrices is decomposed once for all ridges.
    """
    equations, count = effects.shape
    dual = equations <= count
    gram = (effects @ effects.T if dual else effects.T @ effects).astype(np.float64)
    unit = float(np.trace(gram)) / equations
    if not (unit > 0 and np.isfinite(gram).all()):  # nothing, or what overflows
        return Regression(np.zeros(count), np.zeros(count), by.most)
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)
    seen: Doubles = vectors.T @ (wanted if dual else effects.T @ wanted).astype(np.float64)
    # What of the wanted lies along each eigenvector of the E × E matrix of effects.
    along: Doubles = seen if dual else seen / np.sqrt(np.maximum(values, values[-1] * 1e-12))
    total = float(np.square(wanted, dtype=np.float64).sum())
    ridges = unit * by.ridges
    scores = [_log_likelihood(values, along, total, equations, ridge) for ridge in ridges]
    ridge = float(ridges[int(np.argmax(scores))])
    shrunk = vectors / (values + ridge)
    if dual:
        turned = effects.T.astype(np.float64) @ vectors
        return Regression(
            turned @ (along / (values + ridge)), np.square(turned) @ (1 / (values + ridge)), ridge
        )
    resolution = np.einsum("pk,k,pk->p", shrunk, values, vectors)
    return Regression(shrunk @ seen, resolution, ridge)


def _log_likelihood(
    values: Doubles, along: Doubles, total: float, equations: int, ridge: float
) -> float:
    """Marginal log-likelihood, up to a constant, of Gaussian effects and noise with this ratio."""
    beside = max(total - float(np.square(along).sum()), 0.0)  # what no effect reaches
    squares = float((np.square(along) / (values + ridge)).sum()) + beside / ridge
    log_determinant = float(np.log1p(values / ridge).sum()) + equations * np.log(ridge)
    squares = max(squares, float(np.finfo(float).tiny))
    return float(-equations / 2 * np.log(squares) - log_determinant / 2)
