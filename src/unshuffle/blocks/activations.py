"""Activation functions of the hidden layer, by name."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from unshuffle.blocks.normal import normal_cdf
from unshuffle.errors import UsageError
from unshuffle.pieces.pile import Floats

LEAKY = "leaky_relu"
LEAKY_SLOPE = 0.01  # of PyTorch's leaky ReLU, unless its name says another, as leaky_relu_0.2


@dataclass(frozen=True)
class Activation:
    """An elementwise function and its derivative, by its name in `torch.nn.functional`.

    Both map an array to one of the same shape, and `apply` may overwrite its argument. The name of
    a leaky ReLU ends with its slope. "gelu_tanh" is GELU in its tanh form, "quick_gelu" the one
    that CLIP uses, and "relu2" ReLU squared.
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


def _gelu(z: Floats) -> Floats:
    z *= normal_cdf(z)
    return z


def _gelu_derivative(z: Floats) -> Floats:
    density = np.exp(-np.square(z) / 2) / np.asarray(np.sqrt(2 * np.pi), z.dtype)
    return normal_cdf(z) + z * density


def _gelu_tanh(z: Floats) -> Floats:
    z *= _sigmoid(_gelu_argument(z))
    return z


def _gelu_tanh_derivative(z: Floats) -> Floats:
    s = _sigmoid(_gelu_argument(z))
    inner: Floats = np.asarray(np.sqrt(8 / np.pi), z.dtype) * (1 + 3 * 0.044715 * np.square(z))
    return s + z * s * (1 - s) * inner


def _gelu_argument(z: Floats) -> Floats:
    # (1 + tanh u) / 2 is the logistic function of 2 u.
    inner: Floats = np.asarray(np.sqrt(8 / np.pi), z.dtype) * (z + 0.044715 * z**3)
    return inner


# Of the logistic function that stands for the normal one in CLIP, by Hendrycks & Gimpel 2016.
QUICK = 1.702


def _quick_gelu(z: Floats) -> Floats:
    z *= _sigmoid(np.asarray(QUICK, z.dtype) * z)
    return z


def _quick_gelu_derivative(z: Floats) -> Floats:
    steep: Floats = np.asarray(QUICK, z.dtype) * z
    return _silu_derivative(steep)


def _elu(z: Floats) -> Floats:
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def _elu_derivative(z: Floats) -> Floats:
    return np.exp(np.minimum(z, 0))


def _sigmoid_derivative(z: Floats) -> Floats:
    s = _sigmoid(z)
    return s * (1 - s)


def _softplus(z: Floats) -> Floats:
    # PyTorch's is linear from 20 on.
    return np.where(z > 20, z, np.logaddexp(z, np.zeros((), z.dtype)))


def _hardswish(z: Floats) -> Floats:
    return z * np.clip(z + 3, 0, 6) / 6


def _hardswish_derivative(z: Floats) -> Floats:
    inside = np.abs(z) < 3
    return np.where(inside, (2 * z + 3) / 6, (z > 0).astype(z.dtype)).astype(z.dtype, copy=False)


def _mish(z: Floats) -> Floats:
    made: Floats = z * np.tanh(_softplus(z))
    return made


def _mish_derivative(z: Floats) -> Floats:
    t = np.tanh(_softplus(z))
    slope: Floats = t + z * (1 - t**2) * _sigmoid(z)
    return slope


# Scale and slope of Klambauer, Unterthiner, Mayr & Hochreiter 2017.
SELU = 1.0507009873554805, 1.0507009873554805 * 1.6732632423543772


def _selu(z: Floats) -> Floats:
    scale, below = (np.asarray(each, z.dtype) for each in SELU)
    return np.where(z > 0, scale * z, below * np.expm1(np.minimum(z, 0)))


def _selu_derivative(z: Floats) -> Floats:
    scale, below = (np.asarray(each, z.dtype) for each in SELU)
    return np.where(z > 0, scale, below * np.exp(np.minimum(z, 0)))


def _softsign(z: Floats) -> Floats:
    made: Floats = z / (1 + np.abs(z))
    return made


def _softsign_derivative(z: Floats) -> Floats:
    slope: Floats = 1 / (1 + np.abs(z)) ** 2
    return slope


def _relu6(z: Floats) -> Floats:
    return np.clip(z, 0, 6, out=z)


def _relu6_derivative(z: Floats) -> Floats:
    return ((z > 0) & (z < 6)).astype(z.dtype)


def _squared_relu(z: Floats) -> Floats:
    return np.square(_relu(z), out=z)


def _squared_relu_derivative(z: Floats) -> Floats:
    slope: Floats = 2 * np.maximum(z, 0)
    return slope


def leaky_relu(slope: float) -> Activation:
    """A leaky ReLU with some slope where its argument is negative."""

    def apply(z: Floats) -> Floats:
        return np.where(z > 0, z, np.asarray(slope, z.dtype) * z)

    def derivative(z: Floats) -> Floats:
        return np.where(z > 0, np.ones((), z.dtype), np.asarray(slope, z.dtype))

    name = LEAKY if slope == LEAKY_SLOPE else f"{LEAKY}_{slope:g}"
    return Activation(name, apply, derivative)


RELU = Activation("relu", _relu, _relu_derivative)

# Those that a search tries from the beginning, in that sequence.
ACTIVATIONS = {
    "relu": RELU,
    "gelu": Activation("gelu", _gelu, _gelu_derivative),
    "silu": Activation("silu", _silu, _silu_derivative),
    "tanh": Activation("tanh", _tanh, _tanh_derivative),
}


# Those that are tried only on what a search has found.
FURTHER = {
    activation.name: activation
    for activation in (
        Activation("gelu_tanh", _gelu_tanh, _gelu_tanh_derivative),
        Activation("quick_gelu", _quick_gelu, _quick_gelu_derivative),
        Activation("elu", _elu, _elu_derivative),
        Activation("sigmoid", _sigmoid, _sigmoid_derivative),
        Activation("softplus", _softplus, _sigmoid),
        Activation("hardswish", _hardswish, _hardswish_derivative),
        Activation("mish", _mish, _mish_derivative),
        Activation("selu", _selu, _selu_derivative),
        Activation("softsign", _softsign, _softsign_derivative),
        Activation("relu6", _relu6, _relu6_derivative),
        Activation("relu2", _squared_relu, _squared_relu_derivative),
        leaky_relu(LEAKY_SLOPE),
    )
}


# What a name that is not known might have been.
EXPECTED = f"one of {', '.join([*ACTIVATIONS, *FURTHER])}"


def find_activation(name: str) -> Activation:
    """Look an activation up by its name, in any case; raises `UsageError` if there is none."""
    known, name = ACTIVATIONS | FURTHER, str(name).lower()
    if name in known:
        return known[name]
    slope = name.removeprefix(f"{LEAKY}_") if LEAKY in name else ""
    try:
        return leaky_relu(float(slope))
    except ValueError:
        raise UsageError.unknown("activation", name, known) from None


def chosen_activation(name: str | None) -> Activation | None:
    """The activation of that name. None without a name, and for "auto", which means the same."""
    return None if name is None or str(name).lower() == "auto" else find_activation(name)


def is_activation(name: str) -> bool:
    """Whether there is an activation of that name."""
    with suppress(UsageError):
        return find_activation(name).name == name
    return False
