"""`unshuffle lab compare APPROACH … --ledger FILE`."""

import argparse
from pathlib import Path

from unshuffle.commands.lab_run import add_ledger


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "approaches", metavar="APPROACH", nargs="+", help="names, as `unshuffle lab list` has them"
    )
    add_ledger(parser)
    parser.add_argument(
        "--metric", required=True, metavar="NAME", help="such as pairs_right or inversions"
    )


def run(args: argparse.Namespace) -> int:
    """Print one metric of several approaches side by side."""
    from unshuffle.errors import UsageError
    from unshuffle.lab.approaches import find_approach
    from unshuffle.lab.ledger import read_runs
    from unshuffle.lab.metrics import METRICS
    from unshuffle.lab.plan import comparison
    from unshuffle.views.tables import print_table

    for name in args.approaches:
        find_approach(name)
    if args.metric not in METRICS:
        raise UsageError.unknown("metric", args.metric, METRICS)
    rows = comparison(read_runs(Path(args.ledger)), args.approaches, args.metric)
    print_table(rows, title=f"{args.metric}: {METRICS[args.metric]}")
    return 0
