"""A whole network from one file: the state dict of a residual network of this kind."""

import os
from collections.abc import Sequence

import numpy as np

from unshuffle.blocks.activations import RELU, Activation
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.errors import FileError, shown
from unshuffle.files.opening import as_path
from unshuffle.files.pile_reader import read_layers


def read_network(path: str | os.PathLike[str], activation: Activation = RELU) -> MlpNetwork:
    """Read a network whose layers lie in the file in the order of their application.

    The file is a .pth, .pt, .safetensors or .npz of tensors called `<layer>.weight` and
    `<layer>.bias`. In safetensors, which keeps no sequence, the names decide, with numbers in them
    as numbers. Two other sequences are put right where the shapes show them: a last layer that
    comes first, and out before inp. The network is float64 if any layer is, else float32. No file
    of weights states its activation.
    """
    path = as_path(path)
    layers = [
        Linear(layer.weight.values, layer.bias.values)
        for layer in read_layers(path)
        if layer.weight is not None and layer.bias is not None
    ]
    if len(layers) >= 3 and len(layers) % 2 == 1:
        turned = [*layers[1:], layers[0]]
        for candidate in (layers, _exchanged(layers), turned, _exchanged(turned)):
            if _is_residual(candidate):
                dtype = np.result_type(*(layer.weight for layer in layers))
                return MlpNetwork.from_layers(
                    [layer.astype(dtype) for layer in candidate], activation
                )
    shapes = ", ".join(" × ".join(map(str, layer.weight.shape)) for layer in layers[:5])
    raise FileError(
        f"{shown(path)}: holds {len(layers)} layers of shapes {shapes}{', …' * (len(layers) > 5)}; "
        "expected K times an inp (h × d) and an out layer (d × h), then one last layer (o × d); "
        "is it a residual network of this kind?"
    )


def _exchanged(layers: Sequence[Linear]) -> list[Linear]:
    """The layers of each block in the other sequence."""
    *paired, last = layers
    return [layer for two in zip(paired[1::2], paired[::2], strict=True) for layer in two] + [last]


def _is_residual(layers: Sequence[Linear]) -> bool:
    """Whether the shapes of so many layers are those of inp, out, inp, out, …, last."""
    *paired, last = [layer.weight.shape for layer in layers]
    inp = paired[0]
    return (
        len(inp) == 2
        and paired == [inp, inp[::-1]] * (len(layers) // 2)
        and last[1:] == inp[1:]
        and all(layer.bias.shape == layer.weight.shape[:1] for layer in layers)
    )
