"""Blueprints: what a network is made of, without its weights.

A network is a sequence of blocks of one kind. A kind has roles, such as `inp` and `out`. A slot is
one role of one block, and an arrangement says which piece lies in which slot.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import UsageError
from unshuffle.pieces.pile import PieceId

# Shape (blocks, roles): the position in the pile of the piece in each slot. Blocks stand in the
# order in which they run; NO_PIECE where a block has no such slot. Nothing else numbers layers.
Arrangement = NDArray[np.intp]

T = TypeVar("T")

NO_PIECE = -1  # in an arrangement, where a block has no slot of a role

Parts = NDArray[np.intp]  # shape (roles,): one row of an arrangement, the pieces of one block


class Axis(NamedTuple):
    """An axis of a tensor in a role, or one of so many equal chunks of it."""

    role: int
    tensor: str
    axis: int
    chunk: int = 0
    chunks: int = 1


@dataclass(frozen=True)
class Role:
    """What all pieces in one kind of slot share: the shapes of their tensors by name."""

    name: str
    tensors: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))


@dataclass(frozen=True)
class Edge:
    """An axis that two roles share and that nothing else sees: the hidden units of a block.

    It is the given axis of one tensor of each, a matrix. The other axes face the stream, or both
    face the same units.
    """

    first: int  # the number of a role
    second: int
    first_axis: int
    second_axis: int
    first_tensor: str = "weight"
    second_tensor: str = "weight"

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """The axis in each of the two roles."""
        return (
            Axis(self.first, self.first_tensor, self.first_axis),
            Axis(self.second, self.second_tensor, self.second_axis),
        )


@dataclass(frozen=True)
class Kind:
    """What all blocks of one form share. Its edges are where evidence on pairs comes from.

    `hidden` has sets of axes that are the same hidden units, such as those that edges name. All
    other axes face the stream. Where the blocks differ in their roles, `variants` has those of the
    block in each place, and an arrangement holds `NO_PIECE` for all others.
    """

    name: str
    roles: tuple[Role, ...]
    edges: tuple[Edge, ...] = ()
    hidden: tuple[tuple[Axis, ...], ...] = ()
    variants: tuple[tuple[int, ...], ...] = ()

    def units(self, role: int, tensor: str, axis: int) -> list[int | None]:
        """The numbers of the hidden units that an axis is, or each chunk of it.

        None stands where it faces the stream. A vector goes with the first axis of its length,
        among the matrices of its role, if any.
        """
        shapes = self.roles[role].tensors
        if len(shapes[tensor]) == 1:
            length = shapes[tensor][0]
            axes = (
                (n, k) for n, s in shapes.items() if len(s) > 1 for k in (0, 1) if s[k] == length
            )
            tensor, axis = next(axes, (tensor, axis))
        wanted = role, tensor, axis
        found = {
            (one.chunk, one.chunks): number
            for number, units in enumerate(self.hidden)
            for one in units
            if one[:3] == wanted
        }
        chunks = max((chunks for _, chunks in found), default=1)
        return [found.get((chunk, chunks)) for chunk in range(chunks)]

    def __post_init__(self) -> None:
        for edge in self.edges:
            first = self._shared(edge.first, edge.first_tensor, edge.first_axis)
            second = self._shared(edge.second, edge.second_tensor, edge.second_axis)
            if first != second:
                raise UsageError(
                    f"an edge of {self.name!r} shares one axis, but its roles have {first} and "
                    f"{second} units there; give the axis of each in {edge}"
                )
        if self.edges and not self.hidden:
            object.__setattr__(self, "hidden", tuple(edge.axes for edge in self.edges))

    def _shared(self, role: int, tensor: str, axis: int) -> int:
        """Units on the shared axis of a role; raises `UsageError` where an edge names none."""
        if role not in range(len(self.roles)):
            raise UsageError(
                f"an edge of {self.name!r} has role {role}, but the roles are 0 to "
                f"{len(self.roles) - 1}; give their numbers"
            )
        found = self.roles[role]
        shape = found.tensors.get(tensor, ())
        if len(shape) != 2 or axis not in (0, 1):
            known = ", ".join(f"{name} {shape}" for name, shape in found.tensors.items())
            raise UsageError(
                f"an edge of {self.name!r} needs axis 0 or 1 of a matrix of {found.name!r}, not "
                f"axis {axis} of {tensor!r}; its tensors are {known}: name one with first_tensor= "
                "or second_tensor="
            )
        return shape[axis]

    @property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of the roles whose pieces cannot be told apart by names and shapes."""
        tensors = [role.tensors for role in self.roles]
        alike = (tuple(n for n, other in enumerate(tensors) if other == one) for one in tensors)
        return tuple(dict.fromkeys(alike))

    def shapes(self, role: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors in a role, by name."""
        return dict(self.roles[role].tensors)

    def edges_of(self, role: int) -> int:
        """How many edges a role has."""
        return sum(role in (edge.first, edge.second) for edge in self.edges)

    def turns(self) -> list[tuple[int, int]]:
        """Each two roles of one class. A block's pieces in them may change places."""
        return [(a, b) for each in self.classes for a in each for b in each if a < b]

    @property
    def coupled(self) -> bool:
        """Whether any two pieces are a block, either way: its two roles are of one class."""
        return len(self.roles) == 2 and bool(self.turns())


def united(sets: Iterable[frozenset[T]], more: Iterable[T]) -> list[frozenset[T]]:
    """Sets that share nothing, with one more. It comes last, as one with those that it meets."""
    each, new = [*sets], frozenset(more)
    return [one for one in each if not one & new] + [new.union(*(one for one in each if one & new))]


def key(arrangement: Arrangement) -> bytes:
    """The same for equal arrangements, and hashable."""
    return np.ascontiguousarray(arrangement, np.intp).tobytes()


def names(arrangement: Arrangement, ids: Sequence[PieceId]) -> tuple[tuple[PieceId, ...], ...]:
    """Ids of the pieces of each block, given those of the pile."""
    return tuple(tuple(ids[p] for p in row if p != NO_PIECE) for row in arrangement.tolist())


def places_with(arrangement: Arrangement, roles: Sequence[int]) -> NDArray[np.intp]:
    """The places whose blocks have slots of all these roles."""
    return np.flatnonzero((arrangement[:, [*roles]] != NO_PIECE).all(axis=1))


def stretches(arrangement: Arrangement) -> list[slice]:
    """Places next to each other whose blocks have slots of the same roles."""
    has = arrangement != NO_PIECE
    ends = np.flatnonzero((has[1:] != has[:-1]).any(axis=1)) + 1
    return [slice(a, b) for a, b in pairwise([0, *ends.tolist(), len(arrangement)])]


def same_slots(one: Arrangement, other: Arrangement) -> bool:
    """Whether the blocks of two arrangements have slots of the same roles in each place."""
    return np.array_equal(one == NO_PIECE, other == NO_PIECE)


def same_pieces(one: Arrangement, other: Arrangement, kind: Kind) -> bool:
    """Whether two arrangements use the same pieces in each class of roles, as moves do."""
    return one.shape == other.shape and all(
        np.array_equal(np.sort(one[:, list(each)], axis=None), np.sort(other[:, list(each)], None))
        for each in kind.classes
    )
