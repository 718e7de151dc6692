"""What lies at a path, told by a look that is cheap, so that swapped arguments can be noticed."""

import os
import re
from enum import StrEnum

from unshuffle.errors import FileError
from unshuffle.files import limits
from unshuffle.files.opening import read_text

# What solve --out keeps, of which others may write the first two.
ANSWER, SOLUTION, EVIDENCE = "answer.txt", "solution.json", "evidence.npz"

_SMALL = 2**16  # bytes of a text that is looked at
_TABLE = re.compile(r".*\.(csv|tsv|parquet|jsonl)(\.gz)?", re.IGNORECASE | re.DOTALL)
_ARRAYS = re.compile(r".*\.(pth|pt|safetensors|npz|npy)", re.IGNORECASE | re.DOTALL)
_BETWEEN = re.compile(r"[\s,;()\[\]]+|->")
_DECIMAL = re.compile(r"(?<![\w.])-?[0-9]+\.[0-9]+(?![\w.])")
_FEWEST = 3  # pieces of a network


class Found(StrEnum):
    """What a path or a text among arguments is."""

    FOLDER = "a folder"
    ARRAYS = "a file of arrays"
    TABLE = "a record"
    ANSWER = "an answer"
    KEPT = "a folder that solve --out kept"


def is_called_table(name: str) -> bool:
    """Whether the name of a file is that of a record."""
    return _TABLE.fullmatch(name) is not None


def found_at(given: str | os.PathLike[str]) -> Found | None:
    """What lies at a path, or what the text itself is. None where that is not sure."""
    if os.path.isdir(given):
        kept = [os.path.isfile(os.path.join(given, name)) for name in (SOLUTION, EVIDENCE)]
        return Found.KEPT if all(kept) else None if any(kept) else Found.FOLDER
    given = os.fspath(given)
    text = _small_text(given) if os.path.exists(given) else given
    if os.path.basename(given) in (ANSWER, SOLUTION) or _are_ids(text):
        return Found.ANSWER
    if _ARRAYS.fullmatch(given):
        return Found.ARRAYS
    sure = text in ("", given) or _DECIMAL.search(text)  # answers may be kept as a table too
    return Found.TABLE if is_called_table(given) and sure else None


def _small_text(path: str) -> str:
    """A text of few bytes; nothing of any other file."""
    try:
        small = os.path.isfile(path) and os.path.getsize(path) <= _SMALL
        return read_text(path, max_bytes=limits.TEXT_BYTES) if small else ""
    except (FileError, OSError):
        return ""


def _are_ids(text: str) -> bool:
    """Whether a text is numbers of pieces: each of them once, in one line, or by ones and twos."""
    rows = [[word for word in _BETWEEN.split(line) if word] for line in text.splitlines()]
    words = [word for row in rows for word in row]
    few = max(map(len, rows), default=0) <= 2 or len([*filter(None, rows)]) == 1
    return few and len({*words}) == len(words) >= _FEWEST and all(map(str.isdecimal, words))
