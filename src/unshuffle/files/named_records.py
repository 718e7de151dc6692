"""Records of networks that read several arrays, or arrays of any shape: .npz and .safetensors."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from unshuffle.errors import FileError, RecordError
from unshuffle.files import limits
from unshuffle.files.opening import listed, read_bytes, shown
from unshuffle.files.tensors import decode
from unshuffle.pieces.records import Records

PREDICTION = "prediction"  # the name of the output, or what its name begins with before a dot

# What safetensors calls the number formats of a record; weights have fewer.
_FORMATS = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{"BF16": "bfloat16", "BOOL": "bool"},
}


def read_named(path: Path) -> Records:
    """Read arrays that are called like the parameters of a module's `forward`, and its output.

    Rows are the first axis of each. `prediction` is the output, and `prediction.FIELD` a field of
    it: a key, an attribute, or the number of an element. A FileError says that the file cannot be
    read, and a RecordError that it is no record.
    """
    arrays = _npz(path) if path.suffix.lower() == ".npz" else _safetensors(path)
    outputs = [name for name in arrays if name == PREDICTION or name.startswith(f"{PREDICTION}.")]
    if len(outputs) > 1:
        raise RecordError(
            f"{shown(path)}: holds {listed(outputs)}, but one output is compared; leave the others "
            "out"
        )
    inputs = {name: values for name, values in arrays.items() if name not in outputs}
    output = outputs[0] if outputs else PREDICTION
    field = output.partition(".")[2]
    return Records.named(inputs, arrays.get(output), name=shown(path), output=field)


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    from unshuffle.files.npz_file import open_npz

    arrays = open_npz(path, "fiub")
    _check_size({name: one.shape for name, one in arrays.items()}, path)
    return {name: one.read() for name, one in arrays.items()}


def _safetensors(path: Path) -> dict[str, NDArray[Any]]:
    from unshuffle.files.safetensors_file import declared

    tensors = declared(read_bytes(path), shown(path))
    _check_size({name: tensor["shape"] for name, tensor in tensors.items()}, path)
    arrays = {}
    for name, tensor in tensors.items():
        if tensor["dtype"] not in _FORMATS:
            raise FileError(
                f"{shown(path)}: array {shown(name)} is stored as {shown(tensor['dtype'])}, but "
                f"only {', '.join(_FORMATS)} are read; convert it and save it again"
            )
        values = decode(tensor["data"], _FORMATS[tensor["dtype"]])
        arrays[name] = values.reshape(tensor["shape"])
    return arrays


def _check_size(shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    numbers = sum(math.prod(shape) for shape in shapes.values())
    advice = "a sample of the rows is enough"
    limits.check_count(numbers, limits.CELLS, f"{shown(path)}: holds {numbers} numbers", advice)
