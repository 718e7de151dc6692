"""Files in the safetensors format: a JSON header and the numbers behind it."""

import struct
from pathlib import Path

from unshuffle.errors import FileError
from unshuffle.files import limits
from unshuffle.files.opening import read_bytes, shown
from unshuffle.files.tensors import Tensor, check_dtype, decode

FORMAT_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int8": "I8",
    "uint8": "U8",
    "int32": "I32",
    "int64": "I64",
}
"""What the format calls the number formats."""

_NAMES = {short: name for name, short in FORMAT_NAMES.items()}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict[str, Tensor]
        The tensors by name, sorted by name, since the format keeps no sequence.

    Raises
    ------
    FileError
        If the file is damaged, of another kind, beyond a limit, or holds another number format.
    """
    from safetensors import SafetensorError, deserialize

    data = read_bytes(path)
    if len(data) >= 8 and struct.unpack("<Q", data[:8])[0] > limits.HEADER_BYTES:
        raise FileError(
            f"{shown(path)}: is not a complete safetensors file (its header claims more than "
            f"{limits.HEADER_BYTES} bytes); is it the right file?"
        )
    try:
        found = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise FileError(
            f"{shown(path)}: is not a complete safetensors file ({shown(error)}); was it copied "
            "or downloaded completely?"
        ) from error
    if len(found) > limits.MEMBERS:
        raise FileError(
            f"{shown(path)}: holds {len(found)} tensors, but at most {limits.MEMBERS} are "
            "accepted; is it the right file?"
        )
    tensors = {}
    for name, tensor in sorted(found, key=lambda pair: pair[0]):
        stored_as = _NAMES.get(tensor["dtype"], tensor["dtype"])
        check_dtype(stored_as, name, path)
        if len(name) > limits.NAME_CHARACTERS:
            raise FileError(
                f"{shown(path)}: tensor {shown(name)} has a name of {len(name)} characters, but "
                f"at most {limits.NAME_CHARACTERS} are accepted; rename it"
            )
        if len(tensor["shape"]) > limits.DIMENSIONS:
            raise FileError(
                f"{shown(path)}: tensor {shown(name)} has {len(tensor['shape'])} axes, but a "
                "linear layer has at most two"
            )
        tensors[name] = Tensor(
            decode(tensor["data"], stored_as).reshape(tensor["shape"]), stored_as
        )
    return tensors
