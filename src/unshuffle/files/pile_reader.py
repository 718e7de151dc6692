"""Piles from folders of piece files, or from one file that holds them all."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from unshuffle.errors import FileError, PileError
from unshuffle.files import limits
from unshuffle.files.opening import as_path, listed, shown
from unshuffle.files.quantised import restore
from unshuffle.files.tensors import Tensor
from unshuffle.pieces.pile import ID_DIGITS, QUANTISED, Bias, Piece, PieceId, Pile, may_be_id, twice

_SUFFIXES = (".pth", ".pt", ".safetensors", ".npz")

_PART = re.compile(r"(?P<prefix>.*[./_])?(?P<part>weight|bias)", re.DOTALL)
_NUMBER = re.compile(r"[0-9]+")

# The tensors "weight" and "bias" of one piece; one of them alone where they were detached.
Layer = dict[str, Tensor]


def read_pile(path: str | os.PathLike[str]) -> Pile:
    """Read the pieces of a dropped network.

    Parameters
    ----------
    path
        A folder with one .pth, .pt, .safetensors or .npz file a piece, hidden files and other
        suffixes left aside; or one such file, in which tensors called `<piece>.weight` and
        `<piece>.bias` belong together (a slash or an underscore separates as well as a dot). A
        weight or a bias that stands alone is a piece of its own.

    Returns
    -------
    Pile
        Each piece is called by the last number in its file's or tensors' name where all have one
        and all differ, else by the name. float16, bfloat16, and int8 and uint8 with the scales
        that lie beside them, come as float32.

    Raises
    ------
    FileError
        If a file or folder cannot be read, is not what its suffix says, exceeds a limit, or
        holds something else than weights and biases.
    PileError
        If a weight or bias cannot be one of a linear layer.
    """
    path = as_path(path)
    layers = _folder(path) if os.path.isdir(path) else _layers_of(path)
    what = f"{shown(path)}: holds {len(layers)} pieces"
    limits.check_count(len(layers), limits.PIECES, what, "is it the right path?")
    ids = _ids([name for name, _, _ in layers], path)
    pieces = [_piece(name, layer, file) for name, (_, layer, file) in zip(ids, layers, strict=True)]
    return Pile(
        [piece for piece in pieces if isinstance(piece, Piece)],
        [piece for piece in pieces if isinstance(piece, Bias)],
    )


def _folder(folder: Path) -> list[tuple[str, Layer, Path]]:
    files = _piece_files(folder)
    layers = []
    taken = 0
    for file in files:
        tensors = restore(_reader(file)(file), file)
        layer, *others = _layers(tensors).values() or [{}]
        if others or len(layer) != len(tensors) or not layer:
            raise FileError(
                f"{shown(file)}: a piece's file must hold one weight and one bias, or one of them, "
                f"but this one holds {listed(list(tensors))}; a file with many pieces is read by "
                "its own path"
            )
        taken += sum(tensor.values.nbytes for tensor in tensors.values())
        limits.check_growth(taken, limits.TOTAL_BYTES, shown(folder))
        layers.append((file.stem, layer, file))
    return layers


def _reader(file: Path) -> Callable[[Path], dict[str, Tensor]]:
    """What reads files of that suffix; no pile waits for the formats that it is not kept in."""
    match file.suffix.lower():
        case ".safetensors":
            from unshuffle.files.safetensors_file import read_safetensors as read
        case ".npz":
            from unshuffle.files.npz_file import read_npz as read
        case _:
            from unshuffle.files.torch_zip import read_torch as read
    return read


def _piece_files(folder: Path) -> list[Path]:
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
    visible = sorted(name for name in names if not name.startswith("."))
    files = [folder / name for name in visible if Path(name).suffix.lower() in _SUFFIXES]
    if not files:
        raise FileError(
            f"{shown(folder)}: has no piece files: looked for {', '.join(_SUFFIXES)}, "
            f"found {listed(visible)}"
        )
    return files


def read_layers(file: Path) -> list[tuple[str, Layer, Path]]:
    """Read the layers of a file that holds a weight and a bias for each: name, tensors and file.

    They come in the sequence of the file where its format has one.
    """
    layers = _layers_of(file)
    for name, layer, _ in layers:
        if len(layer) != 2:
            raise FileError(
                f"{shown(file)}: layer {shown(name)} has {listed(list(layer))}, but a weight and a "
                "bias are needed; add the other one or leave the layer out"
            )
    return layers


def _layers_of(file: Path) -> list[tuple[str, Layer, Path]]:
    """Read the layers of a file that holds several, whole or detached."""
    if file.suffix.lower() not in _SUFFIXES:
        if not os.path.lexists(file):
            raise FileError(f"{shown(file)}: there is no such file or folder; check the path")
        raise FileError(
            f"{shown(file)}: is neither a folder of pieces nor a file of pieces "
            f"({', '.join(_SUFFIXES)}); check the path"
        )
    tensors = restore(_reader(file)(file), file)
    strangers = [name for name in tensors if not _PART.fullmatch(name)]
    if strangers:
        raise FileError(
            f"{shown(file)}: expected tensors called <piece>.weight and <piece>.bias, but found "
            f"{listed(strangers)}; leave these out"
        )
    layers = _layers(tensors)
    if not layers:
        raise FileError(f"{shown(file)}: holds no tensors; is it the right file?")
    # A lone weight and bias have no name of their own.
    return [(prefix[:-1] or file.stem, layer, file) for prefix, layer in layers.items()]


def _layers(tensors: Mapping[str, Tensor]) -> dict[str, Layer]:
    """Gather weights and biases by what their names begin with, separator included."""
    layers: dict[str, Layer] = {}
    for name, tensor in tensors.items():
        matched = _PART.fullmatch(name)
        if matched:
            layers.setdefault(matched["prefix"] or "", {})[matched["part"]] = tensor
    return layers


def _ids(names: Sequence[str], path: Path) -> list[PieceId]:
    runs = [_NUMBER.findall(name) for name in names]
    if all(found and len(found[-1]) <= ID_DIGITS for found in runs):
        numbers = [int(found[-1]) for found in runs]
        if len(set(numbers)) == len(numbers):
            return list(numbers)
    for name in names:
        if not may_be_id(name):
            raise FileError(
                f"{shown(path)}: a piece is called {name!r}, but answers list pieces between "
                "commas, on one line: rename it without commas, control characters and outer spaces"
            )
    if doubled := twice(names):
        raise FileError(
            f"{shown(path)}: two pieces are called {shown(doubled[0])}; rename or remove one of "
            "them"
        )
    return list(names)


def _piece(name: PieceId, layer: Layer, file: Path) -> Piece | Bias:
    weight, bias = layer.get("weight"), layer.get("bias")
    if weight and bias and weight.stored_as != bias.stored_as:
        scaled = weight.stored_as in QUANTISED  # scales are often kept for weights only
        if not (scaled and bias.values.dtype == np.float32):
            raise FileError(
                f"{shown(file)}: piece {name} has a weight of {weight.stored_as} and a bias of "
                f"{bias.stored_as}; convert one of them"
            )
    try:
        if weight is None:
            return Bias(name, layer["bias"].values, layer["bias"].stored_as)
        numbers = None if bias is None else bias.values
        return Piece.linear(name, weight.values, numbers, weight.stored_as)
    except PileError as error:
        raise PileError(f"{shown(file)}: {error}") from error
