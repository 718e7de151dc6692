"""The files of arrays of a path: one file, those in a folder or zip, parts of one."""

import os
import re
import shlex
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from unshuffle.errors import FileError, listed, shown
from unshuffle.files import limits
from unshuffle.files.formats import (
    HEAD_BYTES,
    arrays_of,
    check_known,
    check_text,
    files_in,
    holds_arrays,
    may_hold_arrays,
)
from unshuffle.files.found import Found, found_at, is_called_table
from unshuffle.files.opening import read_bytes
from unshuffle.files.tensors import Stored
from unshuffle.pieces.pile import GIVE_CODE, ID_DIGITS, PieceId, may_be_id, twice

if TYPE_CHECKING:
    from unshuffle.files.zip_file import Archive

_SUFFIXES = (".pth", ".pt", ".safetensors", ".npz", ".npy")

_NUMBER = re.compile(r"[0-9]+")
_PLACE = re.compile(r"(.*[./])?[0-9]+", re.DOTALL)
_PART_OF_SEVERAL = re.compile(
    r"(?P<head>.+)-(?P<part>[0-9]{1,9})-of-(?P<parts>[0-9]{1,9})"
    r"(?P<kind>\.[a-z]+)"
)
_INDEX = ".index.json"  # ends the name of the list of such parts
_COPY = re.compile(r"( \([0-9]+\)| ?- ?Copy( \([0-9]+\))?| copy( [0-9]+)?| [0-9]+)\Z")


@dataclass(frozen=True, eq=False)
class Source:
    """A file of arrays in a folder or zip: its path there, its name in messages, its bytes."""

    path: PurePosixPath
    where: str
    content: bytes


@dataclass(frozen=True, eq=False)
class File:
    """A file, or several that belong together: its name, that in messages, what it declares."""

    name: str
    where: str
    arrays: dict[str, Stored]


def sources_of(path: Path) -> "Source | list[Source]":
    """The files in a folder or zip, all parts of a network by one of them, or else the file.

    A FileError says that there is none, that parts are missing, or what cannot be read.
    """
    if os.path.isdir(path):
        return _in_folder(path)
    if parts := _parts(path):
        return parts
    if not os.path.lexists(path):
        raise FileError(f"{shown(path)}: there is no such file or folder; check the path")
    content, where = read_bytes(path), shown(path)
    archive = files_in(content, where)
    return _in_zip(archive) if archive else Source(PurePosixPath(path.name), where, content)


def gathered(sources: Sequence[Source], path: Path) -> tuple[list[File], dict[str, Stored]]:
    """What files declare, with parts of one network as one. Arrays without a name are by file.

    A file is called by its name, and by its folders if others have that name. Copies are left out.
    The memory of all is checked; `path` names them.
    """
    sources = _without_copies(sources)
    parts = _check_parts(sources)
    stems = Counter(source.path.stem for source in sources)
    files: dict[str, File] = {}
    lone: dict[str, Stored] = {}
    for source in sources:
        alone = stems[source.path.stem] == 1
        name = source.path.stem if alone else str(source.path.with_suffix(""))
        arrays = arrays_of(source.content, source.where)
        if [*arrays] == [""]:
            lone[name] = arrays[""]
            continue
        key = parts.get(source.path, str(source.path))
        file = files.setdefault(key, File(name, source.where, {}))
        if doubled := file.arrays.keys() & arrays.keys():
            raise FileError(
                f"{source.where}: holds {listed(sorted(doubled))}, and {file.where} does too; keep "
                "one of them"
            )
        file.arrays.update(arrays)
    taken = sum(one.nbytes for file in files.values() for one in file.arrays.values())
    taken += sum(one.nbytes for one in lone.values())
    limits.check_growth(taken, limits.TOTAL_BYTES, shown(path))
    return [*files.values()], lone


def _without_copies(sources: Sequence[Source]) -> list[Source]:
    """The files without those that are called a copy of another one, and are."""
    contents = {source.path: source.content for source in sources}

    def is_copy(source: Source) -> bool:
        stem = _COPY.sub("", source.path.stem)
        original = source.path.with_name(f"{stem}{source.path.suffix}")
        return original != source.path and contents.get(original) == source.content

    return [source for source in sources if not is_copy(source)]


def _check_parts(sources: Sequence[Source]) -> dict[PurePosixPath, str]:
    """By their paths, the names of what was saved in several files; none of them may be missing."""
    parts: dict[PurePosixPath, str] = {}
    found: Counter[tuple[str, str]] = Counter()
    for source in sources:
        if part := _PART_OF_SEVERAL.fullmatch(source.path.name):
            parts[source.path] = str(source.path.with_name(part["head"]))
            found[parts[source.path], part["parts"]] += 1
    for (name, of), count in found.items():
        if count != int(of):
            raise FileError(
                f"{shown(name)}: the network was saved in {int(of)} files, but {count} of them "
                "are here; put the others beside them"
            )
    return parts


def _parts(path: Path) -> list[Source]:
    """All files of a network that was saved in several, one of which, or their list, is given."""
    matched = _PART_OF_SEVERAL.fullmatch(path.name)
    if matched:
        head, kind = matched["head"], matched["kind"]
    elif path.name.endswith(_INDEX):
        head, kind = os.path.splitext(path.name.removesuffix(_INDEX))
    else:
        return []
    parts = [_PART_OF_SEVERAL.fullmatch(name) for name in _names(path.parent)]
    files = [part[0] for part in parts if part and (part["head"], part["kind"]) == (head, kind)]
    if not files:
        raise FileError(
            f"{shown(path)}: lists files that are not beside it; put them there, or give another"
        )
    return [_read(path.parent, PurePosixPath(name)) for name in files]


def _names(folder: Path) -> list[str]:
    """Names of the visible entries of a folder, sorted."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, limits.MEMBERS + 1)]
    except OSError as error:
        raise FileError(
            f"{shown(folder)}: cannot be listed ({error.strerror}); check its permissions"
        ) from error
    if len(names) > limits.MEMBERS:
        raise FileError(
            f"{shown(folder)}: holds more than {limits.MEMBERS} files; is it the right folder?"
        )
    return sorted(name for name in names if is_visible(name))


def is_visible(name: str) -> bool:
    """Whether a file is one that its owner put there."""
    return not name.startswith((".", "__MACOSX"))


def _in_folder(folder: Path) -> list[Source]:
    """The files of arrays in a folder and the folders in it, but for links and what solve kept."""
    sources: list[Source] = []
    waiting, others = [PurePosixPath()], list[str]()
    seen = taken = 0
    while waiting:
        inner = waiting.pop()
        for name in _names(folder / inner):
            path = inner / name
            seen += 1
            limits.check_count(seen, limits.MEMBERS, f"{shown(folder)}: holds more files")
            if os.path.isdir(folder / path):
                given = not os.path.islink(folder / path)
                waiting += [path] if given and found_at(folder / path) is not Found.KEPT else []
            elif path.suffix.lower() in _SUFFIXES or _looks_like_arrays(folder / path):
                sources.append(_read(folder, path))
                taken += len(sources[-1].content)
                limits.check_growth(taken, limits.TOTAL_BYTES, shown(folder))
            else:
                others.append(str(path))
    if not sources:
        for name in others:
            head, where = _head(folder / name), shown(folder / name)
            check_known(head, where, _like(PurePosixPath(name), others, folder))
            if is_called_table(name):
                check_text(head, where)
        raise FileError(
            f"{shown(folder)}: has no files of arrays ({', '.join(_SUFFIXES)} or others of torch, "
            f"safetensors or NumPy); found {listed(others)}; give the folder or file that has them"
        )
    return sorted(sources, key=lambda source: source.path)


def _like(path: PurePosixPath, others: Sequence[str], folder: Path) -> str:
    """A pattern of the shell for a file of a folder and others beside it; nothing for one."""
    beside = [one for one in map(PurePosixPath, others) if one.parent == path.parent]
    alike = sum(one.suffix == path.suffix for one in beside)
    plain = re.fullmatch(r"\.[A-Za-z0-9]+", path.suffix)
    return f"{shlex.quote(str(folder / path.parent))}/*{path.suffix}" if plain and alike > 1 else ""


def _looks_like_arrays(file: Path) -> bool:
    """Whether a file with another suffix is of a format that is read."""
    return may_hold_arrays(_head(file)) and holds_arrays(read_bytes(file), shown(file))


def _head(file: Path) -> bytes:
    """How a file begins; nothing of what is no file, or cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            return b""
        with open(file, "rb") as stream:
            return stream.read(HEAD_BYTES)
    except (OSError, ValueError):
        return b""


def _read(folder: Path, path: PurePosixPath) -> Source:
    return Source(path, shown(folder / path), read_bytes(folder / path))


def _in_zip(archive: "Archive") -> list[Source]:
    """The files of arrays in a zip."""
    sources = []
    for name in archive.members:
        path = PurePosixPath(name)
        if name.endswith("/") or not all(map(is_visible, path.parts)):
            continue
        where = f"{archive.where}: {shown(name)}"
        known = path.suffix.lower() in _SUFFIXES
        if known or may_hold_arrays(archive.read(name, HEAD_BYTES)):
            content = archive.read(name)
            if known or holds_arrays(content, where):
                sources.append(Source(path, where, content))
    if not sources:
        raise FileError(
            f"{archive.where}: is a zip without files of arrays; found "
            f"{listed([*archive.members])}; unpack it, and give the file that holds the network"
        )
    return sorted(sources, key=lambda source: source.path)


def ids_of(
    names: Sequence[str], places: Sequence[str], path: Path, *, numbered: bool = True
) -> list[PieceId]:
    """Names of pieces: the last number in a name, if all have one and all differ.

    `places` are what messages call the files of the pieces. If some names are not numbered, names
    that end in more than a number stay whole.
    """
    runs = [_NUMBER.findall(name) for name in names]
    if all(found and len(found[-1]) <= ID_DIGITS for found in runs):
        # Where a name only counts arrays, such as arr_0, it is kept.
        by_number = numbered or all(map(_PLACE.fullmatch, names))
        numbers = [int(found[-1]) for found in runs]
        if by_number and len(set(numbers)) == len(numbers):
            return list(numbers)
    for name, where in zip(names, places, strict=True):
        if not may_be_id(name):
            raise FileError(
                f"{where}: a piece is called {name!r}, but answers list pieces between commas, on "
                "one line: rename it without commas, control characters and outer spaces"
            )
    if doubled := twice(names):
        of_it = sorted({one for name, one in zip(names, places, strict=True) if name == doubled[0]})
        mend = "rename or remove one of them"
        if len(of_it) > 1:
            mend = (
                f"they lie in {listed(of_it)}: give the file that you mean, or rename one; if each "
                f"file is a piece of a network of another kind, {GIVE_CODE}"
            )
        raise FileError(f"{shown(path)}: two pieces are called {shown(doubled[0])}; {mend}")
    return list(names)
