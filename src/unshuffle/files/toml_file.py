"""TOML files."""

import tomllib
from pathlib import Path
from typing import Any

from unshuffle.errors import FileError
from unshuffle.files import limits
from unshuffle.files.opening import read_text, shown


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    FileError
        If it cannot be read, is not TOML, or has a line that is too long.
    """
    text = read_text(path, max_bytes=limits.TOML_BYTES)
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > limits.TOML_LINE:
            raise FileError(
                f"{shown(path)}: line {number} has {len(line)} characters, but at most "
                f"{limits.TOML_LINE} are accepted; spread it over several lines"
            )
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # lists in lists, numbers of thousands of digits
        raise FileError(f"{shown(path)}: is not TOML: {shown(error)}; correct that line") from error
