"""Activation functions of the hidden layer, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from unshuffle.pile import Floats


@dataclass(frozen=True)
class Activation:
    """An elementwise function and its derivative.

    Parameters
    ----------
    name
        As PyTorch calls the function in `torch.nn.functional`.
    apply
        Maps an array to the activated array of the same shape; may overwrite its argument.
    derivative
        Maps the same argument to the derivative at each element.
    """

    name: str
    apply: Callable[[Floats], Floats]
    derivative: Callable[[Floats], Floats]


def _relu(z: Floats) -> Floats:
    out: Floats = np.maximum(z, 0, out=z)
    return out


def _step(z: Floats) -> Floats:
    gate: np.ndarray[Any, np.dtype[np.floating]] = (z > 0).astype(z.dtype)
    return gate


RELU = Activation("relu", _relu, _step)
