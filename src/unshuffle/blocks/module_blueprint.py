"""A blueprint from any PyTorch module: its stacks of blocks, and their roles.

Names in the state dict that differ in one integer alone make a stack, as ``encoder.layer.{i}.``.
The modules of a block that own tensors are its roles, or modules that hold these, up to the block
itself. The pieces of a pile say which. They also say which blocks are in the pile.
"""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from inspect import Parameter, signature
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from unshuffle.blocks.bank import Bank
from unshuffle.blocks.ends import Ends
from unshuffle.blocks.fitting import Fit, Keys, Layout, Shapes, fitting, renamed
from unshuffle.blocks.kept import outside
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import PileError, RecordError, UsageError
from unshuffle.pieces.blueprint import Axis, Kind, united
from unshuffle.pieces.pile import Floats, Pile, as_floats
from unshuffle.pieces.records import Records

if TYPE_CHECKING:
    from torch import nn

    from unshuffle.blocks.replay import Replay


@dataclass(frozen=True)
class BlockStack:
    """Blocks of a module whose names differ in one integer.

    Parameters
    ----------
    prefix
        What the names of the blocks begin with, as ``encoder.layer.``.
    blocks
        By the integer, in rising sequence, the shapes of a block's tensors by their names in it.
        They are parameters and persistent buffers of real numbers.
    """

    prefix: str
    blocks: Mapping[int, Shapes]

    @property
    def layouts(self) -> dict[str, Layout]:
        """What the blocks of one layout have in common, by the names of the blocks."""
        return {
            f"{self.prefix}{number}": (self.prefix, tuple(one.items()))
            for number, one in self.blocks.items()
        }

    @property
    def akin(self) -> bool:
        """Whether two of its blocks share half of their tensors, in names and shapes."""
        return any(
            2 * len(one.items() & other.items()) >= max(len(one), len(other))
            for one, other in combinations(self.blocks.values(), 2)
        )


def find_stacks(tensors: Shapes) -> list[BlockStack]:
    """The stacks among named tensors, in the sequence of their names.

    Of stacks within each other the outermost counts in which two blocks are akin.
    """
    found: dict[str, dict[int, dict[str, tuple[int, ...]]]] = defaultdict(lambda: defaultdict(dict))
    for name, shape in tensors.items():
        parts = name.split(".")
        for at, part in enumerate(parts[:-1]):
            if part.isascii() and part.isdigit():
                prefix = ".".join([*parts[:at], ""])
                found[prefix][int(part)][".".join(parts[at + 1 :])] = shape
    stacks: list[BlockStack] = []
    for prefix, blocks in sorted(found.items(), key=lambda one: one[0].count(".")):
        stack = BlockStack(prefix, dict(sorted(blocks.items())))
        if stack.akin and not any(prefix.startswith(one.prefix) for one in stacks):
            stacks.append(stack)
    return sorted(stacks, key=lambda one: [*found].index(one.prefix))


@dataclass(frozen=True, eq=False)
class ModuleBlueprint:
    """A network that is given as a module; `blueprint` makes it.

    Parameters
    ----------
    module
        The module, which is never changed. What is in no stack of the pile keeps its weights.
    stacks
        Its stacks of blocks. A pile holds the pieces of one of them, of several, or of all.
    device
        Where the module is run, by PyTorch's name of it.
    """

    module: "nn.Module"
    stacks: tuple[BlockStack, ...]
    device: str = "cpu"

    @property
    def layouts(self) -> dict[str, Layout]:
        """What the blocks of one layout share, by the names of the blocks of all stacks."""
        return {name: layout for stack in self.stacks for name, layout in stack.layouts.items()}

    def fit(self, pile: Pile) -> Fit:
        """The blocks that the pieces of a pile make, and how these have roles.

        Raises `PileError` if they make no whole blocks, whatever their level.
        """
        return fitting([stack.layouts for stack in self.stacks], pile)

    def check_record(self, records: Records) -> None:
        """Refuse a record with arrays that the module's forward has no parameters for."""
        known, there = parameters(self.module), [field.name for field in records.fields]
        unknown = [name for name in there if name not in known]
        kinds = {one.kind for one in signature(self.module.forward).parameters.values()}
        if unknown and not (records.outputs and Parameter.VAR_KEYWORD in kinds):
            free = [name for name in known if name not in there]
            steps = [f"rename the array as one of: {', '.join(free)}"] if free else []
            steps += [
                "leave it out" if records.outputs else "call it prediction if it is the output"
            ]
            raise RecordError(
                f"{records.name}: forward of {type(self.module).__name__} has no parameter "
                f"{unknown[0]!r}, only {', '.join(known)}; {', or '.join(steps)}"
            )

    def loose(self, pile: Pile) -> Pile:
        """The pile; where it fits no blocks, without what the module holds beside its stacks."""
        with suppress(PileError):
            self.fit(pile)
            return pile
        return self._without_ends(pile)

    def _without_ends(self, pile: Pile) -> Pile:
        """The pile without pieces that the module holds beside its stacks, if others are left."""
        from unshuffle.blocks.capture import real_tensors

        tensors = real_tensors(self.module)
        beside = {
            _numbers(as_floats(tensors[name], name)) for name in outside(tensors, self.layouts)
        }
        rest = [
            piece
            for piece in pile
            if not {_numbers(piece.tensors[name]) for name in piece.shapes} <= beside
        ]
        return Pile(rest, notes=pile.notes) if rest else pile

    def fitted(self, pile: Pile) -> Pile:
        """The loose pieces with tensors called as in their roles; raises as `fit` does."""
        with suppress(PileError):
            return renamed(self.fit(pile).cut, pile)
        rest = self._without_ends(pile)
        return renamed(self.fit(rest).cut, rest)

    def parts(self, pile: Pile, records: Records) -> tuple[Bank, Ends]:
        """The blocks that the pieces of a fitted pile can make, and their ends.

        Raises `PileError` if the pieces make no whole blocks. Raises `UsageError` if the blocks
        cannot be run one by one, and `RecordError` if the module cannot read the record.
        """
        import torch

        from unshuffle.blocks.module_bank import ModuleBank, ModuleEnds
        from unshuffle.blocks.replay import Replay, torch_dtype

        fit = self.fit(pile)
        tensors = [
            {name: np.ascontiguousarray(piece.tensors[name], pile.dtype) for name in piece.shapes}
            for piece in pile
        ]
        with single_threaded_blas():
            device = torch.device(self.device)
            replay = Replay(self.module, fit.layouts, records, torch_dtype(pile.dtype), device)
            kind, keys = fit.made(replay.blocks)
            kind = replace(kind, hidden=_hidden(replay, kind, keys))
        return ModuleBank.of(kind, keys, tensors, replay), ModuleEnds(replay)


def parameters(module: "nn.Module") -> list[str]:
    """The names of the parameters of a module's forward."""
    return [*signature(module.forward).parameters]


def _numbers(values: Floats) -> tuple[tuple[int, ...], bytes]:
    """What tensors of equal numbers have in common, whatever their dtypes."""
    return values.shape, values.astype(np.float64).tobytes()


def _hidden(replay: "Replay", kind: Kind, keys: Keys) -> tuple[tuple[Axis, ...], ...]:
    """The axes of roles that are the same hidden units, asked of one block of each layout."""
    every = tuple(range(len(kind.roles)))
    variants = kind.variants or (every,)
    asked = {roles: place for place, roles in reversed([*enumerate(variants)])}
    hidden: list[frozenset[Axis]] = []
    for roles, place in sorted(asked.items(), key=lambda one: one[1]):
        where = {
            key: (role, name) for role in roles for name, key in keys[kind.roles[role].name].items()
        }
        for units in replay.in_dtype(np.float64).hidden(place):
            hidden = united(hidden, (Axis(*where[name], *axis) for name, *axis in units))
    return tuple(tuple(sorted(each)) for each in sorted(hidden, key=sorted))


def blueprint(module: "nn.Module", device: str = "cpu") -> ModuleBlueprint:
    """The blueprint of a network that is given as a PyTorch module, for `solve`.

    Parameters
    ----------
    module
        Any module with stacks of residual blocks. Their names differ in one integer, and one tensor
        goes through all of them. Weights that the pile does not hold, such as those of embeddings
        and head, must be right in the module. It is run in evaluation mode, and never changed.
    device
        Where it is run, by PyTorch's name: ``cpu``, or an accelerator such as ``cuda``.

    Returns
    -------
    ModuleBlueprint
        Of its stacks, of which the pile holds one, several or all. What the pile does not hold
        keeps the weights of the module.

    Raises
    ------
    MissingExtraError
        If PyTorch is not installed.
    UsageError
        If this is no module or a compiled one. If a tensor is on the device ``meta``, no two
        blocks are akin, or PyTorch cannot compute on the device.

    Examples
    --------
    >>> pile = Pile(Piece(number, tensors) for number, tensors in enumerate(loose))
    >>> records = Records.named({"input_ids": ids}, logits)
    >>> module = solve(pile, records, blueprint=blueprint(module)).to_torch()
    """
    from unshuffle.blocks.capture import check_device, real_tensors

    check_device(device)
    stacks = find_stacks({name: tuple(one.shape) for name, one in real_tensors(module).items()})
    if not stacks:
        raise UsageError(
            f"{type(module).__name__} has no stack: no two of its modules have names that differ "
            "in one number and tensors of the same names and shapes; put its blocks into one "
            "torch.nn.ModuleList (one block that runs many times has no order)"
        )
    return ModuleBlueprint(module, tuple(stacks), device)
