"""Tables as .npz archives: a vector is a column, a matrix is several."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unshuffle.errors import RecordError
from unshuffle.files.npz_file import StoredArray, open_npz
from unshuffle.files.opening import shown
from unshuffle.files.table import Columns, check_cells, check_names, check_size, widened


def open_arrays(path: Path) -> "ArrayTable":
    """Read what the arrays of an .npz file declare, and none of their numbers.

    Vectors have shape (rows,). A matrix of shape (rows, width) stands for the columns `<key>_0`,
    `<key>_1`, …
    """
    arrays = open_npz(path)
    width = 0
    for key, array in arrays.items():
        if len(array.shape) not in (1, 2):
            raise RecordError(
                f"{shown(path)}: array {shown(key)} has shape {array.shape}, but (rows,) or "
                "(rows, width) is needed; leave it out"
            )
        width += array.shape[1] if len(array.shape) == 2 else 1
        check_size(array.shape[0], width, path)
    names = [name for key, array in arrays.items() for name in _names(key, array)]
    check_names(names, path)
    return ArrayTable(path, arrays, tuple(names))


def _names(key: str, array: StoredArray) -> list[str]:
    if len(array.shape) == 1:
        return [key]
    return [f"{key}_{column}" for column in range(array.shape[1])]


@dataclass(frozen=True, eq=False)
class ArrayTable:
    """An .npz file with nothing but the headers of its arrays read."""

    path: Path
    arrays: dict[str, StoredArray]
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
            values = widened(array.read()).reshape(array.shape[0], -1).T
            columns.update(zip(names, values, strict=True))
        if len(rows) > 1:
            (some, one), (others, other) = list(rows.items())[:2]
            raise RecordError(
                f"{shown(self.path)}: array {shown(one)} has {some} rows and {shown(other)} has "
                f"{others}, but all need as many; leave one out"
            )
        columns = {name: columns[name] for name in wanted}
        check_cells(columns, {name: np.isnan(columns[name]) for name in gaps}, self.path)
        return columns
