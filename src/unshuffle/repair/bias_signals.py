"""Which bias belongs to which weight, by the numbers alone.

Training moves the bias of a hidden unit along with its weights, so it is a little predictable from
them: from the norms on the unit's two sides, from what it reads on average, from what it writes for
the last layer. How, differs from run to run. So the regression is learned from the pile itself,
although nobody knows which bias goes with which weight: match by the regression so far, regress
anew, repeat (self-training, Scudder 1965; for shuffled labels Pananjady, Wainwright & Courtade
2018, arXiv:1608.02902). It is started from every feature in both directions, and the start that
explains most wins: only a right one finds more than chance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.grouping.matching import optimal_matching
from unshuffle.grouping.signals import Scores
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats

TINY = 1e-12


@dataclass(frozen=True)
class BiasSignalParameters:
    """Numbers that steer the self-training."""

    ridge: float = 0.01
    """Of the regression, relative to the variance of a feature."""
    start: float = 0.1
    """Coefficient of the one feature that a regression starts from."""
    rounds: int = 30
    """Rounds of matching and regression in turn, at most."""


STANDARD = BiasSignalParameters()


def unit_features(network: MlpNetwork, inputs: Floats) -> NDArray[np.float64]:
    """What may tell the bias of a hidden unit, in a network whose inp biases are not known.

    Returns
    -------
    NDArray
        Shape (blocks, hidden, features), each feature centred and of unit variance over the hidden
        units of a block: norms of what the unit reads and writes with, the mean and spread of its
        pre-activation, the alignment of its two sides, and sums.
    """
    inp = network.blocks.inp_weight.astype(np.float64)
    out = network.blocks.out_weight.astype(np.float64)
    x, last = inputs.astype(np.float64), network.last.weight
    mean, covariance = x.mean(axis=0), np.cov(x.T).reshape(x.shape[1], x.shape[1])
    direction, importance = last.sum(axis=0), np.linalg.norm(last, axis=0)
    aligned = np.einsum("khd,kdh->kh", inp, out)
    reads, writes = np.linalg.norm(inp, axis=2), np.linalg.norm(out, axis=1)
    spread = np.sqrt(np.maximum(np.einsum("khd,de,khe->kh", inp, covariance, inp), 0))
    features = (
        reads,
        writes,
        inp @ mean,
        spread,
        inp @ mean / np.maximum(spread, TINY),
        aligned,
        aligned / np.maximum(reads * writes, TINY),
        inp.sum(axis=2),
        out.sum(axis=1),
        np.einsum("d,kdh->kh", direction, out),
        np.einsum("d,kdh->kh", importance, np.abs(out)),
        inp @ direction,
        np.einsum("khd,kd->kh", inp, out.sum(axis=2)),
    )
    return np.stack([_standardised(feature) for feature in features], axis=2)


def bias_log_odds(
    features: NDArray[np.float64], biases: Floats, clock: Clock, by: BiasSignalParameters = STANDARD
) -> Scores:
    """Log-odds, up to a constant, that biases belong to weights with the given features.

    Parameters
    ----------
    features
        Shape (weights, units, features), standardised over the units.
    biases
        Shape (biases, units), as many biases as weights or more.
    clock, by
        Ends it with the starts that there was time for, and what steers it.

    Returns
    -------
    Scores
        Shape (weights, biases).
    """
    values = _standardised(biases.astype(np.float64))
    gram = np.einsum("kuf,kug->fg", features, features)
    gram += by.ridge * features.shape[0] * features.shape[1] * np.eye(len(gram))
    best, explained = np.zeros((len(features), len(values))), 0.0
    for start in np.concatenate([np.eye(len(gram)), -np.eye(len(gram))]) * by.start:
        if clock.out:
            break
        coefficients, matched = start, None
        for _ in range(by.rounds):
            scores = _likelihoods(features @ coefficients, values)
            pairs = optimal_matching(scores)
            if matched is not None and np.array_equal(pairs, matched):
                break
            matched = pairs
            found = np.einsum("kuf,ku->f", features[pairs[:, 0]], values[pairs[:, 1]])
            coefficients = np.linalg.solve(gram, found)
        expected = features @ coefficients
        agreement = float(np.mean(expected[pairs[:, 0]] * values[pairs[:, 1]]))
        if agreement > explained:
            best, explained = _likelihoods(expected, values), agreement
    return best / max(1 - explained, TINY)


def _likelihoods(expected: NDArray[np.float64], values: NDArray[np.float64]) -> Scores:
    """Gaussian log-likelihoods, but for a constant, of values around what is expected."""
    scores: Scores = expected @ values.T - np.square(expected).sum(axis=1)[:, None] / 2
    return scores


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre and scale the last axis."""
    centred = values - values.mean(axis=-1, keepdims=True)
    scaled: NDArray[np.float64] = centred / np.maximum(centred.std(axis=-1, keepdims=True), TINY)
    return scaled
