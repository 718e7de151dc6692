"""A search on disk: the file that `unshuffle solve --checkpoint` goes on from.

An .npz archive of the rounds that are done and of what they are of. It is written as a whole or not
at all, so whatever ends the program leaves a file that is complete.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError
from unshuffle.files import limits, shown, write_npz
from unshuffle.files.npz_file import ANYTHING, open_npz
from unshuffle.ordering.journal import Entry, Journal

LEAST_SECONDS = 1.0
"""Between two writings of a checkpoint,"""
SHARE = 0.05
"""or longer, so that writing takes no more than this part of the time."""

_ADVICE = "choose another file, or remove it to begin anew"

_FORMATS = {
    "part": "U",
    "of": "U",
    "number": "int32",
    "numbers": "int64",
    "error": "float64",
    "errors": "int64",
    "seconds": "float64",
}
"""The vectors of a checkpoint, and the number format of each; U is text."""


@contextmanager
def checkpoint(path: str | os.PathLike[str]) -> Iterator[Journal]:
    """Keep a search in a file while it runs, and go on from what the file holds.

    The journal is for `solve`. It is written every second or more rarely, and at the end, however
    that comes about. The search must be begun with the same pieces, record and options each time,
    but for the time limit.

    Parameters
    ----------
    path
        The file. If it is there, it must be a checkpoint of the same search. It stays when the
        search is done.

    Raises
    ------
    FileError
        If the file is damaged, of another search, or cannot be written. What fails during the
        search is tried again and said at the end.

    Examples
    --------
    >>> with checkpoint("search.npz") as journal:
    ...     solution = solve(pile, records, journal=journal)
    """
    path = Path(path)
    journal = read_checkpoint(path) if os.path.lexists(path) else Journal(name=shown(path))
    written = len(journal.entries)
    due = perf_counter()

    def keep() -> None:
        nonlocal written, due
        if (began := perf_counter()) < due:
            return
        try:
            write_checkpoint(path, journal)
            written = len(journal.entries)
        except FileError:
            pass  # a search of hours is worth more than its checkpoint
        spent = perf_counter() - began
        due = began + max(LEAST_SECONDS, spent / SHARE)

    journal.on_entry = keep
    try:
        yield journal
    finally:
        journal.on_entry = None
        if written < len(journal.entries):
            write_checkpoint(path, journal)


def write_checkpoint(path: str | os.PathLike[str], journal: Journal) -> None:
    """Write the rounds of a search over those that were there before.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    entries, key = list(journal.entries), journal.key or {}
    arrays: dict[str, NDArray[np.generic]] = {
        "part": np.array(list(key), np.str_),
        "of": np.array(list(key.values()), np.str_),
        "number": np.concatenate([np.empty(0, np.int32), *(entry.numbers for entry in entries)]),
        "numbers": np.array([len(entry.numbers) for entry in entries], np.int64),
        "error": np.concatenate([np.empty(0), *(entry.errors for entry in entries)]),
        "errors": np.array([len(entry.errors) for entry in entries], np.int64),
        "seconds": np.array([entry.seconds for entry in entries], np.float64),
    }
    write_npz(path, arrays, force=True)


def read_checkpoint(path: str | os.PathLike[str]) -> Journal:
    """Read the rounds of a search.

    Raises
    ------
    FileError
        If the file is missing or damaged, or is no checkpoint.
    """
    path = Path(path)
    arrays = _arrays(path)
    numbers, errors, seconds = arrays["number"], arrays["error"], arrays["seconds"]
    counts = arrays["numbers"], arrays["errors"]
    parts, of = arrays["part"].tolist(), arrays["of"].tolist()
    fits = (
        len(counts[0]) == len(counts[1]) == len(seconds)
        and len(parts) == len(of)
        and all(text.isprintable() for text in (*parts, *of))
        and min(counts[0].min(initial=0), counts[1].min(initial=0)) >= 0
        and max(counts[0].max(initial=0), counts[1].max(initial=0)) <= limits.CELLS
        and (counts[0].sum(), counts[1].sum()) == (len(numbers), len(errors))
        and bool((errors >= 0).all())  # no NaN either
        and bool(np.isfinite(seconds).all() and (np.diff(seconds, prepend=0.0) >= 0).all())
    )
    if not fits:
        raise FileError(f"{shown(path)}: its arrays make no checkpoint; {_ADVICE}")
    ends = [np.cumsum(count)[:-1] for count in counts]
    entries = map(Entry, *map(np.split, (numbers, errors), ends), seconds.tolist())
    return Journal(
        list(entries) if len(seconds) else [], dict(zip(parts, of, strict=True)), shown(path)
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    stored = open_npz(path, ANYTHING)
    for name, wanted in _FORMATS.items():
        found = stored.get(name)
        if found is None or len(found.shape) != 1 or wanted not in (found.dtype.kind, found.dtype):
            raise FileError(
                f"{shown(path)}: has no vector {name} of {wanted}, so is no checkpoint; {_ADVICE}"
            )
    return {name: stored[name].read() for name in _FORMATS}
