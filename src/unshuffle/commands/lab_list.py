"""`unshuffle lab list`."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")


def run(args: argparse.Namespace) -> int:
    """Print the registry of approaches."""
    from unshuffle.lab.plan import approaches_table, markdown_table
    from unshuffle.views.tables import print_table

    rows = approaches_table()
    if args.markdown:
        print(markdown_table(rows))
    else:
        print_table(rows)
    return 0
