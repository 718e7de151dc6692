"""Writing a file as a whole or not at all."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from unshuffle.errors import FileError, shown


def write_bytes(path: str | os.PathLike[str], content: bytes, *, force: bool = False) -> None:
    """Write a file so that other programs see all of it or nothing; see `write_files`."""
    write_files({Path(path): content}, force=force)


def write_files(contents: Mapping[Path, bytes], *, force: bool = False) -> None:
    """Write files that belong together: all of them or, unless moving fails, none.

    Each goes to a hidden file in the same folder, which is made if missing, and is forced to the
    disk. When all are there they are moved into place, which takes no room. Whatever goes wrong,
    hidden files and new folders are removed. `force` replaces regular files. A FileError says what
    exists already or cannot be written.
    """
    hidden: dict[Path, Path] = {}
    made: list[Path] = []
    at = Path()
    try:
        for at in contents:
            check_free(at, force=force)
        for at, content in contents.items():
            made += make_folder(at.parent)
            hidden[at] = _hidden(at.parent)
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
        _remove_empty(made)


def write_text(path: str | os.PathLike[str], text: str, *, force: bool = False) -> None:
    """Write text as UTF-8, with the guarantees of `write_bytes`. Line ends stay."""
    write_bytes(path, text.encode(), force=force)


def make_folder(path: str | os.PathLike[str]) -> list[Path]:
    """Make a folder, and those that it lies in. It returns the new ones, outermost first.

    A FileError says which is a file, or cannot be made. Then none of them stays.
    """
    path = Path(path)
    lacking = [*takewhile(lambda each: not os.path.lexists(each), (path, *path.parents))][::-1]
    inside = lacking[0].parent if lacking else path
    if not os.path.isdir(inside):
        raise FileError(f"{shown(inside)}: is a file, not a folder; choose another path")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        _remove_empty(lacking)
        reason = error.strerror if isinstance(error, OSError) else error
        raise FileError(
            f"{shown(path)}: cannot be made ({reason}); check the permissions of {shown(inside)}, "
            "or choose another path"
        ) from error
    return lacking


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made or written into. A trial tells, and leaves nothing."""
    made = make_folder(path)
    probe = _hidden(path)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise FileError(f"{shown(path)}: {_reason(error, probe)}") from error
    finally:
        _remove_empty(made)


def _hidden(folder: Path) -> Path:
    """A name that no file has."""
    return folder / f".unshuffle-{os.urandom(8).hex()}.part"


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, given outermost first, as far as they are there and empty."""
    for folder in reversed(folders):
        with suppress(OSError, ValueError):
            folder.rmdir()


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
        case PermissionError():
            return f"may not be written; check the permissions of {shown(path.parent)}"
        case OSError():
            return (
                f"cannot be written ({error.strerror or error}), and what was there stays; make "
                "room, or choose another path"
            )
    return f"cannot be written ({error})"
