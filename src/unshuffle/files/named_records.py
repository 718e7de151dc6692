"""Records of networks that read several arrays, or arrays of any shape: .npz and .safetensors."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from unshuffle.errors import FileError, RecordError, listed, shown
from unshuffle.files import limits
from unshuffle.files.opening import check_printable, read_bytes
from unshuffle.pieces.records import Records

PREDICTION = "prediction"  # the name of the output, or what its name begins with before a dot


def read_named(path: Path) -> Records:
    """Read arrays that are called like the parameters of a module's `forward`, and its output.

    Rows are the first axis of each. `prediction` is the output. `prediction.FIELD` is a field of
    it: a key, an attribute, or the number of an element. A FileError says that the file cannot be
    read, and a RecordError that it is no record.
    """
    arrays = _npz(path) if path.suffix.lower() == ".npz" else _safetensors(path)
    check_printable(arrays, shown(path))
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
    from unshuffle.files.safetensors_file import FORMAT_NAMES, safetensors_arrays

    arrays = safetensors_arrays(read_bytes(path), shown(path))
    _check_size({name: one.shape for name, one in arrays.items()}, path)
    for one in arrays.values():
        if one.stored_as not in FORMAT_NAMES:
            raise FileError(
                f"{one.what} is stored as {shown(one.stored_as)}, but only "
                f"{', '.join(FORMAT_NAMES)} are read; convert it and save it again"
            )
    return {name: one.numbers() for name, one in arrays.items()}


def _check_size(shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    numbers = sum(math.prod(shape) for shape in shapes.values())
    advice = "a sample of the rows is enough"
    limits.check_count(numbers, limits.CELLS, f"{shown(path)}: holds {numbers} numbers", advice)
