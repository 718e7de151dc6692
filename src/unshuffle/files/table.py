"""What the readers of records share: named columns, and the cells that no record can use."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError, RecordError
from unshuffle.files import limits
from unshuffle.files.opening import listed, shown
from unshuffle.pieces.pile import Floats

Columns = dict[str, Floats]
"""float64 vectors of one length by column name, NaN where a cell is empty."""


class Table(Protocol):
    """A file whose column names are known and whose cells are not read yet."""

    @property
    def names(self) -> Sequence[str]:
        """The columns in the sequence of the file; may hold a name twice."""

    def columns(self, wanted: Sequence[str], gaps: Collection[str]) -> Columns:
        """Read the wanted columns; only those in `gaps` may have empty cells."""


def check_names(names: Sequence[str], path: Path) -> None:
    """Refuse a table whose columns cannot be told apart.

    Parameters
    ----------
    names
        The columns' names.
    path
        The file, for the message.

    Raises
    ------
    FileError
        If there are more columns, or a longer name, than the limits allow.
    RecordError
        If there are no columns, one has no name, or two share theirs.
    """
    if len(names) > limits.COLUMNS:
        raise FileError(
            f"{shown(path)}: has {len(names)} columns, but at most {limits.COLUMNS} are "
            "accepted; is it the right file?"
        )
    if not names:
        raise RecordError(f"{shown(path)}: has no columns; is it the right file?")
    seen = set()
    for position, name in enumerate(names, 1):
        if len(name) > limits.NAME_CHARACTERS:
            raise FileError(
                f"{shown(path)}: column {position} has a name of {len(name)} characters, but at "
                f"most {limits.NAME_CHARACTERS} are accepted; rename it"
            )
        if not name.strip():
            raise RecordError(
                f"{shown(path)}: column {position} has no name; name it, or leave it out if it "
                "only numbers the rows"
            )
        if name in seen:
            raise RecordError(f"{shown(path)}: two columns are called {shown(name)}; rename one")
        seen.add(name)


def check_size(rows: int, columns: int, path: Path) -> None:
    """Refuse a table without rows, or with more cells than the limit allows.

    Parameters
    ----------
    rows, columns
        What is about to be read.
    path
        The file, for the message.

    Raises
    ------
    FileError
        If there are more than `limits.CELLS` cells.
    RecordError
        If there are no rows.
    """
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
    """Numbers as float64; a signalling NaN among them becomes a NaN, and NumPy does not warn."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64, copy=False)


def check_cells(columns: Columns, empty: Mapping[str, NDArray[np.bool_]], path: Path) -> None:
    """Refuse cells that are no finite number.

    Parameters
    ----------
    columns
        What was read.
    empty
        By name of a column that may have them: whether each cell is an empty one.
    path
        The file, for the message.

    Raises
    ------
    RecordError
        Naming the first such row, counted from 1, and its column.
    """
    for name, values in columns.items():
        bad = ~np.isfinite(values) & ~empty.get(name, np.False_)
        if bad.any():
            row = int(np.argmax(bad))
            found = "is empty or NaN" if np.isnan(values[row]) else f"holds {values[row]}"
            raise RecordError(
                f"{shown(path)}: row {row + 1}, column {shown(name)} {found}, but a finite number "
                "is needed; correct it or leave the row out"
            )


def check_known(asked: Collection[str], names: Sequence[str], path: Path) -> None:
    """Refuse names that are not among the columns.

    Parameters
    ----------
    asked
        Names of columns.
    names
        The columns that there are.
    path
        The file, for the message.

    Raises
    ------
    RecordError
        Naming the first unknown one and listing what exists.
    """
    known = set(names)
    for name in asked:
        if name not in known:
            raise RecordError(
                f"{shown(path)}: has no column {shown(name)}; its columns are {listed(list(names))}"
            )
