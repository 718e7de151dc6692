"""Weights that a training keeps as parts of which they are computed.

Weight normalisation (Salimans and Kingma, 2016) keeps a length g and a direction v. The weight is g
v / |v|. Spectral normalisation (Miyato and others, 2018) divides a matrix by u·W·v, with the
singular vectors u and v of its last steps. Pruning keeps a mask beside a matrix.
"""

import re
from collections.abc import Callable, Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError, shown
from unshuffle.files.tensors import Tensor

Numbers = NDArray[np.float64]
Shape = tuple[int, ...]


def _weight_norm(g: Numbers, v: Numbers) -> Numbers:
    """The lengths are those along the axes of which g has one place."""
    axes = tuple(axis for axis in range(v.ndim) if g.ndim == 0 or g.shape[axis] == 1)
    norms: Numbers = np.sqrt(np.square(v).sum(axis=axes, keepdims=True))
    return g * (v / norms)


def _are_lengths(g: Shape, v: Shape) -> bool:
    one_for_each = len(g) == len(v) and all(a in (1, b) for a, b in zip(g, v, strict=True))
    return len(v) > 1 and (not g or (one_for_each and 1 in g))


def _spectral_norm(matrix: Numbers, u: Numbers, v: Numbers) -> Numbers:
    return matrix / (u @ matrix @ v)


def _are_vectors(matrix: Shape, u: Shape, v: Shape) -> bool:
    return len(matrix) == 2 and u == matrix[:1] and v == matrix[1:]


def _pruned(matrix: Numbers, mask: Numbers) -> Numbers:
    return matrix * mask


# What the parts of a weight are called behind its name, whether they fit, and what they make.
_WAYS: tuple[tuple[tuple[str, ...], Callable[..., bool], Callable[..., Numbers]], ...] = (
    (("_g", "_v"), _are_lengths, _weight_norm),
    ((".original0", ".original1"), _are_lengths, _weight_norm),
    (("_orig", "_u", "_v"), _are_vectors, _spectral_norm),
    ((".original", ".0._u", ".0._v"), _are_vectors, _spectral_norm),
    (("_orig", "_mask"), lambda matrix, mask: matrix == mask, _pruned),
)


_REMOVED = "torch.nn.utils.remove_weight_norm(layer)"
_REMOVED_NEWER = "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"

# The halves of a weight norm, by the ends of their names; what they are, and what joins them.
_HALVES = (
    ("_g", "_v", "lengths", _REMOVED),
    ("_v", "_g", "directions", _REMOVED),
    (".original0", ".original1", "lengths", _REMOVED_NEWER),
    (".original1", ".original0", "directions", _REMOVED_NEWER),
)


_LORA = re.compile(r"(?<![A-Za-z])lora_[AB](?![A-Za-z])")


def _without_lora(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Leave out the factors of LoRA (Hu and others, 2021) that add nothing; refuse others.

    Their product is scaled by numbers that no file of weights has.
    """
    factors = [name for name in tensors if _LORA.search(name)]
    for name in factors:
        if "lora_B" in name and tensors[name].values.any():
            raise FileError(
                f"{where}: holds {shown(name)}, a factor of LoRA, which is added to a weight; save "
                "the state dict of model.merge_and_unload(), or one without these factors if the "
                "base model made the predictions"
            )
    return {name: tensor for name, tensor in tensors.items() if name not in factors}


def computed(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Replace the parts of weights in a file by the weights; other tensors stay.

    A FileError says that one half of a weight norm is without the other, or that LoRA adds to a
    weight.
    """
    tensors = _without_lora(tensors, where)
    made: dict[str, tuple[str, Tensor]] = {}  # by the first part, in whose place it stands
    parts: set[str] = set()
    for ends, fit, make in _WAYS:
        for first in tensors:
            base = first.removesuffix(ends[0])
            names = [base + end for end in ends]
            if base == first or not all(name in tensors for name in names):
                continue
            held = [tensors[name] for name in names]
            if first in parts or not fit(*(each.values.shape for each in held)):
                continue
            matrix = max(held, key=lambda each: each.values.size)
            with np.errstate(all="ignore"):  # a piece refuses what is not finite
                weight = make(*(each.values.astype(np.float64) for each in held))
            tensor = Tensor(weight.astype(matrix.values.dtype), matrix.stored_as)
            made[first] = base.replace("parametrizations.", ""), tensor
            parts.update(names)
    kept = {name: (name, tensor) for name, tensor in tensors.items() if name not in parts}
    _check_halves(kept, where)
    return dict((made | kept)[name] for name in tensors if name in made or name in kept)


def _check_halves(names: Collection[str], where: str) -> None:
    """Refuse one half of a weight norm, from which no weight can be computed."""
    for name in names:
        for end, other, what, removed in _HALVES:
            base = name.removesuffix(end)
            if base != name and base.endswith("weight") and base + other not in names:
                raise FileError(
                    f"{where}: holds {shown(name)}, the {what} of a weight norm, without "
                    f"{shown(base + other)}; the weight is computed of both: put them in one file, "
                    f"or call {removed} for each layer and save the state dict again"
                )
