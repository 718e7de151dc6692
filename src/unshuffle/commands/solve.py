"""`solve`: the network is put back together, proved and kept."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import unshuffle
from unshuffle import files
from unshuffle.commands.arguments import (
    ACTIVATION,
    DEVICE,
    FORCE,
    JSON,
    MODEL,
    PAIRING,
    PIECES,
    QUIET,
    RECORD,
    SOLVED,
    blueprint_of,
    command,
    pile_of,
    records_of,
)
from unshuffle.errors import FileError, UsageError, shown

if TYPE_CHECKING:
    from unshuffle import Pile, Records, Solution
    from unshuffle.blocks.module_blueprint import ModuleBlueprint
    from unshuffle.ordering.trace import OnStep
    from unshuffle.pieces.clock import Clock
    from unshuffle.solution.checkpointing import Checkpoint

ARGUMENTS = (
    PIECES,
    RECORD.format(", one or more", "; one for each network whose pieces lie in the pile"),
    MODEL,
    DEVICE,
    """
    # the search
    --strategy NAME, default auto
        how the order is found: auto, or classic (greedy insertion, 2-opt, or-opt)
    """,
    PAIRING.format("fused; for classic trace"),
    ACTIVATION.format("each of them, relu first; for classic relu"),
    """
    # the search
    --placement NAME, default anywhere
        where classic may insert a block: ends or anywhere
    --rows N
        rows that the search begins with (default: as many as make 256 predictions; for classic
        500); the verdict is over all rows
    --permuted-units
        inp and out layers list hidden units in different sequences: match the units as well (the
        activation is relu unless it is named)
    --seed S, default 0
        random seed
    --attempts N, default 1
        make so many attempts, with seeds from --seed on; the first that succeeds is the result, and
        the time limit is that of each
    --processes N, default 1
        attempts that are made at a time, each in a process
    --scheduler ADDRESS
        make the attempts on the Dask cluster of the scheduler at this address instead
    --time-limit SECONDS
        stop after so long, such as 90, 10s or 1m, and report the best found (default: no limit)
    # what is kept
    --out DIR
        keep answer, solution, network, scores of pairs and trace in this folder; with several
        records in its folders 1, 2, … (default: nothing is
        kept)
    --checkpoint FILE
        keep the search in this file while it runs; if it is there, go on from it
    --report FILE
        write the result as a page for browsers
    """,
    FORCE,
    JSON,
    QUIET,
)

# Arguments that `solve` has under the same names.
OPTIONS = ["strategy", "signal", "matching", "activation", "placement", "rows", "permuted_units"]


@command(
    *ARGUMENTS,
    examples=(
        "solve pieces record.csv --out solved --report solved/report.html",
        "solve pieces record.npz --model net.py:make --out solved",
    ),
    exits=SOLVED,
)
def solve(args: argparse.Namespace) -> int:
    """Solve, print the result, and keep it if asked to."""
    if "numpy" not in sys.modules:
        # NumPy starts no BLAS threads then, which takes a third of its import: a search shares rows
        # among threads of its own. Whoever sets the variable has the last word.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from unshuffle.proof.outcome import Outcome

    with _stopped_once() as stops:
        solutions = _solve_and_keep(args)
    outcomes = {solution.outcome for solution in solutions}
    if Outcome.INTERRUPTED in outcomes:
        return 128 + (stops[0] if stops else signal.SIGINT)
    if outcomes == {Outcome.EXACT}:
        return 0
    return 4 if outcomes == {Outcome.NO_FIT} else 3


def _solve_and_keep(args: argparse.Namespace) -> "tuple[Solution, ...]":
    from unshuffle.ordering.trace import Trace
    from unshuffle.pieces.clock import Clock
    from unshuffle.views.progress import show_progress

    _check_attempts(args)
    clock = Clock(args.time_limit)  # of the whole command
    with clock.phase("import"):
        import_module("unshuffle.solver")
    _check_writable(args)
    solutions: tuple[Solution, ...] = ()
    failure = None
    try:
        with (
            nullcontext()
            if args.checkpoint is None
            else unshuffle.checkpoint(args.checkpoint) as kept,
            show_progress(quiet=args.quiet or args.json, clock=clock) as on_step,
        ):
            blueprint = blueprint_of(args)  # PyTorch takes seconds
            with clock.phase("read"):
                pile = pile_of(args)
                if on_step is not None:
                    on_step(Trace())  # the pieces are there: a record may take long to read
                records = [records_of(args, path, clock) for path in args.records]
            solutions = _solutions(
                args, pile, records, blueprint, clock=clock, on_step=on_step, kept=kept
            )
    except FileError as error:
        if not solutions:
            raise
        failure = error  # what took minutes to find is printed first
    if len(records) == 1:
        solutions = tuple(replace(one, seconds=clock.seconds) for one in solutions)
    _keep_and_print(solutions, records[0], args, failure)
    return solutions


def _keep_and_print(
    solutions: "Sequence[Solution]",
    record: "Records",
    args: argparse.Namespace,
    failure: FileError | None,
) -> None:
    """Keep the solutions, print them, and only then say which file could not be written."""
    try:
        _keep(solutions, record, args)
    except FileError as error:
        failure = error
    _print(solutions, args, kept=failure is None)
    if failure is not None:
        raise failure


def _check_attempts(args: argparse.Namespace) -> None:
    """Refuse what several attempts cannot have."""
    if args.attempts > 1 and args.checkpoint is not None:
        raise UsageError("--checkpoint keeps a single search; leave it or --attempts out")
    elsewhere = args.processes > 1 or args.scheduler is not None
    if elsewhere and args.attempts == 1:
        raise UsageError("--processes and --scheduler share out attempts; give --attempts too")
    if elsewhere and args.model is not None:
        raise UsageError(
            "attempts in other processes cannot have --model, whose code runs in this one; leave "
            "--processes and --scheduler out"
        )


def _solutions(
    args: argparse.Namespace,
    pile: "Pile",
    records: "Sequence[Records]",
    blueprint: "ModuleBlueprint | None",
    *,
    clock: "Clock",
    on_step: "OnStep | None",
    kept: "Checkpoint | None",
) -> "tuple[Solution, ...]":
    """The solution, or with several records one for each."""

    def solve_one(
        part: "Pile", record: "Records", time_limit: "float | Clock | None"
    ) -> "Solution":
        options = {"blueprint": blueprint, **{name: getattr(args, name) for name in OPTIONS}}
        if args.attempts == 1:
            own = {"seed": args.seed, "on_step": on_step, "checkpoint": kept}
            return unshuffle.solve(part, record, time_limit=time_limit, **options, **own)
        from unshuffle.commands.attempts import solve_attempts

        with clock.phase("attempts"):
            return solve_attempts(
                part,
                record,
                [{"seed": args.seed + number} for number in range(args.attempts)],
                processes=args.processes,
                scheduler=args.scheduler,
                time_limit=args.time_limit,
                **options,
            )

    if len(records) == 1:
        return (solve_one(pile, records[0], clock),)
    from unshuffle.repair.separation import separate

    return separate(pile, records, solve_one, time_limit=clock)


def _print(solutions: "Sequence[Solution]", args: argparse.Namespace, *, kept: bool) -> None:
    """Print the solutions, and where they are kept."""
    if args.json:
        summaries = [solution.summary() for solution in solutions]
        several = {"solutions": summaries, "claimed_twice": _claimed_twice(solutions)}
        print(json.dumps(summaries[0] if len(args.records) == 1 else several), flush=True)
        return
    from unshuffle.views.terminal import print_record, print_solution

    for solution, path, folder in zip(solutions, args.records, _folders(args), strict=False):
        if len(args.records) > 1:
            print_record(shown(path), folder.name)
        kept_in = shown(folder) if kept and args.out is not None else None
        page = shown(args.report) if kept and args.report is not None else None
        print_solution(solution, kept_in=kept_in, page=page)


def _claimed_twice(solutions: "Sequence[Solution]") -> bool:
    """Whether networks that reproduce their records share pieces."""
    if len(solutions) < 2:
        return False
    from unshuffle.repair.separation import claimed_twice

    return claimed_twice(solutions)


def _folders(args: argparse.Namespace) -> list[Path]:
    """Where the solution of each record is kept."""
    out = args.out or Path()
    several = len(args.records) > 1
    return [out / str(n) if several else out for n in range(1, len(args.records) + 1)]


@contextmanager
def _stopped_once() -> Iterator[list[int]]:
    """Let the first Ctrl-C or SIGTERM stop the search; no second one costs what it has found.

    Yields the number of the signal, once it came.
    """
    stops: list[int] = []

    def stop(number: int, _: object) -> None:
        stops.append(number)
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stops
    except Exception as error:  # of an import that was cut short
        if stops:
            raise KeyboardInterrupt(*stops) from error
        raise
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _check_writable(args: argparse.Namespace) -> None:
    """Refuse before the work, not after it, what could not be kept."""
    for option in ("attempts", "checkpoint", "report", "model"):
        if len(args.records) > 1 and getattr(args, option) not in (None, 1):
            raise UsageError(
                f"--{option} is of one record, and there are {len(args.records)}; leave it out, or "
                "solve one by one"
            )
    if args.out is not None:
        from unshuffle.solution.storage import FILES

        for folder in _folders(args):
            if folder.resolve() == Path(args.pieces).resolve():
                raise UsageError(f"--out {folder} is the folder of the pieces; name a new one")
            files.check_folder(folder)
            for name in FILES:
                files.check_free(folder / name, force=args.force)
    if args.checkpoint is not None:
        files.check_folder(Path(args.checkpoint).parent)
    if args.report is not None:
        files.check_folder(Path(args.report).parent)
        files.check_free(Path(args.report), force=args.force)
        if args.out is not None and Path(args.report).resolve() == Path(args.out).resolve():
            raise UsageError(f"--report {args.report} is the folder of --out; name a file in it")


def _keep(solutions: "Sequence[Solution]", record: "Records", args: argparse.Namespace) -> None:
    """Write what was asked for."""
    if args.out is not None:
        for solution, folder in zip(solutions, _folders(args), strict=False):
            unshuffle.write_solution(solution, folder, force=args.force)
    if args.report is not None:
        from unshuffle.views.report import report_page

        files.write_text(args.report, report_page(solutions[0], record), force=args.force)
