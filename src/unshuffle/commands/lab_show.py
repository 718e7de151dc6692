"""`unshuffle lab show EXPERIMENT … --ledger FILE`."""

import argparse
from pathlib import Path

from unshuffle.commands.lab_run import add_experiments, add_ledger


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_experiments(parser)
    add_ledger(parser)
    parser.add_argument(
        "--results", action="store_true", help="show the results of each, not only the verdicts"
    )


def run(args: argparse.Namespace) -> int:
    """Print verdicts and results."""
    from unshuffle.lab.experiment import read_experiments
    from unshuffle.lab.ledger import read_runs
    from unshuffle.lab.plan import findings, overview, results
    from unshuffle.views.tables import print_table

    experiments = read_experiments([Path(name) for name in args.experiments])
    found = findings(experiments, read_runs(Path(args.ledger)))
    print_table(overview(found))
    for one in found if args.results else ():
        print()
        print_table(results(one), title=f"{one.experiment.title}: {one.verdict}")
    return 0
