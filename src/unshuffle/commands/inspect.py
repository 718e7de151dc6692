"""`unshuffle inspect PIECES [RECORDS]`."""

import argparse

from unshuffle.commands.arguments import add_pieces, add_records, pile_of, records_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_pieces(parser)
    add_records(parser, nargs="?")


def run(args: argparse.Namespace) -> int:
    """Print what the pile and the record hold."""
    from unshuffle.errors import PileError, RecordError
    from unshuffle.pieces.anatomy import read_anatomy
    from unshuffle.proof.alterations import altered_record
    from unshuffle.proof.coarseness import kept_coarsely
    from unshuffle.views.terminal import print_inspection

    pile = pile_of(args)
    records = records_of(args) if args.records else None
    notes = kept_coarsely(pile) + (altered_record(records) if records else ())
    try:
        anatomy = read_anatomy(pile, records)
    except (PileError, RecordError):
        print_inspection(
            pile, records, None, notes
        )  # show what is there before saying what is wrong
        raise
    print_inspection(pile, records, anatomy, notes)
    return 0
