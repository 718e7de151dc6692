"""Files in the safetensors format: a JSON header and the numbers behind it."""

import struct
from pathlib import Path

from unshuffle.errors import FileError
from unshuffle.files import limits
from unshuffle.files.opening import incomplete, read_bytes, shown
from unshuffle.files.tensors import Tensor, check_dtype, decode

# What the format calls the number formats.
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

_NAMES = {short: name for name, short in FORMAT_NAMES.items()}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, sorted by name: the format keeps no sequence."""
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
        raise incomplete(path, "safetensors", error) from error
    limits.check_count(len(found), limits.MEMBERS, f"{shown(path)}: holds {len(found)} tensors")
    tensors = {}
    for name, tensor in sorted(found, key=lambda pair: pair[0]):
        what = f"{shown(path)}: tensor {shown(name)}"
        stored_as = _NAMES.get(tensor["dtype"], tensor["dtype"])
        check_dtype(stored_as, what)
        limits.check_name(name, what)
        if len(tensor["shape"]) > limits.DIMENSIONS:
            raise FileError(
                f"{what} has {len(tensor['shape'])} axes, but a linear layer has at most two"
            )
        values = decode(tensor["data"], stored_as).reshape(tensor["shape"])
        tensors[name] = Tensor(values, stored_as)
    return tensors
