"""Pairing by statistics of the weights that are no signals of `solve`: most of them fail.

Each maps clues to scores of all pairs, as those in `unshuffle.grouping.signals` do.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpBank
from unshuffle.grouping.signals import Clues, Scores, Signal, correlations, product_norms
from unshuffle.pieces.pile import Floats

SUBSPACE = 8
"""Dimensions of the subspaces that are compared, or half of the stream's where that is less."""


def norm_likeness(clues: Clues) -> Scores:
    """Layers of one block have alike Frobenius norms: minus the difference of their logarithms."""
    inp, out = (np.linalg.norm(w, axis=(1, 2)) for w in _weights(clues.layers))
    scores: Scores = -np.abs(np.log(inp)[:, None] - np.log(out)[None, :])
    return scores


def spectrum_likeness(clues: Clues) -> Scores:
    """Minus the distance between the two layers' singular values, each scaled to unit norm."""
    inp, out = (np.linalg.svd(w, compute_uv=False) for w in _weights(clues.layers))
    inp = inp / np.linalg.norm(inp, axis=1, keepdims=True)
    out = out / np.linalg.norm(out, axis=1, keepdims=True)
    scores: Scores = -np.linalg.norm(inp[:, None] - out[None, :], axis=2)
    return scores


def stream_overlap(clues: Clues) -> Scores:
    """Overlap of what W_in reads most from the stream with what W_out writes most to it.

    ‖V_rᵀ U_r‖²_F / r of the leading r right singular vectors of W_in and left ones of W_out: the
    mean squared cosine of the principal angles (Björck & Golub 1973).
    """
    inp, out = _weights(clues.layers)
    return _overlap(_leading(inp.transpose(0, 2, 1)), _leading(out))


def hidden_overlap(clues: Clues) -> Scores:
    """The same in the hidden space: what W_in drives most, and what W_out listens to most."""
    inp, out = _weights(clues.layers)
    return _overlap(_leading(inp), _leading(out.transpose(0, 2, 1)))


def effective_rank(clues: Clues) -> Scores:
    """Minus the effective rank of W_out W_in: the exponential of the entropy of its spectrum."""

    def ranks(products: NDArray[np.float64]) -> NDArray[np.float64]:
        spectrum = np.linalg.svd(products, compute_uv=False)
        share = spectrum / np.maximum(spectrum.sum(axis=1, keepdims=True), 1e-30)
        entropy: NDArray[np.float64] = -np.sum(share * np.log(np.maximum(share, 1e-30)), axis=1)
        return -np.exp(entropy)

    return _of_products(clues.layers, ranks)


def symmetry(clues: Clues) -> Scores:
    """How symmetric W_out W_in is: ⟨P, Pᵀ⟩ / ‖P‖², from −1 to 1."""
    inp, out = _weights(clues.layers)
    scores = np.empty((len(inp), len(out)))
    for i, weight in enumerate(inp):
        products = out @ weight
        scores[i] = np.einsum("jab,jba->j", products, products)
    scores /= np.maximum(product_norms(clues.layers) ** 2, 1e-30)
    return scores


def negative_eigenvalues(clues: Clues) -> Scores:
    """Share of the eigenvalues of W_out W_in with a negative real part."""

    def share(products: NDArray[np.float64]) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = np.mean(np.linalg.eigvals(products).real < 0, axis=1)
        return shares

    return _of_products(clues.layers, share)


def product_norm(clues: Clues) -> Scores:
    """Frobenius norm of W_out W_in relative to those of its factors."""
    inp, out = (np.linalg.norm(w, axis=(1, 2)) for w in _weights(clues.layers))
    factors: Scores = np.maximum(inp[:, None] * out[None, :], 1e-30)
    return product_norms(clues.layers) / factors


def mean_cosine(clues: Clues) -> Scores:
    """Mean over hidden units of the signed cosine between what a unit reads and what it writes."""
    inp, out = _weights(clues.layers)
    inp = inp / np.maximum(np.linalg.norm(inp, axis=2, keepdims=True), 1e-30)
    out = out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-30)
    cosines = inp.reshape(len(inp), -1) @ out.transpose(0, 2, 1).reshape(len(out), -1).T
    # Which sign true pairs have is a property of the training run; see `signals.trace`.
    skew = np.mean((cosines - cosines.mean()) ** 3)
    return np.asarray(np.where(skew >= 0, 1.0, -1.0) * cosines / inp.shape[1], np.float64)


def column_variance(clues: Clues) -> Scores:
    """Correlation over hidden units of the variances of W_in's rows and of W_out's columns."""
    inp, out = _weights(clues.layers)
    return correlations(inp.var(axis=2), out.var(axis=1))


def _weights(layers: MlpBank) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return layers.inp_weight.astype(np.float64), layers.out_weight.astype(np.float64)


def _leading(weights: Floats) -> Floats:
    """Leading left singular vectors: shape (layers, dimension, r)."""
    r = max(1, min(SUBSPACE, min(weights.shape[1:]) // 2))
    vectors: Floats = np.linalg.svd(weights, full_matrices=False)[0][:, :, :r]
    return vectors


def _overlap(inp: Floats, out: Floats) -> Scores:
    r = inp.shape[2]
    cosines: Scores = np.einsum("iar,jas->ijrs", inp, out)
    return np.asarray(np.square(cosines).sum(axis=(2, 3)) / r)


def _of_products(
    layers: MlpBank, score: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Scores:
    """A score of W_out W_in for all pairs, those of one inp layer at a time."""
    inp, out = _weights(layers)
    return np.array([score(out @ weight) for weight in inp])


_DROPPED = 'the write-up "dropped" at gardberg.xyz, among what did not work'
_PARK = 'Park, "I Dropped a Neural Net", arXiv:2602.19845'

WEIGHT_SIGNALS = (
    Signal("norm-likeness", norm_likeness, "layers trained together grow alike", _DROPPED),
    Signal(
        "spectrum-likeness",
        spectrum_likeness,
        "layers trained together have alike singular values",
        _DROPPED,
    ),
    Signal(
        "stream-overlap",
        stream_overlap,
        "a block writes where it reads",
        "principal angles between subspaces, Björck & Golub 1973",
    ),
    Signal(
        "hidden-overlap",
        hidden_overlap,
        "what inp drives most, out listens to most",
        "principal angles between subspaces, Björck & Golub 1973",
    ),
    Signal(
        "effective-rank",
        effective_rank,
        "a true product is of lower rank, as training moves it in few directions",
        "effective rank, Roy & Vetterli 2007",
    ),
    Signal("symmetry", symmetry, "a true product is near a symmetric matrix", _PARK),
    Signal(
        "negative-eigenvalues",
        negative_eigenvalues,
        "a block that keeps the signal's size has eigenvalues in the disc around −1",
        f"dynamic isometry, {_PARK}",
    ),
    Signal(
        "product-norm",
        product_norm,
        "factors that fit make a product larger than chance",
        "this project",
    ),
    Signal("mean-cosine", mean_cosine, "a hidden unit writes against what it reads", _PARK),
    Signal(
        "column-variance",
        column_variance,
        "hidden units that read unevenly write unevenly",
        _DROPPED,
    ),
)
