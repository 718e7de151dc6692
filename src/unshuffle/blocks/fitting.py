"""Which slots of a block the pieces of a pile fit: whole blocks, layers, or single tensors.

A block is cut into roles at some depth of its modules. Names of tensors in pieces count where they
are those of the roles: as in the block, as in the role, or in their last part. Else shapes do.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from unshuffle.errors import PileError
from unshuffle.pieces.blueprint import Kind, Role
from unshuffle.pieces.pile import Pile

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

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
class Cut:
    """A way to cut a block into roles, with names for their tensors."""

    kind: Kind
    keys: Keys
    naming: Naming

    def told(self, shapes: Shapes) -> dict[str, str]:
        """What the tensors of a piece are called here, by their own names; {} if names clash."""
        found = self.naming(ITSELF, shapes)
        return found if len({*found.values()}) == len(found) else {}

    def role_shapes(self, shapes: Shapes) -> dict[str, Shape]:
        """The shapes of a piece by the names that its tensors have here."""
        return {told: shapes[name] for name, told in self.told(shapes).items()}


def cuts(name: str, tensors: Shapes) -> Iterator[Cut]:
    """Ways to cut a block of named tensors: by each naming in turn, the coarsest roles first."""
    owners = {key: key.rpartition(".")[0].split(".") for key in tensors}
    deepest = max(len(owner) for owner in owners.values())
    levels = [
        {key: ".".join(owner[:depth]) or ITSELF for key, owner in owners.items()}
        for depth in range(deepest + 1)
    ]
    levels.append({key: key for key in tensors})  # single ones
    seen: list[Keys] = []
    for naming in NAMINGS:
        for level in levels:
            members: dict[str, dict[str, Shape]] = defaultdict(dict)
            for key, role in level.items():
                members[role][key] = tensors[key]
            keys = {
                role: {told: key for key, told in naming(role, inner).items()}
                for role, inner in members.items()
            }
            if sum(map(len, keys.values())) == len(tensors) and keys not in seen:
                seen.append(keys)
                roles = [
                    Role(role, {told: tensors[key] for told, key in names.items()})
                    for role, names in keys.items()
                ]
                yield Cut(Kind(name, tuple(roles)), keys, naming)


def fitting(name: str, tensors: Shapes, blocks: int, pile: Pile) -> Cut:
    """The cut of so many blocks whose slots the pieces of a pile fill, each class of them exactly.

    A PileError names the pieces that fit no slot, or says of which there are too few or too many.
    """
    closest: tuple[int, Cut] | None = None
    for cut in cuts(name, tensors):
        found = _found(cut, pile)
        full = {each: blocks * len(each) for each in cut.kind.classes}
        if found == full and found.total() == len(pile):
            return cut
        if closest is None or found.total() > closest[0]:
            closest = found.total(), cut
    assert closest is not None
    raise PileError(_misfit(closest[1], blocks, pile))


def renamed(cut: Cut, pile: Pile) -> Pile:
    """The pile with its tensors called as in their roles; its sequence stays."""
    names = [cut.told(piece.shapes) for piece in pile]
    return pile.in_sequence(
        replace(piece, tensors={told: piece.tensors[name] for name, told in each.items()})
        for piece, each in zip(pile, names, strict=True)
    )


def _found(cut: Cut, pile: Pile) -> Counter[tuple[int, ...]]:
    """How many pieces fit each class of roles."""
    classes = {_frozen(cut.kind.shapes(each[0])): each for each in cut.kind.classes}
    shapes = (_frozen(cut.role_shapes(piece.shapes)) for piece in pile)
    return Counter(classes[one] for one in shapes if one in classes)


def _misfit(cut: Cut, blocks: int, pile: Pile) -> str:
    """Say which pieces fit no slot, or of which there are too few or too many."""
    kind, found = cut.kind, _found(cut, pile)
    slots = {_frozen(kind.shapes(each[0])) for each in kind.classes}
    strangers = [one for one in pile if _frozen(cut.role_shapes(one.shapes)) not in slots]
    if strangers:
        sizes = ", ".join(f"{name} {shape}" for name, shape in strangers[0].shapes.items())
        return (
            f"piece {strangers[0].id} ({sizes}) fits no slot of the {blocks} blocks {kind.name} of "
            "the module; leave it out, or name a module that has such a slot"
        )
    wrong = next(each for each in kind.classes if found[each] != blocks * len(each))
    names = " or ".join(kind.roles[role].name for role in wrong)
    return (
        f"{found[wrong]} pieces fit {names}, but the {blocks} blocks {kind.name} of the module "
        f"have {blocks * len(wrong)} such slots; each slot needs one piece"
    )


def _frozen(shapes: Shapes) -> object:
    return frozenset(shapes.items())
