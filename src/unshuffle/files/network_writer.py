"""Networks as files: the same tensors always become the same bytes."""

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError, MissingExtraError, shown
from unshuffle.files.atomic import check_free, write_bytes
from unshuffle.files.opening import as_path
from unshuffle.files.quantised import quantise
from unshuffle.files.safetensors_file import FORMAT_NAMES
from unshuffle.files.tensors import ITEM_BYTES, Tensor, encode
from unshuffle.pieces.pile import Floats

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of the zip format: the time of writing is nobody's business
_UNIX = 3


def write_network(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Floats],
    *,
    stored_as: str | None = None,
    force: bool = False,
) -> None:
    """Write named tensors in the format that the path's suffix says; see `write_bytes` for `force`.

    The suffix is .safetensors, which does not keep the sequence of the tensors, .npz, .pt or .pth.
    The tensors are float64 or float32, of any shape. `stored_as` is the number format in the file:
    "float64", "float32", "float16" or "bfloat16", the last not in .npz. With "int8" each tensor
    has a `<name>_scale`, of one number for each row of a matrix. By default each array keeps its
    format.
    A MissingExtraError says that torch is lacking, which .pt and .pth need.
    """
    path = as_path(path)
    _packer_of(path)  # what can never be written is said before what is in the way
    check_free(path, force=force)  # before the work of packing, and again after it
    write_bytes(path, pack_network(path, tensors, stored_as=stored_as), force=force)


def pack_network(
    path: Path, tensors: Mapping[str, Floats], *, stored_as: str | None = None
) -> bytes:
    """The bytes of the file that `write_network` writes to a path."""
    pack = _packer_of(path)
    if stored_as == "bfloat16" and path.suffix.lower() == ".npz":
        raise FileError(f"{shown(path)}: .npz knows no bfloat16; write .safetensors or .pth")
    return pack(_as_stored(tensors, stored_as))


def write_npz(
    path: str | os.PathLike[str], arrays: Mapping[str, NDArray[np.generic]], *, force: bool = False
) -> None:
    """Write named arrays of any dtype but object, with the guarantees of `write_bytes`."""
    write_bytes(path, pack_npz(arrays), force=force)


def pack_safetensors(tensors: Mapping[str, Floats], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file of arrays, each in its dtype, and words about them."""
    return _pack_safetensors(_as_stored(tensors, None), metadata)


def _as_stored(tensors: Mapping[str, Floats], stored_as: str | None) -> Mapping[str, Tensor]:
    """The arrays, each with the number format that it is to have in the file."""
    if stored_as == "int8":
        stored = {}
        for name, values in tensors.items():
            levels, scale = quantise(values)
            stored[name] = Tensor(levels, "int8")
            stored[f"{name}_scale"] = Tensor(scale, "float32")
        return stored
    return {
        name: Tensor(np.asarray(values, order="C"), stored_as or values.dtype.name)
        for name, values in tensors.items()
    }


def _pack_safetensors(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Lay a safetensors file out: the header's length, the header as JSON, the numbers.

    The library's own packer knows no bfloat16 that comes from NumPy.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    data: list[bytes] = []
    end = 0
    # Wider numbers first keeps every tensor aligned, as the format recommends.
    for name in sorted(tensors, key=lambda name: (-_item_bytes(tensors[name].stored_as), name)):
        tensor = tensors[name]
        data.append(encode(tensor.values, tensor.stored_as))
        start, end = end, end + len(data[-1])
        header[name] = {
            "dtype": FORMAT_NAMES[tensor.stored_as],
            "shape": list(tensor.values.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *data])


def _item_bytes(stored_as: str) -> int:
    return ITEM_BYTES.get(stored_as) or np.dtype(stored_as).itemsize


def _pack_npz(tensors: Mapping[str, Tensor]) -> bytes:
    with np.errstate(over="ignore"):
        return pack_npz(
            {name: each.values.astype(each.stored_as) for name, each in tensors.items()}
        )


def pack_npz(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """The bytes of an .npz archive of named arrays of any dtype but object."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, values in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", _FIRST_DAY)
            member.create_system = _UNIX
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(values), allow_pickle=False)
    return packed.getvalue()


def _pack_torch(tensors: Mapping[str, Tensor]) -> bytes:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "torch", "writing a torch state dict") from error
    packed = io.BytesIO()
    # Copies, since torch warns of arrays that cannot be written to.
    torch.save(
        {
            name: torch.from_numpy(np.array(tensor.values)).to(getattr(torch, tensor.stored_as))
            for name, tensor in tensors.items()
        },
        packed,
    )
    return packed.getvalue()


def _packer_of(path: Path) -> "Callable[[Mapping[str, Tensor]], bytes]":
    pack = _PACKERS.get(path.suffix.lower())
    if pack is None:
        raise FileError(
            f"{shown(path)}: a network is written to a path that ends in {', '.join(_PACKERS)}"
        )
    return pack


_PACKERS: dict[str, Callable[[Mapping[str, Tensor]], bytes]] = {
    ".safetensors": _pack_safetensors,
    ".npz": _pack_npz,
    ".pt": _pack_torch,
    ".pth": _pack_torch,
}
