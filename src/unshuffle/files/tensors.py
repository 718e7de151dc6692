"""Tensors as files declare and hold them, and the number formats that are read."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError, shown

# The number formats of weights and biases, and the bytes a number takes.
ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}

# The formats of quantised numbers, of which the first two are read, and of their zero points.
INTEGER_BYTES = {"int8": 1, "uint8": 1, "int32": 4, "int64": 8}


@dataclass(frozen=True, eq=False)
class Tensor:
    """Numbers of any shape, in the machine's byte order, and their form in a file.

    The values are float64 or float32, or integers of one of `INTEGER_BYTES`.
    """

    values: NDArray[Any]
    stored_as: str


@dataclass(frozen=True, eq=False)
class Stored:
    """An array as a file declares it, and what reads its numbers. `what` names it in messages."""

    shape: tuple[int, ...]
    stored_as: str
    what: str
    numbers: Callable[[], NDArray[Any]]

    @property
    def nbytes(self) -> int:
        """The bytes that it takes when it is read, at most; empty axes count too."""
        item = 8 if self.stored_as in ("float64", "int64") else 4
        return math.prod(max(extent, 1) for extent in self.shape) * item

    def read(self) -> Tensor:
        """Read the numbers, if they are of a format that is read."""
        check_dtype(self.stored_as, self.what)
        return Tensor(self.numbers(), self.stored_as)


def check_dtype(stored_as: str, what: str) -> None:
    """Refuse a number format that no linear layer of this kind is stored in."""
    if stored_as not in ITEM_BYTES | INTEGER_BYTES:
        raise FileError(
            f"{what} is stored as {shown(stored_as)}, but only {', '.join(ITEM_BYTES)}, and int8 "
            "and uint8 with scales, are read; convert it to one of these and save it again"
        )


def decode(raw: bytes, stored_as: str, byteorder: str = "little") -> NDArray[Any]:
    """Turn the bytes of numbers into a vector in the machine's byte order.

    The halves become float32, which is exact; other formats stay. The vector may share memory with
    `raw` and then cannot be written to.
    """
    order: Literal["<", ">"] = "<" if byteorder == "little" else ">"
    if stored_as == "bfloat16":  # the upper half of a float32
        upper = np.frombuffer(raw, f"{order}u2").astype(np.uint32)
        return (upper << 16).view(np.float32)
    values = np.frombuffer(raw, np.dtype(stored_as).newbyteorder(order))
    return values.astype("float32" if stored_as == "float16" else stored_as, copy=False)


def encode(values: NDArray[Any], stored_as: str) -> bytes:
    """The bytes of an array's numbers, little end first, in C order.

    Numbers are rounded to the nearest of the format, ties to even. This is the inverse of `decode`.
    """
    if stored_as != "bfloat16":
        with np.errstate(over="ignore"):
            return values.astype(np.dtype(stored_as).newbyteorder("<")).tobytes()
    bits = np.ascontiguousarray(values, "<f4").view("<u4")
    finite = np.isfinite(values)
    # Half a unit of the upper half is added, less one bit where that half is even: then it is cut.
    rounded = bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)
    return (np.where(finite, rounded, bits) >> 16).astype("<u2").tobytes()
