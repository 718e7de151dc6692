"""Files of records that are not read, and for each the line that converts it.

The libraries that read them run programs inside, or do not check what hostile ones declare. Whoever
has such a file has the library that wrote it, and knows whether to trust the file.
"""

import json
import shlex
from pathlib import Path

from unshuffle.errors import FileError
from unshuffle.files.opening import shown

_ROWS = (
    'import csv, json; rows = {rows}; w = csv.DictWriter(open(TO, "w", newline=""), rows[0]); '
    "w.writeheader(); w.writerows(rows)"
)
_FRAME = "import pandas; pandas.{read}(FROM).to_csv(TO, index=False)"
_ARROW = (
    'import pyarrow as a, pyarrow.csv as c; f = open(FROM, "rb").read(); '
    'o = a.ipc.open_file if f[:6] == b"ARROW1" else a.ipc.open_stream; '
    "c.write_csv(o(f).read_all(), TO)"
)
_ARRAYS = "import numpy as n; n.savez(TO, x=n.load(FROM), pred=n.load(OTHER))"
_TENSOR = (
    "import numpy as n, torch; t = torch.load(FROM, weights_only=True).numpy(); "
    "n.savez(TO, x=t[:, :-2], pred=t[:, -2], true=t[:, -1])"
)

# By suffix, what makes a .csv or .npz of a file, and what has to be known of it.
_PROGRAMS = {
    ".arrow": (_ARROW, ""),
    ".feather": (_ARROW, ""),
    ".json": (_ROWS.format(rows="json.load(open(FROM))"), ""),
    ".jsonl": (_ROWS.format(rows="[json.loads(one) for one in open(FROM)]"), ""),
    ".ndjson": (_ROWS.format(rows="[json.loads(one) for one in open(FROM)]"), ""),
    ".npy": (_ARRAYS, ""),
    ".pickle": (_FRAME.format(read="read_pickle"), "; a pickle runs programs, so trust it first"),
    ".pkl": (_FRAME.format(read="read_pickle"), "; a pickle runs programs, so trust it first"),
    ".pt": (_TENSOR, "; if its last two columns are predictions and targets"),
    ".pth": (_TENSOR, "; if its last two columns are predictions and targets"),
    ".xls": (_FRAME.format(read="read_excel"), ""),
    ".xlsx": (_FRAME.format(read="read_excel"), ""),
}


def not_read(path: Path, readable: str) -> FileError:
    """The error for a file that is no record by its name, with a line that converts it."""
    program, note = _PROGRAMS.get(path.suffix.lower(), ("", ""))
    # A name that is not shown as it is would not be meant as it reads in a line to copy.
    if not program or shown(path) != str(path):
        return FileError(
            f"{shown(path)}: is no file of records by its name, which must end in {readable}"
        )
    kept = path.with_suffix(".npz" if "savez" in program else ".csv")
    names = {"FROM": path, "TO": kept, "OTHER": _beside(path)}
    for word, name in names.items():
        program = program.replace(word, json.dumps(str(name)), 1)
    line = shlex.join(["python", "-c", program])
    return FileError(f"{path}: a {path.suffix} is not read; convert it{note}: {line}")


def _beside(path: Path) -> Path:
    """The one other array in the folder, else the name of one."""
    others = [each for each in path.parent.glob("*.npy") if each.name != path.name]
    return others[0] if len(others) == 1 else path.with_name("predictions.npy")
