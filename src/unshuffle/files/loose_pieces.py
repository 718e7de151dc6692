"""Pieces of any kind of network: tensors of any names and shapes, by file or by name."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, takewhile
from pathlib import Path

from unshuffle.errors import FileError, shown
from unshuffle.files import limits
from unshuffle.files.formats import arrays_of
from unshuffle.files.opening import check_printable
from unshuffle.files.quantised import restore
from unshuffle.files.sources import Source, gathered, ids_of, sources_of
from unshuffle.files.tensors import INTEGER_BYTES, ITEM_BYTES, Stored, Tensor
from unshuffle.pieces.pile import Floats, Piece, Pile

_SEPARATOR = re.compile("[./]")
_WORD = re.compile("[^0-9]+")  # no name of one piece among many
_COUNTED = re.compile("[0-9]+([.]|$)")
_NO_WEIGHT = re.compile("bool|u?int[0-9]+")  # counts, indices and masks


def read_loose(path: Path) -> Pile:
    """Read pieces as they are, for a blueprint that says which tensors belong where.

    Each of several files is a piece. In one file, a piece is called by the first part of the names
    in which they differ, as in `<piece>.<tensor>`. Beside others, `norms.0` is one of the list
    `norms`. The errors are those of `read_pile`.
    """
    found = sources_of(path)
    files, lone = gathered([found] if isinstance(found, Source) else found, path)
    held = {file.name: (_tensors(file.arrays, file.where), file.where) for file in files}
    held |= {name: (_tensors({"": one}, one.what), one.what) for name, one in lone.items()}
    if len(held) == 1:
        tensors, where = next(iter(held.values()))
        held = {name: (each, where) for name, each in _cut(tensors).items()}
    held = {name: (each, where) for name, (each, where) in held.items() if each}
    if not held:
        raise FileError(f"{shown(path)}: holds no tensor of real numbers; is it the right path?")
    what = f"{shown(path)}: holds {len(held)} pieces"
    limits.check_count(len(held), limits.PIECES, what, "is it the right path?")
    ids = ids_of([*held], [where for _, where in held.values()], path)
    return Pile(
        Piece(name, {key: one.values for key, one in tensors.items()}, _coarsest(tensors.values()))
        for name, (tensors, _) in zip(ids, held.values(), strict=True)
    )


def read_tensors(path: Path) -> dict[str, Floats]:
    """The real tensors of a network in one file, by name, as of a state dict."""
    found = sources_of(path)
    if not isinstance(found, Source):
        raise FileError(f"{shown(path)}: is no file of one network; give its state dict")
    return {
        name: one.values
        for name, one in _tensors(arrays_of(found.content, found.where), found.where).items()
    }


def _tensors(arrays: Mapping[str, Stored], where: str) -> dict[str, Tensor]:
    """The tensors of real numbers in a file; those of integers need scales."""
    check_printable(arrays, where)
    read = {
        name: array.read()
        for name, array in arrays.items()
        if array.stored_as in INTEGER_BYTES or not _NO_WEIGHT.fullmatch(array.stored_as)
    }
    tensors = restore(read, where)
    return {name: one for name, one in tensors.items() if one.values.dtype.kind == "f"}


def _cut(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The pieces in one file, behind what all names begin with."""
    parts = {name: _SEPARATOR.split(name) for name in tensors}
    heads = zip(*parts.values(), strict=False)
    ahead = sum(1 for _ in takewhile(lambda same: len({*same}) == 1, heads))
    tails = {name: each[ahead:] or each[-1:] for name, each in parts.items()}
    lists = _lists(tails.values())
    pieces: dict[str, dict[str, Tensor]] = {}
    for name, one in tensors.items():
        named = 2 if tails[name][0] in lists else 1
        piece, inner = tails[name][:named], tails[name][named:]
        pieces.setdefault(".".join(piece), {})[".".join(inner)] = one
    return pieces


def _lists(tails: Iterable[Sequence[str]]) -> set[str]:
    """First parts behind which numbers count pieces, as in `norms.0.weight`.

    Where all go on alike, as `a.0.weight` and `b.0.weight` do, they are pieces of one form.
    """
    inner: dict[str, set[str]] = {}
    for head, *rest in tails:
        inner.setdefault(head, set()).add(".".join(rest))
    if all(one == other for one, other in pairwise(inner.values())):
        return set()
    return {
        head
        for head, rest in inner.items()
        if _WORD.fullmatch(head) and all(_COUNTED.match(one) for one in rest)
    }


def _coarsest(tensors: Iterable[Tensor]) -> str:
    """The number format with the fewest digits among those of tensors."""
    bits = INTEGER_BYTES | ITEM_BYTES
    return min((one.stored_as for one in tensors), key=lambda name: (bits[name], name))
