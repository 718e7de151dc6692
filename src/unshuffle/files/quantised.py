"""Numbers kept as int8 or uint8 with scales: number = scale * (level - zero point).

The scheme is that of Jacob et al., CVPR 2018, section 2.1 ("Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference"). Each tensor, or each row of it, has one
scale.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError, listed, shown
from unshuffle.files import limits
from unshuffle.files.tensors import INTEGER_BYTES, ITEM_BYTES, Tensor
from unshuffle.pieces.pile import QUANTISED, Floats

LARGEST = 127  # levels on either side of zero that are written


def quantise(values: Floats) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round numbers to 255 equally spaced levels, the outermost at the largest magnitude.

    A vector has one scale, of shape (). The rows of a matrix have levels of their own and scales of
    shape (rows,).
    """
    scale = (np.abs(values).max(axis=-1, initial=0.0) / LARGEST).astype(np.float32)
    scale = np.where(scale > 0, scale, np.float32(1))
    levels = np.rint(values / scale[..., None]).clip(-LARGEST, LARGEST).astype(np.int8)
    return levels, scale


def restored(
    levels: NDArray[Any], scale: NDArray[np.float32], zero: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """The numbers in float32 that int8 or uint8 levels stand for.

    A scale or zero point is one number, or one for each row of the levels.
    """
    numbers = levels.astype(np.float32)
    by_row = (-1,) + (1,) * max(levels.ndim - 1, 0) if levels.ndim else ()
    if zero is not None:
        numbers -= zero.reshape(by_row)
    with np.errstate(over="ignore"):  # a piece refuses what is not finite
        numbers *= scale.reshape(by_row)
    return numbers


def restore(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Replace the quantised tensors of a file, and what belongs to them, by float32 ones.

    The scale of `<name>` is called `<name>_scale` or `<name>.scale`. That of a weight may also be
    `scale` in its place. A zero point is named likewise. Integers that are no weight or bias stay.
    """
    quantised = [
        name
        for name, tensor in tensors.items()
        if tensor.stored_as in INTEGER_BYTES and name.endswith(("weight", "bias"))
    ]
    taken = sum(tensors[name].values.size * ITEM_BYTES["float32"] for name in quantised)
    limits.check_growth(taken, limits.TOTAL_BYTES, where)
    found = dict(tensors)
    for name in quantised:
        tensor, what = tensors[name], f"{where}: tensor {shown(name)}"
        if tensor.stored_as not in QUANTISED:
            raise FileError(
                f"{what} is stored as {tensor.stored_as}, but of integers only "
                f"{' and '.join(QUANTISED)} with scales are read; save it as float32"
            )
        scale = _companion(found, name, "scale", what)
        if scale is None:
            raise FileError(
                f"{what} is stored as {tensor.stored_as} without a scale; add "
                f"{shown(f'{name}_scale')}, or save it as float32"
            )
        numbers = _one_or_by_row(scale, tensor, f"{what} has a scale")
        wrong = numbers[~(np.isfinite(numbers) & (numbers > 0))]
        if len(wrong):
            raise FileError(
                f"{what} has a scale of {wrong[0]:.3g}, but scales are positive and finite in "
                "float32; quantise it again, or save it as float32"
            )
        zero = _companion(found, name, "zero_point", what)
        zeros = None if zero is None else _zeros(zero, tensor, what)
        found[name] = Tensor(restored(tensor.values, numbers, zeros), tensor.stored_as)
    return found


def _companion(tensors: dict[str, Tensor], name: str, kind: str, what: str) -> Tensor | None:
    """Take the scale or zero point of a tensor out of a file's tensors."""
    names = [f"{name}_{kind}", f"{name}.{kind}"]
    if name.endswith("weight"):
        names.append(name.removesuffix("weight") + kind)
    present = [one for one in names if one in tensors]
    if len(present) > 1:
        raise FileError(f"{what} has {listed(present)}, but one is needed; leave the others out")
    return tensors.pop(present[0]) if present else None


def _one_or_by_row(found: Tensor, tensor: Tensor, what: str) -> NDArray[np.float32]:
    """The numbers of a scale or zero point: one, or one a row."""
    shape, rows = found.values.shape, tensor.values.shape[:1]
    if found.values.size != 1 and shape not in (rows, (*rows, 1)):
        raise FileError(
            f"{what} of shape {shape}, but one number, or one for each row of "
            f"{tensor.values.shape}, is needed; quantise it again, or save it as float32"
        )
    with np.errstate(over="ignore"):
        return found.values.astype(np.float32).ravel()


def _zeros(found: Tensor, tensor: Tensor, what: str) -> NDArray[np.float32]:
    zeros = _one_or_by_row(found, tensor, f"{what} has a zero point")
    levels = np.iinfo(tensor.stored_as)
    fits = (zeros >= levels.min) & (zeros <= levels.max) & (zeros == np.rint(zeros))
    if not fits.all():
        raise FileError(
            f"{what} has a zero point of {zeros[~fits][0]:.3g}, but it is one of the levels "
            f"{levels.min} to {levels.max} of {tensor.stored_as}; quantise it again, or save it as "
            "float32"
        )
    return zeros
