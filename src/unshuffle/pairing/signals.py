"""Pairing signals: how strongly two layers look like the halves of one block.

A signal maps candidate layers to a matrix of scores, shape (I, J): the higher entry (i, j), the
likelier that inp layer i and out layer j belong together. Signals see weights only. Each names its
source and says what it sees; all pairs are scored at once by matrix products.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import UsageError
from unshuffle.pairing.layers import Layers
from unshuffle.pile import Floats

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Signal:
    """A named way to score pairs.

    Parameters
    ----------
    name
        What the command line calls it.
    score
        Maps layers to scores of shape (I, J).
    sees
        What in the weights makes a true pair stand out, in a sentence.
    source
        Where the idea comes from.
    """

    name: str
    score: Callable[[Layers], Scores]
    sees: str
    source: str


def traces(layers: Layers) -> Scores:
    """trace(W_out W_in) of every pair, shape (I, J).

    The trace is the inner product of W_in with the transpose of W_out, so all of them are one
    matrix product of the flattened weights.
    """
    inp = layers.inp_weight.reshape(len(layers.inp_weight), -1)
    out = layers.out_weight.transpose(0, 2, 1).reshape(len(layers.out_weight), -1)
    return (inp @ out.T).astype(np.float64)


def product_norms(layers: Layers) -> Scores:
    """Frobenius norm of W_out W_in of every pair, shape (I, J).

    ‖W_out W_in‖² = ⟨W_outᵀ W_out, W_in W_inᵀ⟩, an inner product of hidden Gram matrices.
    """
    inp = layers.inp_weight @ layers.inp_weight.transpose(0, 2, 1)
    out = layers.out_weight.transpose(0, 2, 1) @ layers.out_weight
    squares = inp.reshape(len(inp), -1) @ out.reshape(len(out), -1).T
    return np.sqrt(np.maximum(squares.astype(np.float64), 0.0))


def trace(layers: Layers) -> Scores:
    """Signed trace of W_out W_in, turned so that the pile's outliers are positive.

    Which sign true pairs have is a property of the training run, so it is read off the pile: the
    few true pairs are outliers among many wrong ones, and skew the distribution their way.
    """
    values = traces(layers)
    skew = np.mean((values - values.mean()) ** 3)
    return values if skew >= 0 else -values


def ratio(layers: Layers) -> Scores:
    """Magnitude of the trace relative to the Frobenius norm of the product, from 0 to √d."""
    return _divide(np.abs(traces(layers)), product_norms(layers))


def log_norm_correlation(layers: Layers) -> Scores:
    """Correlation over hidden units of log ‖W_in[k, :]‖ with log ‖W_out[:, k]‖, from −1 to 1."""
    inp = _log_norms(layers.inp_weight, axis=2)
    out = _log_norms(layers.out_weight, axis=1)
    return inp @ out.T


def _log_norms(weights: Floats, axis: int) -> Scores:
    """Log-norms of the hidden units' weights, centred and normalised per layer."""
    norms = np.linalg.norm(weights.astype(np.float64), axis=axis)
    logs = np.log(np.maximum(norms, np.finfo(np.float64).tiny))
    logs -= logs.mean(axis=1, keepdims=True)
    return _divide(logs, np.linalg.norm(logs, axis=1, keepdims=True))


def _divide(numerator: Scores, denominator: Scores) -> Scores:
    """Divide; nothing over nothing (an all-zero layer) is no evidence, 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


SIGNALS = {
    signal.name: signal
    for signal in (
        Signal(
            "trace",
            trace,
            "training moves both halves of a block along the same gradients, which leaves a "
            "multiple of the identity in their product",
            'the write-up "dropped" at gardberg.xyz',
        ),
        Signal(
            "ratio",
            ratio,
            "the diagonal of the product dominates it, whatever its sign and the layers' norms",
            'diagonal dominance, Park, "I Dropped a Neural Net", arXiv:2602.19845',
        ),
        Signal(
            "log-norm",
            log_norm_correlation,
            "a hidden unit that learned much has large weights on both of its sides",
            "balance of the layers' norms under gradient flow, Du, Hu & Lee 2018, arXiv:1806.00900",
        ),
    )
}


def find_signal(name: str) -> Signal:
    """Look a signal up by its name.

    Raises
    ------
    UsageError
        If there is no signal of that name.
    """
    if name not in SIGNALS:
        raise UsageError(f"there is no signal {name!r}; there are: {', '.join(SIGNALS)}")
    return SIGNALS[name]
