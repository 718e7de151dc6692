"""`lab list`, `try`, `run`, `plan`, `show`, `compare` and `export`: the laboratory."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from unshuffle import files
from unshuffle.commands.arguments import FORCE, PARTLY, QUIET, add_commands, command, interrupted
from unshuffle.errors import UsageError, shown

if TYPE_CHECKING:
    from unshuffle.lab.experiment import Experiment
    from unshuffle.lab.plan import ExperimentRuns
    from unshuffle.lab.running import Trial

EXPERIMENTS = """
experiments EXPERIMENT, one or more
    a .toml file, or a folder of them
"""
APPROACHES = """
approaches APPROACH, one or more
    names, as `unshuffle lab list` has them
"""
DATABASE = """
# the ledger
--ledger FILE, required
    the ledger: an SQLite database
"""
LEDGER = DATABASE.rstrip() + ", or text if its name ends in .jsonl"
OWN = """
# own code
--with FILE, repeatable
    a Python file with APPROACHES, a list of unshuffle.lab.approach.Approach, and METRICS, what each
    new measurement is by its name; it is run
"""
PLACES = """
# where subjects are
--puzzle DIR
    what experiments call puzzle: a folder with pieces/ and one .csv; without it experiments
    leave it out
--example DIR
    what experiments call example (default: examples/dropped, if it is there)
--zoo DIR
    a zoo in which oracles are looked up before they are trained, which needs PyTorch
"""


@command(
    "# what is printed\n--markdown\n  print the table in Markdown",
    OWN,
    examples=("lab list", "lab list --markdown"),
)
def list_approaches(args: argparse.Namespace) -> int:
    """Print the registry of approaches."""
    from unshuffle.lab.plan import approaches_table, markdown_table
    from unshuffle.views.tables import print_table

    own_code(args)
    rows = approaches_table()
    if args.markdown:
        print(markdown_table(rows))
    else:
        print_table(rows)
    return 0


@command(
    APPROACHES,
    """
    # the trials
    --on SUBJECT, one or more, default example
        example, puzzle, names of recipes that ship, or recipe files
    --seeds S[,S…], default 0
        each trains another oracle, draws other rows and seeds the approach
    --rows N, from 2, default 500
        of the record
    """,
    PLACES,
    OWN,
    examples=(
        "lab try trace log-norm --example unshuffle-demo",
        "lab try l1-bubble --on tiny-adam tiny-gelu --seeds 0,1 --zoo zoo",
    ),
)
def try_approaches(args: argparse.Namespace) -> int:
    """Try approaches on subjects and print what comes out. No ledger keeps it."""
    from unshuffle.lab.approaches import find_approach
    from unshuffle.lab.experiment import check_subject
    from unshuffle.lab.running import Trial, run_trial
    from unshuffle.lab.subjects import Subject, folder_subject, oracle_subject
    from unshuffle.oracle.recipe import find_recipe
    from unshuffle.views.tables import print_table

    own_code(args)
    folders, zoo = _folders(args), args.zoo

    def subject_of(name: str, seed: int) -> Subject:
        if name not in folders:
            return oracle_subject(find_recipe(name).with_seed(seed), args.rows, zoo)
        folder = folders[name]
        if folder is None:
            raise UsageError(f"the folder of the {name} is not known; name it with --{name}")
        return folder_subject(name, folder, seed, args.rows)

    for name in args.approaches:
        find_approach(name)
    for name in args.on:
        check_subject(name)
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


@command(
    EXPERIMENTS,
    DATABASE,
    PLACES,
    OWN,
    """
    # the trials
    --processes N
        how many work at a time, each in one thread (default: one for each core)
    --scheduler ADDRESS
        work on the Dask cluster of the scheduler at this address instead; its workers need this
        package and the same folders
    """,
    QUIET,
    examples=(
        "lab run experiments/bits.toml --ledger lab.sqlite --zoo zoo",
        "lab run experiments --ledger lab.sqlite --processes 2 --quiet",
    ),
    exits=PARTLY,
)
def run_experiments(args: argparse.Namespace) -> int:
    """Run what the ledger lacks, then print the verdicts."""
    from unshuffle.lab.experiment import subjects_of
    from unshuffle.lab.ledger import TEXT, read_runs
    from unshuffle.lab.plan import findings, overview
    from unshuffle.lab.running import Trial, lacking
    from unshuffle.views.tables import print_table

    ledger = Path(args.ledger)
    if ledger.suffix == TEXT:
        raise UsageError(
            f"--ledger {ledger.name}: runs are kept in a database, so that several commands can "
            f"add to it at once; name another file, and copy to text with `unshuffle lab export`"
        )
    own = own_code(args)
    experiments = _experiments(args)
    folders = _folders(args)
    trials = [
        Trial(subject, method, own)
        for experiment in experiments
        for subject in subjects_of(experiment, folders, args.zoo)
        for method in experiment.methods
    ]
    for name, folder in folders.items():
        if folder is None and any(name in each.subjects for each in experiments):
            print(f"the {name} is left out; name its folder with --{name}", file=sys.stderr)
    missing = lacking(trials, ledger)
    count = f"{len(trials)} trial{'s' if len(trials) != 1 else ''}"
    print(f"{count}, of which the ledger lacks {len(missing)}", file=sys.stderr)
    ended: list[bool] = []
    try:
        _run_trials(missing, ended, args)
    except KeyboardInterrupt:
        return interrupted(
            f" after {len(ended)} of {len(missing)} trials, which are in the ledger; the same "
            "command goes on"
        )
    runs = read_runs(ledger) if ledger.exists() else []
    print_table(overview(findings(experiments, runs)))
    return 0 if all(ended) else 3


def _run_trials(trials: "Sequence[Trial]", ended: list[bool], args: argparse.Namespace) -> None:
    """Run trials; `ended` gets an entry for each that ended, true for one that was run."""
    from unshuffle.blocks.threads import cores
    from unshuffle.lab.ledger import LedgerRun
    from unshuffle.lab.running import run_trials
    from unshuffle.views.progress import show_work

    with show_work(quiet=args.quiet, unit="trial", total=len(trials)) as report:

        def on_end(trial: "Trial", result: LedgerRun | BaseException) -> None:
            ended.append(isinstance(result, LedgerRun))
            name = f"{trial.method} on {trial.subject.name}, seed {trial.subject.seed}"
            if isinstance(result, LedgerRun):
                remark = result.failure or f"{result.seconds:.1f} s"
            else:
                remark = f"{result}"
                print(f"unshuffle: {name}: not run: {result}", file=sys.stderr)
            report(len(ended), f"{name}: {remark}")

        run_trials(
            trials,
            Path(args.ledger),
            processes=args.processes or cores(),
            scheduler=args.scheduler,
            on_end=on_end,
        )


@command(
    EXPERIMENTS,
    LEDGER,
    "# what is kept\n--out FILE\n  write it here (default: it is printed)",
    FORCE,
    OWN,
    examples=(
        "lab plan experiments --ledger lab.sqlite",
        "lab plan experiments --ledger ledger.jsonl --out plan.md --force",
    ),
)
def plan(args: argparse.Namespace) -> int:
    """Render the plan."""
    from unshuffle.lab.plan import render_plan

    command_line = ["unshuffle", "lab", "plan", *args.experiments, "--ledger", args.ledger]
    for name in vars(args)["with"] or ():
        command_line += ["--with", name]
    command_line += [] if args.out is None else ["--out", args.out]
    text = render_plan(_findings(args), shlex.join(command_line))
    if args.out is None:
        print(text, end="")
    else:
        files.write_text(args.out, text, force=args.force)
    return 0


@command(
    EXPERIMENTS,
    LEDGER,
    "# what is printed\n--results\n  show the results of each, not only the verdicts",
    OWN,
    examples=(
        "lab show experiments --ledger lab.sqlite",
        "lab show experiments/bits.toml --ledger lab.sqlite --results",
    ),
)
def show(args: argparse.Namespace) -> int:
    """Print verdicts and results."""
    from unshuffle.lab.plan import overview, results
    from unshuffle.views.tables import print_table

    found = _findings(args)
    print_table(overview(found))
    for one in found if args.results else ():
        print()
        print_table(results(one), title=f"{one.experiment.title}: {one.verdict}")
    return 0


@command(
    APPROACHES,
    LEDGER,
    """
    # what is printed
    --metric NAME, required
        such as pairs_right or inversions
    --picture FILE
        also draw the share of the runs that solve their network with no more of the metric, such
        as passes; a new file, whose ending .png, .svg or .pdf decides the format
    """,
    FORCE,
    OWN,
    examples=(
        "lab compare trace ratio --ledger lab.sqlite --metric pairs_right",
        "lab compare auto --ledger l.jsonl --metric passes --picture p.png",
    ),
)
def compare(args: argparse.Namespace) -> int:
    """Print one metric of several approaches side by side."""
    from unshuffle.lab.approaches import find_approach
    from unshuffle.lab.ledger import read_runs
    from unshuffle.lab.metrics import METRICS
    from unshuffle.lab.plan import comparison
    from unshuffle.views.tables import print_table

    own_code(args)
    for name in args.approaches:
        find_approach(name)
    if args.metric not in METRICS:
        raise UsageError.unknown("metric", args.metric, METRICS)
    runs = read_runs(Path(args.ledger))
    rows = comparison(runs, args.approaches, args.metric)
    if args.picture is not None:
        from unshuffle.views.figures import solved_within
        from unshuffle.views.figures.style import picture

        drawn = solved_within(runs, args.approaches, args.metric)
        kind = Path(args.picture).suffix.removeprefix(".")
        files.write_files({Path(args.picture): picture(drawn, kind)}, force=args.force)
    print_table(rows, title=f"{args.metric}: {METRICS[args.metric]}")
    return 0


@command(
    """
    ledger LEDGER
        the ledger to read
    to TO
        the ledger that gets the missing runs: text if its name ends in .jsonl, else an SQLite
        database. Or an MLflow store by its URI, such as http://localhost:5000
    """,
    examples=(
        "lab export lab.sqlite ledger.jsonl",
        "lab export lab.sqlite http://localhost:5000",
    ),
)
def export(args: argparse.Namespace) -> int:
    """Copy runs."""
    from unshuffle.lab.ledger import add_runs, read_runs
    from unshuffle.lab.mlflow_export import export_runs

    runs = read_runs(Path(args.ledger))
    is_uri = "://" in args.to or args.to.startswith("file:")
    added = export_runs(runs, args.to) if is_uri else add_runs(Path(args.to), runs)
    print(f"{added} of {len(runs)} runs added to {shown(args.to)}")
    return 0


def own_code(args: argparse.Namespace) -> tuple[Path, ...]:
    """Run the files of own approaches; gives their paths."""
    paths = tuple(Path(name) for name in vars(args)["with"] or ())
    if paths:
        from unshuffle.lab.own import use

        for path in paths:
            use(path)
    return tuple(path.resolve() for path in paths)


def _experiments(args: argparse.Namespace) -> "list[Experiment]":
    from unshuffle.lab.experiment import read_experiments

    return read_experiments([Path(name) for name in args.experiments])


def _findings(args: argparse.Namespace) -> "list[ExperimentRuns]":
    """What the ledger says of each experiment."""
    from unshuffle.lab.ledger import read_runs
    from unshuffle.lab.plan import findings

    own_code(args)
    return findings(_experiments(args), read_runs(Path(args.ledger)))


def _folders(args: argparse.Namespace) -> dict[str, Path | None]:
    """Where the subjects that lie in folders are."""
    shipped = Path("examples") / "dropped"
    example = args.example or (shipped if shipped.is_dir() else None)
    found = {"puzzle": args.puzzle, "example": example}
    return {name: None if folder is None else folder.resolve() for name, folder in found.items()}


COMMANDS = {
    "list": ("list every approach that can be tried by its name", list_approaches),
    "try": ("try approaches by name, on the example, the puzzle or oracles", try_approaches),
    "run": ("run experiments: whatever the ledger lacks", run_experiments),
    "plan": ("write the plan: what was claimed, run, found and decided", plan),
    "show": ("show verdicts, or the results of some experiments, as tables", show),
    "compare": ("compare approaches by one metric, on all subjects of the ledger", compare),
    "export": ("copy a ledger to another one, as text, database or to MLflow", export),
}

lab = partial(
    add_commands,
    commands=COMMANDS,
    examples=("lab list", "lab try trace log-norm --on example"),
    exits=PARTLY,
)
