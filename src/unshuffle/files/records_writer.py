"""Records as CSV, laid out like the published puzzle's."""

import os

import numpy as np

from unshuffle.files.atomic import write_text
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records


def write_records(path: str | os.PathLike[str], records: Records, *, force: bool = False) -> None:
    """Write inputs, predictions and targets as CSV, each number in its shortest exact decimals.

    Parameters
    ----------
    path
        Where to. Its folder must exist.
    records
        The columns become `measurement_0`, …, then `pred` and `true`, or `pred_0`, … and `true_0`,
        … where there are several. A missing prediction becomes an empty cell.
    force
        Whether a file that is there already may be replaced.

    Raises
    ------
    FileError
        If something is there already, or the file cannot be written.
    """
    write_text(path, records_text(records), force=force)


def records_text(records: Records) -> str:
    """The text of the file that `write_records` writes."""
    names = [f"measurement_{i}" for i in range(records.width)]
    columns = [_cells(records.inputs)]
    for name, values in (("pred", records.predictions), ("true", records.targets)):
        if values is not None:
            names += [name] if values.shape[1] == 1 else _numbered(name, values.shape[1])
            columns.append(_cells(values))
    lines = [",".join(cells) for cells in [names, *np.hstack(columns)]]
    return "\n".join(lines) + "\n"


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}_{i}" for i in range(count)]


def _cells(values: Floats) -> np.typing.NDArray[np.str_]:
    cells = values.astype(np.str_)
    cells[np.isnan(values)] = ""
    return cells
