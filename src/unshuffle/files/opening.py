"""Reading a whole regular file, named in messages."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from unshuffle.errors import FileError, UsageError, shown
from unshuffle.files import limits


def as_path(given: str | os.PathLike[str]) -> Path:
    """A path as one; raises `UsageError` for what is none."""
    if not isinstance(given, str | os.PathLike) or given == "":
        raise UsageError(f"{shown(repr(given))} is no path; give the path of a file or folder")
    return Path(given)


def check_printable(names: Iterable[str], where: str) -> None:
    """Refuse names of tensors that a message or table could not show as they are."""
    for name in names:
        if not name.isprintable():
            raise FileError(f"{where}: a tensor is called {shown(name)}; rename it without that")


def read_bytes(path: Path, max_bytes: int = limits.FILE_BYTES) -> bytes:
    """Read a regular file, or a link to one, after a check of its size."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FileError(
                    f"{shown(path)}: is a pipe or device, but a file is needed; save it as one"
                )
            what = f"{shown(path)}: holds {status.st_size} bytes"
            limits.check_count(status.st_size, max_bytes, what, "is this the right file?")
            content = stream.read(status.st_size + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise FileError(f"{shown(path)}: {_reason(error)}") from error
    if not content:
        raise FileError(f"{shown(path)}: is empty; was it copied or downloaded completely?")
    if len(content) != status.st_size:
        raise FileError(f"{shown(path)}: changed while it was read; try again")
    return content


def read_head(path: Path, size: int) -> bytes:
    """The first bytes of a file, fewer where it has fewer; nothing of a pipe."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as stream:
            return stream.read(size) or b""
    except (OSError, ValueError) as error:
        raise FileError(f"{shown(path)}: {_reason(error)}") from error


def read_text(path: str | os.PathLike[str], *, max_bytes: int = limits.TEXT_BYTES) -> str:
    """Read a small UTF-8 text file. A byte order mark at its start is dropped."""
    content = read_bytes(Path(path), max_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{shown(path)}: byte {error.start} is not UTF-8 text; save it as UTF-8"
        ) from error


def incomplete(where: object, format_name: str, reason: object) -> FileError:
    """The error for a file that is cut short or of another format."""
    return FileError(
        f"{shown(where)}: is not a complete {format_name} file ({shown(reason)}); was it copied or "
        "downloaded completely?"
    )


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a pipe without waiting for its writer, so that it can be refused instead."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _reason(error: OSError | ValueError) -> str:
    match error:
        case FileNotFoundError():
            return "there is no such file or folder; check the path"
        case IsADirectoryError():
            return "is a folder, but a file is needed; check the path, or rename the folder"
        case PermissionError():
            return "may not be read; check its permissions"
        case OSError():
            return f"cannot be read ({error.strerror or error}); check the path"
    return f"cannot be read ({error}); check the path"
