"""How signals grow: the checkpoints of an oracle while it is trained. Needs the extra `torch`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpNetwork, MlpStack
from unshuffle.errors import UsageError
from unshuffle.lab.causes import (
    TINY,
    imbalance,
    invariants,
    log_norm_correlation,
    relative_traces,
    squares,
)
from unshuffle.lab.landscape import spearman
from unshuffle.lab.metrics import Measurements
from unshuffle.lab.subjects import Subject
from unshuffle.oracle.workers import stop_if_asked


def without_skips(module: Any) -> None:
    """Take the skip connections out of a residual network: a block gives only what it adds."""
    for block in module.blocks:
        block.register_forward_hook(lambda _, inputs, output: output - inputs[0])


def growth(subject: Subject, prepare: Callable[[Any], None] | None = None) -> Measurements:
    """Train an oracle anew and watch the traces, the balance and the norms of its blocks.

    Traces are relative to their spread for random matrices, √d trace / ‖W_out W_in‖_F; a magnitude
    of about 0.8 is chance.

    Parameters
    ----------
    subject
        An oracle.
    prepare
        Changes the module before it is trained.

    Raises
    ------
    UsageError
        If the subject is no oracle: nobody has the checkpoints of a network that was found.
    """
    if subject.recipe is None:
        raise UsageError(
            f"{subject.name} is no oracle: there are no checkpoints of its training; choose a "
            "recipe"
        )
    from unshuffle.oracle.training import train

    networks: list[MlpNetwork] = []
    oracle = train(
        subject.recipe,
        on_network=networks.append,
        on_epoch=lambda _: stop_if_asked(),
        prepare=prepare,
    )
    blocks = [network.blocks for network in networks]
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
    shares: NDArray[np.float64] = (turned * epochs[:, None]).max(axis=0) / epochs[-1]
    return shares


def drift(before: MlpStack, after: MlpStack) -> float:
    """How much the invariants of gradient flow moved, relative to how much the weights did.

    Σ |ΔD_k| / Σ (‖ΔW_in[k, :]‖² + Δb_in[k]² + ‖ΔW_out[:, k]‖²)^½ (‖W_in[k, :]‖² + b_in[k]² +
    ‖W_out[:, k]‖²)^½ over all hidden units: 0 where they are conserved; at most about 2, where
    weights move along themselves on one side only.
    """
    moved = MlpStack(
        after.inp_weight - before.inp_weight,
        after.inp_bias - before.inp_bias,
        after.out_weight - before.out_weight,
        after.out_bias,
    )
    changed = np.abs(invariants(after) - invariants(before)).sum()
    sizes = [np.add(*squares(one)) for one in (moved, after, before)]
    possible = np.sqrt(sizes[0] * np.maximum(sizes[1], sizes[2])).sum()
    return float(changed / max(possible, TINY))
