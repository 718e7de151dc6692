"""Probes of a network whose answer is known: what lies there, and why signals work.

`bits` looks at the record. The others measure true blocks and wrong pairs, since what holds for
both explains nothing. `growth` watches an oracle during its training.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.assembly import build_network
from unshuffle.blocks.mlp import MlpNetwork, MlpStack
from unshuffle.errors import UsageError
from unshuffle.grouping.spectra import eigenvalues
from unshuffle.lab.metrics import Measurements
from unshuffle.lab.searches import spearman
from unshuffle.lab.subjects import Subject
from unshuffle.oracle.evaluation import DroppedOracle
from unshuffle.oracle.workers import stop_if_asked
from unshuffle.pieces.pile import TINY, Floats

GATE_ROWS = 500  # rows on which gates are averaged
GRID = 200  # points at which densities are looked at
PEAK = 0.05  # a mode is higher than both of its sides by this fraction of the highest


def bits(case: DroppedOracle) -> Measurements:
    """Modes of all columns, and how far the bits of the inputs explain the predictions.

    A feature's bit says whether it lies above the middle of its two highest modes. With one mode,
    it says whether it lies above the mean.
    """
    inputs = case.records.inputs.astype(np.float64)
    predictions = case.records.predictions.astype(np.float64)
    peaks = [modes(column) for column in inputs.T]
    thresholds = [
        float(np.mean(found[:2])) if len(found) > 1 else float(column.mean())
        for found, column in zip(peaks, inputs.T, strict=True)
    ]
    on = (inputs > thresholds).astype(np.float64)
    sums = on.sum(axis=1, keepdims=True)
    targets = case.records.targets
    found = {
        "feature_modes": float(np.mean([len(found) for found in peaks])),
        "two_moded": float(np.mean([len(found) == 2 for found in peaks])),
        "prediction_modes": float(np.mean([len(modes(column)) for column in predictions.T])),
        "explained_by_sum": explained(sums, predictions),
        "explained_by_bits": explained(on, predictions),
        "explained_by_inputs": explained(inputs, predictions),
    }
    if targets is not None and not np.isnan(targets).any():
        columns = targets.astype(np.float64).T
        found["target_modes"] = float(np.mean([len(modes(column)) for column in columns]))
    return found


def modes(values: NDArray[np.float64]) -> list[float]:
    """Modes of a density, the highest first.

    A Gaussian kernel smooths it. It is half as wide as by Silverman's rule (1986), which is made
    for one mode and would merge two.
    """
    spread = float(min(values.std(), np.subtract(*np.quantile(values, [0.75, 0.25])) / 1.34))
    width = 0.45 * (spread or float(values.std())) * len(values) ** -0.2
    if not width > 0:
        return [float(values[0])]
    grid = np.linspace(values.min() - 3 * width, values.max() + 3 * width, GRID)
    density = np.exp(-np.square((grid[:, None] - values) / width) / 2).mean(axis=1)
    found = [(float(density[at]), float(grid[at])) for at in _peaks(density, PEAK)]
    return [place for _, place in sorted(found, reverse=True)]


def _peaks(density: NDArray[np.float64], least: float) -> list[int]:
    """Peaks that rise by a part of the highest above the saddles to higher ones, or to the ends."""
    peaks = []
    for at in range(1, len(density) - 1):
        height = density[at]
        if density[at - 1] < height > density[at + 1]:
            higher = np.flatnonzero(density > height)
            left, right = higher[higher < at], higher[higher > at]
            begin = left[-1] if len(left) else 0
            end = right[0] if len(right) else len(density)
            saddle = max(density[begin:at].min(), density[at:end].min())
            if height - saddle >= least * density.max():
                peaks.append(at)
    return peaks


def explained(features: Floats, wanted: Floats) -> float:
    """Share of the variance that a fit on every other row explains on the rest; may be negative."""
    design = np.column_stack([features, np.ones(len(features))])
    weights, *_ = np.linalg.lstsq(design[::2], wanted[::2], rcond=None)
    rest, fitted = wanted[1::2], design[1::2] @ weights
    return float(1 - np.square(rest - fitted).sum() / np.square(rest - rest.mean(axis=0)).sum())


def network_of(case: DroppedOracle) -> MlpNetwork:
    """The true network of a case."""
    return build_network(case.pile, case.answer, case.activation)


def spectrum(case: DroppedOracle) -> Measurements:
    """Eigenvalues of W_out W_in, and of W_out G W_in with the average gate G of each hidden unit.

    Where all gates are open a block is I + W_out W_in. It contracts along eigenvectors whose
    eigenvalue lies in the disc of radius 1 around −1. A gate is the activation's derivative at the
    states that the block really sees. The mean |log σ| of its singular values σ tells how far the
    averaged block is from an isometry. Sources: Saxe et al. 2014, Pennington et al. 2017.
    """
    network = network_of(case)
    blocks = network.blocks.astype(np.float64)
    gates = average_gates(network, case.records.inputs[:GATE_ROWS])
    gated = _gated(blocks, gates)
    mismatched = _mismatched(blocks)
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


def signs(case: DroppedOracle) -> Measurements:
    """Signs of the h·d products W_in[k, c] W_out[c, k] that add up to a trace.

    A trace can be large for three reasons. The products lean to one sign, they are large, or the
    large ones lean more. The coherence |Σ p| / Σ |p| has all three.
    """
    blocks = network_of(case).blocks.astype(np.float64)
    count = len(blocks)
    inp = blocks.inp_weight.reshape(count, -1)
    out = blocks.out_weight.transpose(0, 2, 1).reshape(count, -1)
    true = inp * out
    side = 1.0 if true.sum() >= 0 else -1.0
    wrong = np.concatenate([inp[:0], *(inp * np.roll(out, by, axis=0) for by in range(1, count))])
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


def balance(case: DroppedOracle) -> Measurements:
    """Correlation of log-norms over hidden units, and how unbalanced inp and out are."""
    blocks = network_of(case).blocks
    return {
        "log_norm": log_norm_correlation(blocks),
        "log_norm_wrong": log_norm_correlation(_mismatched(blocks)),
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

    Gradient flow conserves it for positively homogeneous activations such as ReLU (Du, Hu & Lee
    2018). Scaling a unit's input up and its output down changes nothing.
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


def without_skips(module: Any) -> None:
    """Take the skip connections out of a module: a block gives only what it adds."""
    for block in module.blocks:
        block.register_forward_hook(lambda _, inputs, output: output - inputs[0])


def growth(subject: Subject, prepare: Callable[[Any], None] | None = None) -> Measurements:
    """Train an oracle anew and watch the traces, the balance and the norms of its blocks.

    Traces are relative to their spread for random matrices, √d trace / ‖W_out W_in‖_F; about 0.8 is
    chance. `prepare` changes the module before. `UsageError` if the subject is no oracle.
    """
    if subject.recipe is None:
        raise UsageError(
            f"{subject.name} is no oracle: there are no checkpoints of its training; choose a "
            "recipe"
        )
    from unshuffle.oracle.training import train

    blocks: list[MlpStack] = []
    oracle = train(
        subject.recipe,
        on_network=lambda network: blocks.append(network.blocks),
        on_epoch=lambda _: stop_if_asked(),
        prepare=prepare,
    )
    spreads = np.sqrt(blocks[0].width)
    traces = np.array([spreads * relative_traces(one) for one in blocks])  # (epochs + 1, blocks)
    plain = [np.abs(np.einsum("kdh,khd->k", one.out_weight, one.inp_weight)) for one in blocks]
    means = traces.mean(axis=1)
    turns = last_turns(traces)
    epochs = np.arange(len(means))
    return {
        "loss_left": oracle.losses[-1] / oracle.losses[0],
        "trace_start": float(means[0]),
        "trace_early": float(means[1]),
        "trace_end": float(means[-1]),
        "trace_size": float(np.abs(traces[-1]).mean()),
        "trace_grows": spearman(epochs[1:], np.abs(traces[1:]).mean(axis=1)),
        "plain_trace_grows": spearman(epochs[1:], np.mean(plain[1:], axis=1)),
        "trace_negative": float(np.mean(traces[-1] < 0)),
        "last_turn": float(last_turns(means[:, None])[0]),
        "block_turn": float(turns.mean()),
        "block_turn_last": float(turns.max()),
        "blocks_turned": float(np.mean(traces[0] * traces[-1] < 0)),
        "log_norm_start": log_norm_correlation(blocks[0]),
        "log_norm_end": log_norm_correlation(blocks[-1]),
        "imbalance_start": imbalance(blocks[0]),
        "imbalance_end": imbalance(blocks[-1]),
        "invariant_drift": drift(blocks[0], blocks[-1]),
    }


def last_turns(traces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the training after which each trace kept its sign: (epochs + 1, n) → (n,)."""
    epochs = np.arange(1, len(traces))
    turned = traces[1:] * traces[:-1] < 0
    return np.asarray((turned * epochs[:, None]).max(axis=0) / epochs[-1])


def drift(before: MlpStack, after: MlpStack) -> float:
    """How much the invariants of gradient flow moved, relative to how much the weights did.

    Σ |ΔD_k| / Σ (‖ΔW_in[k, :]‖² + Δb_in[k]² + ‖ΔW_out[:, k]‖²)^½ (‖W_in[k, :]‖² + b_in[k]² +
    ‖W_out[:, k]‖²)^½. The sums are over all hidden units. It is 0 where they are conserved. It is
    at most about 2, where weights move along themselves on one side only.
    """
    moved = replace(
        after,
        inp_weight=after.inp_weight - before.inp_weight,
        inp_bias=after.inp_bias - before.inp_bias,
        out_weight=after.out_weight - before.out_weight,
    )
    changed = np.abs(invariants(after) - invariants(before)).sum()
    sizes = [np.add(*squares(one)) for one in (moved, after, before)]
    possible = np.sqrt(sizes[0] * np.maximum(sizes[1], sizes[2])).sum()
    return float(changed / max(possible, TINY))


def _mismatched(blocks: MlpStack) -> MlpStack:
    """Every inp layer with the out layer of the block before it."""
    wrong = blocks.take(np.roll(np.arange(len(blocks)), 1))
    return MlpStack(*blocks.inp, *wrong.out, blocks.activation)


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
