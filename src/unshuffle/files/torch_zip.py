"""Files written by `torch.save`, read without torch and without running their pickle.

Such a file is a zip: `<name>/data.pkl` describes the tensors, `<name>/data/<key>` are the storages
that hold their numbers, and `<name>/byteorder` says how. The format is described in torch's notes
on serialization semantics.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError
from unshuffle.files import limits
from unshuffle.files.opening import read_bytes, shown
from unshuffle.files.pickle_machine import Storage, StoredTensor, read_state_dict
from unshuffle.files.tensors import INTEGER_BYTES, ITEM_BYTES, Tensor, check_dtype, decode
from unshuffle.files.zip_file import Archive, open_zip

# Begins a pickle, and with it every file of torch before 1.6: an opcode and the protocol.
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_RESAVE = "save it again with torch.save(module.state_dict(), path) in torch 1.6 or later"


def read_torch(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a state dict saved by torch 1.6 or later, in the sequence of the file.

    The device that its tensors were on does not matter. Nothing its pickle names is ever called.
    """
    content = read_bytes(path)
    if _PICKLE.match(content):
        raise FileError(
            f"{shown(path)}: is a bare pickle, as torch before 1.6 wrote, not a zip; {_RESAVE}"
        )
    archive = open_zip(path, content)
    root = _root(archive)
    byteorder = "little"
    if f"{root}byteorder" in archive.members:
        byteorder = archive.read(f"{root}byteorder", 16).decode("ascii", "replace")
    if byteorder not in ("little", "big"):
        raise FileError(
            f"{shown(path)}: its byte order is {shown(byteorder)}, not little or big; {_RESAVE}"
        )
    pickle = f"{root}data.pkl"
    size = archive.members[pickle].file_size
    what = f"{shown(path)}: its data.pkl holds {size} bytes"
    limits.check_count(size, limits.HEADER_BYTES, what, _RESAVE)
    described = read_state_dict(archive.read(pickle), shown(path))
    return _tensors(described, archive, root, byteorder)


def _root(archive: Archive) -> str:
    """Folder of the archive that holds data.pkl, with its slash."""
    names = archive.members
    roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise FileError(
            f"{archive.where}: is a TorchScript archive, which holds a program; load it with "
            f"torch.jit.load and {_RESAVE}"
        )
    if len(roots) != 1:
        raise FileError(
            f"{archive.where}: is a zip with {len(roots)} members called data.pkl, where torch "
            f"writes one; {_RESAVE}"
        )
    return roots[0]


def _tensors(
    described: dict[str, StoredTensor], archive: Archive, root: str, byteorder: str
) -> dict[str, Tensor]:
    storages: dict[Storage, NDArray[Any]] = {}  # tensors may share one
    tensors = {}
    taken = 0
    for name, tensor in described.items():
        storage, what = tensor.storage, f"{archive.where}: tensor {shown(name)}"
        check_dtype(storage.stored_as, what)
        # Repeated numbers and shared storages make tensors larger than their file.
        taken += math.prod(max(extent, 1) for extent in tensor.shape) * 8
        limits.check_growth(taken, archive.size, archive.where)
        if storage not in storages:
            storages[storage] = _numbers(storage, archive, root, byteorder)
        tensors[name] = Tensor(_view(tensor, storages[storage], what), storage.stored_as)
    return tensors


def _numbers(storage: Storage, archive: Archive, root: str, byteorder: str) -> NDArray[Any]:
    member, what = f"{root}data/{storage.key}", f"{archive.where}: storage {shown(storage.key)}"
    if member not in archive.members:
        raise FileError(f"{what} is missing; copy or download the file again")
    size = archive.members[member].file_size
    expected = storage.count * (ITEM_BYTES | INTEGER_BYTES)[storage.stored_as]
    if size != expected:
        raise FileError(
            f"{what} holds {size} bytes, but its {storage.count} numbers of {storage.stored_as} "
            f"take {expected}; {_RESAVE}"
        )
    return decode(archive.read(member), storage.stored_as, byteorder)


def _view(tensor: StoredTensor, numbers: NDArray[Any], what: str) -> NDArray[Any]:
    """Copy the numbers that the tensor takes, row by row."""
    if 0 in tensor.shape:
        return np.empty(tensor.shape, numbers.dtype)
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((extent - 1) * stride for extent, stride in steps)
    if last >= len(numbers):
        raise FileError(
            f"{what} reaches to number {last} of a storage that holds {len(numbers)}; {_RESAVE}"
        )
    size = numbers.itemsize
    strides = [stride * size for stride in tensor.strides]
    start = tensor.offset * size
    return np.ndarray(tensor.shape, numbers.dtype, numbers, start, strides).copy()
