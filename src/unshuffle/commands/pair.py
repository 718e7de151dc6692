"""`unshuffle pair PIECES [--signal NAME]`."""

import argparse
import json

from unshuffle.commands.arguments import add_pieces, add_signal, pile_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_pieces(parser)
    add_signal(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the pairs with their margins."""
    from unshuffle.pairing import pair

    pairing = pair(pile_of(args), signal=args.signal, matching=args.matching)
    if args.json:
        print(json.dumps(pairing.summary()))
    else:
        from unshuffle.views.terminal import print_pairing

        print_pairing(pairing)
    return 0
