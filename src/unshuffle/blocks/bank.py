"""Banks run any pieces as a block. Stacks are blocks in a row.

A search uses only the methods of these two protocols. `LoopBank` gives them to any kind of block
that is known by two functions on its tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.work import Work
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement, Kind, Parts
from unshuffle.pieces.pile import Floats

# The tensors of one block: by role, then by the name of the tensor.
Weights = Mapping[str, Mapping[str, Floats]]


# Names of the slots: of each block, by role; None where a block has no slot of a role.
Slots = tuple[tuple[str | None, ...], ...]

# By role: positions of pieces, shape (pieces,), and their shares in blocks, (blocks, pieces).
Mixtures = Mapping[int, tuple[NDArray[np.intp], NDArray[np.float64]]]


class Stack(Protocol):
    """Blocks in a row. States have shape (rows, width), one for each of K blocks a first axis K."""

    @property
    def kind(self) -> Kind:
        """The kind of the blocks."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: slice) -> Self:
        """Consecutive blocks."""

    def apply(self, place: int, x: Floats) -> Floats:
        """Run one block on rows x of shape (n, width). It returns a new array of that shape."""

    def pullback(self, place: int, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of one block at x, shape (n, width), for g (…, n, width)."""

    def apply_each(self, x: Floats) -> Floats:
        """Run each block on rows of its own. `x` and the result have shape (K, n, width)."""

    def pullback_each(self, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian products of each block: x (K, n, width), g (K, outputs, n, width)."""

    def replaced(self, place: int, role: int, others: Self, x: Floats, g: Floats) -> Floats:
        """Projected steps of one block with the piece that each of K blocks has in a role.

        They are ``g · (block(x) − x)`` for each piece: shape (n, K, outputs). The states x before
        the block have shape (n, width). The adjoints g behind it have shape (outputs, n, width).
        """

    def weights(self, place: int) -> Weights:
        """The tensors of one block."""

    def tensors(self) -> dict[str, Floats]:
        """Every tensor by its name in the network."""

    def slots(self) -> Slots:
        """The names of the slots: what the names of the tensors in each begin with."""

    def copy(self) -> Self:
        """The same blocks in memory of their own."""

    def overwrite(self, place: int, other: int) -> None:
        """Put another of the blocks in a place. The one that was there is gone."""

    def astype(self, dtype: np.typing.DTypeLike) -> Self:
        """The same blocks with their numbers in another dtype."""


def named(blocks: Stack) -> dict[str, Floats]:
    """Every tensor of blocks by its name, such as ``blocks.0.inp.weight``."""
    return {
        f"blocks.{place}.{role}.{name}": values
        for place in range(len(blocks))
        for role, tensors in blocks.weights(place).items()
        for name, values in tensors.items()
    }


def numbered(blocks: Stack) -> Slots:
    """Names of slots, such as ``blocks.0.inp``."""
    return tuple(
        tuple(f"blocks.{place}.{role}" for role in blocks.weights(place))
        for place in range(len(blocks))
    )


class Bank(Protocol):
    """Runs any pieces of a pile as a block."""

    @property
    def work(self) -> Work:
        """Counts what passes through its blocks, and through all stacks that it has made."""

    @property
    def kind(self) -> Kind:
        """The kind of the blocks."""

    def apply(self, parts: Parts, x: Floats) -> Floats:
        """Run the block of these pieces on rows x of shape (n, width)."""

    def pullback(self, parts: Parts, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of the block of these pieces; see `Stack.pullback`."""

    def take(self, arrangement: Arrangement) -> Stack:
        """The blocks of an arrangement in a row."""

    def mixed(self, arrangement: Arrangement, mixtures: Mixtures) -> Stack:
        """The blocks of an arrangement, with weighted means of pieces in some roles."""

    def positions(self, role: int) -> Sequence[int]:
        """Positions in the pile of the pieces that can be in a role."""


@runtime_checkable
class Recording(Bank, Protocol):
    """A bank whose pieces may keep statistics of the states that they are run on."""

    @property
    def recording(self) -> Sequence[int]:
        """The roles whose pieces keep any."""

    def recorded(self, role: int, position: int) -> Mapping[str, Floats]:
        """The statistics that a piece of this role holds, by the name of their tensor."""

    def statistics(self, parts: Parts, x: Floats) -> Mapping[int, Mapping[str, Floats]]:
        """The statistics that the block of these pieces has for rows x, by role."""


# Runs a block of given tensors on rows of shape (n, width).
Apply = Callable[[Weights, Floats], Floats]
# Vector-Jacobian product of a block of given tensors, at (n, width), for (outputs, n, width).
Pullback = Callable[[Weights, Floats, Floats], Floats]


@dataclass(frozen=True, eq=False)
class LoopStack:
    """Blocks in a row, run one by one by the two functions of a `LoopBank`."""

    kind: Kind
    run: Apply
    pull: Pullback
    blocks: list[Weights]
    work: Work = field(default_factory=Work, kw_only=True)

    def __len__(self) -> int:
        return len(self.blocks)

    def __str__(self) -> str:
        return self.kind.name

    def __getitem__(self, places: slice) -> Self:
        return replace(self, blocks=self.blocks[places])

    def apply(self, place: int, x: Floats) -> Floats:
        """Run one block on rows x of shape (n, width)."""
        self.work.forward(len(x))
        return self.run(self.blocks[place], x)

    def pullback(self, place: int, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of one block at x for g (outputs, n, width)."""
        self.work.forward(len(x) * (1 + len(g)))
        return self.pull(self.blocks[place], x, g)

    def apply_each(self, x: Floats) -> Floats:
        """Run each block on rows of its own."""
        return np.stack([self.apply(k, rows) for k, rows in enumerate(x)]) if len(x) else x

    def pullback_each(self, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian products of each block at rows of its own."""
        return np.stack([self.pullback(k, x[k], g[k]) for k in range(len(x))]) if len(x) else g

    def replaced(self, place: int, role: int, others: "LoopStack", x: Floats, g: Floats) -> Floats:
        """Projected steps of one block with the piece that each block has in a role."""
        self.work.forward(len(x) * len(others))
        own, name = self.blocks[place], self.kind.roles[role].name
        steps = [self.run({**own, name: other[name]}, x) - x for other in others.blocks]
        projected: Floats = np.einsum("ond,knd->nko", g, np.stack(steps))
        return projected

    def weights(self, place: int) -> Weights:
        """The tensors of one block."""
        return self.blocks[place]

    def tensors(self) -> dict[str, Floats]:
        """Every tensor by its name in the network."""
        return named(self)

    def slots(self) -> Slots:
        """The names of the slots, such as ``blocks.0.inp``."""
        return numbered(self)

    def copy(self) -> Self:
        """The same blocks in a list of their own."""
        return replace(self, blocks=[*self.blocks])

    def overwrite(self, place: int, other: int) -> None:
        """Put another of the blocks in a place. The one that was there is gone."""
        self.blocks[place] = self.blocks[other]

    def astype(self, dtype: np.typing.DTypeLike) -> Self:
        """The same blocks with their numbers in another dtype."""
        blocks: list[Weights] = [
            {
                role: {name: values.astype(dtype, copy=False) for name, values in tensors.items()}
                for role, tensors in block.items()
            }
            for block in self.blocks
        ]
        return replace(self, blocks=blocks)


@dataclass(frozen=True, eq=False)
class LoopBank:
    """Runs any pieces as a block by two functions on their tensors."""

    kind: Kind
    run: Apply
    pull: Pullback
    tensors: Sequence[Mapping[str, Floats]]  # of each piece, by its position in the pile
    work: Work = field(default_factory=Work, kw_only=True)

    def apply(self, parts: Parts, x: Floats) -> Floats:
        """Run the block of these pieces on rows x of shape (n, width)."""
        self.work.forward(len(x))
        return self.run(self._weights(parts), x)

    def pullback(self, parts: Parts, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of the block of these pieces at x for g (outputs, n, width)."""
        self.work.forward(len(x) * (1 + len(g)))
        return self.pull(self._weights(parts), x, g)

    def take(self, arrangement: Arrangement) -> LoopStack:
        """The blocks of an arrangement in a row."""
        blocks = [self._weights(parts) for parts in arrangement]
        return LoopStack(self.kind, self.run, self.pull, blocks, work=self.work)

    def mixed(self, arrangement: Arrangement, mixtures: Mixtures) -> LoopStack:
        """The blocks of an arrangement, with weighted means of pieces in some roles."""
        stack = self.take(arrangement)
        for role, (pieces, shares) in mixtures.items():
            name = self.kind.roles[role].name
            for place, block in enumerate(stack.blocks):
                mean = {
                    each: np.tensordot(
                        shares[place].astype(values.dtype),
                        np.stack([self.tensors[piece][each] for piece in pieces.tolist()]),
                        1,
                    )
                    for each, values in block[name].items()
                }
                stack.blocks[place] = {**block, name: mean}
        return stack

    def positions(self, role: int) -> Sequence[int]:
        """Positions in the pile of the pieces that can be in a role."""
        wanted = self.kind.shapes(role)
        shapes = [{name: t.shape for name, t in tensors.items()} for tensors in self.tensors]
        return [position for position, found in enumerate(shapes) if found == wanted]

    def _weights(self, parts: Parts) -> Weights:
        roles = zip(self.kind.roles, parts.tolist(), strict=True)
        return {role.name: self.tensors[p] for role, p in roles if p != NO_PIECE}
