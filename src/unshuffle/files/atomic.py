"""Writing a file as a whole or not at all."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from unshuffle.errors import FileError
from unshuffle.files.opening import shown


def write_bytes(path: str | os.PathLike[str], content: bytes, *, force: bool = False) -> None:
    """Write a file so that other programs see all of it or nothing.

    The content goes to a hidden file in the same folder, is forced to the disk, and is then moved
    into place. Whatever goes wrong, that hidden file is removed.

    Parameters
    ----------
    path
        Where to. Its folder must exist.
    content
        What to write.
    force
        Whether a regular file that is there already may be replaced.

    Raises
    ------
    FileError
        If something is there already, or the file cannot be written.
    """
    write_files({Path(path): content}, force=force)


def write_files(contents: Mapping[Path, bytes], *, force: bool = False) -> None:
    """Write files that belong together: all of them or, unless moving fails, none.

    Each goes to a hidden file first, as in `write_bytes`; only when all are on the disk they are
    moved into place one after the other, which takes no room.

    Parameters
    ----------
    contents
        What to write, by where to. The folders must exist.
    force
        Whether regular files that are there already may be replaced.

    Raises
    ------
    FileError
        If something is there already, or a file cannot be written.
    """
    hidden: dict[Path, Path] = {}
    at = Path()
    try:
        for at in contents:
            check_free(at, force=force)
        for at, content in contents.items():
            hidden[at] = at.parent / f".unshuffle-{os.urandom(8).hex()}.part"
            with open(hidden[at], "xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        for at, part in hidden.items():
            if force:
                os.replace(part, at)
            else:
                _move_to_new(part, at)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise FileError(f"{shown(at)}: {_reason(error, at)}") from error
    finally:
        for part in hidden.values():
            with suppress(OSError, ValueError):
                part.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str, *, force: bool = False) -> None:
    """Write text as UTF-8, with the guarantees of `write_bytes`.

    Parameters
    ----------
    path
        Where to. Its folder must exist.
    text
        What to write; line ends are kept as they are.
    force
        Whether a regular file that is there already may be replaced.

    Raises
    ------
    FileError
        If something is there already, or the file cannot be written.
    """
    write_bytes(path, text.encode(), force=force)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder, and those that it lies in, unless it is there.

    Raises
    ------
    FileError
        If a file is in the way or the folder cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise FileError(f"{shown(path)}: is a file, not a folder; choose another path") from error
    except (OSError, ValueError) as error:
        raise FileError(f"{shown(path)}: {_reason(error, Path(path))}") from error


def check_folder(path: Path) -> None:
    """Refuse a folder that could not be written into, or made, without making it.

    Parameters
    ----------
    path
        A folder, there or not yet.

    Raises
    ------
    FileError
        If a file is in the way, or permissions forbid it.
    """
    parent = path
    while not os.path.lexists(parent) and parent != parent.parent:
        parent = parent.parent
    if not os.path.isdir(parent):
        raise FileError(f"{shown(parent)}: is a file, not a folder; choose another path")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise FileError(
            f"{shown(path)}: may not be written; check the permissions of {shown(parent)}"
        )


def check_free(path: Path, *, force: bool) -> None:
    """Refuse to write over what must stay.

    Parameters
    ----------
    path
        Where something is about to be written.
    force
        Whether a regular file may be replaced.

    Raises
    ------
    FileError
        If a file is there and `force` is not given, or a folder, pipe or device is there.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise FileError(
            f"{shown(path)}: is a folder, pipe or device and cannot be replaced by a file; choose "
            "another path"
        )
    if not force and os.path.lexists(path):
        raise FileError(
            f"{shown(path)}: exists already; choose another path, or replace it with --force "
            "(force=True)"
        )


def _move_to_new(hidden: Path, path: Path) -> None:
    """Move without replacing a file that appeared in the meantime."""
    try:
        os.link(hidden, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        check_free(path, force=False)
        os.replace(hidden, path)


def _reason(error: OSError | ValueError, path: Path) -> str:
    match error:
        case FileExistsError():
            return "appeared while it was being written, and was left alone; try again"
        case FileNotFoundError() | NotADirectoryError():
            return f"cannot be written, since there is no folder {shown(path.parent)}; create it"
        case PermissionError():
            return f"may not be written; check the permissions of {shown(path.parent)}"
        case OSError():
            return f"cannot be written ({error.strerror or error}); nothing was left behind"
    return f"cannot be written ({error})"
