"""Tables in JSON: rows as objects, in a list or one a line; or columns by name, in an object."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unshuffle.errors import FileError, RecordError, shown
from unshuffle.files import limits
from unshuffle.files.plain import json_value
from unshuffle.files.table import check_size
from unshuffle.files.tensors import Stored
from unshuffle.pieces.pile import Floats

_ADVICE = "give a list of rows, or columns by name"


def json_columns(content: bytes, path: Path) -> dict[str, Stored]:
    """The columns of a table in JSON, none of which is checked yet; `path` names it in messages.

    A list in each row stands for several columns. Rows that are lists have no names: what comes is
    one matrix that is called "". What pandas writes is read in each of its forms.
    """
    what = f"{shown(path)}: holds {len(content)} bytes of JSON"
    limits.check_count(len(content), limits.JSON_BYTES, what, "a sample of the rows is enough")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{shown(path)}: is not UTF-8 text; save it as UTF-8") from error
    columns = _columns(_unwrapped(_value(text, shown(path))), len(content), path)
    if not columns:
        raise RecordError(f"{shown(path)}: holds no columns of numbers; {_ADVICE}")
    return {
        name: Stored(_shape(cells), "float64", name, partial(_numbers, cells, name, path))
        for name, cells in columns.items()
    }


def _value(text: str, where: str) -> Any:
    """A value over any lines, or a list of those in each line."""
    try:
        return json_value(text, where, _ADVICE)
    except FileError:
        lines = [(number, one) for number, one in enumerate(text.split("\n"), 1) if one.strip()]
        begins = [one.lstrip()[0] for _, one in lines[:2]]
        if not lines[1:] or not (lines[0][1].rstrip()[-1] in "}]" or begins == ["{", "{"]):
            raise
    try:
        return json_value(f"[{','.join(one for _, one in lines)}]", where, _ADVICE)
    except FileError:
        for number, one in lines:
            json_value(one, where, "leave that line out", line=number)
        raise


def _unwrapped(value: Any) -> Any:
    """The only object of columns in an object, or in several; whatever else as it is."""
    while isinstance(value, dict) and not any(isinstance(each, list) for each in value.values()):
        inner = [each for each in value.values() if _holds_columns(each)]
        if len(inner) != 1:
            break
        (value,) = inner
    return value


def _holds_columns(value: Any) -> bool:
    named = isinstance(value, dict) and not all(map(str.isdecimal, value))
    return named and any(isinstance(each, list | dict) for each in value.values())


def _columns(value: Any, size: int, path: Path) -> dict[str, Sequence[Any]]:
    """The cells of each column."""
    match value:
        case {"columns": list(names), "data": list(rows)} if all(
            isinstance(row, list) and len(row) == len(names) for row in rows
        ):  # pandas, orient="split"
            return {str(name): [row[place] for row in rows] for place, name in enumerate(names)}
        case {"data": [dict(), *_] as rows} | ([dict(), *_] as rows) if all(
            isinstance(row, dict) for row in rows
        ):  # the first is pandas' orient="table"
            return _of_rows(rows, size, path)
        case dict() if any(isinstance(each, list | dict) for each in value.values()):
            kept = {name: each for name, each in value.items() if isinstance(each, list | dict)}
            return {
                name: [*each.values()] if isinstance(each, dict) else each
                for name, each in kept.items()
            }
        case dict():
            return _of_rows([value], size, path)
        case [list(), *_]:
            return {"": value}
    return {}


def _of_rows(rows: Sequence[Mapping[str, Any]], size: int, path: Path) -> dict[str, Sequence[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    check_size(len(rows), len(names), path)
    limits.check_growth(len(rows) * len(names) * 8, size, shown(path))
    return {name: [row.get(name) for row in rows] for name in names}


def _shape(cells: Any) -> tuple[int, ...]:
    """The shape of lists in lists, by the first of each."""
    shape: tuple[int, ...] = ()
    while isinstance(cells, list):
        shape += (len(cells),)
        cells = cells[0] if cells else None
    return shape


def _numbers(cells: Sequence[Any], name: str, path: Path) -> Floats:
    """The cells as numbers, NaN where there is none; the first that is none is named."""
    try:
        found: Floats = np.array(cells, np.float64)
    except (TypeError, ValueError, OverflowError):
        unlike = (row for row, cell in enumerate(cells) if not _is_like(cell, cells[0]))
        row = next(unlike, 0)
        raise RecordError(
            f"{shown(path)}: row {row + 1}, column {shown(name)} holds "
            f"{shown(repr(cells[row])[:50])}, but a finite number is needed; correct it or leave "
            "the row out"
        ) from None
    return found


def _is_like(cell: Any, first: Any) -> bool:
    """Whether a cell holds as many numbers as the first one."""
    try:
        return np.array(cell, np.float64).shape == _shape(first)
    except (TypeError, ValueError, OverflowError):
        return False
