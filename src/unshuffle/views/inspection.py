"""The pieces and the record: as plain values, and as a table of them."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.text import Text

from unshuffle.errors import listed
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.pile import Pile, some_ids
from unshuffle.pieces.records import Records
from unshuffle.views.tables import Terminal, empty_table, show_table


def inspection(
    pile: Pile, records: Records | None, anatomy: Anatomy | None, notes: Iterable[str]
) -> dict[str, Any]:
    """Shapes with roles and ids, the possible network, the record, what was noticed."""
    weights = Counter(piece.shape for piece in pile)
    shapes: list[dict[str, Any]] = []
    for shape, count in sorted(weights.items(), key=lambda item: (-item[1], item[0])):
        members = [k for k, piece in enumerate(pile) if piece.shape == shape]
        roles = None if anatomy is None else _roles(members[0], anatomy)
        ids = [pile[k].id for k in members]
        shapes.append({"shape": [*shape], "count": count, "roles": roles, "ids": ids})
    for length, count in sorted(Counter(len(bias.values) for bias in pile.biases).items()):
        ids = [bias.id for bias in pile.biases if len(bias.values) == length]
        shapes.append({"shape": [length], "count": count, "roles": ["bias"], "ids": ids})
    return {
        "pieces": len(pile) + len(pile.biases),
        "stored_as": [*pile.stored_as],
        "shapes": shapes,
        "network": None if anatomy is None else str(anatomy),
        "record": None if records is None else record_values(records),
        "noticed": [*notes],
    }


def record_values(records: Records) -> dict[str, Any]:
    """The sizes of a record."""
    return {
        "rows": len(records),
        "inputs": records.width,
        "rows_with_predictions": len(records.predicted()),
        "outputs": records.outputs,
        "targets": records.targets is not None,
        "left_out": [*records.columns[-1]],
    }


def _roles(position: int, anatomy: Anatomy) -> list[str]:
    roles = {"inp": anatomy.inp, "out": anatomy.out, "last": anatomy.last}
    return [role for role, fitting in roles.items() if position in fitting]


def print_inspection(found: dict[str, Any]) -> None:
    """Print what `inspection` found."""
    table = empty_table(("shape", "pieces", "can be", "ids"), words=("can be", "ids"))
    for one in found["shapes"]:
        roles = "?" if one["roles"] is None else " or ".join(one["roles"])
        table.add_row(
            " × ".join(map(str, one["shape"])), str(one["count"]), roles, Text(some_ids(one["ids"]))
        )
    console = Terminal(highlight=False, markup=False)
    show_table(table, console)
    console.print(f"{found['pieces']} pieces, stored as {' and '.join(found['stored_as'])}")
    for note in found["noticed"]:
        console.print(f"noticed: {note}")
    if found["network"] is not None:
        console.print(f"network: {found['network']}")
    record = found["record"]
    if record is not None:
        plural, targets = record["outputs"] != 1, record["targets"]
        console.print(
            f"record: {record['rows']} rows of {record['inputs']} inputs, "
            f"{record['rows_with_predictions']} with {record['outputs']} prediction"
            f"{'s' if plural else ''}{', with targets' if targets else ''}"
        )
        if left_out := record["left_out"]:
            console.print(f"left out of the record: {listed(left_out)}")
