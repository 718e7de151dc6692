"""`unshuffle lab plan EXPERIMENT … --ledger FILE`."""

import argparse
import shlex
from pathlib import Path

from unshuffle.commands.arguments import add_force
from unshuffle.commands.lab_run import add_experiments, add_ledger


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_experiments(parser)
    add_ledger(parser)
    parser.add_argument("--out", metavar="FILE", help="write it here instead of printing it")
    add_force(parser)


def run(args: argparse.Namespace) -> int:
    """Render the plan."""
    from unshuffle.files import write_text
    from unshuffle.lab.experiment import read_experiments
    from unshuffle.lab.ledger import read_runs
    from unshuffle.lab.plan import findings, render_plan

    experiments = read_experiments([Path(name) for name in args.experiments])
    found = findings(experiments, read_runs(Path(args.ledger)))
    command = ["unshuffle", "lab", "plan", *args.experiments, "--ledger", args.ledger]
    command += [] if args.out is None else ["--out", args.out]
    text = render_plan(found, shlex.join(command))
    if args.out is None:
        print(text, end="")
    else:
        write_text(args.out, text, force=args.force)
    return 0
