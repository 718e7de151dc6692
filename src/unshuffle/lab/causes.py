"""Why signals work: what the true blocks of a network have that wrong pairs have not.

Every probe measures true pairs and wrong ones alike: what holds for both explains nothing.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.assembly import build_network
from unshuffle.blocks.mlp import MlpNetwork, MlpStack
from unshuffle.grouping.spectra import eigenvalues
from unshuffle.lab.metrics import Measurements
from unshuffle.oracle.evaluation import Case
from unshuffle.pieces.pile import Floats

GATE_ROWS = 500
"""Rows on which gates are averaged."""

TINY = 1e-30


def network_of(case: Case) -> MlpNetwork:
    """The true network of a case."""
    return build_network(case.pile, case.answer, case.activation)


def spectrum(case: Case) -> Measurements:
    """Eigenvalues of W_out W_in, and of W_out G W_in with the average gate G of each hidden unit.

    Where all gates are open a block is I + W_out W_in, which contracts along eigenvectors whose
    eigenvalue lies in the disc of radius 1 around −1. A gate is the activation's derivative at the
    states that the block really sees. How far the averaged block is from an isometry (Saxe et al.
    2014, Pennington et al. 2017) is the mean |log σ| of its singular values σ.
    """
    network = network_of(case)
    blocks = network.blocks.astype(np.float64)
    gates = average_gates(network, case.records.inputs[:GATE_ROWS])
    gated = _gated(blocks, gates)
    wrong = blocks.take(np.roll(np.arange(len(blocks)), 1))
    mismatched = MlpStack(*blocks.inp, *wrong.out, blocks.activation)
    plain_values, gated_values = eigenvalues(blocks), eigenvalues(gated)
    negative, contracting = plain_values.real < 0, abs(1 + plain_values) < 1
    return {
        "open_gates": float(gates.mean()),
        "negative": float(negative.mean()),
        "negative_least": float(negative.mean(axis=1).min()),
        "negative_wrong": float(np.mean(eigenvalues(mismatched).real < 0)),
        "contracting": float(contracting.mean()),
        "contracting_least": float(contracting.mean(axis=1).min()),
        "negative_gated": float(np.mean(gated_values.real < 0)),
        "contracting_gated": float(np.mean(abs(1 + gated_values) < 1)),
        "distortion": _distortion(gated),
        "distortion_wrong": _distortion(_gated(mismatched, gates)),
    }


def signs(case: Case) -> Measurements:
    """Signs of the h·d products W_in[k, c] W_out[c, k] that add up to a trace.

    A trace can be large because the products lean to one side in sign, because they are large, or
    because the large ones lean more. The coherence |Σ p| / Σ |p| has all three.
    """
    blocks = network_of(case).blocks.astype(np.float64)
    count = len(blocks)
    inp = blocks.inp_weight.reshape(count, -1)
    out = blocks.out_weight.transpose(0, 2, 1).reshape(count, -1)
    true = inp * out
    side = 1.0 if true.sum() >= 0 else -1.0
    wrong = np.concatenate([inp * np.roll(out, by, axis=0) for by in range(1, count)])
    return {
        "trace_side": side,
        "one_signed": float(np.mean(side * true > 0)),
        "one_signed_wrong": float(np.mean(side * wrong > 0)) if len(wrong) else 0.5,
        "coherence": _coherence(true),
        "coherence_wrong": _coherence(wrong) if len(wrong) else 0.0,
        "product_size": float(np.abs(true).mean() / max(np.abs(wrong).mean(), TINY))
        if len(wrong)
        else 1.0,
        "blocks_of_one_sign": float(np.mean(side * true.sum(axis=1) > 0)),
    }


def balance(case: Case) -> Measurements:
    """Correlation of log-norms over hidden units, and how unbalanced inp and out are."""
    blocks = network_of(case).blocks
    return {
        "log_norm": log_norm_correlation(blocks),
        "log_norm_wrong": log_norm_correlation(
            MlpStack(*blocks.inp, *blocks.take(np.roll(np.arange(len(blocks)), 1)).out)
        ),
        "imbalance": imbalance(blocks),
    }


def average_gates(network: MlpNetwork, inputs: Floats) -> NDArray[np.float64]:
    """Mean derivative of the activation at every hidden unit: shape (blocks, hidden)."""
    blocks = network.blocks
    gates = np.empty((len(blocks), blocks.hidden))
    states = network.states(inputs.astype(blocks.inp_weight.dtype))
    for block, (gate, state) in enumerate(zip(gates, states, strict=False)):
        z = state @ blocks.inp_weight[block].T + blocks.inp_bias[block]
        gate[:] = blocks.activation.derivative(z).mean(axis=0, dtype=np.float64)
    return gates


def relative_traces(blocks: MlpStack) -> NDArray[np.float64]:
    """trace(W_out W_in) / ‖W_out W_in‖_F of each block, from −√d to √d: shape (blocks,)."""
    wide = blocks.astype(np.float64)
    products: NDArray[np.float64] = wide.out_weight @ wide.inp_weight
    norms = np.linalg.norm(products, axis=(1, 2))
    traces = np.trace(products, axis1=1, axis2=2)
    return np.asarray(traces / np.maximum(norms, TINY))


def invariants(blocks: MlpStack) -> NDArray[np.float64]:
    """‖W_in[k, :]‖² + b_in[k]² − ‖W_out[:, k]‖² of each hidden unit: shape (blocks, hidden).

    Gradient flow conserves it where the activation is positively homogeneous, as ReLU is (Du, Hu &
    Lee 2018): scaling a unit's input up and its output down changes nothing, so the flow has no
    part in that direction.
    """
    inp, out = squares(blocks)
    return inp - out


def imbalance(blocks: MlpStack) -> float:
    """Mean magnitude of the invariants relative to the squared norms: 0 balanced, 1 one-sided."""
    inp, out = squares(blocks)
    return float(np.abs(inp - out).sum() / np.maximum((inp + out).sum(), TINY))


def log_norm_correlation(blocks: MlpStack) -> float:
    """Correlation over hidden units of log ‖W_in[k, :]‖ with log ‖W_out[:, k]‖, mean over blocks.

    A unit without any weight on one side counts as tiny.
    """
    inp = np.linalg.norm(blocks.inp_weight.astype(np.float64), axis=2)
    out = np.linalg.norm(blocks.out_weight.astype(np.float64), axis=1)
    logs = [np.log(np.maximum(norms, TINY)) for norms in (inp, out)]
    a, b = (one - one.mean(axis=1, keepdims=True) for one in logs)
    scale = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(axis=1) / np.maximum(scale, TINY)))


def squares(blocks: MlpStack) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared norms on both sides of each hidden unit, the bias with the inp side."""
    wide = blocks.astype(np.float64)
    inp = np.square(wide.inp_weight).sum(axis=2) + np.square(wide.inp_bias)
    out = np.square(wide.out_weight).sum(axis=1)
    return np.asarray(inp, np.float64), np.asarray(out, np.float64)


def _gated(blocks: MlpStack, gates: NDArray[np.float64]) -> MlpStack:
    """Blocks whose hidden units pass on what their average gate lets through."""
    return replace(blocks, out_weight=blocks.out_weight * gates[:, None, :])


def _distortion(blocks: MlpStack) -> float:
    """Mean |log σ| over the singular values of I + W_out W_in."""
    maps = np.eye(blocks.width) + blocks.out_weight @ blocks.inp_weight
    return float(np.abs(np.log(np.maximum(np.linalg.svd(maps, compute_uv=False), TINY))).mean())


def _coherence(products: NDArray[np.float64]) -> float:
    """|Σ p| / Σ |p|, mean over pairs."""
    sizes = np.maximum(np.abs(products).sum(axis=1), TINY)
    return float(np.mean(np.abs(products.sum(axis=1)) / sizes))
