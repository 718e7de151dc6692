"""`inspect`, `pair`, `verify` and `assemble`: a pile, and what an answer makes of it."""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import unshuffle
from unshuffle import files
from unshuffle.commands.arguments import (
    ACTIVATION,
    ANSWER,
    FORCE,
    JSON,
    JUDGED,
    ONE_RECORD,
    OPTIONAL_RECORD,
    PAIRING,
    PIECES,
    answer_of,
    command,
    is_table,
    pile_of,
    records_of,
)
from unshuffle.errors import FileError, PileError, RecordError, UsageError

if TYPE_CHECKING:
    from unshuffle.pieces.pile import PieceId


@command(
    PIECES,
    OPTIONAL_RECORD,
    JSON,
    examples=("inspect pieces", "inspect pieces record.csv --json"),
)
def inspect(args: argparse.Namespace) -> int:
    """Print what the pile and the record hold."""
    from unshuffle.pieces.anatomy import read_anatomy
    from unshuffle.proof.alterations import altered_record
    from unshuffle.proof.coarseness import kept_coarsely
    from unshuffle.views.inspection import inspection, print_inspection

    pile = pile_of(args)
    records = records_of(args, args.records) if args.records else None
    notes = pile.notes + kept_coarsely(pile) + (altered_record(records) if records else ())
    anatomy = wrong = None
    try:
        anatomy = read_anatomy(pile, records)
    except (PileError, RecordError) as error:
        wrong = error
    found = inspection(pile, records, anatomy, notes)
    if args.json:
        print(json.dumps(found))
    else:
        print_inspection(found)
    if wrong is not None:  # what is there is shown before what is wrong is said
        raise wrong
    return 0


@command(
    PIECES,
    OPTIONAL_RECORD,
    PAIRING.format("fused"),
    ACTIVATION.format("here relu; for signals that use the record"),
    JSON,
    examples=("pair pieces", "pair pieces record.csv --signal trace --matching greedy"),
)
def pair(args: argparse.Namespace) -> int:
    """Print the pairs with their margins."""
    pairing = unshuffle.pair(
        pile_of(args),
        records_of(args, args.records) if args.records else None,
        signal=args.signal or "fused",
        matching=args.matching,
        activation=args.activation or "relu",
    )
    if args.json:
        print(json.dumps(pairing.summary()))
    else:
        from unshuffle.views.terminal import print_pairing

        print_pairing(pairing)
    return 0


@command(
    PIECES,
    ONE_RECORD,
    ANSWER,
    ACTIVATION.format("the one that fits best"),
    JSON,
    examples=("verify pieces record.csv solved/answer.txt", "verify pieces record.csv '2 0 1 3 4'"),
    exits=JUDGED,
)
def verify(args: argparse.Namespace) -> int:
    """Print the error of the arrangement."""
    if is_table(args.answer) and not is_table(args.records):
        raise UsageError(
            f"{files.shown(args.answer)}: stands where the answer belongs; the record comes before "
            "the answer"
        )
    pile = pile_of(args)
    answer = answer_of(args, pile)
    pile = pile.with_columns(_units(args.answer, answer))
    records = records_of(args, args.records)
    found = unshuffle.verify(pile, records, answer, activation=args.activation)
    if args.json:
        print(json.dumps(found.summary()))
    else:
        from unshuffle.views.terminal import print_verification

        pieces = 4 if pile.detached else 2  # of a block
        whole = len(answer) // pieces * pieces
        print_verification(found, [answer[k : k + pieces] for k in range(0, whole, pieces)])
    return 0 if found.outcome is unshuffle.Outcome.EXACT else 3


def _units(path: str, answer: "tuple[PieceId, ...]") -> "Mapping[PieceId, tuple[int, ...]]":
    """The columns of each out layer as the solution that was kept beside the answer has them."""
    kept = Path(path).parent / "solution.json"
    if not (os.path.exists(path) and kept.is_file()):
        return {}
    try:
        solution = unshuffle.read_solution(kept.parent)
    except FileError:  # it need not be one of ours
        return {}
    return solution.units if solution.layers == answer else {}


@command(
    PIECES,
    ANSWER,
    "# what is kept\n--to FILE, required\n  a .safetensors, .npz, .pt or .pth file",
    FORCE,
    examples=(
        "assemble pieces solved/answer.txt --to network.safetensors",
        "assemble pieces '2 0 1 3 4' --to network.npz --force",
    ),
)
def assemble(args: argparse.Namespace) -> int:
    """Write the network with the names `blocks.0.inp.weight` … `last.bias`."""
    from unshuffle.blocks.assembly import build_network
    from unshuffle.pieces.anatomy import read_anatomy
    from unshuffle.pieces.answer import check_answer, join_answer

    pile = pile_of(args)
    pile, answer = join_answer(pile, answer_of(args, pile))
    check_answer(pile, read_anatomy(pile), answer)
    network = build_network(pile, answer)
    files.write_network(args.to, network.tensors(), force=args.force)
    print(f"{files.shown(args.to)}: {network!r}")
    return 0
