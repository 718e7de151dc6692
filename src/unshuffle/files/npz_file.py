"""NumPy's arrays: one a file (.npy), several in a zip (.npz), or one behind the other.

Each has a short header, a Python literal. The reader matches it against the one form that NumPy
writes for plain arrays, and evaluates nothing. The documentation of `numpy.lib.format` has the
format. An array of objects is a pickle. Arrays are looked for in it, and nothing is run.
"""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError, shown
from unshuffle.files import limits
from unshuffle.files.opening import incomplete, read_bytes, read_head
from unshuffle.files.tensors import Stored
from unshuffle.files.zip_file import Archive, open_zip

# Kinds of arrays that are read, as NumPy calls them: numbers; also truth values and text.
NUMBERS, ANYTHING = "fiu", "fiubU"

MAGIC = b"\x93NUMPY"

_OBJECTS = "O"
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}  # of the header's length, by version of the format
_HEADER_BYTES = 10_000
_HEADER = re.compile(
    rb"\{'descr': '([<>|=][a-zA-Z][0-9]{0,8})', 'fortran_order': (True|False), "
    rb"'shape': \(([0-9]{0,19}(?:, ?[0-9]{1,19})*),?\),? *\}\s*"
)


def npz_arrays(archive: Archive) -> dict[str, Stored]:
    """The arrays of a zip of .npy files, in the sequence of the zip."""
    arrays: dict[str, Stored] = {}
    for member, info in archive.members.items():
        name = member.removesuffix(".npy")
        what = f"{archive.where}: array {shown(name)}"
        head = archive.read(member, _HEADER_BYTES)
        array = _declared(head, NUMBERS + _OBJECTS, what, partial(archive.read, member))
        if array.dtype.kind != _OBJECTS:
            array.check_size(info.file_size)
        arrays |= _stored(name, array)
    return arrays


def npy_arrays(content: bytes, where: str) -> dict[str, Stored]:
    """The arrays of a file of .npy ones. One alone has the name "".

    Equinox writes them one behind the other, and may begin with a line of its own.
    """
    at, found = content.find(MAGIC), list[StoredArray]()
    while at < len(content):
        what = f"{where}: array {len(found)}"
        limits.check_count(len(found), limits.MEMBERS - 1, f"{where}: holds more arrays")
        head = content[at : at + _HEADER_BYTES]
        array = _declared(head, NUMBERS + _OBJECTS, what, lambda: content)
        array.check_size(array.start + array.nbytes)
        array = replace(array, start=at + array.start)
        found.append(array)
        at = array.start + array.nbytes
        if array.dtype.kind == _OBJECTS:  # how long its pickle is, is not said
            break
        if at > len(content):
            raise incomplete(where, ".npy", f"{at - len(content)} bytes are missing")
    arrays: dict[str, Stored] = {}
    for place, array in enumerate(found):
        arrays |= _stored(str(place) if len(found) > 1 else "", array)
    return arrays


def npy_shape(path: Path) -> tuple[int, ...] | None:
    """The shape that a .npy file declares. None where it is no plain array of numbers."""
    with suppress(FileError):
        return _declared(read_head(path, _HEADER_BYTES), NUMBERS, shown(path), bytes).shape
    return None


def _stored(name: str, array: "StoredArray") -> dict[str, Stored]:
    """An array for a pile; an array of objects is as many as are found in it."""
    if array.dtype.kind == _OBJECTS:
        from unshuffle.files.torch_zip import pickled_arrays

        inner = pickled_arrays(array.content()[array.start :], array.what)
        return {f"{name}.{key}" if name and key else name or key: inner[key] for key in inner}

    def numbers() -> NDArray[Any]:
        held_as = "float32" if array.dtype.name == "float16" else array.dtype.name
        return np.array(array.read(), held_as, order="C")

    return {name: Stored(array.shape, array.dtype.name, array.what, numbers)}


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an .npz archive, those of truth values and text too."""
    return {name: array.read() for name, array in open_npz(path, ANYTHING).items()}


def open_npz(path: Path, kinds: str = NUMBERS) -> dict[str, "StoredArray"]:
    """Read what the arrays of an .npz archive declare, and none of their numbers.

    They come by name, in the sequence of the file. Arrays of a kind that is not among `kinds`
    (`NUMBERS` or `ANYTHING`) are refused.
    """
    archive = open_zip(shown(path), read_bytes(path))
    arrays = {}
    for member, info in archive.members.items():
        if not member.endswith(".npy"):
            raise FileError(
                f"{shown(path)}: member {shown(member)} is not a .npy array; save the arrays again "
                "with numpy.savez"
            )
        name = member.removesuffix(".npy")
        what, head = f"{archive.where}: array {shown(name)}", archive.read(member, _HEADER_BYTES)
        arrays[name] = _declared(head, kinds, what, partial(archive.read, member))
        arrays[name].check_size(info.file_size)
    return arrays


def _declared(head: bytes, kinds: str, what: str, content: Callable[[], bytes]) -> "StoredArray":
    """The array whose .npy file begins with `head`."""
    length = _LENGTH_BYTES.get(head[6]) if len(head) > 12 and head[:6] == MAGIC else None
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
        wanted = "real numbers, truth values or text" if kinds == ANYTHING else "real numbers"
        raise FileError(
            f"{what} has {len(shape)} axes of {dtype.name}, but a matrix or vector of {wanted} "
            f"is needed; {'leave it out' if dtype.kind in 'US' else 'convert it and save it again'}"
        )
    return StoredArray(what, content, start, dtype, shape, fortran == b"True")


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array that was not read yet."""

    what: str  # its name for messages
    content: Callable[[], bytes]  # reads its .npy file, and maybe what lies behind
    start: int  # bytes of the file before its first number
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool  # whether the first axis runs fastest

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check_size(self, size: int) -> None:
        """Refuse a file of so many bytes that the array does not fill, or axes beyond memory."""
        declared = f"{self.what} declares shape {self.shape} of {self.dtype.name}"
        if self.nbytes != size - self.start:
            raise FileError(
                f"{declared}, but holds {size - self.start} bytes; copy or download the file again"
            )
        if math.prod(max(n, 1) for n in self.shape) * self.dtype.itemsize > 2**62:
            raise FileError(f"{declared}, which is beyond any memory; leave the array out")

    def read(self) -> NDArray[Any]:
        """Read the numbers, of `shape` and `dtype`. The array cannot be written to."""
        content, count = self.content(), math.prod(self.shape)
        flat = np.frombuffer(content, self.dtype, count, self.start)
        if self.dtype.kind == "U":  # NumPy would make strings that Python does not have
            codes = np.frombuffer(content, f"{self.dtype.str[0]}u4", offset=self.start)
            wrong = codes[(codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))]
            if len(wrong):
                raise FileError(
                    f"{self.what} has text with the code {wrong[0]:#x}, which is no character; "
                    "copy or download the file again"
                )
        return flat.reshape(self.shape, order="F" if self.fortran else "C")
