"""Files of records that are not read, and for each the line that converts it.

The libraries that read them run programs inside, or do not check what hostile ones declare. Whoever
has such a file has the library that wrote it, and knows whether to trust the file.
"""

import json
import re
import shlex
from pathlib import Path

from unshuffle.errors import FileError, shown

_FRAME = "import pandas as p; p.DataFrame({read}).to_csv(TO, index=False)"
_ARROW = (
    'import pyarrow as a, pyarrow.csv as c; f = open(FROM, "rb").read(); '
    'o = a.ipc.open_file if f[:6] == b"ARROW1" else a.ipc.open_stream; '
    "c.write_csv(o(f).read_all(), TO)"
)
_FEATHER = "import pyarrow.feather as f, pyarrow.csv as c; c.write_csv(f.read_table(FROM), TO)"
_ARRAYS = "import numpy as n; n.savez(TO, x=n.load(FROM), pred=n.load(OTHER))"
_TRUST = "; a pickle runs programs, so trust it first"
_PICKLE = _FRAME.format(read="p.read_pickle(FROM)"), _TRUST
_EXCEL = _FRAME.format(read="p.read_excel(FROM)"), ""
_TORCH = f"import torch; {_FRAME.format(read='torch.load(FROM, weights_only=True)')}", ""

# By suffix, what makes a .csv or .npz of a file, and what has to be known of it.
_PROGRAMS = {
    ".arrow": (_ARROW, ""),
    ".feather": (_FEATHER, ""),
    ".npy": (_ARRAYS, ""),
    ".pickle": _PICKLE,
    ".pkl": _PICKLE,
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".xls": _EXCEL,
    ".xlsx": _EXCEL,
}


def not_read(path: Path) -> FileError:
    """The error for a file of a format that is not read, with the line that converts it."""
    program, note = _PROGRAMS.get(path.suffix.lower(), ("", ""))
    # A name that is not shown as it is would not be meant as it reads in a line to copy.
    if not program or shown(path) != str(path) or not path.is_file():
        return FileError(f"{shown(path)}: is no record that is read; save it as a .csv file")
    kept = path.with_suffix(".npz" if "savez" in program else ".csv")
    names = {"FROM": path, "TO": kept, "OTHER": _beside(path)}
    program = re.sub("|".join(names), lambda word: json.dumps(str(names[word[0]])), program)
    line = shlex.join(["python", "-c", program])
    return FileError(f"{path}: a {path.suffix} is not read; convert it{note}: {line}")


def _beside(path: Path) -> Path:
    """The one other array in the folder, or the one called like predictions; else a name of one."""
    others = [each for each in path.parent.glob("*.npy") if each.name != path.name]
    named = [each for each in others if re.match("p|y|out|logit", each.name, re.IGNORECASE)]
    others = named or others
    return others[0] if len(others) == 1 else path.with_name("predictions.npy")
