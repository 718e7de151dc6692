"""`unshuffle lab run FILE … --ledger FILE`."""

import argparse
import sys
from pathlib import Path

from unshuffle.commands.arguments import number


def add_experiments(parser: argparse.ArgumentParser) -> None:
    """Add which experiments are meant."""
    parser.add_argument(
        "experiments",
        metavar="EXPERIMENT",
        nargs="+",
        help="a .toml file, or a folder of them",
    )


def add_ledger(parser: argparse.ArgumentParser) -> None:
    """Add the ledger."""
    parser.add_argument(
        "--ledger",
        required=True,
        metavar="FILE",
        help="the ledger: an SQLite database, or text if its name ends in .jsonl",
    )


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add where subjects lie."""
    parser.add_argument(
        "--puzzle",
        metavar="DIR",
        help="what experiments call puzzle: a folder with pieces/ and one .csv; without it "
        "experiments leave it out",
    )
    parser.add_argument(
        "--example",
        metavar="DIR",
        help="what experiments call example (default: examples/dropped, if it is there)",
    )
    parser.add_argument(
        "--zoo",
        metavar="DIR",
        help="a zoo in which oracles are looked up before they are trained, which needs PyTorch",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_experiments(parser)
    add_ledger(parser)
    add_places(parser)
    parser.add_argument(
        "--processes",
        type=number(int, 1),
        metavar="N",
        help="how many work at a time, each in one thread (default: one for each core)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="work on the Dask cluster of the scheduler at this address instead; its workers need "
        "this package and the same folders",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Run what the ledger lacks, then print the verdicts."""
    from unshuffle.blocks.threads import cores
    from unshuffle.errors import UsageError
    from unshuffle.lab.experiment import read_experiments, subjects_of
    from unshuffle.lab.ledger import TEXT, Run, read_runs
    from unshuffle.lab.plan import findings, overview
    from unshuffle.lab.running import Trial, lacking, run_trials
    from unshuffle.views.progress import show_work
    from unshuffle.views.tables import print_table

    ledger = Path(args.ledger)
    if ledger.suffix == TEXT:
        raise UsageError(
            f"--ledger {ledger.name}: runs are kept in a database, so that several commands can "
            f"add to it at once; name another file, and copy to text with `unshuffle lab export`"
        )
    experiments = read_experiments([Path(name) for name in args.experiments])
    folders = folders_of(args)
    zoo = None if args.zoo is None else Path(args.zoo)
    trials = [
        Trial(subject, method)
        for experiment in experiments
        for subject in subjects_of(experiment, folders, zoo)
        for method in experiment.methods
    ]
    missing = lacking(trials, ledger)
    count = f"{len(trials)} trial{'s' if len(trials) != 1 else ''}"
    print(f"{count}, of which the ledger lacks {len(missing)}", file=sys.stderr)
    done = lost = 0
    with show_work(quiet=args.quiet, unit="trial", total=len(missing)) as report:

        def on_end(trial: Trial, result: Run | BaseException) -> None:
            nonlocal done, lost
            done += 1
            subject = trial.subject
            remark = f"{result}"
            if isinstance(result, Run):
                remark = result.failure or f"{result.seconds:.1f} s"
            else:
                lost += 1
                print(
                    f"unshuffle: {trial.method} on {subject.name}, seed {subject.seed}: not run: "
                    f"{result}",
                    file=sys.stderr,
                )
            report(done, f"{trial.method} on {subject.name}, seed {subject.seed}: {remark}")

        try:
            run_trials(
                missing,
                ledger,
                processes=args.processes or cores(),
                scheduler=args.scheduler,
                on_end=on_end,
            )
        except KeyboardInterrupt:
            print(
                f"unshuffle: interrupted after {done} of {len(missing)} trials, which are in the "
                "ledger; the same command goes on",
                file=sys.stderr,
            )
            return 130
    runs = read_runs(ledger) if ledger.exists() else []
    print_table(overview(findings(experiments, runs)))
    return 3 if lost else 0


def folders_of(args: argparse.Namespace) -> dict[str, Path | None]:
    """Where the subjects that lie in folders are."""
    shipped = Path("examples") / "dropped"
    example = args.example or (shipped if shipped.is_dir() else None)
    found = {"puzzle": args.puzzle, "example": example}
    return {name: None if path is None else Path(path).resolve() for name, path in found.items()}
