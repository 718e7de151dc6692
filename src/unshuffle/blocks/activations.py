"""Activation functions of the hidden layer, by name."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unshuffle.errors import UsageError
from unshuffle.pieces.pile import Floats


@dataclass(frozen=True)
class Activation:
    """An elementwise function and its derivative, by its name in `torch.nn.functional`.

    Both map an array to one of the same shape; `apply` may overwrite its argument.
    """

    name: str
    apply: Callable[[Floats], Floats]
    derivative: Callable[[Floats], Floats]


def _relu(z: Floats) -> Floats:
    return np.maximum(z, 0, out=z)


def _relu_derivative(z: Floats) -> Floats:
    return (z > 0).astype(z.dtype)


def _tanh(z: Floats) -> Floats:
    return np.tanh(z, out=z)


def _tanh_derivative(z: Floats) -> Floats:
    return 1 - np.tanh(z) ** 2


def _sigmoid(z: Floats) -> Floats:
    # tanh does not overflow, whatever the sign of z.
    out: Floats = np.tanh(z / 2)
    out += 1
    out /= 2
    return out


def _silu(z: Floats) -> Floats:
    z *= _sigmoid(z)
    return z


def _silu_derivative(z: Floats) -> Floats:
    s = _sigmoid(z)
    return s * (1 + z * (1 - s))


def _normal_cdf(z: Floats) -> Floats:
    from scipy.special import ndtr  # only GELU waits for SciPy

    out: Floats = ndtr(z)
    return out


def _gelu(z: Floats) -> Floats:
    z *= _normal_cdf(z)
    return z


def _gelu_derivative(z: Floats) -> Floats:
    density = np.exp(-np.square(z) / 2) / np.asarray(np.sqrt(2 * np.pi), z.dtype)
    return _normal_cdf(z) + z * density


RELU = Activation("relu", _relu, _relu_derivative)

# In the sequence in which they are tried.
ACTIVATIONS = {
    "relu": RELU,
    "gelu": Activation("gelu", _gelu, _gelu_derivative),
    "silu": Activation("silu", _silu, _silu_derivative),
    "tanh": Activation("tanh", _tanh, _tanh_derivative),
}


def find_activation(name: str) -> Activation:
    """Look an activation function up by its name; raises `UsageError` if there is none."""
    if name not in ACTIVATIONS:
        raise UsageError.unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
