"""How arrays become layers: by rank, by shape, and by the ends of their names.

A matrix is a weight and a vector a bias. Two belong together if their names differ only in that
word: `0.weight` and `0.bias`, `Dense_0/kernel` and `Dense_0/bias`, `w1` and `b1`. So do two that
stand alone below one name, such as `vars/0` and `vars/1`. Each array that no name joins is a piece
of its own. An array of three axes is a stack of matrices. Frameworks differ in whether a matrix
maps its columns to its rows. The lengths of the biases tell, else the shapes of all, else the
names.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError, listed, shown
from unshuffle.files import limits
from unshuffle.files.tensors import Tensor
from unshuffle.pieces.anatomy import makes_network
from unshuffle.pieces.pile import GIVE_CODE

# What names end with, or begin with behind a separator; TensorFlow and Flax add to it.
_WORDS = r"(?P<word>weights?|kernel|w|coefs_|bias(?:es)?|b|intercepts_)"
_ADDED = r"(?::0|[./](?:raw_)?value)?"
_ENDS = re.compile(rf"(?P<head>.*[./_])?{_WORDS}(?P<tail>[._]?[0-9]+)?{_ADDED}", re.I | re.S)
_BEGINS = re.compile(
    rf"(?P<head>.*[./])?{_WORDS}(?P<tail>(?!_scale|_zero|_norm)[._][^/]+?){_ADDED}", re.I | re.S
)
_TURNED = ("kernel", "w", "coefs_")  # words of frameworks whose matrices map rows to columns
_WITHIN = re.compile(r"[./]?[^./]*\Z")  # the last part of a name, with its separator


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight and a bias, or one of them. `where` names their file in messages."""

    name: str
    where: str
    weight: Tensor | None
    bias: Tensor | None
    turned: bool = False  # whether its name speaks for a weight that maps rows to columns
    named: bool = True  # whether a name says what it is

    def holding(self, weight: NDArray[Any] | None, bias: NDArray[Any] | None) -> "Layer":
        """The same with other numbers in the same formats."""
        halves = (self.weight, weight), (self.bias, bias)
        one, other = (
            None if half is None or values is None else replace(half, values=values)
            for half, values in halves
        )
        return replace(self, weight=one, bias=other)

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return sum(half.values.nbytes for half in (self.weight, self.bias) if half is not None)


def layers_of(tensors: Mapping[str, Tensor], where: str, stem: str) -> list[Layer]:
    """The layers in a file, in the sequence of their first arrays.

    `stem` names a layer whose arrays have no name but what they are. Counters and the like, which
    have no axis or are integers, are left aside.
    """
    halves: dict[tuple[str, str], dict[str, str]] = {}
    rest: list[str] = []
    for name, tensor in tensors.items():
        place = place_of(name)
        if place and place[1] not in halves.get(place[0], {}):
            halves.setdefault(place[0], {})[place[1]] = name
        elif tensor.values.dtype.kind == "f" and (tensor.values.ndim or _is_factor(name)):
            rest.append(name)
    alone = _join(rest, tensors, halves)
    taken = {part for each in halves.values() for part in each}
    parts = _parts([tensors[name] for name in alone])
    strangers = [
        name
        for name, part in zip(alone, parts, strict=True)
        if part in taken or not tensors[name].values.ndim
    ]
    if strangers:
        raise FileError(
            f"{where}: beside weights and biases of linear layers it holds {listed(strangers)}; "
            f"{_of_what(strangers)}, so it is not one of blocks x + out(a(inp(x))); if they are no "
            f"part of it, save it without them; else {GIVE_CODE}"
        )
    for name, part in zip(alone, parts, strict=True):
        halves["", name] = {part: name}
    sequence = {name: place for place, name in enumerate(tensors)}
    layers = []
    for key in sorted(halves, key=lambda key: min(sequence[name] for name in halves[key].values())):
        held = halves[key]
        weight, bias = (tensors.get(held.get(part, "\0")) for part in ("weight", "bias"))
        # Where some arrays have nothing but a name, those without a partner go by theirs too.
        name = _name(*key) if len(held) == 2 or not alone else next(iter(held.values()))
        turned = bool((place := place_of(held.get("weight", ""))) and place[2] in _TURNED)
        layers.append(Layer(name or stem, where, weight, bias, turned, not alone))
    return [one for layer in layers for one in _cut(layer)]


def _of_what(names: Sequence[str]) -> str:
    """What arrays that belong to no linear layer are most likely of."""
    called = " ".join(names).lower()
    if "running" in called or "norm" in called:
        return "a network that has them has norms"
    scales = any(_is_factor(name) or "scale" in name.lower() for name in names)
    return f"a network that has them has {'scales' if scales else 'other parts'}"


def _is_factor(name: str) -> bool:
    """Whether an array is called like a factor on what a block adds, and not as in quantisation."""
    return any(word in name.lower() for word in ("gamma", "alpha", "lambda"))


def place_of(name: str) -> tuple[tuple[str, str], str, str] | None:
    """What an array's name says: its layer, its part of that, and the part's word."""
    matched = _ENDS.fullmatch(name) or _BEGINS.fullmatch(name)
    if not matched:
        return None
    word = matched["word"].lower()
    part = "bias" if word[0] in "bi" else "weight"
    return (matched["head"] or "", matched["tail"] or ""), part, word


def _parts(tensors: Sequence[Tensor]) -> list[str]:
    """What each of arrays without names is: a matrix beside a stack may be one of its biases."""
    shapes = [tensor.values.shape for tensor in tensors]
    biases = {(one[0], rows) for one in shapes if len(one) == 3 for rows in one[1:]}
    return ["bias" if len(one) == 1 or one in biases else "weight" for one in shapes]


def _name(head: str, tail: str) -> str:
    """Name of a layer from what stands before and behind the word for its part."""
    return ".".join(filter(None, (head[:-1], tail.lstrip("._"))))


def _join(
    names: Iterable[str],
    tensors: Mapping[str, Tensor],
    halves: dict[tuple[str, str], dict[str, str]],
) -> list[str]:
    """Join a matrix and a vector that stand alone below one name; what is left is returned."""
    below: dict[str, list[str]] = {}
    for name in names:
        below.setdefault(_WITHIN.sub("", name), []).append(name)
    alone = []
    for head, inner in below.items():
        parts = dict(zip(_parts([tensors[name] for name in inner]), inner, strict=True))
        if len(inner) == len(parts) == 2 and (f"{head}.", "") not in halves:
            halves[f"{head}.", ""] = parts
        else:
            alone += inner
    return alone


def _cut(layer: Layer) -> list[Layer]:
    """The layers of which an array of three axes is a stack; else the layer, in its usual form."""
    if layer.weight is None:
        return (
            [
                replace(layer.holding(None, bias), name=f"{layer.name}.{place}")
                for place, bias in enumerate(layer.bias.values)
            ]
            if layer.bias is not None and layer.bias.values.ndim == 2
            else [layer]
        )
    weight, bias = layer.weight.values, None if layer.bias is None else layer.bias.values
    if weight.ndim == 1 < weight.size and bias is not None and bias.size == 1:
        # One output: the matrix of one row, as a vector.
        return [layer.holding(weight[None], bias.reshape(1))]
    if weight.ndim == 2 and bias is not None and bias.ndim == 2 and 1 in bias.shape:
        return [layer.holding(weight, bias.ravel())]  # a column or row, as MATLAB keeps vectors
    if weight.ndim != 3 or (bias is not None and bias.shape[:-1] != weight.shape[:1]):
        return [layer]
    what = f"{layer.where}: {shown(layer.name)} is a stack of {len(weight)} matrices"
    limits.check_count(len(weight), limits.PIECES, what)
    biases = repeat(None) if bias is None else bias
    return [
        replace(layer.holding(one, other), name=f"{layer.name}.{place}")
        for place, (one, other) in enumerate(zip(weight, biases, strict=False))
    ]


def upright(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with weights that map their columns to their rows: all or none are turned."""
    if not _are_turned(layers):
        return [*layers]

    return [
        layer
        if layer.weight is None
        else layer.holding(
            np.ascontiguousarray(layer.weight.values.T),
            None if layer.bias is None else layer.bias.values,
        )
        for layer in layers
    ]


def _are_turned(layers: Sequence[Layer]) -> bool:
    """Whether weights map their rows to their columns, by the first witness that knows."""
    for witness in (_biases, _loose_biases, _neighbours, _network, _words):
        upright, turned = witness(layers)
        if upright != turned:
            return turned > upright
    return False


Counts = tuple[int, int]  # what speaks for weights that map columns to rows, and rows to columns


def _fitting(pairs: Iterable[tuple[Tensor | None, Tensor | None]]) -> Counts:
    """How many biases are as long as their weights are high, and how many as these are wide."""
    lengths = [
        (*weight.values.shape, bias.values.size)
        for weight, bias in pairs
        if weight is not None and bias is not None and weight.values.ndim == 2
    ]
    return (
        sum(rows == length for rows, _, length in lengths),
        sum(columns == length for _, columns, length in lengths),
    )


def _biases(layers: Sequence[Layer]) -> Counts:
    return _fitting((layer.weight, layer.bias) for layer in layers)


def _loose_biases(layers: Sequence[Layer]) -> Counts:
    """As `_biases`, of weights and biases that belong to any of each other."""
    lengths = Counter(one.bias.values.size for one in layers if one.bias and not one.weight)
    shapes = [one.weight.values.shape for one in layers if one.weight and not one.bias]
    rows = Counter(shape[0] for shape in shapes if len(shape) == 2)
    columns = Counter(shape[1] for shape in shapes if len(shape) == 2)
    return (rows & lengths).total(), (columns & lengths).total()


def _neighbours(layers: Sequence[Layer]) -> Counts:
    """As `_biases`, of each weight and the bias that comes next by name, where both stand alone."""
    halves = sorted(
        (one for one in layers if not (one.weight and one.bias)), key=lambda one: natural(one.name)
    )
    return _fitting((one.weight, other.bias) for one, other in pairwise(halves))


def followed(layers: Sequence[Layer]) -> dict[int, int]:
    """Places of the weights that biases come right behind, by the places of these.

    There are none where weights and biases do not alternate, or any two do not fit. Arrays that
    were mixed all together hardly ever do.
    """
    halves = [place for place, one in enumerate(layers) if not (one.weight and one.bias)]
    pairs = [*zip(halves[::2], halves[1::2], strict=False)]
    fitting, _ = _fitting((layers[one].weight, layers[other].bias) for one, other in pairs)
    return {other: one for one, other in pairs} if 2 * fitting == len(halves) else {}


def _network(layers: Sequence[Layer]) -> Counts:
    """Whether there are as many of each shape as a network has."""
    shapes = [one.weight.values.shape for one in layers if one.weight]
    if any(len(shape) != 2 for shape in shapes):
        return 0, 0
    return makes_network(shapes), makes_network(shape[::-1] for shape in shapes)


def _words(layers: Sequence[Layer]) -> Counts:
    words = [layer.turned for layer in layers if layer.weight]
    return (0, 1) if words and all(words) else (1, 0)


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which layer 10 comes after layer 9, for any number of digits."""
    parts = [
        part.lstrip("0") if place % 2 else part
        for place, part in enumerate(re.split("([0-9]+)", name))
    ]
    return [(len(part) if place % 2 else -1, part) for place, part in enumerate(parts)]
