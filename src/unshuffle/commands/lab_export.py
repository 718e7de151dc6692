"""`unshuffle lab export LEDGER TO`."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("ledger", metavar="LEDGER", help="the ledger to read")
    parser.add_argument(
        "to",
        metavar="TO",
        help="where runs are added that are lacking there: another ledger, as text if its name "
        "ends in .jsonl, else an SQLite database; or an MLflow store by its tracking URI, such as "
        "http://localhost:5000",
    )


def run(args: argparse.Namespace) -> int:
    """Copy runs."""
    from unshuffle.files import shown
    from unshuffle.lab.ledger import add_runs, read_runs
    from unshuffle.lab.mlflow_export import export_runs

    runs = read_runs(Path(args.ledger))
    is_uri = "://" in args.to or args.to.startswith("file:")
    added = export_runs(runs, args.to) if is_uri else add_runs(Path(args.to), runs)
    print(f"{added} of {len(runs)} runs added to {shown(args.to)}")
    return 0
