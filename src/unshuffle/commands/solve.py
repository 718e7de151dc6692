"""`unshuffle solve PIECES RECORDS`."""

import argparse
import json
import signal
from collections.abc import Iterator
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
    from unshuffle.ordering.journal import Journal
    from unshuffle.outcome import Outcome
    from unshuffle.solution import Solution


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_pieces(parser)
    add_records(parser)
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
        "in this folder",
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
    from unshuffle.outcome import Outcome

    with _stopped_once() as stops:
        outcome = _run(args)
    if outcome is Outcome.INTERRUPTED:
        return 128 + (stops[0] if stops else signal.SIGINT)
    return {Outcome.EXACT: 0, Outcome.NO_FIT: 4}.get(outcome, 3)


def _run(args: argparse.Namespace) -> "Outcome":
    from unshuffle.errors import FileError
    from unshuffle.files import shown
    from unshuffle.solver import solve
    from unshuffle.views.progress import show_progress

    started = perf_counter()
    _check_writable(args)
    pile, records = pile_of(args), records_of(args)
    read = perf_counter()
    solution = failure = None
    try:
        with (
            _checkpoint(args.checkpoint) as journal,
            show_progress(quiet=args.quiet or args.json, time_limit=args.time_limit) as on_step,
        ):
            solution = solve(
                pile,
                records,
                strategy=args.strategy,
                signal=args.signal,
                matching=args.matching,
                activation=args.activation,
                placement=args.placement,
                rows=args.rows,
                seed=args.seed,
                permuted_units=args.permuted_units,
                time_limit=args.time_limit,
                on_step=on_step,
                journal=journal,
            )
    except FileError as error:
        if solution is None:
            raise
        failure = error  # what took minutes to find is printed first
    timings = {"read": read - started, **solution.seconds, "total": perf_counter() - started}
    solution = replace(solution, seconds=timings)
    try:
        _keep(solution, args)
    except FileError as error:
        failure = error
    if args.json:
        print(json.dumps(solution.summary()), flush=True)
    else:
        from unshuffle.views.terminal import print_solution

        kept_in, page = (
            None if path is None or failure else shown(path) for path in (args.out, args.report)
        )
        print_solution(solution, kept_in=kept_in, page=page)
    if failure is not None:
        raise failure
    return solution.outcome


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
def _checkpoint(path: str | None) -> Iterator["Journal | None"]:
    """The journal that the file keeps, if there is to be one."""
    if path is None:
        yield None
        return
    from unshuffle.checkpointing import checkpoint

    with checkpoint(path) as journal:
        yield journal


def _check_writable(args: argparse.Namespace) -> None:
    """Refuse before the work, not after it, what could not be kept."""
    from unshuffle.files import check_folder, check_free
    from unshuffle.storage import FILES

    if args.out is not None:
        check_folder(Path(args.out))
        for name in FILES:
            check_free(Path(args.out) / name, force=args.force)
    if args.checkpoint is not None:
        check_folder(Path(args.checkpoint).parent)
    if args.report is not None:
        check_folder(Path(args.report).parent)
        check_free(Path(args.report), force=args.force)


def _keep(solution: "Solution", args: argparse.Namespace) -> None:
    """Write what was asked for."""
    from unshuffle.files import make_folder, write_text
    from unshuffle.storage import write_solution

    if args.out is not None:
        write_solution(solution, args.out, force=args.force)
    if args.report is not None:
        from unshuffle.views.report import report_page

        make_folder(Path(args.report).parent)
        write_text(args.report, report_page(solution), force=args.force)
