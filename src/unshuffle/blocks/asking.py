"""Which axes of a block's tensors are the same hidden units: the block itself tells.

With random weights, two axes are changed together. Two of their units change places, or some change
sign. Where the block computes the same after that, nothing else sees these units. So no list of
architectures is needed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, combinations, product

import numpy as np

from unshuffle.pieces.blueprint import united
from unshuffle.pieces.pile import Floats

AGREEMENT = 1e-9  # largest difference of outputs that are the same, over their size
PARTS = (2, 3, 5, 7)  # one of so many equal parts of an axis changes sign: whole heads, if any do

CHUNKS = (2, 3)  # a fused tensor holds so many layers

Axis = tuple[str, int]  # of a tensor, by the tensor's name in the block
Tensors = Mapping[str, Floats]  # of a block, by name
Change = Callable[[Floats, int], Floats]


# An axis, and which of how many equal chunks of it.
Chunk = tuple[str, int, int, int]


def hidden_axes(run: Callable[[Tensors], Floats], own: Tensors) -> list[list[Chunk]]:
    """Axes, or chunks of them, that are the same hidden units of a block, set by set, sorted.

    A fused tensor holds several layers, one behind the other, as queries, keys and values. So
    chunks of axes are asked for where the whole axis has not been found.

    Parameters
    ----------
    run
        What a block of given tensors makes of some states, in double precision.
    own
        The tensors of any block. Those with one axis, such as variances, only vary around these.
    """
    rng = np.random.default_rng(0)
    tensors = {name: _drawn(values, rng) for name, values in sorted(own.items())}
    block = _Asked(run, tensors, run(tensors))
    found: list[frozenset[Axis]] = []
    for one, other in combinations(block.axes, 2):
        if block.length(one) == block.length(other) and not any({one, other} <= s for s in found):
            found = _joined(found, block.shared(one, other))
    found = _with_gates(block, found)
    lone = [one for one in block.axes if not any(one in each for each in found)]
    fused = [*_fused(block, lone)]
    cut = {(name, axis) for each in fused for name, axis, *_ in each}
    for one, other in combinations((one for one in lone if one not in cut), 2):
        found = _joined(found, block.repeated(one, other))
    whole = [[(name, axis, 0, 1) for name, axis in each] for each in found]
    return sorted(sorted(each) for each in [*whole, *fused])


def _fused(block: "_Asked", lone: Sequence[Axis]) -> Iterator[list[Chunk]]:
    """Sets with chunks of lone axes that are so many times as long as another one."""
    lengths = {block.length(one) for one in lone}
    for one, chunks in product(lone, CHUNKS):
        length, rest = divmod(block.length(one), chunks)
        if rest or length not in lengths:
            continue
        cut = _cut(block, one, chunks)
        parts = [axis for axis in cut.axes if axis[0] in cut.chunk_of and axis[1] == one[1]]
        others = [axis for axis in lone if axis[0] != one[0] and block.length(axis) == length]
        found: list[frozenset[Axis]] = []
        for pair in chain(product(parts, others), combinations(parts, 2)):
            if not any({*pair} <= each for each in found):
                found = _joined(found, cut.shared(*pair))
        for each in _with_gates(cut, found):
            named = [(*cut.chunk_of.get(name, (name, 0, 1)), axis) for name, axis in each]
            yield [(name, axis, chunk, of) for name, chunk, of, axis in named]


def _cut(block: "_Asked", one: Axis, chunks: int) -> "_Asked":
    """The block with a tensor in chunks along an axis, and vectors of that length beside it."""
    name, axis = one
    owner, length = name.rpartition(".")[0], block.length(one)
    beside = (
        n
        for n, values in block.tensors.items()
        if values.shape == (length,) and n.rpartition(".")[0] == owner
    )
    along = {name: axis, **dict.fromkeys(beside, 0)}
    # As of modules of their own, so that each chunk of a weight has its chunk of the bias.
    called = {n: [f"{owner}.chunk{k}.{n.rpartition('.')[2]}" for k in range(chunks)] for n in along}
    tensors = {n: values for n, values in block.tensors.items() if n not in along}
    for n, at in along.items():
        tensors |= zip(called[n], np.split(block.tensors[n], chunks, at), strict=True)
    chunk_of = {part: (n, k, chunks) for n, each in called.items() for k, part in enumerate(each)}

    def run(parts: Tensors) -> Floats:
        whole = {n: np.concatenate([parts[k] for k in called[n]], at) for n, at in along.items()}
        return block.run({**{n: t for n, t in parts.items() if n not in chunk_of}, **whole})

    return _Asked(run, tensors, block.right, chunk_of)


@dataclass(frozen=True, eq=False)
class _Asked:
    """A block with random weights, and what it makes of some states."""

    run: Callable[[Tensors], Floats]
    tensors: Tensors
    right: Floats
    # Names of tensors that are chunks of one: its name, the chunk, and how many there are.
    chunk_of: Mapping[str, tuple[str, int, int]] = field(default_factory=dict)

    @cached_property
    def size(self) -> float:
        """The largest number that the block makes of the states."""
        return float(np.abs(self.right).max())

    @cached_property
    def norms(self) -> list[tuple[Axis, ...]]:
        """Modules that own vectors of one length alone, by their tensors."""
        return _vectors(self.tensors)

    @cached_property
    def axes(self) -> list[Axis]:
        """The first two axes of every tensor that is no vector."""
        return [(n, axis) for n, t in self.tensors.items() if t.ndim > 1 for axis in (0, 1)]

    def length(self, axis: Axis) -> int:
        """How many units an axis has."""
        return int(self.tensors[axis[0]].shape[axis[1]])

    def unseen(self, change: Change, axes: Iterable[Axis]) -> set[Axis]:
        """Axes with those of their vectors, if a change of all leaves the output as it is."""
        for beside in _choices(sorted(axes), self.tensors):
            units, changed = {*axes, *beside}, dict(self.tensors)
            for name, axis in units:
                changed[name] = change(changed[name], axis)
            if float(np.abs(self.run(changed) - self.right).max()) <= AGREEMENT * self.size:
                return units
        return set()

    def shared(self, one: Axis, other: Axis) -> set[Axis]:
        """Two axes of one length, and vectors beside them, if they are the same units."""
        plain = (self.unseen(change, (one, other)) for change in _CHANGES)
        norms = (each for each in self.norms if self.length(each[0]) == self.length(one))
        normed = (self.unseen(_exchanged, (one, other, *each)) for each in norms)
        return next(filter(None, chain(plain, normed)), set())

    def repeated(self, one: Axis, other: Axis) -> set[Axis]:
        """Two axes if the units of one are repeated along the other, as heads that others share."""
        shorter, longer = sorted((self.length(one), self.length(other)))
        if shorter == longer or longer % shorter:
            return set()
        units = (self.unseen(change, (one, other)) for change in _CHANGES[1:])
        return next(filter(None, units), set())


def _with_gates(block: _Asked, found: list[frozenset[Axis]]) -> list[frozenset[Axis]]:
    """The sets with the axes of what is multiplied with their units, as a gate is."""
    for one in block.axes:
        for each in found:
            units = {one, *each}
            equal = len({block.length(axis) for axis in units}) == 1
            if one not in each and equal and (units := block.unseen(_exchanged, units)):
                found = _joined(found, units)
                break
    return found


def _drawn(values: Floats, rng: np.random.Generator) -> Floats:
    """Random weights; a vector may be of variances or gains, so it is only shifted upwards."""
    if values.ndim < 2:
        return values + rng.uniform(0.1, 0.5, values.shape).astype(values.dtype)
    fan_in = int(np.prod(values.shape[1:], dtype=int))
    drawn: Floats = rng.normal(size=values.shape).astype(values.dtype) / np.sqrt(fan_in)
    return drawn


def _exchanged(values: Floats, axis: int) -> Floats:
    units = np.arange(values.shape[axis])
    units[:2] = units[:2][::-1]
    exchanged: Floats = np.take(values, units, axis)
    return exchanged


def _negated(part: int, values: Floats, axis: int) -> Floats:
    signs = np.ones(values.shape[axis])
    signs[: max(1, len(signs) // part)] = -1  # to change nothing would prove nothing
    signed: Floats = values * signs.reshape([-1 if k == axis else 1 for k in range(values.ndim)])
    return signed


_CHANGES: tuple[Change, ...] = (_exchanged, *(partial(_negated, part) for part in PARTS))


def _joined(found: list[frozenset[Axis]], units: set[Axis]) -> list[frozenset[Axis]]:
    """The sets with one more, united with those that it meets; as they are where it is empty."""
    return united(found, units) if units else found


def _vectors(tensors: Tensors) -> list[tuple[Axis, ...]]:
    """Modules that own nothing but vectors of one length, as norms do: all their tensors."""
    owners: dict[str, list[str]] = {}
    for name in tensors:
        owners.setdefault(name.rpartition(".")[0], []).append(name)
    return [
        tuple((name, 0) for name in names)
        for names in owners.values()
        if {tensors[name].ndim for name in names} == {1}
        and len({tensors[name].shape for name in names}) == 1
    ]


def _choices(axes: Sequence[Axis], tensors: Tensors) -> Iterator[list[Axis]]:
    """Vectors that may belong to axes: those of the same module and length, first axes first."""
    biases: dict[str, list[Axis]] = {}
    for name, axis in axes:
        owner, length = name.rpartition(".")[0], tensors[name].shape[axis]
        biases[f"{name} {axis}"] = [
            (other, 0)
            for other, values in tensors.items()
            if other.rpartition(".")[0] == owner
            and values.shape == (length,)
            and tensors[name].ndim > 1
        ]
    first = [one for key, each in biases.items() if key.endswith(" 0") for one in each]
    last = [one for key, each in biases.items() if key.endswith(" 1") for one in each]
    for at, choice in enumerate((first, [], last)):
        if choice not in (first, [], last)[:at]:
            yield choice
