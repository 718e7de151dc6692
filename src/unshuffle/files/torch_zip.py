"""Zips that torch writes, read without torch and without running their pickles.

In a file of `torch.save`, `<name>/data.pkl` describes the arrays. `<name>/data/<key>` are the
storages of their numbers, and there is `<name>/byteorder`. TorchScript adds a program. There
`<name>/constants.pkl`, with `<name>/constants/<key>`, has all of a frozen module. An exported
program lists its weights as JSON. Torch's notes on serialization semantics and `torch.export`
describe the formats.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError, shown
from unshuffle.files import limits
from unshuffle.files.pickle_machine import (
    Storage,
    StoredTensor,
    are_counts,
    bytes_of,
    is_legacy,
    read_legacy,
    read_pickle,
)
from unshuffle.files.plain import parse_json
from unshuffle.files.tensors import Stored, decode
from unshuffle.files.zip_file import Archive, open_zip

_RESAVE = "save it again with torch.save(module.state_dict(), path) in torch 1.6 or later"
_EXPORTED = "weights_config.json"
_EXPORTED_BEFORE = "serialized_state_dict.pt"  # by torch before 2.9

# What an exported program calls the number formats (torch._export.serde.schema.ScalarType).
_SCALARS = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32"}
_SCALARS |= {8: "float64", 12: "bool", 13: "bfloat16"}


def is_torch(archive: Archive) -> bool:
    """Whether a zip is one that torch writes."""
    ends = ("/data.pkl", _EXPORTED, _EXPORTED_BEFORE)
    return any(name.endswith(ends) for name in archive.members)


def torch_arrays(archive: Archive) -> dict[str, Stored]:
    """The arrays of a file of torch, in the sequence of the file. Nothing in it is ever called."""
    if inner := [name for name in archive.members if name.endswith(_EXPORTED_BEFORE)]:
        return torch_arrays(open_zip(archive.where, archive.read(inner[0])))
    if inner := [name for name in archive.members if name.endswith(_EXPORTED)]:
        return _exported(archive, inner[0])
    pickles = [name for name in archive.members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise FileError(
            f"{archive.where}: is a zip with {len(pickles)} members called data.pkl, where torch "
            f"writes one; {_RESAVE}"
        )
    root = pickles[0].removesuffix("data.pkl")
    return _pickled(archive, root, "data") or _pickled(archive, root, "constants")


def pickled_arrays(content: bytes, where: str) -> dict[str, Stored]:
    """The arrays of a bare pickle, or of a file of torch before 1.6."""
    described = (read_legacy if is_legacy(content) else read_pickle)(content, where)

    def elsewhere(storage: Storage) -> NDArray[Any]:
        raise FileError(f"{where}: its storage {shown(storage.key)} is missing; {_RESAVE}")

    return {name: _stored(name, tensor, where, elsewhere) for name, tensor in described.items()}


def _pickled(archive: Archive, root: str, name: str) -> dict[str, Stored]:
    pickle = f"{root}{name}.pkl"
    if pickle not in archive.members:
        return {}
    size = archive.members[pickle].file_size
    what = f"{archive.where}: its {name}.pkl holds {size} bytes"
    limits.check_count(size, limits.HEADER_BYTES, what, _RESAVE)
    described = read_pickle(archive.read(pickle), archive.where)
    order = _byteorder(archive, root)
    numbers = cache(partial(_numbers, archive=archive, folder=f"{root}{name}/", byteorder=order))
    return {key: _stored(key, each, archive.where, numbers) for key, each in described.items()}


def _byteorder(archive: Archive, root: str) -> str:
    if f"{root}byteorder" not in archive.members:
        return "little"
    found = archive.read(f"{root}byteorder", 16).decode("ascii", "replace")
    if found not in ("little", "big"):
        raise FileError(
            f"{archive.where}: its byte order is {shown(found)}, not little or big; {_RESAVE}"
        )
    return found


def _stored(
    name: str, tensor: StoredTensor, where: str, numbers: Callable[[Storage], NDArray[Any]]
) -> Stored:
    what, storage = f"{where}: tensor {shown(name)}", tensor.storage

    def read() -> NDArray[Any]:
        if storage.content is None:
            return _view(tensor, numbers(storage), what)
        held = storage.content[: storage.count * bytes_of(storage.stored_as)]
        return _view(tensor, decode(held, storage.stored_as, storage.byteorder), what)

    return Stored(tensor.shape, storage.stored_as, what, read)


def _numbers(storage: Storage, archive: Archive, folder: str, byteorder: str) -> NDArray[Any]:
    member, what = f"{folder}{storage.key}", f"{archive.where}: storage {shown(storage.key)}"
    if member not in archive.members:
        raise FileError(f"{what} is missing; copy or download the file again")
    size = archive.members[member].file_size
    expected = storage.count * bytes_of(storage.stored_as)
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


def _exported(archive: Archive, member: str) -> dict[str, Stored]:
    """The weights of a program that `torch.export` has saved."""
    folder, where = member[: member.rindex("/") + 1], archive.where
    advice = "save the state dict alone: torch.save(program.state_dict, path)"
    size = archive.members[member].file_size
    what = f"{where}: its {_EXPORTED} holds {size} bytes"
    limits.check_count(size, limits.HEADER_BYTES, what, advice)
    text = archive.read(member).decode("utf-8", "replace")
    listed = parse_json(text, f"{where}: its {_EXPORTED}", advice).get("config")
    order = _byteorder(archive, folder.removesuffix("data/weights/"))
    numbers = cache(partial(_numbers, archive=archive, folder=folder, byteorder=order))
    arrays = {}
    for name, declared in listed.items() if isinstance(listed, dict) else ():
        try:
            tensor = _declared(declared, archive, folder)
        except (LookupError, TypeError) as error:
            raise FileError(f"{where}: does not say what {shown(name)} is; {advice}") from error
        arrays[name] = _stored(name, tensor, where, numbers)
    return arrays


def _declared(declared: Any, archive: Archive, folder: str) -> StoredTensor:
    """The array that an entry of JSON describes; a LookupError or TypeError where it does not."""
    meta, key = declared["tensor_meta"], declared["path_name"]
    stored_as = _SCALARS[meta["dtype"]]
    count = archive.members[folder + key].file_size // bytes_of(stored_as)
    shape, strides = (tuple(n["as_int"] for n in meta[part]) for part in ("sizes", "strides"))
    numbers = (meta["storage_offset"]["as_int"], *shape, *strides)
    if not are_counts(numbers) or len(shape) != len(strides):
        raise TypeError
    return StoredTensor(Storage(key, stored_as, count), numbers[0], shape, strides)
