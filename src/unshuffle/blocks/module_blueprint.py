"""A blueprint from any PyTorch module: its stacks of blocks, and the roles in a block.

Names in the state dict that differ in one integer alone make a stack, as ``encoder.layer.{i}.``.
The modules of a block that own tensors are its roles, or modules that hold these, up to the block
itself: the pieces of a pile say which. They also say which blocks are in the pile.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
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
Form = tuple[str, tuple[tuple[str, tuple[int, ...]], ...]]  # a prefix, and what blocks hold
Slots = dict[object, list[str]]  # the roles that pieces of some names and shapes fit

ITSELF = "."  # the role of all tensors of a block, or of those that it owns itself


Cut = Mapping[str, Mapping[str, str]]  # names of tensors in a block, by role and name in the role


@dataclass(frozen=True)
class BlockStack:
    """Blocks of a module whose names differ in one integer.

    Parameters
    ----------
    prefix
        What the names of the blocks begin with, as ``encoder.layer.``.
    blocks
        By the integer, in rising sequence, the shapes of the tensors of a block by their names in
        it: parameters and persistent buffers of real numbers.
    """

    prefix: str
    blocks: Mapping[int, Shapes]

    @property
    def forms(self) -> dict[str, Form]:
        """What the blocks of one form have in common, by the names of the blocks."""
        return {
            f"{self.prefix}{number}": (self.prefix, tuple(sorted(one.items())))
            for number, one in self.blocks.items()
        }

    @property
    def depth(self) -> int:
        """How many modules deep the owners of its tensors lie in a block, at most."""
        return max(name.count(".") for one in self.blocks.values() for name in one)

    @property
    def akin(self) -> bool:
        """Whether two of its blocks share half of their tensors, in names and shapes."""
        return any(
            2 * len(one.items() & other.items()) >= max(len(one), len(other))
            for one, other in combinations(self.blocks.values(), 2)
        )


def cut(tensors: Iterable[str], depth: int, whole: bool) -> Cut:
    """Cut a block into roles: modules of one depth, or above it where they own tensors.

    In its role a tensor has the name that it has in the block, if `whole`, or the one that it has
    in the module that is the role.
    """
    roles: dict[str, dict[str, str]] = defaultdict(dict)
    for name in tensors:
        role = ".".join(name.split(".")[:-1][:depth])
        roles[role or ITSELF][name if whole else name[len(role) + 1 if role else 0 :]] = name
    return roles


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

    def parts(self, pile: Pile, records: Records) -> tuple[Bank, Ends]:
        """The blocks that the pieces of a pile can make, and what stands before and behind them.

        Raises `PileError` if the pieces make no whole blocks, whatever their level, `UsageError`
        if the blocks of the module cannot be run one by one, and `RecordError` if the module
        cannot read the record.
        """
        import torch

        from unshuffle.blocks.module_bank import ModuleBank, ModuleEnds
        from unshuffle.blocks.replay import Replay, torch_dtype

        forms, depth, whole = self._cut(pile)
        tensors = [
            {name: np.ascontiguousarray(piece.tensors[name], pile.dtype) for name in piece.shapes}
            for piece in pile
        ]
        with single_threaded_blas():
            replay = Replay(
                self.module, forms, records, torch_dtype(pile.dtype), torch.device(self.device)
            )
            kind, keys = _kind(replay, depth, whole)
        return ModuleBank.of(kind, keys, tensors, replay), ModuleEnds(replay)

    def _cut(self, pile: Pile) -> tuple[dict[str, Form], int, bool]:
        """The forms of the blocks that the pieces of a pile make, and how these are cut."""
        pieces = Counter(_frozen(piece.shapes) for piece in pile)
        closest: tuple[int, Slots, list[str]] | None = None
        for depth in range(1 + max(stack.depth for stack in self.stacks)):
            for whole in (True, False):
                for forms in self._chosen(pieces, depth, whole):
                    slots = _slots(forms, depth, whole)
                    if {one: len(roles) for one, roles in slots.items()} == pieces:
                        return forms, depth, whole
                    fitting = sum(count for one, count in pieces.items() if one in slots)
                    if closest is None or fitting > closest[0]:
                        closest = fitting, slots, [*dict.fromkeys(f[0] for f in forms.values())]
        assert closest is not None
        raise PileError(_misfit(pile, *closest[1:]))

    def _chosen(
        self, pieces: Counter[object], depth: int, whole: bool
    ) -> Iterator[dict[str, Form]]:
        """Blocks that the pieces may be of: of all stacks, of those that they fit, of one alone.

        Of a stack they may be all blocks, or those whose form has pieces for each of its slots.
        """
        every = [stack.forms for stack in self.stacks]
        held = [
            {
                name: form
                for name, form in forms.items()
                if {*_slots({name: form}, depth, whole)} <= {*pieces}
            }
            for forms in every
        ]
        for some in (every, held):
            yield {name: form for forms in some for name, form in forms.items()}
        for some in (every, held):
            yield from some
        for forms in every:  # blocks of one form alone
            for form, _ in Counter(forms.values()).most_common():
                yield {name: one for name, one in forms.items() if one == form}


def _slots(forms: Mapping[str, Form], depth: int, whole: bool) -> Slots:
    """The roles of the slots of blocks, by the names and shapes of their tensors."""
    slots: Slots = defaultdict(list)
    for _, tensors in forms.values():
        shapes = dict(tensors)
        for role, names in cut(shapes, depth, whole).items():
            slots[_frozen({name: shapes[key] for name, key in names.items()})].append(role)
    return slots


def _misfit(pile: Pile, slots: Slots, prefixes: Sequence[str]) -> str:
    """Say which pieces fit no slot, or of which there are too few or too many."""
    blocks = " and ".join(f"{prefix}*" for prefix in prefixes)
    found = Counter(_frozen(piece.shapes) for piece in pile)
    stranger = next((piece for piece in pile if _frozen(piece.shapes) not in slots), None)
    if stranger is not None:
        sizes = ", ".join(f"{name} {shape}" for name, shape in stranger.shapes.items())
        return (
            f"piece {stranger.id} ({sizes}) fits no slot of the blocks {blocks} of the module; "
            "leave it out, or name a module that has such a slot"
        )
    wrong = next((one for one, roles in slots.items() if found[one] != len(roles)), None)
    if wrong is None:
        return f"the pile holds no piece of the blocks {blocks} of the module"
    names = " or ".join(dict.fromkeys(slots[wrong]))
    return (
        f"{found[wrong]} pieces fit {names}, but the blocks {blocks} of the module have "
        f"{len(slots[wrong])} such slots; each slot needs one piece"
    )


def _kind(replay: "Replay", depth: int, whole: bool) -> tuple[Kind, Cut]:
    """The kind of the places of a module, and the names of its tensors in a place.

    Roles of the same name and shapes are one role, whichever blocks have them.
    """
    from unshuffle.blocks.replay import in_place

    roles: dict[Hashable, Role] = {}
    keys: dict[str, Mapping[str, str]] = {}
    forms: list[tuple[int, ...]] = []
    for steps in replay.places:
        held = []
        for turn, step in enumerate(replay.steps[step] for step in steps):
            shapes = dict(replay.forms[step.name][1])
            for local, names in cut(shapes, depth, whole).items():
                tensors = {name: shapes[key] for name, key in names.items()}
                role = in_place(turn, len(steps), local)
                known = role, _frozen(tensors)
                if known not in roles:
                    # Of another form: by the name of the first block that has it.
                    name = f"{step.name}.{role}".rstrip(".") if role in keys else role
                    roles[known] = Role(name, tensors)
                    keys[name] = {n: in_place(turn, len(steps), key) for n, key in names.items()}
                held.append([*roles].index(known))
        forms.append(tuple(sorted(held)))
    asked = {form: place for place, form in reversed([*enumerate(forms)])}
    hidden: list[set[Axis]] = []
    for form, place in sorted(asked.items(), key=lambda one: one[1]):
        where = {
            key: (role, name)
            for role in form
            for name, key in keys[[*roles.values()][role].name].items()
        }
        for units in replay.in_dtype(np.float64).hidden(place):
            axes = {(*where[name], axis) for name, axis in units}
            met = [each for each in hidden if each & axes]
            hidden = [each for each in hidden if not each & axes] + [axes.union(*met)]
    prefixes = dict.fromkeys(step.name.rpartition(".")[0] for step in replay.steps)
    name = " and ".join(f"{prefix}.*".lstrip(".") for prefix in prefixes)
    several = tuple(forms) if len({*forms}) > 1 else ()
    sets = tuple(tuple(sorted(each)) for each in sorted(hidden, key=sorted))
    return Kind(name, tuple(roles.values()), (), sets, several), keys


def _frozen(shapes: Shapes) -> object:
    return frozenset(shapes.items())


def blueprint(module: "nn.Module", device: str = "cpu") -> ModuleBlueprint:
    """The blueprint of a network that is given as a PyTorch module, for `solve`.

    Parameters
    ----------
    module
        Any module with stacks of residual blocks: modules whose names differ in one integer, and
        that hand on one tensor. It must have the weights that the pile does not hold, such as those
        of embeddings and head. It is run in evaluation mode, and never changed.
    device
        Where it is run: ``cpu``, or the device of an accelerator, such as ``cuda``.

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
        If this is no module, or a compiled one, if a tensor is on the device ``meta``, or if it has
        no two blocks that are akin.

    Examples
    --------
    >>> pile = Pile(Piece(number, tensors) for number, tensors in enumerate(loose))
    >>> records = Records.named({"input_ids": ids}, logits)
    >>> module = solve(pile, records, blueprint=blueprint(module)).to_torch()
    """
    from unshuffle.blocks.capture import real_tensors

    stacks = find_stacks({name: tuple(one.shape) for name, one in real_tensors(module).items()})
    if not stacks:
        raise UsageError(
            f"{type(module).__name__} has no stack: no two of its modules have names that differ "
            "in one number and tensors of the same names and shapes"
        )
    return ModuleBlueprint(module, tuple(stacks), device)
