"""Piles from folders of piece files, or from one file that holds them all."""

import os
import re
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from unshuffle.errors import FileError, PileError
from unshuffle.files import limits
from unshuffle.files.chosen import holds_weights, network_in
from unshuffle.files.formats import HEAD_BYTES, arrays_of, files_in, holds_arrays, may_hold_arrays
from unshuffle.files.layers import Layer, layers_of, upright
from unshuffle.files.opening import as_path, listed, read_bytes, shown
from unshuffle.files.quantised import restore
from unshuffle.files.reparametrised import computed
from unshuffle.files.tensors import Stored
from unshuffle.pieces.pile import ID_DIGITS, QUANTISED, Bias, Piece, PieceId, Pile, may_be_id, twice

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
_TURNED = "weights are kept as (in, out), as in Keras and Flax, and were turned"
_UNBIASED = "{} of {} layers have no bias; blocks x + out(a(inp(x))) get zeros in its place"
_CHOICE = "::"  # between a file's path and the name of one of the networks in it


@dataclass(frozen=True, eq=False)
class Source:
    """A file of arrays, in a folder or zip: its path there, its name in messages, its bytes."""

    path: PurePosixPath
    where: str
    content: bytes


@dataclass(frozen=True, eq=False)
class File:
    """A file, or several that belong together: its name, that in messages, what it declares."""

    name: str
    where: str
    arrays: dict[str, Stored]


def read_pile(path: str | os.PathLike[str]) -> Pile:
    """Read the pieces of a dropped network.

    Parameters
    ----------
    path
        A folder or zip of files, or one file: of torch, safetensors, NumPy, pickle or Equinox, as
        its content says. `docs/files.md` says which arrays become which layers. Behind two colons,
        as in `last.ckpt::ema`, the name of one of several networks in a file.

    Returns
    -------
    Pile
        Each piece is called by the last number in its file's or tensors' name where all have one
        and all differ, else by the name. float16, bfloat16, and int8 and uint8 with the scales
        that lie beside them, come as float32.

    Raises
    ------
    FileError
        If a file or folder cannot be read, is in no format that is read, exceeds a limit, or holds
        something else than weights and biases, or several networks.
    PileError
        If a weight or bias cannot be one of a linear layer.
    """
    path = as_path(path)
    kept = _layers(path)
    layers = upright(kept)
    what = f"{shown(path)}: holds {len(layers)} pieces"
    limits.check_count(len(layers), limits.PIECES, what, "is it the right path?")
    ids = _ids(layers, path)
    found = [_piece(name, layer) for name, layer in zip(ids, layers, strict=True)]
    pieces = [piece for piece in found if isinstance(piece, Piece)]
    biases = [piece for piece in found if isinstance(piece, Bias)]
    notes = []
    if any(one is not other for one, other in zip(layers, kept, strict=True)):
        notes.append(_TURNED)
    if without := sum(piece.detached for piece in pieces) - len(biases):
        notes.append(_UNBIASED.format(without, len(pieces)))
    return Pile(pieces, biases, notes)


def read_layers(file: Path) -> list[Layer]:
    """Read the layers of a file that holds a weight and a bias for each.

    They come in the sequence of the file where its format has one.
    """
    layers = upright(_layers(file))
    for layer in layers:
        if layer.weight is None or layer.bias is None:
            raise FileError(
                f"{layer.where}: layer {shown(layer.name)} has no "
                f"{'weight' if layer.weight is None else 'bias'}, but a weight and a bias are "
                "needed; add the other one or leave the layer out"
            )
    return layers


def _layers(path: Path) -> list[Layer]:
    """All layers of a folder, a zip of files, or a file, whole or detached."""
    wanted = None
    if not os.path.lexists(path) and _CHOICE in str(path):
        before, _, wanted = str(path).rpartition(_CHOICE)
        path = Path(before)
    if os.path.isdir(path):
        return _joined([*_in_folder(path)], path)
    if parts := _parts(path):
        return _joined(parts, path)
    if not os.path.lexists(path):
        raise FileError(f"{shown(path)}: there is no such file or folder; check the path")
    content, where = read_bytes(path), shown(path)
    archive = files_in(content, where)
    if archive is not None:
        return _joined([*_in_zip(archive)], path)
    return _layers_of(arrays_of(content, where), where, path.stem, wanted)


def _layers_of(
    arrays: dict[str, Stored], where: str, stem: str, wanted: str | None = None
) -> list[Layer]:
    found = network_in(arrays, where, wanted)
    tensors = computed(restore({name: array.read() for name, array in found.items()}, where))
    layers = layers_of(tensors, where, stem)
    if not layers:
        raise FileError(f"{where}: holds no tensors; is it the right file?")
    return layers


def _joined(sources: Sequence[Source], path: Path) -> list[Layer]:
    """The layers of several files, each of one piece, of many, or of one array."""
    files, lone = _gathered(_without_copies(sources))
    taken = sum(one.nbytes for file in files for one in file.arrays.values())
    taken += sum(one.nbytes for one in lone.values())
    limits.check_growth(taken, limits.TOTAL_BYTES, shown(path))
    found, aside = [], []
    for file in files:
        if holds_weights(file.arrays):
            layers = _layers_of(file.arrays, file.where, file.name)
            if len(layers) == 1:
                found.append([replace(layers[0], name=file.name)])
            elif not any(_are_equal(layers, others) for others in found):
                found.append(layers)  # and not, where one network is kept in two formats
        else:
            aside.append(file)
    if lone:
        tensors = {name: array.read() for name, array in lone.items()}
        found.append([replace(one, named=True) for one in layers_of(tensors, shown(path), "")])
    # A folder of pieces has no other files; one of a training has states of its optimiser.
    if aside and all(len(layers) == 1 for layers in found):
        _layers_of(aside[0].arrays, aside[0].where, "")
    return [layer for layers in found for layer in layers]


def _are_equal(some: Sequence[Layer], others: Sequence[Layer]) -> bool:
    """Whether layers have the same names and numbers."""

    def numbers(layer: Layer) -> list[bytes]:
        halves = layer.weight, layer.bias
        return [half.values.tobytes() for half in halves if half is not None]

    one, other = ({layer.name: layer for layer in each} for each in (some, others))
    return one.keys() == other.keys() and all(
        numbers(one[name]) == numbers(other[name]) for name in one
    )


def _gathered(sources: Sequence[Source]) -> tuple[list[File], dict[str, Stored]]:
    """What files declare, parts of one network as one; and by their files, arrays without a name.

    A file is called by its name, and by the folders that lead to it where others have that name.
    """
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
    return sorted(name for name in names if _is_visible(name))


def _is_visible(name: str) -> bool:
    return not name.startswith((".", "__MACOSX"))


def _in_folder(folder: Path) -> list[Source]:
    """The files of arrays in a folder and the folders in it; links to folders are not followed."""
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
                waiting += [path] if not os.path.islink(folder / path) else []
            elif path.suffix.lower() in _SUFFIXES or _looks_like_arrays(folder / path):
                sources.append(_read(folder, path))
                taken += len(sources[-1].content)
                limits.check_growth(taken, limits.TOTAL_BYTES, shown(folder))
            else:
                others.append(str(path))
    if not sources:
        raise FileError(
            f"{shown(folder)}: has no files of arrays ({', '.join(_SUFFIXES)} or others of torch, "
            f"safetensors or NumPy); found {listed(others)}"
        )
    return sorted(sources, key=lambda source: source.path)


def _looks_like_arrays(file: Path) -> bool:
    """Whether a file with another suffix is of a format that is read."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            return False
        with open(file, "rb") as stream:
            head = stream.read(HEAD_BYTES)
    except (OSError, ValueError):
        return False
    return may_hold_arrays(head) and holds_arrays(read_bytes(file), shown(file))


def _read(folder: Path, path: PurePosixPath) -> Source:
    return Source(path, shown(folder / path), read_bytes(folder / path))


def _in_zip(archive: "Archive") -> list[Source]:
    """The files of arrays in a zip."""
    sources = []
    for name in archive.members:
        path = PurePosixPath(name)
        if name.endswith("/") or not all(map(_is_visible, path.parts)):
            continue
        where = f"{archive.where}: {shown(name)}"
        known = path.suffix.lower() in _SUFFIXES
        if known or may_hold_arrays(archive.read(name, HEAD_BYTES)):
            content = archive.read(name)
            if known or holds_arrays(content, where):
                sources.append(Source(path, where, content))
    if not sources:
        raise FileError(
            f"{archive.where}: is a zip without files of arrays; found {listed([*archive.members])}"
        )
    return sorted(sources, key=lambda source: source.path)


def _ids(layers: Sequence[Layer], path: Path) -> list[PieceId]:
    names = [layer.name for layer in layers]
    runs = [_NUMBER.findall(name) for name in names]
    if all(found and len(found[-1]) <= ID_DIGITS for found in runs):
        # Where a name only counts arrays, such as arr_0, it is kept.
        by_number = all(layer.named for layer in layers) or all(map(_PLACE.fullmatch, names))
        numbers = [int(found[-1]) for found in runs]
        if by_number and len(set(numbers)) == len(numbers):
            return list(numbers)
    for layer in layers:
        if not may_be_id(layer.name):
            raise FileError(
                f"{layer.where}: a piece is called {layer.name!r}, but answers list pieces between "
                "commas, on one line: rename it without commas, control characters and outer spaces"
            )
    if doubled := twice(names):
        places = sorted({layer.where for layer in layers if layer.name == doubled[0]})
        mend = "rename or remove one of them"
        if len(places) > 1:
            mend = f"they lie in {listed(places)}: give the file that you mean, or rename one"
        raise FileError(f"{shown(path)}: two pieces are called {shown(doubled[0])}; {mend}")
    return list(names)


def _piece(name: PieceId, layer: Layer) -> Piece | Bias:
    weight, bias = layer.weight, layer.bias
    if weight and bias and weight.stored_as != bias.stored_as:
        scaled = weight.stored_as in QUANTISED  # scales are often kept for weights only
        if not (scaled and bias.values.dtype == np.float32):
            raise FileError(
                f"{layer.where}: piece {name} has a weight of {weight.stored_as} and a bias of "
                f"{bias.stored_as}; convert one of them"
            )
    try:
        if weight is None:
            assert bias is not None
            return Bias(name, bias.values, bias.stored_as)
        numbers = None if bias is None else bias.values
        return Piece.linear(name, weight.values, numbers, weight.stored_as)
    except PileError as error:
        raise PileError(f"{layer.where}: {error}") from error
