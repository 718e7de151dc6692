"""Piles from folders of piece files, or from one file that holds them all."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from unshuffle.errors import FileError, PileError, listed, shown
from unshuffle.files import limits
from unshuffle.files.chosen import holds_weights, network_in
from unshuffle.files.formats import arrays_of
from unshuffle.files.layers import Layer, followed, layers_of, natural, upright
from unshuffle.files.opening import as_path
from unshuffle.files.quantised import restore
from unshuffle.files.reparametrised import computed
from unshuffle.files.sources import Source, gathered, ids_of, sources_of
from unshuffle.files.tensors import Stored
from unshuffle.pieces.pile import QUANTISED, Bias, Piece, PieceId, Pile

_TURNED = "weights are kept as (in, out), as in Keras and Flax, and were turned"
_UNBIASED = "{} of {} layers have no bias; blocks x + out(a(inp(x))) get zeros in its place"
_CHOICE = "::"  # between a file's path and the name of one of the networks in it


def read_pile(path: str | os.PathLike[str], *, linear: bool = True) -> Pile:
    """Read the pieces of a dropped network.

    Parameters
    ----------
    path
        A folder or zip of files, or one file: of torch, safetensors, NumPy, pickle or Equinox. Its
        content tells. `docs/files.md` says which arrays become which layers. Behind two colons
        stands the name of one of several networks in a file, as in `last.ckpt::ema`.
    linear
        Whether pieces are linear layers, as those of the puzzle are. If not, a piece is any tensors
        in a file. In one file, their names begin alike, as in `<piece>.<tensor>`. `solve` needs
        that beside `blueprint`.

    Returns
    -------
    Pile
        The last number in the name of its file or tensors names a piece, if all have one and all
        differ. Else that whole name does. float16, bfloat16, and int8 and uint8 with their scales
        come as float32.

    Raises
    ------
    FileError
        If a file or folder cannot be read, has no known format or exceeds a limit. If it holds
        several networks, or something else than weights and biases.
    PileError
        If a weight or bias cannot be one of a linear layer.
    """
    path = as_path(path)
    if not linear:
        from unshuffle.files.loose_pieces import read_loose

        return read_loose(path)
    kept = _layers(path)
    layers = upright(kept)
    what = f"{shown(path)}: holds {len(layers)} pieces"
    limits.check_count(len(layers), limits.PIECES, what, "is it the right path?")
    names, places = [layer.name for layer in layers], [layer.where for layer in layers]
    ids = ids_of(names, places, path, numbered=all(layer.named for layer in layers))
    behind = {bias: ids[weight] for bias, weight in followed(layers).items()}
    found = [
        _piece(name, layer, behind.get(place))
        for place, (name, layer) in enumerate(zip(ids, layers, strict=True))
    ]
    pieces = [piece for piece in found if isinstance(piece, Piece)]
    biases = [piece for piece in found if isinstance(piece, Bias)]
    if not pieces:
        raise FileError(
            f"{shown(path)}: holds vectors ({listed([*map(str, ids)])}) and no matrix; save each "
            "weight as a matrix, and each bias as a vector"
        )
    notes = []
    if any(one is not other for one, other in zip(layers, kept, strict=True)):
        notes.append(_TURNED)
    if (without := sum(piece.detached for piece in pieces) - len(biases)) > 0:
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
    found = sources_of(path)
    if isinstance(found, Source):
        return _layers_of(arrays_of(found.content, found.where), found.where, path.stem, wanted)
    return _joined(found, path)


def _layers_of(
    arrays: dict[str, Stored], where: str, stem: str, wanted: str | None = None
) -> list[Layer]:
    found = network_in(arrays, where, wanted)
    tensors = restore({name: array.read() for name, array in found.items()}, where)
    tensors = computed(tensors, where)
    layers = layers_of(tensors, where, stem)
    if not layers:
        raise FileError(
            f"{where}: holds no arrays of NumPy or torch; if it has the numbers in lists, save "
            "them again with each list as numpy.asarray(list)"
        )
    return layers


def _joined(sources: Sequence[Source], path: Path) -> list[Layer]:
    """The layers of several files, each of one piece, of many, or of one array."""
    files, lone = gathered(sources, path)
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
        tensors = {name: lone[name].read() for name in sorted(lone, key=natural)}
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


def _piece(name: PieceId, layer: Layer, behind: PieceId | None) -> Piece | Bias:
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
            return Bias(name, bias.values, bias.stored_as, behind)
        numbers = None if bias is None else bias.values
        return Piece.linear(name, weight.values, numbers, weight.stored_as)
    except PileError as error:
        raise PileError(f"{layer.where}: {error}") from error
