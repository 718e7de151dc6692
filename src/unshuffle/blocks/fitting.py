"""Which slots the pieces of a pile fit: whole blocks, layers, or single tensors.

A block is cut into roles at some depth of its modules. Names of tensors in pieces count where they
match the roles: as in the block, as in the role, or in their last part. Else shapes do.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from unshuffle.errors import PileError
from unshuffle.pieces.blueprint import Kind, Role
from unshuffle.pieces.pile import Pile

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Held = tuple[tuple[str, Shape], ...]  # names and shapes of tensors
Layout = tuple[str, Held]  # a prefix, and the tensors of a block

# Names of tensors in a block, by role and by name in the role.
Keys = Mapping[str, Mapping[str, str]]

ITSELF = "."  # the role of all tensors of a block, or of those that it owns itself

# What tensors in a role are called there, by the role, and by their names and shapes in the block.
Naming = Callable[[str, Shapes], dict[str, str]]


def _as_in_block(_: str, shapes: Shapes) -> dict[str, str]:
    return {key: key for key in shapes}


def _as_in_role(role: str, shapes: Shapes) -> dict[str, str]:
    return {key: key if role == ITSELF else key[len(role) + 1 :] for key in shapes}


def _last_part(_: str, shapes: Shapes) -> dict[str, str]:
    return {key: key.rpartition(".")[2] for key in shapes}


def _shape(_: str, shapes: Shapes) -> dict[str, str]:
    """Names that are shapes; the last part tells tensors of one shape apart."""
    sizes = {key: "×".join(map(str, shape)) for key, shape in shapes.items()}
    count = Counter(sizes.values())
    return {
        key: size if count[size] == 1 else f"{size}.{key.rpartition('.')[2]}"
        for key, size in sizes.items()
    }


NAMINGS: tuple[Naming, ...] = (_as_in_block, _as_in_role, _last_part, _shape)


@dataclass(frozen=True)
class Partition:
    """A way to cut blocks into roles, with names for their tensors.

    Roles are modules of one depth, or above it where they own tensors. If the depth is None they
    are single tensors.
    """

    depth: int | None
    naming: Naming

    def keys(self, shapes: Shapes) -> Keys:
        """Names of a block's tensors by role and by name there. {} if names clash."""
        members: dict[str, dict[str, Shape]] = defaultdict(dict)
        for key, shape in shapes.items():
            owner = key.split(".")[:-1][: self.depth]
            members[key if self.depth is None else ".".join(owner) or ITSELF][key] = shape
        keys = {
            role: {told: key for key, told in self.naming(role, inner).items()}
            for role, inner in members.items()
        }
        return keys if sum(map(len, keys.values())) == len(shapes) else {}

    def told(self, shapes: Shapes) -> dict[str, str]:
        """Names here of a piece's tensors, by their own names. {} if names clash."""
        found = self.naming(ITSELF, shapes)
        return found if len({*found.values()}) == len(found) else {}

    def role_shapes(self, shapes: Shapes) -> dict[str, Shape]:
        """The shapes of a piece by the names that its tensors have here."""
        return {told: shapes[name] for name, told in self.told(shapes).items()}

    def slots(self, layouts: Mapping[str, Layout]) -> dict[Held, list[str]]:
        """The roles of the slots of blocks, by the names and shapes of their tensors."""
        slots: dict[Held, list[str]] = defaultdict(list)
        for _, tensors in layouts.values():
            shapes = dict(tensors)
            for role, names in self.keys(shapes).items():
                slots[frozen({name: shapes[key] for name, key in names.items()})].append(role)
        return slots


@dataclass(frozen=True)
class Fit:
    """The blocks that the pieces of a pile make, and how these are cut."""

    layouts: Mapping[str, Layout]  # by the names of the blocks
    cut: Partition

    @property
    def name(self) -> str:
        """What the blocks are called together."""
        return " and ".join(dict.fromkeys(f"{prefix}*" for prefix, _ in self.layouts.values()))

    @property
    def kind(self) -> Kind:
        """The kind of the blocks, as far as it is known before any of them runs."""
        return self.made([[name] for name in self.layouts])[0]

    def made(self, places: Sequence[Sequence[str]]) -> tuple[Kind, Keys]:
        """The kind of places of one or several blocks, and the names of a place's tensors.

        Roles of the same name and shapes are one role, whichever blocks have them. Their sequence
        is that in the blocks, so that an answer names the pieces as a state dict does.
        """
        roles: dict[object, Role] = {}
        keys: dict[str, Mapping[str, str]] = {}
        sequence: list[object] = []
        members: list[list[object]] = []
        for blocks in places:
            held: list[object] = []
            for turn, block in enumerate(blocks):
                shapes = dict(self.layouts[block][1])
                for local, names in self.cut.keys(shapes).items():
                    tensors = {name: shapes[key] for name, key in names.items()}
                    role = in_place(turn, len(blocks), local)
                    known = role, frozen(tensors)
                    if known not in roles:
                        # Of another layout: by the name of the first block that has it.
                        name = f"{block}.{role}".rstrip(".") if role in keys else role
                        roles[known] = Role(name, tensors)
                        keys[name] = {
                            n: in_place(turn, len(blocks), key) for n, key in names.items()
                        }
                        sequence.insert(sequence.index(held[-1]) + 1 if held else 0, known)
                    held.append(known)
            members.append(held)
        variants = tuple(tuple(sorted(map(sequence.index, held))) for held in members)
        several = variants if len({*variants}) > 1 else ()
        return Kind(self.name, tuple(roles[one] for one in sequence), variants=several), keys


def cuts(deepest: int) -> Iterator[Partition]:
    """Ways to cut blocks: by each naming in turn, the coarsest roles first."""
    for naming in NAMINGS:
        for depth in (*range(deepest + 1), None):
            yield Partition(depth, naming)


def fitting(stacks: Sequence[Mapping[str, Layout]], pile: Pile) -> Fit:
    """The blocks whose slots the pieces of a pile fill exactly, and how they are cut.

    A PileError names the pieces that fit no slot, or the kind of which there are too few or too
    many.
    """
    keys = [name for layouts in stacks for _, one in layouts.values() for name, _ in one]
    closest: tuple[int, Fit] | None = None
    for cut in cuts(max(name.count(".") for name in keys)):
        pieces = Counter(frozen(cut.role_shapes(piece.shapes)) for piece in pile)
        for layouts in _chosen(stacks, pieces, cut):
            slots = cut.slots(layouts)
            if slots and {one: len(roles) for one, roles in slots.items()} == pieces:
                return Fit(layouts, cut)
            found = sum(count for one, count in pieces.items() if one in slots)
            if closest is None or found > closest[0]:
                closest = found, Fit(layouts, cut)
    assert closest is not None
    raise PileError(_misfit(closest[1], pile))


def _chosen(
    stacks: Sequence[Mapping[str, Layout]], pieces: Counter[Held], cut: Partition
) -> Iterator[Mapping[str, Layout]]:
    """Blocks that pieces may be of: of all stacks, of those that they fit, of one alone.

    Of a stack they may be all blocks, or those whose layout has pieces for each of its slots.
    """
    held = [
        {n: layout for n, layout in layouts.items() if {*cut.slots({n: layout})} <= {*pieces}}
        for layouts in stacks
    ]
    for some in (stacks, held):
        yield {name: layout for layouts in some for name, layout in layouts.items()}
    for some in (stacks, held):
        yield from some
    for layouts in stacks:  # blocks of one layout alone
        for layout, _ in Counter(layouts.values()).most_common():
            yield {name: one for name, one in layouts.items() if one == layout}


def renamed(cut: Partition, pile: Pile) -> Pile:
    """The pile with its tensors called as in their roles; its sequence stays."""
    names = [cut.told(piece.shapes) for piece in pile]
    return pile.in_sequence(
        replace(piece, tensors={told: piece.tensors[name] for name, told in each.items()})
        for piece, each in zip(pile, names, strict=True)
    )


def _misfit(fit: Fit, pile: Pile) -> str:
    """Say which pieces fit no slot, or of which there are too few or too many."""
    slots, cut = fit.cut.slots(fit.layouts), fit.cut
    blocks = f"the {len(fit.layouts)} blocks {fit.name} of the module"
    found = Counter(frozen(cut.role_shapes(piece.shapes)) for piece in pile)
    strangers = [one for one in pile if frozen(cut.role_shapes(one.shapes)) not in slots]
    if strangers:
        sizes = ", ".join(f"{name} {shape}" for name, shape in strangers[0].shapes.items())
        held = {*frozen(cut.role_shapes(strangers[0].shapes))}
        nearest = max(slots, key=lambda one: len(held.intersection(one)), default=())
        step = "leave it out, or put its weights into the module"
        if held.intersection(nearest):
            wanted = ", ".join(str(shape) for _, shape in nearest)
            step = f"bring it to the shapes of {slots[nearest][0]}, {wanted}"
        return (
            f"piece {strangers[0].id} ({sizes}) fits no slot of {blocks}; {step}, or name the "
            "module that it is of"
        )
    wrong = next(one for one, roles in slots.items() if found[one] != len(roles))
    each = ("the block itself" if one == ITSELF else one for one in dict.fromkeys(slots[wrong]))
    names = " or ".join(each)
    more = found[wrong] - len(slots[wrong])
    step = f"leave {more} out" if more > 0 else f"{-more} missing: add what lacks"
    return (
        f"{found[wrong]} pieces fit {names}, but {blocks} have {len(slots[wrong])} such slots; "
        f"{step}, or name the module that they are of"
    )


def frozen(shapes: Shapes) -> Held:
    """Names and shapes of tensors as a value that can be counted."""
    return tuple(sorted(shapes.items()))


def in_turn(names: Sequence[Hashable]) -> tuple[tuple[int, ...], ...]:
    """Steps of places: one each, or several that follow each other again and again.

    From the front on, the period that repeats over the most steps is taken, the shortest first.
    """
    places: list[tuple[int, ...]] = []
    at = 0
    while at < len(names):
        best = 1, 1
        for period in range(1, (len(names) - at) // 2 + 1):
            times = 1
            while names[at : at + period] == names[at + times * period : at + (times + 1) * period]:
                times += 1
            if times > 1 and times * period > best[0] * best[1]:
                best = period, times
        period, times = best
        places += [tuple(range(at + k * period, at + (k + 1) * period)) for k in range(times)]
        at += period * times
    return tuple(places)


def in_place(turn: int, turns: int, name: str) -> str:
    """What a tensor of a module is called in its place."""
    return name if turns == 1 else f"{turn}.{name}"
