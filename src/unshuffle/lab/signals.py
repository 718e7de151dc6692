"""Pairing by signals that `solve` does not use: most of them fail.

Some are statistics of the weights. Others compare what hidden units do with how out layers weigh
them. Their inputs are those of the record, which only the first block saw, or noise, which none
did. The write-up "dropped" tried such profiles of activity before it found the trace.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpBank
from unshuffle.blocks.network import mean_squares
from unshuffle.grouping.signals import Clues, Scores, Signal, correlations, product_norms
from unshuffle.pieces.pile import Floats

# Dimensions of the subspaces that are compared, or half of the stream's where that is less.
SUBSPACE = 8
PROFILED_ROWS = 500
NOISE_SEED = 0


def norm_likeness(clues: Clues) -> Scores:
    """Layers of one block have alike Frobenius norms: minus the difference of their logarithms."""
    inp, out = (np.linalg.norm(w, axis=(1, 2)) for w in _weights(clues.layers))
    return np.asarray(-np.abs(np.log(inp)[:, None] - np.log(out)[None, :]))


def spectrum_likeness(clues: Clues) -> Scores:
    """Minus the distance between the two layers' singular values, each scaled to unit norm."""
    inp, out = (np.linalg.svd(w, compute_uv=False) for w in _weights(clues.layers))
    inp = inp / np.linalg.norm(inp, axis=1, keepdims=True)
    out = out / np.linalg.norm(out, axis=1, keepdims=True)
    return np.asarray(-np.linalg.norm(inp[:, None] - out[None, :], axis=2))


def stream_overlap(clues: Clues) -> Scores:
    """Overlap of what W_in reads most from the stream with what W_out writes most to it.

    ‖V_rᵀ U_r‖²_F / r of the leading r right singular vectors of W_in and left ones of W_out. It is
    the mean squared cosine of the principal angles (Björck & Golub 1973).
    """
    inp, out = _weights(clues.layers)
    return _overlap(_leading(inp.transpose(0, 2, 1)), _leading(out))


def hidden_overlap(clues: Clues) -> Scores:
    """The same in the hidden space: what W_in drives most and W_out listens to most."""
    inp, out = _weights(clues.layers)
    return _overlap(_leading(inp), _leading(out.transpose(0, 2, 1)))


def effective_rank(clues: Clues) -> Scores:
    """Minus the effective rank of W_out W_in: the exponential of the entropy of its spectrum."""

    def ranks(products: NDArray[np.float64]) -> NDArray[np.float64]:
        spectrum = np.linalg.svd(products, compute_uv=False)
        share = spectrum / np.maximum(spectrum.sum(axis=1, keepdims=True), 1e-30)
        entropy = -np.sum(share * np.log(np.maximum(share, 1e-30)), axis=1)
        return np.asarray(-np.exp(entropy))

    return _of_products(clues.layers, ranks)


def symmetry(clues: Clues) -> Scores:
    """How symmetric W_out W_in is: ⟨P, Pᵀ⟩ / ‖P‖², from −1 to 1."""
    squares = _of_products(clues.layers, lambda p: np.einsum("jab,jba->j", p, p))
    return squares / np.maximum(product_norms(clues.layers) ** 2, 1e-30)


def negative_eigenvalues(clues: Clues) -> Scores:
    """Share of the eigenvalues of W_out W_in with a negative real part."""
    return _of_products(clues.layers, lambda p: np.mean(np.linalg.eigvals(p).real < 0, axis=1))


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
    return np.asarray(np.linalg.svd(weights, full_matrices=False)[0][:, :, :r])


def _overlap(inp: Floats, out: Floats) -> Scores:
    cosines = np.einsum("iar,jas->ijrs", inp, out)
    return np.asarray(np.square(cosines).sum(axis=(2, 3)) / inp.shape[2])


def _of_products(
    layers: MlpBank, score: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Scores:
    """A score of W_out W_in for all pairs, those of one inp layer at a time."""
    inp, out = _weights(layers)
    return np.array([score(out @ weight) for weight in inp])


# Maps activations, shape (rows, hidden), to a number for each hidden unit.
Profile = Callable[[Floats], NDArray[np.float64]]


def _magnitude(activations: Floats) -> NDArray[np.float64]:
    return np.asarray(np.abs(activations).mean(axis=0, dtype=np.float64))


def profile_match(profile: Profile, noise: bool, clues: Clues) -> Scores:
    """Correlation over hidden units of an activity profile with the norms of W_out's columns.

    Either sign counts, since out layers may weigh busy units more or less.
    """
    profiles = np.stack([profile(a) for a in _activations(clues, noise=noise)])
    norms = np.linalg.norm(clues.layers.out_weight.astype(np.float64), axis=1)
    return np.abs(correlations(profiles, norms))


def active_columns(clues: Clues) -> Scores:
    """Variance of W_out's columns at the busier half of the units, less that at the other half."""
    activations = _activations(clues, noise=False)
    variances = clues.layers.out_weight.var(axis=1, dtype=np.float64)
    scores = []
    for one in activations:
        busy = _magnitude(one) > np.median(_magnitude(one))
        if busy.all() or not busy.any():
            scores.append(np.zeros(len(variances)))
        else:
            scores.append(variances[:, busy].mean(axis=1) - variances[:, ~busy].mean(axis=1))
    return np.stack(scores)


def step_against_input(clues: Clues) -> Scores:
    """Minus the mean cosine between inputs and what a black-box block adds to them."""
    x = _inputs(clues, noise=False)
    norms = np.linalg.norm(x, axis=1)
    scores = []
    for steps in _steps(clues):
        lengths = np.maximum(np.linalg.norm(steps, axis=2) * norms[:, None], 1e-30)
        scores.append(-(np.einsum("njd,nd->nj", steps, x) / lengths).mean(axis=0))
    return np.array(scores, np.float64)


def prediction_error(clues: Clues) -> Scores:
    """Minus the mean squared error of the network that has this one block only."""
    last, records = clues.last, clues.records
    assert last is not None
    assert records is not None
    x = _inputs(clues, noise=False)
    wanted = records.predictions[:PROFILED_ROWS]
    scores = []
    for steps in _steps(clues):
        predictions = (steps + x[:, None]) @ last.weight.T + last.bias
        scores.append(-mean_squares(predictions - wanted[:, None], axis=(0, 2)))
    return np.array(scores)


def _steps(clues: Clues) -> Iterator[Floats]:
    """What each inp layer's blocks with every out layer add to the inputs: (rows, outs, width)."""
    weight, bias = clues.layers.out_weight, clues.layers.out_bias
    for activations in _activations(clues, noise=False):
        steps = activations @ weight.reshape(-1, weight.shape[2]).T
        yield steps.reshape(len(steps), *bias.shape) + bias


def _activations(clues: Clues, *, noise: bool) -> list[Floats]:
    layers, x = clues.layers, _inputs(clues, noise=noise)
    return [
        layers.activation.apply(x @ weight.T + bias)
        for weight, bias in zip(layers.inp_weight, layers.inp_bias, strict=True)
    ]


def _inputs(clues: Clues, *, noise: bool) -> Floats:
    """Rows to run: standard normal noise, or the first of the record."""
    assert clues.records is not None
    inputs = clues.records.inputs[:PROFILED_ROWS]
    if noise:
        inputs = np.random.default_rng(NOISE_SEED).standard_normal(inputs.shape)
    return inputs.astype(clues.layers.inp_weight.dtype)


_DROPPED = 'the write-up "dropped" at gardberg.xyz, among what did not work'
_GREEDY = 'greedy pairing by the error, the write-up "dropped" at gardberg.xyz'
_OUTSIDE = "the negative trace, seen from outside"
_PARK = 'Park, "I Dropped a Neural Net", arXiv:2602.19845'
_ANGLES = "principal angles between subspaces, Björck & Golub 1973"

_PROFILES: dict[str, tuple[Profile, str]] = {
    "magnitude": (_magnitude, "out layers weigh units by how large their activations are"),
    "variance": (
        lambda activations: activations.var(axis=0, dtype=np.float64),
        "out layers weigh units by how much their activations vary",
    ),
    "alive": (
        lambda activations: np.mean(activations > 0, axis=0, dtype=np.float64),
        "out layers do not listen to dead units",
    ),
}


def _profiles() -> Iterator[Signal]:
    for noise, where in (
        (False, "seen on the inputs of the record"),
        (True, "whatever the inputs"),
    ):
        for name, (profile, bet) in _PROFILES.items():
            score = partial(profile_match, profile, noise)
            called = f"activity-{name}{'-noise' * noise}"
            yield Signal(called, score, f"{bet}, {where}", _DROPPED, needs_record=True)


def _named(
    score: Callable[[Clues], Scores], sees: str, source: str, record: bool = False
) -> Signal:
    """A signal that is called like its function."""
    return Signal(score.__name__.replace("_", "-"), score, sees, source, needs_record=record)


OTHER_SIGNALS = (
    _named(norm_likeness, "layers trained together grow alike", _DROPPED),
    _named(spectrum_likeness, "layers trained together have alike singular values", _DROPPED),
    _named(stream_overlap, "a block writes where it reads", _ANGLES),
    _named(hidden_overlap, "what inp drives most, out listens to most", _ANGLES),
    _named(
        effective_rank,
        "a true product is of lower rank, as training moves it in few directions",
        "effective rank, Roy & Vetterli 2007",
    ),
    _named(symmetry, "a true product is near a symmetric matrix", _PARK),
    _named(
        negative_eigenvalues,
        "a block that keeps the signal's size has eigenvalues in the disc around −1",
        f"dynamic isometry, {_PARK}",
    ),
    _named(product_norm, "factors that fit make a product larger than chance", "this project"),
    _named(mean_cosine, "a hidden unit writes against what it reads", _PARK),
    _named(column_variance, "hidden units that read unevenly write unevenly", _DROPPED),
    *_profiles(),
    _named(active_columns, "columns of W_out vary more where the unit is busy", _DROPPED, True),
    _named(step_against_input, "a block steps against its input", _OUTSIDE, True),
    _named(
        prediction_error,
        "a true block alone brings the prediction closer than a wrong one",
        _GREEDY,
        True,
    ),
)
