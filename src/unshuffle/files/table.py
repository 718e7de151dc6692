"""What the readers of records share: named columns, and cells that no record can use."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError, RecordError, shown
from unshuffle.files import limits
from unshuffle.pieces.pile import Floats

# float64 vectors of one length by column name, NaN where a cell is empty.
Columns = dict[str, Floats]

# What a first column without a name is called, as pandas does: it numbers the rows.
INDEX = "Unnamed: 0"


class Table(Protocol):
    """A file whose column names are known and whose cells are not read yet."""

    @property
    def names(self) -> Sequence[str]:
        """The columns in the sequence of the file; may hold a name twice."""

    def columns(self, wanted: Sequence[str], gaps: Collection[str]) -> Columns:
        """Read some columns.

        Parameters
        ----------
        wanted
            Some of `names`.
        gaps
            Those of them that may have empty cells, which become NaN.

        Raises
        ------
        FileError
            If the file is damaged or there are more cells than the limit allows.
        RecordError
            If there are no rows, or a cell is no finite number or, outside `gaps`, empty. It names
            the row, counted from 1, and the column.
        """


def check_names(names: Sequence[str], path: Path) -> None:
    """Refuse a table whose columns cannot be told apart."""
    limits.check_count(len(names), limits.COLUMNS, f"{shown(path)}: has {len(names)} columns")
    if not names:
        raise RecordError(f"{shown(path)}: has no columns; is it the right file?")
    seen = set()
    for position, name in enumerate(names, 1):
        what = f"{shown(path)}: column {position}"
        limits.check_name(name, what)
        if not name.strip():
            raise RecordError(f"{what} has no name; name it, or take the column out of the file")
        if name in seen:
            raise RecordError(f"{shown(path)}: two columns are called {shown(name)}; rename one")
        seen.add(name)


def check_size(rows: int, columns: int, path: Path) -> None:
    """Refuse a table without rows, or with more cells than the limit allows."""
    if rows * columns > limits.CELLS:
        raise FileError(
            f"{shown(path)}: has {rows} rows of {columns} columns, but at most {limits.CELLS} "
            "cells are accepted; a sample of the rows is enough"
        )
    if rows == 0:
        raise RecordError(
            f"{shown(path)}: has no rows, but at least one row of inputs is needed; is it the "
            "right file?"
        )


def widened(values: NDArray[Any]) -> Floats:
    """Numbers as float64. A signalling NaN becomes a NaN without a warning of NumPy."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64, copy=False)


def check_cells(columns: Columns, empty: Mapping[str, NDArray[np.bool_]], path: Path) -> None:
    """Refuse cells that are no finite number, but for the empty ones of some columns."""
    for name, values in columns.items():
        bad = ~np.isfinite(values) & ~empty.get(name, np.False_)
        if bad.any():
            row = int(np.argmax(bad))
            found = "is empty or NaN" if np.isnan(values[row]) else f"holds {values[row]}"
            raise RecordError(
                f"{shown(path)}: row {row + 1}, column {shown(name)} {found}, but a finite number "
                "is needed; correct it or leave the row out"
            )
