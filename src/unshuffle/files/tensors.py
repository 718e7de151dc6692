"""A tensor as a file holds it, and the number formats that are read."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError
from unshuffle.files.opening import shown

ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
"""The number formats of weights and biases, and the bytes a number takes."""

INTEGER_BYTES = {"int8": 1, "uint8": 1, "int32": 4, "int64": 8}
"""The formats of quantised numbers, of which the first two are read, and of their zero points."""


def check_dtype(stored_as: str, tensor: str, path: object) -> None:
    """Refuse a number format in which nothing of a linear layer of this kind is stored.

    Parameters
    ----------
    stored_as
        NumPy's or torch's name of the format.
    tensor, path
        Where it was found, for the message.

    Raises
    ------
    FileError
        If the format is not one of `ITEM_BYTES` or `INTEGER_BYTES`.
    """
    if stored_as not in ITEM_BYTES | INTEGER_BYTES:
        raise FileError(
            f"{shown(path)}: tensor {shown(tensor)} is stored as {shown(stored_as)}, but only "
            f"{', '.join(ITEM_BYTES)}, and int8 and uint8 with scales, are read; convert it to one "
            "of these and save it again"
        )


def decode(raw: bytes, stored_as: str, byteorder: str = "little") -> NDArray[Any]:
    """Turn the bytes of numbers into an array; the halves become float32, which is exact.

    Parameters
    ----------
    raw
        Whole numbers of bytes of `stored_as`.
    stored_as
        One of `ITEM_BYTES` or `INTEGER_BYTES`.
    byteorder
        "little" or "big".

    Returns
    -------
    NDArray
        Shape (count,); float64 or float32, or the integers that they are, in the machine's byte
        order; may share memory with `raw` and then cannot be written to.
    """
    order: Literal["<", ">"] = "<" if byteorder == "little" else ">"
    if stored_as in INTEGER_BYTES:
        integers = np.frombuffer(raw, np.dtype(stored_as).newbyteorder(order))
        return integers.astype(stored_as, copy=False)
    if stored_as == "bfloat16":  # the upper half of a float32
        upper = np.frombuffer(raw, f"{order}u2").astype(np.uint32)
        return (upper << 16).view(np.float32)
    values = np.frombuffer(raw, f"{order}f{ITEM_BYTES[stored_as]}")
    return values.astype(np.float64 if stored_as == "float64" else np.float32, copy=False)


def encode(values: NDArray[Any], stored_as: str) -> bytes:
    """Turn an array into the bytes of its numbers, little end first: the inverse of `decode`.

    Parameters
    ----------
    values
        float64, float32 or int8, any shape.
    stored_as
        One of `ITEM_BYTES`, to whose nearest each number is rounded, ties to even; or "int8".

    Returns
    -------
    bytes
        The numbers in C order.
    """
    if stored_as == "int8":
        return values.astype(np.int8).tobytes()
    if stored_as != "bfloat16":
        with np.errstate(over="ignore"):
            return values.astype(f"<f{ITEM_BYTES[stored_as]}").tobytes()
    bits = np.ascontiguousarray(values, "<f4").view("<u4")
    finite = np.isfinite(values)
    # Half a unit of the upper half is added, less one bit where that half is even: then it is cut.
    rounded = bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)
    return (np.where(finite, rounded, bits) >> 16).astype("<u2").tobytes()


@dataclass(frozen=True, eq=False)
class Tensor:
    """Numbers with a name for how they are stored.

    Parameters
    ----------
    values
        Any shape; float64 or float32, or integers of one of `INTEGER_BYTES`, in the machine's byte
        order, contiguous.
    stored_as
        One of `ITEM_BYTES` or `INTEGER_BYTES`.
    """

    values: NDArray[Any]
    stored_as: str
