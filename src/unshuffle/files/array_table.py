"""Tables as arrays by name: a vector is a column, and a matrix is as many as it has."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unshuffle.errors import RecordError, shown
from unshuffle.files.table import Columns, check_cells, check_names, check_size, widened
from unshuffle.files.tensors import Stored

_NUMBERS = re.compile("(b?float|u?int)[0-9]+|bool")  # formats that are read

# Names that only count arrays, as of a list or of `numpy.savez(x, y)`, and what they stand for.
_COUNTED = re.compile(r"(.*[._])?[0-9]+", re.DOTALL)
_IN_SEQUENCE = "x", "pred", "true"


def open_arrays(arrays: Mapping[str, Stored], path: Path) -> "ArrayTable":
    """Look at what arrays declare, and at none of their numbers; `path` names them in messages.

    Vectors have shape (rows,). A matrix of shape (rows, width) stands for the columns `<key>_0`,
    `<key>_1`, …; one that is all there is for `0`, `1`, …. Two or three arrays that are only
    counted are inputs, predictions and targets.
    """
    arrays = _named(arrays)
    width = 0
    for key, array in arrays.items():
        what = f"{shown(path)}: array {shown(key)}"
        if len(array.shape) not in (1, 2):
            raise RecordError(
                f"{what} has shape {array.shape}, but (rows,) or (rows, width) is needed; "
                "reshape it, or leave it out if it holds no inputs or predictions"
            )
        if not _NUMBERS.fullmatch(array.stored_as):
            raise RecordError(f"{what} is stored as {shown(array.stored_as)}, which is no number")
        width += array.shape[1] if len(array.shape) == 2 else 1
        check_size(array.shape[0], width, path)
    names = [name for key, array in arrays.items() for name in _names(key, array)]
    check_names(names, path)
    return ArrayTable(path, arrays, tuple(names))


def _named(arrays: Mapping[str, Stored]) -> dict[str, Stored]:
    """Arrays that are only counted, by what they stand for."""
    first = next(iter(arrays.values()), None)
    if first is None or len(first.shape) != 2 or not 1 < len(arrays) <= len(_IN_SEQUENCE):
        return {**arrays}
    if not all(map(_COUNTED.fullmatch, arrays)):
        return {**arrays}
    return dict(zip(_IN_SEQUENCE, arrays.values(), strict=False))


def _names(key: str, array: Stored) -> list[str]:
    if len(array.shape) == 1:
        return [key or "0"]
    return [f"{key}_{column}" if key else str(column) for column in range(array.shape[1])]


@dataclass(frozen=True, eq=False)
class ArrayTable:
    """A file of arrays of which nothing but the headers is read."""

    path: Path
    arrays: dict[str, Stored]
    names: tuple[str, ...]

    def columns(self, wanted: Sequence[str], gaps: Collection[str]) -> Columns:
        """Read columns; NaN stands for an empty cell in `gaps`, and is refused elsewhere."""
        asked = set(wanted)
        columns: Columns = {}
        rows: dict[int, str] = {}
        for key, array in self.arrays.items():
            names = _names(key, array)
            if asked.isdisjoint(names):
                continue
            rows.setdefault(array.shape[0], key)
            values = widened(array.numbers()).reshape(array.shape[0], -1).T
            columns.update(zip(names, values, strict=True))
        if len(rows) > 1:
            (some, one), (others, other) = list(rows.items())[:2]
            raise RecordError(
                f"{shown(self.path)}: array {shown(one)} has {some} rows and {shown(other)} has "
                f"{others}, but all need as many; leave one out, or transpose both if the rows of "
                "the record are their columns"
            )
        columns = {name: columns[name] for name in wanted}
        check_cells(columns, {name: np.isnan(columns[name]) for name in gaps}, self.path)
        return columns
