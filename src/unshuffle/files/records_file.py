"""Records as tables: which columns are inputs, which predictions, which targets."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unshuffle.errors import FileError, RecordError
from unshuffle.files.atomic import write_text
from unshuffle.files.opening import as_path, listed, shown
from unshuffle.files.table import Columns, Table
from unshuffle.pieces.pile import Floats, twice
from unshuffle.pieces.records import Records

_PREDICTION = re.compile(r"pred(_[0-9]+)?|prediction.*", re.IGNORECASE | re.DOTALL)
_TARGET = re.compile(r"true(_[0-9]+)?|target.*", re.IGNORECASE | re.DOTALL)


def read_records(
    path: str | os.PathLike[str],
    *,
    inputs: Sequence[str] | None = None,
    predictions: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
) -> Records:
    """Read inputs with the predictions of the lost network.

    Parameters
    ----------
    path
        A .csv, .csv.gz, .parquet or .npz file. In .npz, a matrix stands for the columns
        `<key>_0`, `<key>_1`, …
    inputs, predictions, targets
        Names of columns, in the sequence of the network. By default, whatever their case, the
        predictions are `pred`, `pred_0`, `pred_1`, … and all that begins with `prediction`; the
        targets are `true`, `true_0`, `true_1`, … and all that begins with `target`; the inputs are
        the others in the sequence of the file. No column has two roles.

    Returns
    -------
    Records
        float64. Predictions and targets are NaN where a cell is empty (null in .parquet, NaN in
        .npz).
        Without a column of predictions they have shape (rows, 0).

    Raises
    ------
    FileError
        If the file cannot be read, is not what its suffix says, or exceeds a limit.
    RecordError
        If a named column does not exist or has two roles, no inputs remain, or a cell is no finite
        number; names the row, counted from 1 after any header, and the column.
    """
    path = as_path(path)
    table = _open(path)
    if predictions is None:
        predictions = _guess("prediction", table.names, inputs, targets)
    if targets is None:
        targets = _guess("target", table.names, inputs, predictions)
    if inputs is None:
        inputs = _guess("input", table.names, predictions, targets)
    wanted = [*inputs, *predictions, *targets]
    known, there = {*table.names}, f"its columns are {listed(table.names)}"
    if unknown := [name for name in wanted if name not in known]:
        raise RecordError(f"{shown(path)}: has no column {shown(unknown[0])}; {there}")
    if doubled := twice(wanted):
        raise RecordError(
            f"{shown(path)}: column {shown(doubled[0])} is named twice, but has one role"
        )
    if not inputs:
        raise RecordError(f"{shown(path)}: has no column of inputs; {there}")
    columns = table.columns(wanted, {*predictions, *targets})
    return Records(
        _matrix(inputs, columns),
        _matrix(predictions, columns),
        _matrix(targets, columns) if targets else None,
        name=shown(path),
    )


def _open(path: Path) -> Table:
    """Open a table as its suffix says; no record waits for the formats that it is not kept in."""
    name = path.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        from unshuffle.files.csv_file import open_csv

        return open_csv(path)
    if name.endswith(".parquet"):
        from unshuffle.files.parquet_file import open_parquet

        return open_parquet(path)
    if name.endswith(".npz"):
        from unshuffle.files.array_table import open_arrays

        return open_arrays(path)
    raise FileError(
        f"{shown(path)}: is no file of records by its name, which must end in "
        ".csv, .csv.gz, .parquet, .npz"
    )


def _role(name: str) -> str:
    if _PREDICTION.fullmatch(name):
        return "prediction"
    return "target" if _TARGET.fullmatch(name) else "input"


def _guess(role: str, names: Sequence[str], *taken: Sequence[str] | None) -> list[str]:
    """Columns whose names say that they have the role, but for those that were given another."""
    others = {name for given in taken for name in given or ()}
    return [name for name in names if _role(name) == role and name not in others]


def _matrix(names: Sequence[str], columns: Columns) -> Floats:
    rows = len(next(iter(columns.values())))
    matrix = np.empty((rows, len(names)))
    for position, name in enumerate(names):
        matrix[:, position] = columns[name]
    return matrix


def write_records(path: str | os.PathLike[str], records: Records, *, force: bool = False) -> None:
    """Write a record as CSV, with the guarantees of `write_bytes`; see `records_text`."""
    write_text(path, records_text(records), force=force)


def records_text(records: Records) -> str:
    """A record as CSV, each number in its shortest exact decimals.

    The columns are `measurement_0`, …, then `pred` and `true`, or `pred_0`, … and `true_0`, … where
    there are several. A missing prediction is an empty cell.
    """
    names = [f"measurement_{i}" for i in range(records.width)]
    columns = [_cells(records.inputs)]
    for name, values in (("pred", records.predictions), ("true", records.targets)):
        if values is not None:
            count = values.shape[1]
            names += [name] if count == 1 else [f"{name}_{i}" for i in range(count)]
            columns.append(_cells(values))
    lines = [",".join(cells) for cells in [names, *np.hstack(columns)]]
    return "\n".join(lines) + "\n"


def _cells(values: Floats) -> np.typing.NDArray[np.str_]:
    cells = values.astype(np.str_)
    cells[np.isnan(values)] = ""
    return cells
