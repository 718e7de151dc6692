"""Dropped networks that tempt a solver into a false claim, family by family.

Each family is a function of a generator. It makes a trial: a lost network, what is left of it, and
how far a search may go.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unshuffle import MlpNetwork, Piece, Pile, Records
from unshuffle.blocks.activations import FURTHER, Activation, find_activation, leaky_relu
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpStack

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Trial:
    """A dropped network to be solved, or an order to be checked.

    Parameters
    ----------
    truth
        The lost network.
    ids
        Names of its layers, in order.
    pile, records
        What is left.
    clean
        Whether the record holds the predictions of the pile's own network to rounding.
    steps
        After so many steps the search is interrupted; None where it may end.
    looks
        After so many looks at the clock no time is left; None where a limit holds.
    claimed
        An order to be verified instead of solved.
    """

    truth: MlpNetwork
    ids: tuple[int, ...]
    pile: Pile
    records: Records
    clean: bool = True
    steps: int | None = None
    looks: int | None = None
    claimed: tuple[int, ...] | None = None

    @property
    def finishes(self) -> bool:
        """Whether nothing but the limit ends the search."""
        return self.steps is None and self.looks is None


def network(
    rng: Rng,
    *,
    blocks: int = 8,
    width: int = 8,
    hidden: int = 16,
    outputs: int = 1,
    activation: Activation | str = "relu",
    step: float = 1.0,
    coupling: float = 0.12,
) -> MlpNetwork:
    """A random network whose blocks couple inp and out as training does; `step` scales them."""
    if isinstance(activation, str):
        activation = find_activation(activation)
    strength = np.exp(0.5 * rng.normal(size=(blocks, hidden, 1)))
    inp = rng.normal(size=(blocks, hidden, width)) / np.sqrt(width) * strength
    out = -coupling * inp.transpose(0, 2, 1)
    out += 0.1 * rng.normal(size=out.shape) * strength.transpose(0, 2, 1) / np.sqrt(hidden)
    stack = MlpStack(
        inp,
        0.3 * rng.normal(size=(blocks, hidden)),
        step * out,
        0.1 * step * rng.normal(size=(blocks, width)),
        activation,
    )
    last = Linear(rng.normal(size=(outputs, width)) / np.sqrt(width), rng.normal(size=outputs))
    return MlpNetwork(stack, last).astype(np.float32)


def drop(rng: Rng, truth: MlpNetwork, inputs: np.ndarray, **more: Any) -> Trial:
    """Shuffle a network's layers, and record its predictions."""
    layers = truth.layers()
    ids = tuple(rng.permutation(len(layers)).tolist())
    pieces = [
        Piece.linear(name, layer.weight, layer.bias)
        for name, layer in zip(ids, layers, strict=True)
    ]
    pieces = [pieces[k] for k in rng.permutation(len(pieces))]
    inputs = inputs.astype(np.float32)
    return Trial(truth, ids, Pile(pieces), Records(inputs, truth.predict(inputs)), **more)


def normal(rng: Rng, rows: int, truth: MlpNetwork) -> np.ndarray:
    """Normal inputs."""
    return rng.normal(size=(rows, truth.blocks.width))


def some_rows(rng: Rng) -> int:
    """A number of rows between 32 and 1,000, as likely in each octave."""
    return int(np.exp(rng.uniform(np.log(32), np.log(1000))))


def any_network(rng: Rng) -> MlpNetwork:
    """A network of any shape that the families vary."""
    return network(
        rng,
        blocks=int(rng.integers(4, 17)),
        width=int(rng.choice([4, 6, 8, 12])),
        hidden=int(rng.choice([8, 16, 24])),
        outputs=int(rng.choice([1, 1, 1, 2, 3])),
        activation=str(rng.choice(["relu", "relu", "gelu", "silu", "tanh"])),
        step=float(np.exp(rng.uniform(np.log(0.3), np.log(2)))),
        coupling=float(rng.choice([0.02, 0.05, 0.12])),
    )


def plain(rng: Rng) -> Trial:
    """Ordinary networks and records."""
    truth = any_network(rng)
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def cut_off(rng: Rng) -> Trial:
    """Searches that are interrupted, or run out of time, at any moment."""
    truth = deep_network(rng, int(rng.integers(12, 33)))
    trial = drop(rng, truth, normal(rng, some_rows(rng), truth))
    return cut(rng, trial)


def cut(rng: Rng, trial: Trial) -> Trial:
    """A trial whose search is interrupted after some steps, or some looks at the clock."""
    if rng.random() < 0.5:
        return replace(trial, steps=int(np.exp(rng.uniform(0, np.log(30)))))
    return replace(trial, looks=int(np.exp(rng.uniform(0, np.log(300)))))


def deep_network(rng: Rng, blocks: int, **shape: Any) -> MlpNetwork:
    """A network that is deep enough for a search to take a while."""
    return network(rng, blocks=blocks, width=12, hidden=16, coupling=0.03, **shape)


def narrow(rng: Rng) -> Trial:
    """Streams of width 1 to 3."""
    width = int(rng.integers(1, 4))
    truth = network(rng, blocks=int(rng.integers(3, 13)), width=width, hidden=8)
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def contracting(rng: Rng) -> Trial:
    """Deep networks that forget their inputs."""
    blocks = int(rng.choice([30, 60, 120]))
    truth = network(rng, blocks=blocks, width=6, hidden=12, coupling=0.3, step=1.2)
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def large_steps(rng: Rng) -> Trial:
    """Networks whose blocks change the stream by several times its size."""
    truth = network(rng, blocks=int(rng.integers(4, 13)), step=float(rng.uniform(3, 10)))
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def near_copies(rng: Rng) -> Trial:
    """Few different rows, each many times with its last digits changed."""
    truth = any_network(rng)
    different, jitter = int(rng.choice([1, 3, 20])), float(rng.choice([1e-12, 1e-10, 1e-8, 1e-6]))
    inputs = np.repeat(normal(rng, different, truth), 300 // different, axis=0)
    inputs = inputs * (1 + jitter * rng.normal(size=inputs.shape))
    trial = drop(rng, truth, inputs)
    predictions = truth.astype(np.float64).predict(inputs)
    return replace(trial, records=Records(inputs, predictions))


def vanishing(rng: Rng) -> Trial:
    """Inputs that vanish beside the biases."""
    truth = any_network(rng)
    inputs = float(rng.choice([1e-9, 1e-8, 1e-7, 1e-5])) * normal(rng, 300, truth)
    return drop(rng, truth, inputs)


def offsets(rng: Rng) -> Trial:
    """Outputs with offsets far beyond their spread."""
    outputs = int(rng.integers(1, 4))
    truth = network(rng, outputs=outputs, activation=str(rng.choice(["relu", "silu"])))
    offset = rng.choice([0, 30, 1e4], size=outputs).astype(np.float32)
    truth = MlpNetwork(truth.blocks, Linear(truth.last.weight, truth.last.bias + offset))
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def twins(rng: Rng) -> Trial:
    """Two blocks that compute the same: copies, units permuted, or units rescaled."""
    truth = any_network(rng)
    truth = replace(truth, blocks=replace(truth.blocks, activation=find_activation("relu")))
    blocks = truth.blocks.copy()
    one, other = rng.permutation(len(blocks))[:2]
    blocks.overwrite(int(other), int(one))
    kind = int(rng.integers(3))
    if kind == 1:
        order = rng.permutation(blocks.inp_weight.shape[1])
        blocks.inp_weight[other] = blocks.inp_weight[one][order]
        blocks.inp_bias[other] = blocks.inp_bias[one][order]
        blocks.out_weight[other] = blocks.out_weight[one][:, order]
    elif kind == 2:  # powers of two, so that nothing is rounded
        scale = 2.0 ** rng.integers(-2, 3, blocks.inp_weight.shape[1]).astype(np.float32)
        blocks.inp_weight[other] *= scale[:, None]
        blocks.inp_bias[other] *= scale
        blocks.out_weight[other] /= scale
    truth = MlpNetwork(blocks, truth.last)
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def missing(rng: Rng) -> Trial:
    """A layer or a block is lost."""
    truth = network(rng, blocks=int(rng.integers(4, 9)))
    trial = drop(rng, truth, normal(rng, some_rows(rng), truth))
    at = int(rng.integers(len(truth.blocks)))
    lost = trial.ids[2 * at : 2 * at + 2] if rng.random() < 0.5 else trial.ids[2 * at : 2 * at + 1]
    left = Pile(piece for piece in trial.pile if piece.id not in lost)
    return replace(trial, pile=left, clean=False)


def noisy(rng: Rng) -> Trial:
    """Noise of six kinds."""
    truth = any_network(rng)
    trial = drop(rng, truth, normal(rng, max(64, some_rows(rng)), truth))
    y = trial.records.predictions.astype(np.float64)
    share = float(np.exp(rng.uniform(np.log(1e-4), np.log(0.2)))) * y.std(axis=0)
    kind = int(rng.integers(6))
    if kind == 0:
        y = y + share * rng.normal(size=y.shape)
    elif kind == 1:
        y = y + share * rng.uniform(-1.7, 1.7, size=y.shape)
    elif kind == 2:
        y = y + share * rng.standard_t(3, size=y.shape)
    elif kind == 3:
        y = y * (1 + share / y.std(axis=0) * rng.normal(size=y.shape))
    elif kind == 4:
        y = np.round(y, int(rng.integers(1, 4)))
    else:
        y = np.floor(y * 100) / 100
    return replace(trial, records=Records(trial.records.inputs, y), clean=False)


def unknown_activation(rng: Rng) -> Trial:
    """Activations that the solver does not know."""
    kinds = {
        "cube": (lambda z: z**3 / 4, lambda z: 3 * z**2 / 4),
        "sine": (np.sin, np.cos),
        "mish": (lambda z: z * np.tanh(np.log1p(np.exp(z))), np.ones_like),
        "swish 2": (lambda z: z / (1 + np.exp(-2 * z)), np.ones_like),
        "softsign": (lambda z: z / (1 + abs(z)), lambda z: (1 + abs(z)) ** -2.0),
    }
    name = str(rng.choice([*kinds]))
    truth = network(rng, activation=Activation(name, *kinds[name]))
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def wrong_record(rng: Rng) -> Trial:
    """A record of another network, or with its predictions shuffled, or constant."""
    truth = any_network(rng)
    trial = drop(rng, truth, normal(rng, some_rows(rng), truth))
    inputs, y = trial.records.inputs, trial.records.predictions
    kind = int(rng.integers(3))
    if kind == 0:
        other = network(rng, width=truth.blocks.width, outputs=y.shape[1])
        y = other.predict(inputs)
    else:
        y = rng.permutation(y) if kind == 1 else np.full_like(y, 0.25)
    return replace(trial, records=Records(inputs, y), clean=False)


def one_prediction(rng: Rng) -> Trial:
    """One to three rows with predictions."""
    truth = network(rng, blocks=int(rng.integers(3, 9)))
    trial = drop(rng, truth, normal(rng, 200, truth))
    y = trial.records.predictions.copy()
    y[int(rng.integers(1, 4)) :] = np.nan
    return replace(trial, records=Records(trial.records.inputs, y))


def checked(rng: Rng) -> Trial:
    """Orders that are checked: the right one, or one with some of its blocks exchanged."""
    truth = any_network(rng)
    trial = drop(rng, truth, normal(rng, some_rows(rng), truth))
    return replace(trial, claimed=exchanged(rng, trial))


def exchanged(rng: Rng, trial: Trial) -> tuple[int, ...]:
    """The right order, or one with some of its blocks exchanged."""
    order = list(range(len(trial.truth.blocks)))
    for _ in range(int(rng.choice([0, 1, 1, 2, 12]))):
        at = int(rng.integers(len(order) - 1))
        order[at], order[at + 1] = order[at + 1], order[at]
    ids = [name for k in order for name in trial.ids[2 * k : 2 * k + 2]]
    return (*ids, trial.ids[-1])


def noisy_cut_off(rng: Rng) -> Trial:
    """Ordinary networks of which the search is cut off and the record noisy."""
    return cut(rng, noisy(rng))


def deep(rng: Rng) -> Trial:
    """Deep networks that keep their inputs."""
    truth = deep_network(rng, int(rng.integers(24, 61)), outputs=int(rng.choice([1, 4])))
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def wide(rng: Rng) -> Trial:
    """Streams wider than what the test for noise looks at, with and without noise."""
    truth = network(rng, blocks=int(rng.integers(3, 7)), width=600, hidden=32, coupling=0.02)
    trial = drop(rng, truth, normal(rng, some_rows(rng), truth))
    if rng.random() < 0.5:
        return trial
    y = trial.records.predictions.astype(np.float64)
    y += 0.01 * y.std(axis=0) * rng.normal(size=y.shape)
    return replace(trial, records=Records(trial.records.inputs, y), clean=False)


def unequal(rng: Rng) -> Trial:
    """Outputs whose spreads differ by powers of ten."""
    outputs = int(rng.integers(2, 5))
    truth = network(rng, outputs=outputs, activation=str(rng.choice(["relu", "silu", "gelu"])))
    scale = (10.0 ** rng.integers(-4, 5, size=outputs)).astype(np.float32)
    last = Linear(truth.last.weight * scale[:, None], truth.last.bias * scale)
    truth = MlpNetwork(truth.blocks, last)
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def further_activation(rng: Rng) -> Trial:
    """Activations that no search begins with."""
    kinds = [*FURTHER.values(), leaky_relu(round(float(rng.uniform(0.05, 0.4)), 3))]
    truth = network(rng, blocks=10, activation=kinds[int(rng.integers(len(kinds)))])
    return drop(rng, truth, normal(rng, max(128, some_rows(rng)), truth))


def coarse(rng: Rng) -> Trial:
    """Weights that were kept coarsely: rounded to halves or to levels, or pruned."""
    truth = any_network(rng)
    trial = drop(rng, truth, normal(rng, some_rows(rng), truth))
    kind = int(rng.integers(4))

    def kept(weight: np.ndarray) -> np.ndarray:
        largest = np.abs(weight).max()
        if kind == 0:
            return weight.astype(np.float16).astype(np.float32)
        if kind == 1:
            return (weight.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        if kind == 2:
            return np.round(weight / largest * 127).astype(np.float32) * np.float32(largest / 127)
        return np.where(np.abs(weight) < 0.02 * largest, 0, weight).astype(np.float32)

    pieces = [Piece.linear(one.id, kept(one.weight), one.bias) for one in trial.pile]
    return replace(trial, pile=Pile(pieces), clean=False)


def clipped(rng: Rng) -> Trial:
    """Predictions that were clipped, by none to a third of them."""
    truth = any_network(rng)
    trial = drop(rng, truth, normal(rng, some_rows(rng), truth))
    y = trial.records.predictions
    low, high = np.quantile(y, [rng.uniform(0, 0.15), rng.uniform(0.85, 1)], axis=0)
    records = Records(trial.records.inputs, np.clip(y, low, high).astype(np.float32))
    return replace(trial, records=records, clean=False)


def noisy_checked(rng: Rng) -> Trial:
    """Orders that are checked against a noisy record."""
    trial = noisy(rng)
    return replace(trial, claimed=exchanged(rng, trial))


def few_rounded(rng: Rng) -> Trial:
    """A few predictions, rounded to decimals, of networks to be solved or orders to be checked."""
    trial = one_prediction(rng)
    y = np.round(trial.records.predictions.astype(np.float64), int(rng.integers(1, 4)))
    trial = replace(trial, records=Records(trial.records.inputs, y), clean=False)
    return trial if rng.random() < 0.5 else replace(trial, claimed=exchanged(rng, trial))


FAMILIES: dict[str, Callable[[Rng], Trial]] = {
    "plain": plain,
    "cut off": cut_off,
    "narrow": narrow,
    "contracting": contracting,
    "large steps": large_steps,
    "near-copies": near_copies,
    "vanishing inputs": vanishing,
    "offsets": offsets,
    "twins": twins,
    "missing": missing,
    "noise": noisy,
    "noise, cut off": noisy_cut_off,
    "unknown activation": unknown_activation,
    "wrong record": wrong_record,
    "few predictions": one_prediction,
    "verify": checked,
    "deep": deep,
    "wide": wide,
    "unequal outputs": unequal,
    "further activation": further_activation,
    "coarse": coarse,
    "clipped": clipped,
    "verify, noise": noisy_checked,
    "few rounded predictions": few_rounded,
}
