"""Writing a file as a whole or not at all."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from unshuffle.errors import FileError
from unshuffle.files.opening import shown


def write_bytes(path: str | os.PathLike[str], content: bytes, *, force: bool = False) -> None:
    """Write a file so that other programs see all of it or nothing; see `write_files`."""
    write_files({Path(path): content}, force=force)


def write_files(contents: Mapping[Path, bytes], *, force: bool = False) -> None:
    """Write files that belong together: all of them or, unless moving fails, none.

    Each goes to a hidden file in the same folder, which must exist, and is forced to the disk. Only
    when all are there they are moved into place one after the other, which takes no room. Whatever
    goes wrong, the hidden files are removed. `force` lets regular files be replaced. A FileError
    says what exists already or cannot be written.
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
    """Write text as UTF-8, with the guarantees of `write_bytes`; line ends are kept as they are."""
    write_bytes(path, text.encode(), force=force)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder, and those that it lies in, unless it is there."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise FileError(f"{shown(path)}: is a file, not a folder; choose another path") from error
    except (OSError, ValueError) as error:
        raise FileError(f"{shown(path)}: {_reason(error, Path(path))}") from error


def check_folder(path: Path) -> None:
    """Refuse a folder that could not be written into, or made, without making it."""
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
    """Refuse to write over a folder, pipe or device, and without `force` over any file."""
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
