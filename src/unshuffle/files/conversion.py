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
_ORC = "import pyarrow.orc as o, pyarrow.csv as c; c.write_csv(o.read_table(FROM), TO)"
_TRUST = "; a pickle runs programs, so trust it first"
_PICKLE = _FRAME.format(read="p.read_pickle(FROM)"), _TRUST
_EXCEL = _FRAME.format(read="p.read_excel(FROM)"), ""
_TORCH = f"import torch; {_FRAME.format(read='torch.load(FROM, weights_only=True)')}", ""

# By suffix, what makes a .csv of a file, and what has to be known of it.
_PROGRAMS = {
    ".arrow": (_ARROW, ""),
    ".feather": (_FEATHER, ""),
    ".orc": (_ORC, ""),
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
        return FileError(f"{shown(path)}: is no record that is read; save it as CSV text in UTF-8")
    line = python_line(program, FROM=path, TO=path.with_suffix(".csv"))
    return FileError(f"{path}: a {path.suffix} is not read; convert it{note}: {line}")


def python_line(program: str, **paths: Path) -> str:
    """The line that runs a program, with paths in the places of their names."""
    named = re.sub("|".join(paths), lambda word: json.dumps(str(paths[word[0]])), program)
    return shlex.join(["python", "-c", named])
