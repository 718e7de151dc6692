"""A blueprint from any PyTorch module: its stack of blocks, and the roles in a block.

Names in the state dict that differ in one integer alone make a stack, as ``encoder.layer.{i}.``.
The modules of a block that own tensors are its roles, or modules that hold these, up to the block
itself: the pieces of a pile say which.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from unshuffle.blocks.bank import Bank
from unshuffle.blocks.ends import Ends
from unshuffle.blocks.fitting import Cut, Shapes, fitting, renamed
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import UsageError
from unshuffle.pieces.blueprint import Axis
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records

if TYPE_CHECKING:
    from torch import nn

    from unshuffle.blocks.replay import Replay


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

    def cut(self, pile: Pile) -> Cut:
        """The roles whose slots the pieces of a pile fill, whatever their level.

        Raises `PileError` if they make no whole blocks.
        """
        name, stack = f"{self.stack.prefix}*", self.stack
        return fitting(name, stack.tensors, len(stack.numbers), pile)

    def fitted(self, pile: Pile) -> Pile:
        """The pile with its tensors called as in their roles; raises as `cut` does."""
        return renamed(self.cut(pile), pile)

    def parts(self, pile: Pile, records: Records) -> tuple[Bank, Ends]:
        """The blocks that the pieces of a fitted pile can make, and what stands around them.

        Raises `PileError` if the pieces make no whole blocks, `UsageError` if the blocks of the
        module cannot be run one by one, and `RecordError` if the module cannot read the record.
        """
        from unshuffle.blocks.module_bank import ModuleBank, ModuleEnds
        from unshuffle.blocks.replay import Replay

        cut = self.cut(pile)
        tensors = [
            {name: np.ascontiguousarray(piece.tensors[name], pile.dtype) for name in piece.shapes}
            for piece in pile
        ]
        with single_threaded_blas():
            replay = Replay.of(self.module, self.stack.names, records, pile.dtype)
            kind = replace(cut.kind, hidden=_hidden(replay, cut.keys))
        return ModuleBank.of(kind, cut.keys, tensors, replay), ModuleEnds(replay)


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
