"""A blueprint from any PyTorch module: its stack of blocks, and the roles in a block.

Names in the state dict that differ in one integer alone make a stack, as ``encoder.layer.{i}.``.
The modules of a block that own tensors are its roles, or modules that hold these, up to the block
itself: the pieces of a pile say which.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from unshuffle.blocks.bank import Bank
from unshuffle.blocks.ends import Ends
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import PileError, UsageError
from unshuffle.pieces.blueprint import Axis, Kind, Role
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records

if TYPE_CHECKING:
    from torch import nn

    from unshuffle.blocks.replay import Replay

Shapes = Mapping[str, tuple[int, ...]]

ITSELF = "."  # the role of all tensors of a block, or of those that it owns itself


@dataclass(frozen=True)
class BlockStack:
    """Blocks of a module with tensors of the same names and shapes.

    Parameters
    ----------
    prefix
        What the names of the blocks begin with, as ``encoder.layer.``.
    numbers
        What they end with, in rising sequence.
    tensors
        Shapes of the tensors of a block, by their names in it: parameters and persistent buffers of
        real numbers.
    """

    prefix: str
    numbers: tuple[int, ...]
    tensors: Shapes

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the blocks' modules."""
        return tuple(f"{self.prefix}{number}" for number in self.numbers)

    @property
    def size(self) -> int:
        """How many numbers its tensors have."""
        return len(self.numbers) * sum(
            int(np.prod(one, dtype=int)) for one in self.tensors.values()
        )

    def levels(self) -> Iterator[dict[str, dict[str, str]]]:
        """Ways to cut a block: names of tensors by role and by name in the role, coarsest first.

        Roles are modules of one depth, or above it where they own tensors. In each way a tensor
        has the name that it has in the block, then the one that it has in its role.
        """
        owners = {name: name.rpartition(".")[0].split(".") for name in self.tensors}
        deepest = max(len(owner) for owner in owners.values())
        seen = []
        for depth in range(deepest + 1):
            for whole in (True, False):
                roles: dict[str, dict[str, str]] = defaultdict(dict)
                for name, owner in owners.items():
                    role = ".".join(owner[:depth])
                    local = name if whole else name[len(role) + 1 if role else 0 :]
                    roles[role or ITSELF][local] = name
                if roles not in seen:
                    seen.append(dict(roles))
                    yield dict(roles)


def find_stacks(tensors: Shapes) -> list[BlockStack]:
    """The stacks among named tensors, the largest first; blocks of one stack look the same."""
    found: dict[str, dict[int, dict[str, tuple[int, ...]]]] = defaultdict(lambda: defaultdict(dict))
    for name, shape in tensors.items():
        parts = name.split(".")
        for at, part in enumerate(parts[:-1]):
            if part.isascii() and part.isdigit():
                prefix = ".".join([*parts[:at], ""])
                found[prefix][int(part)][".".join(parts[at + 1 :])] = shape
    stacks = []
    for prefix, blocks in found.items():
        alike: dict[tuple[tuple[str, tuple[int, ...]], ...], list[int]] = defaultdict(list)
        for number, one in sorted(blocks.items()):
            alike[tuple(sorted(one.items()))].append(number)
        stacks += [
            BlockStack(prefix, tuple(numbers), blocks[numbers[0]]) for numbers in alike.values()
        ]
    return sorted((one for one in stacks if len(one.numbers) > 1), key=lambda one: -one.size)


@dataclass(frozen=True, eq=False)
class ModuleBlueprint:
    """A network that is given as a module; `blueprint` makes it.

    Parameters
    ----------
    module
        The module, which is never changed. What is not in the stack keeps its weights.
    stack
        Its largest stack of blocks of one form.
    """

    module: "nn.Module"
    stack: BlockStack

    def parts(self, pile: Pile, records: Records) -> tuple[Bank, Ends]:
        """The blocks that the pieces of a pile can make, and what stands before and behind them.

        Raises `PileError` if the pieces make no whole blocks, whatever their level, `UsageError`
        if the blocks of the module cannot be run one by one, and `RecordError` if the module
        cannot read the record.
        """
        from unshuffle.blocks.module_bank import ModuleBank, ModuleEnds
        from unshuffle.blocks.replay import Replay

        kind, keys = self._cut(pile)
        tensors = [
            {name: np.ascontiguousarray(piece.tensors[name], pile.dtype) for name in piece.shapes}
            for piece in pile
        ]
        with single_threaded_blas():
            replay = Replay.of(self.module, self.stack.names, records, pile.dtype)
            kind = replace(kind, hidden=_hidden(replay, keys))
        return ModuleBank.of(kind, keys, tensors, replay), ModuleEnds(replay)

    def _cut(self, pile: Pile) -> tuple[Kind, dict[str, dict[str, str]]]:
        """The kind that the pieces of a pile fit, and the names of its tensors in a block."""
        blocks, shapes = len(self.stack.numbers), [_frozen(piece.shapes) for piece in pile]
        closest: tuple[int, Kind, Counter[int]] | None = None
        for keys in self.stack.levels():
            roles = [
                Role(role, {name: self.stack.tensors[key] for name, key in names.items()})
                for role, names in keys.items()
            ]
            kind = Kind(f"{self.stack.prefix}*", tuple(roles))
            slots = {_frozen(kind.shapes(each[0])): each for each in kind.classes}
            found = Counter(slots[one][0] for one in shapes if one in slots)
            if found == {each[0]: blocks * len(each) for each in kind.classes} and (
                found.total() == len(pile)
            ):
                return kind, keys
            if closest is None or found.total() > closest[0]:
                closest = found.total(), kind, found
        assert closest is not None
        raise PileError(self._misfit(pile, shapes, closest[1], closest[2]))

    def _misfit(self, pile: Pile, shapes: list[object], kind: Kind, found: Counter[int]) -> str:
        """Say which pieces fit no slot, or of which there are too few or too many."""
        blocks = len(self.stack.numbers)
        slots = {_frozen(kind.shapes(each[0])) for each in kind.classes}
        strangers = [piece for piece, one in zip(pile, shapes, strict=True) if one not in slots]
        if strangers:
            sizes = ", ".join(f"{name} {shape}" for name, shape in strangers[0].shapes.items())
            return (
                f"piece {strangers[0].id} ({sizes}) fits no slot of the {blocks} blocks "
                f"{kind.name} of the module; leave it out, or name a module that has such a slot"
            )
        wrong = next(each for each in kind.classes if found[each[0]] != blocks * len(each))
        names = " or ".join(kind.roles[role].name for role in wrong)
        return (
            f"{found[wrong[0]]} pieces fit {names}, but the {blocks} blocks {kind.name} of the "
            f"module have {blocks * len(wrong)} such slots; each slot needs one piece"
        )


def _hidden(
    replay: "Replay", keys: Mapping[str, Mapping[str, str]]
) -> tuple[tuple[Axis, ...], ...]:
    """The axes of roles that are the same hidden units, asked of the first block."""
    place = {
        key: (number, name)
        for number, names in enumerate(keys.values())
        for name, key in names.items()
    }
    found = replay.in_dtype(np.float64).hidden()
    return tuple(tuple((*place[name], axis) for name, axis in units) for units in found)


def _frozen(shapes: Shapes) -> object:
    return frozenset(shapes.items())


def blueprint(module: "nn.Module") -> ModuleBlueprint:
    """The blueprint of a network that is given as a PyTorch module, for `solve`.

    Parameters
    ----------
    module
        Any module with a stack of residual blocks. Their names differ in one integer, and each
        hands one tensor to the next. The module must have the weights that the pile does not hold,
        such as those of embeddings and head. It is copied, and run in evaluation mode.

    Returns
    -------
    ModuleBlueprint
        Of its largest stack of blocks of one form. Blocks of another form, and all that is not in
        the stack, keep the weights of the module.

    Raises
    ------
    MissingExtraError
        If PyTorch is not installed.
    UsageError
        If this is no module or a compiled one. If a tensor is on the device ``meta``, or no two
        blocks have one form.

    Examples
    --------
    >>> pile = Pile(Piece(number, tensors) for number, tensors in enumerate(loose))
    >>> records = Records.named({"input_ids": ids}, logits)
    >>> module = solve(pile, records, blueprint=blueprint(module)).to_torch()
    """
    from unshuffle.blocks.capture import real_tensors

    stacks = find_stacks({name: one.shape for name, one in real_tensors(module).items()})
    if not stacks:
        raise UsageError(
            f"{type(module).__name__} has no stack: no two of its modules have names that differ "
            "in one number and tensors of the same names and shapes"
        )
    return ModuleBlueprint(module, stacks[0])
