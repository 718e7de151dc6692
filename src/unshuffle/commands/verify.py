"""`unshuffle verify PIECES RECORDS ANSWER`."""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from unshuffle.commands.arguments import (
    add_activation,
    add_pieces,
    add_records,
    answer_of,
    pile_of,
    records_of,
)

if TYPE_CHECKING:
    from unshuffle.pieces.pile import PieceId


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_pieces(parser)
    add_records(parser)
    parser.add_argument("answer", metavar="ANSWER", help="a file, or ids separated by commas")
    add_activation(parser, "the one that fits best")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the error of the arrangement."""
    from unshuffle.proof.outcome import Outcome
    from unshuffle.proof.verification import verify

    pile = pile_of(args)
    answer = answer_of(args, pile)
    pile = pile.with_columns(_units(args.answer, answer))
    verdict = verify(pile, records_of(args), answer, activation=args.activation)
    if args.json:
        print(json.dumps(verdict.summary()))
    else:
        from unshuffle.views.terminal import print_verdict

        print_verdict(verdict)
    return 0 if verdict.outcome is Outcome.EXACT else 3


def _units(path: str, answer: "tuple[PieceId, ...]") -> "Mapping[PieceId, tuple[int, ...]]":
    """The columns of each out layer as the solution that was kept beside the answer has them."""
    from unshuffle.errors import FileError
    from unshuffle.solution.storage import read_solution

    kept = Path(path).parent / "solution.json"
    if not (os.path.exists(path) and kept.is_file()):
        return {}
    try:
        solution = read_solution(kept.parent)
    except FileError:  # it need not be one of ours
        return {}
    return solution.units if solution.layers == answer else {}
