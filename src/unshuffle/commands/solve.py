"""`unshuffle solve PIECES RECORDS …`."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from unshuffle.commands.arguments import (
    add_activation,
    add_force,
    add_pieces,
    add_records,
    add_signal,
    number,
    pile_of,
    records_of,
)

if TYPE_CHECKING:
    from unshuffle.ordering.trace import OnStep
    from unshuffle.pieces.pile import Pile
    from unshuffle.pieces.records import Records
    from unshuffle.solution.checkpointing import Checkpoint
    from unshuffle.solution.solution import Solution


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_pieces(parser)
    add_records(parser, nargs="+")
    parser.add_argument(
        "--strategy",
        default="auto",
        metavar="NAME",
        help="how the order is found: auto, or classic (greedy insertion, 2-opt, or-opt) "
        "(default: auto)",
    )
    add_signal(parser, "fused; for classic trace")
    add_activation(parser, "each of them, relu first; for classic relu")
    parser.add_argument(
        "--placement",
        default="anywhere",
        metavar="NAME",
        help="where classic may insert a block: ends or anywhere (default: anywhere)",
    )
    parser.add_argument(
        "--rows",
        type=number(int, 1),
        metavar="N",
        help="rows that the search begins with (default: as many as make 256 predictions; for "
        "classic 500); the final word is always all rows",
    )
    parser.add_argument(
        "--permuted-units",
        action="store_true",
        help="inp and out layers list hidden units in different sequences: find which unit is "
        "which as well (the activation is relu unless it is named)",
    )
    parser.add_argument("--seed", type=number(int, 0), default=0, metavar="S", help="random seed")
    parser.add_argument(
        "--time-limit",
        type=number(float, 0, exclusive=True),
        metavar="SECONDS",
        help="stop the search after so long and report the best found",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="keep the answer, the solution, the network, the evidence for the pairs and the trace "
        "in this folder; with several records in its folders 1, 2, … in their sequence",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="keep the search in this file while it runs; if it is there, go on from it",
    )
    parser.add_argument("--report", metavar="FILE", help="write the result as a page for browsers")
    add_force(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Solve, print the result, and keep it if asked to."""
    _start_no_blas_threads()
    from unshuffle.proof.outcome import Outcome

    with _stopped_once() as stops:
        solutions = _run(args)
    outcomes = {solution.outcome for solution in solutions}
    if Outcome.INTERRUPTED in outcomes:
        return 128 + (stops[0] if stops else signal.SIGINT)
    if outcomes == {Outcome.EXACT} and not _claimed_twice(solutions):
        return 0
    return 4 if outcomes == {Outcome.NO_FIT} else 3


def _start_no_blas_threads() -> None:
    """Keep NumPy from starting BLAS threads, which no search uses: it shares rows among its own.

    To start them takes a third of NumPy's import. Whoever sets the variable has the last word.
    """
    if "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _run(args: argparse.Namespace) -> "tuple[Solution, ...]":
    from unshuffle.errors import FileError
    from unshuffle.files import shown
    from unshuffle.views.progress import show_progress

    started = perf_counter()
    _check_writable(args)
    pile = pile_of(args)
    records = [records_of(args, path) for path in args.records]
    read = perf_counter()
    solutions: tuple[Solution, ...] = ()
    failure = None
    try:
        with (
            _checkpoint(args.checkpoint) as kept,
            show_progress(quiet=args.quiet or args.json, time_limit=args.time_limit) as on_step,
        ):
            solutions = _solutions(args, pile, records, on_step, kept)
    except FileError as error:
        if not solutions:
            raise
        failure = error  # what took minutes to find is printed first
    total = perf_counter() - started
    solutions = tuple(
        replace(one, seconds={"read": read - started, **one.seconds, "total": total})
        for one in solutions
    )
    try:
        _keep(solutions, args)
    except FileError as error:
        failure = error
    if args.json:
        summaries = [solution.summary() for solution in solutions]
        several = {"solutions": summaries, "claimed_twice": _claimed_twice(solutions)}
        print(json.dumps(summaries[0] if len(records) == 1 else several), flush=True)
    else:
        from unshuffle.views.terminal import print_record, print_solution

        for solution, path, folder in zip(solutions, args.records, _folders(args), strict=False):
            if len(records) > 1:
                print_record(shown(path), folder.name)
            kept_in = None if args.out is None or failure else shown(folder)
            page = None if args.report is None or failure else shown(args.report)
            print_solution(solution, kept_in=kept_in, page=page)
    if failure is not None:
        raise failure
    return solutions


def _solutions(
    args: argparse.Namespace,
    pile: "Pile",
    records: "Sequence[Records]",
    on_step: "OnStep | None",
    kept: "Checkpoint | None",
) -> "tuple[Solution, ...]":
    """The solution, or with several records one for each."""
    from unshuffle.solver import solve

    def solve_one(part: "Pile", record: "Records", time_limit: float | None) -> "Solution":
        return solve(
            part,
            record,
            strategy=args.strategy,
            signal=args.signal,
            matching=args.matching,
            activation=args.activation,
            placement=args.placement,
            rows=args.rows,
            seed=args.seed,
            permuted_units=args.permuted_units,
            time_limit=time_limit,
            on_step=on_step,
            checkpoint=kept,
        )

    if len(records) == 1:
        return (solve_one(pile, records[0], args.time_limit),)
    from unshuffle.repair.separation import separate

    return separate(pile, records, solve_one, time_limit=args.time_limit)


def _claimed_twice(solutions: "Sequence[Solution]") -> bool:
    """Whether networks that reproduce their records share pieces."""
    if len(solutions) < 2:
        return False
    from unshuffle.repair.separation import claimed_twice

    return claimed_twice(solutions)


def _folders(args: argparse.Namespace) -> list[Path]:
    """Where the solution of each record is kept."""
    out = Path(args.out or "")
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
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _checkpoint(path: str | None) -> Iterator["Checkpoint | None"]:
    """What the file keeps of the search, if there is to be one."""
    if path is None:
        yield None
        return
    from unshuffle.solution.checkpointing import checkpoint

    with checkpoint(path) as kept:
        yield kept


def _check_writable(args: argparse.Namespace) -> None:
    """Refuse before the work, not after it, what could not be kept."""
    from unshuffle.errors import UsageError
    from unshuffle.files import check_folder, check_free, shown

    for option in ("checkpoint", "report"):
        if len(args.records) > 1 and getattr(args, option) is not None:
            raise UsageError(
                f"--{option} is of one record, and there are {len(args.records)}; leave it out, or "
                "solve one by one"
            )
    if args.out is not None:
        from unshuffle.solution.storage import FILES

        for folder in _folders(args):
            check_folder(folder)
            for name in FILES:
                check_free(folder / name, force=args.force)
    if args.checkpoint is not None:
        folder = Path(args.checkpoint).parent
        check_folder(folder)
        if not folder.is_dir():  # the search writes it long before --out makes any folder
            raise UsageError(f"there is no folder {shown(folder)}; create it")
    if args.report is not None:
        check_folder(Path(args.report).parent)
        check_free(Path(args.report), force=args.force)


def _keep(solutions: "Sequence[Solution]", args: argparse.Namespace) -> None:
    """Write what was asked for."""
    if args.out is not None:
        from unshuffle.solution.storage import write_solution

        for solution, folder in zip(solutions, _folders(args), strict=False):
            write_solution(solution, folder, force=args.force)
    if args.report is not None:
        from unshuffle.files import make_folder, write_text
        from unshuffle.views.report import report_page

        make_folder(Path(args.report).parent)
        write_text(args.report, report_page(solutions[0]), force=args.force)
