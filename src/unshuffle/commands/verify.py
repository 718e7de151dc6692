"""`unshuffle verify PIECES RECORDS ANSWER`."""

import argparse
import json

from unshuffle.commands.arguments import (
    add_activation,
    add_pieces,
    add_records,
    answer_of,
    pile_of,
    records_of,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_pieces(parser)
    add_records(parser)
    parser.add_argument("answer", metavar="ANSWER", help="a file, or ids separated by commas")
    add_activation(parser, "the one that fits best")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the error of the arrangement."""
    from unshuffle.outcome import Outcome
    from unshuffle.verification import verify

    pile = pile_of(args)
    verdict = verify(pile, records_of(args), answer_of(args, pile), activation=args.activation)
    if args.json:
        print(json.dumps(verdict.summary()))
    else:
        from unshuffle.views.terminal import print_verdict

        print_verdict(verdict)
    return 0 if verdict.outcome is Outcome.EXACT else 3
