"""Progress of counted work: a bar on a terminal, plain lines elsewhere, silence if asked."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from unshuffle.views.progress import SECONDS_BETWEEN_LINES

Report = Callable[[int, str], None]
"""Called with how much is done and a remark on it."""


@contextmanager
def show_work(*, quiet: bool, unit: str, total: int) -> Iterator[Report]:
    """Show counted work on stderr; yields what is to be called whenever more of it is done.

    Parameters
    ----------
    quiet
        Whether to show nothing.
    unit, total
        What is counted, and how many there are.
    """
    if quiet:
        yield lambda done, remark: None
    elif sys.stderr.isatty():
        with _bar(unit, total) as report:
            yield report
    else:
        yield _lines(unit, total)


def _lines(unit: str, total: int) -> Report:
    """A line for the first and the last, and every few seconds in between."""
    started = perf_counter()
    printed = -SECONDS_BETWEEN_LINES

    def report(done: int, remark: str) -> None:
        nonlocal printed
        seconds = perf_counter() - started
        if seconds - printed >= SECONDS_BETWEEN_LINES or done == total:
            line = f"{seconds:7.1f} s  {unit} {done} of {total}: {remark}"
            print(line, file=sys.stderr, flush=True)
            printed = seconds

    return report


@contextmanager
def _bar(unit: str, total: int) -> Iterator[Report]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{unit} 0 of {total}", total=total)

        def report(done: int, remark: str) -> None:
            text = escape(f"{unit} {done} of {total}: {remark}")
            progress.update(task, description=text, completed=done)

        yield report
