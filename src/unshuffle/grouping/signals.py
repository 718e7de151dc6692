"""Pairing signals: how strongly two layers look like the halves of one block.

A signal maps clues to a matrix of scores, shape (I, J). The higher entry (i, j), the likelier inp
layer i and out layer j belong together. Most see the weights only; some need the record too. Each
names its source and says what it sees. Matrix products score all pairs at once.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpBank
from unshuffle.errors import UsageError, find_name
from unshuffle.grouping.parameters import GroupingParameters
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Clues:
    """What signals look at.

    Parameters
    ----------
    layers
        The candidate layers.
    last
        The last layer, where it is known.
    records
        Rows with predictions, where there are any.
    clock
        The time that there is. A signal that takes long ends with it.
    by
        What steers signals and their fusion.
    of_weights
        Scores that follow from the weights alone, as far as they have been worked out. Clues of the
        same layers share them, whatever the activation and the last layer.
    """

    layers: MlpBank
    last: Linear | None = None
    records: Records | None = None
    clock: Clock = field(default_factory=Clock)
    by: GroupingParameters = field(default_factory=GroupingParameters)
    of_weights: dict[Hashable, Scores] = field(default_factory=dict)

    def once(self, key: Hashable, score: Callable[[], Scores]) -> Scores:
        """Scores that follow from the weights alone, which are worked out at most once."""
        if key not in self.of_weights:
            self.of_weights[key] = score()
        return self.of_weights[key]

    @property
    def has_record(self) -> bool:
        """Whether signals that need the record can be computed."""
        if self.last is None or self.records is None or len(self.records) < 2:
            return False
        return bool(np.ptp(self.records.predictions, axis=0).any())  # constants follow from nothing

    def residual(self, step: int) -> tuple[Floats, Floats]:
        """Every `step`-th row's inputs, and what the last layer on them leaves unexplained."""
        assert self.last is not None
        assert self.records is not None
        x = self.records.inputs[::step].astype(self.layers.inp_weight.dtype)
        residual = self.records.predictions[::step].astype(x.dtype) - self.last(x)
        return x, residual - residual.mean(axis=0)

    @cached_property
    def reads(self) -> Floats:
        """What the last layer reads of each hidden unit of the out layers: (J, outputs, hidden)."""
        assert self.last is not None
        reads: Floats = np.matmul(self.last.weight, self.layers.out_weight)
        return reads

    def activations(self, x: Floats) -> Iterator[Floats]:
        """Hidden units of each inp layer, centred, one layer at a time: shape (rows, hidden).

        Raises
        ------
        OutOfTimeError
            If no time is left.
        """
        for index in range(len(self.layers.inp_weight)):
            self.clock.check()
            hidden = self.layers.hidden_units(index, x)
            hidden -= hidden.mean(axis=0)
            yield hidden

    @cached_property
    def first_order(self) -> tuple[Scores, Scores, float]:
        """Covariances of effects with the residual, the effects' variances, the residual's norm."""
        assert self.records is not None
        x, residual = self.residual(max(1, len(self.records) // self.by.sample_rows))
        reads, flat = self.reads, self.reads.reshape(-1, self.reads.shape[2])
        covariances = np.empty((len(self.layers.inp_weight), len(reads)))
        variances = np.empty_like(covariances)
        for i, hidden in enumerate(self.activations(x)):
            covariances[i] = np.tensordot(reads, residual.T @ hidden, 2)
            if len(flat) < hidden.shape[1]:  # to run the effects takes less than their Gram matrix
                squares = np.square(hidden @ flat.T).sum(axis=0)
            else:
                squares = np.einsum("rh,rh->r", flat @ (hidden.T @ hidden), flat)
            variances[i] = squares.reshape(reads.shape[:2]).sum(axis=1)
        return covariances, variances, float(np.linalg.norm(residual))


@dataclass(frozen=True)
class Signal:
    """A named way to score pairs.

    Parameters
    ----------
    name
        What the command line calls it.
    score
        Maps clues to scores of shape (I, J).
    sees
        What makes a true pair stand out, in a sentence.
    source
        Where the idea comes from.
    needs_record
        Whether it looks at the record and the last layer.
    """

    name: str
    score: Callable[[Clues], Scores]
    sees: str
    source: str
    needs_record: bool = False

    def of(self, clues: Clues) -> Scores:
        """Its scores; those that need no record are worked out once for the same layers."""
        if self.needs_record:
            return self.score(clues)
        return clues.once(self.name, lambda: self.score(clues))

    def checked(self, clues: Clues) -> Scores:
        """Its scores; `UsageError` if they are no finite numbers of shape (I, J)."""
        if not callable(self.score):
            raise UsageError(f"the signal {self.name!r} has no function; give one of the clues")
        scores = np.asarray(self.of(clues))
        shape = len(clues.layers.inp_weight), len(clues.layers.out_weight)
        if scores.shape != shape or scores.dtype.kind not in "fiu" or not np.isfinite(scores).all():
            found = f"an array of {scores.dtype} of shape {scores.shape}"
            if scores.shape == shape and scores.dtype.kind in "fiu":
                found = "numbers that are not finite"
            raise UsageError(
                f"the signal {self.name!r} gives {found}; it must give finite numbers of shape "
                f"{shape}, one for each inp and out layer"
            )
        return scores.astype(np.float64)


def traces(layers: MlpBank) -> Scores:
    """trace(W_out W_in) of every pair, shape (I, J).

    The trace is the inner product of W_in with the transpose of W_out. So one product of the
    flattened weights gives all.
    """
    inp = layers.inp_weight.reshape(len(layers.inp_weight), -1)
    out = layers.out_weight.transpose(0, 2, 1).reshape(len(layers.out_weight), -1)
    return (inp @ out.T).astype(np.float64)


def product_norms(layers: MlpBank) -> Scores:
    """Frobenius norm of W_out W_in of every pair, shape (I, J).

    ‖W_out W_in‖² = ⟨W_outᵀ W_out, W_in W_inᵀ⟩, an inner product of hidden Gram matrices.
    """
    inp = layers.inp_weight @ layers.inp_weight.transpose(0, 2, 1)
    out = layers.out_weight.transpose(0, 2, 1) @ layers.out_weight
    squares = inp.reshape(len(inp), -1) @ out.reshape(len(out), -1).T
    return np.sqrt(np.maximum(squares.astype(np.float64), 0.0))


def trace(clues: Clues) -> Scores:
    """Signed trace of W_out W_in, turned so that the pile's outliers are positive.

    The training run decides the sign of true pairs. So it is read off the pile. The few true pairs
    are outliers among many wrong ones. They skew the distribution their way.
    """
    values = traces(clues.layers)
    skew = np.mean((values - values.mean()) ** 3)
    return values if skew >= 0 else -values


def ratio(clues: Clues) -> Scores:
    """Magnitude of the trace over the Frobenius norm of the product, from 0 to √d."""
    magnitudes = np.abs(traces(clues.layers))
    return _divide(magnitudes, product_norms(clues.layers)).astype(np.float64, copy=False)


def log_norm_correlation(clues: Clues) -> Scores:
    """Correlation over hidden units of log ‖W_in[k, :]‖ with log ‖W_out[:, k]‖, from −1 to 1."""
    inp = _log_norms(clues.layers.inp_weight, axis=2)
    out = _log_norms(clues.layers.out_weight, axis=1)
    return inp @ out.T


def squared_cosine(clues: Clues) -> Scores:
    """Σ_k cos²(W_in[k, :], W_out[:, k]): hidden units read and write along one line, either way."""
    inp = _unit(clues.layers.inp_weight, axis=2)
    out = _unit(clues.layers.out_weight, axis=1)
    scores = np.zeros((len(inp), len(out)))
    for unit in range(inp.shape[1]):
        scores += np.square(inp[:, unit] @ out[:, :, unit].T)
    return scores


def magnitude_correlation(clues: Clues) -> Scores:
    """Correlation of the magnitudes in W_in with those in W_outᵀ, double centred, from −1 to 1."""
    inp = _double_centred(np.abs(clues.layers.inp_weight))
    out = _double_centred(np.abs(clues.layers.out_weight.transpose(0, 2, 1)))
    return correlations(inp, out)


def hidden_gram(clues: Clues) -> Scores:
    """Correlation of the off-diagonal entries of W_in W_inᵀ with those of W_outᵀ W_out."""
    inp = clues.layers.inp_weight @ clues.layers.inp_weight.transpose(0, 2, 1)
    out = clues.layers.out_weight.transpose(0, 2, 1) @ clues.layers.out_weight
    others = ~np.eye(inp.shape[1], dtype=bool)
    return correlations(inp[:, others], out[:, others])


def bias(clues: Clues) -> Scores:
    """Correlation over hidden units of −b_in[k] with ‖W_out[:, k]‖, from −1 to 1."""
    norms = np.linalg.norm(clues.layers.out_weight, axis=1)
    return -correlations(clues.layers.inp_bias, norms)


def first_order_correlation(clues: Clues) -> Scores:
    """Correlation of each block's first-order effect with what the last layer leaves unexplained.

    To first order the blocks add up on the inputs: prediction − last(x) ≈ Σ w · f(x).
    The sum is over the blocks, and w are the last layer's rows. So the true blocks' effects
    correlate with that residual.
    """
    covariances, variances, scale = clues.first_order
    return _divide(covariances, np.sqrt(variances) * scale).astype(np.float64, copy=False)


def first_order_slope(clues: Clues) -> Scores:
    """Slope of that residual on each block's first-order effect: 1 for a block that acts alone."""
    covariances, variances, _ = clues.first_order
    return _divide(covariances, variances).astype(np.float64, copy=False)


def first_order_regression(clues: Clues) -> Scores:
    """Coefficients of the blocks' first-order effects in one ridge regression of that residual.

    All I·J effects explain the residual together. So each may correlate with the others. There are
    more effects than equations. So the regression is solved for the equations (its dual form;
    Saunders, Gammerman & Vovk 1998). The kernel sums over all pairs, and only that sum is kept. It
    depends on the reads of the out layers by their Gram matrix alone. So their QR factor stands for
    them, with few rows.
    """
    assert clues.records is not None
    reads, count = clues.reads, len(clues.layers.inp_weight)
    by = clues.by
    equations = int(np.clip(by.regressed // count, by.least_regressed, by.most_regressed))
    x, residual = clues.residual(-(-len(clues.records) * reads.shape[1] // equations))
    _, triangle = np.linalg.qr(reads.reshape(len(reads), -1))
    factor = triangle.reshape(-1, reads.shape[2])
    kernel = np.zeros((residual.size, residual.size))
    activations = []
    for hidden in clues.activations(x):
        effects = (hidden @ factor.T).reshape(len(x), -1, residual.shape[1])
        effects = effects.transpose(0, 2, 1).reshape(residual.size, -1)
        kernel += effects @ effects.T
        activations.append(hidden)
    damping = by.ridge * float(np.trace(kernel)) / (count * len(reads))
    if not damping > 0:  # no block does anything
        return np.zeros((count, len(reads)))
    np.fill_diagonal(kernel, kernel.diagonal() + damping)
    dual = np.linalg.solve(kernel, residual.reshape(-1).astype(np.float64)).astype(x.dtype)
    weighed = dual.reshape(residual.shape).T @ np.stack(activations)  # (I, outputs, hidden)
    return np.tensordot(weighed, reads, ((1, 2), (1, 2))).astype(np.float64)


def correlations(inp: Floats, out: Floats) -> Scores:
    """Correlations of every row of one array, flattened, with every row of the other."""
    inp, out = inp.reshape(len(inp), -1), out.reshape(len(out), -1)
    inp = _unit(inp - inp.mean(axis=1, keepdims=True), axis=1)
    out = _unit(out - out.mean(axis=1, keepdims=True), axis=1)
    return (inp @ out.T).astype(np.float64)


def _unit(values: Floats, axis: int) -> Floats:
    """Scale to unit norm along an axis; nothing stays nothing."""
    return _divide(values, np.linalg.norm(values, axis=axis, keepdims=True))


def _double_centred(matrices: Floats) -> Floats:
    """Matrices minus the means of their rows and columns."""
    centred: Floats = matrices - matrices.mean(axis=1, keepdims=True)
    centred -= centred.mean(axis=2, keepdims=True)
    return centred


def _log_norms(weights: Floats, axis: int) -> Scores:
    """Log-norms of the hidden units' weights, centred and normalised per layer."""
    norms = np.linalg.norm(weights.astype(np.float64), axis=axis)
    logs = np.log(np.maximum(norms, np.finfo(np.float64).tiny))
    logs -= logs.mean(axis=1, keepdims=True)
    return _unit(logs, axis=1).astype(np.float64, copy=False)


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; nothing over nothing (an all-zero layer) is no evidence, 0."""
    quotient: Floats = np.zeros_like(numerator)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


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
        Signal(
            "squared-cosine",
            squared_cosine,
            "a hidden unit writes along the line that it reads, in either direction",
            "this project, after the diagonal dominance of Park, arXiv:2602.19845",
        ),
        Signal(
            "magnitude",
            magnitude_correlation,
            "inputs that a hidden unit weighs heavily are outputs that it weighs heavily",
            "this project",
        ),
        Signal(
            "hidden-gram",
            hidden_gram,
            "hidden units that read alike write alike",
            "comparison of Gram matrices as in Kornblith et al. 2019, arXiv:1905.00414",
        ),
        Signal(
            "bias",
            bias,
            "a hidden unit that writes much is closed more often: its bias is lower",
            "this project",
        ),
        Signal(
            "first-order",
            first_order_correlation,
            "a true block's effect on the prediction, with the others left out, is in the record",
            "residual networks as sums of shallow ones, Veit et al. 2016, arXiv:1605.06431",
            needs_record=True,
        ),
        Signal(
            "first-order-regression",
            first_order_regression,
            "the true blocks' effects explain the record together",
            "ridge regression, Hoerl & Kennard 1970, on the sums of Veit et al. 2016",
            needs_record=True,
        ),
        Signal(
            "first-order-slope",
            first_order_slope,
            "a true block's effect is in the record at full size",
            "residual networks as sums of shallow ones, Veit et al. 2016, arXiv:1605.06431",
            needs_record=True,
        ),
    )
}


FUSED = "fused"
"""The name for all signals together, as log-odds."""


def signal_names() -> tuple[str, ...]:
    """The names of all signals, behind that of all of them together."""
    return (FUSED, *SIGNALS)


def find_signal(name: str) -> Signal:
    """Look a signal up by its name, in any case.

    Raises
    ------
    UsageError
        If there is no signal of that name.
    """
    return SIGNALS[find_name("signal", name, SIGNALS)]
