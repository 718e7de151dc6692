"""TOML files."""

import tomllib
from pathlib import Path
from typing import Any

from unshuffle.errors import FileError
from unshuffle.files import limits
from unshuffle.files.opening import read_text, shown


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file whose lines are of bounded length."""
    text = read_text(path, max_bytes=limits.TOML_BYTES)
    for number, line in enumerate(text.splitlines(), start=1):
        what = f"{shown(path)}: line {number} has {len(line)} characters"
        limits.check_count(len(line), limits.TOML_LINE, what, "spread it over several lines")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # lists in lists, numbers of thousands of digits
        raise FileError(f"{shown(path)}: is not TOML: {shown(error)}; correct that line") from error
