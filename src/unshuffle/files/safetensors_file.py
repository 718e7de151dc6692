"""Files in the safetensors format: a JSON header and the numbers behind it."""

import struct
from typing import Any

from numpy.typing import NDArray

from unshuffle.errors import FileError, shown
from unshuffle.files import limits
from unshuffle.files.layers import natural
from unshuffle.files.opening import incomplete
from unshuffle.files.tensors import Stored, decode

# What the format calls the number formats.
FORMAT_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "bool": "BOOL",
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}

_NAMES = {short: name for name, short in FORMAT_NAMES.items()}


def safetensors_arrays(content: bytes, where: str) -> dict[str, Stored]:
    """The arrays of a safetensors file, sorted by name: the format keeps no sequence.

    Numbers in names count as numbers.
    """
    from safetensors import SafetensorError, deserialize

    if len(content) >= 8 and struct.unpack("<Q", content[:8])[0] > limits.HEADER_BYTES:
        raise FileError(
            f"{where}: is not a complete safetensors file (its header claims more than "
            f"{limits.HEADER_BYTES} bytes); is it the right file?"
        )
    try:
        found = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise incomplete(where, "safetensors", error) from error
    return {
        name: _stored(name, tensor, where)
        for name, tensor in sorted(found, key=lambda pair: (natural(pair[0]), pair[0]))
    }


def _stored(name: str, tensor: dict[str, Any], where: str) -> Stored:
    stored_as, shape = _NAMES.get(tensor["dtype"], tensor["dtype"]), tuple(tensor["shape"])

    def numbers() -> NDArray[Any]:
        return decode(tensor["data"], stored_as).reshape(shape)

    return Stored(shape, stored_as, f"{where}: tensor {shown(name)}", numbers)
