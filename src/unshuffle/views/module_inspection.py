"""The pieces of a module, and their slots: as plain values, and as tables."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

from unshuffle.blocks.fitting import Fit, Layout, Partition, frozen
from unshuffle.blocks.kept import outside
from unshuffle.errors import listed
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import NO_PIECE
from unshuffle.pieces.pile import Pile, some_ids
from unshuffle.pieces.records import Records
from unshuffle.views.inspection import record_values
from unshuffle.views.tables import Terminal, empty_table, show_table

if TYPE_CHECKING:
    from unshuffle.blocks.module_blueprint import ModuleBlueprint


def module_inspection(
    blueprint: "ModuleBlueprint", fit: Fit | None, pile: Pile, records: Records | None
) -> dict[str, Any]:
    """The stacks, the classes of their slots, and the pieces that fit, if any do."""
    from unshuffle.blocks.capture import real_tensors

    held = blueprint.layouts if fit is None else fit.layouts
    stacks = []
    for stack in blueprint.stacks:
        layouts = {name: layout for name, layout in stack.layouts.items() if name in held}
        classes = [] if fit is None else _classes(fit.cut, layouts, pile)
        if layouts:
            stacks.append({"name": f"{stack.prefix}*", "blocks": [*layouts], "classes": classes})
    return {
        "pieces": len(pile),
        "stored_as": [*pile.stored_as],
        "as_given": outside(real_tensors(blueprint.module), held),
        "stacks": stacks,
        "shapes": {
            str(piece.id): {name: [*one] for name, one in piece.shapes.items()} for piece in pile
        },
        "record": None if records is None else record_values(records),
    }


def _classes(cut: Partition, layouts: Mapping[str, Layout], pile: Pile) -> list[dict[str, Any]]:
    """The classes of slots of blocks, and the pieces that fit each."""
    shapes = [cut.role_shapes(piece.shapes) for piece in pile]
    return [
        {
            "roles": [*dict.fromkeys(roles)],
            "tensors": {name: [*shape] for name, shape in wanted},
            "slots": len(roles),
            "ids": [p.id for p, one in zip(pile, shapes, strict=True) if frozen(one) == wanted],
        }
        for wanted, roles in cut.slots(layouts).items()
    ]


def print_module_inspection(found: Mapping[str, Any]) -> None:
    """Print what `module_inspection` found."""
    console = Terminal(highlight=False, markup=False)
    for stack in found["stacks"]:
        table = empty_table(
            ("role", "tensors", "slots", "pieces", "ids"), words=("role", "tensors", "ids")
        )
        for one in stack["classes"]:
            tensors = ", ".join(f"{name} {_size(shape)}" for name, shape in one["tensors"].items())
            table.add_row(
                Text(" or ".join(one["roles"])),
                Text(tensors),
                str(one["slots"]),
                str(len(one["ids"])),
                Text(some_ids(one["ids"])),
            )
        if stack["classes"]:
            show_table(table, console)
        console.print(f"stack {stack['name']}: {len(stack['blocks'])} blocks", soft_wrap=True)
    console.print(f"weights as given: {listed(found['as_given'])}", soft_wrap=True)
    console.print(f"{found['pieces']} pieces, stored as {' and '.join(found['stored_as'])}")
    if found["record"] is not None:
        record = found["record"]
        console.print(
            f"record: {record['rows']} rows of {record['inputs']} numbers, "
            f"{record['rows_with_predictions']} with {record['outputs']} numbers of prediction"
        )


def grouping(problem: Problem, pile: Pile) -> dict[str, Any]:
    """Which pieces share a block, by roles that links of weights tie together."""
    kind, evidence = problem.bank.kind, problem.evidence
    names = [role.name for role in kind.roles]
    tied = evidence.tied_by_edges()
    return {
        "links": [[names[edge.first], names[edge.second]] for edge in evidence.edges],
        "groups": [group for roles in tied for group in _groups(problem, pile, roles)],
        "without_link": [n for role, n in enumerate(names) if not any(role in t for t in tied)],
        "open": [[names[role] for role in each] for each in kind.classes if len(each) > 1],
    }


def _groups(problem: Problem, pile: Pile, roles: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """The pieces of each block in roles that are tied together, the least sure first."""
    kind, evidence, blocks = problem.bank.kind, problem.evidence, problem.grouped
    edges = tuple(edge for edge in evidence.edges if edge.first in roles)
    odds = replace(evidence, edges=edges).of(blocks)
    for place in np.argsort(odds, kind="stable").tolist():
        held = [role for role in roles if blocks[place, role] != NO_PIECE]
        if len(held) > 1:
            pieces = {kind.roles[role].name: pile[blocks[place, role]].id for role in held}
            yield {"log_odds": float(odds[place]), "pieces": pieces}


def print_grouping(found: Mapping[str, Any]) -> None:
    """Print what `grouping` found."""
    console = Terminal(highlight=False, markup=False)
    table = empty_table(("log-odds", "share a block"), words=("share a block",))
    for one in found["groups"]:
        pieces = ", ".join(f"{role} {piece}" for role, piece in one["pieces"].items())
        table.add_row(f"{one['log_odds']:.2f}", Text(pieces))
    show_table(table, console)
    links = ", ".join(" with ".join(each) for each in found["links"])
    console.print(f"links by weights: {links or 'none'}", soft_wrap=True)
    if found["without_link"]:
        console.print(
            f"{', '.join(found['without_link'])}: no link by weights; the record tells their "
            "blocks, by solve",
            soft_wrap=True,
        )
    for each in found["open"]:
        console.print(
            f"{', '.join(each)}: pieces of one form, which only the record tells apart",
            soft_wrap=True,
        )


def _size(shape: list[int]) -> str:
    return "×".join(map(str, shape)) or "1"
