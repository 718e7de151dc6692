"""`unshuffle lab try APPROACH … [--on SUBJECT …]`."""

import argparse
from pathlib import Path

from unshuffle.commands.arguments import number, seeds
from unshuffle.commands.lab_run import add_places, folders_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "approaches", metavar="APPROACH", nargs="+", help="names, as `unshuffle lab list` has them"
    )
    parser.add_argument(
        "--on",
        metavar="SUBJECT",
        nargs="+",
        default=["example"],
        help="example, puzzle, names of recipes that ship, or recipe files (default: example)",
    )
    parser.add_argument(
        "--seeds",
        type=seeds,
        default=[0],
        metavar="S[,S…]",
        help="each trains another oracle, draws other rows and seeds the approach (default: 0)",
    )
    parser.add_argument(
        "--rows", type=number(int, 2), default=500, metavar="N", help="of the record (default: 500)"
    )
    add_places(parser)


def run(args: argparse.Namespace) -> int:
    """Try approaches on subjects and print what comes out; no ledger keeps it."""
    from unshuffle.errors import UsageError
    from unshuffle.lab.approaches import find_approach
    from unshuffle.lab.running import Trial, run_trial
    from unshuffle.lab.subjects import Subject, folder_subject, oracle_subject
    from unshuffle.oracle.recipe import find_recipe
    from unshuffle.views.tables import print_table

    folders, zoo = folders_of(args), None if args.zoo is None else Path(args.zoo)

    def subject_of(name: str, seed: int) -> Subject:
        if name not in folders:
            return oracle_subject(find_recipe(name).with_seed(seed), args.rows, zoo)
        folder = folders[name]
        if folder is None:
            raise UsageError(f"nobody said where the {name} lies; name its folder with --{name}")
        return folder_subject(name, folder, seed, args.rows)

    for name in args.approaches:
        find_approach(name)
    subjects = [subject_of(name, seed) for name in args.on for seed in args.seeds]
    rows: list[tuple[str, ...]] = [("subject", "seed", "approach", "outcome", "seconds")]
    for subject in subjects:
        for name in args.approaches:
            done = run_trial(Trial(subject, name))
            numbers = ", ".join(f"{metric} {x:.4g}" for metric, x in done.measurements.items())
            outcome = done.failure or numbers
            rows.append((subject.name, str(subject.seed), name, outcome, f"{done.seconds:.2g}"))
    print_table(rows)
    return 0
