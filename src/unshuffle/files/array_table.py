"""Tables as .npz archives: a vector is a column, and a matrix is as many as it has."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unshuffle.errors import RecordError
from unshuffle.files.npz_file import StoredArray, open_npz
from unshuffle.files.opening import shown
from unshuffle.files.table import Columns, check_cells, check_names, check_size, widened


def open_arrays(path: Path) -> "ArrayTable":
    """Read what the arrays of an .npz file declare.

    Parameters
    ----------
    path
        The file: vectors of shape (rows,), or matrices of shape (rows, width) whose columns are
        called `<key>_0`, `<key>_1`, …

    Returns
    -------
    ArrayTable
        Its columns, not read yet.

    Raises
    ------
    FileError
        If the file is damaged, beyond a limit, or holds anything but plain arrays.
    RecordError
        If an array is neither a vector nor a matrix, or columns cannot be told apart.
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
    """An .npz file with nothing but the headers read.

    Parameters
    ----------
    path
        Where it came from.
    arrays
        Its arrays by name.
    names
        The columns.
    """

    path: Path
    arrays: dict[str, StoredArray]
    names: tuple[str, ...]

    def columns(self, wanted: Sequence[str], gaps: Collection[str]) -> Columns:
        """Read columns.

        Parameters
        ----------
        wanted
            Some of `names`.
        gaps
            Those of them in which NaN stands for an empty cell.

        Returns
        -------
        Columns
            Finite, but NaN where a cell is empty.

        Raises
        ------
        FileError
            If the file is damaged.
        RecordError
            If the arrays differ in their number of rows, or a cell is infinite or, outside `gaps`,
            NaN. Names the row, counted from 1, and the column.
        """
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
