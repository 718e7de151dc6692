"""`unshuffle pair PIECES [RECORDS] [--signal NAME]`."""

import argparse
import json

from unshuffle.commands.arguments import (
    add_activation,
    add_pieces,
    add_records,
    add_signal,
    pile_of,
    records_of,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_pieces(parser)
    add_records(parser, nargs="?")
    add_signal(parser, "fused")
    add_activation(parser, "relu; only signals that look at the record use it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the pairs with their margins."""
    from unshuffle.blocks.activations import find_activation
    from unshuffle.grouping import pair

    pairing = pair(
        pile_of(args),
        records_of(args) if args.records else None,
        signal=args.signal or "fused",
        matching=args.matching,
        activation=find_activation(args.activation or "relu"),
    )
    if args.json:
        print(json.dumps(pairing.summary()))
    else:
        from unshuffle.views.terminal import print_pairing

        print_pairing(pairing)
    return 0
