"""Networks as files: the same tensors always become the same bytes."""

import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError, MissingExtraError
from unshuffle.files.atomic import check_free, write_bytes
from unshuffle.files.opening import shown
from unshuffle.pile import Floats

_Tensors = Mapping[str, Floats]

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of the zip format: the time of writing is nobody's business
_UNIX = 3


def write_network(
    path: str | os.PathLike[str], tensors: Mapping[str, Floats], *, force: bool = False
) -> None:
    """Write named tensors in the format that the path's suffix says.

    Parameters
    ----------
    path
        A path that ends in .safetensors, .npz, .pt or .pth. The folder must exist.
    tensors
        float64 or float32 arrays of any shape by name. .safetensors does not keep their sequence.
    force
        Whether a file that is there already may be replaced.

    Raises
    ------
    FileError
        If the suffix is another, a file is there already, or the file cannot be written.
    MissingExtraError
        If the suffix is .pt or .pth and torch is not installed.
    """
    path = Path(path)
    pack = _PACKERS.get(path.suffix.lower())
    if pack is None:
        raise FileError(
            f"{shown(path)}: a network is written to a path that ends in {', '.join(_PACKERS)}"
        )
    check_free(path, force=force)  # before the work of packing, and again after it
    write_bytes(path, pack(tensors), force=force)


def write_npz(
    path: str | os.PathLike[str], arrays: Mapping[str, NDArray[np.generic]], *, force: bool = False
) -> None:
    """Write named arrays of any dtype but object, with the guarantees of `write_bytes`.

    Parameters
    ----------
    path
        Where to. Its folder must exist.
    arrays
        Arrays of any shape by name.
    force
        Whether a file that is there already may be replaced.

    Raises
    ------
    FileError
        If something is there already, or the file cannot be written.
    """
    write_bytes(path, _pack_npz(arrays), force=force)


def _pack_safetensors(tensors: _Tensors) -> bytes:
    from safetensors.numpy import save

    return save({name: np.asarray(values, order="C") for name, values in tensors.items()})


def _pack_npz(tensors: Mapping[str, NDArray[np.generic]]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, values in tensors.items():
            member = zipfile.ZipInfo(f"{name}.npy", _FIRST_DAY)
            member.create_system = _UNIX
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(values), allow_pickle=False)
    return packed.getvalue()


def _pack_torch(tensors: _Tensors) -> bytes:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "torch", "writing a torch state dict") from error
    packed = io.BytesIO()
    # Copies, since torch warns of arrays that cannot be written to.
    torch.save({name: torch.from_numpy(np.array(v)) for name, v in tensors.items()}, packed)
    return packed.getvalue()


_PACKERS: dict[str, Callable[[_Tensors], bytes]] = {
    ".safetensors": _pack_safetensors,
    ".npz": _pack_npz,
    ".pt": _pack_torch,
    ".pth": _pack_torch,
}
