"""Records as tables: which columns are inputs, which predictions, which targets."""

import os
import re
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np

from unshuffle.errors import FileError, RecordError, UsageError, hint, listed, shown
from unshuffle.files.atomic import write_text
from unshuffle.files.opening import as_path
from unshuffle.files.table import INDEX, Columns, Table
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.pieces.pile import Floats, twice
from unshuffle.pieces.records import Records

_NAMED = ".safetensors", ".npz"  # of arrays by name; .npz is a table too
_PREDICTION = re.compile(r"(y_?)?(preds?|hat)(_[0-9]+)?|prediction.*", re.IGNORECASE | re.DOTALL)
_PERHAPS_PREDICTION = re.compile(r"(y|outputs?|logits?)(_[0-9]+)?", re.IGNORECASE)
_TARGET = re.compile(r"(y_?)?true(_[0-9]+)?|target.*", re.IGNORECASE | re.DOTALL)
_INDEX = re.compile(rf"{INDEX}|index|__index_level_[0-9]+__")  # as pandas numbers rows


def read_records(
    path: str | os.PathLike[str],
    *,
    inputs: Sequence[str] | None = None,
    predictions: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    named: bool = False,
    time_limit: float | str | Clock | None = None,
) -> Records:
    """Read inputs with the predictions of the lost network.

    Parameters
    ----------
    path
        A text with commas, tabs, semicolons, bars or blanks between its columns; JSON; Parquet;
        arrays of NumPy, torch or a pickle. It may be packed by gzip or zip: the content says what
        it is. A matrix stands for the columns `<key>_0`, `<key>_1`, …
    inputs, predictions, targets
        Names of columns, in the sequence of the network. No column has two roles. By default, in
        any case of letters, predictions are `pred`, `pred_0`, …, `y_pred`, `y_hat` and all that
        begins with `prediction`. If there are none, they are `y`, `output` and `logit`, unless an
        input follows. Targets are `true`, `true_0`, …, `y_true` and all that begins with `target`.
        Inputs are the others, in the sequence of the file, but for those with which pandas numbers
        rows. Columns without names are called `0`, `1`, …, and the last one holds predictions.
    named
        Whether the arrays of an .npz file are called like the parameters of a module's `forward`.
        Those of a .safetensors file always are. They have any shape, with rows on their first axis.
        `prediction` is the output, or `prediction.FIELD` that field of it.
    time_limit
        Seconds after which reading a text ends with a FileError, a text such as "10s", or a
        `Clock`.

    Returns
    -------
    Records
        float64. Predictions and targets are NaN where a cell is empty, null or NaN.
        Without a column of predictions they have shape (rows, 0).

    Raises
    ------
    FileError
        If the file cannot be read, has no known format, or exceeds a limit.
    RecordError
        If a named column does not exist or has two roles. If no inputs remain. If a cell is no
        finite number. The message names the column and the row, counted from 1 after any header.
    """
    path = as_path(path)
    clock = Clock.of(time_limit)
    if path.suffix.lower() in (_NAMED if named else _NAMED[:1]):
        from unshuffle.files.named_records import read_named

        if inputs or predictions or targets:
            raise RecordError(
                f"{shown(path)}: names of columns are for tables; rename its arrays: inputs as the "
                "parameters of forward, the output prediction"
            )
        return read_named(path)
    from unshuffle.files.record_formats import open_table

    table = open_table(path, clock)
    given = map(_names, (inputs, predictions, targets))
    roles = inputs, predictions, targets = _roles(table.names, shown(path), *given)
    used = {*inputs, *predictions, *targets}
    left_out = [name for name in table.names if name not in used]
    columns = _in_time(table, path, clock, roles)
    return Records(
        _matrix(inputs, columns),
        _matrix(predictions, columns),
        _matrix(targets, columns) if targets else None,
        name=shown(path),
        columns=tuple(tuple(map(shown, names)) for names in (*roles, left_out)),
    )


def _in_time(table: Table, path: Path, clock: Clock, roles: tuple[Sequence[str], ...]) -> Columns:
    """The columns of inputs, predictions and targets, read before the clock runs out."""
    inputs, predictions, targets = roles
    try:
        return table.columns([*inputs, *predictions, *targets], {*predictions, *targets})
    except OutOfTimeError as error:
        raise FileError(
            f"{shown(path)}: the time limit of {clock.limit:g} s was over before all rows were "
            "read; give it more time, or keep fewer rows"
        ) from error


def _names(given: Sequence[str] | None) -> Sequence[str] | None:
    """Names of columns as they are given; one may come alone."""
    if given is None:
        return None
    names = [given] if isinstance(given, str) else [*given] if isinstance(given, Iterable) else [0]
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"{shown(repr(given))} names no columns; give a list of their names")
    return names


def _roles(
    names: Sequence[str],
    where: str,
    inputs: Sequence[str] | None,
    predictions: Sequence[str] | None,
    targets: Sequence[str] | None,
) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """Columns of inputs, predictions and targets, guessed where they are not named."""
    if predictions is None:
        predictions = _guess("prediction", names, inputs, targets)
    if targets is None:
        targets = _guess("target", names, inputs, predictions)
    if inputs is None:
        inputs = _guess("input", names, predictions, targets)
    wanted = [*inputs, *predictions, *targets]
    known, there = {*names}, f"its columns are {listed(names)}"
    if unknown := [name for name in wanted if name not in known]:
        near = hint(unknown[0], filter(str.isprintable, names))
        raise RecordError(f"{where}: has no column {shown(unknown[0])}{near}; {there}")
    if doubled := twice(wanted):
        raise RecordError(f"{where}: column {shown(doubled[0])} is named twice, but has one role")
    if not inputs:
        raise RecordError(f"{where}: has no column of inputs; {there}")
    return inputs, predictions, targets


def _role(name: str) -> str:
    if _INDEX.fullmatch(name):
        return "index"
    if _PREDICTION.fullmatch(name):
        return "prediction"
    return "target" if _TARGET.fullmatch(name) else "input"


def _guess(role: str, names: Sequence[str], *taken: Sequence[str] | None) -> list[str]:
    """Columns whose names say that they have the role, but for those that were given another."""
    others = {name for given in taken for name in given or ()}
    found = [name for name in names if _role(name) == role and name not in others]
    if found or role != "prediction":
        return found
    free = [name for name in names if _role(name) == "input" and name not in others]
    if all(name.isdecimal() for name in names if _role(name) != "index"):
        return free[-1:] if len(free) > 1 else []  # without names: a record ends with predictions
    last = [*takewhile(_PERHAPS_PREDICTION.fullmatch, reversed(free))][::-1]
    return last if len(last) < len(free) else []


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

    The columns are `measurement_0`, …, then `pred` and `true`. Of several, `pred_0`, … and
    `true_0`, …. A missing prediction is an empty cell.
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
