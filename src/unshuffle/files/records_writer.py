"""Records as CSV, laid out like the published puzzle's."""

import os

import numpy as np

from unshuffle.files.atomic import write_text
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records


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
