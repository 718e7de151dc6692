"""`unshuffle lab export LEDGER TO`."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("ledger", metavar="LEDGER", help="the ledger to read")
    parser.add_argument(
        "to",
        metavar="TO",
        help="another ledger, to which runs are added that it lacks: text if its name ends in "
        ".jsonl, else an SQLite database",
    )


def run(args: argparse.Namespace) -> int:
    """Copy runs."""
    from unshuffle.files import shown
    from unshuffle.lab.ledger import add_runs, read_runs

    runs = read_runs(Path(args.ledger))
    print(f"{add_runs(Path(args.to), runs)} of {len(runs)} runs added to {shown(args.to)}")
    return 0
