"""Pairing by what hidden units do: profiles of their activity, against how out layers weigh them.

The inputs are those of the record, which only the first block saw in truth, or noise, which none
did. The write-up "dropped" tried such profiles before it found the trace.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unshuffle.grouping.signals import Clues, Scores, Signal, correlations
from unshuffle.pieces.pile import Floats

PROFILED_ROWS = 500

NOISE_SEED = 0

Profile = Callable[[Floats], NDArray[np.float64]]
"""Maps activations, shape (rows, hidden), to a number for each hidden unit."""


def _magnitude(activations: Floats) -> NDArray[np.float64]:
    return np.asarray(np.abs(activations).mean(axis=0, dtype=np.float64))


def _variance(activations: Floats) -> NDArray[np.float64]:
    return np.asarray(activations.var(axis=0, dtype=np.float64))


def _alive(activations: Floats) -> NDArray[np.float64]:
    """The share of the rows on which a unit is open; 0 for a dead unit."""
    return np.asarray(np.mean(activations > 0, axis=0, dtype=np.float64))


def profile_match(profile: Profile, noise: bool, clues: Clues) -> Scores:
    """Correlation over hidden units of an activity profile with the norms of W_out's columns.

    Either sign counts: whether out layers weigh busy units more or less is not known beforehand.
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
    """Minus the mean cosine between the record's inputs and what a block adds to them.

    A black-box signal: it runs candidate blocks and looks at no weight.
    """
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
        errors = np.square(predictions - wanted[:, None], dtype=np.float64)
        scores.append(-errors.mean(axis=(0, 2)))
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

_PROFILES: dict[str, tuple[Profile, str]] = {
    "magnitude": (_magnitude, "out layers weigh units by how large their activations are"),
    "variance": (_variance, "out layers weigh units by how much their activations vary"),
    "alive": (_alive, "out layers do not listen to dead units"),
}

ACTIVITY_SIGNALS = (
    *(
        Signal(
            f"activity-{name}{'-noise' * noise}",
            partial(profile_match, profile, noise),
            f"{bet}, {'whatever the inputs' if noise else 'seen on the inputs of the record'}",
            _DROPPED,
            needs_record=True,
        )
        for noise in (False, True)
        for name, (profile, bet) in _PROFILES.items()
    ),
    Signal(
        "active-columns",
        active_columns,
        "columns of W_out vary more where the unit is busy",
        _DROPPED,
        needs_record=True,
    ),
    Signal(
        "step-against-input",
        step_against_input,
        "a block steps against its input",
        "the negative trace, seen from outside",
        needs_record=True,
    ),
    Signal(
        "prediction-error",
        prediction_error,
        "a true block alone brings the prediction closer than a wrong one",
        'greedy pairing by the error, the write-up "dropped" at gardberg.xyz',
        needs_record=True,
    ),
)
