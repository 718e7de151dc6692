"""Inputs and predictions in two .npy files: told from whole records, and refused."""

import math
import re
from pathlib import Path

from unshuffle.errors import FileError, shown
from unshuffle.files.conversion import python_line
from unshuffle.files.npz_file import npy_shape

_JOIN = "import numpy as n; n.savez(TO, x=n.load(FROM), pred=n.load(OTHER))"
_PREDICTIONS = re.compile("p|y|out|logit", re.IGNORECASE)  # how names of such files begin


def check_whole(path: Path) -> None:
    """Refuse a .npy file that holds one part of a record, where others may hold the other part.

    The error has the line that joins them. A file as wide as two others together is whole.
    """
    rows, width = _size(path)
    beside = {each: _size(each) for each in sorted(path.parent.glob("*.npy")) if rows}
    widths = {each: columns for each, (count, columns) in beside.items() if count == rows}
    widths[path] = width
    whole = {
        each
        for each, columns in widths.items()
        if any(columns == widths[a] + widths[b] for a in widths for b in widths if a != b)
    }
    others = [each for each in widths if each not in {*whole, path}]
    pairs = [pair for each in others if (pair := _pair(path, each, widths))]
    if path not in whole and pairs:
        raise _refusal(path, pairs)


def _size(path: Path) -> tuple[int, int]:
    """Rows and columns of an array; nothing of what is none."""
    rows, *others = npy_shape(path) or (0,)
    return rows, math.prod(others)


def _pair(a: Path, b: Path, widths: dict[Path, int]) -> tuple[Path, Path] | None:
    """Inputs and predictions, by their names or by a single column. None where neither tells."""
    named = [each for each in (a, b) if _PREDICTIONS.match(each.name)]
    narrow = [each for each in (a, b) if widths[each] == 1]
    for made in (named, narrow):
        if len(made) == 1:
            return (b, a) if made == [a] else (a, b)
    return None


def _refusal(path: Path, pairs: list[tuple[Path, Path]]) -> FileError:
    inputs, predictions = pairs[0]
    if len(pairs) > 1 and path == inputs:
        predictions = path.with_name("predictions.npy")
    elif len(pairs) > 1:
        inputs = path.with_name("inputs.npy")
    line = python_line(_JOIN, FROM=inputs, OTHER=predictions, TO=inputs.with_suffix(".npz"))
    part = "inputs" if path == inputs else "predictions"
    return FileError(f"{shown(path)}: holds only {part}; join both in one file: {line}")
