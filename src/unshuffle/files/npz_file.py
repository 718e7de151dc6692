"""NumPy's archives of arrays: a zip of .npy files, each a short header and the numbers.

The header is a Python literal. It is matched against the one form that NumPy writes for plain
arrays instead of being evaluated, so that a hostile one costs nothing; the format is described in
the documentation of `numpy.lib.format`.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError
from unshuffle.files import limits
from unshuffle.files.opening import read_bytes, shown
from unshuffle.files.tensors import Tensor, check_dtype
from unshuffle.files.zip_file import Archive, open_zip

# Kinds of arrays that are read, as NumPy calls them: numbers; also truth values and text.
NUMBERS, ANYTHING = "fiu", "fiubU"

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}  # of the header's length, by version of the format
_HEADER_BYTES = 10_000
_HEADER = re.compile(
    rb"\{'descr': '([<>|=][a-zA-Z][0-9]{0,8})', 'fortran_order': (True|False), "
    rb"'shape': \(([0-9]{0,19}(?:, ?[0-9]{1,19})*),?\),? *\}\s*"
)


def read_npz(path: Path) -> dict[str, Tensor]:
    """Read the tensors of an .npz archive, compressed or not, in the sequence of the file."""
    tensors = {}
    for name, array in open_npz(path).items():
        stored_as = array.dtype.name
        check_dtype(stored_as, f"{shown(path)}: tensor {shown(name)}")
        held_as = "float32" if stored_as == "float16" else stored_as
        tensors[name] = Tensor(np.array(array.read(), held_as, order="C"), stored_as)
    return tensors


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an .npz archive, those of truth values and text too."""
    return {name: array.read() for name, array in open_npz(path, ANYTHING).items()}


def open_npz(path: Path, kinds: str = NUMBERS) -> dict[str, "StoredArray"]:
    """Read what the arrays of an .npz archive declare, and none of their numbers.

    They come by name, in the sequence of the file. Arrays of a kind that is not among `kinds`
    (`NUMBERS` or `ANYTHING`) are refused.
    """
    archive = open_zip(path, read_bytes(path))
    arrays = {}
    for member in archive.members:
        if not member.endswith(".npy"):
            raise FileError(
                f"{shown(path)}: member {shown(member)} is not a .npy array; save the arrays again "
                "with numpy.savez"
            )
        arrays[member.removesuffix(".npy")] = _declared(archive, member, kinds)
    return arrays


def _declared(archive: Archive, member: str, kinds: str) -> "StoredArray":
    what = f"{archive.where}: array {shown(member.removesuffix('.npy'))}"
    head = archive.read(member, _HEADER_BYTES)
    length = _LENGTH_BYTES.get(head[6]) if len(head) > 12 and head[:6] == _MAGIC else None
    if length is None:
        raise FileError(f"{what} is not in the .npy format; save it again with numpy.savez")
    start = 8 + length + int.from_bytes(head[8 : 8 + length], "little")
    matched = _HEADER.fullmatch(head[8 + length : start])
    if start > len(head) or matched is None:
        raise FileError(
            f"{what} is not a plain array of numbers; save it again as one with numpy.savez"
        )
    descr, fortran, extents = matched.groups()
    shape = tuple(int(extent) for extent in extents.split(b",") if extent.strip())
    try:
        dtype = np.dtype(descr.decode())
    except TypeError as error:
        raise FileError(f"{what} has the unknown number format {shown(descr.decode())}") from error
    if dtype.kind not in kinds or not dtype.itemsize or len(shape) > limits.DIMENSIONS:
        wanted = "real numbers" if kinds == NUMBERS else "real numbers, truth values or text"
        raise FileError(
            f"{what} has {len(shape)} axes of {dtype.name}, but a matrix or vector of {wanted} "
            "is needed; convert it and save it again"
        )
    size = archive.members[member].file_size - start
    if math.prod(shape) * dtype.itemsize != size or math.prod(max(n, 1) for n in shape) > 2**62:
        raise FileError(
            f"{what} declares shape {shape} of {dtype.name}, but holds {size} bytes; copy or "
            "download the file again"
        )
    return StoredArray(archive, member, what, start, dtype, shape, fortran == b"True")


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array in an archive that was not read yet; its shape agrees with the member's size."""

    archive: Archive
    member: str
    what: str  # its name for messages
    start: int  # bytes of the member before its first number
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool  # whether the first axis runs fastest

    def read(self) -> NDArray[Any]:
        """Read the numbers, of `shape` and `dtype`; the array cannot be written to."""
        content = self.archive.read(self.member)
        flat = np.frombuffer(content, self.dtype, offset=self.start)
        if self.dtype.kind == "U":  # NumPy would make strings that Python does not have
            codes = np.frombuffer(content, f"{self.dtype.str[0]}u4", offset=self.start)
            wrong = codes[(codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))]
            if len(wrong):
                raise FileError(
                    f"{self.what} has text with the code {wrong[0]:#x}, which is no character; "
                    "copy or download the file again"
                )
        return flat.reshape(self.shape, order="F" if self.fortran else "C")
